"""What `onnxruntime_` runs: LSTM nodes whose weights are initialisers, which a session packs when it is made.

Gates go from torch's order i, f, g, o to ONNX's i, o, f, g (which the standard calls i, o, f, c).
"""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from bench.works import Array

Weights = dict[str, Array]


def layer(weights: Weights, *, ragged: bool) -> onnx.ModelProto:
    """Make a model of one layer with states: x, h_0, c_0 to y, h_n, c_n."""
    size, hidden = _sizes(weights)
    inputs = [_info("x", "steps", "batch", size), _info("h_0", 1, "batch", hidden), _info("c_0", 1, "batch", hidden)]
    if ragged:
        inputs.append(_info("lengths", "batch", dtype=TensorProto.INT32))
    states = [_info("h_n", 1, "batch", hidden), _info("c_n", 1, "batch", hidden)]
    outputs = [_info("y", "steps", 1, "batch", hidden), *states]
    wired = ["x", "W0", "R0", "B0", "lengths" if ragged else "", "h_0", "c_0"]
    node = helper.make_node("LSTM", wired, ["y", "h_n", "c_n"], hidden_size=hidden)
    return _model([node], inputs, outputs, _initialisers(weights, 0))


def stack(weights: Weights) -> onnx.ModelProto:
    """Make a model of several layers, from zero states, that gives its last answer only: x to h_n."""
    size, hidden = _sizes(weights)
    layers = sum(name.startswith("weight_hh") for name in weights)
    nodes, x = [], "x"
    initialisers = [numpy_helper.from_array(np.array([1]), "directions")] if layers > 1 else []
    for number in range(layers):
        last = number == layers - 1
        outputs = ["", "h_n"] if last else [f"y{number}"]
        wired = [x, f"W{number}", f"R{number}", f"B{number}"]
        nodes.append(helper.make_node("LSTM", wired, outputs, hidden_size=hidden))
        initialisers += _initialisers(weights, number)
        if not last:
            x = f"x{number + 1}"
            nodes.append(helper.make_node("Squeeze", [f"y{number}", "directions"], [x]))
    return _model(nodes, [_info("x", "steps", "batch", size)], [_info("h_n", 1, "batch", hidden)], initialisers)


def bind(session: ort.InferenceSession, inputs: dict[str, Array], outputs: dict[str, Array]) -> ort.IOBinding:
    """Bind arrays once, so that a run copies nothing."""
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    for name, array in outputs.items():
        binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
    return binding


def _sizes(weights: Weights) -> tuple[int, int]:
    return weights["weight_ih_l0"].shape[1], weights["weight_hh_l0"].shape[1]


def _info(name: str, *shape: str | int, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _initialisers(weights: Weights, number: int) -> list[onnx.TensorProto]:
    def iofg(name: str) -> Array:
        return np.concatenate([np.split(weights[f"{name}_l{number}"], 4)[gate] for gate in (0, 3, 1, 2)])

    bias = np.concatenate([iofg("bias_ih"), iofg("bias_hh")])
    packed = {"W": iofg("weight_ih"), "R": iofg("weight_hh"), "B": bias}
    return [numpy_helper.from_array(array[None], f"{name}{number}") for name, array in packed.items()]


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    initialisers: list[onnx.TensorProto],
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
