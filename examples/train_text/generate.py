"""New text, one character at a time, by a stream: each step costs one step, however much was written before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .corpus import ALPHABET, encode
from .model import Model

PROMPT = "\n\ndef "
TEMPERATURE = 0.6  # below 1: the likelier characters more often than the model itself would say


def write(model: Model, length: int, rng: np.random.Generator) -> Iterator[str]:
    """Yield `length` characters that follow the prompt."""
    stream = model.lstm.stream()
    embedding = model.parameters["embedding"]
    h = np.zeros(model.lstm.hidden_size, np.float32)
    for number in encode(PROMPT):
        h = stream.step(embedding[number])
    for _ in range(length):
        number = _draw(model.logits(h[None])[0].astype(np.float64), rng.random())
        yield ALPHABET[number]
        h = stream.step(embedding[number])


def _draw(logits: np.ndarray[tuple[int], np.dtype[np.float64]], uniform: float) -> int:
    """Draw a number: `uniform` picks a place on the line of all probabilities laid end to end."""
    line = np.exp((logits - logits.max()) / TEMPERATURE).cumsum()
    return min(int(np.searchsorted(line, uniform * line[-1], side="right")), len(line) - 1)
