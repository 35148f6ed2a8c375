"""The answer for the last inputs, after every input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks, _core
from ._layer import Origin
from ._table import Table
from ._types import Array, F


class SlidingWindow(_core.WindowCore, Generic[F]):
    """The last output over the last `length` inputs from a zero state, after every new input; made by `LSTM.window`.

    All windows that an input belongs to run side by side, one started at every input. The one that ends is advanced
    first, so that an answer takes one step rather than `length` of them; the others follow when the next input comes,
    or when `advance` is called in the time between. The bits are those of running each window by itself.

    Attributes
    ----------
    length : int
        Inputs in a window.
    count : int
        Inputs so far.
    current : bool
        Whether the layer still has the weights that this window runs with.

    Notes
    -----
    This is the "Tacana" workload of the STAC-ML Markets (inference) benchmark: a sliding window over a stream.

    A window keeps states and no inputs. To see the gates behind an answer, trace the last `length` inputs yourself:
    ``lstm.trace(x[-length:])`` is that window, to the bit.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(4, 3, seed=0)
    >>> x = np.random.default_rng(0).standard_normal((9, 4), np.float32)
    >>> window = lstm.window(5)
    >>> answers = [window.push(row) for row in x]
    >>> bool((answers[-1] == lstm(x[4:])[0][-1]).all())  # not close: equal
    True
    >>> lstm.trace(x[-5:]).f.shape  # the gates of the five steps behind the last answer
    (1, 1, 5, 1, 3)
    """

    if TYPE_CHECKING:  # push is WindowCore's, which knows no dtype

        def push(self, x: ArrayLike, out: NDArray[F] | None = None) -> NDArray[F]: ...

    def __new__(
        cls, plan: _core.Plan, length: int, workers: _core.Workers | None, origin: Origin, table: Table[Any] | None
    ) -> Self:
        return super().__new__(cls, plan, length, workers, SlidingWindow._checked, table)

    def __init__(
        self, plan: _core.Plan, length: int, workers: _core.Workers | None, origin: Origin, table: Table[Any] | None
    ) -> None:
        _checks.made_once(self)
        self._origin, self._dtype = origin, origin.dtype
        self._V = 0 if table is None else table.size  # tokens; 0: x are numbers
        self._I, self._R = origin.sizes.I, origin.sizes.R

    def _checked(self, x: ArrayLike, out: Array | None) -> Array:
        """Take an input that is not exactly what the fast path takes: explain, convert, push."""
        if self._V:
            array = _checks.in_table(_checks.shape(_checks.tokens(x, "x"), "x", (), "one integer"), "x", self._V)
        else:
            array = _checks.shape(_checks.floats(x, "x", self._dtype), "x", (self._I,), "(I,)")
        y = np.empty(self._R, self._dtype)
        to = None if out is None else _checks.output(out, y.shape, self._dtype, "(R,)", {"x": array})
        self._run_push(_checks.contiguous(array), y)
        return _checks.delivered(y, to, out)

    @property
    def current(self) -> bool:
        """Whether the layer still has the weights that this window runs with; False after its `load_state_dict`."""
        return self._origin.current

    def __repr__(self) -> str:
        return f"SlidingWindow({self._I} -> {self._R}, length={self.length}, count={self.count})"

    def __reduce__(self) -> Any:
        raise TypeError("a SlidingWindow cannot be pickled or copied: push its last inputs into a new one")
