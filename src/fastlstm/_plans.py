"""Weights packed for the core, and kept for as long as they are what their owner has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from . import _core, _forms, _isa, _weights
from ._forms import Form
from ._integers import Parameter
from ._sizes import Sizes
from ._types import Array

T = TypeVar("T")

_STANDARD: Final = Form()


def pack(
    sizes: Sizes,
    parameters: Mapping[str, Array],
    memory: _core.Memory,
    form: Form = _STANDARD,
    isa: str | None = None,
    weights: str | None = None,
) -> _core.Plan:
    """Pack parameters, by torch's names and contiguous, for calls whose scratch is kept in `memory`."""
    _weights.check_sizes(weights, sizes.I, sizes.H, sizes.D * sizes.R)
    bits = 8 * next(iter(parameters.values())).itemsize if weights is None else 32  # others are widened to be seen
    numbers = sizes.I, sizes.H, sizes.P, sizes.L, sizes.D
    rest = memory, _forms.packed(form), _weights.number(weights)
    return _core.Plan(bits, *numbers, sizes.rows(_weights.packable(parameters)), _isa.resolve(isa, weights), *rest)


class PlanCache(Generic[T]):
    """The latest packed weights of a module whose parameters are another library's, which does not tell of changes.

    What is kept is the adapter's: a plan, and all that tells whether it still holds the parameters. It is made once
    and not changed, and replaced as a whole: a call under way goes on with what it has got, and two threads that both
    find it stale both make a new one, either of which may stay.
    """

    def __init__(self, sizes: Sizes) -> None:
        self.sizes = sizes
        self.kept: T | None = None
        self._memory = _core.Memory()  # blocks outlive a change of weights

    def pack(self, parameters: Mapping[str, Parameter], weights: str | None = None) -> _core.Plan:
        """Pack parameters of the standard cell, by torch's names and contiguous."""
        return pack(self.sizes, _weights.stored(parameters, weights), self._memory, weights=weights)

    def current(self, holds: Callable[[T], bool], make: Callable[[], T]) -> T:
        """Return what is kept if that `holds`, or make it anew; nothing is kept where that fails."""
        kept = self.kept
        if kept is None or not holds(kept):
            self.kept = None
            self.kept = kept = make()
        return kept
