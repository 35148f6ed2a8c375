"""fastlstm: ours."""

from itertools import repeat
from typing import Any

import numpy as np

import fastlstm
from fastlstm.bench.contenders import Answer, Loop, Prepared, fastlstm_live, fastlstm_tokens
from fastlstm.bench.works import COMPANY, GRADIENTS, Array, Data, Work

label = "fastlstm"


def version() -> str:
    """Say what is measured."""
    return f"{fastlstm.__version__} ({fastlstm.isa()})"


def prepare(work: Work, data: Data) -> Prepared:
    """Prepare a work."""
    if work.kind in {"sigmoid", "tanh"}:
        return _activation(work, data)
    if work.kind.startswith("tokens"):
        return fastlstm_tokens.prepare(work, data, _lstm(work, data))
    if work.kind.startswith(("sessions", "window")):
        return fastlstm_live.prepare(work, data, _lstm(work, data))
    if work.kind == "step_call":
        return _call(work, data)
    if work.kind == "step_cell":
        return _cell(work, data)
    if work.kind.startswith("step"):
        return _step(work, data)
    if work.kind in {"training", "repack"}:
        return _training(work, data)
    if work.kind == "sequence_dense":
        return _among_others(work, data)
    return _sequence(work, data)


def _lstm(work: Work, data: Data) -> fastlstm.LSTM:
    lstm = fastlstm.LSTM(work.case.I, work.case.H, threads=work.threads, **_fewer(work), **work.case.config)
    lstm.load_state_dict(data.weights)
    return lstm


def _fewer(work: Work) -> dict[str, Any]:
    return {} if work.weights == "float32" else {"weights": work.weights}  # a build from before does not know the word


def _sequence(work: Work, data: Data) -> tuple[Loop, Answer]:
    lstm, x = _lstm(work, data), data.x
    lengths = data.lengths if work.kind == "lengths" else None

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            lstm(x, lengths=lengths)

    def answer() -> Array:
        output, _ = lstm(x, lengths=lengths)
        return output

    return loop, answer


def _among_others(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Compute rows among others of which no number is 0, so that zeros are no shortcut."""
    lstm, others = _lstm(work, data), np.ones((work.case.T, COMPANY, work.case.I), np.float32)
    x, rows = np.concatenate([data.x, others], axis=1), work.case.B

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            lstm(x)

    def answer() -> Array:
        output, _ = lstm(x)
        return output[:, :rows].copy()

    return loop, answer


def _training(work: Work, data: Data) -> tuple[Loop, Answer]:
    lstm, x, grad_output = _lstm(work, data), data.x, data.grad_output

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            _, _, tape = lstm.forward(x)
            assert tape is not None
            lstm.backward(tape, grad_output)

    def loop_repack(n: int) -> None:
        for _ in repeat(None, n):
            lstm.load_state_dict(data.weights)

    def answer() -> Array:
        _, _, tape = lstm.forward(x)
        assert tape is not None
        gradients = lstm.backward(tape, grad_output)
        named = {"input": gradients.input} | gradients.parameters
        return np.concatenate([named[name].ravel() for name in GRADIENTS])

    return loop if work.kind == "training" else loop_repack, answer


def _step(work: Work, data: Data) -> Prepared:
    stream = _lstm(work, data).stream()
    inputs = data.x[:, 0]
    step, steps_in_c, x, out = stream.step, stream._repeat, inputs[0], np.empty(work.case.H, np.float32)

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            step(x)

    def loop_c(n: int) -> None:
        steps_in_c(x, out, n)

    def loop_out(n: int) -> None:
        for _ in repeat(None, n):
            step(x, out=out)

    def answer() -> Array:
        stream.reset()
        return np.stack([step(x) for x in inputs])[:, None]

    def answer_out() -> Array:
        stream.reset()
        return np.stack([step(x, out=out).copy() for x in inputs])[:, None]

    def answer_c() -> Array:
        stream.reset()
        outputs = []
        for x in inputs:
            steps_in_c(x, out, 1)
            outputs.append(out.copy())
        return np.stack(outputs)[:, None]

    in_c = loop_c, answer_c
    known: dict[str, Prepared] = {"step": (loop, answer), "step_out": (loop_out, answer_out)}
    known |= dict.fromkeys(("step_c", "step_zeros", "step_unlooked"), in_c)
    if work.kind not in known:
        return _advanced(work, data, stream, loop_out)
    return known[work.kind]


def _advanced(work: Work, data: Data, stream: fastlstm.Stream, loop_out: Loop) -> Prepared:
    step, advance = stream.step, stream.advance
    x, out = data.x[0, 0], np.empty(work.case.H, np.float32)

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            step(x, out=out)
            advance()

    def answer() -> Array:
        stream.reset()
        outputs = []
        for x in data.x[:, 0]:
            outputs.append(step(x, out=out).copy())
            advance()
        return np.stack(outputs)[:, None]

    return (loop_out, answer, advance) if work.kind == "step_advanced" else (loop, answer)


def _call(work: Work, data: Data) -> tuple[Loop, Answer]:
    lstm, x, out = _lstm(work, data), data.x[0], np.empty((1, work.case.H), np.float32)
    zero = np.zeros((work.case.num_layers, work.case.H), np.float32)

    def loop(n: int) -> None:
        state = zero, zero
        for _ in repeat(None, n):
            _, state = lstm(x, state, out=out)

    def answer() -> Array:
        state, outputs = (zero, zero), []
        for x in data.x:
            output, state = lstm(x, state)
            outputs.append(output)
        return np.stack(outputs)

    return loop, answer


def _cell(work: Work, data: Data) -> tuple[Loop, Answer]:
    cell = fastlstm.LSTMCell(work.case.I, work.case.H, **_fewer(work))
    cell.load_state_dict({name.removesuffix("_l0"): array for name, array in data.weights.items()})
    x, zero = data.x[0], np.zeros((1, work.case.H), np.float32)

    def loop(n: int) -> None:
        state = zero, zero
        for _ in repeat(None, n):
            state = cell(x, state)

    def answer() -> Array:
        state, outputs = (zero, zero), []
        for x in data.x:
            state = cell(x, state)
            outputs.append(state[0])
        return np.stack(outputs)

    return loop, answer


def _activation(work: Work, data: Data) -> tuple[Loop, Answer]:
    function = fastlstm.sigmoid if work.kind == "sigmoid" else fastlstm.tanh
    x, out = data.x, np.empty_like(data.x)

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            function(x, out=out)

    return loop, lambda: function(x)
