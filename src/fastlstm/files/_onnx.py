"""ONNX models, by `fastlstm.onnx`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from .. import _extras
from ._budget import Budget
from ._layer import Layer, layer_of
from ._stored import Stored

if TYPE_CHECKING:
    from ..onnx import Node


def layers(path: Path, budget: Budget) -> list[Layer]:
    """List the LSTM nodes of a model."""
    _extras.need("onnx")
    return [_layer(node) for node in importlib.import_module("fastlstm.onnx").load(path)]


def _layer(node: Node) -> Layer:
    if node.reason or len(node.lstms) != 1:
        problem = node.reason or "its two directions have other activations; fastlstm.onnx.load runs it"
        return layer_of(node.name, "LSTM", "ONNX", {}, problem=problem)
    lstm = node.lstm
    parameters = {
        name: Stored(array.shape, node.dtype.name, lambda array=array: array)  # type: ignore[misc]
        for name, array in lstm.state_dict().items()
    }
    notes = []
    if node.attributes and node.attributes.direction == "reverse":
        notes.append("direction='reverse': the input is to be reversed")
    if node.constants:
        notes.append(f"the model fixes {', '.join(node.constants)}, which the layer does not")
    options = {"batch_first": lstm.batch_first}
    return layer_of(node.name, "LSTM", "ONNX", parameters, form=lstm.form, options=options, note="; ".join(notes))
