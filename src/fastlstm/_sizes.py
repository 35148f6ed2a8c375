"""Sizes of a stack of layers, and what follows from them: names and shapes of parameters, shapes of states."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterable, Mapping
from typing import Final, TypeVar

from ._types import Shape

A = TypeVar("A")
Shapes = dict[str, Shape]

#: A layer's parameters in one direction, in the order of a plan's rows, and of the rows of gradients.
_ROW: Final = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ph")
_GRADIENTS: Final = ("weight_ih", "weight_hh", "bias_ih", "weight_hr", "weight_ph")


@dataclasses.dataclass(frozen=True)
class Sizes:
    """What packed weights are made for; letters as in the shapes of `fastlstm.LSTM`."""

    I: int  #: input
    H: int  #: hidden
    P: int = 0  #: projection, 0 for none
    L: int = 1  #: layers
    D: int = 1  #: directions
    bias: bool = True
    peepholes: bool = False
    cell: bool = False  #: the names of a cell's parameters have no suffix
    R: int = dataclasses.field(init=False, compare=False)  #: width of h: P, or H without a projection
    LD: int = dataclasses.field(init=False, compare=False)  #: layers times directions: first axis of a state

    def __post_init__(self) -> None:
        object.__setattr__(self, "R", self.P or self.H)
        object.__setattr__(self, "LD", self.L * self.D)

    @functools.cached_property
    def suffixes(self) -> list[str]:
        """Endings of the parameters' names: layer by layer, the reverse direction after the forward one."""
        if self.cell:
            return [""]
        return [f"_l{layer}{reverse}" for layer in range(self.L) for reverse in ("", "_reverse")[: self.D]]

    @functools.cached_property
    def shapes(self) -> Shapes:
        """The parameters' shapes by their names, in torch's order."""
        shapes: Shapes = {}
        for j, suffix in enumerate(self.suffixes):
            shapes |= self._layer(suffix, self.I if j < self.D else self.R * self.D)
        return shapes

    def _layer(self, suffix: str, width: int) -> Shapes:
        """Name the parameters of one layer in one direction, whose input has this width; gates in the order i, f, g, o.

        Peepholes come where torch would have them, after weight_hh; their blocks are i, f, o.
        """
        H = self.H
        shapes: Shapes = {f"weight_ih{suffix}": (4 * H, width), f"weight_hh{suffix}": (4 * H, self.R)}
        if self.peepholes:
            shapes[f"weight_ph{suffix}"] = (3 * H,)
        if self.bias:
            shapes |= {f"bias_ih{suffix}": (4 * H,), f"bias_hh{suffix}": (4 * H,)}
        if self.P:
            shapes[f"weight_hr{suffix}"] = (self.P, H)
        return shapes

    def states(self, *B: int) -> tuple[Shape, Shape]:
        """Return the shapes of h and c, for B rows or unbatched: [L*D, B, R] and [L*D, B, H], or without B."""
        return (self.LD, *B, self.R), (self.LD, *B, self.H)

    def named(self, parameters: Iterable[A]) -> dict[str, A]:
        """Name parameters that come in torch's order."""
        return dict(zip(self.shapes, parameters, strict=True))

    def rows(self, parameters: Mapping[str, A]) -> list[tuple[A | None, ...]]:
        """Arrange parameters as `_core.Plan` takes them: one row for each layer and direction, None for what is not."""
        return [tuple(parameters.get(kind + suffix) for kind in _ROW) for suffix in self.suffixes]

    def gradient_rows(self, gradients: Mapping[str, A]) -> list[tuple[A | None, ...]]:
        """Arrange gradients as `_core.Tape` takes them: one for both biases, since z depends on their sum alone."""
        return [tuple(gradients.get(kind + suffix) for kind in _GRADIENTS) for suffix in self.suffixes]


def check_memory(count: int) -> None:
    """Refuse sizes whose weights cannot be addressed, or take more than any machine holds."""
    total = 8 * count  # in float64
    most = min(2**44, sys.maxsize // 4)
    if total > most:
        raise ValueError(f"sizes are too large: expected at most {most:.3g} bytes of weights, got: {total:.3g} or more")
