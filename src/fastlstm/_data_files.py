"""What the command line reads with --data: the arguments of a call, out of .npy and .npz files."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from typing import Any

import numpy as np

from ._types import Array
from .files._layer import printable

#: What an npz file may hold: arguments of a call.
_NAMES = ("x", "h_0", "c_0", "lengths", "resets")


def arguments(call: dict[str, Array]) -> dict[str, Any]:
    """Return what a call has beside x, as keywords."""
    hx = (call["h_0"], call["c_0"]) if "h_0" in call else None
    return {"hx": hx, "lengths": call.get("lengths"), "resets": call.get("resets")}


def read_call(path: str) -> dict[str, Array]:
    """Read x, and what else an npz file has of a call."""
    shown = printable(path)
    arrays = read_inputs(path)
    if len(arrays) == 1:
        arrays = {"x": next(iter(arrays.values()))}
    unknown = sorted(arrays.keys() - set(_NAMES))
    if unknown or "x" not in arrays or ("h_0" in arrays) != ("c_0" in arrays):
        came = ", ".join(map(printable, sorted(arrays))) or "nothing"
        raise ValueError(f"{shown} should hold x and perhaps lengths, resets, and h_0 with c_0, got: {came}")
    return {name: _float32(array, f"{name} in {shown}") for name, array in arrays.items()}


def read_inputs(path: str) -> dict[str, Array]:
    """Read arrays by their names; the one of an npy file has none."""
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            return {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, zlib.error) as error:
        raise ValueError(f"{printable(path)} could not be read as .npy or .npz: {error}") from None


def _float32(array: Array, name: str) -> Array:
    """Round other numbers to float32, and say so; what is not a number of an input stays for the call to refuse."""
    if name.startswith(("x ", "h_0 ", "c_0 ")) and array.dtype.kind in "fiu" and array.dtype != np.float32:
        warnings.warn(f"{name} is {array.dtype}: converted to float32", stacklevel=2)
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    return array
