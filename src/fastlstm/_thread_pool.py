"""Threads that several objects share."""

from __future__ import annotations

import os
from typing import Any

from . import _checks, _core

# for tests and measurements: calls take all threads that they are given (CONTRIBUTING.md)
if os.environ.get("FASTLSTM_ALL_THREADS", "0") not in ("", "0"):
    _core.use_all_threads(True)


class ThreadPool:
    """Worker threads for the objects that are given it, as ``threads=pool``.

    Without one, an object with ``threads=4`` has workers of its own. A process with many layers wants them once.

    Parameters
    ----------
    threads : int
        How many may share a call, the caller's included: ``threads - 1`` are started, here and now. They sleep between
        calls. One call uses them at a time; one that comes meanwhile runs on its own thread, to the same bits, as
        does every call in a forked child.

    Raises
    ------
    ValueError, TypeError
        For an invalid number.
    RuntimeError
        When the system does not start a thread.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> pool = fastlstm.ThreadPool(2)
    >>> a, b = (fastlstm.LSTM(4, 3, seed=k, threads=pool) for k in range(2))
    >>> a(np.zeros((5, 2, 4), np.float32))[0].shape, a.threads
    ((5, 2, 3), 2)
    """

    def __init__(self, threads: int) -> None:
        self._core = _core.Workers(_checks.thread_count(threads))

    @property
    def threads(self) -> int:
        """How many threads share a call, the caller's included."""
        return self._core.threads

    def __repr__(self) -> str:
        return f"ThreadPool({self.threads})"

    def __reduce__(self) -> Any:
        raise TypeError("a ThreadPool cannot be pickled or copied")


def workers(threads: int | ThreadPool) -> tuple[int, _core.Workers | None]:
    """Check a ``threads=`` argument: the number, and the pool if one was given."""
    if isinstance(threads, ThreadPool):
        return threads.threads, threads._core
    return _checks.thread_count(threads), None
