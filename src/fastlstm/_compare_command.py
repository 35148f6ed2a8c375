"""``fastlstm compare``: inputs from a file, and what `compare` finds as a table, JSON or a picture."""

from __future__ import annotations

import argparse
import json
import warnings
import zipfile
import zlib
from typing import Any

import numpy as np

from ._compare import compare
from ._lstm import LSTM
from ._types import Array
from .files._layer import printable

#: What an npz file may hold: arguments of a call.
_NAMES = ("x", "h_0", "c_0", "lengths", "resets")
_RANDOM = (100, 8)


def run(lstm: LSTM[Any], given: argparse.Namespace) -> None:
    """Compare, and print what was asked for."""
    data = _random(lstm) if given.data is None else _read(given.data)
    hx = (data["h_0"], data["c_0"]) if "h_0" in data else None
    found = compare(lstm, data["x"], given.weights, hx=hx, lengths=data.get("lengths"), resets=data.get("resets"))
    print(json.dumps(found.as_dict() | {"data": given.data}, allow_nan=False) if given.json else found)
    if given.plot:
        found.plot(given.plot)


def _random(lstm: LSTM[Any]) -> dict[str, Array]:
    warnings.warn("the inputs are random numbers: how real ones fare, --data tells", stacklevel=2)
    (T, B), made = _RANDOM, np.random.default_rng(0)
    lead = (B, T) if lstm.batch_first else (T, B)
    return {"x": made.standard_normal((*lead, lstm.input_size), np.float32)}


def _read(path: str) -> dict[str, Array]:
    shown = printable(path)
    try:
        with open(path, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            arrays = {"x": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (ValueError, EOFError, zipfile.BadZipFile, NotImplementedError, zlib.error) as error:
        raise ValueError(f"{shown} could not be read as .npy or .npz: {error}") from None
    if len(arrays) == 1:
        arrays = {"x": next(iter(arrays.values()))}
    unknown = sorted(arrays.keys() - set(_NAMES))
    if unknown or "x" not in arrays or ("h_0" in arrays) != ("c_0" in arrays):
        came = ", ".join(map(printable, sorted(arrays))) or "nothing"
        raise ValueError(f"{shown} should hold x and perhaps lengths, resets, and h_0 with c_0, got: {came}")
    return {name: _float32(array, f"{name} in {shown}") for name, array in arrays.items()}


def _float32(array: Array, name: str) -> Array:
    """Round other numbers to float32, and say so; what is not a number of an input stays for `compare` to refuse."""
    if name.startswith(("x ", "h_0 ", "c_0 ")) and array.dtype.kind in "fiu" and array.dtype != np.float32:
        warnings.warn(f"{name} is {array.dtype}: converted to float32", stacklevel=2)
        with np.errstate(over="ignore"):
            return array.astype(np.float32)
    return array
