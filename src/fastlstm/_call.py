"""One call of a layer: its arguments, checked once, as C reads them, and its results, as the caller sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core
from ._sizes import Sizes
from ._types import Array, Shape, States


class Frame(NamedTuple):
    """The sizes of a call, and how the caller's arrays lie: [T, B, ...], [B, T, ...], or [T, ...] unbatched."""

    sizes: Sizes
    dtype: np.dtype[Any]
    T: int
    B: int
    batched: bool
    batch_first: bool  # of batched arrays

    def inside(self, array: Array) -> Array:
        """View as [T, B, ...]."""
        return _inside(array, self.batched, self.batch_first)

    def outside(self, array: Array) -> Array:
        """View [T, B, ...] as the caller does."""
        if not self.batched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self.batch_first else array

    def lead(self) -> tuple[Shape, str]:
        """Return the caller's first axes, and their letters."""
        if not self.batched:
            return (self.T,), "(T,)"
        return ((self.B, self.T), "(B, T)") if self.batch_first else ((self.T, self.B), "(T, B)")

    def output(self) -> Shape:
        """Return the shape of the caller's output."""
        return (*self.lead()[0], self.sizes.D * self.sizes.R)

    def states(self) -> tuple[Shape, Shape]:
        """Return the shapes of the caller's states."""
        return self.sizes.states(self.B) if self.batched else self.sizes.states()


def _inside(array: Array, batched: bool, batch_first: bool) -> Array:
    if not batched:
        return array[:, None]
    return array.swapaxes(0, 1) if batch_first else array


class Steps(NamedTuple):
    """Consecutive steps of a call, as C reads them."""

    x: Array  # [T, B, I], the last axis contiguous; with a table tokens [T, B]
    h_0: Array | None  # [L*D, B, R], contiguous; None for zeros
    c_0: Array | None  # [L*D, B, H], as h_0
    lengths: NDArray[np.int64] | None  # [B]
    resets: NDArray[np.bool_] | None  # [T, B]
    time: int = 0  # of the first
    table: _core.TableCore | None = None

    def run(
        self, plan: _core.Plan, sizes: Sizes, y: Array, workers: _core.Workers | None, tape: _core.Tape | None = None
    ) -> States:
        """Run into y [T, B, D*R]; return h_n and c_n."""
        h_n, c_n = (np.empty(shape, y.dtype) for shape in sizes.states(self.x.shape[1]))
        if self.table is None:
            plan.run(self.x, y, self.h_0, self.c_0, h_n, c_n, self.lengths, self.resets, workers, tape)
        else:
            self.table.run(self.x, y, self.h_0, self.c_0, h_n, c_n, self.lengths, self.resets, workers)
        return h_n, c_n

    def pieces(self, k: int) -> Iterator[Steps]:
        """Cut into k steps each, the last perhaps fewer; of no steps one piece."""
        T = len(self.x)
        for time in range(0, max(T, 1), k):
            part = slice(time, min(time + k, T))
            lengths = None if self.lengths is None else np.clip(self.lengths - time, 0, part.stop - time)
            resets = None if self.resets is None else self.resets[part]
            yield Steps(self.x[part], None, None, lengths, resets, time)

    def copied(self, h_0: Array | None, c_0: Array | None) -> Steps:
        """Return these steps from this state, with input and state of their own."""
        h, c = (None if state is None else np.array(state) for state in (h_0, c_0))
        return self._replace(x=np.array(self.x, order="C"), h_0=h, c_0=c)


class Call:
    """The arguments of a call, checked, and room for its output."""

    def __init__(
        self,
        sizes: Sizes,
        dtype: np.dtype[Any],
        batch_first: bool,
        input: object,
        hx: object = None,
        lengths: object = None,
        resets: object = None,
        out: object = None,
        *,
        table: _core.TableCore | None = None,
        allow: Callable[[Frame], None] | None = None,  # raises where sizes are too large, before there is an output
    ) -> None:
        given = _input(input, sizes.I, dtype) if table is None else _tokens(input)
        batched = given.ndim == (3 if table is None else 2)
        x = _inside(given, batched, batch_first)
        self.frame = frame = Frame(sizes, dtype, x.shape[0], x.shape[1], batched, batch_first)
        if allow is not None:
            allow(frame)
        h_0, c_0 = (None, None) if hx is None else _states(hx, frame)
        inputs = {"input": given} if h_0 is None or c_0 is None else {"input": given, "hx[0]": h_0, "hx[1]": c_0}
        ends = None if lengths is None else _checks.lengths(lengths, frame.T, frame.B if batched else None)
        self.steps = Steps(
            _checks.readable(x) if table is None else _in_table(given, table, ends, frame),
            None if h_0 is None else _checks.contiguous(h_0),
            None if c_0 is None else _checks.contiguous(c_0),
            ends,
            None if resets is None else _resets(resets, frame),
            table=table,
        )
        # a view of `out`: the caller's own object is returned, but not looked at again
        view = None if out is None else _checks.output(out, frame.output(), dtype, "that of output", inputs)
        if view is not None and view.flags.aligned and view.flags.c_contiguous:
            self._made, self._copied_to = view, None
        else:
            self._made, self._copied_to = np.empty(frame.output(), dtype), view
        self._out = out
        self.y = frame.inside(self._made)  # [T, B, D*R]: where C writes to

    def run(
        self, plan: _core.Plan, workers: _core.Workers | None, tape: _core.Tape | None = None
    ) -> tuple[Array, States]:
        """Run all steps and return what the caller gets."""
        return self.result(self.steps.run(plan, self.frame.sizes, self.y, workers, tape))

    def result(self, states: States) -> tuple[Array, States]:
        """Return what the caller gets, `y` having been written, from h_n and c_n [L*D, B, ...]."""
        h_n, c_n = states if self.frame.batched else (state[:, 0] for state in states)
        return _checks.delivered(self._made, self._copied_to, self._out), (h_n, c_n)


def _input(value: object, I: int, dtype: np.dtype[Any]) -> Array:
    array = _checks.floats(value, "input", dtype)
    if array.ndim not in (2, 3):
        raise ValueError(f"LSTM: Expected input to be 2D or 3D, got {array.ndim}D instead")
    if array.shape[-1] != I:
        raise ValueError(f"input.size(-1) must be equal to input_size. Expected {I}, got {array.shape[-1]}")
    return array


def _tokens(value: object) -> Array:
    array = _checks.tokens(value, "input")
    if array.ndim not in (1, 2):
        raise ValueError(f"LSTM: Expected input to be 1D or 2D, tokens of a table, got {array.ndim}D instead")
    return array


def _in_table(given: Array, table: _core.TableCore, ends: NDArray[np.int64] | None, frame: Frame) -> NDArray[np.int64]:
    """Check tokens as they were given, those that are not past their row's end; return them as [T, B]."""
    running = None if ends is None else frame.outside(np.arange(frame.T)[:, None] < ends)
    return frame.inside(_checks.in_table(given, "input", table.size, running))


def _states(hx: object, frame: Frame) -> States:
    """Check hx = (h_0, c_0) and return both with a batch axis."""
    pair = _checks.pair(hx, "hx", "(h_0, c_0)")
    h, c = (_checks.floats(state, f"hx[{k}]", frame.dtype) for k, state in enumerate(pair))
    rank = 3 if frame.batched else 2
    if h.ndim != rank or c.ndim != rank:
        kind = "batched 3-D" if frame.batched else "unbatched 2-D"
        raise ValueError(f"For {kind} input, hx should also be {rank}-D but got ({h.ndim}-D, {c.ndim}-D) arrays")
    if not frame.batched:
        h, c = h[:, None], c[:, None]
    shapes = frame.sizes.states(frame.B)
    return _checks.shape(h, "hx[0]", shapes[0], "(L*D, B, R)"), _checks.shape(c, "hx[1]", shapes[1], "(L*D, B, H)")


def _resets(value: object, frame: Frame) -> NDArray[np.bool_]:
    if frame.sizes.D == 2:
        raise ValueError("resets need a unidirectional layer: the reverse direction would read across them")
    return frame.inside(_checks.resets(value, *frame.lead()))
