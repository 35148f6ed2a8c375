"""The gates and cells of every step of one layer, from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from numpy.typing import NDArray

import fastlstm

Array = NDArray[Any]

SHUT, OPEN = -200.0, 200.0  #: pre-activations at which a gate is 0 and 1, to the bit


class Gates(NamedTuple):
    """Arrays [T, B, H] of a layer's steps; `before` is the cell that a step began with."""

    i: Array
    f: Array
    g: Array
    o: Array
    c: Array
    before: Array


def gates_of(weights: Mapping[str, Array], x: Array, form: fastlstm.Form | None = None) -> Gates:
    """Run a layer over x [T, B, I] from zero states, and look inside."""
    lstm = fastlstm.LSTM(x.shape[2], weights["weight_hh_l0"].shape[1], dtype=x.dtype, form=form)
    lstm.load_state_dict(weights)
    trace = lstm.trace(x)
    return Gates(*(array[0, 0] for array in (trace.i, trace.f, trace.g, trace.o, trace.c, trace.c_prev)))
