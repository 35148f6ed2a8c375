"""The flat file of weights that programs in C read (``fl_plan_load``): docs/embedding.md describes every byte."""

from __future__ import annotations

import math
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from .. import _forms, _weights
from .._integers import SCALE, ZERO_POINT, Integers
from .._lstm import LSTM
from .._sizes import Sizes
from .._types import Array, Shape
from ._budget import Budget
from ._layer import Layer, layer_of
from ._stored import Stored

ByteOrder: TypeAlias = Literal["little", "big"]

#: Its last bytes give away a transfer as text, which changes ends of lines.
MAGIC: Final = b"\x89FLW\r\n\x1a\n"
_ORDER, _BOUNDARY = 0x01020304, 64
#: Versions: with matrices of floating-point numbers, or of integers.
_OF_REALS, _OF_INTEGERS = 1, 2
_SIGNS: Final[dict[ByteOrder, Literal["<", ">"]]] = {"little": "<", "big": ">"}
# magic; byte order, version; size of the file; checksum | bits of a real; I, H, P, L; D, flags; gate, candidate, cell:
# kind, 0, alpha, beta; where to clip, type of matrices; clip, dropout; zeros. What is after the bar is summed, to the
# end of the file.
_FIRST, _REST = "8sIIQI", "I4QII" + 3 * "IIdd" + "II2d3Q"
_BIAS, _PEEPHOLES, _COUPLED, _BATCH_FIRST, _OFFSETS, _SUMMED = 1, 2, 4, 8, 16, 32
_PIECE: Final = 2**20


def content(lstm: LSTM[Any], order: ByteOrder) -> bytes:
    """Return the file of a layer, for machines of a byte order."""
    sign, sizes = _SIGNS[order], lstm._sizes
    given = [entry for row in sizes.rows(_weights.packable(lstm._parameters)) for entry in row if entry is not None]
    integers = any(isinstance(entry, Integers) for entry in given)
    offsets = any(isinstance(entry, Integers) and entry.zeros is not None for entry in given)
    arrays = [array for entry in given for array in _arrays(entry, offsets)]
    parts = [array.astype(array.dtype.newbyteorder(sign), copy=False).tobytes() for array in arrays]
    parts = [part + bytes(-len(part) % _BOUNDARY) for part in parts]
    *activations, peepholes, coupled, clip_at, clip, summed = _forms.packed(lstm.form)
    flags = sizes.bias * _BIAS + peepholes * _PEEPHOLES + coupled * _COUPLED + lstm.batch_first * _BATCH_FIRST
    flags += offsets * _OFFSETS + summed * _SUMMED
    stored = [number for kind, alpha, beta in activations for number in (kind, 0, alpha, beta)]
    told = (8 * lstm.dtype.itemsize, sizes.I, sizes.H, sizes.P, sizes.L, sizes.D, flags)
    last = lstm.dropout, 0, 0, 0
    rest = struct.pack(sign + _REST, *told, *stored, clip_at, _weights.number(lstm._settings.weights), clip, *last)
    checksum = zlib.crc32(rest)
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    size = struct.calcsize("=" + _FIRST) + len(rest) + sum(map(len, parts))
    version = _OF_INTEGERS if integers else _OF_REALS
    first = struct.pack(sign + _FIRST, MAGIC, _ORDER, version, size, checksum)
    return b"".join([first, rest, *parts])


def _arrays(entry: Array | Integers, offsets: bool) -> list[Array]:
    """Return what a parameter is in the file: where there are offsets, every matrix has them."""
    if not isinstance(entry, Integers):
        return [entry]
    zeros = np.zeros(len(entry.values), np.int8) if entry.zeros is None else entry.zeros
    return [entry.values, entry.scales, zeros][: 3 if offsets else 2]


def native_order() -> ByteOrder:
    """Return the byte order of this machine."""
    return "little" if sys.byteorder == "little" else "big"


def layers(path: Path, budget: Budget) -> list[Layer]:
    """List the one LSTM of a file."""
    head = struct.calcsize("=" + _FIRST + _REST)
    with path.open("rb") as file:
        raw = file.read(head)
        sign = "<" if raw[8:12] == _ORDER.to_bytes(4, "little") else ">"
        if len(raw) < head:
            raise ValueError(f"it ends after {len(raw)} bytes, inside of its header")
        _, order, version, size, checksum = struct.unpack_from(sign + _FIRST, raw)
        if order != _ORDER or version not in (_OF_REALS, _OF_INTEGERS):
            raise ValueError(f"versions 1 and 2 of the flat file are read, got: {version}, byte order {raw[8:12]!r}")
        if size != budget.file_size:
            raise ValueError(f"it should have {size} bytes, got: {budget.file_size}")
        start = struct.calcsize("=" + _FIRST)
        summed = zlib.crc32(raw[start:])
        while piece := file.read(_PIECE):
            summed = zlib.crc32(piece, summed)
    if summed != checksum:
        raise ValueError(f"it is damaged: its checksum should be {checksum:08x}, got: {summed:08x}")
    return [_layer(path, sign, struct.unpack_from(sign + _REST, raw, start), budget, version == _OF_INTEGERS)]


def _layer(path: Path, sign: str, told: tuple[Any, ...], budget: Budget, integers: bool) -> Layer:
    bits, I, H, P, L, D, flags, *stored, clip_at, packed, clip, dropout, z1, z2, z3 = told
    flags_known = _BIAS | _PEEPHOLES | _COUPLED | _BATCH_FIRST | _SUMMED | (_OFFSETS if integers else 0)
    if bits not in (32, 64) or D not in (1, 2) or flags & ~flags_known or any((z1, z2, z3, *stored[1::4])):
        raise ValueError(f"its header does not describe an LSTM: {told}")
    names = {number: name for name, number in _weights.NUMBERS.items()}
    if packed not in names or (packed and bits != 32):
        raise ValueError(f"matrices of type {packed} beside {bits} bits are unknown")
    if integers and names[packed] not in _weights.INTEGERS:
        raise ValueError(f"matrices of integers are for {' and '.join(_weights.INTEGERS)}, got: {names[packed]}")
    if not 0 <= dropout <= 1:
        raise ValueError(f"dropout should be from 0 to 1, got: {dropout}")
    if not 0 < L <= budget.file_size // _BOUNDARY:  # before as many names are made
        raise ValueError(f"it should have a layer, and no more than fit, got: {L}")
    form = _form(stored, flags, clip_at, clip)
    sizes = Sizes(I, H, P, L, D, bool(flags & _BIAS), form.peepholes)
    parameters, place = {}, struct.calcsize("=" + _FIRST + _REST)
    for name, shape, kind in _entries(sizes, f"f{bits // 8}", integers, bool(flags & _OFFSETS)):
        parameters[name] = _stored(path, place, shape, sign + kind)
        place += -(-math.prod(shape) * np.dtype(kind).itemsize // _BOUNDARY) * _BOUNDARY
    if place != budget.file_size:
        raise ValueError(f"its arrays end at {place}, the file at {budget.file_size}")
    note = ""
    if sign != _SIGNS[native_order()]:
        note = f"for {'big' if sign == '>' else 'little'}-endian machines, which C here refuses"
    options: dict[str, bool | float] = {"batch_first": bool(flags & _BATCH_FIRST), "dropout": dropout}
    known: dict[str, Any] = {"form": form, "options": options, "note": note, "weights": names[packed] or ""}
    return layer_of("", "LSTM", "the flat file for C", parameters, **known)


def _entries(sizes: Sizes, real: str, integers: bool, offsets: bool) -> Iterator[tuple[str, Shape, str]]:
    """Yield names, shapes and kinds of the arrays, in their order."""
    for row in sizes.rows({name: (name, shape) for name, shape in sizes.shapes.items()}):
        for name, shape in filter(None, row):
            of_integers = integers and _weights.is_stored(name)
            yield name, shape, "i1" if of_integers else real
            if of_integers:
                yield f"{name}{SCALE}", shape[:1], "f4"
            if of_integers and offsets:
                yield f"{name}{ZERO_POINT}", shape[:1], "i1"


def _form(stored: list[Any], flags: int, clip_at: int, clip: float) -> _forms.Form:
    names = list(_forms.ACTIVATIONS)
    activations: list[_forms.Activation] = []
    for kind, _, alpha, beta in zip(*[iter(stored)] * 4, strict=True):
        if kind >= len(names):
            raise ValueError(f"it has an activation of an unknown kind: {kind}")
        activations.append((names[kind], *(alpha, beta)[: len(_forms.ACTIVATIONS[names[kind]])]))
    if clip_at > len(_forms.CLIPS):
        raise ValueError(f"it has an unknown clip: {clip_at}")
    told = {"peepholes": _PEEPHOLES, "coupled": _COUPLED, "summed": _SUMMED}
    given: dict[str, Any] = {name: bool(flags & flag) for name, flag in told.items()}
    if clip_at:
        given |= {"clip": clip, "clip_at": _forms.CLIPS[clip_at - 1]}
    return _forms.Form(*activations, **given)


def _stored(path: Path, place: int, shape: Shape, dtype: str) -> Stored:
    native = np.dtype(dtype).newbyteorder("=")

    def read() -> Array:
        array = np.fromfile(path, dtype, math.prod(shape), offset=place)
        return array.reshape(shape).astype(native, copy=False)

    return Stored(shape, native.name, read)
