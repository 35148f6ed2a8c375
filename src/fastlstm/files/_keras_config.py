"""What Keras's configuration says of an LSTM layer: activations, direction, how two directions are merged."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .._forms import Activation, Form
from ._budget import Budget
from ._keras_model import GATES, SIDES, Node, Owner, class_of, name_of, settings

_KERAS = ("LSTM", "LSTMCell", "CuDNNLSTM", "fastlstm>LSTM", "RNN", "StackedRNNCells", "Bidirectional")
#: Memory that parsed JSON takes, in sizes of its text: of many small objects.
_OBJECTS = 32

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
class Configuration:
    """A model's configuration, and the version of Keras that wrote it."""

    model: Node
    version: str = ""


def configuration(value: object, budget: Budget, version: str = "") -> Configuration:
    """Read what `to_json` or `get_config` made of a model: a dict, or JSON."""
    if isinstance(value, str | bytes | bytearray):
        value = parsed(value, budget)
    if not isinstance(value, Mapping):
        raise ValueError("the configuration should be a JSON object, as model.to_json() writes it")
    told = value.get("keras_version")
    model = value if "class_name" in value else {"class_name": "", "config": value}
    return Configuration(model, told if isinstance(told, str) else version)


def parsed(text: str | bytes | bytearray, budget: Budget) -> object:
    """Parse JSON, counted by the most that Python's objects can take."""
    budget.keep("the configuration", _OBJECTS * len(text))
    return json.loads(text)


@dataclasses.dataclass(frozen=True)
class Told:
    """What a configuration says of one cell."""

    kind: str
    form: Form | None
    notes: tuple[str, ...] = ()
    assumed: str = ""
    cautions: tuple[str, ...] = ()  #: what the layer alone does not do as the model did


def told(owner: Owner, version: str) -> Told:
    """Return the kind and the form of a cell, None where it cannot be told, and what else has to be known."""
    kind = class_of(owner.cell)
    cautions = []
    if any(value is True for value in owner.said("go_backwards")) and owner.side != "backward":
        cautions.append("go_backwards: the input is to be reversed")
    if any(value is True for value in owner.said("time_major")):
        cautions.append("time_major: batch_first does not hold for its input")
    mode = next(owner.said("merge_mode"), "concat")
    if mode != "concat":
        cautions.append(f"merge_mode={mode!r:.20}: the two halves of the output are to be merged so")
    foreign = next((name for name in _classes(owner) if name not in _KERAS), "")
    assumed = f"the class {foreign!r:.80} is taken for Keras's own, and may compute otherwise" if foreign else ""
    try:
        form = Form() if kind == "CuDNNLSTM" else _form(owner.cell, version)
        return Told(kind, form, (), assumed, tuple(cautions))
    except ValueError as error:
        return Told(kind, None, (str(error),), "", tuple(cautions))


def _classes(owner: Owner) -> Iterator[str]:
    """Yield the classes that compute an LSTM together: a cell, its RNN, a Bidirectional around it."""
    for key, node in reversed(owner.path):
        yield class_of(node)
        if key not in ("cell", "cells", *SIDES):
            return


def misfit(owner: Owner, input_size: int, hidden_size: int, bias: bool) -> str:
    """Tell where a configuration and the arrays disagree, so that they cannot belong together; empty if they do."""
    config = settings(owner.cell)
    shape = next(_input_shapes(owner), None)
    checks = (
        ("units", config.get("units", config.get("output_dim")), hidden_size),
        ("use_bias", config.get("use_bias"), bias),
        ("input size", shape[-1] if shape else None, input_size),
    )
    wrong = [
        f"{name} {said!r:.20} and not {is_}" for name, said, is_ in checks if type(said) is type(is_) and said != is_
    ]
    return f"the configuration of {name_of(owner.cell)!r:.80} says {', '.join(wrong)}" if wrong else ""


def _input_shapes(owner: Owner) -> Iterator[list[int | None]]:
    """Yield the shapes that the cell, and the layers that pass their input on to it, were built for."""
    for key, node in reversed(owner.path):
        for settings_ in (node.get("build_config"), settings(node)):
            for name in ("input_shape", "batch_input_shape", "batch_shape"):
                shape = settings_.get(name) if isinstance(settings_, Mapping) else None
                if isinstance(shape, list) and shape and all(n is None or type(n) is int for n in shape):
                    yield shape
        if key not in ("cell", *SIDES):
            return


def _form(cell: Node, version: str) -> Form:
    """Return the form of a cell.

    Keras's LSTM has used sigmoid gates since 2.3; before, the hard sigmoid 0.2 x + 0.5. Keras 3 has x / 6 + 0.5 under
    the same name.
    """
    config = settings(cell)
    gate = next((config[name] for name in GATES if name in config), None)
    if gate is None:
        raise ValueError(
            f"the configuration of {name_of(cell)!r:.80}, of class {class_of(cell)!r:.80}, has no recurrent_activation"
        )
    version = version or _generation(config)
    own = config.get("activation", "tanh")
    tanh = _activation("linear" if own is None else own, version)
    return Form(_activation(gate, version), tanh, tanh)


def assumed(version: str) -> tuple[Form | None, str]:
    """Return the form of an LSTM whose configuration is not there, None if even the default is not known."""
    if version == "2.2.4-tf":
        return None, (
            "the file has no activations, and its Keras 2.2.4-tf is of TensorFlow 1, where the default is the hard "
            "sigmoid, or of TensorFlow 2, where it is not"
        )
    hard = bool(version) and _numbers(version) < (2, 3) and not version.endswith("-tf")
    note = f"activations are not in the file: the defaults of Keras {version or '3'}"
    return (Form(("hard_sigmoid", 0.2, 0.5)) if hard else Form()), note


def _generation(config: Mapping[str, Any]) -> str:
    """Tell Keras 2 from 3, whose `to_json` names no version, by settings that only one of them has."""
    if not config.keys().isdisjoint({"time_major", "implementation", "inner_activation"}):
        return "2"
    return "3" if "seed" in config else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d{1,5}", version)[:2])


def _activation(value: object, version: str) -> Activation:
    if isinstance(value, str):
        if value in _ACTIVATIONS:
            return _ACTIVATIONS[value]
        if value in ("hard_sigmoid", "leaky_relu") and not version:
            raise ValueError(f"{value} is one function in Keras 2 and another in Keras 3, and the version is not told")
        if value == "hard_sigmoid":
            return ("hard_sigmoid", 1 / 6 if _numbers(version) >= (3,) else 0.2, 0.5)
        if value == "leaky_relu" and _numbers(version) >= (3,):
            return ("leaky_relu", 0.2)
    elif isinstance(value, Mapping):  # a function or a layer of the user's, whatever its name
        raise ValueError(f"the activation {value.get('config')!r:.80} is an object of the user's own")
    raise ValueError(f"the activation {value!r:.80} is not one of fastlstm.Form's")
