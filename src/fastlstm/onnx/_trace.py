"""trace: the gates of all LSTM nodes of a model while it runs."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import GraphProto, ModelProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from .. import _weights
from .._lstm import LSTM
from .._model_traces import Traces
from .._trace import MAX_BYTES, GateTrace
from .._types import Array
from . import _load, _semantics
from ._layer import Layer, States, order
from ._node import Node
from ._operators import QUANTIZED_INPUTS
from ._run import layer_of
from ._semantics import Semantics

#: Operators that are fastlstm's while a model is traced, by domain and name.
_OURS: Final = (("", "LSTM"), ("ai.onnx", "LSTM"), ("com.microsoft", "DynamicQuantizeLSTM"))


def trace(
    model: str | os.PathLike[str] | ModelProto,
    inputs: Any,
    *,
    semantics: str | Semantics = "onnx",
    weights: str | None = None,
    every: int = 1,
    units: ArrayLike | None = None,
    max_bytes: int = MAX_BYTES,
) -> Traces:
    """Run a model once, and keep the gates and cells of every step of every LSTM node in it.

    Parameters
    ----------
    model : path or onnx.ModelProto
        As for `load`. It stays as it is.
    inputs : array, sequence or mapping of arrays
        The model's inputs: one array, several in the model's order, or by name.
    semantics, weights
        As for `load`, for each node.
    every, units, max_bytes
        As for `fastlstm.LSTM.trace`, for each call of a node.

    Returns
    -------
    dict of str to list of GateTrace
        By the nodes' names, as `load` has them: one trace for each call, in their order; of a node in the body of a
        Loop one for each round. A node whose directions have other activations has two, under "name/forward" and
        "name/reverse". Nodes that did not run, as in a branch that was not taken, are not in it.

    Raises
    ------
    ValueError
        As for `load`; for a model without LSTM nodes, or none that ran; for inputs that are not the model's; for what
        onnx's own evaluation does not have or cannot compute of them; for a node that is wrong in itself.
    TypeError
        As for `load`, and for an input of another type than the model's.
    MemoryError
        As for `load` and for `fastlstm.LSTM.trace`.

    Notes
    -----
    The LSTM nodes run here: the gates are, to the bit, those of `Node` and `run_node`, also of integers, and what comes
    after a node is made of its output. All else is evaluated by onnx's reference in NumPy, which is slow and does not
    know most of onnxruntime's own operators: trace the model as it was before onnxruntime's optimisations.

    The steps of a node that reads from the end are in the order of reading, as ``trace.times`` tells.

    Examples
    --------
    >>> import numpy as np, fastlstm, fastlstm.onnx
    >>> model = fastlstm.onnx.export(fastlstm.LSTM(4, 3, num_layers=2))
    >>> traces = fastlstm.onnx.trace(model, np.ones((7, 2, 4), np.float32))
    >>> traces["lstm_l1"][0].f.shape  # layers, directions, steps, rows, units
    (1, 1, 7, 2, 3)
    """
    _semantics.checked(semantics)
    _weights.checked_or_auto(weights)
    proto, source = _load._read(model, None, None)
    proto = _prepared(proto)
    found = list(_load._find(proto, source, {}))
    if not found:
        raise ValueError("the model has no LSTM node")
    nodes = [_load._node(each, semantics, 1, weights) for each in found]
    for each, node in zip(found, nodes, strict=True):
        each.proto.name = node.name  # by which the evaluation tells who runs
    if not isinstance(model, ModelProto):
        load_external_data_for_model(proto, os.path.dirname(os.path.abspath(model)))
    feeds = _feeds(proto.graph, inputs)
    session = _Session(nodes, semantics, weights, {"every": every, "units": units, "max_bytes": max_bytes})
    session.evaluate(proto, feeds)
    if not session.made:
        raise ValueError(f"the model ran none of its LSTM nodes: {', '.join(node.name for node in nodes)}")
    return session.made


def _prepared(model: ModelProto) -> ModelProto:
    """Copy a model, and write out what onnx's reference does not read as it is meant.

    It would not enter a loop without a condition, and would take what comes out under no name for each input that is
    left out after it.
    """
    made = ModelProto()
    made.CopyFrom(model)
    count = itertools.count()
    for graph in (made.graph, *made.functions):
        _write_out(graph, count)
    return made


def _write_out(graph: Any, count: Iterator[int]) -> None:
    endless = [node for node in graph.node if node.op_type == "Loop" and list(node.input[1:2]) == [""]]
    for node in graph.node:
        for k, name in enumerate(node.output):
            node.output[k] = name or f"fastlstm: left out {next(count)}"
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                _write_out(body, count)
    if endless:
        condition = f"fastlstm: always {next(count)}"
        for node in endless:
            node.input[1] = condition
        value = numpy_helper.from_array(np.array(True))
        graph.node.insert(0, helper.make_node("Constant", [], [condition], value=value))


def _feeds(graph: GraphProto, inputs: Any) -> dict[str, Array]:
    """Name the inputs, and check that they are the model's."""
    held = {tensor.name for tensor in graph.initializer}
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    needed = [name for name in kinds if name not in held]
    if isinstance(inputs, Mapping):
        given = dict(inputs)
    else:
        several = isinstance(inputs, list | tuple) and all(isinstance(each, np.ndarray) for each in inputs)
        values = list(inputs) if several else [inputs]
        if len(values) != len(needed):
            told = ", ".join(needed) or "none"
            raise ValueError(f"inputs should be {len(needed)} arrays, of {told}, got: {len(values)}")
        given = dict(zip(needed, values, strict=True))
    missing, unknown = ([n for n in needed if n not in given], [n for n in given if n not in needed])
    if missing or unknown:
        wrong = [f"{', '.join(missing)} missing"] if missing else []
        wrong += [f"no input is called {', '.join(map(repr, unknown))}"] if unknown else []
        raise ValueError(f"inputs should be those of the model ({', '.join(needed)}): {'; '.join(wrong)}")
    arrays = {name: np.asarray(value) for name, value in given.items()}
    for name, array in arrays.items():
        wanted = helper.tensor_dtype_to_np_dtype(kinds[name]) if kinds[name] else array.dtype
        if array.dtype != wanted:
            raise TypeError(f"input {name!r} should have dtype {wanted}, got: {array.dtype}")
    return arrays


class _Session:
    """One run of a model, with its LSTM nodes run here."""

    def __init__(
        self, nodes: list[Node], semantics: str | Semantics, weights: str | None, options: dict[str, Any]
    ) -> None:
        self._nodes = {node.name: node for node in nodes}
        self._semantics, self._weights, self._options = semantics, weights, options
        self.made: Traces = {}
        self._refusal: Exception | None = None

    def evaluate(self, model: ModelProto, feeds: dict[str, Array]) -> None:
        """Run the model; ValueError for what onnx's reference cannot compute of it."""
        evaluator = self._evaluator(model)
        try:
            evaluator.run(None, feeds)
        except Exception as error:
            if self._refusal is not None:  # onnx has put a TypeError into one of its own
                raise self._refusal from None
            if isinstance(error, MemoryError):
                raise
            told = f"{type(error).__name__}: {error}"
            raise ValueError(f"onnx's reference cannot evaluate the model with these inputs: {told}") from error

    def _evaluator(self, model: ModelProto) -> Any:
        """Make what evaluates the model; ValueError for operators that it does not have."""
        from onnx.reference import ReferenceEvaluator  # all of its operators: what only loads nodes does without
        from onnx.reference.op_run import OpRun

        session = self

        class Ours(OpRun):  # type: ignore[misc]  # onnx is untyped
            def _run(self, *inputs: Any, **_: Any) -> tuple[Array, ...]:
                return session.run(self.onnx_node, inputs)

        ours = [type(name, (Ours,), {"op_domain": domain}) for domain, name in _OURS]

        class Evaluator(ReferenceEvaluator):  # type: ignore[misc]  # whose functions would have operators of their own
            def __init__(self, proto: Any, **options: Any) -> None:
                super().__init__(proto, **options | {"new_ops": ours})

        try:
            return Evaluator(model)
        except Exception as error:
            raise ValueError(f"the model cannot be evaluated by onnx's reference: {error}") from None

    def run(self, proto: Any, inputs: Sequence[Any]) -> tuple[Array, ...]:
        """Run a node, keep its gates, and return as many outputs as it has."""
        node = self._nodes[proto.name]
        values = dict(zip(QUANTIZED_INPUTS, inputs, strict=False))
        try:
            outputs = self._layer(node, values)(
                values["X"],
                *(values.get(name) for name in ("sequence_lens", "initial_h", "initial_c")),
                run=_Recorder(node, self.made, self._options),
            )
        except (ValueError, TypeError, MemoryError) as error:
            kind = next(kind for kind in (ValueError, TypeError, MemoryError) if isinstance(error, kind))
            self._refusal = kind(f"{node.name} cannot be traced: {error}")
            raise self._refusal from None
        return outputs[: len(proto.output)]

    def _layer(self, node: Node, values: dict[str, Any]) -> Layer:
        """Return a node as it was built, or build it of the weights that the model has computed."""
        if node.reason is None:
            return node._built()
        if node.attributes is None:
            raise ValueError(node.reason)
        given: dict[str, object] = dict.fromkeys(QUANTIZED_INPUTS) | values
        return layer_of(node.proto, given, self._semantics, 1, self._weights)


class _Recorder:
    """Runs the LSTMs of one node, and keeps their gates."""

    def __init__(self, node: Node, made: Traces, options: dict[str, Any]) -> None:
        self._node, self._made, self._options = node, made, options

    def __call__(
        self, lstm: LSTM, x: Array, hx: States | None, lengths: NDArray[np.int64] | None, backwards: bool
    ) -> tuple[Array, States]:
        """Run as `Layer` asks for it."""
        gates: GateTrace[Any] = lstm.trace(x, hx, lengths=lengths, **self._options)
        B, T = x.shape[:2] if lstm.batch_first else x.shape[1::-1]
        if backwards:
            gates._read_in(order(T, np.full(B, T) if lengths is None else lengths))
        name = self._node.name
        attributes = self._node.attributes
        if attributes is not None and attributes.directions > lstm._sizes.D:  # directions with other activations
            name += "/reverse" if backwards else "/forward"
        self._made.setdefault(name, []).append(gates)
        return gates.output.copy(), (gates.h_n.copy(), gates.c_n.copy())
