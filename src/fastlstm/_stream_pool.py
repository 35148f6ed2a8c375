"""Many live sequences that come and go, advanced in any company."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks, _core, _snapshots, _trace
from ._call import Steps
from ._layer import Origin
from ._table import Table
from ._trace import GateTrace
from ._types import Array, F, States

Ids = NDArray[np.int64]

PATIENCE = 10.0  # seconds that a snapshot waits for the steps under way: longer ones are not of this process, or hang


class StreamPool(_core.PoolCore, Generic[F]):
    """Independent sequences with their states in one block; made by `LSTM.pool`.

    A session is opened, stepped in any company and order, and closed. Its bits do not depend on who shares its batch.
    The pool runs with the weights that the layer had when it was made. Any number of threads may use it at once, on
    different sessions.

    Attributes
    ----------
    capacity : int
        How many sessions there is room for; `grow` makes more.
    used : int
        How many are open; ``len(pool)`` too.
    current : bool
        Whether the layer still has the weights that this pool runs with.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> lstm = fastlstm.LSTM(4, 3, seed=0)
    >>> pool = lstm.pool(100)
    >>> a, b, c = pool.open(), pool.open(), pool.open()
    >>> pool.step([c, a], np.ones((2, 4), np.float32)).shape
    (2, 3)
    >>> pool.close(b)
    >>> len(pool), pool.capacity
    (2, 100)
    """

    if TYPE_CHECKING:  # step is PoolCore's, which knows no dtype

        def step(self, ids: Sequence[int] | Ids, x: ArrayLike, out: NDArray[F] | None = None) -> NDArray[F]: ...

    def __new__(
        cls, plan: _core.Plan, capacity: int, workers: _core.Workers | None, origin: Origin, table: Table[Any] | None
    ) -> Self:
        return super().__new__(cls, plan, capacity, workers, StreamPool._checked, table)

    def __init__(
        self, plan: _core.Plan, capacity: int, workers: _core.Workers | None, origin: Origin, table: Table[Any] | None
    ) -> None:
        _checks.made_once(self)
        self._origin, self._dtype, self._table = origin, origin.dtype, table
        self._workers = workers
        self._V = 0 if table is None else table.size  # tokens; 0: x are numbers
        self._I, self._R = origin.sizes.I, origin.sizes.R
        self._state = origin.sizes.states()  # of one session

    def open(self) -> int:
        """Open a session with zero state.

        Returns
        -------
        int
            Its id, greater than zero; those of closed sessions do not come again.

        Raises
        ------
        RuntimeError
            When the pool is full.
        """
        made: int = self._run_open()
        if made < 0:
            raise RuntimeError(f"the pool is full: {self.capacity} sessions are open; close one, or grow the pool")
        return made

    def close(self, ids: int | Sequence[int] | Ids) -> None:
        """Close one session or several; their slots are free for others.

        Raises
        ------
        ValueError
            For ids that are unknown or closed. Nothing is closed then.
        RuntimeError
            For an id that is given twice or is in a step. Nothing is closed then.
        """
        self._run_close(_ids(ids))

    def reset(self, ids: int | Sequence[int] | Ids) -> None:
        """Set the state of one session or several to zero.

        Raises
        ------
        ValueError, RuntimeError
            As for `close`.
        """
        self._run_set(_ids(ids), None, None)

    def advance(self, ids: int | Sequence[int] | Ids) -> None:
        """Do what the next `step` of sessions does not need their inputs for, in the time between: about half of it.

        That is U h of every layer; `step` then does the rest, of these sessions and others in any company. Optional:
        the bits are the same without, and a second call has nothing left to do. A new state, `reset` and `close` drop
        what was done for a session; a `step` that fails keeps it, and so does `grow`. The first call takes memory, 4H
        numbers a layer and session of the capacity.

        Raises
        ------
        ValueError, RuntimeError
            As for `close`.
        MemoryError
            Where that memory is not to be had.
        """
        self._run_advance(_ids(ids).reshape(-1))

    def trace(
        self,
        ids: Sequence[int] | Ids,
        x: ArrayLike,
        *,
        every: int = 1,
        units: ArrayLike | None = None,
        max_bytes: int = _trace.MAX_BYTES,
    ) -> GateTrace[F]:
        """Take one step or many of some sessions, as `step` does, and keep their gates and cells, to look at.

        Parameters
        ----------
        ids : array of int64 [n], or a sequence of int
            Open sessions, each at most once.
        x : array [n, I], or [T, n, I]
            The next input of each, or the next T. Of a pool with a table: integers [n], or [T, n].
        every, units, max_bytes
            As for `LSTM.trace`.

        Returns
        -------
        GateTrace
            Row k is session ids[k]; its `output`, [n, R] or [T, n, R], has the bits of `step`.

        Raises
        ------
        ValueError, TypeError, RuntimeError
            As for `step` and `LSTM.trace`. Nothing changes then.
        MemoryError
            As for `LSTM.trace`.

        Examples
        --------
        >>> import numpy as np, fastlstm
        >>> pool = fastlstm.LSTM(4, 3, seed=0).pool(10)
        >>> ids = [pool.open(), pool.open()]
        >>> pool.trace(ids, np.ones((2, 4), np.float32)).f.shape
        (1, 1, 1, 2, 3)
        """
        wanted = _ids(ids).reshape(-1)
        inputs, single = self._traced_inputs(x, len(wanted))
        kept = _trace.checked_kept(every, units, self._origin.sizes.H)
        kept.check_size(self._origin.sizes, self._dtype, inputs.shape[0], inputs.shape[1], max_bytes)
        y = np.empty((len(inputs), len(wanted), self._R), self._dtype)
        made: list[GateTrace[F]] = []

        def run(h: Array, c: Array) -> States:
            h_0, c_0 = (np.ascontiguousarray(state.swapaxes(0, 1)) for state in (h, c))
            steps = Steps(inputs, h_0, c_0, None, None, table=self._table)
            made.append(_trace.run(self._origin.traced, self._origin.plan, steps, y, self._workers, kept))
            h_n, c_n = (np.ascontiguousarray(state.swapaxes(0, 1)) for state in (made[0].h_n, made[0].c_n))
            return h_n, c_n

        self._run_through(wanted, run)
        made[0].output = y[0] if single else y
        return made[0]

    def _traced_inputs(self, x: ArrayLike, n: int) -> tuple[Array, bool]:
        """Check inputs [T, n, I], or of one step [n, I], of a table without I; return them as [T, n, I]."""
        array = _checks.tokens(x, "x") if self._V else _checks.floats(x, "x", self._dtype)
        own: tuple[int, ...] = (n,) if self._V else (n, self._I)
        single = array.ndim == len(own)
        lead = () if single else array.shape[:1]
        letters = ("(n,)" if single else "(T, n)") if self._V else "(n, I)" if single else "(T, n, I)"
        _checks.shape(array, "x", (*lead, *own), letters)
        steps = array[np.newaxis] if single else array
        return (_checks.in_table(steps, "x", self._V) if self._V else _checks.readable(steps)), single

    def grow(self, capacity: int) -> None:
        """Make room for more sessions. Open ones keep their ids and states.

        Parameters
        ----------
        capacity : int
            The new capacity; one below the present one changes nothing.

        Raises
        ------
        RuntimeError
            While another thread is in a step.
        MemoryError, OverflowError
            For more than memory holds. The pool stays as it is.
        """
        self._run_grow(capacity_of(capacity))

    def state(self, ids: int | Sequence[int] | Ids) -> tuple[NDArray[F], NDArray[F]]:
        """Copy states out.

        Parameters
        ----------
        ids : int, or sequence of int [n]

        Returns
        -------
        h : array [n, L, R], or [L, R] for one id
        c : array [n, L, H], or [L, H]

        Raises
        ------
        ValueError, RuntimeError
            As for `close`.
        """
        wanted = _ids(ids)
        h, c = (np.empty((*wanted.shape, *shape), self._dtype) for shape in self._state)
        self._run_get(wanted, h, c)
        return h, c

    def set_state(self, ids: int | Sequence[int] | Ids, state: tuple[ArrayLike, ArrayLike]) -> None:
        """Copy states in; the counterpart of `state`.

        Raises
        ------
        ValueError, RuntimeError, TypeError
            As for `close`, and for states of wrong shapes or dtypes. Nothing changes then.
        """
        wanted = _ids(ids)
        pair = _checks.pair(state, "state", "(h, c)")
        letters = "(n, L, R or H)" if wanted.ndim else "(L, R or H)"
        made = []
        for array, name, shape in zip(pair, ("state[0]", "state[1]"), self._state, strict=True):
            expected = *wanted.shape, *shape
            checked = _checks.shape(_checks.floats(array, name, self._dtype), name, expected, letters)
            made.append(_checks.contiguous(checked))
        self._run_set(wanted, made[0], made[1])

    @property
    def current(self) -> bool:
        """Whether the layer still has the weights that this pool runs with; False after its `load_state_dict`."""
        return self._origin.current

    def snapshot(self, ids: Sequence[int] | Ids | None = None) -> bytes:
        """Write the states of some sessions, all for None, as bytes.

        Other threads may go on stepping: their steps that are under way are waited for, and those that come meanwhile
        wait until the states have been copied.

        Returns
        -------
        bytes
            For `restore`, here or elsewhere; an npz archive of ids [n], h [n, L, R], c [n, L, H], and of what tells
            the model: see `LSTM.fingerprint`.

        Raises
        ------
        ValueError, RuntimeError
            As for `close`.
        """
        wanted, h, c = self._still(ids)
        return _snapshots.save({"h": h, "c": c, "ids": wanted}, self._origin)

    def restore(self, data: bytes, *, any_weights: bool = False) -> dict[int, int]:
        """Open a session for each that a snapshot holds, with its state.

        Parameters
        ----------
        data : bytes
            What `snapshot` returned, of a pool of the same weights, on any machine.
        any_weights : bool
            Take the states of a layer with other weights, or of bytes that do not tell which (those of version 0.1
            before its release), as long as the sizes are the same.

        Returns
        -------
        dict of int to int
            From ids at the time of the snapshot to ids here.

        Raises
        ------
        ValueError
            For bytes that are damaged, not a snapshot, of a layer of other sizes, or of other weights.
        RuntimeError
            When there is not room for all. Nothing changes then.

        Warns
        -----
        UserWarning
            For a snapshot of another version of the numerical contract: what follows may have other last bits.
        """
        h_shape, c_shape = self._state
        members: _snapshots.Members = {
            "h": (self._dtype, (-1, *h_shape)),
            "c": (self._dtype, (-1, *c_shape)),
            "ids": (np.dtype(np.int64), (-1,)),
        }
        found = _snapshots.load(data, "StreamPool", members, self._origin, any_weights, self.capacity - self.used)
        old = found["ids"]
        if len(set(old.tolist())) < len(old):
            raise ValueError("this is not a snapshot: it holds a session twice")
        made: list[int] = []
        try:
            for _ in range(len(old)):
                made.append(self.open())  # noqa: PERF401  what was opened has to be closed if one fails
        except RuntimeError:
            self.close(made)
            raise _snapshots.no_room(len(old), len(made)) from None
        self._run_set(_ids(made), found["h"], found["c"])
        return dict(zip(old.tolist(), made, strict=True))

    def _still(self, ids: Sequence[int] | Ids | None) -> tuple[Ids, Array, Array]:
        """Copy states out, of all open sessions for None, between steps: those that come meanwhile wait."""
        end = time.monotonic() + PATIENCE
        self._run_hold(end)
        try:
            while self._run_busy() and time.monotonic() < end:
                time.sleep(1e-4)
            while True:
                wanted = _ids(self.ids() if ids is None else ids).reshape(-1)
                try:
                    return (wanted, *self.state(wanted))
                except ValueError:
                    if ids is not None:
                        raise  # for None: one was closed meanwhile
        finally:
            self._run_release()

    def _checked(self, ids: Any, x: ArrayLike, out: Array | None) -> Array:
        """Do a step whose arguments are not exactly what the fast path takes: explain, convert, step."""
        wanted = _ids(ids).reshape(-1)
        if self._V:
            array = _checks.in_table(_checks.shape(_checks.tokens(x, "x"), "x", wanted.shape, "(n,)"), "x", self._V)
        else:
            array = _checks.shape(_checks.floats(x, "x", self._dtype), "x", (len(wanted), self._I), "(n, I)")
        y = np.empty((len(wanted), self._R), self._dtype)
        to = None if out is None else _checks.output(out, y.shape, self._dtype, "(n, R)", {"x": array})
        self._run_step(wanted, _checks.contiguous(array), y)
        return _checks.delivered(y, to, out)

    def __len__(self) -> int:
        return self.used

    def __repr__(self) -> str:
        return f"StreamPool({self._I} -> {self._R}, {self.used} of {self.capacity} open)"

    def __reduce__(self) -> Any:
        raise TypeError("a StreamPool cannot be pickled or copied: take a snapshot()")


def _ids(ids: object) -> Ids:
    """View ids as contiguous int64 [n], one int as []."""
    array = _checks.read(ids, "ids", "integers")
    large = _checks.too_large(array)
    if array.dtype.kind not in "iu" and array.size and not large:
        advice = _checks.convert(array, "ids", "int64")
        raise TypeError(f"ids should be integers, got dtype: {array.dtype}{advice}")
    if array.ndim > 1:
        raise ValueError(f"Expected ids size (n,), got {array.shape}")
    if large or (array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max):
        raise ValueError(f"session {max(array.flat, key=abs)} has never been opened in this pool")
    return _checks.contiguous(array.astype(np.int64, copy=False))


def capacity_of(value: object) -> int:
    number = _checks.size(value, "capacity")
    if number >= 2**32:
        raise OverflowError(f"capacity should be below 2^32, got: {number}")
    return number
