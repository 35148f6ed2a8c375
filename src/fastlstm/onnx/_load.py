"""A model file to its LSTM nodes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, defs

from .. import _checks, _weights
from .._types import Array
from ..files._budget import Budget
from ..files._layer import short
from . import _attributes, _semantics
from ._attributes import Attributes
from ._constants import NotConstantError, Scope
from ._dtypes import check_element
from ._layer import Layer, check_states
from ._node import Node, States
from ._operators import INPUTS, QUANTIZED_INPUTS, STATES, check_operator, inputs_of, is_lstm, is_quantized
from ._quantized import Quantized, in_rows, quantized_weights
from ._semantics import Semantics
from ._tensors import Source, regular
from ._weights import WEIGHTS_KEY, Tensors, check, takes_integers
from ._wire import weight

_LARGEST: Final = 2**31  # bytes; protobuf, which the files are written in, has no larger messages
_RECORD: Final = 2048  # bytes that a node takes beside its weights: names, a reason
_LAYER: Final = 4096  # ... and once it is built
_GRAPHS: Final = (AttributeProto.GRAPH, AttributeProto.GRAPHS)
_FIRST, _LAST = 7, 22  # versions of the operator: before 7 it had other attributes; after 22 nobody knows yet


class Found:
    """An LSTM node, where it is, and what it can see."""

    def __init__(self, name: str, proto: NodeProto, scope: Scope, opset: int, told: str) -> None:
        self.name, self.proto, self.opset = name, proto, opset
        self._scope, self._told = scope, told
        self._inputs = inputs_of(proto)

    def read(self, integers: bool) -> tuple[Attributes, Tensors, States]:
        """Read all of the node, checked; ValueError, TypeError or MemoryError says why it cannot be.

        With `integers` matrices that the model has as such stay as they are.
        """
        attributes = self.attributes()
        tensors = self.tensors(attributes, integers)
        check(tensors, attributes)
        states = self.states(attributes, tensors)
        self._scope.forget()
        return attributes, tensors, states

    def attributes(self) -> Attributes:
        """Read the attributes; ValueError where they, or the node itself, are wrong."""
        check_operator(self.proto)
        if not is_quantized(self.proto):
            _check_version(self.opset)
        return _attributes.read(self.proto, self.opset)

    def tensors(self, attributes: Attributes, integers: bool) -> Tensors:
        """Read the weights; ValueError or TypeError says why there are none."""
        matrices: Mapping[str, Array | Quantized] | None = None
        if is_quantized(self.proto):
            matrices = self._quantized(attributes, integers)
        elif integers:
            matrices = self._before_dequantizing()
        matrices = matrices or {name: self._needed(name) for name in ("W", "R")}
        check_element(matrices["W"].dtype, "W")
        vectors = {name: self._constant(name) for name in ("B", "P") if self._inputs[name]}
        return Tensors(matrices["W"], matrices["R"], **vectors)

    def _quantized(self, attributes: Attributes, integers: bool) -> Mapping[str, Array | Quantized]:
        """Read W and R of a DynamicQuantizeLSTM."""
        given = {name: self._needed(name) for name in ("W", "R")}
        given |= {name: self._needed(name) for name in QUANTIZED_INPUTS if name not in INPUTS}
        made = quantized_weights(given, attributes)
        if integers and (rows := in_rows(made)):
            return rows
        self.budget.keep("W and R", 4 * sum(each.values.size for each in made.values()))
        return {name: each.array() for name, each in made.items()}

    def _before_dequantizing(self) -> Mapping[str, Quantized] | None:
        """Read W and R of an LSTM as the integers that the model has them in; None if it has other ones."""
        before = self.budget.taken
        found: dict[str, Quantized] = {}
        with contextlib.suppress(MemoryError):
            for name in ("W", "R"):
                each = self._scope.integers(self._inputs[name]) if self._inputs[name] else None
                if each is None:
                    break
                found[name] = each
            if len(found) == 2 and (rows := in_rows(found)):
                return rows
        self._scope.forget()
        self.budget.taken = before
        return None

    def stored_in(self) -> str:
        """Name the type of fewer bytes that the model has the matrices in, or says that they are of; empty for none."""
        kinds = {self._scope.stored_in(self._inputs[name]) for name in ("W", "R")}
        return (kinds.pop() if len(kinds) == 1 else "") or self._told

    def states(self, attributes: Attributes, tensors: Tensors) -> States:
        """Tell what the model does about the initial state and the lengths."""
        constants, computed = {}, {}
        for name in STATES:
            label = self._inputs[name]
            if not label:
                continue
            try:
                constants[name] = self._scope.value(label)
            except NotConstantError as error:
                if name == "sequence_lens" or not self._scope.is_zero(label):
                    computed[name] = str(error)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        check_states(constants, attributes, tensors.W.dtype, tensors.R.shape[2])
        zeros = [name for name, array in constants.items() if name != "sequence_lens" and not array.any()]
        for name in zeros:  # as without: B is free then
            del constants[name]
        self.budget.keep("the model's states", sum(array.nbytes for array in constants.values()))
        return States({name: np.array(array) for name, array in constants.items()}, computed)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Give back at the end of the block what was read in it."""
        before = self.budget.taken
        try:
            yield
        finally:
            self._scope.forget()
            self.budget.taken = before

    @property
    def budget(self) -> Budget:
        """The budget of the model's file."""
        return self._scope.budget

    def _needed(self, name: str) -> Array:
        if not self._inputs[name]:
            raise ValueError(f"{name} is missing")
        return self._constant(name)

    def _constant(self, name: str) -> Array:
        try:
            return self._scope.value(self._inputs[name])
        except NotConstantError as error:
            raise ValueError(f"{name} is not constant: {error}") from None
        except (ValueError, MemoryError) as error:
            raise ValueError(f"{name}: {error}") from None


def load(
    model: str | os.PathLike[str] | ModelProto,
    *,
    semantics: str | Semantics = "onnx",
    threads: int = 1,
    max_bytes: int | None = None,
    weights: str | None = None,
) -> list[Node]:
    """List every LSTM node of a model, and build those whose weights are constants.

    Parameters
    ----------
    model : path or onnx.ModelProto
        An ONNX file, with the files of its external data beside it; or a model in memory.
    semantics : str or Semantics
        ``"onnx"``, ``"onnxruntime"`` or a `Semantics`: how nodes are read where the two differ. DynamicQuantizeLSTM,
        an operator of onnxruntime's own, is read in its way by default.
    threads : int
        As for `fastlstm.LSTM`.
    max_bytes : int, optional
        What reading the model may take of memory, instead of 64 MiB and 4 times the size of its files (numbers that
        take less than 4 bytes there beside that). For models that you trust.
    weights : str, optional
        As for `fastlstm.LSTM`: what to store the matrices of float32 nodes, and of the 16-bit types, in. By default
        float32, but for matrices that the model has as integers of at most 8 bits with a scale for each row or for all:
        they stay such integers, as with ``"int8"``; ``"float32"`` dequantises them. ``"auto"``: all as the model has
        them, in 16 bits or as its metadata say, too, where nothing is lost by it. A node whose weights do not fit is
        not built.

    Returns
    -------
    list of Node
        In the model's order, those in the subgraphs of If, Loop and Scan and in functions too. A node whose weights
        are not constants, or that is wrong in itself, has its `reason` and is not built.

    Raises
    ------
    FileNotFoundError
        For a path where nothing is.
    ValueError
        For a file that is not an ONNX model, or a part of one; for a pipe or a device; for unknown `weights`.
    MemoryError
        For a model whose parts alone, without the weights, would take more than they may.
    TypeError
        For something that is neither a path nor a model.

    Notes
    -----
    Constants are initializers, Constant nodes, and what Slice, Concat, Unsqueeze, Squeeze, Transpose, Reshape, Cast,
    Identity, QuantizeLinear and DequantizeLinear make of them, as exporters do. An initializer that is an input too, as
    old files have it, counts as constant. No other part of the model is looked at, and nothing in it is run.

    Integers are multiplied as they are, with inputs and states that are rounded to 16 bits, row by row and step by step
    (docs/precision.md), not to 8 as in onnxruntime. Integers of more bits, or with scales of blocks or columns, and
    those of one matrix alone are dequantised: float32 weights are what numbers and scales say, rounded once.

    Examples
    --------
    >>> import fastlstm, fastlstm.onnx
    >>> model = fastlstm.onnx.export(fastlstm.LSTM(4, 3, num_layers=2, bidirectional=True))
    >>> fastlstm.onnx.load(model)
    [Node('lstm_l0', 4, 3, bidirectional), Node('lstm_l1', 6, 3, bidirectional)]
    """
    _semantics.checked(semantics)
    max_bytes = None if max_bytes is None else _checks.size(max_bytes, "max_bytes")
    _weights.checked_or_auto(weights)
    return [_node(found, semantics, threads, weights) for found in find(model, max_bytes)]


def find(model: object, max_bytes: int | None = None, budget: Budget | None = None) -> list[Found]:
    """List the LSTM nodes of a model, without reading their weights."""
    proto, source = _read(model, max_bytes, budget)
    names: dict[str, int] = {}
    return list(_find(proto, source, names))


def _read(model: object, max_bytes: int | None, budget: Budget | None) -> tuple[ModelProto, Source]:
    """Return a model, and what reads its tensors."""
    if isinstance(model, ModelProto):
        return model, Source(None, Budget(model.ByteSize(), max_bytes))
    if not isinstance(model, str | os.PathLike):
        raise TypeError(f"model should be a path or an onnx.ModelProto, got: {type(model).__name__}")
    path = os.fspath(model)
    with regular(path) as (file, size):
        if size >= _LARGEST:
            raise ValueError(f"{path} has {size} bytes; an ONNX file has less than {_LARGEST}")
        budget = budget or Budget(size, max_bytes)
        budget.keep("the model", size)
        with budget.hold("the file", size):
            content = file.read(size)
            try:
                budget.keep("the parts of the model", weight(content, budget.limit - budget.taken))
                proto = onnx.load_model_from_string(content)
            except MemoryError:
                raise
            except Exception as error:  # the parser has no class of its own in onnx
                raise ValueError(f"{path} is not an ONNX file, or not all of one: {error}") from None
    if not proto.HasField("graph") or not proto.opset_import:  # other bytes too can be read as an empty model
        raise ValueError(f"{path} is not an ONNX file, or not all of one: it has no graph, or no opset")
    return proto, Source(os.path.dirname(os.path.abspath(path)), budget)


def _find(model: ModelProto, source: Source, names: dict[str, int]) -> Iterator[Found]:
    opset = _opset(model.opset_import)
    told = next((each.value for each in model.metadata_props if each.key == WEIGHTS_KEY), "")
    told = told if told in _weights.names() else ""
    yield from _walk(model.graph, "", Scope(model.graph, source), opset, names, told)
    for function in model.functions:
        inner = Scope(_as_graph(function), source, inputs_of="function")
        own = _opset(function.opset_import) or opset
        yield from _walk(function, f"{function.name}/", inner, own, names, told)


def _opset(imports: Any) -> int:
    return max((entry.version for entry in imports if entry.domain in ("", "ai.onnx")), default=0)


def _as_graph(function: FunctionProto) -> GraphProto:
    """Return a function's body as a graph: its inputs are known to callers only."""
    return GraphProto(node=function.node, input=[onnx.ValueInfoProto(name=name) for name in function.input])


def _walk(
    graph: GraphProto | FunctionProto, path: str, scope: Scope, opset: int, names: dict[str, int], told: str
) -> Iterator[Found]:
    for node in graph.node:
        if is_lstm(node):
            name = _unique(f"{path}{node.name or 'LSTM'}", names)
            scope.budget.keep("what is said of the model's nodes", _RECORD + sys.getsizeof(name))
            yield Found(name, node, scope, opset, told)
        for attribute in (each for each in node.attribute if each.type in _GRAPHS):
            inner = f"{path}{node.name or node.op_type}.{attribute.name}/"
            for body in (attribute.g, *attribute.graphs):
                yield from _walk(body, inner, scope.inside(body), opset, names, told)


def _unique(name: str, names: dict[str, int]) -> str:
    unique = name
    while unique in names:  # a node may be called as another would be
        names[name] += 1
        unique = f"{name}#{names[name]}"
    names[unique] = 1
    return unique


def _node(found: Found, semantics: str | Semantics, threads: int, weights: str | None) -> Node:
    """Build a node, or say why not; what is wrong with one does not keep the others from being built."""
    chosen = _semantics.of_node(semantics, found.proto)
    attributes: Attributes | None = None
    built: tuple[Layer, States] | str
    with found.reading():
        try:
            attributes = found.attributes()
            _, tensors, states = found.read(takes_integers(weights))
            kept = _LAYER + tensors.nbytes + states.nbytes
            found.budget.keep(f"the layer of {found.name}", kept)
            kind = _weights.checked_or_auto(weights)
            built = Layer(tensors, attributes, chosen, threads, kind, found.stored_in()), states
        except (ValueError, TypeError, MemoryError) as error:
            built = short(str(error))
    if not isinstance(built, str):
        found.budget.keep(f"the layer of {found.name}", kept)
    return Node(found.name, found.proto, found.opset, chosen, attributes, built)


def _check_version(opset: int) -> None:
    try:
        version = defs.get_schema("LSTM", opset).since_version
    except defs.SchemaError:
        version = 0
    if not _FIRST <= version <= _LAST:
        raise ValueError(f"opset {opset}: the LSTM operator is known here from opset {_FIRST} to version {_LAST}")
