"""How much memory a model file takes once it is parsed, told from its bytes before the parser sees them.

Two bytes are an empty node, of which the parser makes 160: a small file could take the machine. The format (tags,
varints, lengths) is protobuf's; which fields hold messages is asked of onnx.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import numpy as np
from onnx import ModelProto

_MESSAGE: Final = 256  # bytes of memory that a parsed message takes, at most 201 by experiment
_FIELD: Final = 48  # ... and one item of a repeated field, at most 41
_NUMBER: Final = 20  # ... and a packed whole number, of one byte or more: 8 in an array that doubles as it grows
_DEPTH: Final = 100  # messages inside each other: the parser's own limit
_AS_LARGE: Final = (1, 2, 9, 12)  # the descriptor's numbers for what is no larger in memory: floats, strings, bytes
_BYTES: Final = "bytes"
_NUMBERS: Final = "whole numbers"

Fields = dict[int, Any]


def weight(content: bytes, room: int) -> int:
    """Return what parsing takes, or the first sum beyond `room`; ValueError for bytes that are no messages."""
    taken, position, end, fields = 0, 0, len(content), _fields(ModelProto.DESCRIPTOR)
    around: list[tuple[int, Fields]] = []
    while taken <= room:
        if position == end:
            if not around:
                break
            end, fields = around.pop()
            continue
        tag = content[position]
        position += 1
        if tag >= 0x80:
            tag, position = _varint(content, position - 1, end)
        taken += _FIELD
        kind = tag & 7
        size = 0
        if kind == 0:
            _, position = _varint(content, position, end)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        elif kind == 2:
            size = content[position] if position < end else 0x80
            position += 1
            if size >= 0x80:
                size, position = _varint(content, position - 1, end)
        else:
            raise ValueError(f"a field of kind {kind} at byte {position}")
        if position + size > end:
            raise ValueError(f"a field of {size} bytes at byte {position}, where {end - position} are left")
        inner = fields.get(tag >> 3, _BYTES) if kind == 2 else _BYTES
        if inner is _BYTES:
            position += size
        elif inner is _NUMBERS:
            last = np.frombuffer(content[position : position + size], np.uint8) < 0x80  # the last byte of each
            taken += _NUMBER * int(np.count_nonzero(last))
            position += size
        else:
            taken += _MESSAGE
            if len(around) == _DEPTH:
                raise ValueError(f"messages inside more than {_DEPTH} others")
            around.append((end, fields))
            end, fields = position + size, _fields(inner)
    return taken


def _varint(content: bytes, position: int, end: int) -> tuple[int, int]:
    """Read a number of 7 bits a byte, and tell where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise ValueError("it ends within a number")
        byte = content[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise ValueError(f"a number of more than 10 bytes before byte {position}")


@functools.cache
def _fields(message: Any) -> Fields:
    """Return what the fields of a message are that grow: messages, or whole numbers."""
    return {field.number: field.message_type or _NUMBERS for field in message.fields if field.type not in _AS_LARGE}
