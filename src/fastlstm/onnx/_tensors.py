"""Tensors of a model file: in the file itself, or in one beside it. What they claim is checked before it is read."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO, Final

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from .._types import Array
from ..files._budget import Budget
from ..files._layer import short

_AXES: Final = 64  # NumPy has no more
_LOOKUPS: Final = 1_000_000  # inputs of computed constants in a whole model; exporters need about 30 for each LSTM
_PASSES: Final = 16  # how many times the limit of memory all constants of a model may add up to, one after the other
_WIDE: Final = 4  # bytes that a number is computed in: narrower ones take more memory than file
_HALVES: Final = ("int4", "uint4")  # two in a byte
_FIELDS: Final[dict[str, np.dtype[Any]]] = {
    "float_data": np.dtype(np.float32),
    "int32_data": np.dtype(np.int32),
    "int64_data": np.dtype(np.int64),
    "double_data": np.dtype(np.float64),
    "uint64_data": np.dtype(np.uint64),
}


@contextmanager
def regular(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file, without waiting if it is a pipe, and tell its size; ValueError for anything else."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(f"{os.fspath(path)} is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            yield file, status.st_size
    finally:
        os.close(descriptor)


class Source:
    """Reads the tensors of one model, within the budget of its file."""

    def __init__(self, folder: str | None, budget: Budget) -> None:
        self.budget = budget
        self._folder = folder
        self._files: set[Path] = set()
        self._widened: set[tuple[str, int]] = set()
        self._lookups = self._total = 0

    def look_up(self, name: str, count: int) -> None:
        """Count inputs of nodes: a file could make a few of them add up to hours."""
        self._lookups += count
        if self._lookups > _LOOKUPS:
            raise ValueError(f"{shown(name)}: the constants of the model are computed from more than {_LOOKUPS} inputs")

    def take(self, what: str, size: int) -> None:
        """Count bytes that are about to be read or computed."""
        if self._total + size > _PASSES * self.budget.limit:
            raise ValueError(f"{what}: the constants of the model add up to {self._total + size} bytes")
        self.budget.keep(what, size)
        self._total += size

    def read(self, tensor: TensorProto) -> Array:
        """Read a tensor; ValueError where its data is not what it claims."""
        name = tensor.name
        if len(tensor.dims) > _AXES:
            raise ValueError(f"{shown(name)} has {len(tensor.dims)} dimensions")
        if any(size < 0 for size in tensor.dims):
            raise ValueError(f"{shown(name)} has negative sizes: {list(tensor.dims)}")
        if tensor.HasField("segment"):
            raise ValueError(f"{shown(name)} is one of several segments: these are not read")
        external = tensor.data_location == TensorProto.EXTERNAL
        try:
            return self._external(tensor) if external else self._inside(tensor)
        except MemoryError:
            raise
        except Exception as error:  # a corrupt tensor or a missing file
            where = ", in another file" if external else ""
            raise ValueError(f"{shown(name)} {list(tensor.dims)}{where} cannot be read: {error}") from None

    def _inside(self, tensor: TensorProto) -> Array:
        dtype, packed, name = _element(tensor), _packed(tensor), shown(tensor.name)
        if tensor.HasField("raw_data"):
            data = tensor.raw_data
            if len(data) != packed:
                raise ValueError(f"{packed} bytes expected, got {len(data)}")
            self._count(tensor, packed)
            return self._from_bytes(tensor, data)
        field = helper.tensor_dtype_to_field(tensor.data_type)
        numbers = getattr(tensor, field)
        expected = packed if dtype.name in _HALVES else math.prod(tensor.dims)
        if len(numbers) != expected:
            raise ValueError(f"{expected} numbers expected in {field}, got {len(numbers)}")
        self._count(tensor, packed)
        with self.budget.hold(name, expected * _FIELDS[field].itemsize):
            array = np.fromiter(numbers, _FIELDS[field], expected)  # from a list each would be an object for a moment
            if dtype.name in _HALVES or dtype.kind in "fV":
                plain = array if array.dtype == dtype else array.astype(f"u{dtype.itemsize}")
                return self._from_bytes(tensor, plain.astype(plain.dtype.newbyteorder("<")).tobytes())
            made = array.astype(dtype)
            if (made != array).any():
                raise ValueError(f"{field} has numbers that {dtype} does not have")
            return made.reshape(tuple(tensor.dims))

    def _external(self, tensor: TensorProto) -> Array:
        if self._folder is None:
            raise ValueError("load the model by its path")
        entries = {entry.key: entry.value for entry in tensor.external_data}
        packed = _packed(tensor)
        offset, length = int(entries.get("offset") or 0), int(entries.get("length") or packed)
        if length != packed or offset < 0:
            raise ValueError(f"{packed} bytes expected, but offset {offset} and length {length} are given")
        path = _confined(Path(self._folder), entries.get("location", ""))
        with regular(path) as (file, size):
            if offset + packed > size:
                raise ValueError(f"{path.name} has {size} bytes, fewer than {offset} + {packed}")
            if path not in self._files:
                self._files.add(path)
                self.budget.add_file(size)
            self._count(tensor, packed)
            file.seek(offset)
            data = file.read(packed)
        if len(data) != packed:
            raise ValueError(f"{path.name} has become shorter")
        return self._from_bytes(tensor, data)

    def _count(self, tensor: TensorProto, packed: int) -> None:
        """Count a tensor's bytes; for numbers narrower than those that are computed with, raise the limit too."""
        count, dtype = math.prod(tensor.dims), _element(tensor)
        if dtype.itemsize < _WIDE and (tensor.name, packed) not in self._widened:
            self._widened.add((tensor.name, packed))
            self.budget.unpack(_WIDE * count, packed)
        self.take(shown(tensor.name), packed + (count if dtype.name in _HALVES else 0))

    def _from_bytes(self, tensor: TensorProto, data: bytes) -> Array:
        """Return the array that little-endian bytes hold, two numbers in each for some types."""
        shape, dtype = tuple(tensor.dims), _element(tensor)
        if dtype.name not in _HALVES:
            little = np.frombuffer(data, np.uint8 if dtype.itemsize == 1 else f"<u{dtype.itemsize}")
            return little.astype(f"u{dtype.itemsize}", copy=False).view(dtype).reshape(shape)
        proto = TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=data)
        return np.asarray(numpy_helper.to_array(proto))


def shown(name: str) -> str:
    """Return a name of the model for a message: many nodes may tell of one that is long."""
    return repr(short(name, 100))


def _element(tensor: TensorProto) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    except (KeyError, TypeError):
        raise ValueError(f"element type {tensor.data_type} is unknown") from None
    if dtype.kind not in "biuf" and not dtype.name.startswith(("bfloat16", "float8", *_HALVES)):
        raise ValueError(f"elements of {dtype} are not read")
    return dtype


def _packed(tensor: TensorProto) -> int:
    """Return how many bytes the data of a tensor should have."""
    count, dtype = math.prod(map(int, tensor.dims)), _element(tensor)
    return (count + 1) // 2 if dtype.name in _HALVES else count * dtype.itemsize


def _confined(folder: Path, location: str) -> Path:
    """Return the path of a file beside the model: no way out of its folder, no link."""
    parts = PurePosixPath(location).parts
    windows = PureWindowsPath(location)
    if not parts or "\0" in location or ".." in (*parts, *windows.parts) or windows.anchor or location.startswith("/"):
        raise ValueError(f"{shown(location)} is not a place in the folder of the model")
    base = folder.resolve()
    path = base.joinpath(*parts)
    if path.resolve() != path:
        raise ValueError(f"{shown(location)} is a link, or behind one: refused")
    return path
