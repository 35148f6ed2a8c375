"""The LSTM as one operator of torch, for graphs: torch.compile, torch.export, and dispatch modes.

Eager calls do not come here: the dispatcher would cost them 30 us. The operator is a pure function, so its gradient
runs forward once more instead of keeping a tape, which would have to be a tensor: a third more time than an eager
training step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.weak import WeakIdKeyDictionary

from .._sizes import Sizes
from .._torch_gradients import in_dual_level, one_by_one
from . import _accept, _autograd, _call
from ._accept import Refused, Unfit
from ._call import Call
from ._plans import Plans
from ._threads import workers


class Arguments(NamedTuple):
    """Of all operators, in their order; `_SCHEMA` says the same to torch."""

    input: Tensor  # batched
    h_0: Tensor | None
    c_0: Tensor | None
    parameters: list[Tensor]  # in torch's order
    lengths: Tensor | None
    resets: Tensor | None
    seed: Tensor | None  # an int64, for dropout > 0
    num_layers: int
    bidirectional: bool
    bias: bool
    batch_first: bool
    dropout: float
    threads: int  # 0: torch's number

    @property
    def sizes(self) -> Sizes:
        """What the parameters are made for."""
        first, second = self.parameters[:2]
        H, R = first.size(0) // 4, second.size(1)
        directions = 2 if self.bidirectional else 1
        return Sizes(first.size(1), H, R if R < H else 0, self.num_layers, directions, self.bias)


_SCHEMA = (
    "Tensor input, Tensor? h_0, Tensor? c_0, Tensor[] parameters, Tensor? lengths, Tensor? resets, Tensor? seed, "
    "int num_layers, bool bidirectional, bool bias, bool batch_first, float dropout, int threads"
)


@torch.library.custom_op(
    "fastlstm::lstm", mutates_args=(), device_types="cpu", schema=f"({_SCHEMA}) -> (Tensor, Tensor, Tensor)"
)
def lstm(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Output, h_n, c_n."""
    a = Arguments(*given)
    call = _accepted(a)
    return _call.forward(call, a.input, a.h_0, a.c_0, call.tape() if call.dropout else None)


@torch.library.custom_op(
    "fastlstm::lstm_stored",
    mutates_args=(),
    device_types="cpu",
    schema=f"({_SCHEMA}, str weights) -> (Tensor, Tensor, Tensor)",
)
def lstm_stored(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Output, h_n, c_n; the matrices are stored in `weights`, for inference."""
    *rest, weights = given
    a = Arguments(*rest)
    call = _accepted(a, weights)
    _autograd.check_trainable(call, following=False)
    return _call.forward(call, a.input, a.h_0, a.c_0)


@torch.library.custom_op(
    "fastlstm::lstm_backward",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor grad_output, Tensor grad_h_n, Tensor grad_c_n, {_SCHEMA}) -> Tensor[]",
)
def lstm_backward(grad_output: Tensor, grad_h_n: Tensor, grad_c_n: Tensor, *given: Any) -> list[Tensor]:
    """Gradients of input, h_0, c_0 and the parameters."""
    a = Arguments(*given)
    _refuse_tangents(grad_output, grad_h_n, grad_c_n)
    call = _accepted(a)
    tape = call.tape()
    _, h_n, c_n = _call.forward(call, a.input, a.h_0, a.c_0, tape)
    like = (a.input, h_n, c_n, *a.parameters)
    made = _call.backward(call, tape, like, (True,) * len(like), (grad_output, grad_h_n, grad_c_n))
    return [t.contiguous() for t in made if t is not None]


def _refuse_tangents(*tensors: Tensor | None) -> None:
    """Raise where a tangent would be lost: an operator gives values alone."""
    if in_dual_level() and any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors):
        raise NotImplementedError(
            "fastlstm::lstm has no forward mode: call the module itself, outside torch.compile, or call "
            "fastlstm.torch.restore(model) before compiling"
        )


def _accepted(a: Arguments, weights: str | None = None) -> Call:
    """Check the arguments, or raise in torch's words. Here and not where the graph is made, to tie it to no shapes."""
    _refuse_tangents(a.input, a.h_0, a.c_0, *a.parameters)
    if a.input.dim() != 3:
        raise ValueError(f"LSTM: Expected input to be 3D, got {a.input.dim()}D instead")
    sizes, threads = a.sizes, a.threads or None
    try:
        plans, aliases = _known_of(a.parameters, sizes)
        kept = plans.of(aliases, threads=threads, weights=weights)
        given = _accept.padded(a.input, sizes, kept.dtype, a.batch_first)
        for t, name, width in ((a.h_0, "hx[0]", sizes.R), (a.c_0, "hx[1]", sizes.H)):
            if t is not None:
                _accept.state(t, name, (sizes.LD, given.B, width), kept.dtype)
    except Refused as refused:
        raise RuntimeError(str(refused)) from None
    except Unfit as unfit:
        raise ValueError(f"fastlstm::lstm cannot run: {unfit}") from None
    lengths, resets = _accept.steps(a.lengths, a.resets, given, sizes)
    seed = 0 if a.seed is None else int(a.seed)
    team = workers(threads)
    return Call(kept.plan, sizes, a.batch_first, team, lengths, resets, a.dropout, seed, weights=weights)


# What was packed from a set of parameters, as long as the first of them lives: from aliases, since plans hold theirs.
_known: Any = WeakIdKeyDictionary()


def _known_of(parameters: list[Tensor], sizes: Sizes) -> tuple[Plans, list[Tensor]]:
    """Return the plans for these parameters, and other tensors in the same memory."""
    found: tuple[Plans, list[Tensor]] | None = _known.get(parameters[0])
    if found is None or found[0].sizes != sizes or not _are_aliases(parameters, found[1]):
        found = _known[parameters[0]] = Plans(sizes), [p.detach() for p in parameters]
    return found


def _are_aliases(some: list[Tensor], others: list[Tensor]) -> bool:
    return len(some) == len(others) and all(
        p.dtype == q.dtype and p.is_neg() == q.is_neg() and p.is_set_to(q) for p, q in zip(some, others, strict=True)
    )


@lstm.register_fake
def _(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _fake(Arguments(*given))


def _fake(a: Arguments) -> tuple[Tensor, Tensor, Tensor]:
    D = 2 if a.bidirectional else 1
    H, R = a.parameters[0].size(0) // 4, a.parameters[1].size(1)
    B = a.input.size(0) if a.batch_first else a.input.size(1)
    output = a.input.new_empty((a.input.size(0), a.input.size(1), D * R))
    return output, a.input.new_empty((a.num_layers * D, B, R)), a.input.new_empty((a.num_layers * D, B, H))


@lstm_stored.register_fake
def _(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _fake(Arguments(*given[:-1]))


@lstm_backward.register_fake
def _(grad_output: Tensor, grad_h_n: Tensor, grad_c_n: Tensor, *given: Any) -> list[Tensor]:
    a = Arguments(*given)
    return [t.new_empty(t.shape) for t in (a.input, grad_h_n, grad_c_n, *a.parameters)]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    input, h_0, c_0, parameters, lengths, resets, seed, *ctx.rest = inputs
    ctx.save_for_backward(input, h_0, c_0, lengths, resets, seed, *parameters)


def _backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
    input, h_0, c_0, lengths, resets, seed, *parameters = ctx.saved_tensors
    given = (input, h_0, c_0, parameters, lengths, resets, seed, *ctx.rest)
    dx, dh, dc, *rest = one_by_one(lambda grads: torch.ops.fastlstm.lstm_backward(*grads, *given), grads)
    return dx, None if h_0 is None else dh, None if c_0 is None else dc, rest, *(None,) * 9


def _setup_stored(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.weights = inputs[-1]


def _refuse_backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
    raise RuntimeError(_autograd.for_inference(ctx.weights, "a gradient is wanted"))


lstm.register_autograd(_backward, setup_context=_setup)
lstm_stored.register_autograd(_refuse_backward, setup_context=_setup_stored)


def decompositions() -> dict[Any, Any]:
    """Return the operator ``fastlstm::lstm`` in torch's own, for ``ExportedProgram.run_decompositions``.

    An exported program then needs no fastlstm, and `torch.onnx.export` takes it. Not in torch's table of
    decompositions: fake tensors would then run it, and tie programs to the number of steps.

    Returns
    -------
    dict
        From the operator to a function; it raises NotImplementedError for a call with lengths, resets or dropout.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> program = torch.export.export(fastlstm.torch.LSTM(8, 16), (torch.zeros(3, 1, 8),))
    >>> program = program.run_decompositions(fastlstm.torch.decompositions())
    >>> [str(node.target) for node in program.graph.nodes if "lstm" in str(node.target)]
    ['aten.lstm.input']
    """
    return {torch.ops.fastlstm.lstm.default: _decomposed}


def _decomposed(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    a = Arguments(*given)
    if a.lengths is not None or a.resets is not None or a.seed is not None:
        raise NotImplementedError("fastlstm::lstm with lengths, resets or dropout has no counterpart among torch's own")
    s = a.sizes
    rows, states = a.input.size(0 if a.batch_first else 1), s.LD
    h_0 = a.input.new_zeros((states, rows, s.R)) if a.h_0 is None else a.h_0
    c_0 = a.input.new_zeros((states, rows, s.H)) if a.c_0 is None else a.c_0
    options = (s.bias, s.L, 0.0, False, s.D == 2, a.batch_first)
    made: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.lstm.input(a.input, [h_0, c_0], a.parameters, *options)
    return made


def draw() -> Tensor:
    """Draw the seed of a call's dropout from torch's generator for the CPU, whatever device is the default."""
    return torch.randint(2**63 - 1, (), device="cpu")
