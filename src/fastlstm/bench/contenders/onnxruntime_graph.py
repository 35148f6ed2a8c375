"""What `onnxruntime_` runs: LSTM nodes whose weights are initialisers, which a session packs when it is made.

Gates go from torch's order i, f, g, o to ONNX's i, o, f, g (which the standard calls i, o, f, c).
"""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from fastlstm.bench.works import Array

Weights = dict[str, Array]


def layer(weights: Weights, *, ragged: bool) -> onnx.ModelProto:
    """Make a model of one layer with states: x, h_0, c_0 to y, h_n, c_n."""
    size, hidden = _sizes(weights)
    inputs, outputs = _with_states(size, hidden)
    if ragged:
        inputs.append(_info("lengths", "batch", dtype=TensorProto.INT32))
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


def products(weights: Weights) -> onnx.ModelProto:
    """Make a model of one layer with states as `layer` does, of MatMul and a Scan over the steps."""
    size, hidden = _sizes(weights)
    make = helper.make_node
    step = [
        make("MatMul", ["h", "U"], ["hU"]),
        make("Add", ["xW_t", "hU"], ["z"]),
        make("Split", ["z"], ["zi", "zf", "zg", "zo"], axis=-1, num_outputs=4),
        *(make("Sigmoid", [f"z{gate}"], [gate]) for gate in "ifo"),
        make("Tanh", ["zg"], ["g"]),
        make("Mul", ["f", "c"], ["fc"]),
        make("Mul", ["i", "g"], ["ig"]),
        make("Add", ["fc", "ig"], ["c_t"]),
        make("Tanh", ["c_t"], ["tanh_c"]),
        make("Mul", ["o", "tanh_c"], ["h_t"]),
        make("Identity", ["h_t"], ["y_t"]),
    ]
    states = [_info(name, "batch", hidden) for name in ("h", "c", "h_t", "c_t", "y_t")]
    body = helper.make_graph(step, "step", [*states[:2], _info("xW_t", "batch", 4 * hidden)], states[2:])
    nodes = [
        make("MatMul", ["x", "W"], ["xW_"]),
        make("Add", ["xW_", "b"], ["xW"]),
        *(make("Squeeze", [f"{state}_0", "first"], [f"{state}_first"]) for state in "hc"),
        make("Scan", ["h_first", "c_first", "xW"], ["h_last", "c_last", "ys"], body=body, num_scan_inputs=1),
        *(make("Unsqueeze", [f"{state}_last", "first"], [f"{state}_n"]) for state in "hc"),
        make("Unsqueeze", ["ys", "second"], ["y"]),
    ]
    named = {"W": weights["weight_ih_l0"].T, "U": weights["weight_hh_l0"].T}
    named |= {"b": weights["bias_ih_l0"] + weights["bias_hh_l0"], "first": np.array([0]), "second": np.array([1])}
    constants = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in named.items()]
    return _model(nodes, *_with_states(size, hidden), constants)


def quantised(model: onnx.ModelProto, operator: str) -> onnx.ModelProto:
    """Quantise a model with ONNX Runtime's own tool, as its documentation has it, a scale for each unit and gate."""
    from onnxruntime.quantization import quantize_dynamic

    logging.disable(logging.WARNING)  # that a model might be optimised first: there is nothing in it to optimise
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        onnx.save(model, source)
        options = {"EnableSubgraph": True}
        quantize_dynamic(source, target, op_types_to_quantize=[operator], per_channel=True, extra_options=options)
        made = onnx.load(target)
    if operator in _operators(made.graph):
        raise RuntimeError(f"quantize_dynamic has left {operator} as it was")
    return made


def _operators(graph: onnx.GraphProto) -> set[str]:
    inside = (attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g"))
    return {node.op_type for node in graph.node}.union(*map(_operators, inside))


def _with_states(size: int, hidden: int) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    h_0, c_0, h_n, c_n = (_info(name, 1, "batch", hidden) for name in ("h_0", "c_0", "h_n", "c_n"))
    return [_info("x", "steps", "batch", size), h_0, c_0], [_info("y", "steps", 1, "batch", hidden), h_n, c_n]


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
