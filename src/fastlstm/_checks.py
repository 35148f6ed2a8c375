"""Arguments, checked: every error names the argument, what was expected and what came."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ._types import Array, Shape

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """Check a layer's ``dtype`` argument: float32 or float64."""
    try:
        made = np.dtype(dtype)
    except TypeError:
        made = None
    if dtype is None or made is None or made not in FLOATS:  # None == dtype('float64') in NumPy
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


def count(value: object, name: str) -> int:
    """Check a size that must fit in memory's address range too."""
    number = size(value, name)
    if number > sys.maxsize:
        raise OverflowError(f"{name} is too large: {number}")
    return number


def seed(value: object) -> int | None:
    """Check a seed: None, or an integer in 0..2^64-1."""
    if value is None:
        return None
    number = integer(value, "seed")
    if not 0 <= number < 2**64:
        raise ValueError(f"seed should be in 0..2^64-1, got: {number}")
    return number


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a real number; a bool is not one."""
    return isinstance(value, int | float | np.floating | np.integer) and not isinstance(value, bool)


def is_within(value: float, largest: float) -> bool:
    """Compare a number of any type, of 16 bits or of 400 digits, with the largest that there may be; NaN is outside."""
    plain = value if isinstance(value, int) else float(value)
    return -largest <= plain <= largest


def flag(value: object, name: str) -> bool:
    """Check a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    return bool(value)


def floats(value: object, name: str, dtype: np.dtype[Any]) -> Array:
    """View an argument as an array of exactly this dtype. Sequences of numbers, which have no dtype, are converted.

    The view is ours alone: whatever is done to the caller's array later, its shape stays as it was checked.
    """
    array = read(value, name, dtype)
    if isinstance(value, list | tuple | int | float) and array.dtype.kind in "iuf":
        other = next(
            (item.dtype for item in leaves(value) if isinstance(item, np.ndarray) and item.dtype != dtype), dtype
        )
        array = array.astype(other, copy=False)
    if array.dtype != dtype:
        other = f", or make the layer with dtype='{array.dtype}'" if array.dtype in FLOATS else ""
        advice = convert(array, name, str(dtype))
        raise TypeError(f"{name} should have dtype {dtype}, the layer's, got: {array.dtype}{advice}{other}")
    return array


def convert(array: Array, name: str, dtype: str) -> str:
    """Say how to convert numbers, also those of another byte order, in objects, and of ml_dtypes; else nothing."""
    kind = array.dtype.kind
    numbers = kind in "biuf" or (kind == "O" and array.ndim > 0) or (kind == "V" and array.dtype.type is not np.void)
    return f". Convert it ({name}.astype('{dtype}'))" if numbers else ""


def read(value: object, name: str, kind: object) -> Array:
    """View an argument as an array of our own, of no subclass, with the argument's name in the error."""
    if value is None:
        raise TypeError(f"{name} should be an array of {kind}, got: None")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; the mask would be lost: fill it first")
    try:
        return np.asarray(value).view()
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:  # the last of torch, with its advice
        raise ValueError(f"{name} could not be read as an array of {kind}: {error}") from None


def too_large(array: Array) -> bool:
    """Tell whether numbers are integers of which some fit no type: NumPy keeps those as Python's own."""
    whole = array.dtype == object and all(type(number) is int for number in array.flat)
    return whole and any(not -(2**63) <= number < 2**64 for number in array.flat)


def leaves(value: object) -> Iterator[object]:
    """Walk nested sequences."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def shape(array: Array, name: str, expected: Shape, letters: str) -> Array:
    """Check a shape."""
    if array.shape != expected:
        raise ValueError(f"Expected {name} size {expected} = {letters}, got {array.shape}")
    return array


def rows(value: object, name: str, B: int) -> NDArray[np.int64]:
    """Check rows: an index, several of them, or a bool for each row; return the indices."""
    array = np.array(read(value, name, "integers"))
    if array.dtype == np.bool_ and array.ndim:
        return np.flatnonzero(shape(array, name, (B,), "(B,), a bool for each row"))
    if array.size and array.dtype.kind not in "iu" and not too_large(array):
        raise TypeError(f"{name} should be integers, or bools [B], got dtype: {array.dtype}")
    if array.ndim > 1:
        raise ValueError(f"Expected {name} size (n,), got {array.shape}")
    flat = array.reshape(-1)
    wrong = flat[np.asarray((flat < 0) | (flat >= B), np.bool_)]
    if wrong.size:
        raise ValueError(f"{name} should be in 0..{B - 1}, got: {wrong[0]}")
    return flat.astype(np.int64)


def readable(array: Array) -> Array:
    """Return the array itself where C can read it: aligned, and its last axis contiguous; else a copy."""
    if array.flags.aligned and (array.shape[-1] < 2 or array.strides[-1] == array.itemsize):
        return array
    return np.require(array, requirements=("C", "A"))


def frozen(array: Array) -> Array:
    """Return a read-only view, which ``setflags`` cannot make writable: a packed copy of it can then never be stale."""
    array.setflags(write=False)
    return array.view()


def pair(value: object, name: str, letters: str) -> tuple[Any, Any]:
    """Check for two things, in a tuple or a list."""
    made = tuple(value) if isinstance(value, tuple | list) else ()
    if len(made) != 2:
        length = f" of length {len(made)}" if isinstance(value, tuple | list) else ""
        raise TypeError(f"{name} should be a pair {letters}, got: {type(value).__name__}{length}")
    return made


def contiguous(array: Array) -> Array:
    """Return the array itself where it is contiguous and aligned; else a copy."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.require(array, requirements=("C", "A"))


def output(
    out: object,
    expected: Shape,
    dtype: np.dtype[Any],
    letters: str,
    inputs: dict[str, Array],
    name: str = "out",
) -> Array:
    """Check an ``out`` argument: right shape and dtype, writable, and sharing no memory with any input.

    What is returned, and is to be written to, is a view of our own, as from `floats`.
    """
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} should be a numpy.ndarray, got: {type(out).__name__}")
    out = np.asarray(out).view()
    if out.dtype != dtype:
        raise TypeError(f"{name} should have dtype {dtype}, that of the inputs, got: {out.dtype}")
    shape(out, name, expected, letters)
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    if _overlaps_itself(out):
        raise ValueError(f"{name} overlaps itself: some of its elements share memory")
    for other, array in inputs.items():
        if overlap(out, array):
            raise ValueError(f"{name} overlaps {other}: the result would overwrite what is still to be read")
    return out


def delivered(made: Array, to: Array | None, out: Any) -> Array:
    """Return what was made, or `out` with it; `to` is the view of `out` that it has still to be copied to, if any."""
    if to is not None:
        to[...] = made
    return made if out is None else out


def _overlaps_itself(array: Array) -> bool:
    """Tell whether elements share memory: a stride that is less than what the smaller strides span."""
    span = array.itemsize
    for stride, n in sorted((abs(stride), n) for stride, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < span:
            return array.size > 0
        span += stride * (n - 1)
    return False


def overlap(a: Array, b: Array) -> bool:
    """Do two arrays share an element? Where that is hard to tell, yes."""
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # any number, says NumPy's own text
    except np.exceptions.TooHardError:
        return True


def lengths(value: object, T: int, B: int | None, name: str = "lengths") -> NDArray[np.int64]:
    """Check lengths: one integer in 0..T for each row (B = None: unbatched, a single one).

    Copied before they are checked: another thread may write to the caller's array meanwhile.
    """
    array = np.array(read(value, name, "integers"))
    if array.dtype.kind not in "iu" and not too_large(array):
        if array.size:
            raise TypeError(f"{name} should be integers, got dtype: {array.dtype}{convert(array, name, 'int64')}")
        array = array.astype(np.int64)
    if B is None:
        array = array.reshape(1) if array.shape == () else array
    if array.shape != (1 if B is None else B,):
        raise ValueError(f"Expected {name} size {(1 if B is None else B,)} = (B,), got {array.shape}")
    wrong = np.flatnonzero((array < 0) | (array > T))
    if wrong.size:
        raise ValueError(f"{name} should be in 0..{T} (T), got {array[wrong[0]]} at row {wrong[0]}")
    return array.astype(np.int64, copy=False)


def tokens(value: object, name: str) -> Array:
    """Read integers of any width, to be checked by `in_table`; copied, as `lengths` are."""
    array = np.array(read(value, name, "integers"))
    if array.dtype.kind not in "iu" and not too_large(array):
        if array.size:
            advice = convert(array, name, "int64")
            raise TypeError(f"{name} should be integers, tokens of the table, got dtype: {array.dtype}{advice}")
        array = array.astype(np.int64)
    return array


def in_table(array: Array, name: str, V: int, looked_at: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """Check that tokens are in 0..V-1, all or where they are `looked_at`."""
    wrong = np.asarray((array < 0) | (array >= V), np.bool_)
    if looked_at is not None:
        wrong &= looked_at
        array = np.where(looked_at, array, 0)  # what is not may be too large for any type
    if wrong.any():
        at = tuple(int(k) for k in np.argwhere(wrong)[0])
        where = f" at {name}[{', '.join(map(str, at))}]" if at else ""
        raise ValueError(f"{name} should be in 0..{V - 1}, tokens of a table of {V}, got {array[at]}{where}")
    return array.astype(np.int64, copy=False)


def resets(value: object, expected: Shape, letters: str) -> NDArray[np.bool_]:
    """Check resets: bool, one for each step of each row."""
    array = read(value, "resets", "bool")
    if array.dtype != np.bool_:
        raise TypeError(f"resets should have dtype bool, got: {array.dtype}{convert(array, 'resets', 'bool')}")
    return np.array(shape(array, "resets", expected, letters), order="C")


def thread_count(threads: object) -> int:
    """Check a number of threads: 1..4096."""
    number = size(threads, "threads")
    if number > 4096:
        raise ValueError(f"threads should be at most 4096, got: {number}")
    return number


def made_once(self: object) -> None:
    """Refuse a second __init__: the sizes in the compiled part of the object stay."""
    if "_dtype" in self.__dict__:
        raise RuntimeError(f"this {type(self).__name__} has been made already: make another one")
