"""Weights stored as integers, with scales and zero points: as they are, and their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Self

import numpy as np

from .._integers import SCALE, ZERO_POINT, are_finite, farthest
from .._types import Array, Shape
from .._weights import LONGEST
from ._attributes import Attributes

_INTEGERS: Final = ("int8", "uint8", "int16", "uint16", "int32", "int4", "uint4")
_EXACT: Final = ("int8", "uint8", "int4", "uint4", "int16", "uint16")  # differences of two are float32 numbers
#: What QuantizeLinear makes here.
QUANTIZED: Final = ("int8", "uint8", "int16", "uint16")
_BYTES: Final = {"int8": "int8", "int4": "int8", "uint8": "uint8", "uint4": "uint8"}


class Quantized(NamedTuple):
    """Numbers as a model has them: integers of 8 bits, and for each of them its scale and its zero point."""

    values: Array
    """int8 or uint8."""
    scale: Array
    """float32, of the same shape, mostly a view of few numbers; or [D, rows, 1]."""
    zero_point: Array
    """Of the dtype and the shape of `values`: the same."""

    @classmethod
    def of(cls, x: Array, scale: Array, zero_point: Array | None) -> Self:
        """Spread scales and zero points, of a shape that NumPy broadcasts, over integers of at most 8 bits."""
        values = x.astype(_BYTES[x.dtype.name], copy=False)
        zeros = np.zeros((), values.dtype) if zero_point is None else zero_point.astype(values.dtype, copy=False)
        return cls(values, *(np.broadcast_to(array, x.shape) for array in (scale, zeros)))

    @property
    def shape(self) -> Shape:
        """Of the numbers."""
        return self.values.shape

    @property
    def ndim(self) -> int:
        """Of the numbers."""
        return self.values.ndim

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of what they stand for."""
        return self.scale.dtype

    @property
    def nbytes(self) -> int:
        """What the integers, and a scale and a zero point for each row, take."""
        return self.values.size + 5 * self.values[..., 0].size

    def array(self) -> Array:
        """Return what they stand for."""
        return dequantized(self.values, self.scale, self.zero_point, self.dtype)

    def in_rows(self) -> Self | None:
        """Return the same, [D, rows, columns], with one scale and zero point a row, [D, rows, 1]; else None."""
        if self.ndim != 3 or not self.values.size or self.shape[2] > LONGEST:
            return None
        parts = self.scale, self.zero_point
        if not all(part.strides[-1] == 0 or (part == part[..., :1]).all() for part in parts):
            return None
        made = type(self)(self.values, *(part[..., :1] for part in parts))
        distances = farthest(made.values, made.zero_point[..., 0])
        return made if are_finite(made.scale[..., 0], distances) else None

    def blocks(self, d: int, change: Callable[[Array], Array]) -> Self:
        """Return those of one direction, in rows that `change` puts in another order."""
        return type(self)(*(change(part[d]) for part in self))

    def entries(self, name: str) -> dict[str, Array]:
        """Name its arrays, with one scale and zero point for each row, in a state dict."""
        return {name: self.values, f"{name}{SCALE}": self.scale[:, 0], f"{name}{ZERO_POINT}": self.zero_point[:, 0]}


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
    _check_integers(x, zero_point)
    return dequantized(x, *_spread(x, scale, zero_point, axis, block_size), dtype)


def quantized_linear(
    x: Array, scale: Array, zero_point: Array | None, *, axis: int = 1, dtype: np.dtype[Any]
) -> Quantized | None:
    """Return the integers that the operator takes; None for more than 8 bits, and results that are not float32."""
    if x.dtype.name not in _BYTES or not scale.dtype == dtype == np.float32:
        return None
    _check_integers(x, zero_point)
    return Quantized.of(x, *_spread(x, scale, zero_point, axis, 0))


def quantize_linear(x: Array, scale: Array, zero_point: Array | None, *, axis: int, dtype: np.dtype[Any]) -> Array:
    """Compute the operator QuantizeLinear in float32: per tensor, or per slice along an axis."""
    for name, array in ("x", x), ("y_scale", scale):
        if array.dtype != np.float32:
            raise ValueError(f"{name} should have dtype float32, got: {array.dtype}")
    if not np.isfinite(x).all():
        raise ValueError("x should be finite")
    scale, zero_point = _spread(x, scale, zero_point, axis, 0, "y")
    with np.errstate(over="ignore"):  # saturates
        made = x / scale
    limits = np.iinfo(dtype)
    np.rint(made, out=made)
    if zero_point is not None:
        made += zero_point.astype(np.float32)
    return np.clip(made, limits.min, limits.max, out=made).astype(dtype)


def _spread(
    x: Array, scale: Array, zero_point: Array | None, axis: int, block_size: int, letter: str = "x"
) -> tuple[Array, Array | None]:
    """Check scales and zero points of x; return them in a shape that NumPy broadcasts."""
    _check_scale(scale, f"{letter}_scale")
    if zero_point is not None and zero_point.shape != scale.shape and not zero_point.size == scale.size == 1:
        raise ValueError(
            f"{letter}_zero_point should have shape {scale.shape}, that of {letter}_scale, got: {zero_point.shape}"
        )
    blocked = block_size > 0
    if scale.size == 1 and not blocked:
        shape: tuple[int, ...] = ()
        return scale.reshape(shape), _reshaped(zero_point, shape)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"axis should be in {-x.ndim}..{x.ndim - 1}, got: {axis}")
    axis %= x.ndim
    size = x.shape[axis]
    if blocked:
        expected = (*x.shape[:axis], -(-size // block_size), *x.shape[axis + 1 :])
        if scale.shape != expected:
            raise ValueError(
                f"{letter}_scale should have shape {expected} for blocks of {block_size} along axis {axis}, "
                f"got: {scale.shape}"
            )
        block = np.arange(size) // block_size
        return scale.take(block, axis), None if zero_point is None else zero_point.take(block, axis)
    if scale.shape != (size,):
        raise ValueError(
            f"{letter}_scale should have shape () or {(size,)}, one for each along axis {axis}, got: {scale.shape}"
        )
    shape = (size, *(1,) * (x.ndim - axis - 1))
    return scale.reshape(shape), _reshaped(zero_point, shape)


def in_rows(matrices: Mapping[str, Quantized]) -> dict[str, Quantized] | None:
    """Return W and R as a layer of integers has them; None if one of them is not of that kind."""
    made = {name: each.in_rows() for name, each in matrices.items()}
    return None if None in made.values() else made  # type: ignore[return-value]


def quantized_weights(values: Mapping[str, Array], attributes: Attributes) -> dict[str, Quantized]:
    """Return W and R of a DynamicQuantizeLSTM, [D, I or H, 4H] there, as the LSTM operator's [D, 4H, I or H]."""
    R = values["R"]
    H = attributes.hidden_size or (R.shape[1] if R.ndim == 3 else 0)
    return {name: _quantized_weights(values, name, attributes.directions, H) for name in ("W", "R")}


def _quantized_weights(values: Mapping[str, Array], name: str, D: int, H: int) -> Quantized:
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
    return Quantized.of(x.swapaxes(1, 2), scale.reshape(shape), zero_point.reshape(shape))


def _reshaped(array: Array | None, shape: tuple[int, ...]) -> Array | None:
    return None if array is None else array.reshape(shape)


def _check_integers(x: Array, zero_point: Array | None) -> None:
    if x.dtype.name not in _INTEGERS:
        raise ValueError(f"x should have dtype {', '.join(_INTEGERS[:-1])} or {_INTEGERS[-1]}, got: {x.dtype}")
    if zero_point is not None:
        _check_zero_point(zero_point, x, "x_zero_point")


def _check_scale(scale: Array, name: str) -> None:
    wrong = scale[~(np.isfinite(scale) & (scale > 0))]
    if wrong.size:
        raise ValueError(f"{name} should be finite and greater than zero, got: {wrong.flat[0]}")


def _check_zero_point(zero_point: Array, x: Array, name: str) -> None:
    if zero_point.dtype != x.dtype:
        raise TypeError(f"{name} should have dtype {x.dtype}, that of what it belongs to, got: {zero_point.dtype}")
    if x.dtype == np.int32 and zero_point.any():
        raise ValueError(f"{name} should be zero for int32, got: {zero_point[zero_point != 0].flat[0]}")
