"""Traces: the gates and cells of every step of a call, and what they come to."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core
from ._call import Steps
from ._sizes import Sizes
from ._trace_results import (
    Actions,
    Balance,
    Contribution,
    Floats,
    GradientNorms,
    Saturation,
    Traced,
    amounts_of,
    are_against,
    half_life_of,
    taken_of,
    written_by,
)
from ._types import Array, F, Shape, States

#: Of a trace that is not told another number: enough to look at, and not all of a machine.
MAX_BYTES: Final = 2**32

_NUMBERS_AT_ONCE: Final = 2**20  # of an array that a reduction works on
_OF_UNITS: Final = ("i", "f", "g", "o", "c", "tanh_c")
_ARRAYS: Final = (*_OF_UNITS, "h", "_c_prev", "_h_prev")


# ---- what is to be kept ----------------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """Which steps and units a trace keeps."""

    every: int
    units: NDArray[np.uintp] | None  # None: all

    def numbers(self, sizes: Sizes) -> tuple[int, int]:
        """Return K, units, and how many numbers of h: those of a projection belong to no unit."""
        K = sizes.H if self.units is None else len(self.units)
        return K, sizes.P or K

    def steps(self, T: int) -> int:
        """Return S: steps of T."""
        return -(-T // self.every)

    def shapes(self, sizes: Sizes, T: int, B: int) -> list[Shape]:
        """Return the shapes of i, f, g, o, c, tanh_c, h and, where c and h do not tell them, c_prev, h_prev."""
        K, outputs = self.numbers(sizes)
        lead = sizes.L, sizes.D, self.steps(T), B
        units: Shape = (*lead, K)
        shown: Shape = (*lead, outputs)
        made = [units, units, units, units, units, units, shown]
        return made if self.every == 1 else [*made, units, shown]

    def nbytes(self, sizes: Sizes, itemsize: int, T: int, B: int, inputs: int) -> int:
        """Return bytes of a trace: its arrays, `inputs` numbers of a row's input, the output and the last states."""
        K, outputs = self.numbers(sizes)
        row = len(_OF_UNITS) * K + outputs
        if self.every > 1:
            row += K + outputs
        LD, R = sizes.L * sizes.D, sizes.R
        return itemsize * B * (self.steps(T) * (LD * row + inputs) + T * sizes.D * R + LD * (R + sizes.H))

    def check_size(self, sizes: Sizes, dtype: np.dtype[Any], T: int, B: int, max_bytes: object) -> None:
        """Refuse a trace that takes more than it may."""
        most = _checks.size(max_bytes, "max_bytes")
        nbytes = self.nbytes(sizes, dtype.itemsize, T, B, sizes.I)
        if nbytes > most:
            raise MemoryError(
                f"the trace takes {nbytes} bytes ({nbytes / 2**30:.3g} GiB), more than max_bytes={most}: keep fewer "
                "steps (every=), fewer units (units=), trace pieces from state to state, or allow more (max_bytes=)"
            )


def checked_kept(every: object, units: object, H: int) -> Kept:
    """Check which steps and units are to be kept."""
    step = _checks.count(every, "every")
    if units is None:
        return Kept(step, None)
    given = np.array(_checks.read(units, "units", "integers"))
    if not given.size:
        raise ValueError("units should name at least one unit, got none")
    if (given.dtype.kind not in "iu" and not _checks.too_large(given)) or given.ndim != 1:
        raise TypeError(f"units should be integers [K], got: {given.dtype} of shape {given.shape}")
    wrong = given[np.asarray((given < 0) | (given >= H), np.bool_)]
    if wrong.size:
        raise ValueError(f"units should be in 0..{H - 1}, got: {wrong[0]}")
    return Kept(step, given.astype(np.uintp))


def run(
    layer: Traced,
    plan: _core.Plan,
    steps: Steps,
    y: Array,
    workers: _core.Workers | None,
    kept: Kept,
) -> GateTrace[Any]:
    """Run steps into y [T, B, D*R], and keep what is to be kept."""
    sizes, (T, B) = layer.sizes, steps.x.shape[:2]
    shapes = kept.shapes(sizes, T, B)
    try:
        block = _room(shapes, y.dtype)
        x = None if steps.table is not None else np.array(steps.x[:: kept.every], order="C")
    except MemoryError:
        total = kept.nbytes(sizes, y.itemsize, T, B, sizes.I)
        raise MemoryError(f"the trace takes {total} bytes, more than there are") from None
    of_h, of_c = sizes.states(B)
    h_n, c_n = np.empty(of_h, y.dtype), np.empty(of_c, y.dtype)
    plan.run_trace(
        *(steps.x, y, steps.h_0, steps.c_0, h_n, c_n, steps.lengths, steps.resets, workers, steps.table),
        _views(block, shapes),
        kept.every,
        kept.units,
    )
    block.setflags(write=False)  # and with it the views from now on, which setflags cannot make writable
    return GateTrace(layer, steps, kept, _views(block, shapes), x, y, (h_n, c_n))


def _room(shapes: list[Shape], dtype: np.dtype[Any]) -> Array:
    """Make one block for all arrays: many fresh ones cost as much as a short pass, and a large one gets large pages."""
    if len(set(shapes)) == 1:
        return np.empty((len(shapes), *shapes[0]), dtype)
    return np.empty(sum(map(math.prod, shapes)), dtype)


def _views(block: Array, shapes: list[Shape]) -> tuple[Array | None, ...]:
    """View the arrays in their block; None for c_prev and h_prev where there is no room for them."""
    if block.ndim > 1:
        made = list(block)
    else:
        ends = [0, *itertools.accumulate(map(math.prod, shapes))]
        made = [block[start:end].reshape(shape) for start, end, shape in zip(ends[:-1], ends[1:], shapes, strict=True)]
    return (*made, *[None] * (len(_ARRAYS) - len(made)))


# ---- the trace -------------------------------------------------------------------------------------------------------


class GateTrace(Generic[F]):
    """The gates and cells of every step of a call; made by `LSTM.trace`, by streams, pools and cells.

    Letters in shapes: L layers, D directions, S steps kept, B rows, K units kept (H if all are), I input. Directions
    share one time: index t is step t of the input in both. What is past a row's length is 0, and counts nowhere.

    Attributes
    ----------
    i, f, g, o : array [L, D, S, B, K]
        Input gate, forget gate, candidate, output gate, after their activations; read-only, as all arrays here.
    c : array [L, D, S, B, K]
        The cell after the step.
    tanh_c : array [L, D, S, B, K]
        The cell on its way to the output: tanh(c), or what the form has in its place.
    h : array [L, D, S, B, K], or with a projection [L, D, S, B, P]
        The layer's output; a projection's numbers belong to no unit, so that all are kept.
    output, h_n, c_n : array
        What the call returns, in the caller's layout.

    Notes
    -----
    The arrays have the bits that the pass computed with. Reductions are in float64, over all steps and rows that are
    kept and valid; they raise ValueError where there are none, or where the trace holds a NaN.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(4, 3, seed=0)
    >>> trace = lstm.trace(np.ones((50, 2, 4), np.float32))
    >>> trace
    GateTrace(1 layer, 1 direction, 50 steps, 2 rows, 3 units)
    >>> trace.f.shape
    (1, 1, 50, 2, 3)
    >>> bool((trace.c[0, 0, -1] == trace.c_n[0]).all())
    True
    >>> trace.half_life().round(2)  # steps until half of a cell is forgotten
    array([[[1.9 , 0.81, 0.58]]])
    """

    i: NDArray[F]
    f: NDArray[F]
    g: NDArray[F]
    o: NDArray[F]
    c: NDArray[F]
    tanh_c: NDArray[F]
    h: NDArray[F]
    _c_prev: NDArray[F] | None
    _h_prev: NDArray[F] | None

    def __init__(
        self,
        layer: Traced,
        steps: Steps,
        kept: Kept,
        arrays: tuple[Array | None, ...],
        x: Array | None,
        output: Array,
        states: States,
    ) -> None:
        self._layer, self._every, self._all_units = layer, kept.every, kept.units is None
        self.__dict__.update(zip(_ARRAYS, arrays, strict=True))
        self._x = None if x is None else _checks.frozen(x)
        self._first = tuple(
            None if state is None else _checks.frozen(np.array(state)) for state in (steps.h_0, steps.c_0)
        )
        self._resets = None if steps.resets is None else _checks.frozen(np.array(steps.resets[:: kept.every]))
        self._called = steps.x.shape[:2], steps.lengths, kept.units  # for what is told when it is asked for
        self.output: NDArray[F] = output
        self.h_n: NDArray[F]
        self.c_n: NDArray[F]
        self.h_n, self.c_n = states

    @functools.cached_property
    def steps(self) -> NDArray[np.int64]:
        """Which steps were kept, [S]: 0, every, 2 every, ..."""
        return _checks.frozen(np.arange(0, self._called[0][0], self._every))

    @functools.cached_property
    def units(self) -> NDArray[np.int64]:
        """Which units were kept, [K]."""
        units = self._called[2]
        return _checks.frozen((np.arange(self._layer.sizes.H) if units is None else units).astype(np.int64))

    @functools.cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of each row, [B]."""
        (T, B), lengths, _ = self._called
        return _checks.frozen((np.full(B, T) if lengths is None else lengths).astype(np.int64))

    @functools.cached_property
    def valid(self) -> NDArray[np.bool_]:
        """Where a row is not over, [S, B]."""
        return _checks.frozen(self.steps[:, np.newaxis] < self.lengths)

    @functools.cached_property
    def times(self) -> NDArray[np.int64]:
        """Which step of the input each is, [S, B].

        These are `steps`, but for layers of Keras and ONNX that read from the end, or skip what is masked. Their traces
        are in the order of reading.
        """
        return np.broadcast_to(self.steps[:, np.newaxis], (len(self.steps), len(self.lengths)))

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make the arrays of a copy read-only, as the trace's own are."""
        self.__dict__.update(state)
        for name, value in state.items():
            if isinstance(value, np.ndarray) and name not in ("output", "h_n", "c_n"):
                self.__dict__[name] = _checks.frozen(value)

    def _read_in(self, order: NDArray[np.int64]) -> None:
        """Say which step of the input each step was, [T, B], where a layer reads in another order."""
        self.times = _checks.frozen(order[self.steps])

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, those of the call's results and the copy of its input included."""
        arrays = [*(getattr(self, name) for name in (*_OF_UNITS, "h")), self.output, self.h_n, self.c_n]
        more = [array for array in (self._c_prev, self._h_prev, self._x) if array is not None]
        return sum(array.nbytes for array in arrays + more)

    @property
    def c_prev(self) -> NDArray[F]:
        """The cell before the step, [L, D, S, B, K]: 0 after a reset."""
        if self._c_prev is None:
            self._c_prev = _checks.frozen(self._before(self.c, self._first[1], self.units))
        return self._c_prev

    @property
    def h_prev(self) -> NDArray[F]:
        """The output before the step, shaped as `h`: 0 after a reset."""
        if self._h_prev is None:
            units = slice(None) if self._layer.sizes.P else self.units
            self._h_prev = _checks.frozen(self._before(self.h, self._first[0], units))
        return self._h_prev

    def _before(self, after: Array, first: Array | None, units: Any) -> Array:
        """Shift every step's state to the step that begins with it; only where every step is kept."""
        made = np.zeros_like(after)
        made[:, 0, 1:] = after[:, 0, :-1]
        made[:, 1:, :-1] = after[:, 1:, 1:]
        if first is not None:
            rows = np.flatnonzero(self.lengths)
            start = first.reshape(*after.shape[:2], len(self.lengths), first.shape[-1])[..., units]
            if rows.size:
                made[:, 0, 0, rows] = start[:, 0, rows]
                if made.shape[1] == 2:
                    made[:, 1, self.lengths[rows] - 1, rows] = start[:, 1, rows]
        made[:, :, ~self.valid] = 0
        if self._resets is not None:
            made[:, :, self._resets] = 0
        return made

    # ---- step by step

    @property
    def written(self) -> NDArray[F]:
        """What a step writes, with its sign: i * g, [L, D, S, B, K]; i + g in a form that is summed."""
        made: NDArray[F] = self._written(...)
        return made

    @property
    def kept(self) -> NDArray[F]:
        """How much of the cell a step keeps: abs(f * c) of before, [L, D, S, B, K]."""
        made: NDArray[F] = np.abs(self.f * self.c_prev)
        return made

    @property
    def forgotten(self) -> NDArray[F]:
        """How much of the cell f removes: abs(c - f * c) of before, [L, D, S, B, K]."""
        made: NDArray[F] = np.abs(self.c_prev - self.f * self.c_prev)
        return made

    @property
    def added(self) -> NDArray[F]:
        """How much larger i * g makes the cell, [L, D, S, B, K]: with its sign, or past zero."""
        made: NDArray[F] = np.abs(self.written) - self.taken
        return made

    @property
    def taken(self) -> NDArray[F]:
        """How much i * g takes from the cell, [L, D, S, B, K]: against its sign, up to zero.

        Unlike forgetting, which multiplies, this subtracts; a candidate without a sign could not.
        """
        return taken_of(self.f * self.c_prev, self.written)

    def _written(self, part: Any) -> Array:
        return written_by(self._layer.form, self.i[part], self.g[part])

    # ---- reductions

    def saturation(self, low: float = 0.1, high: float = 0.9) -> dict[str, Saturation]:
        """Tell how often each gate is nearly shut, and nearly open.

        Parameters
        ----------
        low, high : float
            Shut is below `low`, open above `high`. The candidate g, which lies in -1..1, is compared with
            ``2 low - 1`` and ``2 high - 1``.

        Returns
        -------
        dict of str to Saturation
            Of "i", "f", "g", "o": shares of steps (below [L, D, K], above [L, D, K]).

        Raises
        ------
        ValueError
            For thresholds that are not 0 <= low <= high <= 1; for a trace without steps or with a NaN.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> trace = fastlstm.LSTM(4, 3, seed=0).trace(np.ones((50, 4), np.float32))
        >>> trace.saturation()["f"].above.max()  # fresh weights saturate nothing
        np.float64(0.0)
        """
        _check_thresholds(low=low, high=high)
        made = {name: self._saturation(name, low, high) for name in "ifo"}
        return made | {"g": self._saturation("g", 2 * low - 1, 2 * high - 1)}

    def _saturation(self, name: str, low: float, high: float) -> Saturation:
        gate: Array = getattr(self, name)
        return Saturation(*self._means(lambda part: (gate[part] < low, gate[part] > high), name))

    def half_life(self) -> Floats:
        """Tell how many steps a unit takes to forget half of its cell: ln 2 / -mean(ln abs(f)).

        The geometric mean of f is what counts, since along the cells a memory, and a gradient, is multiplied by
        each f. One step at f = 0 makes it 0.

        Returns
        -------
        array [L, D, K]
            0 to infinity: infinity where f is 1 throughout, or above 1 on average, in forms that allow it.

        Raises
        ------
        ValueError
            For a trace without steps or with a NaN.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> lstm = fastlstm.LSTM(1, 1, seed=0)
        >>> zeros = {name: 0 * array for name, array in lstm.state_dict().items()}
        >>> lstm.load_state_dict(zeros)  # all gates at one half
        >>> lstm.trace(np.zeros((20, 1), np.float32)).half_life()
        array([[[1.]]])
        """
        with np.errstate(divide="ignore"):
            return half_life_of(self._mean(lambda part: np.log(np.abs(self.f[part].astype(np.float64))), "f"))

    def write_strength(self) -> Floats:
        """Tell how much a unit writes in a step, on average: mean of abs(i * g).

        Returns
        -------
        array [L, D, K]

        Raises
        ------
        ValueError
            For a trace without steps or with a NaN.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> trace = fastlstm.LSTM(4, 3, seed=0).trace(np.ones((50, 4), np.float32))
        >>> bool(np.allclose(trace.write_strength(), np.abs(trace.written).mean(axis=(2, 3))))
        True
        """
        return self._mean(lambda part: np.abs(self._written(part)), "i", "g")

    def balance(self) -> Balance:
        """Tell what a step does to the size of a cell, on average: how much is kept, forgotten, added, taken away.

        In every step ``abs(c) = kept + added - taken``, but for rounding and in forms that clip the state, and
        ``abs(c of before) = kept + forgotten`` while f is in 0..1.

        Returns
        -------
        Balance
            (kept, forgotten, added, taken), each [L, D, K]; step by step they are attributes of the trace.

        Raises
        ------
        ValueError
            For a trace without steps or with a NaN.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> trace = fastlstm.LSTM(4, 3, seed=0).trace(np.ones((50, 4), np.float32))
        >>> balance = trace.balance()
        >>> bool(np.allclose(balance.kept + balance.added - balance.taken, np.abs(trace.c).mean(axis=(2, 3))))
        True
        """
        before = self.c_prev

        def amounts(part: Any) -> tuple[Array, ...]:
            return amounts_of(before[part], self.i[part], self.f[part], self.g[part], self._layer.form)

        return Balance(*self._means(amounts, "i", "f", "g", "c_prev"))

    def actions(self, closed: float = 0.1) -> Actions:
        """Tell what steps do to a cell: keep, add, take away, forget or replace; shares of all steps.

        Forgetting and taking away both make a cell smaller. To forget, f goes to 0: it needs to know nothing about the
        cell. To take away, i * g has the other sign: it needs to know what is there.

        Parameters
        ----------
        closed : float
            A gate i or f below it counts as closed, else as open.

        Returns
        -------
        Actions
            (keep, add, take, forget, replace), each [L, D, K]; their sum is 1.

        Raises
        ------
        ValueError
            For a threshold that is not in 0..1; for a trace without steps or with a NaN.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> trace = fastlstm.LSTM(4, 3, seed=0).trace(np.ones((50, 4), np.float32))
        >>> trace.actions().add  # what does not change always adds the same
        array([[[1., 1., 1.]]])
        """
        _check_thresholds(closed=closed)
        before = self.c_prev

        def flags(part: Any) -> tuple[Array, ...]:
            i, f = self.i[part], self.f[part]
            writes, keeps, against = i >= closed, f >= closed, are_against(f * before[part], self._written(part))
            both = keeps & writes
            return keeps & ~writes, both & ~against, both & against, ~keeps & ~writes, ~keeps & writes

        return Actions(*self._means(flags, "i", "f", "g", "c_prev"))

    def contributions(self) -> dict[str, Contribution]:
        """Tell how much of each gate's pre-activation comes from x, from h, from the bias and from a peephole.

        The mean size of each term, mean(abs(W x)) and so on, divided by the sum of all. Computed in float64 from the
        weights that the call ran with: of 8 bits, without the rounding of inputs and states.

        Returns
        -------
        dict of str to Contribution
            Of "i", "f", "g", "o": shares (x, h, bias, cell), each [L, D, K]; NaN where all terms are 0. Without "f" for
            coupled gates, which have no weights of its own.

        Raises
        ------
        ValueError
            For a trace of some units, which does not have what the gates see; for one of tokens; for a trace without
            steps or with a NaN; where a term is infinite.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> trace = fastlstm.LSTM(4, 3, seed=0).trace(np.zeros((50, 4), np.float32))
        >>> float(trace.contributions()["f"].x.max())  # of zeros comes nothing
        0.0
        """
        self._need_all("contributions need")
        if self._x is None:
            raise ValueError("contributions need the inputs, which a trace of tokens does not have: trace the vectors")
        from ._trace_paths import contributions

        self._check_numbers(np.s_[:, :, :], "h", "h_prev", "c", "c_prev")
        return contributions(self, self._layer, self._x, self._mean)

    def gradient_norms(self, distance: int = 100) -> GradientNorms:
        """Tell how much of a gradient is left, step by step back from the last, along the cells and along the gates.

        A gradient goes back on two paths. Along the cells, c to c, each step multiplies it by f and nothing else. Along
        the gates, h to h, each step multiplies it by U and by the slopes of the activations.

        Parameters
        ----------
        distance : int
            How many steps back, at most; no more than the longest row has. Shorter rows count as far as they go.

        Returns
        -------
        GradientNorms
            (distance [N], cell [L, D, N], gate [L, D, N], both [L, D, N]): root mean squares over units and rows, 1 at
            distance 0. A reset cuts both paths: 0 beyond it.

        Raises
        ------
        ValueError
            For a trace of some steps or units; for a form without slopes (a clip); for a trace without steps or with a
            NaN.

        Notes
        -----
        It multiplies matrices of H + R rows for every step, row and layer: seconds for some hundred units.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> trace = fastlstm.LSTM(4, 3, seed=0).trace(np.ones((50, 4), np.float32))
        >>> norms = trace.gradient_norms(3)
        >>> norms.distance
        array([0, 1, 2, 3])
        >>> norms.cell.round(3)  # of products of f
        array([[[1.   , 0.501, 0.302, 0.2  ]]])
        """
        count = _checks.size(distance, "distance")
        self._need_all("gradient_norms need")
        if self._every > 1:
            raise ValueError(f"gradient_norms need every step, got a trace with every={self._every}")
        from ._trace_paths import gradient_norms

        self._need_steps()
        self._check_numbers(np.s_[:, :, :], *"ifgoc")
        return gradient_norms(self, self._layer, self._resets, count)

    # ---- what reductions share

    def _need_all(self, what: str) -> None:
        if not self._all_units:
            raise ValueError(f"{what} all units: trace without units=")

    def _need_steps(self) -> None:
        if not self.valid.any():
            raise ValueError("the trace has no steps")

    def _parts(self) -> Iterator[Any]:
        """Cut along time, so that a reduction needs little memory."""
        L, D, S, B, K = self.i.shape
        step = max(1, _NUMBERS_AT_ONCE // max(1, L * D * B * K))
        for start in range(0, S, step):
            yield np.s_[:, :, start : start + step]

    def _mean(self, of: Callable[[Any], Array], *names: str) -> Floats:
        """Mean over valid steps of what a part comes to, having looked for NaN in the arrays that it is made of."""
        (mean,) = self._means(lambda part: (of(part),), *names)
        return mean

    def _means(self, of: Callable[[Any], tuple[Array, ...]], *names: str) -> list[Floats]:
        """Means of several things that a part comes to, at once."""
        self._need_steps()
        totals: list[Floats] | None = None
        for part in self._parts():
            self._check_numbers(part, *names)
            where = self.valid[part[2]][..., np.newaxis]
            sums = [each.sum(axis=(2, 3), where=where, dtype=np.float64) for each in of(part)]
            totals = sums if totals is None else [total + more for total, more in zip(totals, sums, strict=True)]
        assert totals is not None  # there are steps
        return [total / np.count_nonzero(self.valid) for total in totals]

    def _check_numbers(self, part: Any, *names: str) -> None:
        for name in names:
            array: Array = getattr(self, name)[part]
            if np.isnan(array).any():
                layer, direction, step, row, unit = np.argwhere(np.isnan(array))[0]
                time = self.steps[part[2]][step]
                raise ValueError(
                    f"the trace has a NaN: {name} of layer {layer}, direction {direction}, step {time}, row {row}, "
                    f"unit {unit if name.startswith('h') else self.units[unit]}"
                )

    def __repr__(self) -> str:
        counts = zip(("layer", "direction", "step", "row", "unit"), self.i.shape, strict=True)
        return f"GateTrace({', '.join(f'{n} {what}' + 's' * (n != 1) for what, n in counts)})"


def _check_thresholds(**thresholds: object) -> None:
    least = 0.0
    for name, value in thresholds.items():
        if not _checks.is_number(value):
            raise TypeError(f"{name} should be a number, got: {type(value).__name__}")
        if not least <= value <= 1:
            raise ValueError(f"{name} should be in {least}..1, got: {value!r}")
        least = float(value)
