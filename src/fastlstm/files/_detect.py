"""Which format a file has: told by its first bytes and by the members of an archive, never by its name."""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from . import _flat, _foreign, _keras, _msgpack, _npz, _onnx, _safetensors, _torch
from ._budget import Budget
from ._layer import Layer
from ._zip import Archive

_HDF5 = b"\x89HDF\r\n\x1a\n"
#: Fields of an ONNX ModelProto, as protobuf writes their tags: it has no magic number.
_ONNX_TAGS = b"\x08\x12\x1a\x22\x28\x32\x3a\x42"
_MOST_MEMBERS = 200_000
_KINDS = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


class Format(NamedTuple):
    """A format and its reader."""

    name: str
    layers: Callable[[Budget], list[Layer]]
    configured: Callable[[Budget, object], list[Layer]] | None = None
    """The same with a configuration, where the format has one."""


def opened(path: Path, max_bytes: int | None) -> tuple[bytes, Budget]:
    """Read the head of a regular file, and open its account; OSError for anything else, which may never end."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(_foreign.HEAD), Budget(status.st_size, max_bytes)
    finally:
        os.close(descriptor)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, _foreign.folder(path), str(path))
    raise OSError(errno.EINVAL, f"is {_KINDS.get(kind, 'special')}, not a regular file", str(path))


def detect(path: Path, head: bytes, budget: Budget) -> Format:
    """Tell the format of a file; ValueError for one that is none of them."""
    size = budget.file_size
    if head.startswith(b"PK\x03\x04"):
        return _archive(path, budget)
    if head.startswith(_HDF5):
        read = functools.partial(_keras.h5_layers, path)
        return Format("HDF5", read, read)
    if _torch.MAGIC.match(head):
        return Format("torch before 1.6", functools.partial(_torch.legacy_layers, path))
    if head.startswith(_flat.MAGIC):
        return Format("the flat file for C", functools.partial(_flat.layers, path))
    if len(head) > 9 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return Format("safetensors", functools.partial(_safetensors.layers, path))
    if known := _foreign.told(head, path):
        raise ValueError(known)
    if head[:1] and (0x81 <= head[0] <= 0x8F or head[0] in b"\xde\xdf"):
        return Format("Flax msgpack", functools.partial(_msgpack.layers, path))
    if head[:1] and head[0] in _ONNX_TAGS:
        return Format("ONNX", functools.partial(_onnx.layers, path))
    raise ValueError(
        "it is none of safetensors, torch (.pt, .pth, TorchScript), Keras (.keras, .h5), ONNX, Flax msgpack, npz, the "
        "flat file for C: "
        f"it has {size} bytes and begins with {head[:8]!r}"
    )


def _archive(path: Path, budget: Budget) -> Format:
    archive = Archive(path, budget)
    names = archive.members
    if len(names) > _MOST_MEMBERS:
        raise ValueError(f"it has {len(names)} members: refused")
    if "model.weights.h5" in names and "config.json" in names:
        read = functools.partial(_keras.archive_layers, archive)
        return Format("Keras 3", lambda _: read(), lambda _, config: read(config))
    if any(name.count("/") == 1 and name.endswith("/data.pkl") for name in names):
        return Format("torch", lambda _: _torch.archive_layers(archive))
    if any(name.endswith(".npy") for name in names):
        return Format("npz", lambda _: _npz.layers(archive))
    raise ValueError(
        _foreign.archive(names)
        or f"it is a zip archive, but neither torch's nor Keras's nor NumPy's: {', '.join(list(names)[:3])}..."[:300]
    )
