"""What traces of whole models share, whatever framework runs them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ._trace import GateTrace
from ._types import Array

#: By the names of a model's LSTMs: a trace for each call.
Traces = dict[str, list[GateTrace[Any]]]

#: Of numbers around 1: a framework's own code rounds in another order, and of 16 bits coarsely.
NEAR: Final = 1e-2
#: Of integers, with inputs and states in 7 bits and one scale for all.
NEAR_QUANTIZED: Final = 0.2


def check_near(name: str, mine: Array, its: Array, near: float = NEAR) -> None:
    """Refuse an LSTM of a model that did something else than is traced."""
    wanted = its.astype(mine.dtype, copy=False)
    if np.allclose(mine, wanted, rtol=near, atol=near, equal_nan=True):
        return
    with np.errstate(invalid="ignore"):
        largest = np.nan_to_num(np.abs(mine - wanted), nan=np.inf).max()
    raise ValueError(
        f"{name} computed something else than an LSTM with its weights does: they differ by {largest:.3g}. If it is an "
        "LSTM all the same, its rounding has grown to that, as with 16 bits it may: trace a copy in float32 or float64"
    )
