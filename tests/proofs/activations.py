"""Try sigmoid and tanh on all 2^32 float32 inputs: `python -m tests.proofs.activations`, or `make prove-activations`.

Prints, for each function, the largest error in ULP and where, and what was found on the way; exits with 1 above the
bound of ``cases.ULPS``. One instruction set is enough, ``--isa`` names it: tests/core/test_activations.py shows that
all of them give the same bits.

The exact value is computed in float64 with an error below 0.0001 ULP of float32. An ULP is that of the exact value's
binade. Where the exact sigmoid is below 2^-126.5, half-way in exponent through the first subnormal binade, 0 is right.
"""

import argparse
import concurrent.futures
import contextlib
import ctypes
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastlstm
from tests.cases import ULPS

Array = NDArray[Any]
BLOCK = 1 << 13  # inputs at once: everything stays in the cache
FLUSHED = np.float32(-87.68)  # sigmoid may be 0 below
EXPONENT = np.int64(0x7FF0000000000000)


class Found(NamedTuple):
    """What a range of inputs showed."""

    error: float
    """ULP"""
    at: float
    wrong: int
    """NaN that is not kept, results outside the range, 0 where it may not be: how many"""
    highest_zero: float
    """largest x < 0 that gave exactly 0"""
    lowest_one: float
    """smallest x that gave exactly 1"""

    def join(self, other: "Found") -> "Found":
        """Return what both together showed."""
        worse = max(self, other, key=lambda found: found.error)
        return Found(
            worse.error,
            worse.at,
            self.wrong + other.wrong,
            max(self.highest_zero, other.highest_zero),
            min(self.lowest_one, other.lowest_one),
        )


def exact_sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x) in float64."""
    return 1 / (1 + np.exp(-x))


def exact_tanh(x: Array) -> Array:
    """Tanh x in float64: a series where 1 - e^-2|x| would cancel."""
    a = np.abs(x)
    e = np.exp(-2 * a)
    a2 = a * a
    near = a * (1 - a2 * (1 / 3 - a2 * (2 / 15)))  # the next term is a^6 17/315 < 2^-64 of it
    return np.copysign(np.where(a < 2.0**-10, near, (1 - e) / (1 + e)), x)


def ulps(y: Array, exact: Array) -> Array:
    """Error of float32 results in ULP."""
    binade = (exact.view(np.int64) & EXPONENT).view(np.float64)
    return np.abs(y - exact) / (np.maximum(binade, 2.0**-126) * 2.0**-23)


def check(function: Callable[..., Array], exact: Callable[[Array], Array], isa: str, start: int) -> Found:
    """Try the inputs whose bits are start .. start + BLOCK - 1."""
    x = np.arange(start, start + BLOCK, dtype=np.uint32).view(np.float32)
    y = function(x, isa=isa)
    finite = np.isfinite(x)
    if not finite.all():
        low = -1.0 if function is fastlstm.tanh else 0.0
        expected = np.where(np.isnan(x), np.nan, np.where(x > 0, 1.0, low))
        wrong = int(np.count_nonzero((y != expected) & ~(np.isnan(y) & np.isnan(expected)) & ~finite))
        return Found(0.0, 0.0, wrong, -np.inf, np.inf)
    wide = exact(x.astype(np.float64))
    error = ulps(y, wide)
    wrong = 0
    zero = y == 0
    highest_zero = float(x[zero & (x < 0)].max(initial=-np.inf))
    if function is fastlstm.sigmoid:
        flushed = zero & (x <= FLUSHED)
        error[flushed] = 0
        wrong += int(np.count_nonzero(~((y >= 0) & (y <= 1)) | (zero & ~flushed)))
    else:
        opposite = function(-x, isa=isa)
        wrong += int(np.count_nonzero(~(np.abs(y) <= 1) | (opposite.view(np.uint32) ^ 0x80000000 != y.view(np.uint32))))
    worst = int(np.argmax(error))
    lowest_one = float(x[y == 1].min(initial=np.inf))
    return Found(float(error[worst]), float(x[worst]), wrong, highest_zero, lowest_one)


def main() -> int:
    """Run both proofs; 0 if both functions keep their bounds."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--isa", default=fastlstm.isa(), choices=fastlstm.isas())
    options.add_argument("--every", type=int, default=1, help="try every n-th block of inputs only")
    chosen = options.parse_args()
    with contextlib.suppress(OSError, AttributeError):  # glibc: keep freed memory, or half of the time is page faults
        ctypes.CDLL("libc.so.6").mallopt(-1, 1 << 28)
    starts = range(0, 1 << 32, BLOCK * chosen.every)
    failed = False
    with np.errstate(all="ignore"), concurrent.futures.ThreadPoolExecutor(chosen.threads) as threads:
        for function, exact in ((fastlstm.sigmoid, exact_sigmoid), (fastlstm.tanh, exact_tanh)):
            name, bound = function.__name__, ULPS[function.__name__].float32
            found = Found(0.0, 0.0, 0, -np.inf, np.inf)

            def some(part: range, function: Any = function, exact: Any = exact) -> Found:
                with np.errstate(all="ignore"):
                    found = Found(0.0, 0.0, 0, -np.inf, np.inf)
                    for start in part:
                        found = found.join(check(function, exact, chosen.isa, start))
                    return found

            parts = [starts[k : k + 2048] for k in range(0, len(starts), 2048)]
            for one in threads.map(some, parts):
                found = found.join(one)
            good = found.error <= bound and found.wrong == 0
            failed |= not good
            verdict = "good" if good else "FAILED"
            print(
                f"{name} ({chosen.isa}, {len(starts) * BLOCK} inputs): {found.error:.4f} ULP at x = {found.at:.9g} "
                f"({np.float32(found.at).view(np.uint32):#010x}), bound {bound}; {found.wrong} wrong; "
                f"0 from {found.highest_zero:.9g} down, 1 from {found.lowest_one:.9g} up: {verdict}",
                flush=True,
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
