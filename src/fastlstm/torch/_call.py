"""From tensors to C and back: no copies but of what is not contiguous where C reads it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from .. import _core
from .._sizes import Sizes
from .._torch_gradients import Maybe

Results = tuple[Tensor, Tensor, Tensor]
#: Addresses of each layer's parameters: weight_ih, weight_hh, and biases or 0.
Addresses = list[tuple[int, int, int, int]]


class Call(NamedTuple):
    """What a call is made of besides its tensors."""

    plan: _core.Plan
    sizes: Sizes
    batch_first: bool
    workers: _core.Workers | None = None
    lengths: NDArray[np.int64] | None = None
    resets: NDArray[np.bool_] | None = None  #: [T, B]
    dropout: float = 0.0
    seed: int = 0
    starts: NDArray[np.int64] | None = None  #: [T], of packed input: each step's first row; `lengths` falls
    unpacked: Addresses | None = None  #: one step, from parameters as they are
    weights: str | None = None  #: what the matrices are stored in, for inference; None: as the numbers are

    def tape(self) -> _core.Tape:
        """Return an empty tape with this call's dropout."""
        return _core.Tape(self.dropout, self.seed, 0)


class _Layout(NamedTuple):
    """How a call's rows and steps lie in its input, and in an output that is made for it; strides in elements."""

    T: int
    B: int
    x_t: int
    x_b: int
    output: Tensor
    y_t: int
    y_b: int


def forward(call: Call, x: Tensor, h_0: Maybe, c_0: Maybe, tape: _core.Tape | None = None) -> Results:
    """Run x [T, B, I], [B, T, I] with batch_first, or packed rows [N, I]; from states [L*D, B, R], [L*D, B, H]."""
    x, h_0, c_0 = _readable(x), _contiguous(h_0), _contiguous(c_0)
    if call.unpacked is not None:
        return _step(call, call.unpacked, x, h_0, c_0)
    made = _layout(call, x)
    return _run(call, x, (made.x_t, made.x_b), made, h_0, c_0, tape=tape, starts=call.starts)


def from_table(call: Call, table: _core.TableCore, tokens: Tensor, like: Tensor, h_0: Maybe, c_0: Maybe) -> Results:
    """Run int64 tokens [T, B], or [B, T] with batch_first; `like` is what they stand for."""
    t, b = reversed(tokens.stride()) if call.batch_first else tokens.stride()
    return _run(call, tokens, (t, b), _layout(call, like), _contiguous(h_0), _contiguous(c_0), table=table)


def packed(
    plan: _core.Plan,
    sizes: Sizes,
    workers: _core.Workers | None,
    data: Tensor,
    rows: NDArray[np.int64],
    states: tuple[Maybe, Maybe],
) -> Results:
    """Run packed rows, `rows` of them at each step."""
    lengths = np.searchsorted(-rows, -np.arange(rows[0]))
    return forward(Call(plan, sizes, False, workers, lengths, starts=np.cumsum(rows) - rows), data, *states)


def _run(
    call: Call,
    x: Tensor,
    strides: tuple[int, int],
    made: _Layout,
    h_0: Maybe,
    c_0: Maybe,
    *,
    tape: _core.Tape | None = None,
    starts: NDArray[np.int64] | None = None,
    table: _core.TableCore | None = None,
) -> Results:
    """Run what `x` holds, its steps and rows `strides` elements apart."""
    s, output = call.sizes, made.output
    x_item, y_item = x.element_size(), output.element_size()
    h_n, c_n = output.new_empty(s.LD, made.B, s.R), output.new_empty(s.LD, made.B, s.H)
    call.plan.run_at(
        made.T,
        made.B,
        x.data_ptr(),
        strides[0] * x_item,
        strides[1] * x_item,
        output.data_ptr(),
        made.y_t * y_item,
        made.y_b * y_item,
        0 if h_0 is None else h_0.data_ptr(),
        0 if c_0 is None else c_0.data_ptr(),
        h_n.data_ptr(),
        c_n.data_ptr(),
        call.lengths,
        call.resets,
        call.workers,
        tape,
        starts,
        table,
    )
    return output, h_n, c_n


def _layout(call: Call, x: Tensor) -> _Layout:
    width = call.sizes.D * call.sizes.R
    if call.starts is not None and call.lengths is not None:
        return _Layout(len(call.starts), len(call.lengths), 0, x.stride(0), x.new_empty(x.size(0), width), 0, width)
    first, second, _ = x.shape
    x_first, x_second, _ = x.stride()
    output = x.new_empty(first, second, width)
    if call.batch_first:
        return _Layout(second, first, x_second, x_first, output, width, second * width)
    return _Layout(first, second, x_first, x_second, output, second * width, width)


def _step(call: Call, weights: Addresses, x: Tensor, h_0: Maybe, c_0: Maybe) -> Results:
    """Run one step, x [1, B, I], or [B, 1, I] with batch_first."""
    s = call.sizes
    axis = 0 if call.batch_first else 1
    B = x.size(axis)
    h_n, c_n = x.new_empty(s.L, B, s.H), x.new_empty(s.L, B, s.H)
    call.plan.run_unpacked_at(
        weights,
        B,
        x.data_ptr(),
        x.stride(axis) * x.element_size(),
        0 if h_0 is None else h_0.data_ptr(),
        0 if c_0 is None else c_0.data_ptr(),
        h_n.data_ptr(),
        c_n.data_ptr(),
        call.workers,
    )
    return h_n[-1].unsqueeze(1 - axis).clone(), h_n, c_n


def backward(
    call: Call,
    tape: _core.Tape,
    like: tuple[Tensor, ...],
    wanted: tuple[bool, ...],
    grads: tuple[Maybe, Maybe, Maybe],
) -> list[Maybe]:
    """Return the gradients of x, h_0, c_0 and the parameters: where `wanted`, of the shapes of `like`.

    `grads` are those of output, h_n, c_n; None for zeros.
    """
    grad_output, grad_h_n, grad_c_n = grads
    if grad_output is not None and call.batch_first:
        grad_output = grad_output.transpose(0, 1)
    x = like[0].transpose(0, 1) if call.batch_first else like[0]
    made = [t.new_empty(t.shape) if want else None for t, want in zip((x, *like[1:]), wanted, strict=True)]
    named = call.sizes.named(made[3:])
    biases = [(f"bias_ih{suffix}", f"bias_hh{suffix}") for suffix in call.sizes.suffixes if call.sizes.bias]
    for ih, hh in biases:  # z depends on the sum of the two alone: one gradient for both
        named[ih] = named[hh] if named[ih] is None else named[ih]
    tape.run_backward(
        call.plan,
        _array(_contiguous(grad_output)),
        _array(_contiguous(grad_h_n)),
        _array(_contiguous(grad_c_n)),
        _array(made[0]),
        _array(made[1]),
        _array(made[2]),
        [tuple(map(_array, row)) for row in call.sizes.gradient_rows(named)],
        call.workers,
    )
    for ih, hh in biases:
        one, other = named[ih], named[hh]
        if one is not None and other is not None and other is not one:
            other.copy_(one)
    if made[0] is not None and call.batch_first:
        made[0] = made[0].transpose(0, 1)
    return made


def _array(tensor: Maybe) -> NDArray[Any] | None:
    return None if tensor is None else tensor.numpy()


def _readable(x: Tensor) -> Tensor:
    """Return the tensor itself where its last axis is contiguous; else a copy."""
    return x if x.stride(-1) == 1 or x.size(-1) < 2 else x.contiguous()


def _contiguous(tensor: Maybe) -> Maybe:
    return None if tensor is None else tensor.contiguous()
