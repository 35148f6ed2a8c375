"""All sessions in one file, which is the old one or the new one whenever the service, the machine or the disk stops."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

TOKEN = "U22"
FORMAT = 1  # of what follows; in the file, so that a later version can tell
# dtype, and how many axes: one row for each session, but for the model, the format and the pool's own bytes
MEMBERS = {
    "format": ("i8", 0),
    "model": ("U64", 0),
    "tokens": (TOKEN, 1),
    "ids": ("i8", 1),
    "frames": ("i8", 1),
    "contexts": ("u1", 2),
    "recent": ("u1", 2),
    "pool": ("u1", 1),
}


def write(path: Path, arrays: dict[str, Any]) -> None:
    """Replace the file; OSError when that fails, and the file is the old one then."""
    temporary = path.with_name(f"{path.name}.tmp")  # the same folder: a rename within one file system
    try:
        # For the owner alone: who has a token can go on with its session.
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            np.savez(file, format=np.int64(FORMAT), **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, widths: dict[str, int]) -> dict[str, Any]:
    """Read what `write` wrote; ValueError for anything else, before any of it is used.

    `widths` are the second axes of the members that have two.
    """
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a regular file")  # a pipe would be waited for
    try:
        # Opened here, as NumPy would leave the file of a damaged archive open.
        with path.open("rb") as file:
            with zipfile.ZipFile(file) as archive:
                _check_archive(archive)
            arrays = dict(np.load(file, allow_pickle=False))
    except (EOFError, TypeError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"{path} is damaged, or no snapshot of this service: {error}") from error
    for name, (dtype, ndim) in MEMBERS.items():
        array = arrays[name]
        if array.dtype != dtype or array.ndim != ndim or (ndim == 2 and array.shape[1] != widths[name]):
            raise ValueError(f"{path}: {name} has dtype {array.dtype} and shape {array.shape}")
    if arrays["format"] != FORMAT:
        raise ValueError(f"{path} has format {arrays['format']}, this service reads {FORMAT}")
    columns = [arrays[name] for name in ("tokens", "ids", "frames", "contexts", "recent")]
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"{path}: columns of different lengths")
    if (arrays["frames"] < 1).any() or len(set(arrays["tokens"].tolist())) < len(columns[0]):
        raise ValueError(f"{path}: a session without frames, or one twice")
    return arrays


def _check_archive(archive: zipfile.ZipFile) -> None:
    """Look at the table of contents: `write` compresses nothing, so no member is larger than the file."""
    found = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    if set(found) != set(MEMBERS):
        raise ValueError(f"it holds {sorted(found)}")
    if any(info.compress_type != zipfile.ZIP_STORED for info in found.values()):
        raise ValueError("it is compressed")
