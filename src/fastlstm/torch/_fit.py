"""Whether a call can run here: every reason why not is a sentence, and torch's own code then takes the call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def situation() -> str | None:
    """Say what around the call only torch's own code can serve; None for nothing."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "inside a torch.func transform"
    if torch._C._is_any_autocast_enabled() and torch.is_autocast_enabled("cpu"):
        return "autocast is on"
    if torch.jit.is_tracing():
        return "torch.jit is tracing"
    return None


def tensor(t: Any, name: str, dtype: torch.dtype) -> str | None:
    """Say why this tensor cannot be read; None if it can."""
    if type(t) is not Tensor and type(t) is not torch.nn.Parameter:
        return f"{name} is a {type(t).__name__}"
    if not t.is_cpu or t.layout != torch.strided or t.is_neg():
        return f"{name} is on {t.device} with layout {t.layout}"
    if t.dtype != dtype:
        return f"{name} has dtype {t.dtype}, the parameters {dtype}"
    return None


def wants_gradient(*tensors: Tensor | None) -> bool:
    """Tell whether autograd follows any of these now."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
