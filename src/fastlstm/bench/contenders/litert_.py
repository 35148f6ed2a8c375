"""LiteRT, which was TensorFlow Lite: its operation for a layer of whole sequences, in a model that is written here.

States are variables of the model; a call goes on from the last one's, which costs the same as to begin from zeros.
Inputs are written into the model's own memory, once.
"""

import os
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import ai_edge_litert
import flatbuffers
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from fastlstm.bench.contenders import NO_AVX512, Answer, Loop, untold
from fastlstm.bench.works import Array, Data, Work

label = "litert"

if NO_AVX512:
    raise ImportError("litert cannot be told to do without AVX-512")

NONE = -1  # in place of a tensor that an operation does without
NAMES = ("weight_ih", "weight_hh", "bias")


def version() -> str:
    """Say what is measured."""
    return f"{ai_edge_litert.__version__} ({untold()})"


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a sequence through layers and directions, or a step whose states stay in the model."""
    if work.kind not in {"sequence", "step_cell"}:
        raise NotImplementedError(f"no {work.kind}")
    steps = 1 if work.kind == "step_cell" else work.case.T
    model = Interpreter(model_content=_Model(work, data, steps).packed(), num_threads=work.threads)
    model.allocate_tensors()
    (source,), (target,) = model.get_input_details(), model.get_output_details()
    x, y = model.tensor(source["index"]), model.tensor(target["index"])
    x()[:] = data.x[:steps]
    invoke = model.invoke

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            invoke()

    def answer() -> Array:
        model.reset_all_variables()
        outputs = []
        for t in range(0, len(data.x), steps):
            x()[:] = data.x[t : t + steps]
            invoke()
            outputs.append(y().copy())
        return np.concatenate(outputs)

    return loop, answer


class _Model:
    """What a file of LiteRT's has in it: tensors, the buffers of those that are constants, operations."""

    def __init__(self, work: Work, data: Data, steps: int) -> None:
        self._tensors: list[Any] = []
        self._buffers: list[Any] = [schema.BufferT()]  # the first one is empty: of all that are no constants
        self._operators: list[Any] = []
        self._codes: list[Any] = []
        case = work.case
        self._sizes = steps, case.B, case.H
        self._first = x = self._tensor((steps, case.B, case.I))
        for suffixes in case.suffixes:
            x = self._layer(x, data, suffixes)
        self._last = x

    def _tensor(self, shape: Sequence[int], *, variable: bool = False, buffer: int = 0, type_: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer, tensor.isVariable = list(shape), type_, buffer, variable
        tensor.name = f"t{len(self._tensors)}".encode()
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _constant(self, array: Array) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        self._buffers.append(buffer)
        type_ = schema.TensorType.FLOAT32 if array.dtype == np.float32 else schema.TensorType.INT32
        return self._tensor(array.shape, buffer=len(self._buffers) - 1, type_=type_)

    def _run(self, name: str, inputs: Sequence[int], shape: Sequence[int], options: Any, kind: str) -> int:
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version = 1
        operator, output = schema.OperatorT(), self._tensor(shape)
        operator.opcodeIndex, operator.inputs, operator.outputs = len(self._codes), list(inputs), [output]
        operator.builtinOptions, operator.builtinOptionsType = options, getattr(schema.BuiltinOptions, kind)
        self._codes.append(code)
        self._operators.append(operator)
        return output

    def _layer(self, x: int, data: Data, suffixes: Sequence[str]) -> int:
        steps, batch, hidden = self._sizes
        outputs = [self._way(x, data, suffixes[0])]
        if len(suffixes) == 1:
            return outputs[0]
        axis = self._constant(np.zeros(1, np.int32))

        def reverse(tensor: int) -> int:
            shape = self._tensors[tensor].shape
            return self._run("REVERSE_V2", [tensor, axis], shape, schema.ReverseV2OptionsT(), "ReverseV2Options")

        outputs.append(reverse(self._way(reverse(x), data, suffixes[1])))
        options = schema.ConcatenationOptionsT()
        options.axis = 2
        return self._run("CONCATENATION", outputs, (steps, batch, 2 * hidden), options, "ConcatenationOptions")

    def _way(self, x: int, data: Data, suffix: str) -> int:
        """Add a layer in one direction; gates go i, f, g, o, as torch's do."""
        steps, batch, hidden = self._sizes
        bias = data.weights[f"bias_ih{suffix}"] + data.weights[f"bias_hh{suffix}"]
        arrays = data.weights | {f"bias{suffix}": bias}
        w, u, b = ([self._constant(gate) for gate in np.split(arrays[f"{name}{suffix}"], 4)] for name in NAMES)
        states = [self._tensor((batch, hidden), variable=True) for _ in "hc"]
        peepholes, projection, norms = [NONE] * 3, [NONE] * 2, [NONE] * 4
        options = schema.UnidirectionalSequenceLSTMOptionsT()
        options.timeMajor, options.fusedActivationFunction = True, schema.ActivationFunctionType.TANH
        return self._run(
            "UNIDIRECTIONAL_SEQUENCE_LSTM",
            [x, *w, *u, *peepholes, *b, *projection, *states, *norms],
            (steps, batch, hidden),
            options,
            "UnidirectionalSequenceLSTMOptions",
        )

    def packed(self) -> bytes:
        """Write it."""
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = (
            self._tensors,
            self._operators,
            [self._first],
            [self._last],
        )
        model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, self._codes, [graph], self._buffers
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
