"""Packed copies of torch parameters, and when they have to be made anew."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import _core, _isa, _weights
from .._plans import PlanCache
from . import _accept
from ._call import Addresses
from ._threads import workers

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


_INTEGERS: Final = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Look:
    """What the values of some parameters were, for comparison with all of them: to the bit."""

    def __init__(self, held: list[Tensor], threads: int | None) -> None:
        item = held[0].element_size()
        dense = [p for p in held if _is_dense(p)]
        sizes = [p.numel() * item for p in dense]
        self.digest = _core.Digest([p.data_ptr() for p in dense], sizes, _isa.resolve(None), workers(threads))
        # with gaps or overlaps between their values: compared with a copy, as integers, since NaN is not NaN
        integers = _INTEGERS[item]
        views = [p.view(integers) for p in held if not _is_dense(p)]
        self.others = [(p, p.clone()) for p in views]

    def same(self, threads: int | None) -> bool:
        """Tell whether every value is still what it was."""
        return self.digest.same(workers(threads)) and all(torch.equal(p, copy) for p, copy in self.others)


def _is_dense(p: Tensor) -> bool:
    """Tell whether the values are a stretch of memory without gaps and overlaps, in whatever order of axes."""
    expected = 1
    for stride, size in sorted((stride, size) for stride, size in zip(p.stride(), p.shape, strict=True) if size > 1):
        if stride != expected:
            return False
        expected *= size
    return True


class Kept(NamedTuple):
    """Parameters, and the plan packed from them. Held, so that neither their address nor their version comes again."""

    plan: _core.Plan
    seen: _core.Seen | Seen
    held: list[Tensor]  #: detached: they keep the memory
    look: Look | None  #: None: they were frozen
    unpacked: Addresses | None  #: where single steps may read the parameters as they are
    direct: _core.Direct | None  #: the short way of everyday calls
    weights: str | None  #: what the matrices were asked to be stored in

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The parameters themselves, in torch's order."""
        return self.seen.tensors

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters; float32 for those of 16 bits, whose values it holds."""
        return _accept.computed_in(self.held[0].dtype)


def array_of(p: Tensor) -> NDArray[Any]:
    """View as a contiguous array, to be read; not by .numpy(): after that FSDP could not resize the storage again."""
    return np.from_dlpack(p.to(_accept.computed_in(p.dtype)).contiguous())


class Plans(PlanCache[Kept]):
    """The packed weights of one module: made when first needed, and again when a parameter has changed.

    Whether one has is seen by its identity, its memory and its version, which every in-place operation moves on; and
    by looking at every value, for writes past the version: through ``parameter.data``, NumPy, or whoever else has the
    memory. Who promises that there are none, saves the look.
    """

    def of(
        self,
        parameters: list[Tensor],
        *,
        frozen: bool = False,
        unpacked: bool = False,
        threads: int | None = 1,
        weights: str | None = None,
    ) -> Kept:
        """Return what is packed of these parameters (torch's order) as they are now; raise where that cannot be.

        With `frozen` their values are not looked at, if all have a version; nor with `unpacked`, by which the caller
        says that it reads them as they are where it may. `threads` share the look; None for torch's number. `weights`
        is what to store the matrices in.
        """

        def holds(kept: Kept) -> bool:
            if kept.weights != weights or not kept.seen.same(parameters):
                return False
            if (frozen and kept.seen.versioned) or (unpacked and kept.unpacked is not None):
                return True
            return kept.look is not None and kept.look.same(threads)

        return self.current(holds, lambda: self._make(parameters, frozen, threads, weights))

    def _make(self, parameters: list[Tensor], frozen: bool, threads: int | None, weights: str | None) -> Kept:
        _accept.parameters(parameters, self.sizes, halves=weights is not None)
        dtype = parameters[0].dtype
        stored = _weights.checked(weights, np.dtype(np.float64 if dtype == torch.float64 else np.float32))
        # seen and looked at before they are packed: a write meanwhile is noticed at the next call
        tensors, versions = tuple(parameters), tuple(map(_version, parameters))
        seen = Seen(tensors, versions) if TABLE is None else _core.Seen(TABLE, tensors, versions)
        held = [p.detach() for p in parameters]
        look = None if frozen and seen.versioned else Look(held, threads)
        plan = self.pack(self.sizes.named(map(array_of, held)), stored)
        direct = None
        if isinstance(seen, _core.Seen) and (look is None or not look.others) and dtype not in _accept.HALVES:
            digest, names = None if look is None else look.digest, tuple(self.sizes.shapes)
            direct = _core.Direct(plan, seen, digest, held, Tensor, names)
        return Kept(plan, seen, held, look, self._unpacked(plan, held), direct, weights)

    def _unpacked(self, plan: _core.Plan, held: list[Tensor]) -> Addresses | None:
        """Return the addresses of each layer's parameters if steps are to read them as they are."""
        if not plan.fits_unpacked or plan.nbytes < _core.UNPACKED_BYTES or not all(p.is_contiguous() for p in held):
            return None
        rows = self.sizes.rows(self.sizes.named(p.data_ptr() for p in held))
        return [(ih or 0, hh or 0, bias_ih or 0, bias_hh or 0) for ih, hh, bias_ih, bias_hh, *_ in rows]
