"""What `save` writes beside the arrays: what they do not tell of a layer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final

from .. import _checks
from .._forms import Form
from .._lstm import LSTM

#: The name of the entry in a file's metadata; with the layer's own name after a dot if it has one.
KEY: Final = "fastlstm"

Described = dict[str, tuple[Form, dict[str, bool | float]]]


def entry(name: str, lstm: LSTM[Any]) -> tuple[str, str]:
    """Return the key and the text that tell of a layer."""
    told = {"form": dataclasses.asdict(lstm.form), "batch_first": lstm.batch_first, "dropout": lstm.dropout}
    return f"{KEY}.{name}" if name else KEY, json.dumps(told)


def described(metadata: Mapping[str, str]) -> Described:
    """Read back what `entry` wrote, by the names of layers."""
    return {key[len(KEY) + 1 :]: _described(key, text) for key, text in metadata.items() if is_key(key)}


def is_key(key: str) -> bool:
    """Whether an entry is one that `save` writes."""
    return key == KEY or key.startswith(f"{KEY}.")


def _described(key: str, text: str) -> tuple[Form, dict[str, bool | float]]:
    try:
        told = json.loads(text)
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in told["form"].items()
        }
        batch_first = _checks.flag(told["batch_first"], "batch_first")
        dropout = told["dropout"]
        if type(dropout) not in (int, float) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout should be from 0 to 1, got: {dropout}")
        return Form(**fields), {"batch_first": batch_first, "dropout": float(dropout)}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"the metadata's entry {key[:100]!r} is not one of fastlstm's: {str(error)[:200]}") from None
