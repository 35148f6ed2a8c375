"""NumPy's npz archives. Members are inflated only when asked for, and only to the size that fits the archive."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

import numpy as np

from . import _flax_names, _torch_names
from ._layer import Layer
from ._stored import Array, Stored, check_size, nbytes


def layers(path: Path) -> list[Layer]:
    """List the LSTMs of a file."""
    with zipfile.ZipFile(path) as archive:
        tensors = {
            member.filename.removesuffix(".npy"): _stored(archive, path, member)
            for member in archive.infolist()
            if member.filename.endswith(".npy")
        }
    return [*_torch_names.layers(tensors, "npz"), *_flax_names.layers(tensors, "npz")]


def _stored(archive: zipfile.ZipFile, path: Path, member: zipfile.ZipInfo) -> Stored:
    name = member.filename
    with archive.open(member) as file:
        shape, fortran_order, dtype = _header(file, name)
    native = dtype.newbyteorder("=")
    if native.hasobject:
        raise ValueError(f"{name} holds Python objects, which would have to be unpickled: refused")
    check_size(name, nbytes(shape, native.str), member.compress_size)

    def read() -> Array:
        with zipfile.ZipFile(path) as again, again.open(member) as file:
            _header(file, name)
            size = nbytes(shape, native.str)
            data = file.read(size + 1)
        if len(data) != size:
            raise ValueError(f"{name} should hold {size} bytes, got: {len(data)}")
        array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
        return array.astype(native, copy=False)

    return Stored(shape, native.name, read)


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"{name} has version {version} of the format, which is not for plain numbers")
