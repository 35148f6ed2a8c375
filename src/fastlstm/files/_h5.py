"""The arrays of an HDF5 file by their paths, and the texts of its groups. Nothing leads out of the file."""

from __future__ import annotations

import dataclasses
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from .._types import Array
from . import _hdf5
from ._budget import Budget
from ._hdf5 import Message, Source, number
from ._stored import Stored, widened

#: Texts that are looked at.
_TEXTS = ("keras_version", "model_config", "name", "dtype")
_DEEPEST: Final = 64
_TEXT_CLASSES = (3, 9)  #: strings, and what has many lengths
_DEFLATE, _SHUFFLE, _FLETCHER = 1, 2, 3
_FILTERS = {4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf", 32001: "blosc"}
#: By size and where exponent and mantissa lie.
_FLOATS = {
    (2, 0, 16, 10, 5, 0, 10, 15): "float16",
    (2, 0, 16, 7, 8, 0, 7, 127): "bfloat16",
    (4, 0, 32, 23, 8, 0, 23, 127): "float32",
    (8, 0, 64, 52, 11, 0, 52, 1023): "float64",
}


class Tree:
    """The arrays and the texts of an HDF5 file, given by its path or as bytes."""

    def __init__(self, content: Path | bytes, budget: Budget) -> None:
        self.datasets: dict[str, Stored] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        self._source = Source(content, budget)
        with self._source.open():
            self._walk(self._source.root())

    def _walk(self, root: int) -> None:
        """Visit every object once, whatever leads to it."""
        waiting, seen = [("", 0, root)], {root}
        while waiting:
            path, depth, address = waiting.pop()
            messages = self._source.messages(address)
            self._note(path, messages)
            if any(message.kind == _hdf5.LAYOUT for message in messages):
                self._dataset(path, messages)
                continue
            found = []
            for name, child in self._source.links(messages):
                if child not in seen:
                    seen.add(child)
                    found.append((self._path(path, depth + 1, name), depth + 1, child))
            waiting += reversed(found)

    def _path(self, path: str, depth: int, name: str) -> str:
        made = f"{path}/{name}" if path else name
        if depth > _DEEPEST or len(made) > _hdf5.LONGEST:
            raise ValueError(f"its groups are more than {_DEEPEST} deep, or their names too long: {made[:60]!r}...")
        self._source.budget.keep("the names in the file", 1000 + 4 * len(made))
        return made

    def _note(self, path: str, messages: list[Message]) -> None:
        found = _hdf5.attributes(messages)
        texts = {}
        for name in _TEXTS:
            if name in found:
                text = self._source.text(found[name])
                if text is None and name != "dtype":  # of other programs it may be anything
                    raise ValueError(f"{path}: its {name} should be a text")
                texts[name] = text or ""
        if texts:
            self.attributes[path] = texts

    def _dataset(self, path: str, messages: list[Message]) -> None:
        bodies = {message.kind: message for message in messages}
        layout = bodies[_hdf5.LAYOUT].body
        if _hdf5.EXTERNAL in bodies or layout[1:2] == b"\x03":
            raise ValueError(f"{path} lies in another file: refused")
        if not {_hdf5.DATASPACE, _hdf5.DATATYPE} <= bodies.keys():
            raise ValueError(f"{path} has no shape, or no type")
        shape = _shape(bodies[_hdf5.DATASPACE].body)
        datatype = bodies[_hdf5.DATATYPE]
        if shape is None or (not datatype.flags & 2 and datatype.body[:1] and datatype.body[0] & 15 in _TEXT_CLASSES):
            return
        marked = self.attributes.get(path, {}).get("dtype", "")
        dtype, order = _dtype(datatype.body, marked) if not datatype.flags & 2 else ("a named type", "")
        filters = _filters(bodies[_hdf5.FILTERS].body) if _hdf5.FILTERS in bodies else []
        data = _Data(self._source, path, shape, dtype, order, layout, filters)
        if _DEFLATE in filters:
            self._source.budget.unpack(data.nbytes, data.packed())
        self.datasets[path] = Stored(shape, dtype, data.read)


@dataclasses.dataclass(frozen=True)
class _Data:
    """The numbers of one array, and how they lie."""

    source: Source
    path: str
    shape: tuple[int, ...]
    dtype: str
    order: str  #: of bytes, ``"<"`` or ``">"``; empty for what cannot be read
    layout: bytes
    filters: list[int]

    @property
    def item(self) -> np.dtype[np.generic]:
        """The numbers as NumPy has them."""
        return np.dtype("u2" if self.dtype == "bfloat16" else self.dtype).newbyteorder(self.order)  # type: ignore[arg-type]

    @property
    def nbytes(self) -> int:
        """Bytes of all numbers."""
        return math.prod(self.shape) * self.item.itemsize if self.order else 0

    def packed(self) -> int:
        """Return how many bytes the chunks take in the file."""
        with self.source.open():
            return sum(number(leaf.key[:4]) for leaf in self._leaves())

    def read(self) -> Array:
        """Read the numbers; ValueError where they were never written."""
        if not self.order:
            raise ValueError(f"{self.path} is of {self.dtype}")
        if not self.nbytes:
            return np.empty(self.shape, self.item.newbyteorder("="))
        with self.source.open():
            raw = self._chunks() if self._kind == 2 else self._row()
        array = raw.reshape(self.shape).astype(self.item.newbyteorder("="), copy=False)
        return widened(array, self.dtype)

    @property
    def _kind(self) -> int:
        version, kind = self.layout[:2].ljust(2, b"\xff")
        if version not in (3, 4) or kind > 2 or (version == 4 and kind == 2):
            raise ValueError(
                f"{self.path} lies in a layout of HDF5 that is not read ({kind} of version {version}): write it with "
                "h5py's defaults"
            )
        return kind

    def _row(self) -> Array:
        """Read numbers that lie in a row, in their header or elsewhere."""
        if self._kind == 0:
            size = number(self.layout[2:4])
            content = self.layout[4 : 4 + size]
        else:
            start, size = struct.unpack_from("<QQ", self.layout.ljust(18, b"\0"), 2)
            if start == _hdf5.UNDEFINED:
                raise ValueError(f"the numbers of {self.path} were never written")
            content = b"" if size != self.nbytes else self.source.numbers(start, size)
        if len(content) != self.nbytes:
            raise ValueError(f"{self.path} should have {self.nbytes} bytes, got: {size}")
        return np.frombuffer(content, self.item)

    def _leaves(self) -> Iterator[_hdf5.Leaf]:
        rank, root = struct.unpack_from("<BQ", self.layout.ljust(11, b"\0"), 2)
        if self._kind != 2 or rank != len(self.shape) + 1:
            raise ValueError(f"{self.path} has filters or chunks of another shape")
        if root != _hdf5.UNDEFINED:
            yield from self.source.leaves(root, 1, 8 + 8 * rank)

    def _chunks(self) -> Array:
        """Put numbers together that lie in chunks."""
        if unknown := [_FILTERS.get(k, k) for k in self.filters if k not in (_DEFLATE, _SHUFFLE, _FLETCHER)]:
            raise ValueError(f"{self.path} is packed by {unknown[0]}: only deflate, shuffle and fletcher32 are read")
        rank = len(self.shape)
        *chunk, itemsize = struct.unpack_from(f"<{rank + 1}I", self.layout.ljust(15 + 4 * rank, b"\0"), 11)
        if 0 in chunk or itemsize != self.item.itemsize:
            raise ValueError(f"{self.path} has chunks of {chunk} numbers of {itemsize} bytes")
        size = math.prod(chunk) * itemsize
        wanted = math.prod(-(-n // c) for n, c in zip(self.shape, chunk, strict=True))
        made = np.empty(self.shape, self.item)
        seen = set()
        with self.source.budget.hold(self.path, 3 * size if wanted else 0):
            for leaf in self._leaves():
                stored, mask, *start = struct.unpack(f"<II{rank}Q8x", leaf.key)
                if tuple(start) in seen or any(
                    at % c or at >= n for at, c, n in zip(start, chunk, self.shape, strict=True)
                ):
                    raise ValueError(f"{self.path} has a chunk at {start}, which does not fit or is there twice")
                seen.add(tuple(start))
                content = self._unfiltered(self.source.read(leaf.child, stored), mask, size)
                block = np.frombuffer(content, self.item).reshape(chunk)
                window = tuple(slice(at, at + c) for at, c in zip(start, chunk, strict=True))
                into = made[window]
                into[...] = block[tuple(slice(n) for n in into.shape)]
        if len(seen) != wanted:
            raise ValueError(f"{wanted - len(seen)} of {wanted} chunks of {self.path} were never written")
        return made

    def _unfiltered(self, content: bytes, mask: int, size: int) -> bytes:
        """Undo the filters of a chunk, the last first."""
        for k, kind in reversed(list(enumerate(self.filters))):
            if mask >> k & 1:
                continue
            if kind == _DEFLATE:
                content = _inflated(content, size + 4 * len(self.filters))
            elif kind == _FLETCHER:
                content = content[:-4]  # its checksum
            else:
                width = self.item.itemsize
                content = np.frombuffer(content, np.uint8).reshape(width, -1).T.tobytes()
        if len(content) != size:
            raise ValueError(f"a chunk of {self.path} should have {size} bytes, got: {len(content)}")
        return content


def _inflated(content: bytes, most: int) -> bytes:
    machine = zlib.decompressobj()
    try:
        return machine.decompress(content, most)
    except zlib.error as error:
        raise ValueError(f"a chunk cannot be inflated: {error}") from None


def _shape(body: bytes) -> tuple[int, ...] | None:
    """Read a dataspace; None for one of nothing."""
    version, rank, _, kind = body[:4].ljust(4, b"\0")
    start = 8 if version == 1 else 4
    if version not in (1, 2) or len(body) < start + 8 * rank or rank > 32:
        raise ValueError(f"a shape of version {version} with {rank} dimensions in {len(body)} bytes")
    return None if version == 2 and kind == 2 else struct.unpack_from(f"<{rank}Q", body, start)


def _dtype(body: bytes, marked: str) -> tuple[str, str]:
    """Name a datatype as NumPy does, and its byte order; none where it cannot be read."""
    body = body.ljust(20, b"\0")
    kind, flags, size = body[0] & 15, body[1], number(body[4:8])
    order = ">" if flags & 1 else "<"
    if kind == 0 and size in (1, 2, 4, 8) and body[8:12] == struct.pack("<HH", 0, 8 * size):
        return f"{'int' if flags & 8 else 'uint'}{8 * size}", order
    if kind == 1 and not flags & 0x40:
        found = _FLOATS.get((size, *struct.unpack_from("<HHBBBBI", body, 8)))
        if found:
            return found, order
    if kind == 5 and size == 2 and marked == "bfloat16":
        return "bfloat16", "<"
    return f"HDF5's class {kind} of {size} bytes", ""


def _filters(body: bytes) -> list[int]:
    """List the filters of a pipeline by their numbers."""
    version, count = body[:2].ljust(2, b"\0")
    if version not in (1, 2):
        raise ValueError(f"filters of version {version}")
    place = 8 if version == 1 else 2
    found = []
    for _ in range(count):
        (kind,) = struct.unpack_from("<H", body.ljust(place + 2, b"\0"), place)
        named = version == 1 or kind >= 256
        head = body[place : place + (8 if named else 6)].ljust(8, b"\0")
        length = number(head[2:4]) if named else 0
        values = number(head[6:8] if named else head[4:6])
        length = (length + 7) // 8 * 8 if version == 1 else length
        place += (8 if named else 6) + length + 4 * values + (4 if version == 1 and values % 2 else 0)
        if place > len(body):
            raise ValueError("a filter does not fit into its message")
        found.append(kind)
    return found
