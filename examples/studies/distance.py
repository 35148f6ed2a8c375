"""How far back gradients reach: LSTMs whose forget gates start open or half shut, and plain recurrences.

A plain recurrence, h' = tanh(W x + U h), is an LSTM whose gates are nailed: i and o open, f shut, and the cell shown as
it is. So both run on the same code, and to the same bits everywhere.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastlstm

from .gates import OPEN, SHUT, Array, gates_of
from .record import Study
from .weights import drawn, inputs, orthogonal, spread

I = 16


def _distances(T: int) -> list[int]:
    return [k for k in range(T) if k <= 20 or k % 10 == 0]


def _norm(values: list[float]) -> float:
    """Return the square root of the sum of squares, scaled by a power of two, so that no square vanishes."""
    _, exponent = math.frexp(max(map(abs, values)))
    return math.ldexp(math.sqrt(math.fsum(math.ldexp(a, -exponent) ** 2 for a in values)), exponent)


def _norms(array: Array) -> list[float]:
    """Return the norms of [T, B, n] over B and n at some distances from the last step, as shares of that."""
    norms = [_norm(array[-1 - k].ravel().tolist()) for k in _distances(len(array))]
    return [norm / norms[0] for norm in norms]


def _gradients(lstm: fastlstm.LSTM[Any], x: Array, direction: Array) -> Array:
    output, _, tape = lstm.forward(x)
    grad_output = np.zeros_like(output)
    grad_output[-1] = direction
    made: Array = lstm.backward(tape, grad_output).input
    return made


def lstm(T: int, B: int, H: int, forget_bias: float, seed: int) -> dict[str, Any]:
    """Measure how much of a gradient of the last output reaches the input of each step, and of a cell each cell.

    whole  d output / d input, k steps back, its norm as a share of that at the last step
    cell   dc'/dc along the cells alone, which is the product of the forget gates; root mean square
    """
    weights = drawn(I, H, forget_bias, seed, np.float64)
    x = inputs(T, B, I, seed)
    layer = fastlstm.LSTM(I, H, dtype="float64")
    layer.load_state_dict(weights)
    direction = spread(np.random.default_rng([seed, 2]), (B, H), 1.0)
    f = gates_of(weights, x).f
    along = np.ones_like(f)
    for t in range(T - 2, -1, -1):
        along[t] = along[t + 1] * f[t + 1]
    return {"distance": _distances(T), "whole": _norms(_gradients(layer, x, direction)), "cell": _norms(along)}


def plain(T: int, B: int, H: int, is_orthogonal: bool, seed: int) -> dict[str, Any]:
    """Measure the same in a plain recurrence, whose U is drawn as the LSTM's, or is orthogonal."""
    rng, bound = np.random.default_rng(seed), 1 / math.sqrt(H)
    weights = {name: np.zeros_like(array) for name, array in drawn(I, H, 0.0, seed, np.float64).items()}
    weights["weight_ih_l0"][2 * H : 3 * H] = spread(rng, (H, I), bound)
    weights["weight_hh_l0"][2 * H : 3 * H] = orthogonal(H, rng) if is_orthogonal else spread(rng, (H, H), bound)
    bias = weights["bias_ih_l0"].reshape(4, H)
    bias[0], bias[1], bias[3] = OPEN, SHUT, OPEN
    layer = fastlstm.LSTM(I, H, dtype="float64", form=fastlstm.Form(cell="affine"))
    layer.load_state_dict(weights)
    direction = spread(np.random.default_rng([seed, 2]), (B, H), 1.0)
    return {"distance": _distances(T), "whole": _norms(_gradients(layer, inputs(T, B, I, seed), direction))}


def study(T: int, B: int, H: int) -> Study:
    """Return the cells for sizes."""
    sizes = {"T": T, "B": B, "H": H}
    made: dict[str, Any] = {
        f"LSTM, forget bias {bias}": (sizes | {"forget_bias": float(bias), "seed": 0}, lstm) for bias in (0, 1, 3, 6)
    }
    made["tanh"] = (sizes | {"is_orthogonal": False, "seed": 0}, plain)
    made["tanh, orthogonal U"] = (sizes | {"is_orthogonal": True, "seed": 0}, plain)
    return made


STUDY: Study = study(1001, 8, 64)
