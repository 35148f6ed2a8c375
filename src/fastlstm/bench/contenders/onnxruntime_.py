"""ONNX Runtime: LSTM nodes, inputs and outputs bound once to arrays (IO binding), so that a run copies nothing.

In the form "run" it is called with a dictionary of arrays instead, and returns new ones, as most programs have it.

Sessions and windows are in `onnxruntime_live`.
"""

from itertools import cycle, islice, repeat

import numpy as np
import onnx
import onnxruntime as ort

from fastlstm.bench.contenders import NO_AVX512, Answer, Loop, onnxruntime_live, untold
from fastlstm.bench.contenders.onnxruntime_graph import bind, layer, products, quantised, stack
from fastlstm.bench.works import Array, Data, Work

label = "onnxruntime"

if NO_AVX512:
    raise ImportError("onnxruntime cannot be told to do without AVX-512")


def version() -> str:
    """Say what is measured."""
    return f"{ort.__version__} ({untold()})"


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a work: a sequence, with or without lengths, or a step as a sequence of one, or what lives on.

    Weights in 8 bits are what ``quantize_dynamic`` makes of an LSTM node, DynamicQuantizeLSTM ("int8"), or of products
    in a Scan, MatMulInteger ("int8-matmul").
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = work.threads
    options.inter_op_num_threads = 1
    again, plain = work.kind == "window_again", work.case.num_layers * work.case.directions == 1
    model = _model(work, data, plain=plain, again=again)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    if again:
        return onnxruntime_live.window(session, work, data)
    if work.kind == "sessions":
        return onnxruntime_live.sessions(session, work, data)
    if work.form == "run":
        return _step_unbound(session, data) if work.kind.startswith("step") else _unbound(session, work, data)
    if work.kind.startswith("step"):
        return _step(session, data)
    return _sequence(session, work, data) if plain else _stack(session, work, data)


def _model(work: Work, data: Data, *, plain: bool, again: bool) -> onnx.ModelProto:
    if work.weights == "int8-matmul":
        if not plain:
            raise NotImplementedError("products in a Scan are of one layer in one direction here")
        return quantised(products(data.weights), "MatMul")
    model = (
        layer(data.weights, ragged=work.kind == "lengths") if plain and not again else stack(data.weights, last=again)
    )
    if work.weights == "float32":
        return model
    if work.weights != "int8":
        raise ValueError(f"onnxruntime has no LSTM with weights in {work.weights}")
    return quantised(model, "LSTM")


def _sequence(session: ort.InferenceSession, work: Work, data: Data) -> tuple[Loop, Answer]:
    steps, batch, hidden = work.case.T, work.case.B, work.case.H
    h_0, c_0, h_n, c_n = np.zeros((4, 1, batch, hidden), np.float32)
    y = np.empty((steps, 1, batch, hidden), np.float32)
    inputs = {"x": data.x, "h_0": h_0, "c_0": c_0}
    if work.kind == "lengths":
        inputs["lengths"] = data.lengths.astype(np.int32)
    binding = bind(session, inputs, {"y": y, "h_n": h_n, "c_n": c_n})
    run = session.run_with_iobinding

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            run(binding)

    def answer() -> Array:
        run(binding)
        return y[:, 0]

    return loop, answer


def _stack(session: ort.InferenceSession, work: Work, data: Data) -> tuple[Loop, Answer]:
    case = work.case
    y = np.empty((case.T, case.directions, case.B, case.H), np.float32)
    binding, run = bind(session, {"x": data.x}, {"y": y}), session.run_with_iobinding

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            run(binding)

    def answer() -> Array:
        run(binding)
        return np.ascontiguousarray(y.swapaxes(1, 2)).reshape(case.T, case.B, -1)

    return loop, answer


def _step(session: ort.InferenceSession, data: Data) -> tuple[Loop, Answer]:
    hidden = data.weights["weight_hh_l0"].shape[1]
    x, y = data.x[:1].copy(), np.empty((1, 1, 1, hidden), np.float32)
    here, there = np.zeros((2, 2, 1, 1, hidden), np.float32)
    # Two bindings in turn: what one writes as its new state, the other reads as its old one.
    to_and_fro = [
        bind(session, {"x": x, "h_0": old[0], "c_0": old[1]}, {"y": y, "h_n": new[0], "c_n": new[1]})
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


def _unbound(session: ort.InferenceSession, work: Work, data: Data) -> tuple[Loop, Answer]:
    case = work.case
    inputs = {"x": data.x}
    if len(session.get_inputs()) > 1:
        inputs |= dict.fromkeys(("h_0", "c_0"), np.zeros((1, case.B, case.H), np.float32))
    run = session.run

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            run(None, inputs)

    def answer() -> Array:
        y, *_ = run(None, inputs)
        return np.ascontiguousarray(y.swapaxes(1, 2)).reshape(case.T, case.B, -1)

    return loop, answer


def _step_unbound(session: ort.InferenceSession, data: Data) -> tuple[Loop, Answer]:
    x, run = data.x[:1], session.run
    zero = np.zeros((1, 1, data.weights["weight_hh_l0"].shape[1]), np.float32)

    def loop(n: int) -> None:
        h = c = zero
        for _ in repeat(None, n):
            _, h, c = run(None, {"x": x, "h_0": h, "c_0": c})

    def answer() -> Array:
        h, c, outputs = zero, zero, []
        for x in data.x:
            y, h, c = run(None, {"x": x[None], "h_0": h, "c_0": c})
            outputs.append(y[0, 0])
        return np.stack(outputs)

    return loop, answer
