"""save, and writing a file as a whole or not at all."""

from __future__ import annotations

import errno
import importlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .. import _weights
from .._extras import need
from .._lstm import LSTM
from .._types import Array
from ._load import check_finite

if TYPE_CHECKING:
    from ._flat import ByteOrder

#: Endings of files, and what each has in it.
SUFFIXES: Final = {".npz": "npz", ".safetensors": "safetensors", ".onnx": "onnx", ".flw": "c"}
FORMATS: Final = (*SUFFIXES.values(), "c-header")
#: Those that are written of one LSTM.
_SINGLE: Final = {"onnx": "an ONNX model", "c": "a flat file", "c-header": "a header"}


def save(lstm: LSTM[Any], path: str | os.PathLike[str]) -> None:
    """Write a layer to a file; its name tells the format.

    Parameters
    ----------
    lstm : LSTM
        Its weights, sizes, form, batch_first and dropout are kept; threads and isa belong to the machine.
    path : path
        Where to: it ends in ``.npz`` (NumPy's, which `numpy.load` reads), ``.safetensors`` (both under torch's names),
        ``.onnx`` (one node for each layer), or ``.flw`` (the flat file for programs in C, which ``fl_plan_load`` reads;
        for machines of this one's byte order). A file that is there already is replaced when the new one is complete.
        Matrices in 16 bits are written in them in ``.safetensors``, float16 in ``.npz`` too, elsewhere as the float32
        of the same values; those in 8 bits as `state_dict` gives them, integers and scales, but in ``.onnx`` in float32
        where that gives the integers back. The file names the type, which ``load(path, weights="auto")`` takes.

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
    Accuracy: `load` gives the same layer back, bit for bit, with weights of 16 or 8 bits in float32 if not
    ``weights="auto"``; from ONNX its nodes, one by one, without dropout, and with the form's numbers (slopes, clip)
    rounded to float32. Source: ``src/fastlstm/files/_save.py``.

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


def write_layers(
    lstms: Mapping[str, LSTM[Any]],
    path: str | os.PathLike[str],
    to: str | None = None,
    byte_order: ByteOrder | None = None,
) -> None:
    """Write layers by their names, which are prefixes of their parameters' names; the path tells the format, or `to`.

    `byte_order` is that of the machines that a flat file is for, instead of this one's.
    """
    to = to or format_of(path, "path")
    for name, lstm in lstms.items():
        plain = lstm._settings.weights is None  # else the matrices are finite, or there would be no layer
        checked = [parameter for parameter in lstm._parameters if plain or not _weights.is_stored(parameter)]
        check_finite({parameter: lstm._parameters[parameter] for parameter in checked}, name or "lstm")
    if any("\0" in name for name in lstms):
        raise ValueError("names with NUL in them cannot be written: write such layers one by one")
    if to in _SINGLE:
        if len(lstms) != 1:
            raise ValueError(f"{_SINGLE[to]} is written of one LSTM: choose it, or write .npz or .safetensors")
        (only,) = lstms.values()
        content = _single(only, to, path, byte_order)
    else:
        from . import _npz, _own, _safetensors  # not before they are needed: importing the package stays quick

        metadata = dict(_own.entry(name, lstm) for name, lstm in lstms.items())
        arrays = {
            f"{name}.{parameter}" if name else parameter: array
            for name, lstm in lstms.items()
            for parameter, array in _narrowed(lstm, bits=to == "safetensors").items()
        }
        content = (_safetensors if to == "safetensors" else _npz).content(arrays, metadata)
    write_whole(content, path)


def _narrowed(lstm: LSTM[Any], *, bits: bool) -> dict[str, Array]:
    """Return parameters as they are stored, but bfloat16 as its `bits` or in float32; integers with their scales."""
    parameters = lstm._parameters
    narrow = {"float16": _float16, "bfloat16": _bits_of_bfloat16 if bits else np.asarray}.get(lstm.weights)
    if narrow is None:
        return dict(_weights.entries(parameters))
    return {name: narrow(array) if _weights.is_stored(name) else array for name, array in parameters.items()}


def _float16(array: Array) -> Array:
    return array.astype(np.float16)


def _bits_of_bfloat16(array: Array) -> Array:
    return (array.view(np.uint32) >> 16).astype(np.uint16)


def _single(lstm: LSTM[Any], to: str, path: str | os.PathLike[str], byte_order: ByteOrder | None) -> bytes:
    """Return a file of one layer."""
    from . import _c_header, _flat

    if to == "c":
        return _flat.content(lstm, byte_order or _flat.native_order())
    if to == "c-header":
        return _c_header.content(lstm, path)
    need("onnx")
    exported: bytes = importlib.import_module("fastlstm.onnx").export(lstm).SerializeToString()
    return exported


def format_of(path: str | os.PathLike[str], argument: str) -> str:
    """Return the format that a path's ending tells."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{argument} should be a str or os.PathLike, got: {type(path).__name__}")
    to = SUFFIXES.get(Path(os.fsdecode(path)).suffix.lower())
    if to is None:
        raise ValueError(f"{argument} should end in .npz, .safetensors, .onnx or .flw, got: {os.fsdecode(path)}")
    return to


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
