"""ONNX Runtime: one LSTM node, inputs and outputs bound once to arrays (IO binding), so that a run copies nothing.

The weights are initialisers: the session packs them when it is made. Gates go from torch's order i, f, g, o to ONNX's
i, o, f, g (which the standard calls i, o, f, c).
"""

from itertools import cycle, islice, repeat

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from bench.contenders import Answer, Loop
from bench.works import Array, Data, Work

label = "onnxruntime"


def version() -> str:
    """Say what is measured.

    Returns
    -------
    str
        The version.
    """
    return str(ort.__version__)


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a work: a sequence, with or without lengths, or a step as a sequence of one.

    Parameters
    ----------
    work : Work
        What to run.
    data : Data
        Its arrays.

    Returns
    -------
    (loop, answer)
        As `bench.contenders` describes.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = work.threads
    options.inter_op_num_threads = 1
    model = _model(data.weights, ragged=work.kind == "lengths").SerializeToString()
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return _step(session, data) if work.kind.startswith("step") else _sequence(session, work, data)


def _model(weights: dict[str, Array], *, ragged: bool) -> onnx.ModelProto:
    def iofg(array: Array) -> Array:
        return np.concatenate([np.split(array, 4)[gate] for gate in (0, 3, 1, 2)])

    def info(name: str, *shape: str | int, dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, dtype, shape)

    hidden, size = weights["weight_hh_l0"].shape[1], weights["weight_ih_l0"].shape[1]
    bias = np.concatenate([iofg(weights["bias_ih_l0"]), iofg(weights["bias_hh_l0"])])
    packed = {"W": iofg(weights["weight_ih_l0"]), "R": iofg(weights["weight_hh_l0"]), "B": bias}
    inputs = [info("x", "steps", "batch", size), info("h_0", 1, "batch", hidden), info("c_0", 1, "batch", hidden)]
    if ragged:
        inputs.append(info("lengths", "batch", dtype=TensorProto.INT32))
    outputs = [info("y", "steps", 1, "batch", hidden), info("h_n", 1, "batch", hidden), info("c_n", 1, "batch", hidden)]
    wired = ["x", "W", "R", "B", "lengths" if ragged else "", "h_0", "c_0"]
    node = helper.make_node("LSTM", wired, ["y", "h_n", "c_n"], hidden_size=hidden)
    initialisers = [numpy_helper.from_array(array[None], name) for name, array in packed.items()]
    graph = helper.make_graph([node], "lstm", inputs, outputs, initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _bind(session: ort.InferenceSession, inputs: dict[str, Array], outputs: dict[str, Array]) -> ort.IOBinding:
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    for name, array in outputs.items():
        binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_numpy(array))
    return binding


def _sequence(session: ort.InferenceSession, work: Work, data: Data) -> tuple[Loop, Answer]:
    steps, batch, hidden = work.case.T, work.case.B, work.case.H
    h_0, c_0, h_n, c_n = np.zeros((4, 1, batch, hidden), np.float32)
    y = np.empty((steps, 1, batch, hidden), np.float32)
    inputs = {"x": data.x, "h_0": h_0, "c_0": c_0}
    if work.kind == "lengths":
        inputs["lengths"] = data.lengths.astype(np.int32)
    binding = _bind(session, inputs, {"y": y, "h_n": h_n, "c_n": c_n})
    run = session.run_with_iobinding

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            run(binding)

    def answer() -> Array:
        run(binding)
        return y[:, 0]

    return loop, answer


def _step(session: ort.InferenceSession, data: Data) -> tuple[Loop, Answer]:
    hidden = data.weights["weight_hh_l0"].shape[1]
    x, y = data.x[:1].copy(), np.empty((1, 1, 1, hidden), np.float32)
    here, there = np.zeros((2, 2, 1, 1, hidden), np.float32)
    # Two bindings in turn: what one writes as its new state, the other reads as its old one.
    to_and_fro = [
        _bind(session, {"x": x, "h_0": old[0], "c_0": old[1]}, {"y": y, "h_n": new[0], "c_n": new[1]})
        for old, new in ((here, there), (there, here))
    ]
    run = session.run_with_iobinding

    def loop(n: int) -> None:
        for binding in islice(cycle(to_and_fro), n):
            run(binding)

    def answer() -> Array:
        here[:] = 0
        outputs = []
        for x[0], binding in zip(data.x, cycle(to_and_fro), strict=False):
            run(binding)
            outputs.append(y[0, 0].copy())
        return np.stack(outputs)

    return loop, answer
