"""A trace in as many columns as can be looked at: of each the least, the largest and the mean, of all its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._trace_results import Floats, Traced, amounts_of, half_life_of
from .._types import Array

#: Of these a column has the least, the largest and the mean; of amounts the mean.
GATES: Final = ("i", "f", "g", "o", "c", "h")
AMOUNTS: Final = ("kept", "forgotten", "added", "taken")

COLUMNS: Final = 2048  # at most; a longer trace has half of them at least
FEWEST_COLUMNS: Final = 128
MAX_BYTES: Final = 48 * 2**20  # of a page: what a browser opens in a second
_NUMBERS_AT_ONCE: Final = 2**20
_NEAR: Final = 1e-2  # of the largest number of a state: what rounding to 16 bits leaves
_NOTHING: Final = {np.minimum: np.inf, np.maximum: -np.inf}  # of no steps
BYTES_A_NUMBER: Final = 2 * 4 / 3  # two, as base64


class Trace(Protocol):
    """What a picture reads of a trace."""

    _layer: Traced
    _every: int
    _first: tuple[Array | None, ...]
    i: Array
    f: Array
    g: Array
    o: Array
    c: Array
    tanh_c: Array
    h: Array
    output: Array
    h_n: Array
    c_n: Array

    @property
    def steps(self) -> NDArray[np.int64]: ...

    @property
    def units(self) -> NDArray[np.int64]: ...

    @property
    def lengths(self) -> NDArray[np.int64]: ...

    @property
    def valid(self) -> NDArray[np.bool_]: ...

    @property
    def times(self) -> NDArray[np.int64]: ...

    @property
    def c_prev(self) -> Array: ...


def length_of(trace: Trace) -> int:
    """Return T: steps of the call, kept or not."""
    sizes, rows = trace._layer.sizes, len(trace.lengths)
    return trace.output.size // (rows * sizes.D * sizes.R) if rows else 0


def carries_on(trace: Trace, before: Trace) -> bool:
    """Tell whether a trace begins where another one ended: with its state, and the same units and rows."""
    same = trace._layer.sizes == before._layer.sizes and trace.i.shape[3:] == before.i.shape[3:]
    if not same or trace.i.shape[1] == 2 or trace._every != before._every or length_of(before) % before._every:
        return False
    if not np.array_equal(trace.units, before.units):
        return False
    ends = (before.h_n, before.c_n)
    return all(_is_state(start, end) for start, end in zip(trace._first, ends, strict=True))


def _is_state(start: Array | None, end: Array) -> bool:
    """Tell whether a call started from a state; models compute it in their own way, with other last bits."""
    if start is None or start.size != end.size:
        return False
    one, other = start.ravel(), end.ravel()
    if np.array_equal(one, other, equal_nan=True):
        return True
    with np.errstate(invalid="ignore"):
        near = np.abs(one - other) <= _NEAR * np.abs(other).max()
    return bool(one.any() and (near | (np.isnan(one) & np.isnan(other)) | (one == other)).all())


class Choice(NamedTuple):
    """What of a trace is shown."""

    rows: Sequence[int] | None = None  # None: as many of the first as fit
    steps: tuple[int, int] | None = None  # from, to (without it); None: all
    max_bytes: int = MAX_BYTES


def checked_choice(rows: object, steps: object, max_bytes: object) -> Choice:
    """Check what is to be shown, as far as no trace is needed for it."""
    most = _checks.size(max_bytes, "max_bytes")
    chosen = None
    if rows is not None:
        given = _checks.read([rows] if _checks.is_number(rows) else rows, "rows", "integers")
        if given.ndim != 1 or not given.size or given.dtype.kind not in "iu":
            raise ValueError(f"rows should be integers, at least one, got: {rows!r}")
        chosen = [int(row) for row in given]
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"rows should name each row once, got: {rows!r}")
    if steps is None:
        return Choice(chosen, None, most)
    start, stop = (_checks.integer(step, "steps") for step in _checks.pair(steps, "steps", "(from, to)"))
    if not 0 <= start < stop:
        raise ValueError(f"steps should be (from, to), 0 <= from < to, got: ({start}, {stop})")
    return Choice(chosen, (start, stop), most)


class Overview:
    """Traces of one layer, piece after piece, in columns of as many steps each as it takes to fit."""

    def __init__(self, trace: Trace, choice: Choice, T: int | None = None) -> None:
        L, D, _, B, K = trace.i.shape
        self.layer, self.units, self.every, self.B = trace._layer, trace.units, trace._every, B
        self.choice = choice
        if not B or not K:
            raise ValueError("the trace has no rows")
        self.rows, self._most = _layout(choice, (L * D * K, B), T)
        lead = (L, D, 0, len(self.rows), K)
        self._low, self._high = (
            {name: np.full(lead, nothing, np.float32) for name in GATES} for nothing in _NOTHING.values()
        )
        self._sum = {name: np.zeros(lead) for name in (*GATES, *AMOUNTS)}
        self._count = np.zeros((0, len(self.rows)), np.int64)
        self._rate = np.zeros((L, D, K))  # sum of ln abs(f)
        self._valid = 0
        self.width = 1  # kept steps of a column
        self.columns = 0
        self.kept = 0  # steps in them
        self.start: int | None = None  # the first of them
        self.time = 0  # of all traces so far
        self.unknown = 0  # numbers that are NaN
        self.first_unknown = ""
        self._times: list[NDArray[np.int64]] = []  # of steps that are shown, where they are not in the input's order
        self.reordered = False

    def add(self, trace: Trace) -> None:
        """Take what comes next."""
        if self.choice.rows is None and trace.i.shape[3] != self.B:
            raise ValueError(f"pieces of one trace should have the same rows: {self.B}, got: {trace.i.shape[3]}")
        with np.errstate(invalid="ignore", over="ignore"):  # of numbers that are told
            for part in self._parts(trace):
                self._add_part(trace, part)
        self.time += length_of(trace)

    def _parts(self, trace: Trace) -> Iterator[slice]:
        """Cut along time, so that it takes little memory; without the steps that nobody asked for."""
        steps = trace.steps + self.time
        first, last = self.choice.steps or (0, np.iinfo(np.int64).max)
        start, stop = np.searchsorted(steps, (first, last))
        at_once = max(1, _NUMBERS_AT_ONCE // max(1, trace.i[:, :, :1].size))
        for begin in range(start, stop, at_once):
            yield slice(begin, min(begin + at_once, int(stop)))

    def _add_part(self, trace: Trace, part: slice) -> None:
        if self.start is None:
            self.start = self.time + int(trace.steps[part.start])
        n = part.stop - part.start
        while (self.kept + n - 1) // self.width >= self._most:
            self._halve()
        self._make_room((self.kept + n - 1) // self.width + 1)
        column = np.arange(self.kept, self.kept + n) // self.width
        starts = np.flatnonzero(np.diff(column, prepend=-1))
        valid = trace.valid[part][:, self.rows]
        fold = _Fold(starts, slice(int(column[0]), int(column[-1]) + 1), valid)
        np.add.at(self._count, column, valid)
        arrays = {name: _of(trace, name)[:, :, part] for name in (*GATES, "c_prev")}
        self._look_for_nan(trace, arrays, part)
        self._add_rates(arrays["f"], trace.valid[part])
        shown = {name: array[:, :, :, self.rows] for name, array in arrays.items()}
        for name in GATES:
            fold.extreme(np.minimum, self._low[name], shown[name])
            fold.extreme(np.maximum, self._high[name], shown[name])
            fold.sum(self._sum[name], shown[name])
        amounts = amounts_of(shown["c_prev"], shown["i"], shown["f"], shown["g"], self.layer.form)
        for name, amount in zip(AMOUNTS, amounts, strict=True):
            fold.sum(self._sum[name], amount)
        self._add_times(trace, part)
        self.kept += n
        self.columns = int(column[-1]) + 1

    def _look_for_nan(self, trace: Trace, arrays: dict[str, Array], part: slice) -> None:
        for name in GATES:
            unknown = np.isnan(arrays[name])
            if unknown.any() and not self.first_unknown:
                layer, direction, step, row, unit = np.argwhere(unknown)[0].tolist()
                self.first_unknown = (
                    f"{name} of layer {layer}, direction {direction}, step {self.time + trace.steps[part][step]}, "
                    f"row {row}, unit {trace.units[unit]}"
                )
            self.unknown += int(np.count_nonzero(unknown))

    def _add_times(self, trace: Trace, part: slice) -> None:
        in_order = bool((trace.times == trace.steps[:, np.newaxis]).all())
        if in_order and not self.reordered:
            return
        if self.kept and not self.reordered:
            raise ValueError("pieces of one trace should read in one order: in that of the input, or all otherwise")
        self.reordered = True
        self._times.append(trace.times[part][:, self.rows] + self.time)

    def _add_rates(self, f: Array, valid: NDArray[np.bool_]) -> None:
        with np.errstate(divide="ignore"):
            logs = np.log(np.abs(f.astype(np.float64)))
        self._rate += logs.sum(axis=(2, 3), where=valid[..., np.newaxis])
        self._valid += int(np.count_nonzero(valid))

    def _make_room(self, columns: int) -> None:
        """Have as many columns, and some more: many short calls take little."""
        more = min(self._most, max(64, 2 * columns)) - len(self._count)
        if columns <= len(self._count):
            return
        for arrays, nothing in ((self._low, np.inf), (self._high, -np.inf), (self._sum, 0)):
            for name, array in arrays.items():
                shape = (*array.shape[:2], more, *array.shape[3:])
                arrays[name] = np.concatenate([array, np.full(shape, nothing, array.dtype)], axis=2)
        self._count = np.concatenate([self._count, np.zeros((more, len(self.rows)), np.int64)])

    def _halve(self) -> None:
        """Make one column of every two."""
        starts = np.arange(0, self.columns, 2)
        self.width *= 2
        if not starts.size:
            return
        for arrays, (ufunc, nothing) in zip((self._low, self._high), _NOTHING.items(), strict=True):
            for array in arrays.values():
                array[:, :, : len(starts)] = ufunc.reduceat(array[:, :, : self.columns], starts, axis=2)
                array[:, :, len(starts) :] = nothing
        sums: list[Array] = [*self._sum.values(), self._count[np.newaxis, np.newaxis]]
        for array in sums:
            array[:, :, : len(starts)] = np.add.reduceat(array[:, :, : self.columns], starts, axis=2)
            array[:, :, len(starts) :] = 0
        self.columns = len(starts)

    # ---- what there is to see

    def need_steps(self) -> None:
        """Refuse what shows nothing."""
        if not self._count.any():
            asked = "" if self.choice.steps is None else f" from {self.choice.steps[0]} to {self.choice.steps[1]}"
            raise ValueError(f"the trace has no steps{asked}: {self.time} steps, rows that are over left out")

    @property
    def exact(self) -> bool:
        """Whether a column is a step."""
        return self.width == 1

    @property
    def nbytes(self) -> int:
        """Bytes that its numbers take in a page."""
        L, D, _, rows, K = self._sum["c"].shape
        kinds = len(GATES) * (1 if self.exact else 3) + len(AMOUNTS)
        return int(L * D * self.columns * rows * K * kinds * BYTES_A_NUMBER)

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many steps a column has of each row, [columns, rows]."""
        return self._count[: self.columns]

    def half_life(self) -> Floats:
        """Return [L, D, K], as `GateTrace.half_life` of the steps shown; NaN for units with a NaN."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return half_life_of(self._rate / self._valid)

    def by_half_life(self, layer: int, direction: int) -> NDArray[np.int64]:
        """Return the places [K] of units, the longest half-life first; those with a NaN at the end."""
        return np.argsort(-np.nan_to_num(self.half_life()[layer, direction], nan=-1.0), kind="stable")

    def values(self, name: str, kind: str = "mean") -> Any:
        """Return [L, D, columns, rows, K]: "mean", "low" or "high" of a column; masked where a row is over."""
        there = self.counts
        over = np.broadcast_to((there == 0)[..., np.newaxis], self._sum[name][:, :, : self.columns].shape)
        if kind == "mean":
            mean = self._sum[name][:, :, : self.columns] / np.maximum(there, 1)[..., np.newaxis]
            return np.ma.masked_array(mean.astype(np.float32), over)
        found = {"low": self._low, "high": self._high}[kind][name][:, :, : self.columns]
        return np.ma.masked_array(found, over)

    def times(self, row: int) -> NDArray[np.int64]:
        """Return which steps of the input are shown of a row, in the order of reading."""
        if self.reordered:
            return np.concatenate(self._times)[:, self.rows.index(row)]
        return np.arange(self.step_of(0), self.step_of(0) + self.kept * self.every, self.every)

    def step_of(self, column: int) -> int:
        """Return the first step of a column."""
        return (self.start or 0) + column * self.width * self.every

    def last_step_of(self, column: int) -> int:
        """Return the last step of a column that was kept."""
        return (self.start or 0) + (min((column + 1) * self.width, self.kept) - 1) * self.every


class _Fold(NamedTuple):
    """How steps of a part become columns."""

    starts: NDArray[np.int64]  # of columns among the steps
    columns: slice
    valid: NDArray[np.bool_]  # [n, rows]

    def sum(self, to: Array, array: Array) -> None:
        """Add to columns of `to`, which are zeros before their first step."""
        filled = self._without_others(array, 0)
        to[:, :, self.columns] += np.add.reduceat(filled, self.starts, axis=2, dtype=to.dtype)

    def extreme(self, ufunc: Any, to: Array, array: Array) -> None:
        """Bring columns of `to` to the least or largest."""
        filled = self._without_others(array, _NOTHING[ufunc])
        made = filled if len(self.starts) == filled.shape[2] else ufunc.reduceat(filled, self.starts, axis=2)
        to[:, :, self.columns] = ufunc(to[:, :, self.columns], made)

    def _without_others(self, array: Array, nothing: float) -> Array:
        if self.valid.all():
            return array
        return np.where(self.valid[..., np.newaxis], array, array.dtype.type(nothing))


def _of(trace: Trace, name: str) -> Array:
    """Return an array of a trace: of h what units show, which a projection mixes."""
    if name == "h" and trace._layer.sizes.P:
        return trace.o * trace.tanh_c
    array: Array = getattr(trace, name)
    return array


def _layout(choice: Choice, sizes: tuple[int, int], T: int | None) -> tuple[list[int], int]:
    """Choose rows and columns so that the page has no more than its bytes."""
    numbers, B = sizes
    wrong = [row for row in choice.rows or () if not 0 <= row < B]
    if wrong:
        raise ValueError(f"rows should be in 0..{B - 1}, got: {wrong[0]}")
    room = COLUMNS
    if T is not None:
        steps = min(T, choice.steps[1]) - choice.steps[0] if choice.steps else T
        room = max(1, min(COLUMNS, steps))
    kinds = 3 * len(GATES) + len(AMOUNTS)
    each = numbers * kinds * BYTES_A_NUMBER  # of a column and row
    count = len(choice.rows) if choice.rows is not None else max(1, min(B, int(choice.max_bytes / (each * room))))
    while room > FEWEST_COLUMNS and each * room * count > choice.max_bytes:
        room = -(-room // 2)
    if each * room * count > choice.max_bytes:
        raise ValueError(
            f"a page of {numbers} units in {count} rows takes {int(each * room * count)} bytes, more than "
            f"max_bytes={choice.max_bytes}: show fewer rows (rows=), trace fewer units (units=), or allow more"
        )
    return list(range(count)) if choice.rows is None else list(choice.rows), room
