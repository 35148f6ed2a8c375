"""Who computes the two LSTM layers: each engine is a function from the window to both layers' outputs.

The rivals get the same weights and the same arrays, one thread, and their work is prepared before the clock runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

import fastlstm
from fastlstm import reference

from .model import Engine, Inputs
from .weights import Floats, StateDict, Weights


def fastlstm_engine(weights: Weights) -> Engine:
    """Use two fastlstm layers, each called once for a window; the first one from a table of all characters."""
    first, second = (_fastlstm_layer(state_dict) for state_dict in (weights.lstm_1, weights.lstm_2))
    table = first.table(weights.embedding)

    def run(inputs: Inputs) -> tuple[Floats, Floats]:
        h1, _ = first(inputs[0], table=table)
        h2, _ = second(h1)
        return h1, h2

    return run


def fastlstm_without_table_engine(weights: Weights) -> Engine:
    """Use the same layers on what the characters stand for."""
    first, second = (_fastlstm_layer(state_dict) for state_dict in (weights.lstm_1, weights.lstm_2))

    def run(inputs: Inputs) -> tuple[Floats, Floats]:
        h1, _ = first(inputs[1])
        h2, _ = second(h1)
        return h1, h2

    return run


def table_bytes(weights: Weights) -> int:
    """Tell how many bytes the table of the first layer takes."""
    return _fastlstm_layer(weights.lstm_1).table_nbytes(len(weights.embedding))


def fastlstm_stream_engine(weights: Weights) -> Engine:
    """Feed the same layers one character at a time, as a service would that sees its input come in."""
    layers = [_fastlstm_layer(state_dict) for state_dict in (weights.lstm_1, weights.lstm_2)]
    first, second = layers[0].stream(table=layers[0].table(weights.embedding)), layers[1].stream()
    sizes = [state_dict["weight_hh_l0"].shape[1] for state_dict in (weights.lstm_1, weights.lstm_2)]

    def run(inputs: Inputs) -> tuple[Floats, Floats]:
        rows = inputs[0].T.tolist()
        h1, h2 = (np.empty((*inputs[0].shape, size), np.float32) for size in sizes)
        for row, characters in enumerate(rows):  # one sequence after another: a stream of batch size 1
            first.reset()
            second.reset()
            for t, character in enumerate(characters):
                first.step(character, out=h1[t, row])
                second.step(h1[t, row], out=h2[t, row])
        return h1, h2

    return run


def _fastlstm_layer(state_dict: StateDict) -> fastlstm.LSTM:
    layer = fastlstm.LSTM(state_dict["weight_ih_l0"].shape[1], state_dict["weight_hh_l0"].shape[1])
    layer.load_state_dict(state_dict)
    return layer


def numpy_engine(weights: Weights, dtype: type[np.floating[Any]] = np.float32) -> Engine:
    """Use the readable reference, in float32 as a baseline for time or in float64 as the judge of all others."""
    first, second = (
        {name: array.astype(dtype) for name, array in state_dict.items()}
        for state_dict in (weights.lstm_1, weights.lstm_2)
    )

    def run(inputs: Inputs) -> tuple[Floats, Floats]:
        h1, _ = reference.lstm_forward(inputs[1].astype(dtype), None, first, num_layers=1)
        h2, _ = reference.lstm_forward(h1, None, second, num_layers=1)
        return h1.astype(dtype), h2.astype(dtype)

    return run


def torch_engine(weights: Weights) -> Engine:
    """Use torch.nn.LSTM on one thread; raise ImportError where torch is not installed."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    layers = []
    for state_dict in (weights.lstm_1, weights.lstm_2):
        layer = torch.nn.LSTM(state_dict["weight_ih_l0"].shape[1], state_dict["weight_hh_l0"].shape[1])
        layer.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state_dict.items()})
        layers.append(layer.eval())

    def run(inputs: Inputs) -> tuple[Floats, Floats]:
        with torch.inference_mode():
            h1, _ = layers[0](torch.from_numpy(inputs[1]))
            h2, _ = layers[1](h1)
        return h1.numpy(), h2.numpy()

    return run


def onnxruntime_engine(weights: Weights) -> Engine:
    """Use ONNX Runtime on one thread; raise ImportError without it, or without onnx, which writes its graph."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    onnx: Any = importlib.import_module("onnx")
    make, from_array = onnx.helper, onnx.numpy_helper.from_array
    nodes, constants = [], []
    for number, state_dict in ((1, weights.lstm_1), (2, weights.lstm_2)):
        w, u, b, c = (
            _onnx_gates(state_dict[name]) for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        )
        constants += [
            from_array(w[None], f"W{number}"),
            from_array(u[None], f"R{number}"),
            from_array(np.concatenate([b, c])[None], f"B{number}"),
            from_array(np.array([1], np.int64), f"axis{number}"),
        ]
        nodes += [
            make.make_node(
                "LSTM",
                [f"h{number - 1}", f"W{number}", f"R{number}", f"B{number}"],
                [f"Y{number}"],
                hidden_size=u.shape[1],
            ),
            # Y is [T, D, B, H]: the axis of the directions goes
            make.make_node("Squeeze", [f"Y{number}", f"axis{number}"], [f"h{number}"]),
        ]
    single = onnx.TensorProto.FLOAT
    graph = make.make_graph(
        nodes,
        "two_lstm_layers",
        [make.make_tensor_value_info("h0", single, ["T", "B", weights.embedding.shape[1]])],
        [make.make_tensor_value_info(name, single, None) for name in ("h1", "h2")],
        constants,
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 14)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(inputs: Inputs) -> tuple[Floats, Floats]:
        h1, h2 = session.run(["h1", "h2"], {"h0": inputs[1]})
        return h1, h2

    return run


def _onnx_gates(array: Floats) -> Floats:
    """Restack the gates i, f, g, o as ONNX has them: i, o, f, g."""
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, o, f, g])


ENGINES: dict[str, Callable[[Weights], Engine]] = {
    "fastlstm": fastlstm_engine,
    "fastlstm, no table": fastlstm_without_table_engine,
    "fastlstm.Stream": fastlstm_stream_engine,
    "NumPy reference": numpy_engine,
    "torch": torch_engine,
    "onnxruntime": onnxruntime_engine,
}

RIVALS = ("torch", "onnxruntime")
