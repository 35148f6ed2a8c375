"""What traces tell beside the gates: where pre-activations come from, and how gradients go back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import _forms
from ._trace_results import Contribution, Floats, Gates, GradientNorms, Traced
from ._types import Array
from .reference._activations import slope

_GATES = "ifgo"

# ---- where pre-activations come from ---------------------------------------------------------------------------------


def contributions(trace: Gates, layer: Traced, x: Array, mean: Callable[..., Floats]) -> dict[str, Contribution]:
    """Average the sizes of the terms, then share."""
    terms = _Terms(trace, layer, x)
    made = {}
    for index, gate in enumerate(_GATES):
        if gate == "f" and layer.form.coupled:
            continue
        with np.errstate(invalid="ignore", over="ignore"):
            sizes = [mean(lambda part, term=term, index=index: np.abs(term(part, index))) for term in terms]
            total = np.sum(sizes, axis=0)
            if not np.isfinite(total).all():
                raise ValueError(f"contributions to {gate} are infinite: the input or a state is, or is too large")
            made[gate] = Contribution(*(size / total for size in sizes))
    return made


class _Terms:
    """Terms of pre-activations, in the order of `Contribution`: of one gate, [L, D, s, B, H] for a part of steps."""

    def __init__(self, trace: Gates, layer: Traced, x: Array) -> None:
        self._trace, self._layer, self._x = trace, layer, x

    def __iter__(self) -> Any:
        return iter((self._of_x, self._of_h, self._of_bias, self._of_cell))

    def _weights(self, kind: str, gate: int) -> list[Array | None]:
        """Return one gate's rows of every layer and direction."""
        sizes, found = self._layer.sizes, []
        for suffix in sizes.suffixes:
            array = self._layer.parameters.get(kind + suffix)
            found.append(None if array is None else array[gate * sizes.H : (gate + 1) * sizes.H].astype(np.float64))
        return found

    def _each(self, of: Callable[[int, int, int], Array]) -> Array:
        """Stack what each layer and direction gives."""
        L, D = self._layer.sizes.L, self._layer.sizes.D
        return np.stack([np.stack([of(layer, d, layer * D + d) for d in range(D)]) for layer in range(L)])

    def _input(self, layer: int, part: Any) -> Array:
        """Return what a layer reads: the input, or both directions of the layer below."""
        steps = part[2]
        if layer == 0:
            x: Array = self._x[steps]
            return x
        return np.concatenate(list(self._trace.h[layer - 1, :, steps]), axis=-1)

    def _of_x(self, part: Any, gate: int) -> Array:
        weights = self._weights("weight_ih", gate)
        return self._each(lambda layer, d, at: self._input(layer, part).astype(np.float64) @ weights[at].T)  # type: ignore[union-attr]

    def _of_h(self, part: Any, gate: int) -> Array:
        weights, h = self._weights("weight_hh", gate), self._trace.h_prev[part]
        return self._each(lambda layer, d, at: h[layer, d].astype(np.float64) @ weights[at].T)  # type: ignore[union-attr]

    def _of_bias(self, part: Any, gate: int) -> Array:
        both = zip(self._weights("bias_ih", gate), self._weights("bias_hh", gate), strict=True)
        sums = [np.zeros(()) if a is None or b is None else a + b for a, b in both]
        shape = self._trace.i[part].shape[2:]
        return self._each(lambda layer, d, at: np.broadcast_to(sums[at], shape))

    def _of_cell(self, part: Any, gate: int) -> Array:
        block = {0: 0, 1: 1, 3: 2}.get(gate)  # of a peephole's parameter
        seen = self._trace.c if gate == 3 else self._trace.c_prev
        weights = [None] if block is None else self._weights("weight_ph", block)
        if weights[0] is None:
            return np.zeros(self._trace.i[part].shape)
        return self._each(lambda layer, d, at: weights[at] * seen[part][layer, d].astype(np.float64))


# ---- how gradients go back -------------------------------------------------------------------------------------------


class _Slopes(NamedTuple):
    """Parameters and slopes of one layer in one direction, as its Jacobians need them."""

    U: Array  # [4, H, R]
    p: Array  # [3, H]
    W_hr: Array | None


def gradient_norms(trace: Gates, layer: Traced, resets: NDArray[np.bool_] | None, distance: int) -> GradientNorms:
    """Multiply the Jacobians of steps, from each row's last step back."""
    _forms.check_trainable(layer.form)
    sizes = layer.sizes
    longest = int(trace.lengths.max())
    N = min(distance, longest - 1) + 1
    squares, counts = np.zeros((3, sizes.L, sizes.D, N)), np.zeros(N)
    for row, length in enumerate(trace.lengths):
        steps = min(N, int(length))
        counts[:steps] += 1
        for at, suffix in enumerate(sizes.suffixes):
            where = divmod(at, sizes.D)
            path = _Path(trace, layer, where, row, suffix)
            for k in range(steps):
                squares[:, where[0], where[1], k] += path.squares()
                if k + 1 < steps:
                    # of the direction's own time: the last step it takes is step 0 of the input in reverse
                    t = k if where[1] else int(length) - 1 - k
                    path.go_back(t, cut=resets is not None and bool(resets[t, row]))
    norms = np.sqrt(squares / counts)
    return GradientNorms(np.arange(N), *norms)


class _Path:
    """Jacobians of a row's last state with respect to earlier ones, of one layer in one direction."""

    def __init__(self, trace: Gates, layer: Traced, where: tuple[int, int], row: int, suffix: str) -> None:
        sizes, parameters = layer.sizes, layer.parameters
        self._trace, self._form, self._where, self._row = trace, layer.form, where, row
        self._H, self._R = sizes.H, sizes.R
        U = parameters[f"weight_hh{suffix}"].astype(np.float64).reshape(4, sizes.H, sizes.R)
        p = np.zeros((3, sizes.H))
        if sizes.peepholes:
            p = parameters[f"weight_ph{suffix}"].astype(np.float64).reshape(3, sizes.H)
        hr = parameters[f"weight_hr{suffix}"].astype(np.float64) if sizes.P else None
        self._own = _Slopes(U, p, hr)
        self._cell = np.ones(sizes.H)  # dc/dc along the cells: a diagonal
        self._gate = np.eye(sizes.R)  # dh/dh along the outputs
        self._both = np.eye(sizes.H, sizes.R + sizes.H, k=sizes.R)  # dc/d(h, c)

    def squares(self) -> tuple[float, float, float]:
        """Return the mean squares: of `GradientNorms` from the second on."""
        cells = np.square(self._both[:, self._R :]).sum() / self._H
        return float(np.square(self._cell).mean()), float(np.square(self._gate).sum() / self._R), float(cells)

    def go_back(self, t: int, *, cut: bool) -> None:
        """Through step t of the input; through a reset comes nothing."""
        if cut:
            for array in (self._cell, self._gate, self._both):
                array[...] = 0
            return
        f, gate, step = self._jacobian(t)
        self._cell = self._cell * f
        self._gate = self._gate @ gate
        self._both = self._both @ step

    def _value(self, name: str, t: int) -> Array:
        array: Array = getattr(self._trace, name)[*self._where, t, self._row]
        return array.astype(np.float64)

    def _jacobian(self, t: int) -> tuple[Array, Array, Array]:
        """Return f [H], dh/dh [R, R] with the cell of before held, and d(h, c)/d(h, c) [R + H, R + H] of one step."""
        form, (U, p, W_hr) = self._form, self._own
        i, f, g, o, m, c_prev = (self._value(name, t) for name in (*_GATES, "tanh_c", "c_prev"))
        s_i, s_f, s_o = (slope(form.gate, gate) for gate in (i, f, o))
        s_g, s_m = slope(form.candidate, g), slope(form.cell, m)
        di_h, di_c = s_i[:, None] * U[0], s_i * p[0]
        df_h, df_c = (-di_h, -di_c) if form.coupled else (s_f[:, None] * U[1], s_f * p[1])
        of_i, of_g = (np.ones_like(g), np.ones_like(i)) if form.summed else (g, i)  # dc/di, dc/dg
        dc_h = c_prev[:, None] * df_h + of_i[:, None] * di_h + (of_g * s_g)[:, None] * U[2]
        dc_c = f + c_prev * df_c + of_i * di_c
        through = o * s_m + m * s_o * p[2]  # of c' in o cell(c')
        dh_h = (m * s_o)[:, None] * U[3] + through[:, None] * dc_h
        dh_c = np.diag(through * dc_c)
        if W_hr is not None:
            dh_h, dh_c = W_hr @ dh_h, W_hr @ dh_c
        return f, dh_h, np.block([[dh_h, dh_c], [dc_h, np.diag(dc_c)]])
