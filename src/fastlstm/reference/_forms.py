"""One step of any form of the cell, forward and back: `_cell` with all that may be otherwise."""

import numpy as np

from ._activations import activate, slope
from ._form import Form
from ._records import Array, Gates, Weights


def general_cell(x: Array, h: Array, c: Array, w: Weights, form: Form) -> tuple[Array, Array, Gates]:
    """Return the next state h', c', and the gates that led to it."""
    z_i, z_f, z_g, z_o = (
        x @ W.T + h @ U.T + b
        for W, U, b in zip(*(np.split(array, 4) for array in (w.weight_ih, w.weight_hh, w.bias)), strict=True)
    )
    if w.weight_ph is not None:
        p_i, p_f, p_o = np.split(w.weight_ph, 3)
        z_i, z_f = z_i + p_i * c, z_f + p_f * c
    i = _gate(form, z_i)
    f = 1 - i if form.coupled else _gate(form, z_f)
    g = activate(form.candidate, _clipped(form, ("activations", "gates"), z_g))

    c_next = _clipped(form, ("state",), next_cell(form, i, f, g, c))

    # The output gate is the last: its peephole sees what the cell has become.
    o = _gate(form, z_o if w.weight_ph is None else z_o + p_o * c_next)
    m = o * activate(form.cell, _clipped(form, ("activations",), c_next))
    h_next = m if w.weight_hr is None else m @ w.weight_hr.T
    return h_next, c_next, Gates(i, f, g, o)


def next_cell(form: Form, i: Array, f: Array, g: Array, c: Array) -> Array:
    """Return c', before a clip."""
    made: Array = f * c + (i + g if form.summed else i * g)
    return made


def general_gradient(
    gates: Gates, c: Array, dm: Array, dc_next: Array, weight_ph: Array | None, form: Form
) -> tuple[Array, Array]:
    """Return dz [B, 4H] and dc: the gradients of the pre-activations and of c, from those of m and c'."""
    i, f, g, o = gates
    c_next = next_cell(form, i, f, g, c)

    # m = o * cell(c'): what flows into c' from here joins what flows into it from the next step.
    shown = activate(form.cell, c_next)
    dz_o = dm * shown * slope(form.gate, o)
    dc_next = dc_next + dm * o * slope(form.cell, shown)
    if weight_ph is not None:
        p_i, p_f, p_o = np.split(weight_ph, 3)  # each H
        dc_next = dc_next + dz_o * p_o

    # c' = f * c + i * g: each factor gets the gradient times its partner, each term of a sum gets it as it is.
    di, dg = (dc_next, dc_next) if form.summed else (dc_next * g, dc_next * i)
    df, dc = dc_next * c, dc_next * f
    if form.coupled:  # f = 1 - i: what f gets, i gets with the other sign
        di, df = di - df, np.zeros_like(df)

    # The slopes of the activations, from their values.
    dz_i = di * slope(form.gate, i)
    dz_f = df * slope(form.gate, f)
    dz_g = dg * slope(form.candidate, g)
    if weight_ph is not None:
        dc = dc + dz_i * p_i + dz_f * p_f
    return np.concatenate([dz_i, dz_f, dz_g, dz_o], axis=-1), dc


def _gate(form: Form, z: Array) -> Array:
    return activate(form.gate, _clipped(form, ("activations", "gates"), z))


def _clipped(form: Form, at: tuple[str, ...], x: Array) -> Array:
    """Return x limited to -clip..clip if that is where the form clips, else x itself."""
    if form.clip is None or form.clip_at not in at:
        return x
    limit = x.dtype.type(form.clip)
    return np.clip(x, -limit, limit)
