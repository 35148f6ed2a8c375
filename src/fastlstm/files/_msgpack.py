"""Flax's msgpack files: a tree of dictionaries, arrays as extensions."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import _extras
from . import _flax_names, _torch_names
from ._budget import Budget
from ._layer import Layer
from ._stored import FLOATS, Array, Stored, from_bytes, nbytes

_ARRAY = 1  # Flax's extension code; its others are single numbers
_CHUNKED = "__msgpack_chunked_array__"


def layers(path: Path, budget: Budget) -> list[Layer]:
    """List the LSTMs of a file."""
    msgpack = _extras.need("msgpack")

    def extension(code: int, data: bytes) -> object:
        return _array(*msgpack.unpackb(data, raw=False)) if code == _ARRAY else None

    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        tree = msgpack.unpackb(data, ext_hook=extension, raw=False, strict_map_key=False)
    tensors = dict(_flat(tree))
    return [*_flax_names.layers(tensors, "Flax msgpack"), *_torch_names.layers(tensors, "Flax msgpack")]


def _array(shape: Any, dtype: Any, data: Any) -> Stored:
    sizes = tuple(map(int, shape))
    if dtype not in FLOATS:
        return Stored(sizes, str(dtype), lambda: np.empty(0))  # listed by its dtype, never read
    if len(data) != nbytes(sizes, dtype):
        raise ValueError(f"an array of {sizes} {dtype} should take {nbytes(sizes, dtype)} bytes, got: {len(data)}")
    return Stored(sizes, dtype, lambda: from_bytes(data, dtype, sizes))


def _flat(tree: object, path: str = "") -> Iterator[tuple[str, Stored]]:
    if isinstance(tree, Mapping) and _CHUNKED in tree:
        tree = _unchunked(tree)
    if isinstance(tree, Stored):
        yield path, tree
    elif isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, f"{path}/{key}" if path else str(key))


def _unchunked(tree: Mapping[Any, Any]) -> Stored:
    """Join what Flax cut because msgpack's lengths have 32 bits."""
    shape, chunks = (tuple(tree[name][str(i)] for i in range(len(tree[name]))) for name in ("shape", "chunks"))
    dtypes = {chunk.dtype for chunk in chunks}
    if len(dtypes) != 1 or nbytes(shape, min(dtypes)) != sum(nbytes(chunk.shape, chunk.dtype) for chunk in chunks):
        raise ValueError(f"the pieces of an array of {shape} do not fit together")

    def read() -> Array:
        return np.concatenate([chunk.read() for chunk in chunks]).reshape(shape)

    return Stored(shape, dtypes.pop(), read)
