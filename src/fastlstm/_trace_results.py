"""What traces are of, and what they tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ._forms import Form
from ._sizes import Sizes
from ._types import Array

Floats = NDArray[np.float64]


class Traced(NamedTuple):
    """The layer that a trace is of."""

    sizes: Sizes
    form: Form
    parameters: Mapping[str, Array]


class Gates(Protocol):
    """What reductions read of a trace."""

    @property
    def lengths(self) -> NDArray[np.int64]: ...
    @property
    def i(self) -> NDArray[Any]: ...
    @property
    def c(self) -> NDArray[Any]: ...
    @property
    def h(self) -> NDArray[Any]: ...
    @property
    def c_prev(self) -> NDArray[Any]: ...
    @property
    def h_prev(self) -> NDArray[Any]: ...


class Saturation(NamedTuple):
    """Shares of steps in which a gate is nearly shut, and nearly open; each [L, D, K]."""

    below: Floats
    above: Floats


class Balance(NamedTuple):
    """What a step does to the size of a cell, on average; each [L, D, K], none negative."""

    kept: Floats  #: abs(f * c) of the cell before the step
    forgotten: Floats  #: abs(c - f * c): what f alone has removed
    added: Floats  #: the part of abs(i * g) that makes the cell larger
    taken: Floats  #: the part of abs(i * g) that goes against the cell's sign, up to zero


class Actions(NamedTuple):
    """Shares of steps by what they do to a cell, five cases that exclude each other; each [L, D, K], their sum 1."""

    keep: Floats  #: f open, i closed
    add: Floats  #: both open, i * g with the cell's sign, or onto nothing
    take: Floats  #: both open, i * g against the cell's sign
    forget: Floats  #: both closed
    replace: Floats  #: f closed, i open


class Contribution(NamedTuple):
    """Where the pre-activation of a gate comes from: shares, each [L, D, K], their sum 1."""

    x: Floats  #: W x
    h: Floats  #: U h
    bias: Floats  #: b
    cell: Floats  #: the peephole's p * c


class GradientNorms(NamedTuple):
    """How much of a gradient is left at a distance from the last step; norms are root mean squares over units."""

    distance: NDArray[np.int64]  #: [N]: 0, 1, 2, ... steps back
    cell: Floats  #: [L, D, N]: dc/dc along the cells alone: products of f
    gate: Floats  #: [L, D, N]: dh/dh along the outputs alone, through U and the gates, with cells held
    both: Floats  #: [L, D, N]: dc/dc along all paths within the layer


def written_by(form: Form, i: Array, g: Array) -> Array:
    """Return what steps write, with its sign."""
    made: Array = i + g if form.summed else i * g
    return made


def amounts_of(before: Array, i: Array, f: Array, g: Array, form: Form) -> tuple[Array, Array, Array, Array]:
    """Return what steps do to the size of cells: kept, forgotten, added, taken, as in `Balance`, step by step."""
    kept, written = f * before, written_by(form, i, g)
    taken = taken_of(kept, written)
    return np.abs(kept), np.abs(before - kept), np.abs(written) - taken, taken


def half_life_of(mean_log: Floats) -> Floats:
    """Return ln 2 / -mean(ln abs(f)): infinity where cells do not become smaller, NaN where the mean is one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        made: Floats = np.where(mean_log < 0, np.log(2) / -mean_log, np.where(np.isnan(mean_log), np.nan, np.inf))
    return made


def taken_of(kept: Array, written: Array) -> Array:
    """Return how much of what is kept is taken away by what is written; NaN where one of them is."""
    most = np.minimum(np.abs(kept), np.abs(written))
    made: Array = np.where(are_against(kept, written) | np.isnan(most), most, kept.dtype.type(0))
    return made


def are_against(kept: Array, written: Array) -> Array:
    """Tell where what is written has the other sign than what is kept."""
    made: Array = np.sign(kept) * np.sign(written) < 0
    return made
