"""Which format a file has: told by its first bytes and by the members of an archive, never by its name."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import _keras, _msgpack, _npz, _onnx, _safetensors, _torch
from ._layer import Layer

_HDF5 = b"\x89HDF\r\n\x1a\n"
_HEAD = 64
#: Fields of an ONNX ModelProto, as protobuf writes their tags: it has no magic number.
_ONNX_TAGS = b"\x08\x12\x1a\x22\x28\x32\x3a\x42"
_MOST_MEMBERS = 200_000


class Format(NamedTuple):
    """A format and its reader."""

    name: str
    layers: Callable[[Path], list[Layer]]


def detect(path: Path) -> Format:
    """Tell the format of a file; ValueError for one that is none of them, OSError where it cannot be read."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    size = path.stat().st_size
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if head.startswith(_HDF5):
        return Format("HDF5", _keras.h5_layers)
    if head.startswith(_torch.MAGIC):
        return Format("torch before 1.6", _torch.legacy_layers)
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return Format("safetensors", _safetensors.layers)
    if head[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise ValueError(f"{path} is a plain pickle, which may run anything: refused. Save the weights with torch.save")
    if head[:1] and (0x81 <= head[0] <= 0x8F or head[0] in b"\xde\xdf"):
        return Format("Flax msgpack", _msgpack.layers)
    if head[:1] and head[0] in _ONNX_TAGS:
        return Format("ONNX", _onnx.layers)
    raise ValueError(
        f"{path} is none of safetensors, torch (.pt, .pth, TorchScript), Keras (.keras, .h5), ONNX, Flax msgpack, npz: "
        f"it has {size} bytes and begins with {head[:8]!r}"
    )


def _archive(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path} is a damaged zip archive: {error}") from None
    if len(names) > _MOST_MEMBERS:
        raise ValueError(f"{path} has {len(names)} members: refused")
    if "model.weights.h5" in names and "config.json" in names:
        return Format("Keras 3", _keras.archive_layers)
    if any(name.count("/") == 1 and name.endswith("/data.pkl") for name in names):
        return Format("torch", _torch.archive_layers)
    if any(name.endswith(".npy") for name in names):
        return Format("npz", _npz.layers)
    raise ValueError(f"{path} is a zip archive, but neither torch's nor Keras's nor NumPy's: {', '.join(names[:3])}...")
