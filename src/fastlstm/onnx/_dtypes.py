"""The operator's element types: which there are, and what each is computed in."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from .._types import Array

_NAMES: Final = ("float32", "float64", "float16", "bfloat16")


def check_element(dtype: np.dtype[Any], name: str) -> None:
    """Check that a dtype is one of the operator's."""
    if dtype.name not in _NAMES:
        raise TypeError(f"{name} should have dtype {', '.join(_NAMES[:-1])} or {_NAMES[-1]}, got: {dtype}")


def computed_in(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return float64 for itself, float32 for the others: it holds every value of the half types."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


def rounded(array: Array, dtype: np.dtype[Any]) -> Array:
    """Round a result to the node's dtype; what is too large for it becomes infinite, as IEEE has it."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):
        return array.astype(dtype)
