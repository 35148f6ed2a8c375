"""The torch backend: fastlstm's backward pass as a step of torch's."""

from __future__ import annotations

from typing import Any

import torch

import fastlstm
from fastlstm._torch_gradients import in_dual_level, one_by_one, plain
from fastlstm._types import Array

ONCE = (
    "fastlstm.keras.LSTM can be differentiated once: for second derivatives, and tangents of gradients, use "
    "keras.layers.LSTM"
)


class Fused(torch.autograd.Function):
    """An LSTM on torch's tensors: output [B, T, H], h_n [B, H] and c_n [B, H], once differentiable.

    Arguments: the LSTM, lengths or None, input, h_0, c_0, then the variables that the LSTM holds packed, which are
    there for their gradients.
    """

    @staticmethod
    def forward(
        ctx: Any, lstm: fastlstm.LSTM, lengths: Array | None, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Run, and keep a tape."""
        ctx.lstm, ctx.lengths, ctx.variables = lstm, lengths, tensors[3:]
        ctx.set_materialize_grads(False)
        output, (h_n, c_n), ctx.tape = _forward(lstm, lengths, tensors[:3])
        ctx.save_for_backward(*tensors[:3])
        return tuple(map(torch.from_numpy, (output, h_n[0], c_n[0])))

    @staticmethod
    def backward(ctx: Any, *incoming: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the tensors among the arguments."""
        saved = ctx.saved_tensors  # torch's own error, if the graph has been freed
        if in_dual_level():
            raise RuntimeError(ONCE)
        results = tuple(one_by_one(lambda grads: _backward(ctx, saved, grads), incoming))
        if torch.is_grad_enabled():  # create_graph=True
            sources = [tensor for tensor in (*saved, *ctx.variables, *incoming) if tensor is not None]
            results = Once.apply(len(results), *results, *sources)
        return None, None, *results


def _backward(ctx: Any, saved: Any, incoming: tuple[torch.Tensor | None, ...]) -> tuple[torch.Tensor, ...]:
    """Return the gradients of input, states and variables."""
    lstm: fastlstm.LSTM = ctx.lstm
    tape = ctx.tape
    if tape.used:  # with retain_graph=True there may be a second time, and a tape serves once
        tape = _forward(lstm, ctx.lengths, saved)[2]
    tensors = (None if gradient is None else gradient.detach() for gradient in map(plain, incoming))
    output, h_n, c_n = (None if tensor is None else tensor.numpy() for tensor in tensors)
    made = lstm.backward(tape, output, *(None if array is None else array[None] for array in (h_n, c_n)))
    of = made.parameters
    gradients = [made.input, made.h_0[0], made.c_0[0], of["weight_ih_l0"].T, of["weight_hh_l0"].T]
    if lstm.bias:
        gradients.append(of["bias_ih_l0"])
    return tuple(map(torch.from_numpy, gradients))


class Once(torch.autograd.Function):
    """Gradients as they are, tied to what they come from: a second derivative is an error, not a missing term."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the first `count` tensors."""
        return tuple(tensor.view_as(tensor) for tensor in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *incoming: torch.Tensor) -> Any:
        """Refuse."""
        raise RuntimeError(ONCE)


def wants_gradient(*tensors: torch.Tensor) -> bool:
    """Tell whether autograd follows any of these now."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def run(
    lstm: fastlstm.LSTM,
    variables: list[torch.Tensor],
    x: torch.Tensor,
    h_0: torch.Tensor,
    c_0: torch.Tensor,
    lengths: Array | None,
) -> tuple[torch.Tensor, ...]:
    """Run on input and states, differentiably in them and in the variables."""
    made: tuple[torch.Tensor, ...] = Fused.apply(lstm, lengths, x, h_0, c_0, *variables)
    return made


def _forward(lstm: fastlstm.LSTM, lengths: Array | None, tensors: Any) -> Any:
    x, h_0, c_0 = (tensor.detach().numpy() for tensor in tensors)
    return lstm.forward(x, (h_0[None], c_0[None]), lengths=lengths)
