"""The activations and the gates alone."""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks, _core, _isa
from ._types import Array, F


@overload
def sigmoid(x: NDArray[F], out: NDArray[F] | None = None, *, isa: str | None = None) -> NDArray[F]: ...
@overload
def sigmoid(x: ArrayLike, out: Array | None = None, *, isa: str | None = None) -> Array: ...
def sigmoid(x: ArrayLike, out: Array | None = None, *, isa: str | None = None) -> Array:
    """Logistic sigmoid, 1 / (1 + exp(-x)): a differentiable filter, 0..1.

    Parameters
    ----------
    x : array_like
        float32 or float64, any shape.
    out : array, optional
        Where to write: same shape and dtype; may be `x` itself.
    isa : str, optional
        Instruction set to run on; the bits do not depend on it.

    Returns
    -------
    array
        Same shape and dtype as `x`; `out` if it was given.

    Raises
    ------
    TypeError
        For another dtype.
    ValueError
        For an `out` of another shape, read-only, or partly overlapping `x`; for an unknown `isa`.

    Notes
    -----
    float32: at most 1.72 ULP over all inputs; 0 below -87.68, where the result is subnormal. float64: at most 2 ULP,
    sampled; 0 below -708.75. NaN stays NaN. Source: ``csrc/kernels/activations.h``.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> fastlstm.sigmoid(np.array([-np.inf, 0.0, np.inf]))
    array([0. , 0.5, 1. ])
    """
    return _activation(False, x, out, isa)


@overload
def tanh(x: NDArray[F], out: NDArray[F] | None = None, *, isa: str | None = None) -> NDArray[F]: ...
@overload
def tanh(x: ArrayLike, out: Array | None = None, *, isa: str | None = None) -> Array: ...
def tanh(x: ArrayLike, out: Array | None = None, *, isa: str | None = None) -> Array:
    """Hyperbolic tangent: a signed update, -1..1.

    Parameters, errors and the rest are as for `sigmoid`.

    Notes
    -----
    float32: at most 1.96 ULP over all inputs. float64: at most 2.25 ULP, sampled. Odd to the bit; keeps -0 and
    subnormals; saturates to exactly -1 and 1. NaN stays NaN. Source: ``csrc/kernels/activations.h``.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> fastlstm.tanh(np.array([-np.inf, -0.0, 0.5], np.float32))
    array([-1.        , -0.        ,  0.46211717], dtype=float32)
    """
    return _activation(True, x, out, isa)


def _activation(is_tanh: bool, x: object, out: Array | None, isa: str | None) -> Array:
    name = _isa.resolve(isa)
    y = _core.activation(is_tanh, x, out, name)
    if y is not None:
        return y
    array = _float_array(x, "x")
    to = None
    if out is not None:
        to = _checks.output(out, array.shape, array.dtype, "x's", {} if out is x else {"x": array})
    y = _core.activation(is_tanh, np.array(array, order="C"), None, name)
    assert y is not None
    return _checks.delivered(y, to, out)


def _float_array(x: object, name: str) -> Array:
    array = (np.asarray(x, np.float64) if isinstance(x, list | tuple | float) else np.asarray(x)).view()  # our own
    if array.dtype not in _checks.FLOATS or isinstance(x, np.ma.MaskedArray):
        advice = "" if isinstance(x, np.ma.MaskedArray) else _checks.convert(array, name, "float64")
        raise TypeError(
            f"{name} should be an array of float32 or float64, got: {type(x).__name__} of {array.dtype}{advice}"
        )
    return array


@overload
def gates_forward(
    z: NDArray[F], c: NDArray[F], *, gates: NDArray[F] | None = None, isa: str | None = None
) -> tuple[NDArray[F], NDArray[F]]: ...
@overload
def gates_forward(
    z: ArrayLike, c: ArrayLike, *, gates: Array | None = None, isa: str | None = None
) -> tuple[Array, Array]: ...
def gates_forward(
    z: ArrayLike, c: ArrayLike, *, gates: Array | None = None, isa: str | None = None
) -> tuple[Array, Array]:
    """Apply the gates of an LSTM to given pre-activations: activations and Hadamard combination, fused.

    With ``i, f, g, o = sigmoid, sigmoid, tanh, sigmoid`` of the four quarters of `z`::

        c' = f * c + i * g      a filter times the old cell, plus a filter times a signed update
        h' = o * tanh(c')

    Parameters
    ----------
    z : array_like [..., 4H]
        Pre-activations, gate order i, f, g, o; float32 or float64.
    c : array_like [..., H]
        The cell state, of the same dtype and leading shape.
    gates : array [..., 4H], optional
        Where to write i, f, g, o, for `gates_backward` or to look at: contiguous, of the same dtype, overlapping no
        input.
    isa : str, optional
        Instruction set to run on; the bits do not depend on it.

    Returns
    -------
    h : array [..., H]
        The new hidden state.
    c : array [..., H]
        The new cell state.

    Raises
    ------
    TypeError
        For dtypes that are not float, or not the same.
    ValueError
        For shapes that do not fit; for an unknown `isa`.

    Notes
    -----
    The very kernel that runs inside `LSTM`: the same bits. In float32 c' and h' are within 4 ULP of their largest term.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> h, c = fastlstm.gates_forward(np.zeros(4), np.ones(1))
    >>> c  # half of it is kept, and half of tanh(0) is added
    array([0.5])
    """
    name = _isa.resolve(isa)
    za, ca = _float_array(z, "z"), _float_array(c, "c")
    if za.dtype != ca.dtype:
        raise TypeError(f"z and c should have the same dtype, got: {za.dtype} and {ca.dtype}")
    rows, units = _rows_and_units(ca, "c")
    _checks.shape(za, "z", (*ca.shape[:-1], 4 * units), "(..., 4H) for c of (..., H)")
    to = None
    if gates is not None:
        to = _checks.output(gates, za.shape, za.dtype, "z's", {"z": za, "c": ca}, name="gates")
        if not to.flags.carray:
            raise ValueError("gates should be contiguous")
    za, ca = _checks.contiguous(za), _checks.contiguous(ca)
    h, c_next = np.empty_like(ca), np.empty_like(ca)
    _core.run_gates_forward(za, ca, c_next, h, to, rows, units, name)
    return h, c_next


@overload
def gates_backward(
    gates: NDArray[F],
    c_prev: NDArray[F],
    c: NDArray[F],
    grad_h: NDArray[F],
    grad_c: NDArray[F] | None = None,
    *,
    isa: str | None = None,
) -> tuple[NDArray[F], NDArray[F]]: ...
@overload
def gates_backward(
    gates: ArrayLike,
    c_prev: ArrayLike,
    c: ArrayLike,
    grad_h: ArrayLike,
    grad_c: ArrayLike | None = None,
    *,
    isa: str | None = None,
) -> tuple[Array, Array]: ...
def gates_backward(
    gates: ArrayLike,
    c_prev: ArrayLike,
    c: ArrayLike,
    grad_h: ArrayLike,
    grad_c: ArrayLike | None = None,
    *,
    isa: str | None = None,
) -> tuple[Array, Array]:
    """Compute the gradient of `gates_forward`, fused.

    ::

        dc   = grad_c + grad_h * o * (1 - tanh(c)^2)
        dz_i = dc * g * i (1 - i)          dz_f = dc * c_prev * f (1 - f)
        dz_g = dc * i * (1 - g^2)          dz_o = grad_h * tanh(c) * o (1 - o)
        dc_prev = dc * f                   the cell recurrence: multiplied by f alone

    Parameters
    ----------
    gates : array_like [..., 4H]
        i, f, g, o, as `gates_forward` wrote them.
    c_prev, c : array_like [..., H]
        The cell state before and after; of the same dtype, as are the gradients.
    grad_h, grad_c : array_like [..., H]
        Gradients of the new h and (zeros if not given) of the new c.
    isa : str, optional
        Instruction set to run on; the bits do not depend on it.

    Returns
    -------
    grad_z : array [..., 4H]
        Gradients of the pre-activations.
    grad_c_prev : array [..., H]
        Gradient of the cell state before.

    Raises
    ------
    TypeError
        For dtypes that are not float, or not the same.
    ValueError
        For shapes that do not fit; for an unknown `isa`.

    Examples
    --------
    >>> import numpy as np, fastlstm
    >>> gates = np.array([0.5, 0.25, 0.0, 1.0])  # i, f, g, o
    >>> grad_z, grad_c = fastlstm.gates_backward(gates, np.ones(1), np.zeros(1), np.ones(1))
    >>> grad_c  # what reached the cell, times f
    array([0.25])
    """
    name = _isa.resolve(isa)
    base = _float_array(c, "c")
    rows, units = _rows_and_units(base, "c")
    arrays = []
    for value, argument, width in (
        (gates, "gates", 4),
        (c_prev, "c_prev", 1),
        (base, "c", 1),
        (grad_h, "grad_h", 1),
        (np.zeros_like(base) if grad_c is None else grad_c, "grad_c", 1),
    ):
        array = _float_array(value, argument)
        if array.dtype != base.dtype:
            raise TypeError(f"{argument} and c should have the same dtype, got: {array.dtype} and {base.dtype}")
        _checks.shape(array, argument, (*base.shape[:-1], width * units), "(..., 4H)" if width == 4 else "(..., H)")
        arrays.append(_checks.contiguous(array))
    grad_z, grad_c_prev = np.empty_like(arrays[0]), np.array(arrays[4])
    gates_, before, after, dh, _ = arrays
    _core.run_gates_backward(gates_, before, after, dh, grad_z, grad_c_prev, rows, units, name)
    return grad_z, grad_c_prev


def _rows_and_units(c: Array, name: str) -> tuple[int, int]:
    if c.ndim == 0:
        raise ValueError(f"Expected {name} to have at least one dimension, [..., H], got a scalar")
    units = c.shape[-1]
    return c.size // units if units else 0, units
