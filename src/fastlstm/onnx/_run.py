"""One node with the operator's inputs and outputs in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from . import _attributes, _semantics
from ._dtypes import check_element
from ._layer import Layer, tensor
from ._node import Node
from ._semantics import Semantics
from ._weights import Tensors

Array = NDArray[Any]

INPUTS: Final = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
_OUTPUTS: Final = 3


def run_node(
    node: NodeProto | Node,
    inputs: Sequence[object],
    *,
    semantics: str | Semantics = "onnx",
    threads: int = 1,
) -> tuple[Array, ...]:
    """Run an LSTM node with the operator's inputs in order.

    Parameters
    ----------
    node : onnx.NodeProto or Node
        A node as a model has it, or one that `load` built: that has its weights and its semantics already.
    inputs : sequence of arrays
        X, W, R, B, sequence_lens, initial_h, initial_c, P, with None for what is absent; the end may be left out. For
        a NodeProto exactly those that it names; for a built node W, R, B and P are None.
    semantics : str or Semantics
        ``"onnx"``, ``"onnxruntime"`` or a `Semantics`; a built node keeps its own.
    threads : int
        As for `fastlstm.LSTM`; a built node keeps its own.

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
    chosen = _semantics.checked(semantics)
    if not isinstance(node, NodeProto | Node):
        raise TypeError(f"node should be an onnx.NodeProto or a Node, got: {type(node).__name__}")
    values = _by_name(inputs)
    if isinstance(node, Node):
        given = [name for name in ("W", "R", "B", "P") if values[name] is not None]
        if given:
            raise ValueError(f"{', '.join(given)} should be None for a built node: it has its weights")
        outputs = node(values["X"], values["sequence_lens"], values["initial_h"], values["initial_c"])
        return _named(node.proto, outputs)
    check_operator(node)
    _check_presence(node, values)
    attributes = _attributes.read(node)
    W = np.asarray(values["W"])
    check_element(W.dtype, "W")
    tensors = Tensors(
        *(
            None if values[name] is None else tensor(values[name], name, W.dtype)  # type: ignore[arg-type]
            for name in ("W", "R", "B", "P")
        )
    )
    layer = Layer(tensors, attributes, chosen, threads)
    return _named(node, layer(values["X"], values["sequence_lens"], values["initial_h"], values["initial_c"]))


def check_operator(node: NodeProto) -> None:
    """Check that a node is an LSTM, with no more inputs and outputs than that has."""
    if node.op_type != "LSTM" or node.domain not in ("", "ai.onnx"):
        raise ValueError(f"node should be ONNX's LSTM, got: {node.op_type!r} of domain {node.domain!r}")
    for what, names, most in (("inputs", node.input, len(INPUTS)), ("outputs", node.output, _OUTPUTS)):
        if len(names) > most:
            raise ValueError(f"an LSTM node has at most {most} {what}, got {len(names)}")


def _by_name(inputs: object) -> dict[str, object]:
    """Name the inputs; None for what is absent."""
    if isinstance(inputs, np.ndarray) or not isinstance(inputs, Sequence):
        raise TypeError(f"inputs should be a sequence of arrays, got: {type(inputs).__name__}")
    if len(inputs) > len(INPUTS):
        raise ValueError(f"inputs should be at most {len(INPUTS)}: {', '.join(INPUTS)}; got {len(inputs)}")
    values: dict[str, object] = dict.fromkeys(INPUTS)
    values.update(zip(INPUTS, inputs, strict=False))
    if values["X"] is None:
        raise ValueError("inputs: X is missing")
    return values


def _check_presence(node: NodeProto, values: dict[str, object]) -> None:
    """Check that the inputs are those that the node names."""
    names = dict.fromkeys(INPUTS, "") | dict(zip(INPUTS, node.input, strict=False))
    for name, label in names.items():
        if values[name] is None and (label or name in ("X", "W", "R")):
            raise ValueError(f"inputs: {name} is missing" + (f"; the node names it {label!r}" if label else ""))
        if values[name] is not None and not label:
            raise ValueError(f"inputs: {name} is given, but the node does not name it")


def _named(node: NodeProto, outputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return the outputs that a node names."""
    return tuple(array for label, array in zip(node.output, outputs, strict=False) if label)
