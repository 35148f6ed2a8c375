"""The process of one contender: it prepares works, answers them, and runs timed rounds when it is told to.

`fastlstm.bench.arena` starts it with the contender's module; they speak in pickled tuples. To its standard
input goes ``(command, *arguments)``, a method of `Worker`; ``(True, result)`` or ``(False, message)`` comes out.
"""

import ctypes
import gc
import importlib
import os
import pickle
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from fastlstm.bench import energy
from fastlstm.bench.contenders import Loop, Prepared
from fastlstm.bench.works import Array, Work, make
from fastlstm.files._layer import printable, short

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

WARM = 0.06  # seconds before each round


@dataclass(frozen=True)
class Round:
    """What one timed round gave: seconds per call, whether a CPU was taken away meanwhile, and energy per call.

    Another process may have taken it, or the host of this machine; energy is None where nothing tells it.
    """

    seconds: float
    disturbed: bool
    joules: float | None = None


class Worker:
    """One contender, by its module, and what it has prepared."""

    def __init__(self, module: str) -> None:
        self._contender = importlib.import_module(module)
        self._prepared: dict[Work, Prepared] = {}
        self._counters, _ = energy.available()

    def version(self) -> str:
        """Say what is measured, as the contender puts it."""
        return f"{self._contender.label} {self._contender.version()}"

    def first(self, work: Work) -> tuple[float, float]:
        """Prepare a work and time its first call: the seconds of both."""
        data = make(work)
        start = time.perf_counter()
        loop, *_ = self._prepared[work] = self._contender.prepare(work, data)
        return time.perf_counter() - start, _timed(loop, 1)

    def answer(self, work: Work) -> Array:
        """Prepare a work, if it is not, and compute it once: what must be checked before anything is timed."""
        if work not in self._prepared:
            self._prepared[work] = self._contender.prepare(work, make(work))
        _, answer, *_ = self._prepared[work]
        result: Array = np.asarray(answer())
        return result

    def calls(self, work: Work, seconds: float) -> int:
        """Find out how many calls of a prepared work fill a round."""
        loop, *_ = self._prepared[work]
        loop(1)
        n = 1
        while (took := _timed(loop, n)) < seconds / 2:
            n = max(2 * n, int(n * min(seconds / took, 100)))
        _settle()
        return n

    def round(self, work: Work, n: int) -> Round:
        """Time `n` calls, and return when all threads of the process sleep again."""
        loop, *_ = self._prepared[work]
        _warm(loop, max(n // 8, 1))
        taken, counted = _taken(), energy.read(self._counters)
        seconds = _timed(loop, n)
        used = energy.joules(self._counters, counted, energy.read(self._counters))
        disturbed = _taken() != taken
        _settle()
        told = self._counters and seconds > energy.LEAST_SECONDS
        return Round(seconds / n, disturbed, used / n if told else None)

    def singly(self, work: Work, seconds: float, most: int) -> Array:
        """Time calls one by one for a while, at most so many: their seconds."""
        loop, *_ = self._prepared[work]
        _warm(loop, 1)
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < most and time.perf_counter() < end:
            times.append(_timed(loop, 1))
        _settle()
        return np.array(times)

    def single(self, work: Work, seconds: float) -> list[Round]:
        """Time calls one by one, for a while; whether one was disturbed is not asked, as this is what is measured."""
        loop, _, *between = self._prepared[work]
        loop(1)
        end = time.perf_counter() + seconds
        rounds = []
        while time.perf_counter() < end:
            for pause in between:
                pause()
            rounds.append(Round(_timed(loop, 1), disturbed=False))
        _settle()
        return rounds

    def idle(self, work: Work, seconds: float) -> list[Round]:
        """Measure the CPU time that the process takes in the time after a call, with all that it has prepared."""
        loop, *_ = self._prepared[work]
        loop(1)
        before = time.process_time()
        time.sleep(seconds)
        return [Round(time.process_time() - before, disturbed=False)]

    def clear(self) -> None:
        """Forget all that was prepared, its memory and its threads."""
        self._prepared.clear()
        gc.collect()


def _taken() -> tuple[int, int]:
    """Count how often a CPU was taken from this process by another one, and from this machine by its host (ticks)."""
    stolen = 0
    with suppress(OSError, ValueError, IndexError):
        stolen = int(Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=9)[8])
    return (0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw), stolen


def _end_with_parent() -> None:
    """Have Linux end this process with the one that started it: stopped, it would never see that nobody is there."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _timed(loop: Loop, n: int) -> float:
    start = time.perf_counter_ns()
    loop(n)
    return (time.perf_counter_ns() - start) * 1e-9


def _warm(loop: Loop, n: int) -> None:
    """Run until the CPU is at its speed: others have left the caches to themselves, threads may be asleep.

    A CPU that has waited for a tenth of a second, as between rounds, ran at half its speed for the next 20 to 40 ms on
    a virtual machine. With an eighth of a round, often no call at all, who came after a long wait lost 1.6 times.
    """
    end = time.perf_counter() + WARM
    while time.perf_counter() < end:
        loop(n)


def _settle() -> None:
    """Wait, at most 0.4 s, until no thread of this process spins any more: it would run into the next one's round."""
    for _ in range(100):
        before = time.process_time()
        time.sleep(0.004)
        if time.process_time() - before < 0.0004:
            return


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Take standard input and output for ourselves: what rivals say or ask goes nowhere."""
    pipes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    return pipes


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {_line(error)}"


def _line(error: Exception) -> str:
    """Take what a rival says of its failure into a line: it may be long, and steer a terminal."""
    first, *_ = str(error).splitlines() or [""]
    return short(printable(first), 300)


def main() -> None:
    """Serve commands until the other end hangs up."""
    _end_with_parent()
    commands, answers = _pipes()

    def send(fine: bool, result: Any) -> None:
        pickle.dump((fine, result), answers)
        answers.flush()

    def reply(command: str, *arguments: Any) -> tuple[bool, Any]:
        try:
            return True, getattr(worker, command)(*arguments)
        except Exception as error:  # the table shows it in place of a time
            return False, _told(error)

    try:
        worker = Worker(sys.argv[1])
        version = worker.version()
    except ImportError as error:
        send(False, f"not here: {_line(error)}")
        return
    except Exception as error:  # as of a package that is there in part
        send(False, f"cannot be used: {_told(error)}")
        return
    send(True, version)
    gc.disable()
    while True:
        try:
            message = pickle.load(commands)
        except EOFError:
            return
        send(*reply(*message))
