"""Autograd through the fused backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .._torch_gradients import Maybe, in_dual_level, one_by_one, plain
from . import _accept, _call
from ._call import Call, Results

# torch before it tells: checkpoints keep the tape
_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", lambda ignore_is_tracing: None)


def run(call: Call, x: Tensor, h_0: Maybe, c_0: Maybe, parameters: tuple[Tensor, ...]) -> Results:
    """Run a call, differentiably where autograd follows one of its tensors."""
    following = wants_gradient(*parameters, x, h_0, c_0)
    check_trainable(call, following)
    if following:
        made: Results = FusedLSTM.apply(call, x, h_0, c_0, *parameters)
        return made
    return _call.forward(call, x, h_0, c_0, call.tape() if call.dropout else None)


def check_trainable(call: Call, following: bool) -> None:
    """Refuse a call for training where the weights are for inference."""
    if call.weights is not None and (following or call.dropout):
        raise RuntimeError(for_inference(call.weights, "a gradient is wanted" if following else "dropout is on"))


def for_inference(weights: str, what: str) -> str:
    """Say that what is asked of a layer is not there."""
    return (
        f"weights={weights!r} is for inference, but {what}: call under torch.no_grad() or torch.inference_mode(), in "
        "eval mode; to train, set weights=None"
    )


def wants_gradient(*tensors: Maybe) -> bool:
    """Tell whether autograd follows any of these now."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


class FusedLSTM(torch.autograd.Function):
    """`_call.forward` with a tape, and its gradient."""

    @staticmethod
    def forward(ctx: Any, call: Call, x: Tensor, h_0: Maybe, c_0: Maybe, *parameters: Tensor) -> Results:
        """Keep the tape, and the tensors: torch then notices if one is changed in place before the backward pass.

        Hooks on saved tensors, by which `torch.utils.checkpoint` keeps nothing, cannot take a tape: then there is none.
        """
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, h_0, c_0, *parameters)
        ctx.call = call
        hooked = _hooks(True) is not None
        ctx.tape = None if hooked else call.tape()
        return _call.forward(call, x, h_0, c_0, call.tape() if hooked and call.dropout else ctx.tape)

    @staticmethod
    def backward(ctx: Any, *grads: Maybe) -> tuple[Maybe, ...]:
        """Use the tape, or run forward again where it is used up (retain_graph) or there is none."""
        call: Call = ctx.call
        tensors = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if all(g is None for g in grads):
            return (None,) * (1 + len(tensors))
        if torch.is_grad_enabled() or in_dual_level():
            return (None, *_differentiable(call, tensors, grads, wanted))

        def fused(grads: tuple[Maybe, ...]) -> list[Maybe]:
            grads = tuple(map(plain, grads))
            if not all(map(_accept.readable, grads)):
                return _differentiable(call, tensors, grads, wanted)
            tape = ctx.tape
            if tape is None or tape.used:
                tape = call.tape()
                _call.forward(call, tensors[0], tensors[1], tensors[2], tape)
            output, h_n, c_n = grads
            return _call.backward(call, tape, tensors, wanted, (output, h_n, c_n))

        return (None, *one_by_one(fused, grads))


def _differentiable(
    call: Call, tensors: tuple[Maybe, ...], grads: tuple[Maybe, ...], wanted: tuple[bool, ...]
) -> list[Maybe]:
    """Compute the gradients by torch's own operations, which have gradients of their own, and tangents."""
    if call.dropout > 0 or call.lengths is not None or call.resets is not None:
        raise NotImplementedError(
            "fastlstm: a gradient of a gradient (create_graph=True, or in a dual level of forward mode) needs a "
            "layer without dropout, and no packed input, lengths= or resets=; fastlstm.torch.restore(model) brings "
            "torch's own LSTM back"
        )
    create_graph = torch.is_grad_enabled()
    with torch.enable_grad(), _without_onednn():
        results = _torchs(call, *tensors)
        into = [t for t, want in zip(tensors, wanted, strict=True) if want]
        of = [r for r, g in zip(results, grads, strict=True) if g is not None]
        given = [g for g in grads if g is not None]
        made = iter(torch.autograd.grad(of, into, given, create_graph=create_graph, allow_unused=True))
    return [next(made) if want else None for want in wanted]


def _torchs(call: Call, x: Any, h_0: Maybe, c_0: Maybe, *parameters: Any) -> Results:
    """Run a call on torch's own operations."""
    s = call.sizes
    rows = x.size(0 if call.batch_first else 1)
    h = x.new_zeros(s.LD, rows, s.R) if h_0 is None else h_0
    c = x.new_zeros(s.LD, rows, s.H) if c_0 is None else c_0
    made: Results = torch._VF.lstm(x, (h, c), parameters, s.bias, s.L, 0.0, False, s.D == 2, call.batch_first)
    return made


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Keep torch off oneDNN's LSTM, which has no second derivative; torch's own way to say so warns of GPUs."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)
