"""The constants that the nodes of a graph can see, computed where that takes no more than moving numbers."""

from __future__ import annotations

import contextlib
from typing import Final

import numpy as np
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto, helper

from .._types import Array
from ..files._budget import Budget
from ..files._layer import short
from ._fold import fold, fold_integers, is_folded
from ._quantized import Quantized
from ._tensors import Source, shown

_DEPTH: Final = 50  # nodes in a row; exporters need about five
_STORED: Final = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
_PLAIN: Final = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
#: Operators whose result is zero where their first input is, whatever its shape: it may come with the sequence.
_ZERO_AS_FIRST: Final = {
    *("Cast", "CastLike", "Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose"),
    "Unsqueeze",
}


class NotConstantError(Exception):
    """Why a value is not known before the model runs."""


class _TooDeepError(NotConstantError):
    """It is computed by too many nodes in a row; from fewer of them it may be known."""


def _type_of(tensor: TensorProto) -> str:
    return _STORED.get(tensor.data_type, "")


class Scope:
    """The constants that the nodes of one graph can see: its own, and those of the graphs around it."""

    def __init__(self, graph: GraphProto, source: Source, outer: Scope | None = None, inputs_of: str = "graph") -> None:
        self._source, self._outer, self._inputs_of = source, outer, inputs_of
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._sparse = {tensor.values.name for tensor in graph.sparse_initializer}
        self._producers = {name: node for node in graph.node for name in node.output if name}
        self._inputs = {value.name for value in graph.input}
        self._known: dict[str, Array] = {}
        self._failed: dict[str, tuple[type[Exception], str]] = {}  # many nodes may ask for what is costly to refuse
        self._zeros: dict[str, bool] = {}
        self._stored: dict[str, str] = {}
        self._integers: dict[str, Quantized | None] = {}

    def inside(self, graph: GraphProto) -> Scope:
        """Return the scope of a graph inside this one."""
        return Scope(graph, self._source, self)

    @property
    def budget(self) -> Budget:
        """The budget of the model's file."""
        return self._source.budget

    def forget(self) -> None:
        """Give up what was read and computed: it would be read anew."""
        self._known.clear()
        self._integers.clear()
        if self._outer is not None:
            self._outer.forget()

    def value(self, name: str, depth: int = 0) -> Array:
        """Return a constant; NotConstantError tells why it is none, ValueError what is wrong with it."""
        if name in self._failed:
            kind, why = self._failed[name]
            raise kind(why)
        if name not in self._known:
            try:
                self._known[name] = self._find(name, depth)
            except _TooDeepError:
                raise
            except (NotConstantError, ValueError) as error:
                kind = NotConstantError if isinstance(error, NotConstantError) else ValueError
                self._failed[name] = kind, short(str(error))
                raise
        return self._known[name]

    def is_zero(self, name: str, depth: int = 0) -> bool:
        """Tell whether all elements of a value are zero, whatever its shape, which may come with the sequence.

        This is how exporters write a state that starts at zero for any batch.
        """
        if name not in self._zeros:
            self._zeros[name] = self._made_of_zeros(name, depth)
        return self._zeros[name]

    def integers(self, name: str, depth: int = 0) -> Quantized | None:
        """Return a constant as the integers that it is computed of, before a DequantizeLinear; None if it is of none.

        Nor is there anything for what is wrong: `value` tells of it.
        """
        if name not in self._integers:
            try:
                self._integers[name] = self._found_integers(name, depth)
            except MemoryError:
                raise
            except Exception:  # as in _compute
                self._integers[name] = None
        return self._integers[name]

    def stored_in(self, name: str, depth: int = 0) -> str:
        """Name the type that a constant's numbers have in the file, before a Cast; empty if not of 16 bits."""
        if name not in self._stored:
            self._stored[name] = self._found_in(name, depth)
        return self._stored[name]

    def _found_in(self, name: str, depth: int) -> str:
        if name in self._tensors:
            return _type_of(self._tensors[name])
        node = self._producers.get(name)
        if node is None:
            outer = None if name in self._inputs else self._outer
            return "" if outer is None else outer.stored_in(name, depth)
        self._look_up(name, node)
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            return next((_type_of(held.t) for held in node.attribute if held.name == "value"), "")
        if depth == _DEPTH or not is_folded(node) or node.op_type == "DequantizeLinear":
            return ""
        labels = node.input if node.op_type == "Concat" else node.input[:1]
        kinds = {self.stored_in(label, depth + 1) for label in labels}
        return kinds.pop() if len(kinds) == 1 else ""

    def _found_integers(self, name: str, depth: int) -> Quantized | None:
        if name in self._tensors:
            return None
        node = self._producers.get(name)
        if node is None:
            outer = None if name in self._inputs else self._outer
            return None if outer is None else outer.integers(name, depth)
        self._look_up(name, node)
        if depth == _DEPTH or not is_folded(node):
            return None
        count = 0 if node.op_type == "DequantizeLinear" else len(node.input) if node.op_type == "Concat" else 1
        found = [self.integers(label, depth + 1) for label in node.input[:count]]
        if any(each is None for each in found) or len({each.values.dtype for each in found if each}) > 1:
            return None
        others = [self.value(label, depth + 1) if label else None for label in node.input[count:]]
        return fold_integers(node, [*found, *others], lambda size: self._source.take(shown(name), size))

    def _made_of_zeros(self, name: str, depth: int) -> bool:
        with contextlib.suppress(NotConstantError, ValueError):
            return not self.value(name, depth).any()
        node = self._producers.get(name)
        if name in self._inputs or node is None:
            return self._outer is not None and name not in self._inputs and self._outer.is_zero(name, depth)
        self._look_up(name, node)
        if depth == _DEPTH or node.domain not in ("", "ai.onnx"):
            return False
        if node.op_type == "ConstantOfShape":
            return all(not self._source.read(attribute.t).any() for attribute in node.attribute)
        if node.op_type == "Concat":
            return all(self.is_zero(label, depth + 1) for label in node.input)
        return node.op_type in _ZERO_AS_FIRST and bool(node.input) and self.is_zero(node.input[0], depth + 1)

    def _find(self, name: str, depth: int) -> Array:
        # Before the inputs, as old files list every initializer as an input too; but a body is given all of its inputs.
        if name in self._tensors and (self._outer is None or name not in self._inputs):
            return self._source.read(self._tensors[name])
        if name in self._sparse:
            raise NotConstantError(f"{shown(name)} is a sparse tensor")
        if name in self._inputs:
            raise NotConstantError(f"{shown(name)} is an input of the {self._inputs_of}")
        if name in self._producers:
            return self._compute(name, self._producers[name], depth)
        if self._outer is None:
            raise NotConstantError(f"nothing makes {shown(name)}")
        return self._outer.value(name, depth)

    def _compute(self, name: str, node: NodeProto, depth: int) -> Array:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            return self._constant(name, node)
        self._look_up(name, node)
        if not is_folded(node):
            raise NotConstantError(f"{shown(name)} is computed by {short(node.op_type, 100)}")
        if depth == _DEPTH:
            raise _TooDeepError(f"{shown(name)} is computed by more than {_DEPTH} nodes in a row")
        inputs = [self.value(label, depth + 1) if label else None for label in node.input]
        try:
            return fold(node, inputs, lambda size: self._source.take(shown(name), size))
        except Exception as error:  # whatever a wrong attribute, shape or name sets off in there
            raise ValueError(f"{shown(name)}, computed by {short(node.op_type, 100)}: {error}") from None

    def _look_up(self, name: str, node: NodeProto) -> None:
        """Count a node's inputs, and its names where they are as long as many: each look makes them anew."""
        letters = len(node.op_type) + sum(map(len, node.input))
        self._source.look_up(name, len(node.input) + letters // 1000)

    def _constant(self, name: str, node: NodeProto) -> Array:
        held = {attribute.name: attribute for attribute in node.attribute}
        for kind, dtype in _PLAIN.items():
            if kind in held:
                return np.asarray(helper.get_attribute_value(held[kind]), dtype)
        if "value" not in held or held["value"].type != AttributeProto.TENSOR:
            raise NotConstantError(f"{shown(name)} is a Constant without a dense tensor of numbers")
        return self._source.read(held["value"].t)
