"""The packed copy of a layer's weights, and how it is kept from being stale."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import fastlstm

from .. import _core, _isa
from .._plans import PlanCache
from .._sizes import Sizes
from .._types import Array
from ._activations import Name

Activations = tuple[Name, Name]

STANDARD: Activations = ("sigmoid", "tanh")


class Kept(NamedTuple):
    """One version of the weights, and the `fastlstm.LSTM` that holds them packed; its weights never change."""

    watched: _core.Watched
    activations: Activations
    stored_as: str | None
    lstm: fastlstm.LSTM


class Plans(PlanCache[Kept]):
    """The packed weights of one layer: made when first needed, and again when a weight has changed.

    Reading every weight is the one certain way: neither the address of a tensor nor torch's version counter tells of a
    value written through ``tensor.data`` or a NumPy view. It takes about as long as one time step.
    """

    def of(self, weights: list[Array], activations: Activations, stored_as: str | None = None) -> fastlstm.LSTM:
        """Return an LSTM that holds kernel [I, 4H], recurrent_kernel [H, 4H] and, if there is one, bias [4H].

        Its matrices are stored in `stored_as`.
        """
        dtype = np.dtype(np.float64 if weights[0].dtype == np.float64 else np.float32)
        before = self.kept

        def holds(kept: Kept) -> bool:
            return (kept.activations, kept.stored_as) == (activations, stored_as) and kept.watched.same(weights)

        def make() -> Kept:
            watched = _core.Watched(weights, _isa.resolve(None))  # before they are packed: a write meanwhile is noticed
            made = [array.astype(dtype, copy=False) for array in weights]
            settings = activations, stored_as, dtype
            if before is not None and (before.activations, before.stored_as, before.lstm.dtype) == settings:
                # another object, not new weights in the old one: its tapes are still good for its backward pass
                return Kept(watched, activations, stored_as, before.lstm._replaced(self._named(made)))
            return Kept(watched, activations, stored_as, self._layer(made, activations, stored_as))

        return self.current(holds, make).lstm

    def _layer(self, weights: list[Array], activations: Activations, stored_as: str | None) -> fastlstm.LSTM:
        form: dict[str, Any] = {"weights": stored_as}
        if activations != STANDARD:
            gate, cell = activations
            form["form"] = fastlstm.Form(gate=gate, candidate=cell, cell=cell)
        sizes = self.sizes
        lstm = fastlstm.LSTM(sizes.I, sizes.H, bias=sizes.bias, batch_first=True, dtype=weights[0].dtype, **form)
        lstm.load_state_dict(self._named(weights))
        return lstm

    def _named(self, weights: list[Array]) -> dict[str, Array]:
        """Name the weights as torch does, who has two biases."""
        kernel, recurrent, *bias = weights
        return self.sizes.named([kernel.T, recurrent.T, *bias, *map(np.zeros_like, bias)])


def plans(weights: list[Array]) -> Plans:
    """Make room for the packed copy of weights of these shapes."""
    return Plans(Sizes(len(weights[0]), len(weights[1]), bias=len(weights) == 3))
