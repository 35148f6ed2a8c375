"""``fastlstm compare``: inputs from a file, and what `compare` finds as a table, JSON or a picture."""

from __future__ import annotations

import argparse
import json
import warnings
from typing import Any

import numpy as np

from ._compare import compare
from ._data_files import arguments, read_call
from ._lstm import LSTM
from ._types import Array

_RANDOM = (100, 8)


def run(lstm: LSTM[Any], given: argparse.Namespace) -> None:
    """Compare, and print what was asked for."""
    data = _random(lstm) if given.data is None else read_call(given.data)
    found = compare(lstm, data["x"], given.weights, **arguments(data))
    print(json.dumps(found.as_dict() | {"data": given.data}, allow_nan=False) if given.json else found)
    if given.plot:
        found.plot(given.plot)


def _random(lstm: LSTM[Any]) -> dict[str, Array]:
    warnings.warn("the inputs are random numbers: how real ones fare, --data tells", stacklevel=2)
    (T, B), made = _RANDOM, np.random.default_rng(0)
    lead = (B, T) if lstm.batch_first else (T, B)
    return {"x": made.standard_normal((*lead, lstm.input_size), np.float32)}
