"""HDF5 files, read by ourselves: groups, arrays and texts in the layout that h5py writes unless told otherwise.

The HDF5 library believes what a file claims: it takes gigabytes for a text of five letters, walks loops, and looks for
filters in a folder. Here every size is compared with the file, every structure is read once, and nothing is followed
out of the file.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from ._budget import Budget

UNDEFINED: Final = 2**64 - 1
#: Letters of a path.
LONGEST: Final = 4096
#: What may be read beside the numbers, in sizes of the file; in a sound file everything is read once.
_TIMES: Final = 4
_FREE: Final = 2**16

DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT, FILTERS, ATTRIBUTE = 1, 2, 3, 6, 7, 8, 11, 12
_CONTINUATION, _SYMBOL_TABLE, _ATTRIBUTE_INFO = 16, 17, 21
_SHARED = 2

_V1_MESSAGE, _V2_MESSAGE = struct.Struct("<HHB3x"), struct.Struct("<BHB")
_TREE, _SYMBOLS, _SYMBOL = struct.Struct("<4sBBH16x"), struct.Struct("<4sBxH"), struct.Struct("<QQI20x")
_HEAP, _COLLECTION, _OBJECT = struct.Struct("<4sB3xQ8xQ"), struct.Struct("<4sB3xQ"), struct.Struct("<HH4xQ")
_TEXT = struct.Struct("<IQI")


class Message(NamedTuple):
    """One entry of an object's header."""

    kind: int
    flags: int
    body: bytes


class Source:
    """The bytes of a file, or of one inside an archive.

    Parameters
    ----------
    content : Path or bytes
        Where they are.
    budget : Budget
        What is made of them is counted on.
    """

    def __init__(self, content: Path | bytes, budget: Budget) -> None:
        self.content, self.budget = content, budget
        self.size = len(content) if isinstance(content, bytes) else content.stat().st_size
        self._left = _TIMES * self.size + _FREE
        self._file: IO[bytes] | None = None
        self._texts: dict[int, dict[int, bytes]] = {}

    def numbers(self, start: int, count: int) -> bytes:
        """Read a part of the file that nothing is looked for in."""
        self._check(start, count)
        with self.open() as file:
            file.seek(start)
            found = file.read(count)
        if len(found) != count:
            raise ValueError("it has become shorter")
        return found

    def _check(self, start: int, count: int) -> None:
        if not 0 <= start <= start + count <= self.size:
            raise ValueError(f"its bytes {start} to {start + count} are beyond the end of its {self.size}")

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file for all that is read inside the block."""
        if self._file:
            yield self._file
            return
        with io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb") as file:
            self._file = file
            try:
                yield file
            finally:
                self._file = None

    def read(self, start: int, count: int) -> bytes:
        """Read a structure, counted: in a damaged file many may share one."""
        self._check(start, count)
        self._left -= count
        if self._left < 0:
            raise ValueError("its structures are larger together than the file: it is damaged")
        return self.numbers(start, count)

    def unpack(self, layout: struct.Struct, start: int) -> tuple[Any, ...]:
        """Read the fields of a structure."""
        return layout.unpack(self.read(start, layout.size))

    def root(self) -> int:
        """Return the address of the root group's header."""
        head = self.read(0, min(96, self.size)).ljust(96, b"\0")
        version = head[8]
        sizes, base, end, root = {
            0: (head[13:15], head[24:32], head[40:48], head[64:72]),
            1: (head[13:15], head[28:36], head[44:52], head[68:76]),
        }.get(version, (head[9:11], head[12:20], head[28:36], head[36:44]))
        if version > 3 or sizes != b"\x08\x08" or base != bytes(8):
            raise ValueError(
                f"its superblock should be of version 0 to 3 with numbers of eight bytes from 0 on, got: "
                f"version {version}, {sizes[0]} and {sizes[1]} bytes from {number(base)} on"
            )
        if number(end) > self.size:
            raise ValueError(f"it ends after {self.size} of {number(end)} bytes")
        return number(root)

    def messages(self, address: int) -> list[Message]:
        """Read an object's header."""
        signature = self.read(address, 4)
        blocks = self._header_2(address) if signature == b"OHDR" else self._header_1(address)
        made: list[Message] = []
        seen = set()
        while blocks:
            start, count, head, ordered = blocks.pop()
            if start in seen:
                raise ValueError("an object's header goes round in a circle")
            seen.add(start)
            for message in _split(self.read(start, count), head, 2 if ordered else 0):
                self.budget.keep("the headers of the file", 150 + len(message.body))
                made.append(message)
                if message.kind == _CONTINUATION:
                    start, count = struct.unpack_from("<QQ", message.body.ljust(16, b"\0"))
                    if head is _V2_MESSAGE:
                        start, count = start + 4, count - 8  # its signature and its checksum
                    blocks.append((start, max(count, 0), head, ordered))
        return made

    def _header_1(self, address: int) -> list[tuple[int, int, struct.Struct, bool]]:
        version, size = struct.unpack("<B7xI4x", self.read(address, 16))
        if version != 1:
            raise ValueError(f"there is no object at {address}")
        return [(address + 16, size, _V1_MESSAGE, False)]

    def _header_2(self, address: int) -> list[tuple[int, int, struct.Struct, bool]]:
        version, flags = self.read(address + 4, 2)
        if version != 2:
            raise ValueError(f"an object's header should be of version 1 or 2, got: {version}")
        start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        return [(start + width, number(self.read(start, width)), _V2_MESSAGE, bool(flags & 4))]

    def links(self, messages: list[Message]) -> list[tuple[str, int]]:
        """List a group's hard links, by name: the others lead elsewhere, or to what has one."""
        found: list[tuple[str, int]] = []
        for message in messages:
            if message.kind == _SYMBOL_TABLE:
                tree, heap = struct.unpack_from("<QQ", message.body.ljust(16, b"\0"))
                found += self._symbols(tree, heap)
            elif message.kind == LINK:
                found += _link(message.body)
            elif message.kind == LINK_INFO:
                at = 10 if message.body[1:2] and message.body[1] & 1 else 2
                _refuse_dense(message.body, at, "a group of many links")
        return found

    def _symbols(self, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        signature, version, size, address = self.unpack(_HEAP, heap)
        if signature != b"HEAP" or version != 0:
            raise ValueError(f"there are no names at {heap}")
        names = self.read(address, size)
        for node in self.leaves(tree, 0, 8):
            signature, version, count = self.unpack(_SYMBOLS, node.child)
            if signature != b"SNOD" or version != 1:
                raise ValueError(f"there are no links at {node.child}")
            self.budget.keep("the links of the file", 200 * count)
            for name, header, cached in _SYMBOL.iter_unpack(self.read(node.child + 8, count * _SYMBOL.size)):
                if cached != 2:  # 2: a soft link
                    end = names.find(b"\0", name, name + LONGEST + 1)
                    if not 0 <= name < end:
                        raise ValueError(f"a link has no name, or one of more than {LONGEST} letters")
                    yield names[name:end].decode(), header

    def leaves(self, address: int, kind: int, key_size: int) -> Iterator[Leaf]:
        """Walk a B-tree of version 1."""
        waiting, seen = [(address, -1)], set()
        while waiting:
            address, expected = waiting.pop()
            signature, type_, level, used = self.unpack(_TREE, address)
            if signature != b"TREE" or type_ != kind or address in seen or expected not in (-1, level):
                raise ValueError(f"there is no node of a tree at {address}")
            seen.add(address)
            width = key_size + 8
            self.budget.keep("the trees of the file", 200 * used)
            entries = self.read(address + _TREE.size, used * width)
            found = [
                Leaf(entries[k : k + key_size], number(entries[k + key_size : k + width]))
                for k in range(0, len(entries), width)
            ]
            if level == 0:
                yield from found
            else:
                waiting += [(leaf.child, level - 1) for leaf in reversed(found)]

    def text(self, body: bytes) -> str | None:
        """Return the text of an attribute, which a message holds; None if it is none."""
        name, datatype, dataspace, data = attribute(body)
        if dataspace[:2] not in (b"\x01\x00", b"\x02\x00"):
            return None  # not a single one
        kind, size = datatype[0] & 15, number(datatype[4:8])
        if kind == 3:
            found = data[:size].split(b"\0")[0]
        elif kind == 9 and datatype[1] & 15 == 1 and len(data) >= _TEXT.size:
            length, address, index = _TEXT.unpack_from(data)
            found = self._collection(address).get(index, b"") if length else b""
            if len(found) < length:
                raise ValueError(f"the text {name!r} claims {length} bytes and has {len(found)}")
            found = found[:length]
        else:
            return None
        self.budget.keep("the texts of the file", 4 * len(found))
        return found.decode()

    def _collection(self, start: int) -> dict[int, bytes]:
        """Read a heap of texts: by index."""
        if start not in self._texts:
            signature, version, size = self.unpack(_COLLECTION, start)
            if signature != b"GCOL" or version != 1 or size < _COLLECTION.size:
                raise ValueError(f"there are no texts at {start}")
            data = self.read(start + _COLLECTION.size, size - _COLLECTION.size)
            self.budget.keep("the texts of the file", 8 * len(data))
            found, place = {}, 0
            while len(data) - place >= _OBJECT.size:
                index, _, length = _OBJECT.unpack_from(data, place)
                if index == 0:  # what is free
                    break
                place += _OBJECT.size
                if length > len(data) - place:
                    raise ValueError(f"a heap of texts has one of {length} bytes, which does not fit")
                found[index] = data[place : place + length]
                place += (length + 7) // 8 * 8
            self._texts[start] = found
        return self._texts[start]


class Leaf(NamedTuple):
    """What a tree leads to."""

    key: bytes
    child: int


def number(raw: bytes) -> int:
    """Return an unsigned integer."""
    return int.from_bytes(raw, "little")


def _split(data: bytes, head: struct.Struct, order: int) -> Iterator[Message]:
    """Yield the messages of one block; what is too short for one is a gap."""
    place = 0
    while len(data) - place >= head.size + order:
        kind, size, flags = head.unpack_from(data, place)
        place += head.size + order
        if size > len(data) - place:
            raise ValueError(f"a message of {size} bytes does not fit into its header")
        yield Message(kind, flags, data[place : place + size])
        place += size


def _link(body: bytes) -> Iterator[tuple[str, int]]:
    """Read a link message."""
    version, flags = body[:2].ljust(2, b"\0")
    if version != 1:
        raise ValueError(f"a link should be of version 1, got: {version}")
    place = 2
    kind = body[place] if flags & 8 and len(body) > place else 0
    place += (1 if flags & 8 else 0) + (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    start = place + width
    end = start + number(body[place:start])
    if end > len(body):
        raise ValueError("a link's name is longer than the link")
    if kind == 0:
        yield body[start:end].decode(), number(body[end : end + 8])


def _refuse_dense(body: bytes, at: int, what: str) -> None:
    if body[at : at + 8] != b"\xff" * 8:
        raise ValueError(
            f"it has {what} in HDF5's newer layout, which is not read: write it with h5py's defaults, without "
            "libver= or track_order="
        )


def attribute(body: bytes) -> tuple[str, bytes, bytes, bytes]:
    """Split an attribute: its name, datatype, dataspace and data."""
    version, flags, *sizes = struct.unpack_from("<BBHHH", body.ljust(8, b"\0"))
    if version not in (1, 2, 3) or (version > 1 and flags & 3):
        return "", b"\xff" * 8, b"\xff" * 8, b""
    place = 9 if version == 3 else 8
    parts = []
    for size in sizes:
        if size > len(body) - place:
            raise ValueError("an attribute does not fit into its message")
        parts.append(body[place : place + size])
        place += (size + 7) // 8 * 8 if version == 1 else size
    name, datatype, dataspace = parts
    return name.split(b"\0")[0].decode(errors="replace"), datatype.ljust(8, b"\xff"), dataspace, body[place:]


def attributes(messages: list[Message]) -> dict[str, bytes]:
    """Return the attributes of an object, undecoded, by their names."""
    made = {}
    for message in messages:
        if message.kind == ATTRIBUTE and not message.flags & _SHARED:
            made[attribute(message.body)[0]] = message.body
        elif message.kind == _ATTRIBUTE_INFO:
            _refuse_dense(message.body, 4 if message.body[1:2] and message.body[1] & 1 else 2, "many attributes")
    return made
