"""Packed copies of torch parameters, and when they have to be made anew."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import _core, _forms, _isa, _sizes
from . import _fit
from ._threads import pool

SHARED = 1 << 20  # bytes of parameters from which threads share the look at them


class Sizes(NamedTuple):
    """What a plan is made for."""

    input_size: int
    hidden_size: int
    proj_size: int
    num_layers: int
    directions: int
    bias: bool


_table = getattr(Tensor, "__dlpack_c_exchange_api__", None)  # torch 2.10 and later
TABLE = _table if _core.has_dlpack_table(_table) else None


class Seen:
    """What `_core.Seen` tells, by attributes: for a torch without the table that it needs."""

    def __init__(self, tensors: tuple[Tensor, ...], versions: tuple[int | None, ...]) -> None:
        self.tensors = tensors
        self.versioned = None not in versions
        self._facts = [_facts(p, version) for p, version in zip(tensors, versions, strict=True)]

    def same(self, tensors: list[Tensor]) -> bool:
        """Tell whether these are the tensors seen, as they were but perhaps for values written past their versions."""
        return len(tensors) == len(self.tensors) and all(
            p is q and _facts(p, _version(p)) == facts
            for p, q, facts in zip(tensors, self.tensors, self._facts, strict=True)
        )


def _facts(p: Tensor, version: int | None) -> tuple[object, ...]:
    return p.data_ptr(), version, p.shape, p.stride(), p.dtype, p.is_neg()


def _version(p: Tensor) -> int | None:
    return None if p.is_inference() else p._version


class Look:
    """What the values of some parameters were, for comparison with all of them: to the bit."""

    def __init__(self, held: list[Tensor], isa: bytes, workers: _core.Workers | None) -> None:
        item = held[0].element_size()
        dense = [p for p in held if _is_dense(p)]
        self.digest = _core.Digest([p.data_ptr() for p in dense], [p.numel() * item for p in dense], isa, workers)
        # with gaps or overlaps between their values: compared with a copy, as integers, since NaN is not NaN
        integers = torch.int32 if item == 4 else torch.int64
        views = [p.view(integers) for p in held if not _is_dense(p)]
        self.others = [(p, p.clone()) for p in views]

    def same(self, workers: _core.Workers | None) -> bool:
        """Tell whether every value is still what it was."""
        return self.digest.same(workers) and all(torch.equal(p, copy) for p, copy in self.others)


def _is_dense(p: Tensor) -> bool:
    """Tell whether the values are a stretch of memory without gaps and overlaps, in whatever order of axes."""
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(p.stride(), p.shape, strict=True) if size > 1):
        if stride != expected:
            return False
        expected *= size
    return True


class Snapshot(NamedTuple):
    """The parameters that a plan was packed from. Held, so that neither their address nor their version comes again."""

    plan: _core.Plan
    seen: _core.Seen | Seen
    held: list[Tensor]  # detached: they keep the memory
    look: Look | None  # None: they were frozen
    rows: list[tuple[int, int, int, int]] | None  # addresses, where single steps may read the parameters as they are
    nbytes: int  # of the parameters


class Packed:
    """The packed weights of one module: made when first needed, and again when a parameter has changed.

    Whether one has is seen by its identity, its memory and its version, which every in-place operation moves on; and
    by looking at every value, for writes past the version: through ``parameter.data``, NumPy, or whoever else has the
    memory. Who promises that there are none, saves the look.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self._memory = _core.Memory()
        self.last: Snapshot | None = None

    def current(
        self, parameters: list[Tensor], *, frozen: bool = False, rows: bool = False, threads: int | None = 1
    ) -> Snapshot | str:
        """Return what is packed of these parameters (torch's order) as they are now, or why that cannot be.

        With `frozen` their values are not looked at, if all have a version; nor with `rows`, by which the caller says
        that it reads `Snapshot.rows` where there are any. `threads` share the look; None for torch's number.
        """
        last = self.last
        if last is not None and last.seen.same(parameters):
            if (frozen and last.seen.versioned) or (rows and last.rows is not None):
                return last
            if last.look is not None and last.look.same(pool(threads) if last.nbytes >= SHARED else None):
                return last
        unfit = _unfit(parameters, self.sizes)
        if unfit is not None:
            self.last = None
            return unfit
        self.last = last = self._pack(parameters, frozen, threads)
        return last

    def _pack(self, parameters: list[Tensor], frozen: bool, threads: int | None) -> Snapshot:
        isa = _isa.resolve(None)
        # seen and looked at before they are packed: a write meanwhile is noticed at the next call
        tensors, versions = tuple(parameters), tuple(map(_version, parameters))
        seen = Seen(tensors, versions) if TABLE is None else _core.Seen(TABLE, tensors, versions)
        held = [p.detach() for p in parameters]
        item = held[0].element_size()
        nbytes = item * sum(p.numel() for p in held)
        look = None if frozen and seen.versioned else Look(held, isa, pool(threads) if nbytes >= SHARED else None)
        # not by .numpy(), after which a storage can never be resized again, as FSDP does
        arrays = [np.from_dlpack(p.contiguous()) for p in held]
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
            isa,
            self._memory,
            _forms.packed(_forms.Form()),
        )
        return Snapshot(plan, seen, held, look, _unpacked(plan, held, s), nbytes)


def _unpacked(plan: _core.Plan, held: list[Tensor], sizes: Sizes) -> list[tuple[int, int, int, int]] | None:
    """Return the addresses of each layer's parameters if steps are to read them as they are."""
    if not plan.fits_unpacked or plan.nbytes < _core.UNPACKED_BYTES or not all(p.is_contiguous() for p in held):
        return None
    each = 4 if sizes.bias else 2
    places = [[p.data_ptr() for p in held[j : j + each]] for j in range(0, len(held), each)]
    return [(ih, hh, *(biases or (0, 0))) for ih, hh, *biases in places]


def _unfit(parameters: list[Tensor], sizes: Sizes) -> str | None:
    """Say why these parameters cannot be packed; raise where torch's own code would read memory that is not there."""
    first = parameters[0]
    shapes = list(_sizes.Sizes(*sizes).shapes.values())
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
        if p.layout != torch.strided or p.shape != shape:
            return f"a parameter has layout {p.layout} and shape {tuple(p.shape)}"
        if p._is_zerotensor():
            return "a parameter is torch's zero tensor"
        if _fit.wraps(p) or p.is_neg():
            return _fit.memory(p, "a parameter")
        there = p.untyped_storage().nbytes()
        if _extent(p) > there:
            raise RuntimeError(
                f"a parameter of shape {tuple(p.shape)} has a storage of {there} bytes, expected {_extent(p)} or more: "
                "it was freed or resized, as FSDP does between a module's calls"
            )
    return None


def _extent(p: Tensor) -> int:
    """Return the bytes from the storage's beginning to the end of the last value."""
    last = sum(stride * (size - 1) for stride, size in zip(p.stride(), p.shape, strict=True))
    return (p.storage_offset() + last + 1) * p.element_size()
