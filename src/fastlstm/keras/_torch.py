"""The torch backend: fastlstm's backward pass as a step of torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.autograd.function import once_differentiable

import fastlstm

Array = NDArray[Any]


class Fused(torch.autograd.Function):  # type: ignore[misc, unused-ignore]  # a class of Any where torch is missing
    """An LSTM on torch's tensors: output [B, T, H], h_n [B, H] and c_n [B, H], once differentiable.

    Arguments: the LSTM, lengths or None, whether a gradient will be asked for, input, h_0, c_0, then the variables
    that the LSTM holds packed, which are there for their gradients.
    """

    @staticmethod
    def forward(  # type: ignore[override, unused-ignore]
        ctx: Any, lstm: fastlstm.LSTM, lengths: Array | None, train: bool, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Run, and keep a tape if there will be a backward pass."""
        ctx.lstm, ctx.lengths = lstm, lengths
        ctx.set_materialize_grads(False)
        output, (h_n, c_n), tape = _forward(lstm, lengths, train, tensors[:3])
        if train:
            ctx.tape = tape
            ctx.save_for_backward(*tensors[:3])
        return tuple(map(torch.from_numpy, (output, h_n[0], c_n[0])))

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator, unused-ignore]
    def backward(ctx: Any, *incoming: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the tensors among the arguments."""
        lstm: fastlstm.LSTM = ctx.lstm
        saved = ctx.saved_tensors  # torch's own error, if the graph has been freed
        tape = ctx.tape
        if tape.used:  # with retain_graph=True there may be a second time, and a tape serves once
            tape = _forward(lstm, ctx.lengths, True, saved)[2]
        output, h_n, c_n = (None if gradient is None else gradient.numpy() for gradient in incoming)
        made = lstm.backward(tape, output, *(None if array is None else array[None] for array in (h_n, c_n)))
        of = made.parameters
        gradients = [made.input, made.h_0[0], made.c_0[0], of["weight_ih_l0"].T, of["weight_hh_l0"].T]
        if lstm.bias:
            gradients.append(of["bias_ih_l0"])
        return None, None, None, *map(torch.from_numpy, gradients)


def run(
    lstm: fastlstm.LSTM, lengths: Array | None, tensors: list[torch.Tensor], variables: list[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Run on input, h_0, c_0, differentiably in them and in the variables."""
    train = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*tensors, *variables))
    made: tuple[torch.Tensor, ...] = Fused.apply(lstm, lengths, train, *tensors, *variables)  # type: ignore[no-untyped-call, unused-ignore]
    return made


def _forward(lstm: fastlstm.LSTM, lengths: Array | None, train: bool, tensors: Any) -> Any:
    x, h_0, c_0 = (tensor.detach().numpy() for tensor in tensors)
    return lstm.forward(np.asarray(x), (h_0[None], c_0[None]), lengths=lengths, train=train)
