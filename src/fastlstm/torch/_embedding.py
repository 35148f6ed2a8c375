"""Embedding: torch.nn.Embedding that tells an LSTM of ours which tokens its input stands for."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from .. import _core
from ._accept import Unfit
from ._plans import array_of
from ._switch import Switched


class Lookup(NamedTuple):
    """What a tensor was looked up from."""

    weight: Tensor  #: of the embedding
    facts: tuple[object, ...]  #: of the weight: see `_facts`
    tokens: Tensor  #: a copy


#: By the very tensor, and not by what is made of it. Not an attribute, which would go with copies and into files.
_lookups = WeakTensorKeyDictionary()
_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def _facts(weight: Tensor) -> tuple[object, ...]:
    """Tell what changes with the weight's values, but for what is written past its version."""
    return weight.data_ptr(), weight._version, weight.shape, weight.stride(), weight.dtype, weight.is_neg()


class Embedding(Switched, torch.nn.Embedding):
    """torch.nn.Embedding, whose result an `LSTM` with `tables` knows for what it is."""

    _theirs = torch.nn.Embedding

    def forward(self, input: Tensor) -> Tensor:
        """Look up, and where no gradient is wanted, remember what."""
        made = super().forward(input)
        if not torch.compiler.is_compiling() and not torch.is_grad_enabled() and type(made) is Tensor:
            weight = self.weight
            if type(weight) is torch.nn.Parameter and not weight.is_inference():
                _lookups[made] = Lookup(weight, _facts(weight), input.detach().to(torch.int64, copy=True))
        return made


def lookup_of(x: Any) -> Lookup:
    """Return what a tensor was looked up from, or say why that is not known."""
    found: Lookup | None = _lookups.get(x) if type(x) is Tensor else None
    if found is None:
        raise Unfit("its input is not just what an accelerated Embedding has looked up")
    if _facts(found.weight) != found.facts:
        raise Unfit("the Embedding has other weights by now")
    if not _same_bits(x, torch.nn.functional.embedding(found.tokens, found.weight)):
        raise Unfit("its input has been changed since it was looked up")
    return found


def _same_bits(x: Tensor, y: Tensor) -> bool:
    """Compare all values: a version would not tell of what NumPy or `Tensor.data` have written. NaN is not NaN."""
    kind = _INTEGERS.get(y.dtype)
    return kind is not None and x.dtype == y.dtype and torch.equal(x.view(kind), y.view(kind))


class Tabled(NamedTuple):
    """A table, and what it was made of."""

    plan: _core.Plan
    weight: Tensor
    facts: tuple[object, ...]
    table: _core.TableCore

    def serves(self, plan: _core.Plan, lookup: Lookup) -> bool:
        """Tell whether it holds what this plan makes of the rows of this embedding."""
        return self.plan is plan and self.weight is lookup.weight and self.facts == lookup.facts


def tabled(plan: _core.Plan, lookup: Lookup, most: int, workers: _core.Workers | None) -> Tabled:
    """Make a table of an embedding, or say why not."""
    weight = lookup.weight
    if weight.device.type != "cpu" or weight.size(1) != plan.input_size:
        raise Unfit(f"the Embedding is on {weight.device}, of shape {tuple(weight.shape)}")
    bytes = plan.table_nbytes(weight.size(0))
    if bytes > most:
        raise Unfit(f"a table of {weight.size(0)} tokens takes {bytes} bytes, more than tables={most}")
    return Tabled(plan, weight, lookup.facts, _core.TableCore(plan, array_of(weight.detach()), workers))
