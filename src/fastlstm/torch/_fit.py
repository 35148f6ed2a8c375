"""Whether a call can run here: every reason why not is a sentence, and torch's own code then takes the call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from .._torch_gradients import in_dual_level

AUTOCAST = "autocast is on"
HALVES = (torch.bfloat16, torch.float16)
ZEROS = "is zeros without memory"


def situation() -> str | None:
    """Say what around the call only torch's own code can serve; None for nothing."""
    if in_dual_level():
        return "inside a dual level of forward-mode differentiation"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "inside a torch.func transform"
    if torch.jit.is_tracing():
        return "torch.jit is tracing"
    if torch._C._is_any_autocast_enabled() and torch.is_autocast_enabled("cpu"):
        return AUTOCAST  # the last: what it forbids, _layer.LSTM does where torch cannot
    return None


def tensor(t: Any, name: str, dtype: torch.dtype) -> str | None:
    """Say why this tensor cannot be read; None if it can."""
    if type(t) is not Tensor and type(t) is not torch.nn.Parameter:
        return f"{name} is a {type(t).__name__}"
    if not t.is_cpu or t.layout != torch.strided:
        return f"{name} is on {t.device} with layout {t.layout}"
    if t.dtype != dtype:
        return f"{name} has dtype {t.dtype}, the parameters {dtype}"
    return memory(t, name)


def memory(t: Tensor, name: str) -> str | None:
    """Say why the values of a tensor on the CPU do not stand where its address says; None if they do."""
    if t.is_neg():
        return f"{name} has the negative bit: a view of a conjugate"
    try:
        address = t.data_ptr()
    except RuntimeError:
        return f"{name} wraps another tensor"
    if address == 0 and t.numel() > 0:
        if t._is_zerotensor():
            return f"{name} {ZEROS}"
        if wraps(t):
            return f"{name} wraps another tensor"
        raise RuntimeError(f"{name} has no memory: was its storage resized to 0?")  # torch's own code would crash
    return None


def wraps(t: Tensor) -> bool:
    """Tell whether a tensor stands for another one, and has no memory of its own."""
    return torch._is_functional_tensor(t) or not torch._C._has_storage(t)


def real(given: Any) -> Any:
    """Give zeros without memory, which autograd makes, theirs: oneDNN would read what happens to be there."""
    if isinstance(given, PackedSequence):
        return PackedSequence(real(given.data), *given[1:])
    if isinstance(given, tuple | list):
        return tuple(map(real, given))
    return given.clone() if isinstance(given, Tensor) and given._is_zerotensor() else given


def widened(given: Any, dtype: torch.dtype) -> Any:
    """Give tensors of half precision, which autocast makes, another dtype."""
    if isinstance(given, PackedSequence):
        return PackedSequence(widened(given.data, dtype), *given[1:])
    if isinstance(given, tuple | list):
        return tuple(widened(t, dtype) for t in given)
    return given.to(dtype) if isinstance(given, Tensor) and given.dtype in HALVES else given


def flags(resets: Any) -> Any:
    """Return `resets`, or say how flags of another dtype become flags."""
    if isinstance(resets, Tensor) and resets.dtype != torch.bool:
        raise TypeError(f"resets should have dtype torch.bool, got: {resets.dtype}. Convert it: resets.bool()")
    return resets


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Tell whether autograd follows any of these now."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
