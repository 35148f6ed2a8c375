"""The activations of all forms of the cell: their values, and their slopes told from their values."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._checks import check_float
from ._form import Activation, parameters
from ._records import Array


def sigmoid(x: ArrayLike) -> Array:
    """Compute 1 / (1 + exp(-x)), without overflow and without cancellation for any x.

    Parameters
    ----------
    x : array_like of float32 or float64, any shape
        Infinities give 0 and 1, NaN gives NaN.

    Returns
    -------
    ndarray, shape and dtype of `x`
        Values in 0..1.

    Raises
    ------
    TypeError
        If `x` is neither float32 nor float64.

    Examples
    --------
    >>> sigmoid([-1000.0, 0.0, 1000.0])
    array([0. , 0.5, 1. ])
    """
    x = np.asarray(x)
    check_float("x", x)
    # exp only ever sees x <= 0, so it cannot overflow; for x < 0 the quotient e / (1 + e) keeps small results accurate.
    e = np.exp(-np.abs(x))
    result: Array = np.where(x < 0, e, 1) / (1 + e)
    return result


def activate(activation: Activation, x: Array) -> Array:
    """Compute an activation, as `fastlstm.Form` names it.

    Parameters
    ----------
    activation : str or tuple
        As a `fastlstm.Form` holds it: a name, or a tuple of a name and all its parameters.
    x : ndarray of float32 or float64, any shape
        NaN gives NaN.

    Returns
    -------
    ndarray, shape and dtype of `x`

    Raises
    ------
    TypeError
        If `x` is neither float32 nor float64.

    Examples
    --------
    >>> activate(("hard_sigmoid", 0.2, 0.5), np.array([-3.0, 1.0, 3.0]))
    array([0. , 0.7, 1. ])
    """
    check_float("x", x)
    name, alpha, beta = parameters(activation)
    result: Array = _value(name, x, x.dtype.type(alpha), x.dtype.type(beta))
    return result


def slope(activation: Activation, y: Array) -> Array:
    """Compute the derivative of an activation from its value y, which is what a forward pass keeps.

    Parameters
    ----------
    activation : str or tuple
        As in `activate`. leaky_relu and elu need alpha >= 0, or a value would not tell which side of 0 it is from.
    y : ndarray of float32 or float64, any shape

    Returns
    -------
    ndarray, shape and dtype of `y`
        At a kink the slope of the left side; of leaky_relu with alpha = 0 and of relu, 0.

    Raises
    ------
    TypeError
        If `y` is neither float32 nor float64.

    Examples
    --------
    >>> slope("tanh", np.array([0.0, 1.0]))
    array([1., 0.])
    """
    check_float("y", y)
    name, alpha, beta = parameters(activation)
    result: Array = _slope(name, y, y.dtype.type(alpha), y.dtype.type(beta))
    return result


def _value(name: str, x: Array, alpha: Any, beta: Any) -> Any:
    match name:
        case "sigmoid":
            return sigmoid(x)
        case "tanh":
            return np.tanh(x)
        case "relu":
            return np.maximum(x, 0)
        case "hard_sigmoid":
            return np.clip(alpha * x + beta, 0, 1)
        case "affine":
            return alpha * x + beta
        case "leaky_relu":
            return np.where(x < 0, alpha * x, x)
        case "thresholded_relu":
            return np.where(x <= alpha, x.dtype.type(0), x)
        case "scaled_tanh":
            return alpha * np.tanh(beta * x)
        case "elu":
            return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)
        case "softsign":
            return x / (1 + np.abs(x))
        case "softplus":
            return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))
    raise AssertionError(name)


def _slope(name: str, y: Array, alpha: Any, beta: Any) -> Any:
    one = np.ones_like(y)
    match name:
        case "sigmoid":
            return y * (1 - y)
        case "tanh":
            return 1 - y**2
        case "relu":
            return np.where(y > 0, one, 0)
        case "hard_sigmoid":
            return np.where((y > 0) & (y < 1), alpha * one, 0)
        case "affine":
            return alpha * one
        case "leaky_relu":
            return np.where(y > 0, one, alpha)
        case "thresholded_relu":
            return np.where(y != 0, one, 0)
        case "scaled_tanh":
            return beta * (alpha - y * (y / alpha)) if alpha else 0 * one
        case "elu":
            return np.where(y > 0, one, y + alpha)
        case "softsign":
            return (1 - np.abs(y)) ** 2
        case "softplus":
            return -np.expm1(-y)
    raise AssertionError(name)
