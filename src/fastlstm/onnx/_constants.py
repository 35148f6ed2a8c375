"""The constants that the nodes of a graph can see, computed where that takes no more than moving numbers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from onnx import AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, TensorProto, helper, numpy_helper

Array = NDArray[Any]

# what exporters put between a framework's weights and W, R, B: reordered, joined, one axis more
_FOLDED: Final = {"Cast", "Concat", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
_DEPTH: Final = 50  # nodes in a row; exporters need about five
_BYTES: Final = 2**30  # of the largest result: no LSTM is larger, a file that doubles a tensor forty times would be


class NotConstantError(Exception):
    """Why a value is not known before the model runs."""


class Scope:
    """The constants that the nodes of one graph can see: its own, and those of the graphs around it."""

    def __init__(
        self, graph: GraphProto, opsets: list[OperatorSetIdProto], folder: str | None, outer: Scope | None = None
    ) -> None:
        self._opsets, self._folder, self._outer = opsets, folder, outer
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._sparse = {tensor.values.name for tensor in graph.sparse_initializer}
        self._producers = {name: node for node in graph.node for name in node.output if name}
        self._inputs = {value.name for value in graph.input}
        self._known: dict[str, Array] = {}

    def inside(self, graph: GraphProto) -> Scope:
        """Return the scope of a graph inside this one."""
        return Scope(graph, self._opsets, self._folder, self)

    def value(self, name: str, depth: int = 0) -> Array:
        """Return a constant; NotConstantError tells why it is none, ValueError what is wrong with it."""
        if name not in self._known:
            self._known[name] = self._find(name, depth)
        return self._known[name]

    def _find(self, name: str, depth: int) -> Array:
        if name in self._tensors:  # before the inputs: old files list every initializer as an input too
            return self._read(self._tensors[name])
        if name in self._sparse:
            raise NotConstantError(f"{name!r} is a sparse tensor")
        if name in self._inputs:
            raise NotConstantError(f"{name!r} is an input of the graph")
        if name in self._producers:
            return self._compute(name, self._producers[name], depth)
        if self._outer is None:
            raise NotConstantError(f"nothing makes {name!r}")
        return self._outer.value(name, depth)

    def _compute(self, name: str, node: NodeProto, depth: int) -> Array:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            held = [attribute for attribute in node.attribute if attribute.name == "value"]
            if len(held) != 1 or held[0].type != AttributeProto.TENSOR:
                raise NotConstantError(f"{name!r} is a Constant without a dense tensor")
            return self._read(held[0].t)
        if node.op_type not in _FOLDED or node.domain not in ("", "ai.onnx"):
            raise NotConstantError(f"{name!r} is computed by {node.op_type}")
        if depth == _DEPTH:
            raise NotConstantError(f"{name!r} is computed by more than {_DEPTH} nodes in a row")
        inputs = {label: self.value(label, depth + 1) for label in node.input if label}
        # a Cast makes at most eight bytes of one
        size = sum(inputs[label].nbytes for label in node.input if label) * (8 if node.op_type == "Cast" else 1)
        if size > _BYTES:
            raise ValueError(f"{name!r} would take {size} bytes")
        return self._evaluate(name, node, inputs)

    def _evaluate(self, name: str, node: NodeProto, inputs: dict[str, Array]) -> Array:
        from onnx.reference import ReferenceEvaluator  # half a second to import: only files that need it pay

        typed = [helper.make_tensor_value_info(label, _element(array), None) for label, array in inputs.items()]
        result = helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None)
        model = helper.make_model(helper.make_graph([node], "one", typed, [result]), opset_imports=self._opsets)
        try:
            (made,) = ReferenceEvaluator(model).run([name], inputs)
        except Exception as error:  # whatever a wrong attribute or shape sets off in there
            raise ValueError(f"{name!r}, computed by {node.op_type}: {error}") from None
        return np.asarray(made)

    def _read(self, tensor: TensorProto) -> Array:
        external = tensor.data_location == TensorProto.EXTERNAL
        if external and self._folder is None:
            raise ValueError(f"{tensor.name!r} is in another file: load the model by its path")
        if any(size < 0 for size in tensor.dims):
            raise ValueError(f"{tensor.name!r} has negative sizes: {list(tensor.dims)}")
        try:
            return np.asarray(numpy_helper.to_array(tensor, self._folder or ""))
        except Exception as error:  # a corrupt tensor or a missing file: many kinds, from C++ too
            where = ", in another file" if external else ""
            raise ValueError(f"{tensor.name!r} {list(tensor.dims)}{where} cannot be read: {error}") from None


def _element(array: Array) -> int:
    try:
        return int(helper.np_dtype_to_tensor_dtype(array.dtype))
    except ValueError as error:
        raise ValueError(f"elements of dtype {array.dtype}: {error}") from None
