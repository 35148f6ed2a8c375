"""NumPy's npz archives. Members are inflated only when asked for, and only to the size that fits the archive."""

from __future__ import annotations

import io
from typing import IO

import numpy as np

from . import _flax_names, _torch_names
from ._layer import Layer
from ._stored import Array, Stored, nbytes
from ._zip import Archive

#: NumPy itself reads headers of at most 10,000 bytes.
_MOST_HEADER = 2**14


def layers(archive: Archive) -> list[Layer]:
    """List the LSTMs of a file."""
    tensors = {name.removesuffix(".npy"): _stored(archive, name) for name in archive.members if name.endswith(".npy")}
    return [*_torch_names.layers(tensors, "npz"), *_flax_names.layers(tensors, "npz")]


def _stored(archive: Archive, name: str) -> Stored:
    head = io.BytesIO(archive.head(name, _MOST_HEADER))
    shape, fortran_order, dtype = _header(head, name)
    start = head.tell()
    native = dtype.newbyteorder("=")
    if native.hasobject:
        raise ValueError(f"{name} holds Python objects, which would have to be unpickled: refused")
    size, has = nbytes(shape, native.str), archive.size(name) - start
    if size != has:
        raise ValueError(f"{name} should hold {size} bytes, got: {has}")

    def read() -> Array:
        content = archive.read(name)
        array = np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if fortran_order else "C")
        return array.astype(native, copy=False)

    return Stored(shape, native.name, read)


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"{name} has version {version} of the format, which is not for plain numbers")
