"""``fastlstm inspect FILE --data INPUTS --health``: what `health` finds in an LSTM of a file."""

from __future__ import annotations

import argparse
from typing import Any

from ._data_files import arguments, read_call
from ._health import health
from ._lstm import LSTM
from ._trace import MAX_BYTES


def run(lstm: LSTM[Any], given: argparse.Namespace) -> None:
    """Trace the inputs, and print what is found."""
    data = read_call(given.data)
    probe = None if given.probe is None else read_call(given.probe)["x"]
    step = every(lstm, data["x"].shape)
    trace = lstm.trace(data["x"], **arguments(data), every=step)
    if step > 1:
        print(f"looked at one step in {step}: a trace of all takes more than {MAX_BYTES} bytes")
    print(health(trace, lstm=None if probe is None else lstm, probe=probe))


def every(lstm: LSTM[Any], shape: tuple[int, ...]) -> int:
    """Choose so few steps of long inputs that a trace of them fits."""
    if len(shape) not in (2, 3) or 0 in shape:
        return 1  # for the call to refuse
    T, B = (shape[0], 1) if len(shape) == 2 else shape[1::-1] if lstm.batch_first else shape[:2]
    made = 1
    while made < T and lstm.trace_nbytes(T, B, every=made) > MAX_BYTES:
        made *= 2
    return made
