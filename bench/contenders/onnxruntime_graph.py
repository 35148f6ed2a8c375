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


def stack(weights: Weights, *, last: bool = False) -> onnx.ModelProto:
    """Make a model of several layers in one or both directions, from zero states: x to y, or to the last h_n only."""
    size, hidden = _sizes(weights)
    ways = 2 if "weight_hh_l0_reverse" in weights else 1
    layers = sum(name.startswith("weight_hh") for name in weights) // ways
    options = {"hidden_size": hidden, "direction": "forward" if ways == 1 else "bidirectional"}
    nodes, initialisers, x = [], [], "x"
    for number in range(layers):
        top = number == layers - 1
        outputs = [f"y{number}"] if not top else ["", "h_n"] if last else ["y"]
        nodes.append(helper.make_node("LSTM", [x, *(f"{name}{number}" for name in "WRB")], outputs, **options))
        initialisers += _initialisers(weights, number)
        if not top:
            x = f"x{number + 1}"
            nodes += _joined(f"y{number}", x, ways)
    if layers > 1:
        # 0: as it is, -1: all the rest
        initialisers.append(numpy_helper.from_array(np.array([1] if ways == 1 else [0, 0, -1]), "joining"))
    answer = _info("h_n", ways, "batch", hidden) if last else _info("y", "steps", ways, "batch", hidden)
    return _model(nodes, [_info("x", "steps", "batch", size)], [answer], initialisers)


def _joined(y: str, x: str, ways: int) -> list[onnx.NodeProto]:
    """Turn a layer's output (steps, ways, batch, hidden) into the next one's input."""
    if ways == 1:
        return [helper.make_node("Squeeze", [y, "joining"], [x])]
    side_by_side = helper.make_node("Transpose", [y], [f"{y} by rows"], perm=[0, 2, 1, 3])
    return [side_by_side, helper.make_node("Reshape", [f"{y} by rows", "joining"], [x])]


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
    suffixes = [s for s in (f"_l{number}", f"_l{number}_reverse") if f"weight_hh{s}" in weights]

    def iofg(name: str) -> Array:
        gates = (np.split(weights[f"{name}{suffix}"], 4) for suffix in suffixes)
        return np.stack([np.concatenate([i, o, f, g]) for i, f, g, o in gates])

    bias = np.concatenate([iofg("bias_ih"), iofg("bias_hh")], axis=1)
    packed = {"W": iofg("weight_ih"), "R": iofg("weight_hh"), "B": bias}
    return [numpy_helper.from_array(array, f"{name}{number}") for name, array in packed.items()]


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    initialisers: list[onnx.TensorProto],
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
