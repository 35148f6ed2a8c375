"""Checkpoints: all of `Progress` in one .npz, which is whole or not there, and refused if anything about it is odd."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .training import Progress, begin

Settings = Mapping[str, int | float | str]

# What reading a damaged archive may raise. Its checksums find damage that leaves it readable.
_DAMAGE = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    RuntimeError,
    SyntaxError,
    zipfile.BadZipFile,
    zlib.error,
)


class CheckpointError(Exception):
    """A checkpoint cannot be written, read, or used for this run; the message says why."""


def save(path: Path, progress: Progress, settings: Settings) -> None:
    """Write a checkpoint. Whenever the program or the machine stops, the file is the old one or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # the same folder: a rename within one file system
    about = {"rng": progress.rng.bit_generator.state, "offset": progress.offset, "chunk": progress.chunk}
    arrays = {"settings": np.array(json.dumps(dict(settings))), "about": np.array(json.dumps(about))}
    try:
        try:
            with temporary.open("wb") as file:
                np.savez(file, **arrays, **_arrays(progress))
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise CheckpointError(f"The checkpoint {path} cannot be written: {error.strerror or error}.") from error


def load(path: Path, settings: Settings) -> Progress:
    """Read a checkpoint that was saved with the same settings."""
    if not path.exists():
        raise CheckpointError(f"There is no checkpoint {path} to resume; without --resume it is begun.")
    try:
        arrays = _read(path)
        theirs = json.loads(str(arrays.pop("settings")))
        about = json.loads(str(arrays.pop("about")))
        if not (isinstance(theirs, dict) and isinstance(about, dict)):
            raise ValueError("its settings are not a dictionary")
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    for name, value in settings.items():
        if theirs.get(name) != value:
            raise CheckpointError(
                f"The checkpoint {path} is of another run: {name} is {theirs.get(name)!r} there, {value!r} here."
            )
    try:
        return _progress(arrays, about, begin(int(settings["hidden"]), int(settings["seed"])))
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def _read(path: Path) -> dict[str, Any]:
    # Opened here, as NumPy would leave the file of a damaged archive open.
    with path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array only")
        return dict(archive)


def _arrays(progress: Progress) -> dict[str, Any]:
    """Name every array; `_progress` goes the other way."""
    groups = {"parameters": progress.parameters, "means": progress.means, "squares": progress.squares}
    named = {f"{group}/{name}": array for group, arrays in groups.items() for name, array in arrays.items()}
    states = {f"states/{name}": array for name, array in zip("hc", progress.states, strict=True)}
    return named | states | {"losses": np.array(progress.losses, np.float64)}


def _progress(arrays: dict[str, Any], about: dict[str, Any], fresh: Progress) -> Progress:
    """Fill a new run's progress with what a checkpoint holds."""
    wanted = _arrays(fresh)
    if set(arrays) != set(wanted):
        raise ValueError("its arrays have other names")
    losses = arrays.pop("losses")
    for name, array in arrays.items():
        if array.shape != wanted[name].shape or array.dtype != wanted[name].dtype:
            raise ValueError(f"{name} is {array.dtype} {array.shape}, not {wanted[name].dtype} {wanted[name].shape}")
        wanted[name][...] = array  # which is the array of `fresh` itself
    if losses.ndim != 1 or losses.dtype != np.float64:
        raise ValueError("its losses are no list of numbers")
    fresh.losses = losses.tolist()
    fresh.rng.bit_generator.state = about["rng"]
    fresh.offset, fresh.chunk = int(about["offset"]), int(about["chunk"])
    return fresh


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path} is damaged, or no checkpoint of this program: {error}.")
