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


def gates_of(weights: Mapping[str, Array], x: Array) -> Gates:
    """Run a layer over x [T, B, I] from zero states.

    A gate is read off a cell that shows it: with the gate's own weights where the input gate's stand, a candidate of 1
    and nothing kept, the new cell is the gate.
    """
    H = weights["weight_hh_l0"].shape[1]
    lstm = fastlstm.LSTM(x.shape[2], H, dtype=x.dtype)
    lstm.load_state_dict(weights)
    stream = lstm.stream(batch_size=x.shape[1])
    zero = np.zeros((x.shape[1], H), x.dtype)
    h, c = [zero], [zero]
    for row in x:
        h.append(stream.step(row).copy())
        c.append(stream.state[1][0].copy())
    inputs = x.reshape(-1, x.shape[2]), np.stack(h[:-1]).reshape(-1, H)
    shape = (*x.shape[:2], H)
    read = [_shown(weights, gate, *inputs).reshape(shape) for gate in range(4)]
    return Gates(*read, np.stack(c[1:]), np.stack(c[:-1]))


def _shown(weights: Mapping[str, Array], gate: int, x: Array, h: Array) -> Array:
    H = h.shape[1]
    cell = fastlstm.LSTMCell(x.shape[1], H, dtype=x.dtype)
    made = {name: np.zeros_like(array) for name, array in cell.state_dict().items()}
    to, const = (2, 0) if gate == 2 else (0, 2)  # the candidate shows itself, by an open input gate
    for name, array in made.items():
        array[to * H : (to + 1) * H] = weights[f"{name}_l0"][gate * H : (gate + 1) * H]
    made["bias_ih"][const * H : (const + 1) * H] = OPEN
    made["bias_ih"][H : 2 * H] = SHUT
    cell.load_state_dict(made)
    shown: Array = cell(x, (h, np.zeros_like(h)))[1]
    return shown
