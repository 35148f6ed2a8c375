"""The operator with its weights: what it computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import LSTM
from ._attributes import Attributes
from ._dtypes import computed_in, rounded
from ._semantics import Semantics
from ._weights import Tensors, build

Array = NDArray[Any]
Outputs = tuple[Array, Array, Array]


class Layer:
    """The operator with its weights."""

    def __init__(self, tensors: Tensors, attributes: Attributes, semantics: Semantics, threads: int) -> None:
        self.lstms = build(tensors, attributes, semantics, threads)
        self.dtype = tensors.W.dtype
        self._attributes = attributes
        self._zeros = semantics.zero_length == "zeros"

    def __call__(self, X: object, sequence_lens: object, initial_h: object, initial_c: object) -> Outputs:
        """Compute Y, Y_h and Y_c."""
        batch_first, D = self._attributes.layout == 1, self._attributes.directions
        first = self.lstms[0]
        I, H = first.input_size, first.hidden_size
        x = tensor(X, "X", self.dtype)
        if x.ndim != 3 or x.shape[2] != I:
            letters = "[B, T, I]" if batch_first else "[T, B, I]"
            raise ValueError(f"X should have shape {letters} with I = {I}, got: {x.shape}")
        T, B = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
        lengths = None if sequence_lens is None else _lengths(sequence_lens, T, B)

        shape = (B, D, H) if batch_first else (D, B, H)
        h, c = (
            np.zeros((D, B, H), first.dtype) if state is None else self._state(state, name, shape)
            for state, name in ((initial_h, "initial_h"), (initial_c, "initial_c"))
        )
        x = x.astype(first.dtype, copy=False)
        outputs, ends, cells = [], [], []
        for k, lstm in enumerate(self.lstms):
            part = slice(None) if len(self.lstms) == 1 else slice(k, k + 1)
            reverse = self._attributes.direction == "reverse" or k == 1
            output, (h_n, c_n) = _sweep(lstm, x, (h[part], c[part]), lengths, reverse)
            outputs.append(output.reshape(*output.shape[:2], len(h_n), H))  # T,B,1 or 2,H; or B,T,1 or 2,H
            ends.append(h_n)
            cells.append(c_n)
        Y, Y_h, Y_c = _joined(outputs, 2), _joined(ends, 0), _joined(cells, 0)
        if self._zeros:
            empty = np.full(B, T == 0) if lengths is None else lengths == 0
            Y_h[:, empty] = Y_c[:, empty] = 0
        if batch_first:
            Y_h, Y_c = Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)
        else:
            Y = Y.swapaxes(1, 2)
        made = (np.ascontiguousarray(rounded(array, self.dtype)) for array in (Y, Y_h, Y_c))
        return next(made), next(made), next(made)

    def _state(self, value: object, name: str, shape: tuple[int, ...]) -> Array:
        """Return an initial state as [D, B, H], in the dtype that is computed in."""
        array = tensor(value, name, self.dtype)
        if array.shape != shape:
            letters = "[B, D, H]" if self._attributes.layout == 1 else "[D, B, H]"
            raise ValueError(f"{name} should have shape {shape} = {letters}, got: {array.shape}")
        array = array.astype(computed_in(self.dtype), copy=False)
        return array.swapaxes(0, 1) if self._attributes.layout == 1 else array


def check_states(states: dict[str, Array], attributes: Attributes, dtype: np.dtype[Any], H: int) -> None:
    """Check states and lengths that a model holds fixed, as far as it goes without T and B."""
    rows_first, D = attributes.layout == 1, attributes.directions
    rows: dict[str, int] = {}
    for name, array in states.items():
        if name == "sequence_lens":
            if array.dtype.kind not in "iu":
                raise TypeError(f"sequence_lens should have dtype int32, got: {array.dtype}")
            if array.ndim != 1 or (array < 0).any():
                raise ValueError(f"sequence_lens should have shape (B,) and no negative lengths, got: {array.shape}")
        else:
            tensor(array, name, dtype)
            if array.ndim != 3 or np.delete(array.shape, 0 if rows_first else 1).tolist() != [D, H]:
                letters = "[B, D, H]" if rows_first else "[D, B, H]"
                raise ValueError(f"{name} should have shape {letters} with D = {D}, H = {H}, got: {array.shape}")
        rows[name] = array.shape[1 if array.ndim == 3 and not rows_first else 0]
    if len(set(rows.values())) > 1:
        raise ValueError(
            f"the model's {', '.join(rows)} are for {', '.join(map(str, rows.values()))} rows: no B fits all"
        )


def _joined(parts: list[Array], axis: int) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis)


def tensor(value: object, name: str, dtype: np.dtype[Any]) -> Array:
    """View an argument as an array of exactly this dtype."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; the mask would be lost: fill it first")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name} could not be read as an array of {dtype}: {error}") from None
    if array.dtype != dtype:
        raise TypeError(f"{name} should have dtype {dtype}, that of the weights, got: {array.dtype}")
    return array


def _lengths(value: object, T: int, B: int) -> NDArray[np.int64]:
    """Check sequence_lens: one integer in 0..T for each row."""
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"sequence_lens could not be read as an array of integers: {error}") from None
    if array.dtype.kind not in "iu":
        raise TypeError(f"sequence_lens should have dtype int32, got: {array.dtype}")
    if array.shape != (B,):
        raise ValueError(f"sequence_lens should have shape {(B,)} = (B,), got: {array.shape}")
    wrong = np.flatnonzero((array < 0) | (array > T))
    if wrong.size:
        raise ValueError(f"sequence_lens should be in 0..{T} (T), got {array[wrong[0]]} at row {wrong[0]}")
    return array.astype(np.int64)


def _sweep(
    lstm: LSTM, x: Array, hx: tuple[Array, Array], lengths: NDArray[np.int64] | None, reverse: bool
) -> tuple[Array, tuple[Array, Array]]:
    """Run an LSTM; backwards in time where a single direction is the reverse one."""
    if not reverse:
        return lstm(x, hx, lengths=lengths)
    output, states = lstm(_reversed(x, lengths, lstm.batch_first), hx, lengths=lengths)
    return _reversed(output, lengths, lstm.batch_first), states


def _reversed(x: Array, lengths: NDArray[np.int64] | None, batch_first: bool) -> Array:
    """Reverse each row within its own length; what is past it stays in place."""
    axis = 1 if batch_first else 0
    if lengths is None:
        return np.flip(x, axis)
    t = np.arange(x.shape[axis])[:, None]  # T,1
    source = np.where(t < lengths, lengths - 1 - t, t)  # T,B
    return np.take_along_axis(x, (source.T if batch_first else source)[..., None], axis)
