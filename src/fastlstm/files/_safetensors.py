"""safetensors files: a length, a header of JSON, the bytes of the tensors one after the other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from .._types import Array
from . import _flax_names, _own, _torch_names
from ._budget import Budget
from ._layer import Layer
from ._stored import Stored, from_bytes, nbytes, unread

_DTYPES: Final = {
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "I8": "int8", "U8": "uint8", "I16": "int16", "I32": "int32", "I64": "int64",
}  # fmt: skip
_CODES: Final = {name: code for code, name in _DTYPES.items()} | {"uint16": "BF16"}
_BYTES: Final = {code: nbytes((), name) for code, name in _DTYPES.items()}
#: The format's own limit; and what Python's objects take of memory, in sizes of the text that they are made of.
_MOST_HEADER, _OBJECTS = 100_000_000, 32
_ALIGNMENT: Final = 8


def layers(path: Path, budget: Budget) -> list[Layer]:
    """List the LSTMs of a file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(_MOST_HEADER, budget.file_size - 8):
            raise ValueError(f"its header has {length} bytes: more than there are, or than a header may have")
        budget.keep("its header", _OBJECTS * length)
        header = _header(file.read(length))
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata should be texts by names")
    start = 8 + length
    entries = {name: _Entry(name, value) for name, value in header.items()}
    _check_places(entries, budget.file_size - start)
    tensors = {name: entry.stored(path, start, budget) for name, entry in entries.items()}
    own = _own.described(metadata)
    return [*_torch_names.layers(tensors, "safetensors", own=own), *_flax_names.layers(tensors, "safetensors")]


def _header(content: bytes) -> dict[str, Any]:
    header = json.loads(content.decode("utf-8"), object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise ValueError("its header should be a dictionary")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("its header has a name twice")
    return made


class _Entry:
    """What the header says of a tensor."""

    def __init__(self, name: str, value: object) -> None:
        entry = value if isinstance(value, dict) else {}
        self.name, self.code = name, entry.get("dtype")
        sizes: Any = entry.get("shape")
        places: Any = entry.get("data_offsets")
        if not isinstance(self.code, str) or not _are_sizes(sizes) or not _are_sizes(places) or len(places) != 2:
            raise ValueError(f"its header does not describe {name[:100]!r}: dtype, shape and data_offsets")
        self.shape, (self.start, self.end) = tuple(sizes), places
        size = _BYTES.get(self.code)
        if size and math.prod(self.shape) * size != self.end - self.start:
            raise ValueError(f"{name[:100]!r} of {self.shape} {self.code} has {self.end - self.start} bytes")

    def stored(self, path: Path, start: int, budget: Budget) -> Stored:
        """Return the array, which is read by itself when it is asked for."""
        dtype = _DTYPES.get(str(self.code))
        if dtype is None:
            return unread(self.shape, str(self.code))

        def read() -> Array:
            size = self.end - self.start
            budget.keep(self.name, size)
            with path.open("rb") as file:
                file.seek(start + self.start)
                return from_bytes(file.read(size), dtype, self.shape)

        return Stored(self.shape, dtype, read)


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _check_places(entries: Mapping[str, _Entry], size: int) -> None:
    """Check that the tensors fill the rest of the file, one after the other."""
    place = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.end)):
        if entry.start != place or entry.end < entry.start:
            raise ValueError(f"{entry.name[:100]!r} begins at {entry.start}, where {place} is expected")
        place = entry.end
    if place != size:
        raise ValueError(f"its tensors have {place} bytes, the file has {size} for them")


def content(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """Return a file of arrays of float16, float32, float64, int8, and of uint16 for the bits of bfloat16."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    place, parts = 0, []
    for name, array in sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0])):  # aligned, as they follow
        end = place + array.nbytes
        header[name] = {"dtype": _CODES[array.dtype.name], "shape": list(array.shape), "data_offsets": [place, end]}
        parts.append(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
        place = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % _ALIGNMENT)
    return b"".join([np.uint64(len(text)).astype("<u8").tobytes(), text, *parts])
