"""The machine itself: what no contender can beat, measured in the same rounds as they are."""

import ctypes
import os
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

from bench.contenders import NO_AVX512, Answer, Loop
from bench.works import Case, Data, Work

label = "limit"

# One call of the kind "fma" does this many floating point operations in each thread.
FLOPS = 2**20
WIDTHS = (16, 32) if NO_AVX512 else (16, 32, 64)


def version() -> str:
    """Say what is measured."""
    return "best of " + ", ".join(f"{8 * width}" for width in _widths()) + " bit vectors"


def footprint(case: Case) -> int:
    """Count the bytes of weights that must be read for every step of one row."""
    inputs = case.I + (case.num_layers - 1) * case.H if case.T == 1 else 0
    return 4 * 4 * case.H * (inputs + case.num_layers * case.H)


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a limit, at the vector width that is the fastest at it."""
    make = _fma if work.kind == "fma" else _read
    loops = [make(work, width) for width in _widths()]
    return min(loops, key=_trial), lambda: np.zeros(0, np.float32)


def _fma(work: Work, width: int) -> Loop:
    function = getattr(_library(), f"fma_{width}")
    times = FLOPS // getattr(_library(), f"fma_flops_{width}")()
    return _in_threads(work.threads, lambda _, n: function(ctypes.c_long(n * times)))


def _read(work: Work, width: int) -> Loop:
    function = getattr(_library(), f"read_{width}")
    share = footprint(work.case) // work.threads
    # Ones: pages that were never written would all be the same page of zeros.
    buffer = np.ones(work.threads * share + 64, np.uint8)
    start = buffer.ctypes.data + -buffer.ctypes.data % 64

    def read(thread: int, n: int) -> None:
        # `buffer` is named so that it lives as long as this function.
        assert start + (thread + 1) * share <= buffer.ctypes.data + buffer.size
        function(ctypes.c_void_p(start + thread * share), ctypes.c_size_t(share), ctypes.c_long(n))

    return _in_threads(work.threads, read)


def _in_threads(threads: int, run: Callable[[int, int], None]) -> Loop:
    """Run the same loop in every thread; ctypes releases the GIL."""
    if threads == 1:
        return lambda n: run(0, n)
    pool = ThreadPoolExecutor(threads)
    return lambda n: deque(pool.map(run, range(threads), [n] * threads), maxlen=0).clear()


def _trial(loop: Loop) -> float:
    def seconds() -> float:
        start = time.perf_counter()
        loop(20)
        return time.perf_counter() - start

    return min(seconds() for _ in range(9))


@cache
def _library() -> ctypes.CDLL:
    source = Path(__file__).with_name("limits.c")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "limits.so"
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-shared", "-fPIC"]
        subprocess.run([os.environ.get("CC", "cc"), *flags, str(source), "-o", str(library)], check=True)
        return ctypes.CDLL(str(library))


def _widths() -> list[int]:
    return [width for width in WIDTHS if hasattr(_library(), f"fma_{width}")]
