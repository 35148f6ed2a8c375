"""Every number again in float64, by the NumPy reference, and the bound on how far float32 may be off.

Why these bounds. This model's weights are large (up to 7.7 in the LSTM layers, 17 in the dense one), so its
pre-activations are sums of 228 and 256 products that reach tens. Each of those roundings is at most 2**-24 of the sum
so far, about 1e-6; as random errors they come to some 1e-5 in a pre-activation, and the cell carries that on through
up to 40 steps that mostly forget. Three independent float32 implementations (NumPy, torch, onnxruntime) agree: on the
Zen of Python and on 2000 characters of Python's licence each is up to 3e-5 from float64 in h, 1e-5 in the average
(which smooths), 1.4e-4 in a logit (356 products more, each column's weights with a sum of up to 900). The bounds are
about 15 times that, for texts that nobody has tried. The mistakes that they are there for, such as a wrong gate,
layout or state, or an activation good to three digits only, are beyond them.
"""

from __future__ import annotations

import numpy as np

from .engines import numpy_engine
from .model import Activations, TextModel
from .texts import Numbers
from .weights import Weights

BOUNDS = {"lstm_1": 5e-4, "lstm_2": 5e-4, "average": 1.5e-4, "logits": 2e-3, "log_probabilities": 2e-3}


class BreachError(Exception):
    """A number was further from float64 than its bound; the message says which."""


class Checker:
    """Recomputes in float64 what was used, and keeps the largest difference of each kind and how many were compared."""

    def __init__(self, weights: Weights) -> None:
        self.model = TextModel(weights, numpy_engine(weights, np.float64), np.float64)
        self.worst = dict.fromkeys(BOUNDS, 0.0)
        self.compared = 0

    def check(self, windows: Numbers, used: Activations, who: str) -> Activations:
        """Compare `used` with float64 on the same windows [B, T]; raise BreachError, or return the float64 numbers."""
        exact = self.model(windows)
        for name, numbers in used.named().items():
            wanted = exact.named()[name]
            if numbers.shape != wanted.shape:
                raise BreachError(f"{who}: {name} has shape {numbers.shape}, the float64 reference {wanted.shape}.")
            error = float(np.max(np.abs(numbers - wanted), initial=0.0))
            if not error <= BOUNDS[name]:  # so that NaN is a breach, too
                raise BreachError(
                    f"{who}: {name} is {error:.2e} away from the float64 reference; allowed {BOUNDS[name]:.1e}."
                )
            self.worst[name] = max(self.worst[name], error)
            self.compared += numbers.size
        return exact
