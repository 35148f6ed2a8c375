"""Processes that can be told to stop and to go on, on POSIX systems and on Windows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

#: A group of its own for a process and those that it starts: signals reach them all, and Ctrl-C, ours, none of them.
OWN_GROUP: dict[str, Any] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    if sys.platform == "win32"
    else {"start_new_session": True}
)


#: For every contender's environment: CPUs alone. Keras, for one, would take a GPU where there is one.
NO_GPU = {
    "CUDA_VISIBLE_DEVICES": "",
    "HIP_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "KERAS_TORCH_DEVICE": "cpu",
}


def stop(process: subprocess.Popen[Any]) -> None:
    """Let a process and what it has started do nothing until `go`."""
    if sys.platform == "win32":
        _windows("NtSuspendProcess", process)
    else:
        _signal(process, signal.SIGSTOP)


def go(process: subprocess.Popen[Any]) -> None:
    """Let it go on."""
    if sys.platform == "win32":
        _windows("NtResumeProcess", process)
    else:
        _signal(process, signal.SIGCONT)


def kill(process: subprocess.Popen[Any]) -> None:
    """End it."""
    if sys.platform == "win32":
        process.kill()
    else:
        _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[Any], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS has the second for those that have ended
        os.killpg(process.pid, number)


def _windows(function: str, process: subprocess.Popen[Any]) -> None:
    """Call what Windows has for it: for the process alone, not for what it has started."""
    import ctypes

    getattr(ctypes.WinDLL("ntdll"), function)(ctypes.c_void_p(int(process._handle)))  # type: ignore[attr-defined]


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Take a request to end for Ctrl-C, which keeps what was measured: time limits and closed terminals send others."""
    if threading.current_thread() is not threading.main_thread():  # where no signals arrive
        yield
        return
    names = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(name, _interrupt) for name in names if signal.getsignal(name) is signal.SIG_DFL}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
