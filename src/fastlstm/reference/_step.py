"""One step of one layer, forward: what is public of it, and its checks. The equations are in `_cell` and `_forms`."""

from typing import Any

import numpy as np

from ._cell import standard_cell
from ._checks import check, check_float, check_form, check_weights
from ._form import Form, is_standard
from ._forms import general_cell
from ._records import Array, Gates, Weights


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

    weights = Weights(weight_ih, weight_hh, sum_of_biases(bias_ih, bias_hh, n_hidden, x.dtype), weight_hr, weight_ph)
    return standard_cell(x, h, c, weights) if is_standard(form) else general_cell(x, h, c, weights, form)


def sum_of_biases(bias_ih: Array | None, bias_hh: Array | None, n_hidden: int, dtype: np.dtype[Any]) -> Array:
    """Return b_ih + b_hh, shape (4H,), with zeros for a bias that is not there."""
    zeros = np.zeros(4 * n_hidden, dtype)
    return (zeros if bias_ih is None else bias_ih) + (zeros if bias_hh is None else bias_hh)
