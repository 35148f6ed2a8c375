"""Clipping, and Adam's step.

Source: Kingma and Ba, Adam: a method for stochastic optimization (2015); clipping by the norm: Pascanu, Mikolov and
Bengio, On the difficulty of training recurrent neural networks (2013).
"""

from __future__ import annotations

import math

import numpy as np

from .model import Parameters

RATE, BETA_1, BETA_2, EPSILON = 4e-3, 0.9, 0.99, 1e-8
MOST_NORM = 1.0  # usual is 0.2 to 0.3, and 0.8 in one step of a hundred: cuts the rare leap, and nothing else


def clip(gradients: Parameters) -> float:
    """Scale gradients in place so that their norm together is at most `MOST_NORM`; return what it was."""
    # In float64: the squares neither overflow nor vanish.
    norm = math.sqrt(sum(float(np.square(gradient, dtype=np.float64).sum()) for gradient in gradients.values()))
    if norm > MOST_NORM:
        for gradient in gradients.values():
            gradient *= np.float32(MOST_NORM / norm)
    return norm


def update(parameters: Parameters, gradients: Parameters, means: Parameters, squares: Parameters, step: int) -> None:
    """Take step 1, 2, ... in place; `means` and `squares` are the moving averages, zeros at first."""
    for name, gradient in gradients.items():
        m, v = means[name], squares[name]
        m += (1 - BETA_1) * (gradient - m)
        v += (1 - BETA_2) * (gradient * gradient - v)
        # The averages began at zero: these factors undo that.
        mean, square = m / (1 - BETA_1**step), v / (1 - BETA_2**step)
        parameters[name] -= RATE * mean / (np.sqrt(square) + EPSILON)
