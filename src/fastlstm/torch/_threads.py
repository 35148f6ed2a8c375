"""Threads for torch's modules: torch's own."""

from __future__ import annotations

import ctypes
import threading

import torch

from .. import _core

_started: dict[int, _core.Workers] = {}
_lock = threading.Lock()


def workers(threads: int | None) -> _core.Workers | None:
    """Return workers for this many threads, torch's number for None; None for one. All modules share them."""
    number = torch.get_num_threads() if threads is None else threads
    if number == 1:
        return None
    found = _started.get(number)
    if found is None:
        with _lock:
            found = _started.get(number) or _started.setdefault(number, _core.Workers(number, _openmp()))
    return found


def _openmp() -> int:
    """Return the address of the function by which torch's own operators run in parallel; 0 where it cannot be found.

    OpenMP's threads spin for milliseconds after each of torch's operators. Threads of ours would have to share the
    cores with them: at H=256, B=32 on two cores a packed batch took 18.0 ms that way, and 10.5 ms without the spinning.
    """
    if "ATen parallel backend: OpenMP" not in torch.__config__.parallel_info():
        return 0
    try:
        function = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):  # another runtime, or a platform without a global namespace
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0
