"""What becomes of an LSTM when a part of it is replaced: small trainings, five seeds each.

Every variant is a form of the same kernels, or has a gate nailed open or shut, or two gates that share their weights.
All of them get the same tasks, sizes, steps and rates; a forget gate starts from a bias of 1.

    recall    three of four symbols, 12 blanks, then the three again: nothing may be lost on the way
    adding    30 numbers, two of them marked: their sum
    counting  a walk up and down by one, never below zero: where it is, at every step
    text      the Zen of Python, learned by heart: the next character, as one number for each that there is
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from textgen.texts import zen

import fastlstm

from .gates import OPEN, SHUT, Array
from .record import Study
from .weights import drawn

Parameters = dict[str, Array]
BETA_1, BETA_2, MOST_NORM = 0.9, 0.99, 1.0
PIECES = 10  #: of a stream


class Examples(NamedTuple):
    """Inputs [T, B, I], what is wanted [T, B, P], and how many steps at the end it is wanted in."""

    x: Array
    wanted: Array
    steps: int


def recall(rng: np.random.Generator, B: int) -> Examples:
    """Show three symbols, wait, and want them again."""
    shown, blanks = 3, 12
    symbols = rng.integers(0, 4, (shown, B))
    x = np.zeros((2 * shown + blanks, B, 5), np.float32)
    wanted = np.zeros((len(x), B, 4), np.float32)
    steps, rows = np.ix_(range(shown), range(B))
    x[steps, rows, symbols] = 1
    x[-shown:, :, 4] = 1  # now
    wanted[len(x) - shown + steps, rows, symbols] = 1
    return Examples(x, wanted, shown)


def adding(rng: np.random.Generator, B: int) -> Examples:
    """Show numbers and mark one in each half; want the sum of the two."""
    T, rows = 30, np.arange(B)
    x = np.zeros((T, B, 2), np.float32)
    x[:, :, 0] = rng.random((T, B))
    first, second = rng.integers(0, T // 2, B), T // 2 + rng.integers(0, T // 2, B)
    x[first, rows, 1] = x[second, rows, 1] = 1
    wanted = np.zeros((T, B, 1), np.float32)
    wanted[-1, :, 0] = x[first, rows, 0] + x[second, rows, 0]
    return Examples(x, wanted, 1)


def counting(rng: np.random.Generator, B: int) -> Examples:
    """Show steps up and down; want the place, a tenth for each."""
    T, place = 30, np.zeros(B, np.int64)
    x, wanted = np.zeros((T, B, 1), np.float32), np.zeros((T, B, 1), np.float32)
    for t, up in enumerate(2 * rng.integers(0, 2, (T, B)) - 1):
        step = np.where(place == 0, 1, up)
        place = place + step
        x[t, :, 0], wanted[t, :, 0] = step, place / 10
    return Examples(x, wanted, T)


def text(rng: np.random.Generator, B: int) -> Examples:
    """Show pieces of the text; want the character after each."""
    T, whole = 30, "\n".join(zen())
    known = {character: k for k, character in enumerate(sorted(set(whole)))}
    characters = np.array([known[character] for character in whole])
    at = rng.integers(0, len(whole) - T, B) + np.arange(T)[:, np.newaxis]
    one_hot = np.eye(len(known), dtype=np.float32)
    return Examples(one_hot[characters[at]], one_hot[characters[at + 1]], T)


TASKS: dict[str, Callable[[np.random.Generator, int], Examples]] = {
    "recall": recall,
    "adding": adding,
    "counting": counting,
    "text": text,
}


class Variant(NamedTuple):
    """A form, the gates (of i, f, g, o) that are nailed to a pre-activation, and whether i and g share weights."""

    form: dict[str, Any]
    nailed: dict[int, float] = {}  # noqa: RUF012  never written to
    shared: bool = False


VARIANTS: dict[str, Variant] = {
    "LSTM": Variant({}),
    "no input gate: g alone": Variant({}, {0: OPEN}),
    "no forget gate": Variant({}, {1: OPEN}),
    "no output gate": Variant({}, {3: OPEN}),
    "i and g share weights": Variant({}, shared=True),
    "g by sigmoid: only adds": Variant({"candidate": "sigmoid"}),
    "sum instead of product": Variant({"summed": True}),
    "g linear": Variant({"candidate": "affine"}),
    "gates by tanh": Variant({"gate": "tanh"}),
    "no output tanh": Variant({"cell": "affine"}),
    "coupled: f = 1 - i": Variant({"coupled": True}),
    "plain recurrence": Variant({"cell": "affine"}, {0: OPEN, 1: SHUT, 3: OPEN}),
}


class Net:
    """An LSTM of a variant, and a linear layer on it: a second LSTM whose gates are nailed, so that it has the bits."""

    def __init__(self, I: int, H: int, P: int, variant: Variant, seed: int) -> None:
        self.variant, self.sizes = variant, (H, P)
        self.layer = fastlstm.LSTM(I, H, form=fastlstm.Form(**variant.form))
        self.head = fastlstm.LSTM(H, P, form=fastlstm.Form(candidate="affine", cell="affine"))
        self.weights = {"layer": drawn(I, H, 1.0, seed, np.float32), "head": drawn(H, P, 0.0, seed + 1, np.float32)}
        if variant.form.get("coupled"):  # f = 1 - i: the same bias of f
            self.weights["layer"]["bias_ih_l0"][:H] = -1
        self._constrain(self.weights, "weights")
        self.use()

    def _constrain(self, of: dict[str, Parameters], what: str) -> None:
        """Keep nailed gates nailed and shared ones alike: of weights, or of their gradients."""
        H, P = self.sizes
        nailed = {"layer": self.variant.nailed, "head": {0: OPEN, 1: SHUT, 3: OPEN}}
        for part, size in (("layer", H), ("head", P)):
            for name, array in of[part].items():
                gates = array.reshape(4, size, -1)
                for gate, z in nailed[part].items():
                    gates[gate] = z if (what, name) == ("weights", "bias_ih_l0") else 0
                if part == "head" and name == "weight_hh_l0":
                    gates[2] = 0
                if part == "layer" and self.variant.shared:
                    gates[2] = gates[0] = gates[0] + gates[2] if what == "gradients" else gates[0]

    def use(self) -> None:
        """Take the weights as they are now."""
        self.layer.load_state_dict(self.weights["layer"])
        self.head.load_state_dict(self.weights["head"])

    def gradients(self, given: Examples) -> dict[str, Parameters]:
        """Return those of the mean square error."""
        h, _, tape = self.layer.forward(given.x)
        y, _, head_tape = self.head.forward(h)
        error = np.zeros_like(y)
        error[-given.steps :] = (y - given.wanted)[-given.steps :] * np.float32(2 / (given.steps * y[0].size))
        head = self.head.backward(head_tape, error)
        made = {"layer": self.layer.backward(tape, head.input).parameters, "head": head.parameters}
        self._constrain(made, "gradients")
        return made

    def error(self, given: Examples) -> float:
        """Return the mean square error where an answer is wanted."""
        y = self.head(self.layer(given.x)[0])[0]
        square = ((y - given.wanted)[-given.steps :].astype(np.float64) ** 2).ravel().tolist()
        return math.fsum(square) / len(square)


class Adam:
    """Its averages, and a step: in place, with the gradients' norm cut."""

    def __init__(self, weights: dict[str, Parameters], rate: float) -> None:
        self.rate = rate
        self.weights = [(part, name) for part, of in weights.items() for name in of]
        self.mean = [np.zeros_like(weights[part][name]) for part, name in self.weights]
        self.square = [np.zeros_like(mean) for mean in self.mean]
        self.steps = 0

    def step(self, weights: dict[str, Parameters], gradients: dict[str, Parameters]) -> None:
        """Change the weights."""
        self.steps += 1
        all_ = [gradients[part][name] for part, name in self.weights]
        norm = math.sqrt(math.fsum(value * value for each in all_ for value in each.ravel().tolist()))
        cut = np.float32(min(1, MOST_NORM / norm) if norm else 1)
        rates = self.rate / (1 - BETA_1**self.steps), 1 - BETA_2**self.steps
        for (part, name), gradient, mean, square in zip(self.weights, all_, self.mean, self.square, strict=True):
            given = gradient * cut
            mean += np.float32(1 - BETA_1) * (given - mean)
            square += np.float32(1 - BETA_2) * (given * given - square)
            size = np.sqrt(square / np.float32(rates[1])) + np.float32(1e-8)
            weights[part][name] -= np.float32(rates[0]) * (mean / size)


def drift(net: Net, test: Examples) -> list[float]:
    """Return the mean of |c| in each of ten examples that are read in a row, as one stream of ten times the length."""
    rows = test.x.shape[1] // PIECES
    pieces = [test.x[:, piece * rows : (piece + 1) * rows] for piece in range(PIECES)]
    cells = np.split(np.abs(net.layer.trace(np.concatenate(pieces)).c[0, 0]), PIECES)
    return [math.fsum(piece.ravel().tolist()) / piece.size for piece in cells]


def saturated(net: Net, test: Examples) -> dict[str, float]:
    """Return the shares of steps in which gates and candidate are in the lowest or the highest tenth of their range."""
    trace, form, made = net.layer.trace(test.x), net.layer.form, {}
    for at, gate in enumerate("ifgo"):
        activation = form.candidate if gate == "g" else form.gate
        if isinstance(activation, str) and at not in net.variant.nailed:  # what is linear has no range
            value = getattr(trace, gate)
            low, high = (0.1, 0.9) if activation == "sigmoid" else (-0.8, 0.8)
            made[gate] = int(((value < low) | (value > high)).sum()) / value.size
    return made


def curves(
    task: str, variant: str, H: int, B: int, rate: float, steps: int, every: int, seeds: list[int]
) -> dict[str, Any]:
    """Train from each seed; return the errors on examples that are never trained on, `every` so many steps.

    And of the trained layers: how large cells become along a stream, and how often gates are at an end.
    """
    test = TASKS[task](np.random.default_rng([1, 0]), 100)
    made, cells, ends = [], [], []
    for seed in seeds:
        net = Net(test.x.shape[2], H, test.wanted.shape[2], VARIANTS[variant], 2 * seed)
        rng, adam, errors = np.random.default_rng([seed, 4]), Adam(net.weights, rate), [net.error(test)]
        for step in range(1, steps + 1):
            adam.step(net.weights, net.gradients(TASKS[task](rng, B)))
            net.use()
            if step % every == 0:
                errors.append(net.error(test))
        made.append(errors)
        cells.append(drift(net, test))
        ends.append(saturated(net, test))
    return {"step": list(range(0, steps + 1, every)), "errors": made, "cells": cells, "saturated": ends}


FULL = {"H": 16, "B": 32, "rate": 0.01, "steps": 1000, "every": 50, "seeds": [0, 1, 2, 3, 4]}
SMALL = {"H": 5, "B": 3, "rate": 0.01, "steps": 6, "every": 2, "seeds": [0, 1]}

STUDY: Study = {
    **{
        f"{task}, {variant}": ({"task": task, "variant": variant, **FULL}, curves)
        for task in TASKS
        for variant in VARIANTS
    },
    **{f"small, {variant}": ({"task": "recall", "variant": variant, **SMALL}, curves) for variant in VARIANTS},
}
