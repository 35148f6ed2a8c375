"""Whole modules of torch, which `torch_` runs as they are and `accelerated_` after ``fastlstm.torch.accelerate``.

Inference is under no_grad. A training step is what a loop of torch's does: forward, loss, backward, SGD, so that
every call begins with parameters that have changed. A ragged case comes as a PackedSequence, packed beforehand.
"""

from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from fastlstm.bench.contenders import Answer, Loop
from fastlstm.bench.works import LEARNING_RATE, TRAINED_STEPS, Array, Data, Work

Change = Callable[[torch.nn.Module], object]


def prepare(work: Work, data: Data, change: Change | None = None) -> tuple[Loop, Answer]:
    """Prepare a work of a kind that begins with "model"."""
    torch.set_num_threads(work.threads)
    make = {"model_cells": _cells, "model_training": _training, "model_repack": _repack, "model": _model}[work.kind]
    return make(work, data, change or (lambda module: None))


def _made(work: Work, data: Data, change: Change) -> torch.nn.LSTM:
    lstm = torch.nn.LSTM(work.case.I, work.case.H, work.case.num_layers)
    change(lstm)
    _take(lstm, data)
    return lstm


def _take(module: torch.nn.Module, data: Data) -> None:
    state = {name: torch.from_numpy(array) for name, array in data.weights.items()}
    if isinstance(module, torch.nn.LSTMCell):
        state = {name.removesuffix("_l0"): tensor for name, tensor in state.items()}
    module.load_state_dict(state)


def _packed(work: Work, data: Data, array: Array) -> Any:
    tensor = torch.from_numpy(array)
    if not work.case.ragged:
        return tensor
    return pack_padded_sequence(tensor, torch.from_numpy(data.lengths), enforce_sorted=False)


def _values(steps: Any) -> torch.Tensor:
    values: torch.Tensor = steps.data if isinstance(steps, PackedSequence) else steps
    return values


def _model(work: Work, data: Data, change: Change) -> tuple[Loop, Answer]:
    lstm, x = _made(work, data, change).eval(), _packed(work, data, data.x)

    def loop(n: int) -> None:
        torch.set_num_threads(work.threads)  # of the whole process, where other works may be prepared
        with torch.no_grad():
            for _ in repeat(None, n):
                lstm(x)

    def answer() -> Array:
        torch.set_num_threads(work.threads)
        with torch.no_grad():
            output, _ = lstm(x)
        if work.case.ragged:
            output, _ = pad_packed_sequence(output, total_length=work.case.T)
        result: Array = output.numpy()
        return result

    return loop, answer


def _training(work: Work, data: Data, change: Change) -> tuple[Loop, Answer]:
    lstm = _made(work, data, change).train()
    x, target = _packed(work, data, data.x), _packed(work, data, data.grad_output)
    optimizer = torch.optim.SGD(lstm.parameters(), lr=LEARNING_RATE)

    def step() -> None:
        output, _ = lstm(x)
        loss = torch.nn.functional.mse_loss(_values(output), _values(target), reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def loop(n: int) -> None:
        torch.set_num_threads(work.threads)
        for _ in repeat(None, n):
            step()

    def answer() -> Array:
        torch.set_num_threads(work.threads)
        _take(lstm, data)
        gradients = []
        for _ in range(TRAINED_STEPS):
            step()
            gradients += [parameter.grad.numpy().ravel() for parameter in lstm.parameters()]
        return np.concatenate(gradients)

    return loop, answer


def _repack(work: Work, data: Data, change: Change) -> tuple[Loop, Answer]:
    lstm = _made(work, data, change).eval()
    x = torch.from_numpy(data.x)
    first, changed = x[:1, :1], next(lstm.parameters())

    def loop(n: int) -> None:
        torch.set_num_threads(work.threads)
        with torch.no_grad():
            for _ in repeat(None, n):
                torch.autograd.graph.increment_version(changed)  # all that an optimizer's step shows of itself
                lstm(first)

    def answer() -> Array:
        with torch.no_grad():
            for parameter in lstm.parameters():
                parameter.zero_()
            lstm(x)
            _take(lstm, data)
            output, _ = lstm(x)
        result: Array = output.numpy()
        return result

    return loop, answer


def _cells(work: Work, data: Data, change: Change) -> tuple[Loop, Answer]:
    cell = torch.nn.LSTMCell(work.case.I, work.case.H)
    change(cell)
    _take(cell, data)
    steps, zero = list(torch.from_numpy(data.x)), torch.zeros(work.case.B, work.case.H)

    def run() -> list[torch.Tensor]:
        h = c = zero
        outputs = []
        for x in steps:
            h, c = cell(x, (h, c))
            outputs.append(h)
        return outputs

    def loop(n: int) -> None:
        torch.set_num_threads(work.threads)
        with torch.no_grad():
            for _ in repeat(None, n):
                run()

    def answer() -> Array:
        torch.set_num_threads(work.threads)
        with torch.no_grad():
            result: Array = torch.stack(run()).numpy()
        return result

    return loop, answer
