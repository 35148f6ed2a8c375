"""States as bytes: NumPy's npz, which has checksums and can be read without this package."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def save(h: Array, c: Array, **more: Array) -> bytes:
    """Write h, c and more arrays."""
    made = io.BytesIO()
    np.savez(made, allow_pickle=False, h=h, c=c, **more)
    return made.getvalue()


def load(data: object, dtype: np.dtype[Any], h_shape: tuple[int, ...], c_shape: tuple[int, ...]) -> dict[str, Array]:
    """Read what `save` wrote; -1 in a shape stands for any number, the same in both."""
    import zipfile  # 8 ms, which importing the package should not cost
    import zlib

    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"a snapshot should be bytes, got: {type(data).__name__}")
    # RuntimeError: an encryption or a compression that zipfile lacks; TypeError: an npy file, which is no archive
    foreign = RuntimeError, TypeError, zipfile.BadZipFile, zlib.error
    unreadable = OSError, ValueError, KeyError, EOFError, MemoryError, *foreign
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
        h, c = found["h"], found["c"]
    except unreadable:
        raise ValueError("this is not a snapshot, or it is damaged") from None
    for name, array, shape in (("h", h, h_shape), ("c", c, c_shape)):
        fits = array.ndim == len(shape) and all(n in (-1, m) for n, m in zip(shape, array.shape, strict=True))
        if not fits or array.dtype != dtype:
            raise ValueError(
                f"the snapshot is of another layer: {name} has shape {array.shape} and dtype {array.dtype}, "
                f"expected {tuple('any' if n < 0 else n for n in shape)} and {dtype}"
            )
    if -1 in h_shape and len(h) != len(c):
        raise ValueError(f"this is not a snapshot: {len(h)} h and {len(c)} c")
    return found | {"h": np.ascontiguousarray(h), "c": np.ascontiguousarray(c)}
