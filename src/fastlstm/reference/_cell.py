"""One step of one layer, forward: the equations."""

from typing import Any

import numpy as np

from ._activations import activate
from ._checks import check, check_float, check_form, check_weights
from ._form import Form
from ._records import Array, Gates


def cell_forward(
    x: Array,
    h: Array,
    c: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    weight_hr: Array | None = None,
    *,
    weight_ph: Array | None = None,
    form: Form | None = None,
) -> tuple[Array, Array]:
    """Take one step of one layer: return the new state (h', c').

    Parameters
    ----------
    x : ndarray, shape (B, I) or (I,)
        Input of the step; float32 or float64, and every other array has the same dtype.
    h : ndarray, shape (B, R) or (R,)
        Hidden state before the step.
    c : ndarray, shape (B, H) or (H,)
        Cell state before the step.
    weight_ih : ndarray, shape (4H, I)
        Input weights W of the gates i, f, g, o, one below the other.
    weight_hh : ndarray, shape (4H, R)
        Recurrent weights U of the gates, in the same order.
    bias_ih, bias_hh : ndarray, shape (4H,), optional
        Biases; their sum is b in the equations. None counts as zero.
    weight_hr : ndarray, shape (P, H), optional
        Projection of the hidden state; then R = P, otherwise R = H.
    weight_ph : ndarray, shape (3H,), optional
        Peepholes p of the gates i, f, o, one after the other; if and only if the form has them.
    form : Form, optional
        The form of the cell; None is the standard one.

    Returns
    -------
    h_next : ndarray, shape of `h`
    c_next : ndarray, shape of `c`
        New arrays; the arguments are never written to.

    Raises
    ------
    ValueError
        If a shape does not fit the others.
    TypeError
        If a dtype is not float32 or float64, or is not that of `x`.

    Examples
    --------
    With all weights zero each filter is half open and the update is 0, so the cell is halved:

    >>> h, c = cell_forward(np.ones(3), np.zeros(1), np.array([2.0]), np.zeros((4, 3)), np.zeros((4, 1)))
    >>> c
    array([1.])
    >>> bool(h[0] == 0.5 * np.tanh(1.0))
    True
    """
    weights = weight_ih, weight_hh, bias_ih, bias_hh, weight_hr
    h_next, c_next, _ = cell_forward_gates(x, h, c, *weights, weight_ph=weight_ph, form=form)
    return h_next, c_next


def cell_forward_gates(
    x: Array,
    h: Array,
    c: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    weight_hr: Array | None = None,
    *,
    weight_ph: Array | None = None,
    form: Form | None = None,
) -> tuple[Array, Array, Gates]:
    """Take one step of one layer, as `cell_forward`, and return the gates that led to the new state too.

    Parameters
    ----------
    x, h, c, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr, weight_ph, form
        As in `cell_forward`.

    Returns
    -------
    h_next : ndarray, shape of `h`
    c_next : ndarray, shape of `c`
    gates : Gates
        The activations i, f, g, o, each of the shape of `c`.

    Raises
    ------
    ValueError, TypeError
        As `cell_forward`.

    Examples
    --------
    >>> h, c, gates = cell_forward_gates(np.ones(3), np.zeros(1), np.ones(1), np.zeros((4, 3)), np.zeros((4, 1)))
    >>> gates.f, gates.g
    (array([0.5]), array([0.]))
    """
    check_float("x", x)
    n_in, n_hidden, n_out = check_weights(x.dtype, weight_ih, weight_hh, bias_ih, bias_hh, weight_hr)
    if x.ndim not in (1, 2):
        raise ValueError(f"x: expected shape (I,) or (B, I), got {x.shape}")
    batch = x.shape[:-1]  # (B,), or () for a single row
    check("x", x, (*batch, n_in), x.dtype)
    check("h", h, (*batch, n_out), x.dtype)
    check("c", c, (*batch, n_hidden), x.dtype)
    form = check_form(form, weight_ph, n_hidden, x.dtype)

    w_i, w_f, w_g, w_o = np.split(weight_ih, 4)  # each H,I
    u_i, u_f, u_g, u_o = np.split(weight_hh, 4)  # each H,R
    b_i, b_f, b_g, b_o = np.split(_sum_biases(bias_ih, bias_hh, n_hidden, x.dtype), 4)  # each H

    # Gate recurrence: x and h decide, through matrices and activations.
    z_i = x @ w_i.T + h @ u_i.T + b_i  # B,H
    z_f = x @ w_f.T + h @ u_f.T + b_f  # B,H
    z_g = x @ w_g.T + h @ u_g.T + b_g  # B,H
    z_o = x @ w_o.T + h @ u_o.T + b_o  # B,H
    if weight_ph is not None:
        p_i, p_f, p_o = np.split(weight_ph, 3)  # each H
        z_i, z_f = z_i + p_i * c, z_f + p_f * c
    i = activate(form.gate, _clipped(form, ("activations", "gates"), z_i))  # B,H
    f = 1 - i if form.coupled else activate(form.gate, _clipped(form, ("activations", "gates"), z_f))  # B,H
    g = activate(form.candidate, _clipped(form, ("activations", "gates"), z_g))  # B,H

    # Cell recurrence: c meets nothing but the filter f on its way to c'.
    c_next = _clipped(form, ("state",), f * c + i * g)  # B,H

    # The output gate is the last: its peephole sees what the cell has become.
    if weight_ph is not None:
        z_o = z_o + p_o * c_next
    o = activate(form.gate, _clipped(form, ("activations", "gates"), z_o))  # B,H
    h_next = o * activate(form.cell, _clipped(form, ("activations",), c_next))  # B,H
    if weight_hr is not None:
        h_next = h_next @ weight_hr.T  # B,P
    return h_next, c_next, Gates(i, f, g, o)


def _sum_biases(bias_ih: Array | None, bias_hh: Array | None, n_hidden: int, dtype: np.dtype[Any]) -> Array:
    """Return b_ih + b_hh, shape (4H,), with zeros for a bias that is not there."""
    zeros = np.zeros(4 * n_hidden, dtype)
    return (zeros if bias_ih is None else bias_ih) + (zeros if bias_hh is None else bias_hh)


def _clipped(form: Form, at: tuple[str, ...], x: Array) -> Array:
    """Return x limited to -clip..clip if that is where the form clips, else x itself."""
    if form.clip is None or form.clip_at not in at:
        return x
    limit = x.dtype.type(form.clip)
    return np.clip(x, -limit, limit)
