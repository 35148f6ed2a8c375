"""Whether a call can run here. Each reason why not is raised, as a sentence; torch's own code then takes the call."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from .. import _checks
from .._sizes import Sizes
from .._torch_gradients import Maybe, in_dual_level

try:
    from torch.onnx._internal.exporter import _flags as _onnx_flags
except ImportError:  # torch before its exporter had them
    _onnx_flags = None

States = tuple[Tensor, Tensor]

HALVES: Final = (torch.bfloat16, torch.float16)
_COMPUTED: Final = dict.fromkeys(HALVES, torch.float32)
#: A subclass that overrides one of these has its own idea of what happens around the arithmetic.
TORCHS: Final = (
    "check_input",
    "check_hidden_size",
    "check_forward_args",
    "get_expected_hidden_size",
    "get_expected_cell_size",
    "permute_hidden",
)


class Unfit(Exception):  # noqa: N818  nothing is wrong: torch's own code can run
    """Why a call cannot run here."""


class Refused(Unfit):
    """Torch's code refuses it too, in words like these."""


class UnderAutocast(Unfit):
    """Torch's code chooses the dtype then, but has none for some CPUs."""


class ZeroTensor(Unfit):
    """A tensor is zeros without memory: `real` gives it some."""


class OtherDtype(Unfit):
    """A tensor has not the parameters' dtype."""

    def __init__(self, name: str, found: torch.dtype, expected: torch.dtype) -> None:
        super().__init__(f"{name} has dtype {found}, the parameters {expected}")
        self.name, self.expected = name, expected


# ---- around the call -------------------------------------------------------------------------------------------------


def overridden(cls: type) -> str | None:
    """Say what a subclass overrides that torch does around the arithmetic; None for nothing."""
    other = [name for name in TORCHS if getattr(cls, name) is not getattr(torch.nn.LSTM, name)]
    return f"{cls.__name__} overrides {', '.join(other)}" if other else None


def surroundings() -> None:
    """Refuse what only torch's own code can serve, but for autocast."""
    if in_dual_level():
        raise Unfit("inside a dual level of forward-mode differentiation")
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise Unfit("inside a torch.func transform")
    if torch._C._is_tracing():
        raise Unfit("torch.jit is tracing")


def is_autocast_on() -> bool:
    """Tell whether torch chooses the dtype on the CPU."""
    return torch._C._is_any_autocast_enabled() and torch.is_autocast_enabled("cpu")


def no_autocast() -> None:
    """Refuse autocast."""
    if is_autocast_on():
        raise UnderAutocast("autocast is on")


def graph(input: Tensor, hx: States | None, parameters: list[Tensor], input_size: int) -> bool:
    """Tell whether a graph can have our operator. Dynamo follows this: no exceptions, and reasons would be lost."""
    # the function, which dynamo takes for a constant in a strict capture, and what it reads
    if torch.onnx.is_in_onnx_export() or getattr(_onnx_flags, "_is_onnx_exporting", False):
        return False  # the file has an LSTM, not our operator
    if not torch.compiler.is_compiling():
        try:
            surroundings()
        except Unfit:
            return False
    dtype = parameters[0].dtype
    given = (input, *(hx or ()), *parameters)
    plain = all(t.device.type == "cpu" and t.dtype == dtype and t.layout == torch.strided for t in given)
    if not plain or dtype not in (torch.float32, torch.float64) or torch.is_autocast_enabled("cpu"):
        return False
    return input.dim() in (2, 3) and input.size(-1) == input_size


# ---- tensors ---------------------------------------------------------------------------------------------------------


def tensor(t: Any, name: str, dtype: torch.dtype) -> None:
    """Refuse a tensor that cannot be read."""
    if type(t) is not Tensor and type(t) is not torch.nn.Parameter:
        raise Unfit(f"{name} is a {type(t).__name__}")
    if not t.is_cpu or t.layout != torch.strided:
        raise Unfit(f"{name} is on {t.device} with layout {t.layout}")
    if t.is_nested:  # though strided, it tells no shape
        raise Unfit(f"{name} is a nested tensor")
    if t.dtype != dtype:
        raise OtherDtype(name, t.dtype, dtype)
    memory(t, name)


def memory(t: Tensor, name: str) -> None:
    """Refuse a tensor on the CPU whose values do not stand where its address says."""
    if t.is_neg():
        raise Unfit(f"{name} has the negative bit: a view of a conjugate")
    try:
        address = t.data_ptr()
    except RuntimeError:
        raise Unfit(f"{name} wraps another tensor") from None
    if address == t.storage_offset() * t.element_size() and t.numel() > 0:  # from address 0 on
        if t._is_zerotensor():
            raise ZeroTensor(f"{name} is zeros without memory")
        if _wraps(t):
            raise Unfit(f"{name} wraps another tensor")
        raise RuntimeError(f"{name} has no memory: was its storage resized to 0?")  # torch's own code would crash


def _wraps(t: Tensor) -> bool:
    """Tell whether a tensor stands for another one, and has no memory of its own."""
    return torch._is_functional_tensor(t) or not torch._C._has_storage(t)


def readable(t: Maybe) -> bool:
    """Tell whether a tensor of whatever dtype can be read; so can None."""
    try:
        if t is not None:
            tensor(t, "", t.dtype)
    except Unfit:
        return False
    return True


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """Return float32 for the types of 16 bits, whose values it holds, and any other for itself."""
    return _COMPUTED.get(dtype, dtype)


def parameters(given: list[Tensor], sizes: Sizes, *, halves: bool = False) -> None:
    """Refuse parameters that cannot be packed; raise where torch's own code would read memory that is not there."""
    if len(given) != len(sizes.shapes):
        raise Unfit(f"{len(given)} parameters, expected {len(sizes.shapes)}")
    for p, (name, shape) in zip(given, sizes.shapes.items(), strict=True):
        _parameter(p, name, shape, halves)
        if p.dtype != given[0].dtype:
            raise Unfit(f"{name} has dtype {p.dtype}, {next(iter(sizes.shapes))} {given[0].dtype}")


def _parameter(p: Any, name: str, shape: tuple[int, ...], halves: bool) -> None:
    if type(p) not in (Tensor, torch.nn.Parameter):
        raise Unfit(f"{name} is a {type(p).__name__}")
    if p.device.type != "cpu" or p.layout != torch.strided:
        raise Unfit(f"{name} is on {p.device} with layout {p.layout}")
    if p.dtype not in (torch.float32, torch.float64, *(HALVES if halves else ())):
        raise Unfit(f"{name} has dtype {p.dtype}, expected torch.float32 or torch.float64")
    if p.shape != shape:
        raise Unfit(f"{name} has shape {tuple(p.shape)}, expected {shape}")
    if p._is_zerotensor():
        raise Unfit(f"{name} is zeros without memory")
    if _wraps(p) or p.is_neg():
        memory(p, name)
    last = sum(stride * (size - 1) for stride, size in zip(p.stride(), shape, strict=True))
    extent, there = (p.storage_offset() + last + 1) * p.element_size(), p.untyped_storage().nbytes()
    if extent > there:
        raise RuntimeError(
            f"{name} of shape {shape} has a storage of {there} bytes, expected {extent} or more: it was freed or "
            "resized, as FSDP does between a module's calls"
        )


# ---- a call's arguments ----------------------------------------------------------------------------------------------


class Padded(NamedTuple):
    """A padded input."""

    x: Tensor  #: batched
    T: int
    B: int
    batched: bool  #: as it was given
    batch_first: bool


def padded(input: Any, sizes: Sizes, dtype: torch.dtype, batch_first: bool) -> Padded:
    """Return a padded input with a batch axis, or refuse it."""
    tensor(input, "input", dtype)
    shape = input.shape
    rank = len(shape)
    if rank != 3 and rank != 2:
        raise Refused(f"LSTM: Expected input to be 2D or 3D, got {rank}D instead")
    if shape[-1] != sizes.I:
        raise Refused(f"input.size(-1) must be equal to input_size. Expected {sizes.I}, got {shape[-1]}")
    if rank == 2:
        made = Padded(input.unsqueeze(1), shape[0], 1, False, False)
    elif batch_first:
        made = Padded(input, shape[1], shape[0], True, True)
    else:
        made = Padded(input, shape[0], shape[1], True, False)
    if made.T == 0:
        raise Refused("Expected sequence length to be larger than 0 in RNN")
    return made


def states(hx: Any, sizes: Sizes, B: int, batched: bool, dtype: torch.dtype) -> tuple[Maybe, Maybe]:
    """Return h_0 and c_0 with a batch axis, None for zeros, or refuse them."""
    if hx is None:
        return None, None
    h_0, c_0 = _pair(hx)
    lead = (sizes.LD, B) if batched else (sizes.LD,)
    state(h_0, "hx[0]", (*lead, sizes.R), dtype)
    state(c_0, "hx[1]", (*lead, sizes.H), dtype)
    return (h_0, c_0) if batched else (h_0.unsqueeze(1), c_0.unsqueeze(1))


def _pair(hx: Any) -> tuple[Any, Any]:
    if not isinstance(hx, tuple | list):
        raise Refused(f"hx should be a pair of tensors (h, c), got: {type(hx).__name__}")
    if len(hx) != 2:
        raise Refused(f"hx should be a pair of tensors (h, c), got: {type(hx).__name__} of length {len(hx)}")
    return hx[0], hx[1]


def state(t: Any, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Refuse a state of another kind or shape."""
    tensor(t, name, dtype)
    if t.shape != shape:
        raise Refused(f"Expected {name.replace('hx', 'hidden')} size {shape}, got {list(t.shape)}")


def step(input: Any, hx: Any, sizes: Sizes, dtype: torch.dtype) -> tuple[Padded, tuple[Maybe, Maybe]]:
    """Return a cell's input as one step, [1, B, I], with its states, or refuse them."""
    tensor(input, "input", dtype)
    shape = input.shape
    if len(shape) != 2 and len(shape) != 1:
        raise Refused(f"LSTMCell: Expected input to be 1D or 2D, got {len(shape)}D instead")
    if shape[-1] != sizes.I:
        raise Refused(f"input has inconsistent input_size: got {shape[-1]} expected {sizes.I}")
    rows = tuple(shape[:-1])
    B = rows[0] if rows else 1
    given = Padded(input.reshape(1, B, sizes.I), 1, B, len(shape) == 2, False)
    if hx is None:
        return given, (None, None)
    h, c = _pair(hx)
    state(h, "hx[0]", (*rows, sizes.H), dtype)
    state(c, "hx[1]", (*rows, sizes.H), dtype)
    return given, (h.reshape(1, B, sizes.H), c.reshape(1, B, sizes.H))


def steps(lengths: Any, resets: Any, given: Padded, sizes: Sizes) -> tuple[Any, Any]:
    """Check the steps of each row, and where rows start anew, [T, B]; None for None."""
    _, T, B, batched, batch_first = given
    if isinstance(lengths, Tensor) and lengths.numel() and (lengths.is_floating_point() or lengths.dtype == torch.bool):
        raise TypeError(f"lengths should be integers, got dtype: {lengths.dtype}. Convert it: lengths.long()")
    if lengths is not None:
        lengths = _checks.lengths(lengths, T, B if batched else None)
    if resets is None:
        return lengths, None
    if sizes.D == 2:
        raise ValueError("resets need a unidirectional layer: the reverse direction would read across them")
    if isinstance(resets, Tensor) and resets.dtype != torch.bool:
        raise TypeError(f"resets should have dtype torch.bool, got: {resets.dtype}. Convert it: resets.bool()")
    wanted = (B, T) if batch_first else (T, B) if batched else (T,)
    flags = _checks.resets(resets, wanted, "one for every step of every row")
    return lengths, flags.T if batch_first else flags.reshape(T, B)


def packed(data: Any, batch_sizes: Tensor) -> NDArray[np.int64]:
    """Return how many rows each step of a PackedSequence has, or refuse it; raise where its parts do not fit."""
    tensor(data, "input.data", data.dtype)
    rows: NDArray[np.int64] = batch_sizes.numpy()
    total = int(rows.sum())
    if data.dim() != 2 or data.size(0) != total:
        raise ValueError(
            f"a PackedSequence with {total} steps (its batch_sizes) needs data of as many rows, got "
            f"{tuple(data.shape)}: were lengths longer than the padded data packed?"
        )
    if len(rows) == 0 or rows[-1] < 1 or (rows[1:] > rows[:-1]).any():
        raise Refused("batch_sizes should be positive, and fall from step to step or stay")
    return rows


def packed_states(hx: Any, rows: NDArray[np.int64]) -> None:
    """Raise for what torch's code would take, and return rows of h_n that it has not written."""
    if rows[0] != rows[-1] or not isinstance(hx, tuple | list):
        return
    for k, t in enumerate(hx):
        if isinstance(t, Tensor) and t.dim() == 3 and t.size(1) > rows[0]:
            raise RuntimeError(f"Expected hx[{k}] to have the PackedSequence's batch size {rows[0]}, got {t.size(1)}")


def packed_data(data: Tensor, sizes: Sizes, dtype: torch.dtype) -> None:
    """Refuse packed rows of another dtype or width."""
    if data.dtype != dtype:
        raise OtherDtype("input.data", data.dtype, dtype)
    if data.size(1) != sizes.I:
        raise Refused(f"input.size(-1) must be equal to input_size. Expected {sizes.I}, got {data.size(1)}")


# ---- what can be done about it ---------------------------------------------------------------------------------------


def real(given: Any) -> Any:
    """Give zeros without memory, which autograd makes, theirs: oneDNN would read what happens to be there."""
    if isinstance(given, PackedSequence):
        return PackedSequence(real(given.data), *given[1:])
    if isinstance(given, tuple | list):
        return tuple(map(real, given))
    return given.clone() if isinstance(given, Tensor) and given._is_zerotensor() else given


def of_one_dtype(data: Any, hx: Any, dtype: torch.dtype) -> None:
    """Refuse a call whose input and states have not the parameters' dtype."""
    names = ("input", "hx[0]", "hx[1]")
    for name, t in zip(names, (data, *(hx if isinstance(hx, tuple | list) else ())), strict=False):
        if isinstance(t, Tensor) and t.dtype != dtype:
            raise OtherDtype(name, t.dtype, dtype)


def narrowed(made: Any, dtype: torch.dtype) -> Any:
    """Round results, nested in tuples, to a dtype."""
    if isinstance(made, PackedSequence):
        return PackedSequence(made.data.to(dtype), *made[1:])
    return tuple(narrowed(t, dtype) for t in made) if isinstance(made, tuple) else made.to(dtype)


def widened(given: Any, dtype: torch.dtype) -> Any:
    """Give tensors of half precision, which autocast makes, another dtype."""
    if isinstance(given, PackedSequence):
        return PackedSequence(widened(given.data, dtype), *given[1:])
    if isinstance(given, tuple | list):
        return tuple(widened(t, dtype) for t in given)
    return given.to(dtype) if isinstance(given, Tensor) and given.dtype in HALVES else given
