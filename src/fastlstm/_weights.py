"""What the matrices of a float32 layer are stored in: 32 bits, or rounded to 16 or 8, whose exact values then count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from ._parameters import frozen
from ._types import Array

#: Their numbers in fastlstm.h.
NUMBERS: Final = {None: 0, "float16": 1, "bfloat16": 2, "int8": 3, "int8-fast": 4}
#: Those whose matrices are integers with a scale for each row.
INTEGERS: Final = ("int8", "int8-fast")
#: FL_LONGEST_INT8 of csrc/kernels/kernels.h: numbers in a row of integers.
LONGEST: Final = 16384
#: What doors to files and models take for "as they are stored there".
AUTO: Final = "auto"


def names() -> tuple[str, ...]:
    """Return the names of all types but that of the numbers themselves."""
    return tuple(name for name in NUMBERS if name is not None)


def checked(weights: object, dtype: np.dtype[Any]) -> str | None:
    """Check what weights are to be stored in; None: as the numbers are."""
    if weights is None or weights == dtype.name:
        return None
    if not isinstance(weights, str):
        raise TypeError(f"weights should be a name such as 'float16', got: {type(weights).__name__}")
    if weights not in NUMBERS:
        raise ValueError(f"weights should be one of {', '.join(map(repr, ('float32', *names())))}, got: {weights!r}")
    if dtype != np.float32:
        raise ValueError(f"weights={weights!r} is for layers of float32, got: dtype={dtype.name!r}")
    return weights


def checked_or_auto(weights: object, dtype: np.dtype[Any] = np.dtype(np.float32)) -> str | None:  # noqa: B008
    """Check what weights are to be stored in, where they may stay as they are stored."""
    return AUTO if weights == AUTO else checked(weights, dtype)


def check_sizes(weights: str | None, *sizes: int) -> None:
    """Refuse rows that are too long to be rounded to integers: they are on the stack."""
    if weights in INTEGERS and max(sizes) > LONGEST:
        raise ValueError(f"weights={weights!r} is for at most {LONGEST} inputs and units of a layer, got: {max(sizes)}")


def number(weights: str | None) -> int:
    """Return what the core calls it."""
    return NUMBERS[weights]


def check_trainable(weights: str | None) -> None:
    """Refuse a backward pass for rounded weights."""
    if weights is not None:
        raise ValueError(f"weights of {weights} are for inference: train the float32 layer (astype(weights='float32'))")


def is_stored(name: str) -> bool:
    """Tell whether a parameter is a matrix: biases and peepholes stay float32."""
    return name.startswith(("weight_ih", "weight_hh", "weight_hr"))


def are_exact(parameters: Mapping[str, Array], weights: str) -> bool:
    """Tell whether parameters of float32 lose nothing when they are stored so."""
    try:
        made = stored(parameters, weights)
    except ValueError:
        return False
    return all(np.array_equal(made[name], array) for name, array in parameters.items() if is_stored(name))


def stored(parameters: Mapping[str, Array], weights: str | None) -> Mapping[str, Array]:
    """Keep parameters as they are stored: matrices rounded to nearest, ties to even.

    Raises
    ------
    ValueError
        For a number that is not finite, or too large once rounded; it names the parameter.
    """
    return parameters if weights is None else _Stored(parameters, weights)


class Integers(NamedTuple):
    """A matrix as integers: ``values * scales[:, None]`` is exact in float32."""

    values: Array  # int8 [rows, columns], -127..127
    scales: Array  # float32 [rows], of 16 significant bits


class _Stored(Mapping[str, Array]):
    """Parameters of which the matrices take 16 or 8 bits a number; whoever asks for one gets it in float32."""

    def __init__(self, parameters: Mapping[str, Array], weights: str) -> None:
        self._weights = weights
        narrow = {"float16": _to_float16, "bfloat16": _to_bfloat16}.get(weights, _to_integers)
        self._kept: dict[str, Array | Integers] = {
            name: narrow(array, name) if is_stored(name) else frozen(array) for name, array in parameters.items()
        }

    def integers(self, name: str) -> Integers | None:
        """Return a matrix as it is kept, None for what is none."""
        kept = self._kept[name]
        return kept if isinstance(kept, Integers) else None

    def __getitem__(self, name: str) -> Array:
        array = self._kept[name]
        if isinstance(array, Integers):
            return frozen(array.values * array.scales[:, np.newaxis])
        if array.dtype == np.float16:
            return frozen(array.astype(np.float32))
        if array.dtype == np.uint16:
            return frozen((array.astype(np.uint32) << 16).view(np.float32))
        return array

    def __contains__(self, name: object) -> bool:  # Mapping's would widen an array
        return name in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


def _to_float16(array: Array, name: str) -> Array:
    with np.errstate(over="ignore", under="ignore"):
        made = array.astype(np.float16)
    return _fitting(made, np.isfinite(made), array, name, "float16, up to 65504 (bfloat16 has the range of float32)")


def _to_bfloat16(array: Array, name: str) -> Array:
    bits = np.ascontiguousarray(array).view(np.uint32)
    size = bits & np.uint32(0x7FFFFFFF)
    rounded = (size + np.uint32(0x7FFF) + ((size >> 16) & 1)) >> 16
    made = (rounded | ((bits >> 16) & np.uint32(0x8000))).astype(np.uint16)
    return _fitting(made, (size < 0x7F800000) & (rounded < 0x7F80), array, name, "bfloat16, up to 3.39e38")


def _fitting(made: Array, fits: Array, array: Array, name: str, what: str) -> Array:
    if not fits.all():
        raise ValueError(f"{name} has {array[~fits].flat[0]}, which does not fit in {what}")
    return made


def _to_integers(array: Array, name: str) -> Integers:
    """Round each row to -127..127 times its scale, as csrc/kernels/quantise.h does: again and again the same."""
    _fitting(array, np.isfinite(array), array, name, "int8: it is not finite")
    largest = np.abs(array).max(axis=1, initial=0)
    zeros = largest < np.float32(2.0**-100)
    bits = (largest / np.float32(127)).view(np.uint32)
    scales = ((bits + np.uint32(0xFF)) & np.uint32(0xFFFFFF00)).view(np.float32)
    scales[zeros] = 1
    with np.errstate(over="ignore"):
        fits = np.isfinite(scales * np.float32(127))[:, np.newaxis] | (np.abs(array) < largest[:, np.newaxis])
    _fitting(array, fits, array, name, "int8, up to 3.4028e38")
    values = np.rint(array / scales[:, np.newaxis])
    values[zeros] = 0
    return Integers(frozen(values.astype(np.int8)), frozen(scales))
