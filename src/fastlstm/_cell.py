"""LSTMCell: one step, state in and state out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from . import _checks, _settings, _trace
from ._call import Steps
from ._core import CellCore, Plan
from ._forms import Form
from ._layer import Layer
from ._settings import Settings
from ._sizes import Sizes
from ._trace import GateTrace
from ._types import Array, F, Float32, Float64, Shape, States


class LSTMCell(Layer[F]):
    """One step of one LSTM layer, state in and state out, with torch's arguments and shapes.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bias : bool
        Whether there are bias parameters.
    dtype, seed, isa, form, weights, forget_bias
        As for `LSTM`.

    Raises
    ------
    ValueError, TypeError
        For an invalid size, type or name.

    Notes
    -----
    The bits of an `LSTM` with the same weights. For a long run of steps `LSTM.stream` is faster still: it owns its
    state.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> cell = fastlstm.LSTMCell(4, 3, seed=0)
    >>> h, c = cell(np.ones((2, 4), np.float32))
    >>> h, c = cell(np.ones((2, 4), np.float32), (h, c))
    >>> h.shape, c.shape
    ((2, 3), (2, 3))
    """

    _is_cell = True
    _core: CellCore

    if TYPE_CHECKING:  # parameters, by torch's names
        weight_ih: NDArray[F]
        weight_hh: NDArray[F]
        bias_ih: NDArray[F] | None
        bias_hh: NDArray[F] | None

    @overload
    def __init__(
        self: LSTMCell[np.float32],
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: Float32 = "float32",
        seed: int | None = None,
        isa: str | None = None,
        form: Form | None = None,
        weights: str | None = None,
        forget_bias: float | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: LSTMCell[np.float64],
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: Float64,
        seed: int | None = None,
        isa: str | None = None,
        form: Form | None = None,
        weights: str | None = None,
        forget_bias: float | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: np.dtype[F],
        seed: int | None = None,
        isa: str | None = None,
        form: Form | None = None,
        weights: str | None = None,
        forget_bias: float | None = None,
    ) -> None: ...
    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: DTypeLike = "float32",
        seed: int | None = None,
        isa: str | None = None,
        form: Form | None = None,
        weights: str | None = None,
        forget_bias: float | None = None,
    ) -> None:
        given = input_size, hidden_size, 1, bias, False, 0.0, False, 0, dtype, 1, isa, form, weights
        self._draw(self._checked_settings(Settings._make(given)), _checks.seed(seed), forget_bias)

    _checked_settings = staticmethod(_settings.of_cell)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name in ("bias_ih", "bias_hh") and not self.bias:
                return None  # as torch has it
            return super().__getattr__(name)

    def _made(self, s: Settings, sizes: Sizes, plan: Plan, parameters: Mapping[str, Array]) -> dict[str, Any]:
        return super()._made(s, sizes, plan, parameters) | {"_core": CellCore(plan)}

    def __call__(
        self,
        input: ArrayLike,
        hx: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        out: tuple[NDArray[F], NDArray[F]] | None = None,
    ) -> tuple[NDArray[F], NDArray[F]]:
        """One step.

        Parameters
        ----------
        input : array [B, I] or [I]
            Of the cell's dtype.
        hx : pair of arrays (h, c), each [B, H] or [H], optional
            The state; zeros if not given.
        out : pair of arrays (h', c'), each [B, H] or [H], optional
            Where to write the new state: contiguous, overlapping no input, except that c' may be the very array c.
            Nothing is allocated then.

        Returns
        -------
        (h', c') : pair of arrays [B, H] or [H]
            The new state; `out` if it was given.

        Raises
        ------
        ValueError
            For a wrong rank or size, or an `out` that is read-only or overlaps an input.
        TypeError
            For a dtype that is not the cell's.
        """
        done = self._core.step(input, hx, out)
        return self._checked(input, hx, out) if done is None else done

    def trace(
        self,
        input: ArrayLike,
        hx: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        units: ArrayLike | None = None,
        max_bytes: int = _trace.MAX_BYTES,
    ) -> GateTrace[F]:
        """One step, keeping its gates and cells, to look at.

        Parameters
        ----------
        input, hx
            As for calling the cell.
        units, max_bytes
            As for `LSTM.trace`.

        Returns
        -------
        GateTrace
            Arrays [1, 1, 1, B, H]; `h_n`, which is `output` too, and `c_n` are h' and c' with the bits of a call.

        Raises
        ------
        ValueError, TypeError, MemoryError
            As for calling the cell, and `LSTM.trace`.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> cell = fastlstm.LSTMCell(4, 3, seed=0)
        >>> trace = cell.trace(np.ones(4, np.float32))
        >>> trace.f.shape, trace.h_n.shape
        ((1, 1, 1, 1, 3), (3,))
        """
        inputs, wanted, _ = self._inputs(input, hx)
        x, *state = map(_checks.contiguous, inputs.values())
        h, c = state or (None, None)
        kept = _trace.checked_kept(1, units, self._sizes.H)
        kept.check_size(self._sizes, self.dtype, 1, x.size // self.input_size, max_bytes)
        steps = Steps(x.reshape(1, -1, self.input_size), h, c, None, None)
        y = np.empty((1, steps.x.shape[1], self.hidden_size), self.dtype)
        made: GateTrace[F] = _trace.run(self._origin.traced, self._origin.plan, steps, y, None, kept)
        made.h_n, made.c_n = (array.reshape(wanted) for array in (made.h_n, made.c_n))
        made.output = made.h_n
        return made

    def _checked(self, input: object, hx: object, out: object) -> States:
        """Do a step whose arrays are not exactly what the fast path takes: explain, convert, step."""
        inputs, wanted, letters = self._inputs(input, hx)
        written = () if out is None else self._outputs(out, hx, wanted, letters, inputs)
        x, *state = map(_checks.contiguous, inputs.values())
        done = self._core.step(x, tuple(state) or None, None)
        assert done is not None
        if out is None:
            return done
        for to, made in zip(written, done, strict=True):
            to[...] = made
        return out[0], out[1]  # type: ignore[index]

    def _inputs(self, input: object, hx: object) -> tuple[dict[str, Array], Shape, str]:
        """Check input and state; return those that are given by their names, and a state's shape and its letters."""
        s = self._settings
        x = _checks.floats(input, "input", s.dtype)
        if x.ndim not in (1, 2):
            raise ValueError(f"LSTMCell: Expected input to be 1D or 2D, got {x.ndim}D instead")
        if x.shape[-1] != s.input_size:
            raise ValueError(f"input has inconsistent input_size: got {x.shape[-1]} expected {s.input_size}")
        wanted = (*x.shape[:-1], s.hidden_size)
        letters = "(B, H)" if x.ndim == 2 else "(H,)"
        inputs = {"input": x}
        if hx is not None:
            for k, given in enumerate(_checks.pair(hx, "hx", "(h, c)")):
                array = _checks.floats(given, f"hx[{k}]", s.dtype)
                inputs[f"hx[{k}]"] = _checks.shape(array, f"hx[{k}]", wanted, letters)
        return inputs, wanted, letters

    def _outputs(
        self, out: object, hx: Any, wanted: Shape, letters: str, inputs: dict[str, Array]
    ) -> tuple[Array, ...]:
        """Check out = (h', c') and return views of both; c' may be the very array c."""
        given = _checks.pair(out, "out", "(h', c')")
        same = hx is not None and given[1] is hx[1]
        others = inputs, {} if same else inputs
        h, c = (
            _checks.output(array, wanted, self.dtype, letters, other)
            for array, other in zip(given, others, strict=True)
        )
        if _checks.overlap(h, c):
            raise ValueError("out[0] overlaps out[1]")
        return h, c
