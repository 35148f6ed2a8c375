"""All sessions in one file, which is the old one or the new one whenever the service, the machine or the disk stops."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

NAMES = {"tokens", "ids", "frames", "contexts", "recent", "pool"}


def write(path: Path, arrays: dict[str, Any]) -> None:
    """Replace the file; OSError when that fails, and the file is the old one then."""
    temporary = path.with_name(f"{path.name}.tmp")  # the same folder: a rename within one file system
    try:
        # For the owner alone: who has a token can go on with its session.
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> dict[str, Any]:
    """Read what `write` wrote; ValueError for anything else."""
    try:
        # Opened here, as NumPy would leave the file of a damaged archive open.
        with path.open("rb") as file:
            arrays = dict(np.load(file, allow_pickle=False))
    except (EOFError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged, or no snapshot of this service: {error}") from error
    if set(arrays) != NAMES:
        raise ValueError(f"{path} is no snapshot of this service: it holds {sorted(arrays)}")
    return arrays
