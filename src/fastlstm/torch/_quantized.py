"""What torch has quantised dynamically, on its own integers: reading packed weights, and what both modules share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch._C._dynamo.eval_frame import get_eval_frame_callback as _watcher

from .. import _core, _integers, _weights
from .._integers import Parameter
from .._plans import PlanCache
from .._sizes import Sizes
from .._types import Array
from . import _accept, _autograd
from ._accept import Unfit, ZeroTensor
from ._switch import Switched

_FLOAT32 = np.dtype(np.float32)


class Kept(NamedTuple):
    """Packed weights of torch's, held as they cannot be changed, and the plan that is made of them."""

    plan: _core.Plan
    held: tuple[Any, ...]
    weights: str | None  #: what the matrices were asked to be stored in


class Dynamic:
    """Mixed into the classes of torch.ao.nn.quantized.dynamic.

    Attributes
    ----------
    weights : str or None
        What to store the matrices in; None: as torch has them, ``"int8"`` with its integers or ``"float16"``.
    threads : int or None
        As for `fastlstm.torch.LSTM`.
    fallback : str or None
        Why the last call ran on torch's own code; None if it ran here.
    """

    _theirs: ClassVar[type[torch.nn.Module]]
    weights: str | None = None
    threads: int | None = None
    fallback: str | None = None

    def _sizes(self) -> Sizes:
        raise NotImplementedError

    def _packed(self) -> tuple[Any, ...]:
        """Return torch's packed objects; where weights change, other ones take their place."""
        raise NotImplementedError

    def _matrices(self) -> list[tuple[Any, Any]]:
        """Return the packed products with x and with h, of each layer and direction."""
        raise NotImplementedError

    def _here(self, input: Any, hx: Any) -> Any:
        """Run here, or raise Unfit."""
        raise NotImplementedError

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run as torch's own module does, its arguments and results."""
        if torch.compiler.is_dynamo_compiling():
            return _unwatched()(self, input, hx)  # ends the graph
        if torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack():
            return super().forward(input, hx)  # type: ignore[misc]
        return (Dynamic._eager if _watcher() is None else _unwatched())(self, input, hx)

    def _eager(self, input: Any, hx: Any) -> Any:
        try:
            found = self._here(input, hx)
        except Unfit as unfit:
            why = unfit.with_traceback(None)  # which would keep the tensors
        else:
            self.fallback = None
            return found
        if isinstance(why, ZeroTensor):
            return self._eager(_accept.real(input), _accept.real(hx))
        self.fallback = str(why)
        return super().forward(input, hx)  # type: ignore[misc]

    def _kept(self) -> Kept:
        """Return what is packed of the weights as they are now, or raise Unfit."""
        plans: PlanCache[Kept] | None = self.__dict__.get("_plans")
        if plans is None:
            plans = self.__dict__.setdefault("_plans", PlanCache(self._sizes()))
        packed, weights = self._packed(), self.weights

        def holds(kept: Kept) -> bool:
            same = len(kept.held) == len(packed) and all(a is b for a, b in zip(kept.held, packed, strict=True))
            return same and kept.weights == weights

        return plans.current(holds, lambda: self._made(plans, packed, weights))

    def _made(self, plans: PlanCache[Kept], packed: tuple[Any, ...], weights: str | None) -> Kept:
        try:
            parameters, own = read(self._matrices(), plans.sizes)
            stored = own if weights is None else _weights.checked(weights, _FLOAT32)
            return Kept(plans.pack(parameters, stored), packed, weights)
        except (ValueError, TypeError) as error:
            raise Unfit(str(error)) from None

    def _set_weights(self, weights: str | None) -> None:
        """Set the attribute, checked; "auto" is what torch has."""
        self.weights = None if weights == _weights.AUTO else weights

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weights" and value is not None:
            _weights.checked(value, _FLOAT32)
        super().__setattr__(name, value)

    def _get_name(self) -> str:
        """Tell ``print(model)`` what runs here."""
        return f"fastlstm.{super()._get_name()}"  # type: ignore[misc]

    def extra_repr(self) -> str:
        """Tell the sizes as torch does, and what the matrices are to be stored in."""
        told: str = super().extra_repr()  # type: ignore[misc]
        return told if self.weights is None else f"{told}, weights={self.weights!r}"

    __prepare_scriptable__ = Switched.__prepare_scriptable__

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_plans", None)  # made again when needed
        return state


@functools.cache
def _unwatched() -> Callable[..., Any]:
    """Return `Dynamic._eager` for where dynamo follows Python's calls: see `_lstm`."""
    made: Callable[..., Any] = torch._dynamo.disable(Dynamic._eager)
    return made


def fit(data: Any, hx: Any) -> None:
    """Refuse what is around a call, and a call that wants a gradient."""
    _accept.surroundings()
    _accept.no_autocast()
    states = hx if isinstance(hx, tuple | list) else ()
    if _autograd.wants_gradient(*(t for t in (data, *states) if isinstance(t, Tensor))):
        raise Unfit("a gradient is wanted, which there is none of for quantized weights here")


def read(matrices: list[tuple[Any, Any]], sizes: Sizes) -> tuple[dict[str, Parameter], str]:
    """Return parameters by torch's names, matrices as they are stored, and the type that they are stored in."""
    made: dict[str, Parameter] = {}
    kinds = set()
    for suffix, pair in zip(sizes.suffixes, matrices, strict=True):
        for which, packed in zip(("ih", "hh"), pair, strict=True):
            weight, bias = packed.__getstate__()[0]
            name = f"weight_{which}{suffix}"
            made[name] = _matrix(weight, name, sizes.shapes[name])
            kinds.add("int8" if weight.is_quantized else "float16")
            made[f"bias_{which}{suffix}"] = _bias(bias, sizes.shapes[f"bias_{which}{suffix}"])
    if len(kinds) != 1:
        raise Unfit("its matrices are of several types")
    (kind,) = kinds
    floats = {name: array for name, array in made.items() if not isinstance(array, _integers.Integers)}
    if kind == "float16" and not _weights.are_exact(floats, kind):
        raise Unfit("its matrices are not of float16")
    return made, kind


def _matrix(weight: Tensor, name: str, shape: tuple[int, ...]) -> Parameter:
    if not weight.is_quantized:
        if weight.dtype != torch.float32 or weight.shape != shape:
            raise Unfit(f"{name} has dtype {weight.dtype} and shape {tuple(weight.shape)}, expected {shape}")
        return weight.detach().contiguous().numpy()
    if weight.dtype not in (torch.qint8, torch.quint8):
        raise Unfit(f"{name} has dtype {weight.dtype}")
    scheme = weight.qscheme()
    scale: Array | np.float32
    zero_point: Array | int
    if scheme in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        scale, zero_point = np.float32(weight.q_scale()), weight.q_zero_point()
    elif scheme in (torch.per_channel_affine, torch.per_channel_symmetric) and weight.q_per_channel_axis() == 0:
        scale = weight.q_per_channel_scales().numpy().astype(np.float32)
        zero_point = weight.q_per_channel_zero_points().numpy()
    else:
        raise Unfit(f"{name} is quantized by another scheme than per tensor and per row: {scheme}")
    return _integers.matrix(weight.int_repr().numpy(), scale, zero_point, name, shape)


def _bias(bias: Tensor | None, shape: tuple[int, ...]) -> Array:
    if bias is None:
        return np.zeros(shape, np.float32)
    if bias.dtype != torch.float32 or bias.shape != shape:
        raise Unfit(f"a bias has dtype {bias.dtype} and shape {tuple(bias.shape)}, expected {shape}")
    return bias.detach().contiguous().numpy()
