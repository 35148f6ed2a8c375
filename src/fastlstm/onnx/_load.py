"""A model file to its LSTM nodes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, defs

from . import _attributes, _semantics
from ._constants import NotConstantError, Scope
from ._dtypes import check_element
from ._layer import Layer
from ._node import Node
from ._run import INPUTS, check_operator
from ._semantics import Semantics
from ._weights import Tensors

Array = NDArray[Any]

_FIRST, _LAST = 7, 22  # versions of the operator: before 7 it had other attributes; after 22 nobody knows yet


class _Found(NamedTuple):
    """An LSTM node, where it is, and what it can see."""

    path: str
    proto: NodeProto
    scope: Scope
    opset: int


def load(
    model: str | os.PathLike[str] | ModelProto, *, semantics: str | Semantics = "onnx", threads: int = 1
) -> list[Node]:
    """List every LSTM node of a model, and build those whose weights are constants.

    Parameters
    ----------
    model : path or onnx.ModelProto
        An ONNX file, with the files of its external data beside it; or a model in memory.
    semantics : str or Semantics
        ``"onnx"``, ``"onnxruntime"`` or a `Semantics`: how nodes are read where the two differ.
    threads : int
        As for `fastlstm.LSTM`.

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
        For a file that is not an ONNX model, or a part of one.
    TypeError
        For something that is neither a path nor a model.

    Notes
    -----
    Constants are initializers, Constant nodes, and what Slice, Concat, Unsqueeze, Squeeze, Transpose, Reshape, Cast
    and Identity make of them, as exporters do. No other part of the model is looked at, and nothing in it is run.

    Examples
    --------
    >>> import fastlstm, fastlstm.onnx
    >>> model = fastlstm.onnx.export(fastlstm.LSTM(4, 3, num_layers=2, bidirectional=True))
    >>> fastlstm.onnx.load(model)
    [Node('lstm_l0', 4, 3, bidirectional), Node('lstm_l1', 6, 3, bidirectional)]
    """
    chosen = _semantics.checked(semantics)
    proto, folder = _read(model)
    names: dict[str, int] = {}
    return [_node(found, chosen, threads, names) for found in _find(proto, folder)]


def _read(model: object) -> tuple[ModelProto, str | None]:
    """Return a model, and the folder that its external data is in."""
    if isinstance(model, ModelProto):
        return model, None
    if not isinstance(model, str | os.PathLike):
        raise TypeError(f"model should be a path or an onnx.ModelProto, got: {type(model).__name__}")
    path = os.fspath(model)
    with open(path, "rb") as file:
        content = file.read()
    try:
        proto = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ValueError(f"{path} is not an ONNX file, or not all of one: {error}") from None
    if not proto.HasField("graph") or not proto.opset_import:  # other bytes too can be read as an empty model
        raise ValueError(f"{path} is not an ONNX file, or not all of one: it has no graph")
    return proto, os.path.dirname(os.path.abspath(path))


def _find(model: ModelProto, folder: str | None) -> Iterator[_Found]:
    opset = _opset(model.opset_import)
    scope = Scope(model.graph, list(model.opset_import), folder)
    yield from _walk(model.graph, "", scope, opset)
    for function in model.functions:
        inner = Scope(_as_graph(function), list(function.opset_import), folder)
        yield from _walk(function, f"{function.name}/", inner, _opset(function.opset_import) or opset)


def _opset(imports: Any) -> int:
    return max((entry.version for entry in imports if entry.domain in ("", "ai.onnx")), default=0)


def _as_graph(function: FunctionProto) -> GraphProto:
    """Return a function's body as a graph: its inputs are known to callers only."""
    return GraphProto(node=function.node, input=[onnx.ValueInfoProto(name=name) for name in function.input])


def _walk(graph: GraphProto | FunctionProto, path: str, scope: Scope, opset: int) -> Iterator[_Found]:
    for node in graph.node:
        if node.op_type == "LSTM" and node.domain in ("", "ai.onnx"):
            yield _Found(path, node, scope, opset)
        for attribute in node.attribute:
            inner = f"{path}{node.name or node.op_type}.{attribute.name}/"
            for body in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
                yield from _walk(body, inner, scope.inside(body), opset)


_GRAPHS = (AttributeProto.GRAPH, AttributeProto.GRAPHS)


def _node(found: _Found, semantics: Semantics, threads: int, names: dict[str, int]) -> Node:
    """Build a node, or say why not; what is wrong with one does not keep the others from being built."""
    name = found.path + (found.proto.name or "LSTM")
    names[name] = names.get(name, 0) + 1
    if names[name] > 1:
        name = f"{name}#{names[name]}"
    attributes = None
    try:
        check_operator(found.proto)
        _check_version(found.opset)
        attributes = _attributes.read(found.proto)
        inputs = dict(zip(INPUTS, found.proto.input, strict=False))
        tensors = _tensors(inputs, found.scope)
        layer = Layer(tensors, attributes, semantics, threads)
        built: tuple[_attributes.Attributes, Layer, dict[str, Array]] | str
        built = attributes, layer, _states(inputs, found.scope)
    except (ValueError, TypeError) as error:
        built = str(error)
    return Node(name, found.proto, found.opset, semantics, built, attributes)


def _check_version(opset: int) -> None:
    try:
        version = defs.get_schema("LSTM", opset).since_version
    except defs.SchemaError:
        version = 0
    if not _FIRST <= version <= _LAST:
        raise ValueError(f"opset {opset}: the LSTM operator is known here from opset {_FIRST} to version {_LAST}")


def _tensors(inputs: dict[str, str], scope: Scope) -> Tensors:
    found: dict[str, Array] = {}
    for name in ("W", "R", "B", "P"):
        label = inputs.get(name, "")
        if not label:
            if name in ("W", "R"):
                raise ValueError(f"{name} is missing")
            continue
        try:
            found[name] = scope.value(label)
        except NotConstantError as error:
            raise ValueError(f"{name} is not constant: {error}") from None
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    check_element(found["W"].dtype, "W")
    return Tensors(**found)


def _states(inputs: dict[str, str], scope: Scope) -> dict[str, Array]:
    """Return those of the other inputs that the model holds fixed."""
    found = {}
    for name in ("sequence_lens", "initial_h", "initial_c"):
        if inputs.get(name):
            try:
                found[name] = scope.value(inputs[name])
            except NotConstantError:
                continue  # comes with each call
    return found
