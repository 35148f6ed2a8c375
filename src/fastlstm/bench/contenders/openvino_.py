"""OpenVINO: LSTMSequence operations in float32, inputs and outputs bound once, rows before steps as it has them.

Gates go from torch's order i, f, g, o to OpenVINO's f, i, g, o (which it calls f, i, c, o). On CPUs that multiply
bfloat16 it would compute in that unless told not to.
"""

import os
from collections.abc import Callable, Sequence
from itertools import cycle, islice, repeat

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from fastlstm.bench.contenders import NO_AVX512, Answer, Loop, untold
from fastlstm.bench.works import Array, Data, Work

label = "openvino"

if NO_AVX512 and os.environ.get("ONEDNN_MAX_CPU_ISA") != "AVX2":
    raise ImportError("oneDNN does without AVX-512 if ONEDNN_MAX_CPU_ISA=AVX2 is set")

SETTINGS = {
    "INFERENCE_PRECISION_HINT": "f32",
    "EXECUTION_MODE_HINT": "ACCURACY",
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": "1",
    "ENABLE_CPU_PINNING": "NO",
}


def version() -> str:
    """Say what is measured."""
    return f"{str(ov.__version__).split('-')[0]} ({'AVX2' if NO_AVX512 else untold()})"


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a work: a sequence through layers, with or without lengths, or a step as a sequence of one."""
    model = _compiled(work, data)
    return _step(model, work, data) if work.kind.startswith("step") else _sequence(model, work, data)


def _compiled(work: Work, data: Data) -> ov.CompiledModel:
    """Make the model: x, h, c (the first layer's; the others start from zeros), perhaps lengths, to the last y, h, c.

    Where all rows are of one length it has to be a constant: only then is a layer one fused operation.
    """
    case = work.case
    steps = 1 if work.kind.startswith("step") else case.T
    state = case.B, case.directions, case.H
    x = ops.parameter([steps, case.B, case.I], np.float32)
    h, c = ops.parameter(state, np.float32), ops.parameter(state, np.float32)
    ragged = work.kind == "lengths"
    lengths = ops.parameter([case.B], np.int32) if ragged else ops.constant(np.full(case.B, steps, np.int32))
    y = x
    for number in range(case.num_layers):
        start = (h, c) if number == 0 else (ops.constant(np.zeros(state, np.float32)),) * 2
        suffixes = (f"_l{number}", f"_l{number}_reverse")[: case.directions]
        parameters = [_fico(data, name, suffixes) for name in ("weight_ih", "weight_hh")]
        bias = _fico(data, "bias_ih", suffixes) + _fico(data, "bias_hh", suffixes)
        direction = "bidirectional" if case.bidirectional else "forward"
        layer = ops.lstm_sequence(ops.transpose(y, [1, 0, 2]), *start, lengths, *parameters, bias, case.H, direction)
        y = ops.transpose(layer.output(0), [2, 1, 0, 3])  # (steps, D, B, H), as it is inside
        if number < case.num_layers - 1:
            y = ops.transpose(y, [0, 2, 1, 3])
            y = ops.reshape(y, [steps, case.B, case.directions * case.H], special_zero=False)
    outputs = [y.output(0), layer.output(1), layer.output(2)]
    model = ov.Model(outputs, [x, h, c, *([lengths] if ragged else [])], "lstm")
    return ov.Core().compile_model(model, "CPU", SETTINGS | {"INFERENCE_NUM_THREADS": str(work.threads)})


def _fico(data: Data, name: str, suffixes: Sequence[str]) -> Array:
    arrays = [np.split(data.weights[f"{name}{suffix}"], 4) for suffix in suffixes]
    return np.stack([np.concatenate([gates[gate] for gate in (1, 0, 2, 3)]) for gates in arrays])


def _bind(model: ov.CompiledModel, inputs: Sequence[Array], outputs: Sequence[Array]) -> Callable[[], None]:
    """Bind arrays once, so that a run copies nothing; they have to live as long as the function that is returned."""
    request = model.create_infer_request()
    for index, array in enumerate(inputs):
        request.set_input_tensor(index, ov.Tensor(array, shared_memory=True))
    for index, array in enumerate(outputs):
        request.set_output_tensor(index, ov.Tensor(array, shared_memory=True))
    infer = request.infer  # in this thread: start_async would hand it over to another one, and wait for that

    def run(_alive: object = (inputs, outputs)) -> None:
        infer(share_outputs=True)  # not copied

    return run


def _sequence(model: ov.CompiledModel, work: Work, data: Data) -> tuple[Loop, Answer]:
    case = work.case
    h_0, c_0, h_n, c_n = np.zeros((4, case.B, case.directions, case.H), np.float32)
    y = np.empty((case.T, case.directions, case.B, case.H), np.float32)
    lengths = (data.lengths.astype(np.int32),) if work.kind == "lengths" else ()
    run = _bind(model, (data.x, h_0, c_0, *lengths), (y, h_n, c_n))

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            run()

    def answer() -> Array:
        run()
        return np.ascontiguousarray(y.swapaxes(1, 2)).reshape(case.T, case.B, -1)

    return loop, answer


def _step(model: ov.CompiledModel, work: Work, data: Data) -> tuple[Loop, Answer]:
    hidden = work.case.H
    x, y = data.x[:1].copy(), np.empty((1, 1, 1, hidden), np.float32)
    here, there = np.zeros((2, 2, 1, 1, hidden), np.float32)
    # Two bindings in turn: what one writes as its new state, the other reads as its old one.
    to_and_fro = [_bind(model, (x, *old), (y, *new)) for old, new in ((here, there), (there, here))]

    def loop(n: int) -> None:
        for run in islice(cycle(to_and_fro), n):
            run()

    def answer() -> Array:
        here[:] = 0
        outputs = []
        for x[0], run in zip(data.x, cycle(to_and_fro), strict=False):
            run()
            outputs.append(y[0, 0].copy())
        return np.stack(outputs)

    return loop, answer
