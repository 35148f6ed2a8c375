"""States as bytes: NumPy's npz, which has checksums and can be read without this package.

Beside the states a snapshot holds ``format``, the version of this layout; ``contract``, that of the numerical contract;
and ``weights``, the fingerprint of the model. Numbers are written in little-endian order and read in either.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from . import _checks
from ._contract import CONTRACT
from ._layer import Origin
from ._types import Array, Shape

if TYPE_CHECKING:
    import zipfile

Members = Mapping[str, tuple[np.dtype[Any], Shape]]  # -1 in a shape stands for any number, the same in all members

FORMAT: Final = 1
_ABOUT: Final[Members] = {
    "format": (np.dtype(np.int64), ()),
    "contract": (np.dtype(np.int64), ()),
    "weights": (np.dtype(np.uint8), (16,)),
}
_MOST: Final = len(_ABOUT) + 3  # and h, c, ids


class _Header(NamedTuple):
    shape: Shape
    fortran_order: bool
    dtype: np.dtype[Any]


def save(states: Mapping[str, Array], origin: Origin) -> bytes:
    """Write states, and what tells the model."""
    about = {"format": np.int64(FORMAT), "contract": np.int64(CONTRACT)}
    weights = np.frombuffer(origin.fingerprint(), np.uint8)
    arrays: dict[str, Array | np.int64] = {**states, **about, "weights": weights}
    stored = {name: np.asarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
    made = io.BytesIO()
    # No allow_pickle=: NumPy 2.0 writes it as one more array.
    np.savez(made, **stored)  # type: ignore[arg-type]  # none of the names is allow_pickle
    return made.getvalue()


def load(
    data: object, kind: str, states: Members, origin: Origin, any_weights: bool, room: int | None = None
) -> dict[str, Array]:
    """Read what `save` wrote. Names and sizes are compared before anything is inflated."""
    import zipfile  # 8 ms, which importing the package should not cost

    accept = _checks.flag(any_weights, "any_weights")
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"a snapshot should be bytes, got: {type(data).__name__}")
    with _told_as_damage():
        archive = zipfile.ZipFile(io.BytesIO(bytes(data)))
    with archive:
        with _told_as_damage():
            headers = _headers(archive)
        _check_names(headers, kind, states)
        count = _check_sizes(headers, states)
        with _told_as_damage():
            about = {name: _read(archive, name, headers[name]) for name in _ABOUT if name in headers}
        _check_about(about, origin, accept)
        if room is not None and count > room:
            raise no_room(count, room)
        with _told_as_damage():
            return {name: _read(archive, name, headers[name]) for name in states}


def no_room(count: int, room: int) -> RuntimeError:
    """Say that a pool is too small."""
    return RuntimeError(f"the snapshot holds {count} sessions, and there is room for {room}; grow the pool")


@contextlib.contextmanager
def _told_as_damage() -> Iterator[None]:
    """Turn what zipfile and NumPy raise for bytes that are no such archive into one error."""
    import zipfile
    import zlib

    # RuntimeError: an encryption or a compression that zipfile lacks; SyntaxError, TypeError: a header that is no dict
    foreign = RuntimeError, SyntaxError, TypeError, zipfile.BadZipFile, zlib.error
    try:
        yield
    except (OSError, ValueError, KeyError, EOFError, MemoryError, *foreign):
        raise ValueError("this is not a snapshot, or it is damaged") from None


def _headers(archive: zipfile.ZipFile) -> dict[str, _Header]:
    """Read the first bytes of every member; a snapshot has few, stored or deflated."""
    found: dict[str, _Header] = {}
    members = archive.infolist()
    if len(members) > _MOST or any(member.compress_type not in (0, 8) for member in members):
        raise ValueError
    for member in members:
        name, suffix = member.filename[:-4], member.filename[-4:]
        with archive.open(member) as file:
            if name in found or suffix != ".npy" or np.lib.format.read_magic(file) != (1, 0):
                raise ValueError
            found[name] = _Header(*np.lib.format.read_array_header_1_0(file))
        if any(n < 0 for n in found[name].shape):
            raise ValueError
    return found


def _check_names(headers: Mapping[str, _Header], kind: str, states: Members) -> None:
    if "h" not in headers or "c" not in headers:
        raise ValueError("this is not a snapshot: it has no h and c")
    if ("ids" in headers) != ("ids" in states):
        raise ValueError(f"this is a snapshot, but not of a {kind}")
    unknown = sorted(headers.keys() - states.keys() - _ABOUT.keys())
    if unknown:
        raise ValueError(f"this is not a snapshot: it holds {unknown[0]!r}")


def _check_sizes(headers: Mapping[str, _Header], states: Members) -> int:
    """Compare shapes and dtypes, in whatever byte order; return the number of sessions, that -1 stands for."""
    counts = {0}
    for name, (dtype, expected) in {**states, **_ABOUT}.items():
        if name in _ABOUT and name not in headers:
            continue  # this is for `_check_about`
        shape, _, stored = headers[name]
        fits = len(shape) == len(expected) and all(n in (-1, m) for n, m in zip(expected, shape, strict=True))
        if not fits or stored.newbyteorder("=") != dtype:
            wanted = tuple("any" if n < 0 else n for n in expected)
            raise ValueError(
                f"the snapshot is of another layer: {name} has shape {shape} and dtype {stored.name}, "
                f"expected {wanted} and {dtype.name}"
            )
        counts |= {m for n, m in zip(expected, shape, strict=True) if n < 0}
    if len(counts) > 2:
        raise ValueError("this is not a snapshot: h, c and ids are of different numbers of sessions")
    return max(counts)


def _check_about(about: Mapping[str, Array], origin: Origin, any_weights: bool) -> None:
    """Compare versions and models."""
    if about.keys() != _ABOUT.keys():
        if about:
            raise ValueError("this is not a snapshot: it has only some of format, contract and weights")
        if not any_weights:
            raise ValueError(
                "the snapshot does not tell the weights that it was made with: "
                "restore(data, any_weights=True) takes it all the same"
            )
        return
    if about["format"] != FORMAT:
        raise ValueError(f"the snapshot has format {about['format']}, expected {FORMAT}")
    if not any_weights and about["weights"].tobytes() != origin.fingerprint():
        raise ValueError(
            "the snapshot is of another model, whose states have the same sizes: "
            "restore(data, any_weights=True) takes it all the same"
        )
    if about["contract"] != CONTRACT:
        warnings.warn(
            f"the snapshot was made under version {about['contract']} of the numerical contract, and this is "
            f"{CONTRACT}: it is restored as it is, and what follows may differ in the last bits",
            stacklevel=4,
        )


def _read(archive: zipfile.ZipFile, name: str, header: _Header) -> Array:
    """Read a member whose header has been checked, in this machine's byte order."""
    size = math.prod(header.shape) * header.dtype.itemsize
    with archive.open(f"{name}.npy") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        raw = file.read(size)
        if len(raw) != size or file.read(1):
            raise ValueError
    array = np.frombuffer(raw, header.dtype).reshape(header.shape, order="F" if header.fortran_order else "C")
    return np.asarray(array, header.dtype.newbyteorder("="), order="C")
