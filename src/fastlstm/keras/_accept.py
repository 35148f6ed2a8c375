"""Whether a call can run here. Each reason why not is raised, as a sentence; Keras's own code then takes the call."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.backend.common.symbolic_scope import in_symbolic_scope
from keras.src.backend.common.variables import AutocastScope
from numpy.typing import NDArray

from .. import _checks
from .._types import Array
from ._activations import COUNTERPARTS
from ._masks import checked
from ._plans import Activations
from ._tensors import VIEWS, is_traced


class Unfit(Exception):  # noqa: N818  nothing is wrong: Keras's own code can run
    """Why a call cannot run here."""


class Call(NamedTuple):
    """A call's tensors, and their values."""

    tensors: list[Any]  #: input [B, T, I], h_0 and c_0, each [B, H] or [1, H]
    variables: list[Any]  #: kernel [I, 4H], recurrent_kernel [H, 4H] and, if there is one, bias [4H]
    arrays: list[Array]  #: of the tensors, in the dtype that is computed in
    weights: list[Array]  #: of the variables
    valid: NDArray[np.bool_] | None  #: [B, T], where a step counts
    activations: Activations
    made: str | None = None  #: the dtype that results are rounded to; None: as they are


#: Types that are computed with in float32, where the weights are stored in a type of their own.
HALVES = ("float16", "bfloat16")


def is_symbolic() -> bool:
    """Tell whether Keras asks for the shapes of results alone."""
    found: bool = in_symbolic_scope()
    return found


def call(layer: Any, sequences: Any, initial_state: Any, mask: Any, training: bool) -> Call:
    """Look at all that a call is made of; raise Unfit for what Keras has to run, ValueError for what is wrong."""
    cell = layer.cell
    activations = _settings(layer, cell, mask is not None, training)
    owned = [v for v in (cell.kernel, cell.recurrent_kernel, cell.bias) if v is not None]
    tensors = [sequences, *initial_state]
    made = None
    if layer.stored_as is None:
        variables = [v.value for v in owned]
        arrays = _values([*tensors, *variables])
    else:
        with AutocastScope(None):  # as they are: mixed precision would round biases, too
            variables = [v.value for v in owned]
        arrays = _of_halves(tensors, variables)
        kind = keras.backend.standardize_dtype(sequences.dtype)
        made = kind if kind in HALVES else None
    valid = None
    B, T, _ = sequences.shape
    if mask is not None:
        valid = checked(_seen([mask])[0], B, T)
    given, weights = arrays[: len(tensors)], arrays[len(tensors) :]
    _check_states(given[1:], B, len(weights[1]))
    return Call(tensors, variables, given, weights, valid, activations, made)


def _settings(layer: Any, cell: Any, masked: bool, training: bool) -> Activations:
    """Refuse settings that only Keras's own code has; else return the activations of gates and cell."""
    backend = keras.backend.backend()
    if backend not in VIEWS:
        raise Unfit(f"the {backend} backend")
    if layer.use_cudnn is True:
        raise Unfit("use_cudnn=True")
    if training and (layer.dropout or layer.recurrent_dropout):
        raise Unfit("dropout in training")
    functions = {"activation": cell.activation, "recurrent_activation": cell.recurrent_activation}
    for name, function in functions.items():
        if function not in COUNTERPARTS:
            raise Unfit(f"{name}={getattr(function, '__name__', function)!r} has no counterpart")
    if masked and layer.unroll:
        raise Unfit("a mask with unroll=True")
    return COUNTERPARTS[cell.recurrent_activation], COUNTERPARTS[cell.activation]


def _values(tensors: list[Any]) -> list[Array]:
    """View input, states and weights, all of one dtype."""
    try:
        arrays = _seen(tensors)
        kinds = {array.dtype for array in arrays}
    except Unfit:
        _refuse({keras.backend.standardize_dtype(tensor.dtype) for tensor in tensors})
        raise
    if len(kinds) > 1 or arrays[0].dtype not in _checks.FLOATS:
        _refuse({dtype.name for dtype in kinds})
    return arrays


def _of_halves(tensors: list[Any], variables: list[Any]) -> list[Array]:
    """View input and states in float32, and weights, where all of either may be of 16 bits."""
    arrays = _seen([*tensors, *variables])
    for some in (arrays[: len(tensors)], arrays[len(tensors) :]):
        kinds = {array.dtype.name for array in some}
        if len(kinds) > 1 or not kinds <= {"float32", *HALVES}:
            told = ", ".join(sorted(kinds))
            raise Unfit(f"{told}: input and states should be of one type, and weights, of float32 or of 16 bits")
    return [a.astype(np.float32, copy=False) if k < len(tensors) else a for k, a in enumerate(arrays)]


def _refuse(kinds: set[str]) -> None:
    """Refuse dtypes, unless they are one that can be computed in."""
    if len(kinds) > 1 or not kinds <= {"float32", "float64"}:
        told = ", ".join(sorted(kinds))
        raise Unfit(f"{told}: input, states and weights should all be float32, or all float64")


def _seen(tensors: list[Any]) -> list[Array]:
    view = VIEWS[keras.backend.backend()]
    arrays = [] if is_traced() else [array for array in map(view, tensors) if array is not None]
    if len(arrays) < len(tensors):
        raise Unfit("tensors without values here: symbolic, traced, compiled, or not in the CPU's memory")
    return arrays


def _check_states(states: list[Array], B: int, H: int) -> None:
    """Check (h_0, c_0); one row serves all, as it does in Keras."""
    if len(states) != 2:
        raise ValueError(f"initial_state should be a pair (h_0, c_0), got: {len(states)} states")
    for k, state in enumerate(states):
        if state.shape not in ((B, H), (1, H)):
            raise ValueError(f"Expected initial_state[{k}] size {(B, H)} = (B, units), got {state.shape}")
