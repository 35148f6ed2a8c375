"""The LSTM as one operator of torch, for graphs: torch.compile, torch.export, and dispatch modes.

Eager calls do not come here: the dispatcher would cost them 30 us. The operator is a pure function, so its gradient
runs forward once more instead of keeping a tape, which would have to be a tensor: a third more time than an eager
training step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.weak import WeakIdKeyDictionary

try:
    from torch.onnx._internal.exporter import _flags as _onnx_flags
except ImportError:  # torch before its exporter had them
    _onnx_flags = None

from .. import _checks
from .._torch_gradients import in_dual_level, one_by_one
from . import _fit, _run
from ._packed import Packed, Sizes
from ._threads import pool

if TYPE_CHECKING:
    from ._layer import LSTM, States


class Arguments(NamedTuple):
    """Of both operators, in their order; `_SCHEMA` says the same to torch."""

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
    call = _call(a)
    return _run.forward(call, a.input, a.h_0, a.c_0, call.tape() if call.dropout else None)


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
    call = _call(a)
    tape = call.tape()
    _, h_n, c_n = _run.forward(call, a.input, a.h_0, a.c_0, tape)
    like = (a.input, h_n, c_n, *a.parameters)
    made = _run.backward(call, tape, like, (True,) * len(like), (grad_output, grad_h_n, grad_c_n))
    return [t.contiguous() for t in made if t is not None]


def _refuse_tangents(*tensors: Tensor | None) -> None:
    """Raise where a tangent would be lost: an operator gives values alone."""
    if in_dual_level() and any(t is not None and forward_ad.unpack_dual(t).tangent is not None for t in tensors):
        raise NotImplementedError(
            "fastlstm::lstm has no forward mode: call the module itself, outside torch.compile, or call "
            "fastlstm.torch.restore(model) before compiling"
        )


def _call(a: Arguments) -> _run.Call:
    _refuse_tangents(a.input, a.h_0, a.c_0, *a.parameters)
    sizes = a.sizes
    now = _packed_of(a.parameters, sizes).current(a.parameters, threads=a.threads or None)
    if isinstance(now, str):
        raise ValueError(f"fastlstm::lstm cannot run: {now}")
    T, B = _checked(a.input, a.h_0, a.c_0, a.parameters[0].dtype, sizes, a.batch_first)
    steps = None if a.lengths is None else _checks.lengths(a.lengths, T, B)
    resets = a.resets.t() if a.resets is not None and a.batch_first else a.resets
    flags = None if resets is None else _checks.resets(_fit.flags(resets), (T, B), "(T, B)")
    number = 0 if a.seed is None else int(a.seed)
    return _run.Call(now.plan, sizes, a.batch_first, steps, flags, pool(a.threads or None), a.dropout, number)


def _checked(
    input: Tensor, h_0: Tensor | None, c_0: Tensor | None, dtype: torch.dtype, sizes: Sizes, batch_first: bool
) -> tuple[int, int]:
    """Return T and B, or raise in torch's words. Here and not where the graph is made, which would tie it to shapes."""
    for tensor, name in ((input, "input"), (h_0, "h_0"), (c_0, "c_0")):
        why = None if tensor is None else _fit.tensor(tensor, name, dtype)
        if why is not None:
            raise ValueError(f"fastlstm::lstm cannot run: {why}")
    if input.dim() != 3:
        raise ValueError(f"LSTM: Expected input to be 3D, got {input.dim()}D instead")
    if input.size(2) != sizes.input_size:
        raise RuntimeError(
            f"input.size(-1) must be equal to input_size. Expected {sizes.input_size}, got {input.size(2)}"
        )
    T, B = (input.size(1), input.size(0)) if batch_first else (input.size(0), input.size(1))
    if T == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    states = sizes.num_layers * sizes.directions
    for k, (state, width) in enumerate(((h_0, sizes.proj_size or sizes.hidden_size), (c_0, sizes.hidden_size))):
        if state is not None and state.shape != (states, B, width):
            raise RuntimeError(f"Expected hidden[{k}] size {(states, B, width)}, got {list(state.shape)}")
    return T, B


# What was packed from a set of parameters, as long as the first of them lives.
_known: Any = WeakIdKeyDictionary()


def _packed_of(parameters: list[Tensor], sizes: Sizes) -> Packed:
    found: Packed | None = _known.get(parameters[0])
    if found is None or found.sizes != sizes:
        found = _known[parameters[0]] = Packed(sizes)
    return found


@lstm.register_fake
def _(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    a = Arguments(*given)
    D = 2 if a.bidirectional else 1
    H, R = a.parameters[0].size(0) // 4, a.parameters[1].size(1)
    B = a.input.size(0) if a.batch_first else a.input.size(1)
    output = a.input.new_empty((a.input.size(0), a.input.size(1), D * R))
    return output, a.input.new_empty((a.num_layers * D, B, R)), a.input.new_empty((a.num_layers * D, B, H))


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


lstm.register_autograd(_backward, setup_context=_setup)


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
    rows, states = a.input.size(0 if a.batch_first else 1), s.num_layers * s.directions
    h_0 = a.input.new_zeros((states, rows, s.proj_size or s.hidden_size)) if a.h_0 is None else a.h_0
    c_0 = a.input.new_zeros((states, rows, s.hidden_size)) if a.c_0 is None else a.c_0
    options = (s.bias, s.num_layers, 0.0, False, s.directions == 2, a.batch_first)
    made: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.lstm.input(a.input, [h_0, c_0], a.parameters, *options)
    return made


# ---- the module's way in ---------------------------------------------------------------------------------------------


def _onnx_wants_torchs() -> bool:
    """Tell whether torch.onnx.export is recording: its file has an LSTM, not our operator."""
    # the function, which dynamo takes for a constant in a strict capture, and what it reads
    return torch.onnx.is_in_onnx_export() or getattr(_onnx_flags, "_is_onnx_exporting", False)


def draw() -> Tensor:
    """Draw the seed of a call's dropout from torch's generator for the CPU, whatever device is the default."""
    return torch.randint(2**63 - 1, (), device="cpu")


def run(
    module: LSTM, input: Tensor, hx: States | None, lengths: Tensor | None, resets: Tensor | None
) -> tuple[Tensor, States] | None:
    """Run batched or unbatched input through the operator; None where torch's own code has to."""
    if _onnx_wants_torchs() or (not torch.compiler.is_compiling() and _fit.situation() is not None):
        return None
    weights = module._weights()
    dtype = weights[0].dtype
    given = (input, *(hx or ()))
    plain = all(t.device.type == "cpu" and t.dtype == dtype and t.layout == torch.strided for t in (*given, *weights))
    if not plain or dtype not in (torch.float32, torch.float64) or torch.is_autocast_enabled("cpu"):
        return None
    if input.dim() not in (2, 3) or input.size(-1) != module.input_size or module._overrides is not None:
        return None
    batched = input.dim() == 3
    x = input if batched else input.unsqueeze(1)
    h_0, c_0 = (None, None) if hx is None else hx if batched else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
    dropping = module.training and module.dropout > 0 and module.num_layers > 1
    output, h_n, c_n = torch.ops.fastlstm.lstm(
        x,
        h_0,
        c_0,
        weights,
        lengths,
        resets if resets is None or batched else resets.unsqueeze(1),
        draw() if dropping else None,
        module.num_layers,
        module.bidirectional,
        module.bias,
        module.batch_first and batched,
        float(module.dropout) if dropping else 0.0,
        module.threads or 0,
    )
    return (output, (h_n, c_n)) if batched else (output.squeeze(1), (h_n.squeeze(1), c_n.squeeze(1)))
