"""``fastlstm inspect FILE --data INPUTS``: what an LSTM of a file does with them; strips, pages and pictures."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from . import _health_command
from ._data_files import arguments, read_call
from ._lstm import LSTM
from ._pictures import strips
from ._pictures.draw import checked_seconds, draw, ending_of
from ._pictures.labels import checked_labels
from ._pictures.overview import MAX_BYTES, Choice, Overview, checked_choice
from ._trace import GateTrace
from ._types import Array
from .files._layer import printable

_PIECE: Final = 2**27  # bytes of a trace of a piece: little beside the inputs, and much at a time
_NEED_DATA: Final = ("health", "html", "png", "probe", "labels", "text", "seconds", "rows", "units", "steps")
_OF_PICTURES: Final = ("labels", "text", "seconds", "rows", "units", "steps")


def add_arguments(inspect: argparse.ArgumentParser) -> None:
    """Add what `inspect` takes beside a file."""
    inspect.add_argument("--prefix", help="with --data: which LSTM, as listed")
    inspect.add_argument(
        "--data", metavar="INPUTS", help="inputs as the LSTM takes them, as for compare: what its cells do along them"
    )
    inspect.add_argument(
        "--whole",
        action="store_true",
        help="--data are inputs of the whole model, an ONNX or Keras file, which runs once: all its LSTMs",
    )
    inspect.add_argument("--health", action="store_true", help="which units are stuck, or grow, on --data")
    inspect.add_argument(
        "--probe",
        metavar="INPUTS",
        help="[T, I]: a clip to answer from the state after --data and from a fresh one: who makes the difference",
    )
    pictures = inspect.add_argument_group("pictures of --data")
    pictures.add_argument("--html", metavar="OUT", help="heat maps of the gates over time: a page, without a network")
    pictures.add_argument("--png", metavar="OUT", help="the same as a picture: .png, .svg or .pdf; needs matplotlib")
    names = pictures.add_mutually_exclusive_group()
    names.add_argument(
        "--labels", metavar="FILE", help="names of the steps, one a line; or .json: a list, or a list for each row"
    )
    names.add_argument("--text", metavar="FILE", help="the same for a text: its characters (UTF-8) are the steps")
    pictures.add_argument("--seconds", type=float, metavar="S", help="how long a step is, for a time axis")
    pictures.add_argument("--rows", type=_numbers, metavar="N,N", help="which rows; as many of the first as fit")
    pictures.add_argument("--units", type=_numbers, metavar="N,N", help="which units of every layer; all if not given")
    pictures.add_argument("--steps", type=_range, metavar="A:B", help="the steps from A on, up to B (without it)")


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"should be numbers with commas between, got: {text!r}") from None


def _range(text: str) -> tuple[int, int]:
    start, colon, stop = text.partition(":")
    try:
        if colon:
            return int(start or 0), int(stop)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"should be two numbers with a colon between, got: {text!r}")


def check(given: argparse.Namespace) -> None:
    """Refuse what says nothing together, before a file is read."""
    named = [f"--{name}" for name in _NEED_DATA if getattr(given, name) not in (None, False)]
    if given.data is None and named:
        raise ValueError(f"{named[0]} needs --data: inputs as they are in use")
    if given.probe is not None and not given.health:
        raise ValueError("--probe goes with --health")
    only_health = given.health and given.html is None and given.png is None
    left = [f"--{name}" for name in _OF_PICTURES if getattr(given, name) is not None]
    if only_health and left:
        raise ValueError(f"{left[0]} is of pictures: --health looks at all steps and rows")
    for name, endings in (("html", (".html", ".htm")), ("png", (".png", ".svg", ".pdf"))):
        path = getattr(given, name)
        if path is not None and ending_of(path) not in endings:
            raise ValueError(f"--{name} should end in {', '.join(endings)}, got: {printable(path)}")
    checked_seconds(given.seconds)


def run(lstm: LSTM[Any], given: argparse.Namespace) -> None:
    """Show what was asked for; without a wish, strips in the terminal."""
    if given.html is not None or given.png is not None or not given.health:
        _show(lstm, given)
    if given.health:  # last: it refuses a NaN, which a picture shows
        _health_command.run(lstm, given)


def _show(lstm: LSTM[Any], given: argparse.Namespace) -> None:
    """Draw what was asked for, else strips."""
    choice = checked_choice(given.rows, given.steps, MAX_BYTES)
    data, labels = read_call(given.data), labels_of(given)
    overview, lengths = _overview(lstm, data, given.units, choice)
    names = checked_labels(labels, overview, lengths)
    overview.need_steps()
    title = f"Gates of {given.prefix or 'the LSTM'} in {os.path.basename(given.file)}"
    for path in (given.html, given.png):
        if path is not None:
            draw(path, {given.prefix or "": overview}, {given.prefix or "": names}, title, given.seconds)
            print(f"{printable(path)}: written")
    if given.html is None and given.png is None:
        strips.show(overview, names, shutil.get_terminal_size().columns)


def labels_of(given: argparse.Namespace) -> Any:
    """Read the names of steps."""
    path = given.text or given.labels
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8", newline="") as file:
            text = file.read()
        if given.text is not None:
            return text
        text = text.removeprefix("\ufeff")  # which some editors begin with
        return json.loads(text) if path.lower().endswith(".json") else _lines(text)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{printable(path)} could not be read as labels: {error}") from None


def _lines(text: str) -> list[str]:
    """Split at ends of lines alone: `splitlines` does at form feeds and other characters, which are labels too."""
    return text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n") if text else []


def _overview(
    lstm: LSTM[Any], data: dict[str, Array], units: list[int] | None, choice: Choice
) -> tuple[Overview, list[int]]:
    """Trace the inputs, in pieces where they are long, and bring them together."""
    shape = data["x"].shape
    T = 0 if len(shape) < 2 else shape[1] if lstm.batch_first and len(shape) == 3 else shape[0]
    overview, lengths = None, np.zeros(0, np.int64)
    for trace in _traces(lstm, data, units, T):
        overview = overview or Overview(trace, choice, T)
        overview.add(trace)
        lengths = trace.lengths if lengths.size == 0 else lengths + trace.lengths
    assert overview is not None  # there is at least one piece
    return overview, lengths.tolist()


def _traces(lstm: LSTM[Any], data: dict[str, Array], units: list[int] | None, T: int) -> Iterator[GateTrace[Any]]:
    """Trace pieces, each from the state that the one before left; both directions need all steps at once."""
    x, call = data["x"], arguments(data)
    rows = 0 if x.ndim != 3 else x.shape[0 if lstm.batch_first else 1]
    step = lstm.trace_nbytes(1, max(rows, 1))
    at_once = max(1, _PIECE // step)
    if lstm.bidirectional or at_once >= T:
        yield lstm.trace(x, **call, units=units, every=_health_command.every(lstm, x.shape))
        return
    axis = 1 if lstm.batch_first and x.ndim == 3 else 0
    hx, lengths, resets = call["hx"], call["lengths"], call["resets"]
    for start in range(0, T, at_once):
        piece = (slice(None),) * axis + (slice(start, start + at_once),)
        n = x[piece].shape[axis]
        own = None if lengths is None else np.clip(_whole(lengths, T) - start, 0, n)
        trace = lstm.trace(x[piece], hx, lengths=own, resets=None if resets is None else resets[piece], units=units)
        yield trace
        hx = trace.h_n, trace.c_n


def _whole(lengths: Array, T: int) -> Array:
    """Check lengths, which pieces would hide."""
    if lengths.dtype.kind not in "iu" or (lengths.size and (lengths.min() < 0 or lengths.max() > T)):
        raise ValueError(f"lengths should be integers in 0..{T}, got: {lengths.dtype} {lengths.ravel()[:8].tolist()}")
    return lengths
