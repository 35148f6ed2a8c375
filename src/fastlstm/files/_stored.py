"""An array that still lies in its file: shape and dtype are known, the numbers are read when asked for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np

from .._types import Array

#: Sizes in bytes of what weights are stored in. NumPy has no bfloat16.
FLOATS = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
#: Those of matrices of integers, which have scales beside them.
INTEGERS = {"int8": 1, "uint8": 1}


@dataclasses.dataclass(frozen=True)
class Stored:
    """One array of a file."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Array]
    """bfloat16 comes as the float32 of the same value."""
    origin: str = ""
    """What has to be known of how the numbers come about, if they do not stand in the file so."""
    held: int = 0
    """Bytes of memory that `read` takes for a moment beside what it returns."""
    integers: Mapping[str, Stored] | None = None
    """For a matrix that is dequantised: its integers, as ``""``, and their scales and zero points, by the ends of their
    names."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory that `read` takes."""
        size = {**FLOATS, **INTEGERS, "bfloat16": 4}.get(self.dtype, 8)
        return math.prod(self.shape) * size

    def mapped(self, shape: tuple[int, ...], change: Callable[[Array], Array]) -> Stored:
        """Return what `change` makes of it, which has `shape`."""
        return dataclasses.replace(self, shape=shape, read=lambda: change(self.read()), integers=None)

    @property
    def transposed(self) -> Stored:
        """Its transpose."""
        return self.mapped(self.shape[::-1], np.transpose)


def unread(shape: tuple[int, ...], dtype: str) -> Stored:
    """Return an array of a dtype that is not read: it is listed by its name."""

    def read() -> Array:
        raise ValueError(f"numbers of {dtype} are not read")

    return Stored(shape, dtype[:40], read)


def from_bytes(data: bytes | memoryview, dtype: str, shape: tuple[int, ...]) -> Array:
    """View little-endian bytes as an array."""
    raw = np.frombuffer(data, "<u2" if dtype == "bfloat16" else np.dtype(dtype).newbyteorder("<"))
    return widened(raw, dtype).reshape(shape)


def widened(raw: Array, dtype: str) -> Array:
    """Turn the bits of bfloat16 into float32; leave the rest as it is."""
    if dtype != "bfloat16":
        return raw
    wide = raw.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def nbytes(shape: tuple[int, ...], dtype: str) -> int:
    """Return how much memory an array takes, in Python's integers, which do not overflow."""
    return math.prod(shape) * (FLOATS.get(dtype) or np.dtype(dtype).itemsize)
