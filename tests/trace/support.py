"""What the tests of traces share: traces of cases, and a pass step by step by the reference."""

from typing import Any

import numpy as np

import fastlstm
from fastlstm import reference
from tests.cases import Array, Case, Data

NAMES = ("i", "f", "g", "o", "c", "tanh_c", "h")
BEFORE = ("c_prev", "h_prev")


def traced(lstm: fastlstm.LSTM, data: Data, **options: Any) -> fastlstm.GateTrace:
    """Trace everything that a case has."""
    return lstm.trace(data.input, data.hx, lengths=data.lengths, resets=data.resets, **options)


def arrays(trace: fastlstm.GateTrace, *names: str) -> tuple[Array, ...]:
    """Return arrays of a trace, all that there are if none is named."""
    return tuple(getattr(trace, name) for name in names or (*NAMES, *BEFORE))


def steps_first(case: Case, data: Data) -> tuple[Array, Array, Array | None]:
    """Return input [T, B, I], lengths [B] and resets [T, B] of a case."""
    x = data.input.swapaxes(0, 1) if case.batch_first else data.input
    resets = data.resets.T if data.resets is not None and case.batch_first else data.resets
    return x, np.full(case.B, case.T) if data.lengths is None else data.lengths, resets


def expected(case: Case, data: Data) -> dict[str, Array]:
    """Return what a trace should hold, in float64, by a plain walk over layers, directions, rows and steps."""
    wide = data.astype("float64")
    x, lengths, resets = steps_first(case, wide)
    L, D = case.num_layers, case.directions
    made = {
        name: np.zeros((L, D, case.T, case.B, case.R if name in ("h", "h_prev") else case.H))
        for name in (*NAMES, *BEFORE)
    }
    for layer in range(L):
        for d in range(D):
            for b in range(case.B):
                h, c = wide.h_0[layer * D + d, b], wide.c_0[layer * D + d, b]
                order = range(lengths[b])
                for t in reversed(order) if d else order:
                    if resets is not None and resets[t, b]:
                        h, c = np.zeros_like(h), np.zeros_like(c)
                    step = _step(case, wide, layer, d, x[t, b], h, c)
                    for name, values in step.items():
                        made[name][layer, d, t, b] = values
                    h, c = step["h"], step["c"]
        x = np.concatenate(list(made["h"][layer]), axis=-1)
    return made


def _step(case: Case, data: Data, layer: int, d: int, x: Array, h: Array, c: Array) -> dict[str, Array]:
    """One step of one row, written as the equations of `fastlstm.Form`."""
    own = {name: data.state_dict.get(f"{name}_l{layer}{'_reverse' * d}") for name in _PARAMETERS}
    form = case.form or fastlstm.Form()
    activate = reference._activations.activate
    z = own["weight_ih"] @ x + own["weight_hh"] @ h
    if case.bias:
        z = z + own["bias_ih"] + own["bias_hh"]
    z_i, z_f, z_g, z_o = np.split(z, 4)
    p_i, p_f, p_o = np.split(own["weight_ph"], 3) if form.peepholes else np.zeros((3, case.H))
    limit = np.inf if form.clip is None else form.clip
    inputs = limit if form.clip_at in ("activations", "gates") else np.inf
    i = activate(form.gate, np.clip(z_i + p_i * c, -inputs, inputs))
    f = 1 - i if form.coupled else activate(form.gate, np.clip(z_f + p_f * c, -inputs, inputs))
    g = activate(form.candidate, np.clip(z_g, -inputs, inputs))
    new = f * c + (i + g if form.summed else i * g)
    if form.clip_at == "state":
        new = np.clip(new, -limit, limit)
    o = activate(form.gate, np.clip(z_o + p_o * new, -inputs, inputs))
    shown = activate(form.cell, np.clip(new, -limit, limit) if form.clip_at == "activations" else new)
    out = o * shown
    if case.P:
        out = own["weight_hr"] @ out
    return {"i": i, "f": f, "g": g, "o": o, "c": new, "tanh_c": shown, "h": out, "c_prev": c, "h_prev": h}


_PARAMETERS = ("weight_ih", "weight_hh", "weight_ph", "bias_ih", "bias_hh", "weight_hr")
