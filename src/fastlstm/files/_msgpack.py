"""Flax's msgpack files: a tree of dictionaries, arrays as extensions. Arrays stay where they are until asked for."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from .._types import Array
from . import _flax_names, _torch_names
from ._budget import Budget
from ._layer import Layer
from ._stored import FLOATS, Stored, from_bytes, nbytes, unread
from ._tree import flattened

_ARRAY: Final = 1  # Flax's extension code; its others are single numbers
_CHUNKED: Final = "__msgpack_chunked_array__"
_DEEPEST: Final = 100
#: Bytes of memory that a value takes beside its text, rounded up.
_VALUE, _OBJECT = 128, 2048

_CONSTANTS: Final = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS: Final = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"} | {
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"
}  # fmt: skip
#: Codes by the size of their length: texts, bytes, lists, dictionaries, extensions.
_LENGTHS: Final = {
    0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xC7: ">B", 0xC8: ">H", 0xC9: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I",
    0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I",
}  # fmt: skip


def layers(path: Path, budget: Budget) -> list[Layer]:
    """List the LSTMs of a file."""
    with path.open("rb") as file:  # not mapped: the system ends a process whose mapped file becomes shorter
        reader = _Reader(path, file, budget, 0, budget.file_size)
        tree = reader.value()
        if reader.place != reader.end:
            raise ValueError(f"its tree ends after {reader.place} of {reader.end} bytes")
    tensors, _ = flattened(_joined(tree), "/", budget)
    return [*_flax_names.layers(tensors, "Flax msgpack"), *_torch_names.layers(tensors, "Flax msgpack")]


class _Reader:
    """Reads values one after the other."""

    def __init__(self, path: Path, file: IO[bytes], budget: Budget, start: int, end: int) -> None:
        self.path, self.file, self.budget = path, file, budget
        self.place, self.end = start, end

    def value(self, depth: int = 0) -> Any:
        """Read one value, all that is in it included."""
        if depth > _DEEPEST:
            raise ValueError(f"its tree is more than {_DEEPEST} levels deep")
        self.budget.keep("its tree", _VALUE)
        code = self._number(">B")
        if code < 0x80 or code >= 0xE0:
            return code if code < 0x80 else code - 256
        if code in _CONSTANTS:
            return _CONSTANTS[code]
        if code in _NUMBERS:
            return self._number(_NUMBERS[code])
        kind, length = self._length(code)
        if kind == "ext":
            return self._extension(length)
        if kind in ("str", "bin"):
            return self._content(kind, length)
        if kind == "list":
            self._check(length)
            return [self.value(depth + 1) for _ in range(length)]
        if kind == "dict":
            self._check(2 * length)
            return dict(self._pair(depth + 1) for _ in range(length))
        raise ValueError(f"a code that msgpack does not have: {code}")

    def _length(self, code: int) -> tuple[str, int]:
        """Tell what comes, and how much of it."""
        if code < 0xC0:
            return (
                ("dict", code & 0x0F) if code < 0x90 else ("list", code & 0x0F) if code < 0xA0 else ("str", code & 0x1F)
            )
        if 0xD4 <= code <= 0xD8:
            return "ext", 1 << (code - 0xD4)
        if code not in _LENGTHS:
            return "", 0
        ends = ((0xC6, "bin"), (0xC9, "ext"), (0xDB, "str"), (0xDD, "list"), (0xDF, "dict"))
        return next(kind for end, kind in ends if code <= end), int(self._number(_LENGTHS[code]))

    def _number(self, format: str) -> Any:
        (number,) = struct.unpack(format, self._bytes(struct.calcsize(format)))
        return number

    def _bytes(self, count: int) -> bytes:
        self._check(count)
        self.file.seek(self.place)
        self.place += count
        return self.file.read(count)

    def _check(self, size: int) -> None:
        """Refuse what would be more than there is: everything takes a byte at least."""
        if size > self.end - self.place:
            raise ValueError(f"something of {size} bytes, where {self.end - self.place} are left")

    def _content(self, kind: str, length: int) -> str | bytes:
        self._check(length)
        self.budget.keep("its tree", 4 * length)
        content = self._bytes(length)
        return content.decode("utf-8") if kind == "str" else content

    def _pair(self, depth: int) -> tuple[str | int, Any]:
        key = self.value(depth)
        if not isinstance(key, str | int):
            raise ValueError(f"its keys should be texts or numbers, got: {type(key).__name__}")
        return key, self.value(depth)

    def _extension(self, length: int) -> Stored | None:
        code = self._number(">b")
        self._check(length)
        start, self.place = self.place, self.place + length
        if code != _ARRAY:
            return None
        self.budget.keep("its tree", _OBJECT)
        return _Reader(self.path, self.file, self.budget, start, self.place).array()

    def array(self) -> Stored:
        """Read the description of an array: shape, dtype, and its bytes, which stay where they are."""
        if self._length(self._number(">B")) != ("list", 3):
            raise ValueError("an invalid array: expected shape, dtype and bytes")
        shape, dtype = self.value(), self.value()
        kind, length = self._length(self._number(">B"))
        if kind != "bin" or not isinstance(dtype, str) or not isinstance(shape, list):
            raise ValueError("an invalid array: expected shape, dtype and bytes")
        if not all(type(n) is int and 0 <= n < 2**63 for n in shape):
            raise ValueError("an array with an invalid shape")
        self._check(length)
        if dtype not in FLOATS:
            return unread(tuple(shape), dtype)
        return _array(self.path, self.place, length, dtype, tuple(shape), self.budget)


def _array(path: Path, place: int, length: int, dtype: str, shape: tuple[int, ...], budget: Budget) -> Stored:
    if length != nbytes(shape, dtype):
        raise ValueError(f"an array of {shape} {dtype} should take {nbytes(shape, dtype)} bytes, got: {length}")

    def read() -> Array:
        budget.keep("an array", length)
        with path.open("rb") as file:
            file.seek(place)
            return from_bytes(file.read(length), dtype, shape)

    return Stored(shape, dtype, read)


def _joined(tree: Any) -> Any:
    """Join what Flax cut because msgpack's lengths have 32 bits."""
    if not isinstance(tree, Mapping):
        return [_joined(child) for child in tree] if isinstance(tree, list) else tree
    if _CHUNKED in tree:
        return _unchunked(tree)
    return {key: _joined(child) for key, child in tree.items()}


def _unchunked(tree: Mapping[Any, Any]) -> Stored:
    sizes, pieces = tree.get("shape"), tree.get("chunks")
    if not isinstance(sizes, dict) or not isinstance(pieces, dict):
        raise ValueError("an array in pieces without a shape or without pieces")
    shape = tuple(sizes[str(k)] for k in range(len(sizes)))
    chunks = [pieces[str(k)] for k in range(len(pieces))]
    if not all(type(n) is int and n >= 0 for n in shape) or not all(isinstance(chunk, Stored) for chunk in chunks):
        raise ValueError("an array in invalid pieces")
    dtypes = {chunk.dtype for chunk in chunks}
    if len(dtypes) != 1 or not dtypes <= FLOATS.keys():
        return unread(shape, ", ".join(sorted(dtypes)))
    if nbytes(shape, min(dtypes)) != sum(nbytes(chunk.shape, chunk.dtype) for chunk in chunks):
        raise ValueError(f"the pieces of an array of {shape} do not fit together")

    def read() -> Array:
        return np.concatenate([chunk.read().ravel() for chunk in chunks]).reshape(shape)

    whole = Stored(shape, dtypes.pop(), read)
    return Stored(shape, whole.dtype, read, held=whole.nbytes)
