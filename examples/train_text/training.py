"""Truncated backpropagation through time: the text in chunks, the state carried over, gradients within a chunk."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np

from . import adam
from .corpus import Numbers, Pass, digest
from .model import EMBEDDING, Model, Parameters, States, initial, no_state

STEPS, ROWS = 50, 32  # T and B of a chunk


class DivergedError(Exception):
    """The loss is no number any more."""


@dataclass
class Progress:
    """All that training changes: what a checkpoint keeps, and what decides every later bit."""

    parameters: Parameters
    means: Parameters  # Adam's
    squares: Parameters
    states: States  # of the LSTM, after the last chunk
    rng: np.random.Generator
    offset: int  # of this pass over the text
    chunk: int  # the next one of it
    losses: list[float]  # one for each step taken

    @property
    def step(self) -> int:
        """How many steps have been taken."""
        return len(self.losses)

    def fingerprint(self) -> str:
        """Return the same 16 digits for the same losses, to the last bit."""
        return hashlib.sha256(np.array(self.losses, "<f8").tobytes()).hexdigest()[:16]


def begin(hidden: int, seed: int) -> Progress:
    """Draw a model that has learned nothing yet."""
    rng = np.random.default_rng(seed)
    parameters = initial(hidden, rng)
    means, squares = ({name: np.zeros_like(array) for name, array in parameters.items()} for _ in range(2))
    return Progress(parameters, means, squares, no_state(hidden, ROWS), rng, _offset(rng), 0, [])


def settings(hidden: int, seed: int, text: Numbers) -> dict[str, int | float | str]:
    """Name everything that must be the same for a run to be resumed; the number of threads need not be."""
    sizes: dict[str, int | float | str] = {
        "hidden": hidden,
        "embedding": EMBEDDING,
        "rows": ROWS,
        "steps of a chunk": STEPS,
    }
    rates = {"rate": adam.RATE, "beta 1": adam.BETA_1, "beta 2": adam.BETA_2, "most norm": adam.MOST_NORM}
    return {**sizes, **rates, "seed": seed, "text (each Python release has its own)": digest(text)}


def take_step(model: Model, progress: Progress, text: Numbers) -> float:
    """Learn from the next chunk; return the loss before learning from it."""
    reading = Pass(text, ROWS, STEPS, progress.offset)
    if progress.chunk == reading.chunks:
        # Each pass cuts the text elsewhere, so that no place is always the first of its chunk.
        progress.offset, progress.chunk = _offset(progress.rng), 0
        progress.states = no_state(model.lstm.hidden_size, ROWS)
        reading = Pass(text, ROWS, STEPS, progress.offset)
    loss, gradients, states = model.gradients(*reading.chunk(progress.chunk), progress.states)
    if not math.isfinite(loss):
        raise DivergedError(f"the loss is {loss} after {progress.step} steps")
    adam.clip(gradients)
    adam.update(progress.parameters, gradients, progress.means, progress.squares, progress.step + 1)
    model.use(progress.parameters)
    progress.states = states
    progress.chunk += 1
    progress.losses.append(loss)
    return loss


def _offset(rng: np.random.Generator) -> int:
    return int(rng.integers(STEPS))
