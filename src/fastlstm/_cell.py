"""LSTMCell: one step, state in and state out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from . import _checks, _core, _forms, _isa, _parameters
from ._forms import Form
from ._weights import Array, Settings, States, Weights


class LSTMCell(Weights):
    """One step of one LSTM layer, state in and state out, with torch's arguments and shapes.

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bias : bool
        Whether there are bias parameters.
    dtype, seed, isa, form
        As for `LSTM`.

    Raises
    ------
    ValueError, TypeError
        For sizes, types or names that cannot be.

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

    _core: _core.CellCore

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
    ) -> None:
        self._settings = Settings(
            input_size=_checks.size(input_size, "input_size"),
            hidden_size=_checks.size(hidden_size, "hidden_size"),
            num_layers=1,
            bias=_checks.flag(bias, "bias"),
            batch_first=False,
            dropout=0.0,
            bidirectional=False,
            proj_size=0,
            dtype=_checks.float_dtype(dtype),
            threads=1,
            isa=isa,
            form=_forms.checked(form),
        )
        _isa.resolve(isa)
        self._use(_parameters.initial(self._shapes(), self.hidden_size, self.dtype, _checks.seed(seed)))

    def __getattr__(self, name: str) -> Any:
        if name in ("bias_ih", "bias_hh") and not self.bias:
            return None  # as torch has it
        return super().__getattr__(name)

    def _suffixes(self) -> list[str]:
        return [""]

    def _shapes(self) -> _parameters.Shapes:
        s = self._settings
        return _parameters.layer_shapes("", s.input_size, s.hidden_size, 0, s.bias, s.form.peepholes)

    def _use(self, parameters: dict[str, Array]) -> None:
        super()._use(parameters)
        self._core = _core.CellCore(self._plan)

    def __call__(
        self,
        input: ArrayLike,
        hx: tuple[ArrayLike, ArrayLike] | None = None,
        *,
        out: States | None = None,
    ) -> States:
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
            For ranks, sizes or an `out` that cannot be.
        TypeError
            For a dtype that is not the cell's.
        """
        done = self._core.step(input, hx, out)
        return self._checked(input, hx, out) if done is None else done

    def _checked(self, input: object, hx: object, out: object) -> States:
        """Do a step whose arrays are not exactly what the fast path takes: explain, convert, step."""
        s = self._settings
        x = _checks.floats(input, "input", s.dtype)
        if x.ndim not in (1, 2):
            raise ValueError(f"LSTMCell: Expected input to be 1D or 2D, got {x.ndim}D instead")
        if x.shape[-1] != s.input_size:
            raise ValueError(f"input has inconsistent input_size: got {x.shape[-1]} expected {s.input_size}")
        wanted = (*x.shape[:-1], s.hidden_size)
        letters = "(B, H)" if x.ndim == 2 else "(H,)"
        inputs = {"input": x}
        state = None
        if hx is not None:
            if not isinstance(hx, tuple | list) or len(hx) != 2:
                raise TypeError(f"hx should be a pair (h, c), got: {type(hx).__name__}")
            for k, given in enumerate(hx):
                array = _checks.floats(given, f"hx[{k}]", s.dtype)
                inputs[f"hx[{k}]"] = _checks.shape(array, f"hx[{k}]", wanted, letters)
            state = (
                np.require(inputs["hx[0]"], requirements=("C", "A")),
                np.require(inputs["hx[1]"], requirements=("C", "A")),
            )
        if out is not None:
            if not isinstance(out, tuple | list) or len(out) != 2:
                raise TypeError(f"out should be a pair (h', c'), got: {type(out).__name__}")
            for k, array in enumerate(out):
                _checks.output(
                    array, wanted, s.dtype, letters, inputs if k == 0 or hx is None or array is not hx[1] else {}
                )
            if _checks.overlap(out[0], out[1]):
                raise ValueError("out[0] overlaps out[1]")
        done = self._core.step(np.require(x, requirements=("C", "A")), state, None)
        assert done is not None
        if out is None:
            return done
        out[0][...], out[1][...] = done
        return out[0], out[1]

    def __repr__(self) -> str:
        return self._repr(("bias", "dtype", "isa", "form"))
