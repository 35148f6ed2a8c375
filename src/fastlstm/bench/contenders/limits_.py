"""The machine itself: what no contender can beat, measured in the same rounds as they are, by loops of the package."""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import fastlstm
from fastlstm import _core
from fastlstm.bench.contenders import Answer, Loop
from fastlstm.bench.works import Case, Data, Work

label = "limit"

# One call of the kind "fma" does this many floating point operations in each thread.
STEPS = 1365
FLOPS = 2 * _core.limit_multiply(b"scalar", 1) * STEPS
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


def version() -> str:
    """Say what is measured."""
    return "best of " + ", ".join(fastlstm.isas())


def footprint(case: Case, weights: str = "float32") -> int:
    """Count the bytes of weights that are read once for each step: of a step of one alone, all that there are.

    Of more steps, those of U of one layer in one direction: each can be through before the next one begins, so it is
    their level of the caches that counts.
    """
    numbers = case.H * case.H
    if case.T == 1:
        inputs = case.I + (case.num_layers - 1) * case.H * case.directions
        numbers = case.H * case.directions * (inputs + case.num_layers * case.H)
    return 4 * numbers * BYTES[weights.partition("-")[0]]


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a limit, with the instruction set that is the fastest at it."""
    make = _fma if work.kind == "fma" else _read
    loops = [make(work, isa.encode()) for isa in fastlstm.isas()]
    return min(loops, key=_trial), lambda: np.zeros(0, np.float32)


def _fma(work: Work, isa: bytes) -> Loop:
    return _in_threads(work.threads, lambda _, n: _core.limit_multiply(isa, n * STEPS))


def _read(work: Work, isa: bytes) -> Loop:
    share = footprint(work.case, work.weights) // work.threads
    # Ones: pages that were never written would all be the same page of zeros.
    buffer = np.ones(work.threads * share + 64, np.uint8)
    start = -buffer.ctypes.data % 64
    parts = [buffer[start + thread * share :][:share] for thread in range(work.threads)]
    return _in_threads(work.threads, lambda thread, n: _core.limit_read(isa, parts[thread], n))


def _in_threads(threads: int, run: Callable[[int, int], object]) -> Loop:
    """Run the same loop in every thread; it gives up the GIL."""
    if threads == 1:
        return lambda n: deque([run(0, n)], maxlen=0).clear()
    pool = ThreadPoolExecutor(threads)
    return lambda n: deque(pool.map(run, range(threads), [n] * threads), maxlen=0).clear()


def _trial(loop: Loop) -> float:
    def seconds() -> float:
        start = time.perf_counter()
        loop(20)
        return time.perf_counter() - start

    return min(seconds() for _ in range(9))
