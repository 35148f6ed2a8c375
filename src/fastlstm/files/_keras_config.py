"""What Keras's configuration says of its LSTM layers: activations, direction, how two directions are merged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from .._forms import Activation, Form

_CLASSES = ("LSTM", "LSTMCell", "CuDNNLSTM")
_MOST_ENTRIES = 1_000_000

_ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "softsign": "softsign",
    "softplus": "softplus",
    "elu": ("elu", 1.0),
    "linear": ("affine", 1.0, 0.0),
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One LSTM of a configuration."""

    name: str
    kind: str
    config: Mapping[str, Any]
    merge_mode: str | None = None


def entries(config: object) -> list[Entry]:
    """List the LSTM layers anywhere in a configuration, in its order; both of a Bidirectional under its name."""
    return list(_entries(config, [0]))


def _entries(node: object, count: list[int], outer: Mapping[str, Any] | None = None) -> Iterator[Entry]:
    count[0] += 1
    if count[0] > _MOST_ENTRIES:
        raise ValueError("the configuration is too long")
    if isinstance(node, Mapping):
        kind, config = node.get("class_name"), node.get("config")
        if isinstance(config, Mapping):
            if kind in _CLASSES:
                named = outer if outer else config
                mode = str(outer.get("merge_mode")) if outer else None
                yield Entry(str(named.get("name", "")), str(kind), config, mode)
                return
            outer = config if kind == "Bidirectional" else None
        for value in node.values():
            yield from _entries(value, count, outer)
    elif isinstance(node, list):
        for value in node:
            yield from _entries(value, count)


def form_of(entry: Entry | None, version: str) -> tuple[Form | None, str]:
    """Return the form of a layer, None where it cannot be told, and what has to be said about it.

    Keras's LSTM has used sigmoid gates since 2.3; before, the hard sigmoid 0.2 x + 0.5. Keras 3 has x / 6 + 0.5 under
    the same name.
    """
    if entry is not None and entry.kind == "CuDNNLSTM":
        return Form(), ""
    gate, candidate = (entry.config.get(name) if entry else None for name in ("recurrent_activation", "activation"))
    if gate is None:
        return _assumed(version)
    try:
        tanh = _activation("tanh" if candidate is None else candidate, version)
        return Form(_activation(gate, version), tanh, tanh), ""
    except ValueError as error:
        return None, str(error)


def _assumed(version: str) -> tuple[Form | None, str]:
    if version == "2.2.4-tf":
        return None, (
            "the file has no activations, and its Keras 2.2.4-tf is of TensorFlow 1, where the default is the hard "
            "sigmoid, or of TensorFlow 2, where it is not"
        )
    numbers = [int(part) for part in version.split("-")[0].split(".")[:2] if part.isdecimal() and len(part) < 6]
    hard = bool(numbers) and numbers < [2, 3] and not version.endswith("-tf")
    note = f"activations are not in the file: the defaults of Keras {version or '3'}"
    return (Form(("hard_sigmoid", 0.2, 0.5)) if hard else Form()), note


def _activation(value: object, version: str) -> Activation:
    name = value.get("config") if isinstance(value, Mapping) else value
    if isinstance(name, Mapping):
        name = name.get("name")
    if name == "hard_sigmoid":
        return ("hard_sigmoid", 1 / 6 if version.startswith("3") else 0.2, 0.5)
    if name == "leaky_relu" and version.startswith("3"):
        return ("leaky_relu", 0.2)
    if isinstance(name, str) and name in _ACTIVATIONS:
        return _ACTIVATIONS[name]
    raise ValueError(f"the activation {name!r:.80} is not one of fastlstm.Form's")
