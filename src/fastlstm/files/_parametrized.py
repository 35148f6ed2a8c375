"""Weights that a file keeps in parts: torch's weight_norm, spectral_norm, pruning; what they come to in evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from .._types import Array
from ._stored import Stored


def resolved(name: str, parts: Mapping[str, Stored]) -> Stored:
    """Return one weight of its parts, named as in the file, or itself; ValueError where they do not tell it."""
    for wanted, (origin, matrix, compute) in _KINDS.items():
        if wanted <= parts.keys() and all(part in wanted | {""} for part in parts):
            return _computed(name, origin, parts[matrix], [parts[part] for part in _ORDER if part in wanted], compute)
    if set(parts) <= {"", "raw"}:
        return parts.get("raw") or parts[""]
    told = ", ".join(sorted(part or "itself" for part in parts))
    raise ValueError(
        f"{name} is kept in parts ({told}) whose formula the file does not tell: make it one weight where torch is "
        "(torch.nn.utils.parametrize.remove_parametrizations), and save that"
    )


def _computed(name: str, origin: str, matrix: Stored, parts: list[Stored], compute: Callable[..., Array]) -> Stored:
    if compute is _spectral_norm and len(set(matrix.shape)) == 1 < len(matrix.shape):
        raise ValueError(
            f"{name} is kept in parts of spectral_norm: of a square matrix they do not tell along which axis"
        )
    for part in parts:
        fits = len(matrix.shape) in (1, 2) and all(n == 1 or n in matrix.shape for n in part.shape)
        if not fits or len(part.shape) > len(matrix.shape):
            raise ValueError(f"{name} is kept in parts that do not fit together: {matrix.shape} and {part.shape}")

    def read() -> Array:
        try:
            made = compute(*(part.read() for part in parts))
        except ValueError as error:
            raise ValueError(f"{name} is kept in parts that do not fit together: {error}") from None
        if made.shape != matrix.shape:
            raise ValueError(f"{name} is kept in parts that do not fit together")
        return made

    return dataclasses.replace(matrix, read=read, origin=f"{name} is computed of the parts of {origin}")


def _weight_norm(length: Array, direction: Array) -> Array:
    """Return g v / |v|, the norm over the axes that g does not have."""
    letters = "ij"[: direction.ndim]
    kept = "".join(letter for letter, n in zip(letters, length.shape, strict=False) if n > 1 or direction.ndim == 1)
    wide = _single(direction)
    squares = np.einsum(f"{letters},{letters}->{kept}", wide, wide, dtype=np.float64)
    scale = length.astype(np.float64) / np.sqrt(squares).reshape(length.shape)
    made: Array = wide * scale.astype(wide.dtype)
    return made


def _spectral_norm(weight: Array, u: Array, v: Array) -> Array:
    """Return W / (u W v), the singular value as training left it."""
    wide = _single(weight).reshape(len(weight), -1)
    if u.size != wide.shape[0]:
        u, v = v, u
    sigma = _single(u) @ (wide @ _single(v))
    made: Array = _single(weight) / sigma
    return made


def _single(array: Array) -> Array:
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)


#: Which parts, what that is, which of them has the shape, the formula.
_KINDS: dict[frozenset[str], tuple[str, str, Callable[..., Array]]] = {
    frozenset({"g", "v"}): ("weight_norm", "v", _weight_norm),
    frozenset({"original0", "original1"}): ("weight_norm", "original1", _weight_norm),
    frozenset({"orig", "u", "v"}): ("spectral_norm", "orig", _spectral_norm),
    frozenset({"original", "0._u", "0._v"}): ("spectral_norm", "original", _spectral_norm),
    frozenset({"orig", "mask"}): ("pruning", "orig", np.multiply),
}
#: In which order the formulas take them.
_ORDER = ("g", "original", "orig", "original0", "original1", "u", "0._u", "v", "0._v", "mask")
