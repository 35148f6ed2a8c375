"""Checks of arguments: each names the argument, what was expected and what came."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._form import STANDARD, Form, parameters
from ._layout import Layout
from ._records import Array

# A layer has the first two of these always, the others only if it was built with them.
_KINDS = ("weight_ih", "weight_hh", "weight_ph", "bias_ih", "bias_hh", "weight_hr")


def initial_states(
    hx: tuple[Array, Array] | None, n_states: int, n_hidden: int, n_out: int, x: Array, layout: Layout
) -> tuple[Array, Array]:
    """Return (h_0, c_0) of shapes (L*D, B, R) and (L*D, B, H): `hx` checked and given its batch axis, or zeros."""
    n_rows = x.shape[1]
    if hx is None:
        return np.zeros((n_states, n_rows, n_out), x.dtype), np.zeros((n_states, n_rows, n_hidden), x.dtype)
    if len(hx) != 2:
        raise ValueError(f"hx: expected two arrays (h_0, c_0), got {len(hx)}")
    h_0, c_0 = hx
    batch = (n_rows,) if layout.batched else ()
    check("h_0", h_0, (n_states, *batch, n_out), x.dtype)
    check("c_0", c_0, (n_states, *batch, n_hidden), x.dtype)
    return layout.of_states.steps_first(h_0), layout.of_states.steps_first(c_0)


def split_state_dict(
    state_dict: Mapping[str, Array], num_layers: int, bidirectional: bool
) -> dict[str, dict[str, Array]]:
    """Return the weights of each layer and direction, in the order of `hx`, as keyword arguments of `layer_forward`.

    Each stands under what ends its names in `state_dict`: ``_l0``, ``_l0_reverse``, ``_l1`` and so on.
    """
    if num_layers < 1:
        raise ValueError(f"num_layers: expected at least 1, got {num_layers}")
    # Layer 0 shows whether there are peepholes, biases and a projection; all others must then have the same.
    kinds = [kind for kind in _KINDS if kind in ("weight_ih", "weight_hh") or f"{kind}_l0" in state_dict]
    suffixes = [f"_l{k}{end}" for k in range(num_layers) for end in (("", "_reverse") if bidirectional else ("",))]
    names = [kind + suffix for suffix in suffixes for kind in kinds]
    missing, unexpected = sorted(set(names) - set(state_dict)), sorted(set(state_dict) - set(names))
    if missing or unexpected:
        raise ValueError(
            f"state_dict: missing {missing}, unexpected {unexpected} for num_layers={num_layers}, "
            f"bidirectional={bidirectional}"
        )
    return {suffix: {kind: state_dict[kind + suffix] for kind in kinds} for suffix in suffixes}


def check_weights(
    dtype: np.dtype[Any],
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array | None = None,
    bias_hh: Array | None = None,
    weight_hr: Array | None = None,
) -> tuple[int, int, int]:
    """Check the weights of one layer against each other and return the sizes (I, H, R)."""
    check_float("weight_ih", weight_ih)
    if weight_ih.ndim != 2 or weight_ih.shape[0] % 4:
        raise ValueError(f"weight_ih: expected shape (4H, I), got {weight_ih.shape}")
    n_hidden, n_in = weight_ih.shape[0] // 4, weight_ih.shape[1]
    n_out = n_hidden
    if weight_hr is not None:
        check_float("weight_hr", weight_hr)
        if weight_hr.ndim != 2:
            raise ValueError(f"weight_hr: expected shape (P, H), got {weight_hr.shape}")
        n_out = weight_hr.shape[0]
    check("weight_ih", weight_ih, (4 * n_hidden, n_in), dtype)
    check("weight_hh", weight_hh, (4 * n_hidden, n_out), dtype)
    if bias_ih is not None:
        check("bias_ih", bias_ih, (4 * n_hidden,), dtype)
    if bias_hh is not None:
        check("bias_hh", bias_hh, (4 * n_hidden,), dtype)
    if weight_hr is not None:
        check("weight_hr", weight_hr, (n_out, n_hidden), dtype)
    return n_in, n_hidden, n_out


def check_form(form: Form | None, weight_ph: Array | None, n_hidden: int, dtype: np.dtype[Any]) -> Form:
    """Return the form of the cell, the standard one for None; there must be peepholes if and only if it has them."""
    if form is None:
        form = STANDARD
    if form.peepholes and weight_ph is None:
        raise ValueError(f"weight_ph: expected shape ({3 * n_hidden},) for a form with peepholes, got None")
    if weight_ph is not None:
        if not form.peepholes:
            raise ValueError("weight_ph: expected None for a form without peepholes, got an array")
        check("weight_ph", weight_ph, (3 * n_hidden,), dtype)
    return form


def check_trainable(form: Form) -> None:
    """Raise for a form that has no backward pass."""
    if form.clip is not None:
        raise ValueError(f"form: expected one without a clip to go back through, got clip={form.clip}")
    for activation in (form.gate, form.candidate, form.cell):
        name, alpha, _ = parameters(activation)
        if name in ("leaky_relu", "elu") and alpha < 0:
            raise ValueError(f"form: expected {name} with alpha >= 0 to go back through, got {alpha}")


def check_lengths(lengths: ArrayLike, n_steps: int, shape: tuple[int, ...]) -> NDArray[np.integer[Any]]:
    """Return `lengths` as an integer array of this shape with values in 0..T."""
    array = np.asarray(lengths)
    if array.size == 0:
        array = array.astype(int)  # an empty list has no dtype of its own: NumPy makes it float64
    if not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"lengths: expected integers, got dtype {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"lengths: expected shape {shape}, got {array.shape}")
    if np.any((array < 0) | (array > n_steps)):
        raise ValueError(f"lengths: expected values in 0..{n_steps}, got {array.tolist()}")
    return array


def check_resets(resets: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return `resets` as a bool array of this shape."""
    array = np.asarray(resets)
    if array.dtype != np.bool_:
        raise TypeError(f"resets: expected dtype bool, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"resets: expected shape {shape}, got {array.shape}")
    return array


def check_masks(
    masks: Sequence[Array] | None, n_masks: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Sequence[Array]:
    """Return the dropout masks, one of this shape for each layer but the last, or none at all."""
    if masks is None:
        return []
    if len(masks) != n_masks:
        raise ValueError(f"dropout_masks: expected {n_masks}, one for each layer but the last, got {len(masks)}")
    for k, mask in enumerate(masks):
        check(f"dropout_masks[{k}]", mask, shape, dtype)
    return masks


def check_gradient(name: str, gradient: Array | None, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an incoming gradient, checked; zeros for None."""
    if gradient is None:
        return np.zeros(shape, dtype)
    check(name, gradient, shape, dtype)
    return gradient


def check_float(name: str, array: Array) -> None:
    """Raise TypeError unless `array` is a float32 or float64 array."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{name}: expected a NumPy array, got {type(array).__name__}")
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected dtype float32 or float64, got {array.dtype}")


def check(name: str, array: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise unless `array` is an array of this shape and dtype."""
    check_float(name, array)
    if array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {array.shape}")
    if array.dtype != dtype:
        raise TypeError(
            f"{name}: expected dtype {dtype} like the input, got {array.dtype}; convert one with .astype(np.{dtype})"
        )
