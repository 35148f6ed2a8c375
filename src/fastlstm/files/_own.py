"""What `save` writes beside the arrays: what they do not tell of a layer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from .. import _checks, _weights
from .._forms import Form
from .._lstm import LSTM

#: The name of the entry in a file's metadata; with the layer's own name after a dot if it has one.
KEY: Final = "fastlstm"


class Told(NamedTuple):
    """What is told of a layer."""

    form: Form = Form()
    options: Mapping[str, bool | float] = {"batch_first": False, "dropout": 0.0}
    weights: str = ""  #: what its matrices are stored in; empty: as its numbers are


Described = dict[str, Told]


def entry(name: str, lstm: LSTM[Any]) -> tuple[str, str]:
    """Return the key and the text that tell of a layer."""
    form = dataclasses.asdict(lstm.form)
    if not lstm.form.summed:  # which others' files do not know of
        del form["summed"]
    told: dict[str, Any] = {"form": form}
    told |= {"batch_first": lstm.batch_first, "dropout": lstm.dropout}
    if lstm._settings.weights is not None:
        told["weights"] = lstm._settings.weights
    return f"{KEY}.{name}" if name else KEY, json.dumps(told)


def described(metadata: Mapping[str, str]) -> Described:
    """Read back what `entry` wrote, by the names of layers."""
    return {key[len(KEY) + 1 :]: _described(key, text) for key, text in metadata.items() if is_key(key)}


def is_key(key: str) -> bool:
    """Whether an entry is one that `save` writes."""
    return key == KEY or key.startswith(f"{KEY}.")


def _described(key: str, text: str) -> Told:
    try:
        told = json.loads(text)
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in told["form"].items()
        }
        batch_first = _checks.flag(told["batch_first"], "batch_first")
        dropout = told["dropout"]
        if type(dropout) not in (int, float) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout should be from 0 to 1, got: {dropout}")
        weights = told.get("weights", "")
        if weights and weights not in _weights.names():
            raise ValueError(f"weights should be one of {', '.join(_weights.names())}, got: {weights!r}")
        return Told(Form(**fields), {"batch_first": batch_first, "dropout": float(dropout)}, weights)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"the metadata's entry {key[:100]!r} is not one of fastlstm's: {str(error)[:200]}") from None
