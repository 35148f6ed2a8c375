"""Units of trained models by what they react to, found by correlation, not by hand.

For each label (labels.py) the unit whose cell follows it best is chosen on one text, and measured on another that it
was not chosen on. What luck can do is measured beside it: the same labels, shifted against the text, and the best of
all units. All labels are kept, with those that no unit follows.

Correlations are exact: cells are rounded to whole 1024ths, and sums of whole numbers have no order.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from textgen import texts
from train_text.corpus import ALPHABET, encode

import fastlstm

from . import labels, published, trained
from .gates import Array, Gates, amounts_of, gates_of
from .labels import Labels
from .record import Study

GRID = 1024
EVENTS = ("newline", "blank")  #: labels of single characters, which forget gates are asked about, not cells
SHIFTS = 99

#: What is shown: written for this page, so that no model was trained on it and no unit chosen.
SHOWN = '''\
def area(shape, unit="cm"):
    """Return how large a shape is."""
    if shape.kind == "circle":
        return 3.14 * shape.radius ** 2
    for side in shape.sides:
        if side < 0:  # not a length
            raise ValueError("a side is negative")
    return sum(part(a, (b, c)) for a, b, c in shape)
'''


class Read(NamedTuple):
    """A text as a layer has read it: gates [N, H] and labels [N] of N characters."""

    gates: Gates
    labels: Labels


# ---- correlation -----------------------------------------------------------------------------------------------------


def correlations(cells: Array, label: Array, shifts: list[int]) -> list[list[float]]:
    """Return those of a label, shifted so far, with each column of whole numbers: in float64 all sums are exact."""
    n, y = len(label), label.astype(np.float64)
    products = np.stack([np.roll(y, shift) for shift in shifts]) @ cells
    totals, squares = (list(map(int, each.tolist())) for each in (cells.sum(axis=0), (cells * cells).sum(axis=0)))
    y_total, y_square = int(y.sum()), int((y * y).sum())
    spreads = [
        (n * square - total * total) * (n * y_square - y_total * y_total)
        for total, square in zip(totals, squares, strict=True)
    ]
    return [
        [
            (n * int(product) - total * y_total) / math.sqrt(spread) if spread else 0.0
            for product, total, spread in zip(row, totals, spreads, strict=True)
        ]
        for row in products.tolist()
    ]


def _whole(values: Array) -> Array:
    made: Array = np.rint(values.astype(np.float64) * GRID)
    return made


def _follows(read: Read, label: str) -> Array:
    return _whole(read.gates.f if label in EVENTS else read.gates.c)


def _best(found: list[float]) -> int:
    return max(range(len(found)), key=lambda unit: abs(found[unit]))


def found(chosen_on: Read, measured_on: Read, label: str, seed: int) -> dict[str, Any]:
    """Choose the unit on one text and measure it on the other; and the best of all units where labels are shifted."""
    (first,) = correlations(_follows(chosen_on, label), chosen_on.labels[label], [0])
    unit = _best(first)
    cells, told = _follows(measured_on, label), measured_on.labels[label]
    shifts = np.random.default_rng([seed, 7]).integers(len(told) // 10, len(told) - len(told) // 10, SHIFTS).tolist()
    second, *luck = correlations(cells, told, [0, *shifts])
    return {
        "of": "f" if label in EVENTS else "c",
        "unit": unit,
        "chosen": first[unit],
        "measured": second[unit],
        "best_measured": _best(second),
        "most_by_luck": max(abs(each) for row in luck for each in row),
    }


# ---- what a unit does to its cell ------------------------------------------------------------------------------------


def _amounts(gates: Gates, unit: int) -> dict[str, Array]:
    """Return what the steps of a unit do."""
    own = Gates(*(array[:, unit].astype(np.float64) for array in gates))
    amounts = amounts_of(own)
    seen = {"f": own.f, "i": own.i, "before": own.before, "after": own.c, "size": np.abs(own.before)}
    return seen | {"forgotten": amounts.forgotten, "taken": amounts.taken, "added": amounts.added}


def steps(read: Read, label: str, unit: int) -> dict[str, Any]:
    """Average what steps do to the cell where the label rises, where it falls, and elsewhere.

    Of an event, rises are where it is, and there are no falls.
    """
    told, amounts = read.labels[label], _amounts(read.gates, unit)
    change = told if label in EVENTS else np.diff(told, prepend=told[0])
    made: dict[str, Any] = {}
    for name, where in (("rises", change > 0), ("falls", change < 0), ("else", change == 0)):
        count = int(where.sum())
        made[name] = {"steps": count} | {
            what: math.fsum(values[where].tolist()) / count for what, values in amounts.items() if count
        }
    return made


def totals(read: Read) -> dict[str, float]:
    """Average the same over all steps of all units; and how many cells are so large that tanh(c) is past 0.96."""
    n, H = read.gates.c.shape
    sums: dict[str, list[float]] = {"size": [], "forgotten": [], "taken": [], "added": []}
    for unit in range(H):
        amounts = _amounts(read.gates, unit)
        for what, of_units in sums.items():
            of_units.append(math.fsum(amounts[what].tolist()))
    large = int((np.abs(read.gates.c) > 2).sum()) / (n * H)
    return {what: math.fsum(of_units) / (n * H) for what, of_units in sums.items()} | {"large": large}


def levels(read: Read, label: str, unit: int) -> list[list[float]]:
    """Return for every value of a label: the value, how many steps have it, and the mean cell."""
    told, c = read.labels[label], read.gates.c[:, unit]
    made = []
    for level in sorted(set(told.tolist())):
        values = c[told == level].tolist()
        made.append([level, len(values), math.fsum(values) / len(values)])
    return made


# ---- a model of code -------------------------------------------------------------------------------------------------

CODE = ("quoted", "docstring", "comment", "brackets", "indent", "column", "word", "newline")


class Model(NamedTuple):
    """What a model is trained by, and the two texts."""

    H: int
    candidate: str
    steps: int
    seed: int
    training: str
    held_out: str


@functools.cache
def _net(model: Model) -> trained.Net:
    text = trained.source(trained.TRAINING_MODULES, model.training)
    return trained.trained(text, model.H, model.candidate, model.steps, model.seed)


def _of_code(net: trained.Net, text: Array) -> Read:
    gates = gates_of(net.weights["layer"], net.embed(text[:, np.newaxis]), net.layer.form)
    return Read(Gates(*(array[:, 0] for array in gates)), labels.of_code("".join(ALPHABET[k] for k in text)))


@functools.cache
def _code(model: Model) -> tuple[Read, Read]:
    """Return the text that the model was trained on, and the one that it never saw."""
    first = trained.source(trained.TRAINING_MODULES, model.training)
    return _of_code(_net(model), first), _of_code(_net(model), trained.source(trained.HELD_OUT_MODULES, model.held_out))


@functools.cache
def _found(model: Model) -> dict[str, Any]:
    return {label: found(*_code(model), label, model.seed) for label in CODE}


def training(**model: Any) -> dict[str, Any]:
    """Train; return nats a character on the text that was never seen, and what all cells do there.

    And digits that stand for all weights.
    """
    given = Model(**model)
    net = _net(given)
    loss = net.loss(trained.source(trained.HELD_OUT_MODULES, given.held_out))
    return {"held_out": loss, "weights": trained.fingerprint(net.weights), "cells": totals(_code(given)[1])}


def code(**model: Any) -> dict[str, Any]:
    """Find the units."""
    return _found(Model(**model))


def code_steps(**model: Any) -> dict[str, Any]:
    """Tell what each found unit does to its cell, on the text that was never seen."""
    given = Model(**model)
    read = _code(given)[1]
    return {label: steps(read, label, told["unit"]) for label, told in _found(given).items()}


def code_levels(labels_: list[str], **model: Any) -> dict[str, Any]:
    """Tell how large the cell is for each value of a label, on the text that was never seen."""
    given = Model(**model)
    return {label: levels(_code(given)[1], label, _found(given)[label]["unit"]) for label in labels_}


def code_shown(**model: Any) -> dict[str, Any]:
    """Read the text that is shown; return each unit's cells, or forget gates, in 1024ths."""
    given = Model(**model)
    read = _of_code(_net(given), encode(SHOWN))
    return {"text": SHOWN} | {
        label: _follows(read, label)[:, told["unit"]].astype(int).tolist() for label, told in _found(given).items()
    }


def small(H: int, steps_: int, T: int, B: int, seed: int) -> dict[str, Any]:
    """Train on what is shown, a little, and find units on its halves: all of the above, small."""
    text = encode(SHOWN)
    net = trained.trained(text, H, "tanh", steps_, seed, T, B)
    read = _of_code(net, text)
    half = SHOWN.index("\n    for") + 1
    halves = [
        Read(Gates(*(array[part] for array in read.gates)), {name: each[part] for name, each in read.labels.items()})
        for part in (slice(0, half), slice(half, None))
    ]
    units = {label: found(*halves, label, seed) for label in ("quoted", "brackets", "newline")}
    return {
        "loss": net.loss(text),
        "weights": trained.fingerprint(net.weights),
        "found": units,
        "steps": {label: steps(read, label, told["unit"]) for label, told in units.items()},
        "levels": levels(read, "brackets", units["brackets"]["unit"]),
        "cells": totals(read),
    }


# ---- the published model ---------------------------------------------------------------------------------------------

WORDS = ("quoted", "parenthesis", "word", "blank")


def marked(half: int, count: int, seed: int) -> list[str]:
    """Return beginnings of the even or the odd lines of the Zen of Python, with quotes or parentheses put in."""
    zen, rng = texts.zen(), np.random.default_rng([seed, 8, half])
    made = []
    for _ in range(count):
        line = half + 2 * int(rng.integers(len(zen) // 2))
        words = f"{zen[line]} {zen[(line + 1) % len(zen)]}".split(" ")
        opens, closes = (('"', '"'), ("(", ")"))[int(rng.integers(2))]
        first = int(rng.integers(1, 5))
        last = first + int(rng.integers(3))
        words[first] = opens + words[first]
        words[last] += closes
        made.append(" ".join(words)[: texts.WINDOW - 1])
    return made


def _of_words(lines: list[str]) -> Read:
    """Read lines as windows, from zero states, by both layers; units of the second come after those of the first."""
    model = published.published_model()
    windows = np.array([texts.encode(line, model.vocabulary)[0][: texts.WINDOW] for line in lines]).T
    x = model.embedding[np.ascontiguousarray(windows)]
    first = gates_of(model.lstm_1, x)
    below = fastlstm.LSTM(x.shape[2], first.c.shape[2])
    below.load_state_dict(model.lstm_1)
    layers = first, gates_of(model.lstm_2, below(x)[0])
    joined = (
        np.concatenate([each.swapaxes(0, 1).reshape(windows.size, -1) for each in both], axis=1)
        for both in zip(*layers, strict=True)
    )
    told = [labels.of_words("^" + line) for line in lines]
    return Read(Gates(*joined), {name: np.concatenate([each[name] for each in told]) for name in told[0]})


@functools.cache
def _words(count: int, seed: int) -> tuple[Read, Read]:
    return _of_words(marked(0, count, seed)), _of_words(marked(1, count, seed))


def words(count: int, seed: int) -> dict[str, Any]:
    """Find the units: chosen on the even lines, measured on the odd ones."""
    return {label: found(*_words(count, seed), label, seed) for label in WORDS}


def words_steps(count: int, seed: int) -> dict[str, Any]:
    """Tell what each found unit does to its cell, on the odd lines."""
    read = _words(count, seed)[1]
    return {label: steps(read, label, told["unit"]) for label, told in words(count, seed).items()}


def words_shown(count: int, seed: int, lines: list[str]) -> dict[str, Any]:
    """Read lines; return each unit's cells, or forget gates, in 1024ths."""
    read = _of_words(lines)
    return {"text": lines} | {
        label: _follows(read, label)[:, told["unit"]].astype(int).tolist() for label, told in words(count, seed).items()
    }


# ---- the study -------------------------------------------------------------------------------------------------------

MODEL = {"H": 128, "steps": 5000, "seed": 0, "training": "a709251a35566c05", "held_out": "347c64c6dbf6b00a"}
MARKED = {"count": 600, "seed": 0}
LINES = [
    'Now is "better than" never. Although it',
    "Although (that way) may not be obvious ",
]

STUDY: Study = {
    **{
        f"{what}, {candidate}": ({"candidate": candidate, **MODEL}, compute)
        for candidate in ("tanh", "sigmoid")
        for what, compute in (("training", training), ("code", code), ("steps", code_steps), ("shown", code_shown))
    },
    "levels": ({"candidate": "tanh", "labels_": ["brackets", "indent"], **MODEL}, code_levels),
    "words": (MARKED, words),
    "words, steps": (MARKED, words_steps),
    "words, shown": ({"lines": LINES, **MARKED}, words_shown),
    "small": ({"H": 6, "steps_": 8, "T": 12, "B": 3, "seed": 0}, small),
}
