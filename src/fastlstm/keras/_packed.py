"""The packed copy of a layer's weights, and how it is kept from being stale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastlstm

from ._activations import Name

Array = NDArray[Any]
Activations = tuple[Name, Name]

STANDARD: Activations = ("sigmoid", "tanh")


class Packed:
    """One version of the weights: what they were, and the `fastlstm.LSTM` that holds them. It never changes.

    Parameters
    ----------
    weights : sequence of arrays
        kernel [I, 4H], recurrent_kernel [H, 4H] and, if there is one, bias [4H].
    activations : pair
        The gates' activation, and the one of candidate and cell.
    """

    def __init__(self, weights: list[Array], activations: Activations, lstm: fastlstm.LSTM | None = None) -> None:
        self.weights = [np.array(array, order="C") for array in weights]
        self.activations = activations
        self.lstm = lstm or _lstm(self.weights, activations)

    def run(self, x: Array, h_0: Array, c_0: Array, lengths: Array | None) -> tuple[Array, Array, Array]:
        """Run on [B, T, I], [B, H], [B, H]: outputs [B, T, H], h_n [B, H] and c_n [B, H]."""
        outputs, (h_n, c_n) = self.lstm(x, (h_0[None], c_0[None]), lengths=lengths)
        return outputs, h_n[0], c_n[0]

    def next(self, weights: list[Array], activations: Activations) -> Packed:
        """Return what holds these weights: itself, if they are still the same to the last bit.

        Reading every weight is the one certain way: neither the address of a tensor nor torch's version counter tells
        of a value written through ``tensor.data`` or a NumPy view. It takes about as long as one time step.
        """
        if activations != self.activations or not all(map(_same_type, weights, self.weights)):
            return Packed(weights, activations)
        if all(map(_same_bits, weights, self.weights)):
            return self
        # Another object, not new weights in the old one: tapes of the old one are still good for its backward pass.
        return Packed(weights, activations, self.lstm._replaced(_parameters(weights)))


def _lstm(weights: list[Array], activations: Activations) -> fastlstm.LSTM:
    kernel = weights[0]
    form: dict[str, Any] = {}
    if activations != STANDARD:
        gate, cell = activations
        form["form"] = fastlstm.Form(gate=gate, candidate=cell, cell=cell)
    bias = len(weights) == 3
    I, width = kernel.shape
    lstm = fastlstm.LSTM(I, width // 4, bias=bias, batch_first=True, dtype=kernel.dtype, **form)
    lstm.load_state_dict(_parameters(weights))
    return lstm


def _parameters(weights: list[Array]) -> dict[str, Array]:
    """Name the weights as torch does, who has two biases."""
    kernel, recurrent, *bias = weights
    named = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T}
    for array in bias:
        named |= {"bias_ih_l0": array, "bias_hh_l0": np.zeros_like(array)}
    return named


def _same_type(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype


def _same_bits(a: Array, b: Array) -> bool:
    integers = f"i{a.itemsize}"  # as numbers NaN would differ from itself, and 0 would equal -0
    return np.array_equal(a.view(integers), b.view(integers))
