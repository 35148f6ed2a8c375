"""HDF5 files: every dataset by its path. Links and anything that leads out of the file are not followed."""

from __future__ import annotations

import io
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from .. import _extras
from ._h5_heaps import check_heaps
from ._stored import Array, Stored, check_size, nbytes

_MOST_TEXT = 2**26


class Tree:
    """The datasets and the text attributes of an HDF5 file, given by its path or as bytes."""

    def __init__(self, source: Path | bytes) -> None:
        self._h5py = _extras.need("h5py")
        self._source = source
        self.datasets: dict[str, Stored] = {}
        self.attributes: dict[str, dict[str, str]] = {}
        if isinstance(source, bytes):
            check_heaps(source)
        else:
            with source.open("rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as data:
                check_heaps(data)
        with self._open() as file:
            self._note("", file)
            file.visititems(self._visit)  # hard links only, each object once

    def _open(self) -> Any:
        return self._h5py.File(io.BytesIO(self._source) if isinstance(self._source, bytes) else self._source, "r")

    def _visit(self, path: str, item: Any) -> None:
        self._note(path, item)
        if not hasattr(item, "shape") or item.shape is None or item.dtype.hasobject:
            return
        if item.is_virtual or item.external:
            raise ValueError(f"{path} lies in another file: refused")
        shape, dtype = tuple(map(int, item.shape)), item.dtype.newbyteorder("=").name
        self.datasets[path] = Stored(shape, dtype, lambda: self._read(path))

    def _note(self, path: str, item: Any) -> None:
        texts = {}
        for name in ("keras_version", "model_config", "name"):
            if name in item.attrs:
                attribute = item.attrs.get_id(name)
                if attribute.shape != () or attribute.get_storage_size() > _MOST_TEXT:
                    raise ValueError(f"{path}: its {name} is no text, or too long")
                value = item.attrs[name]
                texts[name] = value.decode() if isinstance(value, bytes) else str(value)
        if texts:
            self.attributes[path] = texts

    def _read(self, path: str) -> Array:
        with self._open() as file:
            item = file[path]
            check_size(path, nbytes(item.shape, item.dtype.str), item.id.get_storage_size())
            array: Array = np.asarray(item[()])
        return array.astype(array.dtype.newbyteorder("="), copy=False)
