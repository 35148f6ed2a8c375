"""NumPy's npz archives. Members are inflated only when asked for, and only to the size that fits the archive."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import IO, Any

import numpy as np

from .._types import Array
from . import _flax_names, _own, _torch_names
from ._layer import Layer
from ._stored import Stored, nbytes
from ._zip import Archive

#: NumPy itself reads headers of at most 10,000 bytes.
_MOST_HEADER = 2**14
_MOST_TEXT = 2**16
_DEFAULT = _own.Told()


def layers(archive: Archive) -> list[Layer]:
    """List the LSTMs of a file."""
    tensors = {name.removesuffix(".npy"): _stored(archive, name) for name in archive.members if name.endswith(".npy")}
    own = _own.described(
        {
            name: _text(archive, f"{name}.npy")
            for name, stored in tensors.items()
            if _own.is_key(name) and stored.dtype.startswith("str")
        }
    )
    return [*_torch_names.layers(tensors, "npz", own=own), *_flax_names.layers(tensors, "npz")]


def _text(archive: Archive, name: str) -> str:
    """Read an array of one text."""
    content = archive.read(name, _MOST_TEXT)
    array = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    if array.shape != () or array.dtype.kind != "U":
        raise ValueError(f"{name} should be one text")
    return str(array[()])


def content(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> bytes:
    """Return a file of arrays, and of what they do not tell if that is not what `LSTM` does by itself."""
    told = {key: np.array(text) for key, text in metadata.items() if _own.described({_own.KEY: text})[""] != _DEFAULT}
    file = io.BytesIO()
    everything: dict[str, Any] = {**arrays, **told}
    np.savez(file, **everything)
    return file.getvalue()


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
    if any(n < 0 for n in shape):
        raise ValueError(f"{name} has a negative size: {shape}")

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
