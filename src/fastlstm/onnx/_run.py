"""One node with the operator's inputs and outputs in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import NodeProto

from .. import _weights as _storage
from .._types import Array
from . import _attributes, _semantics
from ._attributes import Attributes
from ._dtypes import check_element
from ._layer import Layer, tensor
from ._node import Node
from ._operators import OPTIONAL, STATES, check_operator, inputs_of, is_quantized
from ._quantized import Quantized, in_rows, quantized_weights
from ._semantics import Semantics
from ._weights import Tensors, takes_integers


def run_node(
    node: NodeProto | Node,
    inputs: Sequence[object],
    *,
    semantics: str | Semantics = "onnx",
    threads: int = 1,
    weights: str | None = None,
) -> tuple[Array, ...]:
    """Run a node of LSTM, or of com.microsoft's DynamicQuantizeLSTM, with the operator's inputs in order.

    Parameters
    ----------
    node : onnx.NodeProto or Node
        A node as a model has it, or one that `load` built: that has its weights and its semantics already.
    inputs : sequence of arrays
        X, W, R, B, sequence_lens, initial_h, initial_c, P (then W_scale, W_zero_point, R_scale, R_zero_point of the
        quantised operator), with None for what is absent; the end may be left out. For a NodeProto exactly those that
        it names; for a built node the weights are None.
    semantics : str or Semantics
        As for `load`; a built node keeps its own.
    threads : int
        As for `fastlstm.LSTM`; a built node keeps its own.
    weights : str, optional
        As for `load`; None for a built node, which keeps its own.

    Returns
    -------
    tuple of arrays
        Those of Y, Y_h, Y_c that the node names, in this order.

    Raises
    ------
    ValueError
        For another operator, wrong attributes, missing or unexpected inputs, wrong shapes, lengths outside 0..T.
    TypeError
        For a wrong dtype, or something that is not a node.

    Notes
    -----
    The weights are packed anew in every call for a NodeProto; `load` does that once. float16 and bfloat16 are computed
    in float32, and each result is rounded once.

    Examples
    --------
    >>> import numpy as np, onnx, fastlstm.onnx
    >>> node = onnx.helper.make_node("LSTM", ["X", "W", "R"], ["", "Y_h"], hidden_size=3)
    >>> X, W, R = (np.zeros(shape, np.float32) for shape in ((5, 2, 4), (1, 12, 4), (1, 12, 3)))
    >>> [array.shape for array in fastlstm.onnx.run_node(node, [X, W, R])]
    [(1, 2, 3)]
    """
    _semantics.checked(semantics)
    if not isinstance(node, NodeProto | Node):
        raise TypeError(f"node should be an onnx.NodeProto or a Node, got: {type(node).__name__}")
    _storage.checked_or_auto(weights)
    proto = node.proto if isinstance(node, Node) else node
    check_operator(proto)
    values = _by_name(inputs, tuple(inputs_of(proto)))
    states = {name: values[name] for name in STATES if values[name] is not None}
    if isinstance(node, Node):
        given = [name for name, value in values.items() if value is not None and name not in ("X", *STATES)]
        if given:
            raise ValueError(f"{', '.join(given)} should be None for a built node: it has its weights")
        if weights is not None:
            raise ValueError(f"weights should be None for a built node, which has its own, got: {weights!r}")
        return _named(proto, node(values["X"], **states))
    layer = layer_of(node, values, semantics, threads, weights)
    return _named(node, layer(values["X"], *(states.get(name) for name in STATES)))


def layer_of(
    node: NodeProto, values: dict[str, object], semantics: str | Semantics, threads: int, weights: str | None
) -> Layer:
    """Build a node out of the weights among the values of its inputs."""
    _check_presence(node, values)
    attributes = _attributes.read(node)
    tensors = _weights(values, attributes, is_quantized(node), takes_integers(weights))
    kind = _storage.checked_or_auto(weights)
    return Layer(tensors, attributes, _semantics.of_node(semantics, node), threads, kind)


def _weights(values: dict[str, object], attributes: Attributes, quantized: bool, integers: bool) -> Tensors:
    """Return the weights among the inputs, those of 8 bits as `integers` or dequantised."""
    given = {
        name: np.asarray(value)
        for name, value in values.items()
        if value is not None and name not in ("X", "B", "P", *STATES)
    }
    W: Array | Quantized
    R: Array | Quantized
    if quantized:
        made = quantized_weights(given, attributes)
        rows = in_rows(made) if integers else None
        W, R = rows.values() if rows else (each.array() for each in made.values())
    else:
        check_element(given["W"].dtype, "W")
        W, R = given["W"], tensor(given["R"], "R", given["W"].dtype)
    B, P = (None if values[name] is None else tensor(values[name], name, W.dtype) for name in ("B", "P"))
    return Tensors(W, R, B, P)


def _by_name(inputs: object, names: tuple[str, ...]) -> dict[str, object]:
    """Name the inputs; None for what is absent."""
    if isinstance(inputs, np.ndarray) or not isinstance(inputs, Sequence):
        raise TypeError(f"inputs should be a sequence of arrays, got: {type(inputs).__name__}")
    if len(inputs) > len(names):
        raise ValueError(f"inputs should be at most {len(names)}: {', '.join(names)}; got {len(inputs)}")
    values: dict[str, object] = dict.fromkeys(names)
    values.update(zip(names, inputs, strict=False))
    if values["X"] is None:
        raise ValueError("inputs: X is missing")
    return values


def _check_presence(node: NodeProto, values: dict[str, object]) -> None:
    """Check that the inputs are those that the node names."""
    for name, label in inputs_of(node).items():
        if values[name] is None and (label or name not in OPTIONAL):
            raise ValueError(f"inputs: {name} is missing" + (f"; the node names it {label!r}" if label else ""))
        if values[name] is not None and not label:
            raise ValueError(f"inputs: {name} is given, but the node does not name it")


def _named(node: NodeProto, outputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the outputs that a node names."""
    return tuple(array for label, array in zip(node.output, outputs, strict=False) if label)
