"""The gates and cells of every step of one layer, from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
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


class Amounts(NamedTuple):
    """What steps do to the size of cells, in float64; the names are those of `fastlstm.GateTrace`."""

    kept: Array
    forgotten: Array
    added: Array
    taken: Array


def amounts_of(gates: Gates) -> Amounts:
    """Tell what each step keeps, forgets, adds and takes away."""
    i, f, g, before = (array.astype(np.float64) for array in (gates.i, gates.f, gates.g, gates.before))
    kept, written = f * before, i * g
    taken = np.where(kept * written < 0, np.minimum(np.abs(kept), np.abs(written)), 0)
    return Amounts(np.abs(kept), np.abs(before) - np.abs(kept), np.abs(written) - taken, taken)


def gates_of(weights: Mapping[str, Array], x: Array, form: fastlstm.Form | None = None) -> Gates:
    """Run a layer over x [T, B, I] from zero states, and look inside."""
    lstm = fastlstm.LSTM(x.shape[2], weights["weight_hh_l0"].shape[1], dtype=x.dtype, form=form)
    lstm.load_state_dict(weights)
    trace = lstm.trace(x)
    return Gates(*(array[0, 0] for array in (trace.i, trace.f, trace.g, trace.o, trace.c, trace.c_prev)))
