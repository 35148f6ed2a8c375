"""From tensors to C and back: no copies but of what is not contiguous where C reads it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .. import _core
from ._packed import Sizes


class Call(NamedTuple):
    """What a call is made of besides its tensors."""

    plan: _core.Plan
    sizes: Sizes
    batch_first: bool
    lengths: NDArray[np.int64] | None
    resets: NDArray[np.bool_] | None  # [T, B]
    pool: _core.Workers | None
    dropout: float
    seed: int

    def tape(self) -> _core.Tape:
        """Return an empty tape with this call's dropout."""
        return _core.Tape(self.dropout, self.seed, 0)


def forward(
    call: Call, x: Tensor, h_0: Tensor | None, c_0: Tensor | None, tape: _core.Tape | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run x [T, B, I], or [B, T, I] with batch_first, from states [L*D, B, R] and [L*D, B, H], zeros for None."""
    s, item = call.sizes, x.element_size()
    x, h_0, c_0 = readable(x), contiguous(h_0), contiguous(c_0)
    width = s.directions * (s.proj_size or s.hidden_size)
    if call.batch_first:
        B, T, _ = x.shape
        x_b, x_t, _ = x.stride()
        y_b, y_t = T * width, width
        output = x.new_empty((B, T, width))
    else:
        T, B, _ = x.shape
        x_t, x_b, _ = x.stride()
        y_t, y_b = B * width, width
        output = x.new_empty((T, B, width))
    states = s.num_layers * s.directions
    h_n = x.new_empty((states, B, s.proj_size or s.hidden_size))
    c_n = x.new_empty((states, B, s.hidden_size))
    call.plan.run_at(
        T,
        B,
        x.data_ptr(),
        x_t * item,
        x_b * item,
        output.data_ptr(),
        y_t * item,
        y_b * item,
        0 if h_0 is None else h_0.data_ptr(),
        0 if c_0 is None else c_0.data_ptr(),
        h_n.data_ptr(),
        c_n.data_ptr(),
        call.lengths,
        call.resets,
        call.pool,
        tape,
    )
    return output, h_n, c_n


def step(
    call: Call, rows: list[tuple[int, int, int, int]], x: Tensor, h_0: Tensor | None, c_0: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one step, x [1, B, I], or [B, 1, I] with batch_first, from weights that are not packed: their addresses."""
    s = call.sizes
    x, h_0, c_0 = readable(x), contiguous(h_0), contiguous(c_0)
    axis = 0 if call.batch_first else 1
    B = x.size(axis)
    h_n, c_n = x.new_empty((s.num_layers, B, s.hidden_size)), x.new_empty((s.num_layers, B, s.hidden_size))
    call.plan.run_unpacked_at(
        rows,
        B,
        x.data_ptr(),
        x.stride(axis) * x.element_size(),
        0 if h_0 is None else h_0.data_ptr(),
        0 if c_0 is None else c_0.data_ptr(),
        h_n.data_ptr(),
        c_n.data_ptr(),
        call.pool,
    )
    return h_n[-1].unsqueeze(1 - axis).clone(), h_n, c_n


def forward_packed(
    call: Call, data: Tensor, starts: NDArray[np.int64], h_0: Tensor | None, c_0: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Run packed rows [N, I], step t's from row starts[t] on, the longest first; `call.lengths` are theirs."""
    s, item = call.sizes, data.element_size()
    assert call.lengths is not None
    data, h_0, c_0 = readable(data), contiguous(h_0), contiguous(c_0)
    T, B, states = len(starts), len(call.lengths), s.num_layers * s.directions
    width = s.directions * (s.proj_size or s.hidden_size)
    output = data.new_empty((data.size(0), width))
    h_n = data.new_empty((states, B, s.proj_size or s.hidden_size))
    c_n = data.new_empty((states, B, s.hidden_size))
    call.plan.run_at(
        T,
        B,
        data.data_ptr(),
        0,
        data.stride(0) * item,
        output.data_ptr(),
        0,
        width * item,
        0 if h_0 is None else h_0.data_ptr(),
        0 if c_0 is None else c_0.data_ptr(),
        h_n.data_ptr(),
        c_n.data_ptr(),
        call.lengths,
        None,
        call.pool,
        None,
        starts,
    )
    return output, h_n, c_n


def backward(
    call: Call,
    tape: _core.Tape,
    like: tuple[Tensor, ...],
    wanted: tuple[bool, ...],
    grads: tuple[Tensor | None, Tensor | None, Tensor | None],
) -> list[Tensor | None]:
    """Return the gradients of x, h_0, c_0 and the parameters: where `wanted`, of the shapes of `like`.

    `grads` are those of output, h_n, c_n; None for zeros.
    """
    s = call.sizes
    grad_output, grad_h_n, grad_c_n = grads
    if grad_output is not None and call.batch_first:
        grad_output = grad_output.transpose(0, 1)
    x = like[0]
    turned = x.transpose(0, 1) if call.batch_first else x
    made: list[Tensor | None] = [x.new_empty(turned.shape) if wanted[0] else None]
    made += [t.new_empty(t.shape) if want else None for t, want in zip(like[1:], wanted[1:], strict=True)]
    each = 2 + 2 * s.bias + (s.proj_size > 0)
    weights = []
    for j in range(3, len(made), each):
        bias = None
        if s.bias:  # z depends on the sum of the two alone: one gradient for both
            bias = made[j + 2] if made[j + 2] is not None else made[j + 3]
        row = (made[j], made[j + 1], bias, made[j + each - 1] if s.proj_size else None, None)
        weights.append(tuple(_array(t) for t in row))
    tape.run_backward(
        call.plan,
        _array(contiguous(grad_output)),
        _array(contiguous(grad_h_n)),
        _array(contiguous(grad_c_n)),
        _array(made[0]),
        _array(made[1]),
        _array(made[2]),
        weights,
        call.pool,
    )
    for j in range(5, len(made), each) if s.bias else ():
        ih, hh = made[j], made[j + 1]
        if ih is not None and hh is not None:
            hh.copy_(ih)
    if made[0] is not None and call.batch_first:
        made[0] = made[0].transpose(0, 1)
    return made


def _array(tensor: Tensor | None) -> NDArray[Any] | None:
    return None if tensor is None else tensor.numpy()


def readable(x: Tensor) -> Tensor:
    """Return the tensor itself where its last axis is contiguous; else a copy."""
    return x if x.stride(-1) == 1 or x.size(-1) < 2 else x.contiguous()


def contiguous(tensor: Tensor | None) -> Tensor | None:
    """Return the tensor itself where it is contiguous; else a copy."""
    return None if tensor is None else tensor.contiguous()
