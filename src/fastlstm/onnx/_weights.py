"""W, R, B and P of the operator to the parameters of an LSTM, and back.

The operator's blocks are i, o, f, c, those of its peepholes i, o, f; here they are i, f, g, o and i, f, o.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from .. import _weights
from .._integers import Integers
from .._lstm import LSTM
from .._settings import Settings
from .._types import Array
from ..files._stored import FLOATS
from ._attributes import Attributes
from ._dtypes import computed_in
from ._forms import forms
from ._quantized import Quantized
from ._semantics import Semantics

# which block of the operator's comes first, second and so on here; and the other way round
_TO_IFGO: Final = [0, 2, 3, 1]
_TO_IOFC: Final = [0, 3, 1, 2]
_SWAPPED: Final = [0, 2, 1]  # i, o, f and i, f, o: its own inverse


#: Of the metadata of a model, which names the type that matrices are stored in.
WEIGHTS_KEY: Final = "fastlstm.weights"


class Tensors(NamedTuple):
    """The operator's weights, for D directions; matrices as numbers, or both as integers in rows."""

    W: Array | Quantized
    """[D, 4H, I]"""
    R: Array | Quantized
    """[D, 4H, H]"""
    B: Array | None = None
    """[D, 8H]: the input's biases, then the recurrent ones."""
    P: Array | None = None
    """[D, 3H]"""

    @property
    def nbytes(self) -> int:
        """What they take as parameters."""
        size = computed_in(self.W.dtype).itemsize
        given = [array for array in self if array is not None]
        return sum(array.nbytes if isinstance(array, Quantized) else array.size * size for array in given)


def check(tensors: Tensors, attributes: Attributes) -> None:
    """Check the shapes against each other and the attributes, and that there is one dtype."""
    W, R, *_ = tensors
    D = attributes.directions
    for name, array in (("W", W), ("R", R)):
        if array.ndim != 3:
            raise ValueError(f"{name} should have 3 dimensions, got shape {array.shape}")
    I, H = W.shape[2], R.shape[2] if attributes.hidden_size is None else attributes.hidden_size
    if I == 0 or H == 0:
        raise ValueError(f"W and R should have inputs and units, got shapes {W.shape} and {R.shape}")
    expected = {"W": (D, 4 * H, I), "R": (D, 4 * H, H), "B": (D, 8 * H), "P": (D, 3 * H)}
    letters = {"W": "(D, 4H, I)", "R": "(D, 4H, H)", "B": "(D, 8H)", "P": "(D, 3H)"}
    for name, given in tensors._asdict().items():
        if given is None:
            continue
        if given.shape != expected[name]:
            raise ValueError(f"{name} should have shape {expected[name]} = {letters[name]}, got: {given.shape}")
        if given.dtype != W.dtype:
            raise TypeError(f"{name} should have dtype {W.dtype}, that of W, got: {given.dtype}")


def build(
    tensors: Tensors,
    attributes: Attributes,
    semantics: Semantics,
    threads: int,
    weights: str | None = None,
    stored_in: str = "",
) -> tuple[LSTM, ...]:
    """Build the LSTM of a node; two of them, side by side, where its directions differ in form.

    `weights` is what to store the matrices in; "auto": as the model, by the type of W or else by `stored_in`. Integers
    stay such.
    """
    check(tensors, attributes)
    if isinstance(tensors.W, Quantized) and weights not in _weights.INTEGERS:
        weights = stored_in if weights == _weights.AUTO and stored_in in _weights.INTEGERS else "int8"
    W, R, B, P = tensors
    kinds = forms(attributes, P is not None, semantics)
    groups = [range(len(kinds))] if len(set(kinds)) == 1 else [range(d, d + 1) for d in range(len(kinds))]
    made = []
    for group in groups:
        parameters = parameters_of(tensors, group)
        settings = Settings(
            input_size=W.shape[2],
            hidden_size=R.shape[2],
            num_layers=1,
            bias=B is not None,
            batch_first=attributes.layout == 1,
            dropout=0.0,
            bidirectional=len(group) == 2,
            proj_size=0,
            dtype=computed_in(W.dtype),
            threads=1,
            isa=None,
            form=kinds[group[0]],
            weights=_chosen(parameters, tensors.W.dtype.name, stored_in) if weights == _weights.AUTO else weights,
        )
        made.append(LSTM._of(parameters, settings, threads))
    return tuple(made)


def _chosen(parameters: dict[str, Array], dtype: str, stored_in: str) -> str | None:
    """Return the type of the model's matrices, if they lose nothing in it."""
    kind = dtype if dtype in FLOATS and dtype in _weights.names() else stored_in
    if dtype == "float64" or not kind or not _weights.are_exact(parameters, kind):
        return None
    return kind


def takes_integers(weights: object) -> bool:
    """Tell whether what is asked for, None by default, leaves integers of a model as they are."""
    return weights is None or weights in (_weights.AUTO, *_weights.INTEGERS)


def parameters_of(tensors: Tensors, directions: range) -> dict[str, Array]:
    """Return the parameters of one LSTM under torch's names: in the dtype that is computed in, or integers."""
    dtype = computed_in(tensors.W.dtype)
    made: dict[str, Array] = {}
    for d, suffix in zip(directions, ("", "_reverse"), strict=False):
        for kind, array in _parameters(tensors, d).items():
            name = f"{kind}_l0{suffix}"
            made |= array.entries(name) if isinstance(array, Quantized) else {name: array.astype(dtype, copy=False)}
    return made


def _parameters(tensors: Tensors, d: int) -> dict[str, Array | Quantized]:
    """Return the parameters of one direction, without the ends of their names."""
    W, R, B, P = tensors
    made: dict[str, Array | Quantized] = {}
    for name, matrix in (("weight_ih", W), ("weight_hh", R)):
        if isinstance(matrix, Quantized):
            made[name] = matrix.blocks(d, lambda part: _blocks(part, _TO_IFGO))
        else:
            made[name] = _blocks(matrix[d], _TO_IFGO)
    if B is not None:
        made |= {
            name: _blocks(half, _TO_IFGO) for name, half in zip(("bias_ih", "bias_hh"), np.split(B[d], 2), strict=True)
        }
    if P is not None:
        made["weight_ph"] = _blocks(P[d], _SWAPPED)
    return made


def tensors_of(lstm: LSTM, layer: int) -> Tensors:
    """Return the operator's weights of one layer."""
    ends = ("", "_reverse")[: lstm._sizes.D]
    parameters = lstm._parameters

    def stacked(name: str, order: list[int]) -> Array:
        return np.stack([_blocks(parameters[f"{name}_l{layer}{end}"], order) for end in ends])

    return Tensors(
        stacked("weight_ih", _TO_IOFC),
        stacked("weight_hh", _TO_IOFC),
        np.concatenate([stacked(name, _TO_IOFC) for name in ("bias_ih", "bias_hh")], axis=1) if lstm.bias else None,
        stacked("weight_ph", _SWAPPED) if lstm.form.peepholes else None,
    )


def integers_of(lstm: LSTM, layer: int) -> dict[str, list[Integers]]:
    """Return W and R of one layer of integers, of each direction, in the operator's order."""
    ends = ("", "_reverse")[: lstm._sizes.D]
    parameters = _weights.packable(lstm._parameters)
    made: dict[str, list[Integers]] = {"W": [], "R": []}
    for end in ends:
        for name, kind in (("W", "weight_ih"), ("R", "weight_hh")):
            given = parameters[f"{kind}_l{layer}{end}"]
            assert isinstance(given, Integers)
            zeros = None if given.zeros is None else _blocks(given.zeros, _TO_IOFC)
            made[name].append(Integers(_blocks(given.values, _TO_IOFC), _blocks(given.scales, _TO_IOFC), zeros))
    return made


def _blocks(array: Array, order: list[int]) -> Array:
    """Put the blocks of the first axis in another order."""
    return array.reshape(len(order), -1, *array.shape[1:])[order].reshape(array.shape)
