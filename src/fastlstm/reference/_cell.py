"""One step of the standard cell, forward and back: the equations, for rows x [B, I], h [B, R], c [B, H]."""

import numpy as np

from ._activations import sigmoid
from ._records import Array, Gates, Weights


def standard_cell(x: Array, h: Array, c: Array, w: Weights) -> tuple[Array, Array, Gates]:
    """Return the next state h', c', and the gates that led to it."""
    W_i, W_f, W_g, W_o = np.split(w.weight_ih, 4)
    U_i, U_f, U_g, U_o = np.split(w.weight_hh, 4)
    b_i, b_f, b_g, b_o = np.split(w.bias, 4)

    # The gate recurrence: x and h decide, through matrices and activations.
    i = sigmoid(x @ W_i.T + h @ U_i.T + b_i)  # a filter: how much of the candidate is written
    f = sigmoid(x @ W_f.T + h @ U_f.T + b_f)  # a filter: how much of the cell is kept
    g = np.tanh(x @ W_g.T + h @ U_g.T + b_g)  # the candidate, a signed update: it adds to a cell or takes from it
    o = sigmoid(x @ W_o.T + h @ U_o.T + b_o)  # a filter: how much of the cell is shown

    # The cell recurrence: c meets nothing but the filter f on its way to c'.
    c_next = f * c + i * g

    m = o * np.tanh(c_next)
    h_next = m if w.weight_hr is None else m @ w.weight_hr.T
    return h_next, c_next, Gates(i, f, g, o)


def standard_gradient(gates: Gates, c: Array, dm: Array, dc_next: Array) -> tuple[Array, Array]:
    """Return dz [B, 4H] and dc: the gradients of the pre-activations and of c, from those of m and c'."""
    i, f, g, o = gates
    tanh_c = np.tanh(f * c + i * g)
    dc_next = dc_next + dm * o * (1 - tanh_c**2)  # through what is shown, beside what comes from the next step

    dz_i = dc_next * g * (i * (1 - i))  # what would have been written, times the filter's slope
    dz_f = dc_next * c * (f * (1 - f))  # what would have been kept
    dz_g = dc_next * i * (1 - g**2)
    dz_o = dm * tanh_c * (o * (1 - o))  # what would have been shown
    return np.concatenate([dz_i, dz_f, dz_g, dz_o], axis=-1), dc_next * f  # the cell recurrence: f alone
