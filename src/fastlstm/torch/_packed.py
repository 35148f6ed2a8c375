"""Packed copies of torch parameters, and when they have to be made anew."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .. import _core, _forms, _isa, _parameters

# 16 values of every parameter are compared at every call: 0.3 us for a layer, and no average or optimizer that writes
# to ``parameter.data`` or through NumPy, behind the version counter's back, leaves all of them as they are.
SAMPLED = 16
WHOLE = 128  # smaller ones are compared whole: gradcheck writes single values


class Sizes(NamedTuple):
    """What a plan is made for."""

    input_size: int
    hidden_size: int
    proj_size: int
    num_layers: int
    directions: int
    bias: bool


class Snapshot(NamedTuple):
    """The parameters that a plan was packed from. Held, so that neither their address nor their version comes again."""

    parameters: list[Tensor]
    seen: list[tuple[int, int]]  # address and version of each
    storages: list[Tensor]  # detached: keeps the memory that the sample reads
    sample: _core.Sample
    plan: _core.Plan | None
    unfit: str | None


class Packed:
    """The packed weights of one module: made when first needed, and again when a parameter has changed.

    Whether one has is seen by its identity, its address and its version, which every in-place operation moves on; and
    by a sample of its values, for writes past the version (``parameter.data.copy_``).
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._memory = _core.Memory()
        self.last: Snapshot | None = None

    def plan(self, parameters: list[Tensor]) -> _core.Plan | str:
        """Return the plan of these parameters (torch's order), or why there cannot be one."""
        last = self.last
        if last is None or not _same(last, parameters):
            self.last = last = self._pack(parameters)
        return last.plan or last.unfit or ""

    def _pack(self, parameters: list[Tensor]) -> Snapshot:
        unfit = _unfit(parameters, self.sizes)
        if unfit is not None:
            return Snapshot(parameters, [], [], _core.Sample([], [], 4, 0, 0), None, unfit)
        # before they are read: a write meanwhile is noticed at the next call
        seen = [(p.data_ptr(), p._version) for p in parameters]
        held = [p.detach() for p in parameters]
        item = held[0].element_size()
        flat = [p for p in held if p.is_contiguous()]
        sample = _core.Sample([p.data_ptr() for p in flat], [p.numel() for p in flat], item, SAMPLED, WHOLE)
        arrays = [p.contiguous().numpy() for p in held]
        s = self.sizes
        each = 2 + 2 * s.bias + (s.proj_size > 0)
        rows = []
        for j in range(0, len(arrays), each):
            biases = tuple(arrays[j + 2 : j + 4]) if s.bias else (None, None)
            rows.append((*arrays[j : j + 2], *biases, arrays[j + each - 1] if s.proj_size else None, None))
        plan = _core.Plan(
            8 * item,
            s.input_size,
            s.hidden_size,
            s.proj_size,
            s.num_layers,
            s.directions,
            rows,
            _isa.resolve(None),
            self._memory,
            _forms.packed(_forms.Form()),
        )
        return Snapshot(parameters, seen, held, sample, plan, None)


def _same(last: Snapshot, parameters: list[Tensor]) -> bool:
    if last.plan is None:
        return False
    for p, q, (address, version) in zip(parameters, last.parameters, last.seen, strict=True):
        if p is not q or p._version != version or p.data_ptr() != address:
            return False
    return last.sample.same()


def _unfit(parameters: list[Tensor], sizes: Sizes) -> str | None:
    """Say why these parameters cannot be packed."""
    first = parameters[0]
    shapes = list(_parameters.stack_shapes(*sizes).values())
    if len(parameters) != len(shapes):
        return f"there are {len(parameters)} parameters, not {len(shapes)}"
    for p, shape in zip(parameters, shapes, strict=True):
        if not isinstance(p, Tensor) or type(p) not in (Tensor, torch.nn.Parameter):
            return f"a parameter is a {type(p).__name__}"
        if p.device.type != "cpu":
            return f"parameters are on {p.device}"
        if p.dtype not in (torch.float32, torch.float64) or p.dtype != first.dtype:
            return f"a parameter has dtype {p.dtype}" + (
                "" if p.dtype == first.dtype else f", another one {first.dtype}"
            )
        if p.layout != torch.strided or p.is_neg() or p.shape != shape:
            return f"a parameter has layout {p.layout} and shape {tuple(p.shape)}"
        if p.is_inference():
            return "parameters made in inference mode have no version by which changes could be seen"
    return None
