"""What the matrices of a float32 layer are stored in: 32 bits, or rounded to 16 or 8, whose exact values then count."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from ._checks import frozen
from ._integers import SCALE, ZERO_POINT, Integers, Parameter
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
    if weights in INTEGERS and not fit_integers(*sizes):
        raise ValueError(f"weights={weights!r} is for at most {LONGEST} inputs and units of a layer, got: {max(sizes)}")


def fit_integers(*sizes: int) -> bool:
    """Tell whether rows of so many numbers are short enough to be rounded to integers."""
    return max(sizes) <= LONGEST


def number(weights: str | None) -> int:
    """Return what the core calls it."""
    return NUMBERS[weights]


def check_trainable(weights: str | None) -> None:
    """Refuse a backward pass for rounded weights."""
    if weights is not None:
        raise ValueError(f"weights of {weights} are for inference: train the float32 layer (astype(weights='float32'))")


def is_stored(name: str) -> bool:
    """Tell whether a parameter is a matrix: biases and peepholes stay float32."""
    return name.startswith(("weight_ih", "weight_hh", "weight_hr")) and not name.endswith((SCALE, ZERO_POINT))


def are_exact(parameters: Mapping[str, Array], weights: str) -> bool:
    """Tell whether parameters of float32 lose nothing when they are stored so."""
    try:
        made = stored(parameters, weights)
    except ValueError:
        return False
    return all(np.array_equal(made[name], array) for name, array in parameters.items() if is_stored(name))


def stored(parameters: Mapping[str, Parameter], weights: str | None) -> Mapping[str, Array]:
    """Keep parameters as they are stored: matrices rounded to nearest, ties to even; those of integers as they are.

    Raises
    ------
    ValueError
        For a number that is not finite, or too large once rounded; it names the parameter.
    """
    if weights is None:
        return {name: array.array() if isinstance(array, Integers) else array for name, array in parameters.items()}
    return _Stored(parameters, weights)


def are_rounded_here(parameters: Mapping[str, Array]) -> bool:
    """Tell whether all integers are those that rounding what they stand for gives, with the same scales."""
    for name, given in _kept(parameters).items():
        if isinstance(given, Integers):
            again = _to_integers(given.array(), name)
            same = np.array_equal(again.values, given.values) and np.array_equal(again.scales, given.scales)
            if given.zeros is not None or not same:
                return False
    return True


def packable(parameters: Mapping[str, Array]) -> dict[str, Parameter]:
    """Return parameters as the core packs them: matrices of integers as such, others in their dtype."""
    kept = _kept(parameters).items()
    return {name: given if isinstance(given, Integers) else parameters[name] for name, given in kept}


def entries(parameters: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    """Yield those of a state dict: integers with their scales and zero points, other matrices as they are."""
    for name, given in _kept(parameters).items():
        if isinstance(given, Integers):
            yield from given.entries(name).items()
        else:
            yield name, parameters[name]


def _kept(parameters: Mapping[str, Array]) -> Mapping[str, Parameter]:
    """Return parameters as they are kept, without widening any."""
    return parameters.kept if isinstance(parameters, _Stored) else parameters


class _Stored(Mapping[str, Array]):
    """Parameters of which the matrices take 16 or 8 bits a number; whoever asks for one gets it in float32."""

    def __init__(self, parameters: Mapping[str, Parameter], weights: str) -> None:
        narrow = {"float16": _to_float16, "bfloat16": _to_bfloat16}.get(weights)
        self.kept: dict[str, Parameter] = {
            name: _narrowed(array, name, narrow) if is_stored(name) else array for name, array in parameters.items()
        }

    def __getitem__(self, name: str) -> Array:
        array = self.kept[name]
        if isinstance(array, Integers):
            return array.array()
        if array.dtype == np.float16:
            return frozen(array.astype(np.float32))
        if array.dtype == np.uint16:
            return frozen((array.astype(np.uint32) << 16).view(np.float32))
        return array

    def __contains__(self, name: object) -> bool:  # Mapping's would widen an array
        return name in self.kept

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)


def _narrowed(array: Parameter, name: str, narrow: Callable[[Array, str], Array] | None) -> Parameter:
    if narrow is None:
        return array if isinstance(array, Integers) else _to_integers(array, name)
    return narrow(array.array() if isinstance(array, Integers) else array, name)


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


@np.errstate(over="ignore", under="ignore")  # what is too large is told
def _to_integers(array: Array, name: str) -> Integers:
    """Round each row to -127..127 times its scale, as csrc/kernels/quantise.h does: again and again the same."""
    _fitting(array, np.isfinite(array), array, name, "int8: it is not finite")
    largest = np.abs(array).max(axis=1, initial=0)
    zeros = largest < np.float32(2.0**-100)
    bits = (largest / np.float32(127)).view(np.uint32)
    scales = ((bits + np.uint32(0xFF)) & np.uint32(0xFFFFFF00)).view(np.float32)
    scales[zeros] = 1
    fits = np.isfinite(scales * np.float32(127))[:, np.newaxis] | (np.abs(array) < largest[:, np.newaxis])
    _fitting(array, fits, array, name, "int8, up to 3.4028e38")
    values = np.rint(array / scales[:, np.newaxis])
    values[zeros] = 0
    return Integers(frozen(values.astype(np.int8)), frozen(scales))
