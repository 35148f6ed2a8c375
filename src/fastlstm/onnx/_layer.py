"""The operator with its weights: what it computes."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._lstm import LSTM
from .._types import Array
from ._attributes import Attributes
from ._dtypes import computed_in, rounded
from ._semantics import Semantics
from ._weights import Tensors, build

Outputs = tuple[Array, Array, Array]
States = tuple[Array, Array]


class Run(Protocol):
    """How an LSTM runs steps that are in the order of reading; `backwards`: from a row's last to its first."""

    def __call__(
        self, lstm: LSTM, x: Array, hx: States | None, lengths: NDArray[np.int64] | None, backwards: bool
    ) -> tuple[Array, States]:
        """Return the output, in the order of reading, and (h_n, c_n)."""
        ...


def _call(
    lstm: LSTM, x: Array, hx: States | None, lengths: NDArray[np.int64] | None, backwards: bool
) -> tuple[Array, States]:
    return lstm(x, hx, lengths=lengths)


class Layer:
    """The operator with its weights."""

    def __init__(
        self,
        tensors: Tensors,
        attributes: Attributes,
        semantics: Semantics,
        threads: int,
        weights: str | None = None,
        stored_in: str = "",
    ) -> None:
        self.lstms = build(tensors, attributes, semantics, threads, weights, stored_in)
        self.dtype = tensors.W.dtype
        self._rows_first = attributes.layout == 1
        self._directions, self._direction = attributes.directions, attributes.direction
        self._zeros = semantics.zero_length == "zeros"

    def __call__(
        self, X: object, sequence_lens: object, initial_h: object, initial_c: object, *, run: Run = _call
    ) -> Outputs:
        """Compute Y, Y_h and Y_c."""
        x = self._input(X)
        T, B = (x.shape[1], x.shape[0]) if self._rows_first else x.shape[:2]
        lengths = None if sequence_lens is None else _checks.lengths(sequence_lens, T, B, "sequence_lens")
        given = None if initial_h is None and initial_c is None else self.states(initial_h, initial_c, B)
        if len(self.lstms) == 1 and self._direction != "reverse":
            output, (Y_h, Y_c) = run(self.lstms[0], x, given, lengths, False)
            Y = output.reshape(*output.shape[:2], self._directions, self.lstms[0].hidden_size)
        else:
            Y, Y_h, Y_c = self._each(x, given, lengths, run)
        if self._zeros:
            empty = np.full(B, T == 0) if lengths is None else lengths == 0
            Y_h[:, empty] = Y_c[:, empty] = 0
        if self._rows_first:
            Y_h, Y_c = Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)
        else:
            Y = Y.swapaxes(1, 2)
        return self._made(Y), self._made(Y_h), self._made(Y_c)

    def _input(self, X: object) -> Array:
        """Check X, and return it in the dtype that is computed in."""
        x, I = tensor(X, "X", self.dtype), self.lstms[0].input_size
        if x.ndim != 3 or x.shape[2] != I:
            letters = "[B, T, I]" if self._rows_first else "[T, B, I]"
            raise ValueError(f"X should have shape {letters} with I = {I}, got: {x.shape}")
        return x.astype(computed_in(self.dtype), copy=False)

    def states(self, initial_h: object, initial_c: object, B: int) -> tuple[Array, Array]:
        """Check initial states, and return them as [D, B, H] in the dtype that is computed in; zeros for None."""
        return self._state(initial_h, "initial_h", B), self._state(initial_c, "initial_c", B)

    def _state(self, value: object, name: str, B: int) -> Array:
        D, H = self._directions, self.lstms[0].hidden_size
        shape, letters = ((B, D, H), "[B, D, H]") if self._rows_first else ((D, B, H), "[D, B, H]")
        array = np.zeros(shape, self.dtype) if value is None else tensor(value, name, self.dtype)
        if array.shape != shape:
            raise ValueError(f"{name} should have shape {shape} = {letters}, got: {array.shape}")
        array = array.astype(computed_in(self.dtype), copy=False)
        return array.swapaxes(0, 1) if self._rows_first else array

    def _each(
        self, x: Array, given: States | None, lengths: NDArray[np.int64] | None, run: Run
    ) -> tuple[Array, Array, Array]:
        """Run each direction by itself; Y comes with the directions before H."""
        outputs, ends, cells = [], [], []
        for k, lstm in enumerate(self.lstms):
            part = None if given is None else (given[0][k : k + 1], given[1][k : k + 1])
            turned = self._direction == "reverse" or k == 1
            seen = _reversed(x, lengths, lstm.batch_first) if turned else x
            output, (h_n, c_n) = run(lstm, seen, part, lengths, turned)
            output = _reversed(output, lengths, lstm.batch_first) if turned else output
            outputs.append(output[..., None, :])
            ends.append(h_n)
            cells.append(c_n)
        return np.concatenate(outputs, 2), np.concatenate(ends), np.concatenate(cells)

    def _made(self, array: Array) -> Array:
        return np.ascontiguousarray(rounded(array, self.dtype))


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


def tensor(value: object, name: str, dtype: np.dtype[Any]) -> Array:
    """View an argument as an array of exactly this dtype."""
    array = _checks.read(value, name, dtype)
    if array.dtype != dtype:
        advice = _checks.convert(array, name, str(dtype))
        raise TypeError(f"{name} should have dtype {dtype}, that of the weights, got: {array.dtype}{advice}")
    return array


def _reversed(x: Array, lengths: NDArray[np.int64] | None, batch_first: bool) -> Array:
    """Reverse each row within its own length; what is past it stays in place."""
    axis = 1 if batch_first else 0
    if lengths is None:
        return np.flip(x, axis)
    source = order(x.shape[axis], lengths)
    return np.take_along_axis(x, (source.T if batch_first else source)[..., None], axis)


def order(T: int, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which step comes when, [T, B], if each row is read from its end; what is past it stays in place."""
    t = np.arange(T)[:, None]
    return np.where(t < lengths, lengths - 1 - t, t)
