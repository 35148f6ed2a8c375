"""The command line: fetch, score, write, check, and the table."""

from __future__ import annotations

import argparse
import importlib
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import fastlstm

from . import table
from .check import BOUNDS, BreachError, Checker
from .engines import fastlstm_engine, table_bytes
from .fetch import PACKAGE, VERSION, FetchError
from .generate import Written, write
from .model import Activations, TextModel
from .texts import Numbers, encode, paragraphs, questions, zen
from .timing import Timing, measure, same_bits
from .weights import Weights, WeightsError, published

OK, WRONG, MISSING = 0, 1, 3  # exit codes; 2 is argparse's own

BATCH = 128  # windows scored at once
MOST_SCORED = 5000  # characters of --text that are scored: enough for the loss, and some seconds for float64
ROUNDS = 40


class MissingError(Exception):
    """Something that the demo needs is not there; the message says what and how to get it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit code."""
    options = _options(arguments)
    # Whatever the terminal cannot show becomes a question mark: the demo does not end over an emoji.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        return _run(options)
    except (FetchError, MissingError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return MISSING
    except (BreachError, WeightsError) as error:
        print(f"\ndemo: FAILED. {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print("\ndemo: stopped.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader went away (`| head`): not an error, and there is nobody left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="textgen",
        description="Run a published character model on fastlstm: score a text, write a new one, check every number.",
        epilog="exit codes: 0 all numbers within their bounds; 1 a number was wrong; "
        "3 something is missing (a package, the model, the text)",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--length", type=_count, default=300, help="characters to write")
    parser.add_argument(
        "--temperature",
        type=_temperature,
        default=0.5,
        help="0 always takes the likeliest character, 1 draws as the model says, more is wilder",
    )
    parser.add_argument("--seed", type=_seed, default=1, help="the same seed writes the same text")
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="UTF-8 English to score (default: the Zen of Python, which is in every Python)",
    )
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, got {text!r}")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, got {text!r}")
    return int(text)


def _temperature(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and (value == 0 or value >= 0.01)):
        raise argparse.ArgumentTypeError(f"expected 0, or 0.01 or more, got {text}")
    return value


def _run(options: argparse.Namespace) -> int:
    name, texts = _texts(getattr(options, "text", None))
    weights = _load()
    checker = Checker(weights)
    model = TextModel(weights, fastlstm_engine(weights))
    print(
        f"fastlstm on {fastlstm.isa()}, one thread; model: {PACKAGE} {VERSION}, two LSTM layers "
        f"{weights.embedding.shape[1]} -> {weights.lstm_1['weight_hh_l0'].shape[1]} -> "
        f"{weights.lstm_2['weight_hh_l0'].shape[1]}\n"
    )
    _score(model, checker, name, texts)
    written = _write(model, checker, options)
    _report(checker)
    if not same_bits(weights, written.windows[-8:]):
        raise BreachError("fastlstm gives other bits in a batch, alone, step by step or without a table.")
    print("Same bits alone, in a batch, with the table of characters and without, and one character at a time: yes\n")
    print(f"One new character = one window = 80 LSTM steps; medians of {ROUNDS} rounds in turns, one thread each:")
    timings = measure(weights, written.windows[-ROUNDS:], ROUNDS)
    table.show(timings)
    with_table, without = timings["fastlstm"], timings["fastlstm, no table"]
    if isinstance(with_table, Timing) and isinstance(without, Timing):
        gain, megabytes = without.seconds_per_step / with_table.seconds_per_step, table_bytes(weights) / 1e6
        print(
            f"\nWhat the first layer makes of each character is in a table of {megabytes:.1f} MB: the two layers "
            f"together are {gain:.2f} times as fast as without it."
        )
    return OK


def _texts(path: Path | None) -> tuple[str, list[str]]:
    """Return the texts to score, and what to call them."""
    if path is None:
        return "the Zen of Python", zen()
    try:
        texts = paragraphs(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingError(f"The text {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise MissingError(f"The text {path} is not UTF-8: {error}.") from error
    if not texts:
        raise MissingError(f"There is nothing to score in {path}.")
    return str(path), texts


def _load() -> Weights:
    try:
        importlib.import_module("h5py")  # before anything is downloaded: the model cannot be read without it
    except ImportError as error:
        raise MissingError(
            "The Python package 'h5py' is missing, which reads the model's file. "
            "`make demo` installs it, and so does `pip install h5py`."
        ) from error
    return published()


def _score(model: TextModel, checker: Checker, name: str, texts: Sequence[str]) -> float:
    """Score the texts, check all numbers that were used; return and print the loss in nats a character."""
    encoded, unknown = zip(*(encode(text, model.weights.vocabulary) for text in texts), strict=True)
    windows, answers = questions(encoded)
    if len(answers) > MOST_SCORED:
        print(f"(scoring the first {MOST_SCORED} of {len(answers)} characters)")
        windows, answers = windows[:MOST_SCORED], answers[:MOST_SCORED]
    loss = exact_loss = seconds = 0.0
    for begin in range(0, len(answers), BATCH):
        part, wanted = windows[begin : begin + BATCH], answers[begin : begin + BATCH]
        start = time.perf_counter()
        used = model(part)
        seconds += time.perf_counter() - start
        exact = checker.check(part, used, "scoring")
        loss += _nats(used, wanted)
        exact_loss += _nats(exact, wanted)
    loss, exact_loss = loss / len(answers), exact_loss / len(answers)
    print(
        f"Scored {name}: {len(answers)} characters, {loss:.4f} nats a character (float64: {exact_loss:.4f}); "
        f"{len(answers) / seconds:,.0f} characters/s in batches of {BATCH}"
    )
    if any(unknown):
        print(f"({sum(unknown)} characters that the model does not know were left out)")
    return loss


def _nats(activations: Activations, wanted: Numbers) -> float:
    """Sum up what the model did not expect: -log probability of each character that came."""
    rows = activations.log_probabilities
    return float(-rows[np.arange(len(rows)), wanted].astype(np.float64).sum())


def _write(model: TextModel, checker: Checker, options: argparse.Namespace) -> Written:
    print(f"\nWriting {options.length} characters, temperature {options.temperature:g}, seed {options.seed}:\n")

    def show(character: str) -> None:
        # The vocabulary holds invisible and control characters: none of them reaches the terminal.
        print(character if character == "\n" or character.isprintable() else "?", end="", flush=True)

    written = write(model, checker, options.length, options.temperature, options.seed, show)
    print(
        f"\n\nWrote {options.length} characters at {options.length / written.seconds:,.0f} characters/s; "
        f"float64 would have drawn the same character {written.same_draws} times of {options.length}"
    )
    return written


def _report(checker: Checker) -> None:
    print(f"\nAll {checker.compared:,} numbers that were used, against the float64 reference:")
    print(f"  {'':<18} {'largest difference':>18}  {'bound':>7}")
    for name, bound in BOUNDS.items():
        print(f"  {name:<18} {checker.worst[name]:>18.1e}  {bound:.1e}")
