"""The contenders, one file each (file = competitor).

Every file offers the same three names, and nothing else is asked of it:

- ``label``: its name in the tables;
- ``version()``: what was measured;
- ``prepare(work, data) -> (loop, answer)``: everything that may be done once is done here, outside the timer.
  ``answer()`` computes the work from its beginning and returns an array; ``loop(n)`` runs it `n` times and returns
  nothing. The loop is the contender's own, so that no wrapper is timed along with a call that takes 300 ns.
  A third function may follow, `between()`: what is done, off the clock, before a call that is timed alone.

`torch_modules` is no contender: it holds the modules that `torch_` and `accelerated_` both run. Nor are other files
whose names have no underscore at the end: they hold parts of those that do.
"""

import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_AVX512 = "avx512" in os.environ.get("FASTLSTM_HIDE", "").split(",")
"""Whether everybody shall do without AVX-512, as we do then; those that cannot be told to do not take part."""

Loop = Callable[[int], None]
Answer = Callable[[], NDArray[np.float32]]
Between = Callable[[], None]
Prepared = tuple[Loop, Answer] | tuple[Loop, Answer, Between]


def transposed(weights: Mapping[str, NDArray[Any]], suffix: str) -> tuple[NDArray[Any], ...]:
    """Give a layer's W and U with inputs before units, and both biases in one, as many have them."""
    w, u, b_ih, b_hh = (weights[f"{name}{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return np.ascontiguousarray(w.T), np.ascontiguousarray(u.T), b_ih + b_hh


#: As Linux names them, the strongest last, and what people call them.
_SETS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx_vnni": "VNNI", "avx512_vnni": "VNNI", "avx512_bf16": "BF16"}
_SETS |= {"amx_tile": "AMX", "asimd": "NEON", "asimddp": "dot products", "sve": "SVE"}


def untold() -> str:
    """Say which instruction sets are there, for who does not tell which of them it takes."""
    flags: set[str] = set()
    with suppress(OSError):
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    found = list(dict.fromkeys(told for name, told in _SETS.items() if name in flags)) or [platform.machine()]
    return f"does not tell which of {', '.join(found)} it takes"
