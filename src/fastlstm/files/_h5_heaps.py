"""A look at an HDF5 file's global heaps, where its texts lie, before the HDF5 library reads them.

In a damaged file the library walks a heap without end, or takes gigabytes for a text of five letters.
"""

from __future__ import annotations

import mmap
import struct

_SIGNATURE = b"GCOL\x01\x00\x00\x00"
_HEAD, _OBJECT = struct.Struct("<8sQ"), struct.Struct("<HHIQ")
_REFERENCE = struct.Struct("<IQI")  # length, address of the heap, index of the object


def check_heaps(data: bytes | mmap.mmap) -> None:
    """Raise ValueError for a heap whose objects do not add up to it, and for a text longer than its object."""
    version = data[8] if len(data) > 16 else 0
    if (data[14:15] if version < 2 else data[10:11]) != b"\x08":
        raise ValueError("its lengths should have eight bytes")
    start = data.find(_SIGNATURE)
    while start >= 0:
        _check_references(data, start, _objects(data, start))
        start = data.find(_SIGNATURE, start + 1)


def _objects(data: bytes | mmap.mmap, start: int) -> dict[int, int]:
    """Walk a heap as the library does: lengths by index."""
    size = _HEAD.unpack_from(data, start)[1] if start + _HEAD.size <= len(data) else len(data)
    place, end = start + _HEAD.size, start + size
    if end > len(data):
        raise ValueError("a heap of texts goes beyond the end of the file")
    lengths = {}
    while end - place >= _OBJECT.size:
        index, _, _, length = _OBJECT.unpack_from(data, place)
        taken = _OBJECT.size + (length + 7) // 8 * 8 if index else length  # 0 is what is free, its head included
        if not _OBJECT.size <= taken <= end - place:
            raise ValueError(f"a heap of texts has one of {length} bytes, which does not fit")
        lengths[index] = length
        place += taken
    return lengths


def _check_references(data: bytes | mmap.mmap, start: int, lengths: dict[int, int]) -> None:
    """Look at all that can be a reference into a heap: no other numbers look like one and claim so much."""
    address = struct.pack("<Q", start)
    found = data.find(address, 4)
    while 0 <= found <= len(data) - 12:
        length, _, index = _REFERENCE.unpack_from(data, found - 4)
        if index in lengths and length > lengths[index] and index:
            raise ValueError(f"a text claims {length} bytes and has {lengths[index]}")
        found = data.find(address, found + 1)
