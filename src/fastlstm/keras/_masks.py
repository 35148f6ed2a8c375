"""Masks of any pattern, as lengths: the steps that count come first, and every step shows what was computed last."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Steps(NamedTuple):
    """How to run a masked batch, and how to lay out its outputs."""

    lengths: NDArray[np.int64]  #: [B], how many steps of each row count
    order: NDArray[np.int32] | None  #: [B, T, 1], the steps that count before the others; None if they are so already
    latest: NDArray[np.int32]  #: [B, T, 1], which of the steps that count is this one, or was the last before it
    started: NDArray[np.bool_]  #: [B, T, 1], whether there has been one


def steps(valid: NDArray[np.bool_]) -> Steps:
    """Plan for a mask [B, T], True where a step counts."""
    lengths = valid.sum(axis=1)
    at_the_end = bool((valid[:, 1:] <= valid[:, :-1]).all())
    order = None if at_the_end else np.argsort(~valid, axis=1, kind="stable").astype(np.int32)[..., None]
    latest = (np.cumsum(valid, axis=1, dtype=np.int32) - 1)[..., None]
    return Steps(lengths, order, np.maximum(latest, 0), latest >= 0)


def checked(mask: NDArray[Any], B: int, T: int) -> NDArray[np.bool_]:
    """Check a mask [B, T], or [B, T, 1] as Keras has it too."""
    if mask.shape not in ((B, T), (B, T, 1)):
        raise ValueError(f"Expected mask size {(B, T)} = (B, T), got {mask.shape}")
    return mask.reshape(B, T).astype(np.bool_)
