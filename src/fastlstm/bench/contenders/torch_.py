"""PyTorch: nn.LSTM for sequences (oneDNN), nn.LSTMCell for a step, both under inference_mode; autograd for training.

Whole modules, as they are, are in `torch_modules`, sessions in `torch_sessions`, weights in fewer bytes in
`torch_fewer`.
"""

from itertools import repeat
from typing import Any

import numpy as np
import torch

from fastlstm.bench.contenders import NO_AVX512, Answer, Loop, torch_modules, torch_sessions
from fastlstm.bench.contenders.torch_fewer import changed, dtype_of
from fastlstm.bench.works import GRADIENTS, Array, Data, Work

label = "torch"

if NO_AVX512 and torch.backends.cpu.get_cpu_capability() == "AVX512":
    raise ImportError("torch does without AVX-512 if ATEN_CPU_CAPABILITY=avx2 and ONEDNN_MAX_CPU_ISA=AVX2 are set")


def version() -> str:
    """Say what is measured."""
    return f"{torch.__version__} ({torch.backends.cpu.get_cpu_capability()})"


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a work."""
    if work.kind.startswith("model"):
        return torch_modules.prepare(work, data)
    if work.kind.startswith("sessions"):
        return torch_sessions.prepare(work, data)
    if work.kind in {"sigmoid", "tanh"}:
        return _activation(work, data)
    if work.kind == "step_cell":
        return _step_layer(work, data) if work.form == "LSTM" else _step(work, data)
    if work.kind == "training":
        return _training(work, data)
    return _sequence(work, data)


def _way(module: Any, work: Work) -> Any:
    return torch.compile(module) if work.form == "compiled" else module


def _sequence(work: Work, data: Data) -> tuple[Loop, Answer]:
    lstm: Any = torch.nn.LSTM(work.case.I, work.case.H, **work.case.config).eval()
    lstm.load_state_dict({name: torch.from_numpy(array) for name, array in data.weights.items()})
    lstm = _way(changed(lstm, work.weights), work)
    x: Any = torch.from_numpy(data.x).to(dtype_of(work.weights))
    if work.kind == "lengths":
        x = torch.nn.utils.rnn.pack_padded_sequence(x, torch.from_numpy(data.lengths), enforce_sorted=False)

    def loop(n: int) -> None:
        torch.set_num_threads(work.threads)  # of the whole process, where other works may be prepared
        with torch.inference_mode():
            for _ in repeat(None, n):
                lstm(x)

    def answer() -> Array:
        torch.set_num_threads(work.threads)
        with torch.inference_mode():
            output, _ = lstm(x)
            if work.kind == "lengths":
                output, _ = torch.nn.utils.rnn.pad_packed_sequence(output, total_length=work.case.T)
            result: Array = output.float().numpy()
            return result

    return loop, answer


def _training(work: Work, data: Data) -> tuple[Loop, Answer]:
    lstm = torch.nn.LSTM(work.case.I, work.case.H).train()
    lstm.load_state_dict({name: torch.from_numpy(array) for name, array in data.weights.items()})
    x, grad_output = torch.from_numpy(data.x).requires_grad_(), torch.from_numpy(data.grad_output)
    wanted = {"input": x} | dict(lstm.named_parameters())
    inputs = [wanted[name] for name in GRADIENTS]

    # autograd.grad and not backward(), which would also add to the gradients of the call before.
    def loop(n: int) -> None:
        torch.set_num_threads(work.threads)
        for _ in repeat(None, n):
            output, _ = lstm(x)
            torch.autograd.grad(output, inputs, grad_output)

    def answer() -> Array:
        torch.set_num_threads(work.threads)
        output, _ = lstm(x)
        gradients = torch.autograd.grad(output, inputs, grad_output)
        return np.concatenate([gradient.numpy().ravel() for gradient in gradients])

    return loop, answer


def _step(work: Work, data: Data) -> tuple[Loop, Answer]:
    cell: Any = torch.nn.LSTMCell(work.case.I, work.case.H).eval()
    cell.load_state_dict({name.removesuffix("_l0"): torch.from_numpy(array) for name, array in data.weights.items()})
    cell, dtype = _way(changed(cell, work.weights), work), dtype_of(work.weights)
    inputs = torch.from_numpy(data.x).to(dtype)
    x, zero = inputs[0], torch.zeros(1, work.case.H, dtype=dtype)

    def loop(n: int) -> None:
        torch.set_num_threads(work.threads)
        with torch.inference_mode():
            state = zero, zero
            for _ in repeat(None, n):
                state = cell(x, state)

    def answer() -> Array:
        with torch.inference_mode():
            state, outputs = (zero, zero), []
            for x in inputs:
                state = cell(x, state)
                outputs.append(state[0].float().numpy())
            return np.stack(outputs)

    return loop, answer


def _step_layer(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a step as a call of nn.LSTM, with states in and out."""
    lstm: Any = torch.nn.LSTM(work.case.I, work.case.H).eval()
    lstm.load_state_dict({name: torch.from_numpy(array) for name, array in data.weights.items()})
    inputs = torch.from_numpy(data.x)
    x, zero = inputs[:1], torch.zeros(1, 1, work.case.H)

    def loop(n: int) -> None:
        torch.set_num_threads(work.threads)
        with torch.inference_mode():
            state = zero, zero
            for _ in repeat(None, n):
                _, state = lstm(x, state)

    def answer() -> Array:
        with torch.inference_mode():
            state, outputs = (zero, zero), []
            for x in inputs:
                output, state = lstm(x[None], state)
                outputs.append(output[0].numpy())
            return np.stack(outputs)

    return loop, answer


def _activation(work: Work, data: Data) -> tuple[Loop, Answer]:
    function = torch.sigmoid if work.kind == "sigmoid" else torch.tanh
    x = torch.from_numpy(data.x)
    out = torch.empty_like(x)

    def loop(n: int) -> None:
        torch.set_num_threads(work.threads)
        with torch.inference_mode():
            for _ in repeat(None, n):
                function(x, out=out)

    return loop, lambda: function(x).numpy()
