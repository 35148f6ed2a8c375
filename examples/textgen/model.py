"""The text model: everything around the two LSTM layers, in NumPy, for float32 and float64 alike.

    window of 40 characters -> embedding x -> LSTM 1 -> LSTM 2           each step sees the steps before it, from zero
    [x, h1, h2] joined      -> attention: one weighted average over the 40 steps
                            -> dense -> softmax over the characters      the next character's probabilities

The attention looks at the whole window and the model has never seen a longer past, so each new character means a new
window from a zero state: 80 LSTM steps. (Carrying the state on instead is 40 times less work, and wrong: the loss on
the Zen of Python rises from 1.5 to 2.2 nats a character, and with the lines joined into one long text to 4.3.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .texts import Numbers
from .weights import Floats, Weights

# What the layers read: characters [T, B], and what they stand for, x [T, B, E]; an engine takes either.
Inputs = tuple[Numbers, Floats]
# -> the outputs [T, B, H] of the first and of the second layer.
Engine = Callable[[Inputs], tuple[Floats, Floats]]

KERAS_EPSILON = 1e-7  # the package's attention layer adds it to the sum that it divides by


@dataclass(frozen=True)
class Activations:
    """Every number on the way from B windows to B answers."""

    lstm_1: Floats  # [T, B, H]
    lstm_2: Floats  # [T, B, H]
    average: Floats  # [B, C]
    logits: Floats  # [B, V + 1]
    log_probabilities: Floats  # [B, V + 1], natural logarithm

    def named(self) -> dict[str, Floats]:
        """Return the arrays by name, in the order of the work."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class TextModel:
    """The published model with its two LSTM layers computed by `engine`, everything else in `dtype`."""

    def __init__(self, weights: Weights, engine: Engine, dtype: type[np.floating[Any]] = np.float32) -> None:
        self.weights = weights
        self.engine = engine
        self.embedding = weights.embedding.astype(dtype)
        self.attention = weights.attention.astype(dtype)
        self.dense = weights.dense.astype(dtype)
        self.dense_bias = weights.dense_bias.astype(dtype)

    def embed(self, windows: Numbers) -> Inputs:
        """Look up windows [B, T] -> the LSTM's input."""
        # The index contiguous, so that the result is, too.
        characters = np.ascontiguousarray(windows.T)
        return characters, self.embedding[characters]

    def __call__(self, windows: Numbers) -> Activations:
        """Tell what comes after windows [B, T], with everything that led there."""
        inputs = self.embed(windows)
        h1, h2 = self.engine(inputs)
        x = inputs[1]
        average = self._attend(np.concatenate([x, h1, h2], axis=2))
        logits = average @ self.dense + self.dense_bias
        return Activations(h1, h2, average, logits, log_softmax(logits))

    def _attend(self, joined: Floats) -> Floats:
        """Average [T, B, C] over the steps, weighted by attention as in the package's own layer -> [B, C]."""
        scores = joined @ self.attention
        shares = np.exp(scores - scores.max(axis=0))
        shares /= shares.sum(axis=0) + KERAS_EPSILON
        # As B products of (1, T) with (T, C): no weighted copy of `joined`.
        average: Floats = (shares.T[:, None, :] @ joined.transpose(1, 0, 2))[:, 0, :]
        return average


def log_softmax(logits: Floats) -> Floats:
    """Compute the logarithms of the probabilities along the last axis, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
