"""Gradients that come into a backward pass of ours, for the adapters on torch: whatever they are, to be read."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd import forward_ad

Maybe: TypeAlias = Tensor | None
_functorch = torch._C._functorch


def in_dual_level() -> bool:
    """Tell whether forward-mode differentiation is under way: tensors may have tangents, which no memory shows."""
    level: int = forward_ad._current_level
    return level >= 0


def plain(grad: Maybe) -> Maybe:
    """Give a gradient whose values stand nowhere, or with the other sign, values to read."""
    if grad is None:
        return None
    if grad._is_zerotensor():
        return torch.zeros(grad.shape, dtype=grad.dtype, device=grad.device)
    if type(grad).__torch_dispatch__ is torch._C._disabled_torch_dispatch_impl:
        grad = grad.as_subclass(Tensor)  # a class that is none to torch's operators
    return grad.resolve_neg()


def is_batched(tensor: Maybe) -> bool:
    """Tell whether torch.vmap, or the older one behind ``is_grads_batched=True``, hides an axis of this tensor."""
    return tensor is not None and (_functorch.is_batchedtensor(tensor) or _functorch.is_legacy_batchedtensor(tensor))


def one_by_one(run: Callable[[tuple[Maybe, ...]], Iterable[Maybe]], grads: tuple[Maybe, ...]) -> list[Maybe]:
    """Return what `run` makes of `grads`: with the bits that it makes of each alone, however they are batched.

    Torch hides the axis of gradients that come many at once; here it is brought out.
    """
    if any(g is not None and _functorch.is_batchedtensor(g) for g in grads):
        level = max(_functorch.maybe_get_level(g) for g in grads if g is not None)
        outer: Any = [_functorch._unwrap_batched(g, level) if g is not None else (None, None) for g in grads]
        columns = _rows(run, [g if axis is None else g.movedim(axis, 0).unbind() for g, axis in outer])
        return [None if t is None else _functorch._add_batch_dim(t, 0, level) for t in columns]
    if any(is_batched(g) for g in grads):
        level = _legacy_level()
        brought = [torch._remove_batch_dim(g, level, 1, 0).unbind() if is_batched(g) else g for g in grads]
        return [None if t is None else torch._add_batch_dim(t, 0, level) for t in _rows(run, brought)]
    return list(run(grads))


def _rows(run: Callable[[tuple[Maybe, ...]], Iterable[Maybe]], grads: list[Maybe | tuple[Tensor, ...]]) -> list[Maybe]:
    """Run each row of the gradients that have rows, and stack the results."""
    number = next(len(g) for g in grads if isinstance(g, tuple))
    made = [one_by_one(run, tuple(g[k] if isinstance(g, tuple) else g for g in grads)) for k in range(number)]
    return [None if column[0] is None else torch.stack(column) for column in zip(*made, strict=True)]


def _legacy_level() -> int:
    """Return the innermost level of the older vmap; only counting on tells it."""
    level: int = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    return level
