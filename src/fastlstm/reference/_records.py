"""What the functions of the reference hand to each other."""

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ._form import STANDARD, Form
from ._layout import Layout

Array: TypeAlias = NDArray[np.floating[Any]]


class Weights(NamedTuple):
    """The weights of one layer in one direction, as the equations need them."""

    weight_ih: Array  #: (4H, I): W of i, f, g, o, one below the other
    weight_hh: Array  #: (4H, R): U
    bias: Array  #: (4H,): b = b_ih + b_hh
    weight_hr: Array | None  #: (P, H): the projection, if there is one
    weight_ph: Array | None  #: (3H,): the peepholes of i, f, o, if the form has them


class Gates(NamedTuple):
    """The four gate activations of one step, each of shape (B, H), or (H,) for a single row."""

    i: Array  #: input gate, 0..1: how much of the candidate is written
    f: Array  #: forget gate, 0..1: how much of the cell is kept
    g: Array  #: candidate, -1..1: the update itself
    o: Array  #: output gate, 0..1: how much of the cell is shown


class CellGradients(NamedTuple):
    """The gradients of one step with respect to all that went into it."""

    x: Array  #: (B, I), or (I,) for a single row
    h: Array  #: (B, R) or (R,)
    c: Array  #: (B, H) or (H,)
    parameters: dict[str, Array]  #: each weight and bias under its name in `cell_forward`; summed over the rows


class Gradients(NamedTuple):
    """The gradients of a layer or of an LSTM with respect to all that went into it, each in the shape of its array."""

    input: Array  #: 0 at steps beyond a row's length
    h_0: Array  #: of the initial states, also where they were left to be zeros
    c_0: Array
    parameters: dict[str, Array]  #: each weight and bias under its name, in the forward's order; no two share memory


@dataclass(frozen=True, eq=False)
class LayerTape:
    """What `layer_backward` needs to know of a forward pass: copies, so that nothing done since can change them.

    Steps that a row did not take, those beyond its length, hold zeros, but for `input`.
    """

    input: Array  #: T,B,I
    h: Array  #: T,B,R: the state that each step started from, after a reset
    c: Array  #: T,B,H
    gates: Gates  #: each T,B,H
    valid: NDArray[np.bool_]  #: T,B: where a row took a step
    cut: NDArray[np.bool_]  #: T,B: where its state was reset before the step
    reverse: bool
    weights: dict[str, Array]  #: the weights and biases that there are, under their names in `layer_forward`
    form: Form = STANDARD  #: of the cell


@dataclass(frozen=True, eq=False)
class Tape:
    """What `lstm_backward` needs to know of a forward pass. It serves any number of times."""

    layers: dict[str, LayerTape]  #: in the order of h_0, under what ends the names of their weights: ``_l0_reverse``
    directions: int  #: D
    dropout_masks: list[Array]  #: each T,B,D*R, one for each layer but the last; empty without dropout
    layout: Layout  #: of the input, and so of the output and of their gradients
