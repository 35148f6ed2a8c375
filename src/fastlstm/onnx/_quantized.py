"""Weights stored as integers, with scales and zero points: their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from .._types import Array
from ._attributes import Attributes

_INTEGERS: Final = ("int8", "uint8", "int16", "uint16", "int32", "int4", "uint4")
_EXACT: Final = ("int8", "uint8", "int4", "uint4", "int16", "uint16")  # differences of two are float32 numbers


def dequantized(x: Array, scale: Array, zero_point: Array | None, dtype: np.dtype[Any]) -> Array:
    """Return (x - zero_point) * scale, rounded once; scale and zero_point have a shape that NumPy broadcasts."""
    with np.errstate(over="ignore"):  # told below
        if x.dtype.name in _EXACT and scale.dtype == dtype == np.float32:
            made = _difference(x, zero_point, np.dtype(np.float32))
            made *= scale
        else:
            made = _difference(x, zero_point, np.dtype(np.float64))
            made *= scale.astype(np.float64)
            made = made.astype(dtype)
    if not np.isfinite(made).all():
        raise ValueError(f"scales are too large: some weights would be infinite in {dtype}")
    return made


def _difference(x: Array, zero_point: Array | None, dtype: np.dtype[Any]) -> Array:
    made = x.astype(dtype)
    if zero_point is not None:
        made -= zero_point.astype(dtype)
    return made


def dequantize_linear(
    x: Array, scale: Array, zero_point: Array | None, *, axis: int = 1, block_size: int = 0, dtype: np.dtype[Any]
) -> Array:
    """Compute the operator DequantizeLinear: per tensor, per slice along an axis, or per block along it."""
    _check_integers(x, "x")
    _check_scale(scale, "x_scale")
    if zero_point is not None:
        _check_zero_point(zero_point, x, "x_zero_point")
        if zero_point.shape != scale.shape and not zero_point.size == scale.size == 1:
            raise ValueError(f"x_zero_point should have shape {scale.shape}, that of x_scale, got: {zero_point.shape}")
    blocked = block_size > 0
    if scale.size == 1 and not blocked:
        shape: tuple[int, ...] = ()
        return dequantized(x, scale.reshape(shape), _reshaped(zero_point, shape), dtype)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis should be in {-x.ndim}..{x.ndim - 1}, got: {axis}")
    axis %= x.ndim
    size = x.shape[axis]
    if blocked:
        expected = (*x.shape[:axis], -(-size // block_size), *x.shape[axis + 1 :])
        if scale.shape != expected:
            raise ValueError(
                f"x_scale should have shape {expected} for blocks of {block_size} along axis {axis}, got: {scale.shape}"
            )
        block = np.arange(size) // block_size
        spread = None if zero_point is None else zero_point.take(block, axis)
        return dequantized(x, scale.take(block, axis), spread, dtype)
    if scale.shape != (size,):
        raise ValueError(
            f"x_scale should have shape () or {(size,)}, one for each along axis {axis}, got: {scale.shape}"
        )
    shape = (size, *(1,) * (x.ndim - axis - 1))
    return dequantized(x, scale.reshape(shape), _reshaped(zero_point, shape), dtype)


def dequantize_weights(values: Mapping[str, Array], attributes: Attributes) -> dict[str, Array]:
    """Return W and R of a DynamicQuantizeLSTM, [D, I or H, 4H] there, as the LSTM operator's [D, 4H, I or H]."""
    R = values["R"]
    H = attributes.hidden_size or (R.shape[1] if R.ndim == 3 else 0)
    return {name: _dequantized_weights(values, name, attributes.directions, H) for name in ("W", "R")}


def _dequantized_weights(values: Mapping[str, Array], name: str, D: int, H: int) -> Array:
    x, scale, zero_point = values[name], values[f"{name}_scale"], values[f"{name}_zero_point"]
    if x.dtype not in (np.int8, np.uint8):
        raise TypeError(f"{name} should have dtype int8 or uint8, got: {x.dtype}")
    if x.ndim != 3:
        raise ValueError(f"{name} should have 3 dimensions, got shape {x.shape}")
    expected, letter = (D, x.shape[1] if name == "W" else H, 4 * H), "I" if name == "W" else "H"
    if x.shape != expected:
        raise ValueError(f"{name} should have shape {expected} = (D, {letter}, 4H), got: {x.shape}")
    if scale.dtype != np.float32:
        raise TypeError(f"{name}_scale should have dtype float32, got: {scale.dtype}")
    for end, array in (("scale", scale), ("zero_point", zero_point)):  # one of them may be per row, the other not
        if array.shape not in ((D,), (D, 4 * H)):
            raise ValueError(
                f"{name}_{end} should have shape {(D,)} = (D,) or {(D, 4 * H)} = (D, 4H), got: {array.shape}"
            )
    _check_scale(scale, f"{name}_scale")
    _check_zero_point(zero_point, x, f"{name}_zero_point")
    shape = (D, -1, 1)
    return dequantized(x.swapaxes(1, 2), scale.reshape(shape), zero_point.reshape(shape), scale.dtype)


def _reshaped(array: Array | None, shape: tuple[int, ...]) -> Array | None:
    return None if array is None else array.reshape(shape)


def _check_integers(x: Array, name: str) -> None:
    if x.dtype.name not in _INTEGERS:
        raise ValueError(f"{name} should have dtype {', '.join(_INTEGERS[:-1])} or {_INTEGERS[-1]}, got: {x.dtype}")


def _check_scale(scale: Array, name: str) -> None:
    wrong = scale[~(np.isfinite(scale) & (scale > 0))]
    if wrong.size:
        raise ValueError(f"{name} should be finite and greater than zero, got: {wrong.flat[0]}")


def _check_zero_point(zero_point: Array, x: Array, name: str) -> None:
    if zero_point.dtype != x.dtype:
        raise TypeError(f"{name} should have dtype {x.dtype}, that of what it belongs to, got: {zero_point.dtype}")
    if x.dtype == np.int32 and zero_point.any():
        raise ValueError(f"{name} should be zero for int32, got: {zero_point[zero_point != 0].flat[0]}")
