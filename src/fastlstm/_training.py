"""Training: tapes and gradients."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _checks, _core

if TYPE_CHECKING:
    from ._layers import LSTM

Array = NDArray[Any]


class Gradients(NamedTuple):
    """What `LSTM.backward` returns; each gradient has the shape and dtype of what it belongs to."""

    input: Array  #: of the input
    h_0: Array  #: of the initial hidden state, [L*D, B, R] or [L*D, R]
    c_0: Array  #: of the initial cell state, [L*D, B, H] or [L*D, H]
    parameters: dict[str, Array]  #: of every parameter, by its name in state_dict


class Tape(_core.Tape):
    """What `LSTM.forward` keeps for one `LSTM.backward`: copies, so that nothing done to the arrays meanwhile can spoil it.

    Attributes
    ----------
    nbytes : int
        Bytes that it takes.
    seed : int
        Of the dropout mask.
    used : bool
        Whether it has served.
    """

    shape: tuple[int, ...]  # of the output

    def __new__(cls, lstm: LSTM, seed: int | None) -> Tape:
        checked = _checks.seed(seed)
        number = secrets.randbits(64) if checked is None else checked
        dropout = lstm.dropout if lstm.num_layers > 1 else 0.0
        tape = super().__new__(cls, dropout, number)
        tape.seed = number
        tape.plan_of = lstm._plan
        return tape

    def __init__(self, lstm: LSTM, seed: int | None) -> None:
        self.seed: int
        self.plan_of: _core.Plan

    def __reduce__(self) -> Any:
        raise TypeError("a Tape cannot be pickled or copied")

    def __repr__(self) -> str:
        return f"Tape({self.nbytes} bytes, {'used' if self.used else 'ready'})"


def run_backward(lstm: LSTM, tape: object, grad_output: object, grad_h_n: object, grad_c_n: object) -> Gradients:
    """Check, allocate, run: see `LSTM.backward`."""
    if not isinstance(tape, Tape):
        raise TypeError(f"tape should be a Tape from forward, got: {type(tape).__name__}")
    if tape.plan_of is not lstm._plan:
        raise ValueError("tape is not of this layer with its present weights: run forward again")
    D = 2 if lstm.bidirectional else 1
    LD, R, H = lstm.num_layers * D, lstm.proj_size or lstm.hidden_size, lstm.hidden_size
    dtype = lstm.dtype
    batched = len(tape.shape) == 3
    rows = tape.shape[1 - lstm.batch_first : 2 - lstm.batch_first] if batched else ()
    turned = batched and lstm.batch_first

    output = _incoming(grad_output, "grad_output", tape.shape, dtype)
    if output is not None:
        output = np.ascontiguousarray(output.transpose(1, 0, 2) if turned else output)
    h_n = _incoming(grad_h_n, "grad_h_n", (LD, *rows, R), dtype)
    c_n = _incoming(grad_c_n, "grad_c_n", (LD, *rows, H), dtype)

    lead = (tape.shape[1], tape.shape[0]) if turned else tape.shape[:-1]
    input = np.empty((*lead, lstm.input_size), dtype)
    h_0, c_0 = np.empty((LD, *rows, R), dtype), np.empty((LD, *rows, H), dtype)
    made = {name: np.empty(shape, dtype) for name, shape in lstm._shapes().items()}
    weights = [
        tuple(made.get(f"{name}{suffix}") for name in ("weight_ih", "weight_hh", "bias_ih", "weight_hr"))
        for suffix in lstm._suffixes()
    ]
    tape.run_backward(output, h_n, c_n, input, h_0, c_0, weights, lstm._pool())
    for suffix in lstm._suffixes() if lstm.bias else ():
        made[f"bias_hh{suffix}"] = made[f"bias_ih{suffix}"].copy()  # z depends on their sum alone
    return Gradients(input.transpose(1, 0, 2) if turned else input, h_0, c_0, made)


def _incoming(value: object, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array | None:
    if value is None:
        return None
    array = _checks.floats(value, name, dtype)
    return np.ascontiguousarray(_checks.shape(array, name, shape, f"the shape of {name.removeprefix('grad_')}"))
