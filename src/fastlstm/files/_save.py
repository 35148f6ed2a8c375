"""save, and writing a file as a whole or not at all."""

from __future__ import annotations

import errno
import importlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from .._extras import need
from .._lstm import LSTM
from ._load import check_finite

SUFFIXES: Final = (".npz", ".safetensors", ".onnx")


def save(lstm: LSTM[Any], path: str | os.PathLike[str]) -> None:
    """Write a layer to a file; its name tells the format.

    Parameters
    ----------
    lstm : LSTM
        Its weights, sizes, form, batch_first and dropout are kept; threads and isa belong to the machine.
    path : path
        Where to: it ends in ``.npz`` (NumPy's, which `numpy.load` reads), ``.safetensors`` (both under torch's names),
        or ``.onnx`` (one node for each layer). A file that is there already is replaced when the new one is complete.

    Raises
    ------
    TypeError
        For something that is not an LSTM.
    ValueError
        For another ending; for weights that are NaN or infinite, which `load` refuses; for what ONNX has no words for.
    OSError
        For a path that cannot be written, a pipe, a device or a full disk; an old file is then as it was.
    ModuleNotFoundError
        For ``.onnx`` where onnx is not installed.

    Notes
    -----
    Accuracy: `load` gives the same layer back, bit for bit; from ONNX its nodes, one by one, without dropout, and with
    the form's numbers (slopes, clip) rounded to float32. Source: ``src/fastlstm/files/_save.py``.

    Examples
    --------
    >>> import fastlstm, os, tempfile
    >>> lstm = fastlstm.LSTM(4, 3, batch_first=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fastlstm.save(lstm, os.path.join(folder, "lstm.npz"))
    ...     fastlstm.load(os.path.join(folder, "lstm.npz"))
    LSTM(4, 3, batch_first=True)
    """
    if not isinstance(lstm, LSTM):
        raise TypeError(f"lstm should be a fastlstm.LSTM, got: {type(lstm).__name__}")
    write_layers({"": lstm}, path)


def write_layers(lstms: Mapping[str, LSTM[Any]], path: str | os.PathLike[str]) -> None:
    """Write layers by their names, which are prefixes of their parameters' names."""
    suffix = checked_suffix(path, "path")
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, lstm in lstms.items():
        weights = lstm.state_dict()
        check_finite(weights, name or "lstm")
        arrays |= {f"{name}.{parameter}" if name else parameter: array for parameter, array in weights.items()}
    if any("\0" in name for name in lstms):
        raise ValueError("names with NUL in them cannot be written: write such layers one by one")
    from . import _npz, _own, _safetensors  # not before they are needed: importing the package stays quick

    if suffix == ".onnx":
        if len(lstms) != 1:
            raise ValueError("an ONNX model is written of one LSTM: choose it, or write .npz or .safetensors")
        need("onnx")
        (lstm,) = lstms.values()
        content: bytes = importlib.import_module("fastlstm.onnx").export(lstm).SerializeToString()
    else:
        metadata = dict(_own.entry(name, lstm) for name, lstm in lstms.items())
        content = (_safetensors if suffix == ".safetensors" else _npz).content(arrays, metadata)
    write_whole(content, path)


def checked_suffix(path: str | os.PathLike[str], argument: str) -> str:
    """Return the ending that tells the format."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{argument} should be a str or os.PathLike, got: {type(path).__name__}")
    suffix = Path(os.fsdecode(path)).suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{argument} should end in .npz, .safetensors or .onnx, got: {os.fsdecode(path)}")
    return suffix


def write_whole(content: bytes, path: str | os.PathLike[str]) -> None:
    """Write beside the file, then move over it: nobody ever sees half of it."""
    target = Path(os.path.realpath(os.fsdecode(path)))  # a link stays a link
    temporary = target.with_name(f".fastlstm-{os.urandom(6).hex()}")
    try:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if target.exists() and not target.is_file():
            raise OSError(errno.EINVAL, "a pipe or a device is there, which would be replaced")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))  # who may read the old file may read the new one
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise type(error)(error.errno, f"cannot write: {error.strerror}", os.fsdecode(path)) from None
