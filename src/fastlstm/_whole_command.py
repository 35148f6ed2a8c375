"""``fastlstm inspect FILE --whole --data INPUTS``: what all LSTMs of a model do, while the whole model runs once."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import Any, Final

from ._data_files import read_inputs
from ._health import health
from ._model_traces import Traces
from ._pictures import strips
from ._pictures.labels import checked_labels
from ._pictures.overview import MAX_BYTES, checked_choice
from ._plot import overviews_of, plot
from .files import _detect
from .files._layer import printable

_WAYS: Final = "run it in Python, with fastlstm.torch.trace, fastlstm.keras.trace or fastlstm.onnx.trace"


def check(given: argparse.Namespace) -> None:
    """Refuse what says nothing together, before a file is read."""
    if not given.whole:
        return
    if given.data is None:
        raise ValueError("--whole needs --data: the inputs of the model")
    if given.probe is not None:
        raise ValueError("--probe is for one LSTM: it goes without --whole")
    if given.health and given.units is not None:
        raise ValueError("--health looks at all units: it goes without --units")


def run(given: argparse.Namespace, labels: Any) -> None:
    """Show what was asked for, of every LSTM that ran."""
    traces = _chosen(_traces(given), given.prefix)
    paths = [path for path in (given.html, given.png) if path is not None]
    if given.health:
        _tell_health(traces)
    for path in paths:
        title = f"Gates of {os.path.basename(given.file)}"
        plot(traces, path, labels=labels, title=title, seconds=given.seconds, rows=given.rows, steps=given.steps)
        print(f"{printable(path)}: written")
    if not given.health and not paths:
        choice = checked_choice(given.rows, given.steps, MAX_BYTES)
        for name, calls in traces.items():
            for overview, lengths in overviews_of(calls, choice):
                names = checked_labels(labels, overview, lengths.tolist(), f" of {name}" if name else "")
                print(f"\n{printable(name) or 'the model'}")
                strips.show(overview, names, shutil.get_terminal_size().columns)


def _tell_health(traces: Traces) -> None:
    for name, calls in traces.items():
        for k, trace in enumerate(calls):
            call = f", call {k + 1} of {len(calls)}" if len(calls) > 1 else ""
            print(f"\n{printable(name) or 'the model'}{call}:\n{health(trace)}")


def _chosen(traces: Traces, prefix: str | None) -> Traces:
    if prefix is None:
        return traces
    if prefix not in traces:
        ran = ", ".join(printable(name) or "''" for name in traces)
        raise ValueError(f"--prefix {printable(prefix)} is none of the LSTMs that ran: {ran}")
    return {prefix: traces[prefix]}


def _traces(given: argparse.Namespace) -> Traces:
    """Run the model of a file on inputs; ValueError for files of weights, which do not say what to run."""
    path, inputs = given.file, read_inputs(given.data)
    head, budget = _detect.opened(Path(path), given.max_bytes)
    name = _detect.detect(Path(path), head, budget).name
    if name == "ONNX":
        from .onnx import trace

        return trace(path, inputs[""] if list(inputs) == [""] else inputs, units=given.units)
    if name in ("Keras 3", "HDF5"):
        return _of_keras(path, inputs, given.units)
    raise ValueError(f"{printable(path)} ({name}) has weights, and not what the model does with them: {_WAYS}")


def _of_keras(path: str, inputs: dict[str, Any], units: list[int] | None) -> Traces:
    """Load a Keras model, without code of its own, and run it; on NumPy where nobody chose a backend."""
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "numpy")
    import keras

    from . import keras as adapter

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{printable(path)} is no whole model that Keras loads here ({error}): {_WAYS}") from None
    names = [each.name.partition(":")[0] for each in model.inputs]
    if list(inputs) == [""]:
        if len(names) != 1:
            raise ValueError(f"the model has the inputs {', '.join(names)}: --data should be an .npz of them")
        inputs = {names[0]: inputs[""]}
    if sorted(inputs) != sorted(names):
        raise ValueError(f"--data should hold the inputs {', '.join(names)}, got: {', '.join(map(printable, inputs))}")
    return adapter.trace(model, inputs if len(names) > 1 else inputs[names[0]], units=units)
