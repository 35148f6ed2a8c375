"""Weights and inputs of untrained layers: from NumPy's generator by sums and products alone, the same everywhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


def spread(rng: np.random.Generator, shape: tuple[int, ...], bound: float) -> Array:
    """Draw from -bound to bound."""
    return (2 * rng.random(shape) - 1) * bound


def inputs(T: int, B: int, I: int, seed: int) -> Array:
    """Draw inputs of variance 1."""
    return spread(np.random.default_rng([seed, 1]), (T, B, I), math.sqrt(3))


def drawn(I: int, H: int, forget_bias: float, seed: int, dtype: DTypeLike) -> dict[str, Array]:
    """Draw a layer as torch does, but for its biases: 0, and the forget gate's."""
    rng, bound = np.random.default_rng(seed), 1 / math.sqrt(H)
    bias = np.zeros(4 * H)
    bias[H : 2 * H] = forget_bias
    made = {
        "weight_ih_l0": spread(rng, (4 * H, I), bound),
        "weight_hh_l0": spread(rng, (4 * H, H), bound),
        "bias_ih_l0": bias,
        "bias_hh_l0": np.zeros(4 * H),
    }
    return {name: array.astype(dtype) for name, array in made.items()}


def orthogonal(H: int, rng: np.random.Generator) -> Array:
    """Make an orthogonal matrix: the product of H reflections, each at a random vector."""
    made = [[float(j == k) for k in range(H)] for j in range(H)]
    for _ in range(H):
        v = spread(rng, (H,), 1.0).tolist()
        square = math.fsum(a * a for a in v)
        for row in made:
            share = 2 * math.fsum(a * b for a, b in zip(row, v, strict=True)) / square
            row[:] = [a - share * b for a, b in zip(row, v, strict=True)]
    return np.array(made)
