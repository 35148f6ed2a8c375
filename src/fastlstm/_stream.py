"""Step by step: sequences that arrive one input at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks, _core, _snapshots, _trace
from ._call import Steps
from ._layer import Origin
from ._table import Table
from ._trace import GateTrace
from ._types import Array, F, Shape, States


class Stream(_core.StreamCore, Generic[F]):
    """Live sequences, one step at a time; made by `LSTM.stream`.

    A stream owns its state and its scratch. It runs with the weights that the layer had when it was made. One thread
    at a time may be inside; a second one gets a RuntimeError and changes nothing.

    Attributes
    ----------
    batch_size : int
        B: how many sequences advance together.
    current : bool
        Whether the layer still has the weights that this stream runs with.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(4, 3, seed=0)
    >>> x = np.ones((5, 4), np.float32)
    >>> stream = lstm.stream()
    >>> steps = np.stack([stream.step(row) for row in x])
    >>> whole, (h_n, c_n) = lstm(x)
    >>> bool((steps == whole).all())  # not close: equal
    True
    """

    if TYPE_CHECKING:  # step is StreamCore's, which knows no dtype

        def step(self, x: ArrayLike, out: NDArray[F] | None = None) -> NDArray[F]: ...

    def __new__(cls, plan: _core.Plan, batch_size: int, origin: Origin, table: Table[Any] | None) -> Self:
        explain = Stream._checked if table is None else Stream._checked_tokens
        return super().__new__(cls, plan, batch_size, explain, table)

    def __init__(self, plan: _core.Plan, batch_size: int, origin: Origin, table: Table[Any] | None) -> None:
        _checks.made_once(self)
        self._origin, self._dtype, self._table = origin, origin.dtype, table
        self._V = 0 if table is None else table.size  # tokens; 0: x are numbers
        self._sizes = origin.sizes.I, origin.sizes.R
        self._state_shapes = origin.sizes.states(batch_size)

    def _checked(self, x: ArrayLike, out: Array | None) -> Array:
        """Do a step whose arrays are not exactly what the fast path takes: explain, convert, step."""
        I, R = self._sizes
        B = self.batch_size
        array = _checks.floats(x, "x", self._dtype)
        if array.ndim not in (1, 2) or (array.ndim == 1 and B != 1):
            raise ValueError(f"Expected x to be {'1D [I] or ' if B == 1 else ''}2D [B, I], got {array.ndim}D instead")
        lead = () if array.ndim == 1 else (B,)
        _checks.shape(array, "x", (*lead, I), "(I,)" if array.ndim == 1 else "(B, I)")
        to = None
        if out is not None:
            to = _checks.output(out, (*lead, R), self._dtype, "(R,)" if array.ndim == 1 else "(B, R)", {"x": array})
        y = np.empty((*lead, R), self._dtype)
        self._run_step(_checks.contiguous(array), y)
        return _checks.delivered(y, to, out)

    def _checked_tokens(self, x: ArrayLike, out: Array | None) -> Array:
        """As `_checked`, from tokens."""
        array, B = _checks.tokens(x, "x"), self.batch_size
        if array.shape != (B,) and (array.shape != () or B != 1):
            also = "one integer, or " if B == 1 else ""
            raise ValueError(f"Expected x to be {also}of size {(B,)} = (B,), tokens of the table, got {array.shape}")
        y = np.empty((*array.shape, self._sizes[1]), self._dtype)
        tokens = _checks.in_table(array, "x", self._V)
        to = None if out is None else _checks.output(out, y.shape, self._dtype, "(R,)" if y.ndim == 1 else "(B, R)", {})
        self._run_step(_checks.contiguous(tokens), y)
        return _checks.delivered(y, to, out)

    def _fed_tokens(self, x: ArrayLike) -> tuple[Array, Shape]:
        array, B = _checks.tokens(x, "x"), self.batch_size
        if array.ndim not in (1, 2) or array.shape[1:] != (B,)[: array.ndim - 1] or (array.ndim == 1 and B != 1):
            also = "(T,), or " if B == 1 else ""
            raise ValueError(f"Expected x size {also}(T, {B}) = (T, B), tokens of the table, got {array.shape}")
        return _checks.in_table(array, "x", self._V).reshape(-1, B), array.shape

    def _fed(self, x: ArrayLike) -> tuple[Array, Shape]:
        """Check many inputs; return them as [T, B, I], of a table [T, B], and the first axes of what is returned."""
        if self._V:
            return self._fed_tokens(x)
        I, B = self._sizes[0], self.batch_size
        array = _checks.floats(x, "x", self._dtype)
        if array.ndim not in (2, 3) or (array.ndim == 2 and B != 1):
            raise ValueError(
                f"Expected x to be {'2D [T, I] or ' if B == 1 else ''}3D [T, B, I], got {array.ndim}D instead"
            )
        lead = array.shape[:1] if array.ndim == 2 else (array.shape[0], B)
        _checks.shape(array, "x", (*lead, I), "(T, I)" if array.ndim == 2 else "(T, B, I)")
        return _checks.readable(array.reshape(array.shape[0], B, I)), lead

    def feed(self, x: ArrayLike) -> NDArray[F]:
        """Many steps in one call: the same bits as `step` by `step`, faster.

        Parameters
        ----------
        x : array [T, B, I], or [T, I] where the batch size is 1
            The next T inputs of every row. Of a stream with a table: integers [T, B], or [T].

        Returns
        -------
        array [T, B, R], or [T, R]
            The outputs.

        Raises
        ------
        ValueError, TypeError, RuntimeError
            As for `step`.
        """
        inputs, lead = self._fed(x)
        y = np.empty((len(inputs), self.batch_size, self._sizes[1]), self._dtype)
        self._run_feed(inputs, y)
        return y.reshape(*lead, self._sizes[1])

    def trace(
        self, x: ArrayLike, *, every: int = 1, units: ArrayLike | None = None, max_bytes: int = _trace.MAX_BYTES
    ) -> GateTrace[F]:
        """Take many steps, as `feed` does, and keep their gates and cells, to look at.

        Parameters
        ----------
        x : array [T, B, I], or [T, I] where the batch size is 1
            As for `feed`.
        every, units, max_bytes
            As for `LSTM.trace`.

        Returns
        -------
        GateTrace
            Its `output` has the bits of `feed`; the stream goes on from (h_n, c_n).

        Raises
        ------
        ValueError, TypeError, RuntimeError
            As for `step` and `LSTM.trace`. The stream stays as it is.
        MemoryError
            As for `LSTM.trace`.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> stream = fastlstm.LSTM(4, 3, seed=0).stream()
        >>> y = stream.step(np.ones(4, np.float32))
        >>> trace = stream.trace(np.ones((1, 4), np.float32))  # the second step
        >>> trace.f.shape
        (1, 1, 1, 1, 3)
        >>> bool((trace.h_prev[0, 0, 0, 0] == y).all())
        True
        """
        inputs, lead = self._fed(x)
        kept = _trace.checked_kept(every, units, self._origin.sizes.H)
        kept.check_size(self._origin.sizes, self._dtype, inputs.shape[0], inputs.shape[1], max_bytes)
        y = np.empty((len(inputs), self.batch_size, self._sizes[1]), self._dtype)
        made: list[GateTrace[F]] = []

        def run(h: Array, c: Array) -> States:
            steps = Steps(inputs, h, c, None, None, table=self._table)
            made.append(_trace.run(self._origin.traced, self._origin.plan, steps, y, None, kept))
            return made[0].h_n, made[0].c_n

        self._run_through(run)
        made[0].output = y.reshape(*lead, self._sizes[1])
        return made[0]

    @property
    def state(self) -> tuple[NDArray[F], NDArray[F]]:
        """(h_n [L, B, R], c_n [L, B, H]): copies; assign a pair of such arrays to go on from there."""
        h, c = (np.empty(shape, self._dtype) for shape in self._state_shapes)
        self._run_get(h, c)
        return h, c

    @state.setter
    def state(self, value: tuple[ArrayLike, ArrayLike]) -> None:
        pair = _checks.pair(value, "state", "(h_n, c_n)")
        made = []
        for array, name, shape in zip(pair, ("h_n", "c_n"), self._state_shapes, strict=True):
            checked = _checks.shape(_checks.floats(array, name, self._dtype), name, shape, "(L, B, R or H)")
            made.append(_checks.contiguous(checked))
        self._run_set(made[0], made[1])

    @property
    def current(self) -> bool:
        """Whether the layer still has the weights that this stream runs with; False after its `load_state_dict`."""
        return self._origin.current

    def save(self) -> bytes:
        """Write the state as bytes, for `restore` here or elsewhere.

        Returns
        -------
        bytes
            An npz archive of h [L, B, R] and c [L, B, H], and of what tells the model: see `LSTM.fingerprint`.
        """
        h, c = self.state
        return _snapshots.save({"h": h, "c": c}, self._origin)

    def restore(self, data: bytes, *, any_weights: bool = False) -> None:
        """Go on from a state that `save` wrote, of a stream of the same weights, on any machine.

        Parameters
        ----------
        data : bytes
            What `save` returned.
        any_weights : bool
            Take the state of a layer with other weights, or of bytes that do not tell which (those of version 0.1
            before its release), as long as the sizes are the same.

        Raises
        ------
        ValueError
            For bytes that are damaged, not a state, of a stream of other sizes, or of other weights. The stream stays
            as it is.

        Warns
        -----
        UserWarning
            For a state of another version of the numerical contract: what follows may have other last bits.
        """
        members = {name: (self._dtype, shape) for name, shape in zip("hc", self._state_shapes, strict=True)}
        found = _snapshots.load(data, "Stream", members, self._origin, any_weights)
        self._run_set(found["h"], found["c"])

    def reset(self, rows: ArrayLike | None = None) -> None:
        """Set the state of all rows, or of some, to zero.

        Parameters
        ----------
        rows : int, sequence of int, or bool [B], optional
            Which rows begin anew; the others go on, with the bits that they would have had.

        Raises
        ------
        ValueError
            For a row that is not there, or a wrong number of bools.
        TypeError
            For something else than integers or bools.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> stream = fastlstm.LSTM(4, 3, seed=0).stream(batch_size=2)
        >>> y = stream.step(np.ones((2, 4), np.float32))
        >>> stream.reset([1])
        >>> stream.state[0][0].any(axis=1)  # of each row
        array([ True, False])
        """
        if rows is None:
            self._run_set(None, None)
            return
        which = _checks.rows(rows, "rows", self.batch_size)

        def without(h: Array, c: Array) -> States:
            h[:, which] = c[:, which] = 0
            return h, c

        self._run_through(without)

    def __repr__(self) -> str:
        return f"Stream({self._sizes[0]} -> {self._sizes[1]}, batch_size={self.batch_size})"

    def __reduce__(self) -> Any:
        raise TypeError("a Stream cannot be pickled or copied: pickle its state, and the LSTM it came from")
