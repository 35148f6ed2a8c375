"""ONNX models, by `fastlstm.onnx`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import _extras
from ._budget import Budget
from ._layer import Layer, layer_of
from ._stored import Stored

if TYPE_CHECKING:
    from ..onnx._load import Found
    from ..onnx._node import States


def layers(path: Path, budget: Budget) -> list[Layer]:
    """List the LSTM nodes of a model."""
    _extras.need("onnx")
    return [_layer(found) for found in importlib.import_module("fastlstm.onnx._load").find(path, budget=budget)]


def _layer(found: Found) -> Layer:
    from ..onnx import _forms, _semantics, _weights

    kind = found.proto.op_type
    with found.reading():
        try:
            attributes, tensors, states = found.read(integers=True)
            forms = _forms.forms(attributes, tensors.P is not None, _semantics.of_node("onnx", found.proto))
            if len(set(forms)) > 1:
                raise ValueError("its two directions have other activations; fastlstm.onnx.load runs it")
            parameters = _weights.parameters_of(tensors, range(attributes.directions))
            weights = found.stored_in() if tensors.W.dtype == "float32" else ""
        except (ValueError, TypeError, MemoryError) as error:
            return layer_of(found.name, kind, "ONNX", {}, problem=str(error))
    integers = not isinstance(tensors.W, np.ndarray)
    dtype = tensors.W.dtype.name
    for name, array in parameters.items():
        found.budget.keep(f"{name} of {found.name}", array.nbytes)
    return layer_of(
        found.name,
        kind,
        "ONNX",
        {
            name: Stored(array.shape, array.dtype.name if integers else dtype, lambda array=array: array)  # type: ignore[misc]
            for name, array in parameters.items()
        },
        form=forms[0],
        options={"batch_first": attributes.layout == 1},
        note=_note(kind, integers),
        caution=_caution(attributes.direction, states),
        weights=weights,
    )


def _note(kind: str, integers: bool) -> str:
    """Tell what becomes of weights of 8 bits."""
    if integers:
        return "weights of 8 bits, dequantised unless weights= keeps them"
    return "weights of 8 bits, dequantised" if kind != "LSTM" else ""


def _caution(direction: str, states: States) -> str:
    """Tell what the model does around the node."""
    told = [f"{name} comes from the model ({source}): give it to each call" for name, source in states.computed.items()]
    if direction == "reverse":
        told.append("direction='reverse': the input and the output are to be reversed in time")
    if states.constants:
        told.append(f"the model fixes {', '.join(states.constants)}, which the layer does not")
    return "; ".join(told)
