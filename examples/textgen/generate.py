"""New text, one character at a time: ask the model, draw a character, show it, move the window on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .check import Checker
from .model import Activations, TextModel
from .texts import EDGE, PADDING, WINDOW, Numbers, window
from .weights import Floats

BLOCK = 64  # answers that are kept before they are checked: bounds the memory, whatever the length


@dataclass(frozen=True)
class Written:
    """What was written, how long the model took for it, and how often float64 would have drawn the same."""

    text: str
    seconds: float
    same_draws: int
    windows: Numbers


def draw(log_probabilities: Floats, temperature: float, uniform: float) -> int:
    """Draw a character's number; temperature 0 takes the likeliest, 1 the model's own probabilities.

    `uniform` in [0, 1) picks the place on the line of all probabilities laid end to end. The padding is never drawn.
    """
    scores = log_probabilities.astype(np.float64)
    scores[PADDING] = -np.inf
    if temperature == 0:
        return int(scores.argmax())
    line = np.exp((scores - scores.max()) / temperature).cumsum()
    return min(int(np.searchsorted(line, uniform * line[-1], side="right")), scores.size - 1)


def write(
    model: TextModel, checker: Checker, length: int, temperature: float, seed: int, show: Callable[[str], None]
) -> Written:
    """Write `length` characters, handing each to `show` as it is made; an ended text is followed by a new one.

    The clock runs for the model and the draw, not for the terminal and not for the check.
    """
    character = {number: text for text, number in model.weights.vocabulary.items()}
    edge = model.weights.vocabulary[EDGE]
    uniforms = np.random.default_rng(seed)
    numbers, written, seen = [edge], list[str](), list[Numbers]()
    pending: list[tuple[Numbers, Activations, float, int]] = []
    seconds, same = 0.0, 0
    while len(written) < length:
        shown, uniform = window(numbers)[None], uniforms.random()
        start = time.perf_counter()
        answer = model(shown)
        number = draw(answer.log_probabilities[0], temperature, uniform)
        seconds += time.perf_counter() - start
        # A text that ends starts the next one: the model then sees an empty past again.
        numbers = [edge] if number == edge else [*numbers[-WINDOW:], number]
        written.append("\n" if number == edge else character[number])
        show(written[-1])
        seen.append(shown[0])
        pending.append((shown, answer, uniform, number))
        if len(pending) == BLOCK or len(written) == length:
            same += _settle(pending, checker, temperature)
            pending.clear()
    return Written("".join(written), seconds, same, np.array(seen, dtype=np.int64))


def _settle(pending: list[tuple[Numbers, Activations, float, int]], checker: Checker, temperature: float) -> int:
    """Check a block of answers in float64; return how many of the draws float64 would have made alike."""
    windows = np.concatenate([shown for shown, _, _, _ in pending])
    parts = [answer.named() for _, answer, _, _ in pending]
    # The layers' outputs are [T, B, H], the rest begins with B: the axis of the batch differs.
    used = Activations(
        **{name: np.concatenate([part[name] for part in parts], axis=parts[0][name].ndim - 2) for name in parts[0]}
    )
    exact = checker.check(windows, used, "writing").log_probabilities
    return sum(
        draw(row, temperature, uniform) == number for row, (_, _, uniform, number) in zip(exact, pending, strict=True)
    )
