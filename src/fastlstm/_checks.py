"""Arguments, checked: every error names the argument, what was expected and what came. Only here and in the layers is raised."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Check a layer's ``dtype`` argument: float32 or float64."""
    try:
        made = np.dtype(dtype)
    except TypeError:
        made = None
    if dtype is None or made not in FLOATS:
        raise ValueError(f"dtype should be 'float32' or 'float64', got: {dtype!r}")
    return made


def size(value: object, name: str) -> int:
    """Check a size that must be an integer greater than zero."""
    number = integer(value, name)
    if number <= 0:
        raise ValueError(f"{name} must be greater than zero, got: {number}")
    return number


def integer(value: object, name: str) -> int:
    """Check an integer; a bool is not one."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} should be of type int, got: bool")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} should be of type int, got: {type(value).__name__}") from None


def flag(value: object, name: str) -> bool:
    """Check a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    return bool(value)


def floats(value: object, name: str, dtype: np.dtype[Any]) -> Array:
    """View an argument as an array of exactly this dtype. Plain sequences, which have no dtype, are converted."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; the mask would be lost: pass lengths=, or fill it first")
    try:
        array = np.asarray(value, dtype) if isinstance(value, list | tuple | int | float) else np.asarray(value)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{name} could not be read as an array of {dtype}: {error}") from None
    if array.dtype != dtype:
        raise TypeError(
            f"{name} should have dtype {dtype}, the layer's, got: {array.dtype}. "
            f"Convert it ({name}.astype('{dtype}')), or make the layer with dtype='{array.dtype}'"
            if array.dtype in FLOATS
            else f"{name} should have dtype {dtype}, the layer's, got: {array.dtype}"
        )
    return array


def shape(array: Array, name: str, expected: tuple[int, ...], letters: str) -> Array:
    """Check a shape."""
    if array.shape != expected:
        raise ValueError(f"Expected {name} size {expected} = {letters}, got {array.shape}")
    return array


def readable(array: Array) -> Array:
    """Return the array itself where C can read it: aligned, and its last axis contiguous; else a copy."""
    if array.flags.aligned and (array.shape[-1] < 2 or array.strides[-1] == array.itemsize):
        return array
    return np.ascontiguousarray(array)


def output(
    out: object,
    expected: tuple[int, ...],
    dtype: np.dtype[Any],
    letters: str,
    inputs: dict[str, Array],
    name: str = "out",
) -> Array:
    """Check an ``out`` argument: right shape and dtype, writable, and sharing no memory with any input."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} should be a numpy.ndarray, got: {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"{name} should have dtype {dtype}, that of the inputs, got: {out.dtype}")
    shape(out, name, expected, letters)
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    for other, array in inputs.items():
        if overlap(out, array):
            raise ValueError(f"{name} overlaps {other}: the result would overwrite what is still to be read")
    return out


def overlap(a: Array, b: Array) -> bool:
    """Do two arrays share an element? Where that is hard to tell, yes."""
    try:
        return np.shares_memory(a, b, max_work=10_000)
    except np.exceptions.TooHardError:
        return True


def lengths(value: object, T: int, B: int | None) -> NDArray[np.int64]:
    """Check lengths: one integer in 0..T for each row (B = None: unbatched, a single one)."""
    array = np.asarray(value)
    if array.dtype.kind not in "iu":
        if array.size:
            raise TypeError(f"lengths should be integers, got dtype: {array.dtype}")
        array = array.astype(np.int64)
    if B is None:
        array = array.reshape(1) if array.shape == () else array
    if array.shape != (1 if B is None else B,):
        raise ValueError(f"Expected lengths size {(1 if B is None else B,)} = (B,), got {array.shape}")
    wrong = np.flatnonzero((array < 0) | (array > T))
    if wrong.size:
        raise ValueError(f"lengths should be in 0..{T} (T), got {array[wrong[0]]} at row {wrong[0]}")
    return np.ascontiguousarray(array, np.int64)


def resets(value: object, expected: tuple[int, ...], letters: str) -> NDArray[np.bool_]:
    """Check resets: bool, one for each step of each row."""
    array = np.asarray(value)
    if array.dtype != np.bool_:
        raise TypeError(f"resets should have dtype bool, got: {array.dtype}")
    return shape(array, "resets", expected, letters)
