"""Matrices of 8 bits as another library or a state dict has them: integers, and for each row a scale and a zero point.

A row stands for ``scale * (values - zero_point)``. Names are those of compressed checkpoints: ``weight_ih_l0`` for the
integers, ``weight_ih_l0_scale``, and ``weight_ih_l0_zero_point`` where it is not zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from . import _checks
from ._checks import frozen
from ._types import Array, Shape

SCALE: Final = "_scale"
ZERO_POINT: Final = "_zero_point"
KINDS: Final = (np.dtype(np.int8), np.dtype(np.uint8))


class Integers(NamedTuple):
    """A matrix as integers: ``array()`` is what they stand for."""

    values: Array  # int8 [rows, columns]
    scales: Array  # float32 [rows]
    zeros: Array | None = None  # int8 [rows]; None: all are zero

    def array(self, dtype: DTypeLike = np.float32) -> Array:
        """Return the numbers, each rounded once to float32, or exact in float64."""
        made = self.values.astype(dtype)
        if self.zeros is not None:
            made -= self.zeros[:, np.newaxis]
        with np.errstate(under="ignore"):
            made *= self.scales[:, np.newaxis]
        return frozen(made)

    def entries(self, name: str) -> dict[str, Array]:
        """Name its arrays in a state dict."""
        made = {name: self.values, f"{name}{SCALE}": self.scales}
        return made if self.zeros is None else made | {f"{name}{ZERO_POINT}": self.zeros}


Parameter = Array | Integers


def matrix(values: object, scale: object, zero_point: object, name: str, expected: Shape) -> Integers:
    """Copy a matrix of int8 or uint8, whose scale and zero point are single numbers or one for each row.

    Raises
    ------
    TypeError
        For another dtype; a zero point may be an integer of any.
    ValueError
        For another shape, a scale that is not finite and greater than zero, and a zero point that the integers' dtype
        does not hold; and for scales so large that a weight would be infinite.
    """
    given = _checks.shape(_checks.read(values, name, "int8 or uint8"), name, expected, "the parameter's")
    if given.dtype not in KINDS:
        raise TypeError(f"{name} should have dtype int8 or uint8, got: {given.dtype}")
    scales = _scales(scale, f"{name}{SCALE}", len(given))
    zeros = np.zeros(len(given), given.dtype)
    if zero_point is not None:
        zeros = _zeros(zero_point, f"{name}{ZERO_POINT}", given.dtype, len(given))
    distances = _as_int8(zeros)
    made = Integers(_as_int8(given), scales, distances if distances.any() else None)
    _check_scales(made, name)
    return made


def _as_int8(array: Array) -> Array:
    """Copy int8 as it is, uint8 as what it is above 128: differences stay the same."""
    offset = np.uint8(0 if array.dtype == np.int8 else 128)
    return frozen((np.ascontiguousarray(array).view(np.uint8) ^ offset).view(np.int8))


def _scales(given: object, name: str, rows: int) -> Array:
    """Read scales; those of float64, which torch has, are rounded to float32."""
    array = _checks.read(given, name, "floats")
    if array.dtype.kind not in "iuf" or (array.dtype.kind != "f" and isinstance(given, np.ndarray | np.generic)):
        raise TypeError(f"{name} should be of floats, got: {array.dtype}")
    with np.errstate(over="ignore", under="ignore"):  # told by _check_scales
        return frozen(_for_rows(array.astype(np.float32), name, rows))


def _for_rows(array: Array, name: str, rows: int) -> Array:
    if array.shape not in ((), (1,), (rows,), (rows, 1)):
        raise ValueError(f"{name} should have shape () or {(rows,)}, one for each row, got: {array.shape}")
    return np.array(np.broadcast_to(array.reshape(-1), (rows,)), order="C")


def _zeros(given: object, name: str, kind: np.dtype[np.int8 | np.uint8], rows: int) -> Array:
    array = _checks.read(given, name, "integers")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} should be of integers, got: {array.dtype}")
    limits = np.iinfo(kind)
    wrong = array[(array < limits.min) | (array > limits.max)]
    if wrong.size:
        raise ValueError(f"{name} should be in {limits.min}..{limits.max}, as {kind} is, got: {wrong.flat[0]}")
    return _for_rows(array, name, rows).astype(kind)


def farthest(values: Array, zeros: Array | None) -> Array:
    """Return how far from its zero point a row, the last axis, gets at most: int16, without a copy of the matrix."""
    zero = np.int16(0) if zeros is None else zeros.astype(np.int16)
    made: Array = np.maximum(*(np.abs(end(values, axis=-1).astype(np.int16) - zero) for end in (np.min, np.max)))
    return made


def are_finite(scales: Array, distances: Array) -> bool:
    """Tell whether rows that get so far stand for numbers of float32."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(scales * distances.astype(np.float32)).all())


def _check_scales(given: Integers, name: str) -> None:
    """Scales are greater than zero; one of zero is fine where the whole row stands for zeros."""
    distances = farthest(given.values, given.zeros)
    fine = np.isfinite(given.scales) & ~np.signbit(given.scales) & ((given.scales > 0) | (distances == 0))
    if not fine.all():
        raise ValueError(
            f"{name}{SCALE} should be finite and greater than zero, got: {given.scales[~fine][0]} for row "
            f"{int(np.flatnonzero(~fine)[0])}"
        )
    if not are_finite(given.scales, distances):
        raise ValueError(f"{name}{SCALE} is too large: some weights would be infinite in float32")


def are(state_dict: Mapping[str, object], name: str) -> bool:
    """Tell whether a state dict has a matrix as integers: it is told by its scale."""
    return f"{name}{SCALE}" in state_dict


def beside(names: Iterable[str]) -> set[str]:
    """Return the names of what matrices of these names have, or may have, beside them."""
    return {f"{name}{end}" for name in names for end in (SCALE, ZERO_POINT)}


def refuse_without_scale(value: object, name: str) -> None:
    """Say what integers need, where floats are expected."""
    array = _checks.read(value, name, "floats")  # of torch, too, whose dtypes are others
    if array.dtype in KINDS:
        raise ValueError(f"{name} is of {array.dtype}, which needs {name}{SCALE}") from None


def of(state_dict: Mapping[str, object], name: str, expected: Shape) -> Integers:
    """Copy a matrix out of a state dict that has it as integers."""
    zero_point = state_dict.get(f"{name}{ZERO_POINT}")
    return matrix(state_dict[name], state_dict[f"{name}{SCALE}"], zero_point, name, expected)
