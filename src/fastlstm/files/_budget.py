"""How much memory reading one file may take: one account of all that is kept of it and held for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: What every file may take, and how many times its own size beyond that.
FREE_BYTES: Final = 2**26
TIMES: Final = 4
#: A compressed part counts in the file's size by what it unpacks to, at most this many times what it is packed in:
#: weights hardly compress at all, pruned ones by 20.
RATIO: Final = 20


class Budget:
    """An account in bytes. Everything that a file makes its reader take is asked for here, before it is taken.

    Parameters
    ----------
    file_size : int
        Of the whole file, as the system tells it, not the file.
    max_bytes : int, optional
        The limit, instead of 64 MiB and 4 times the file's size.
    """

    def __init__(self, file_size: int, max_bytes: int | None = None) -> None:
        self.file_size = file_size
        self.limit = FREE_BYTES + TIMES * file_size if max_bytes is None else max_bytes
        self.taken = 0
        self._fixed = max_bytes is not None
        self._packed = file_size  # what compressed parts may still claim to be packed in

    def keep(self, what: str, size: int) -> None:
        """Count what stays until the layer is made; MemoryError at the limit, naming `what`."""
        if size < 0:
            raise ValueError(f"{what} has a negative size")
        if self.taken + size > self.limit:
            raise MemoryError(
                f"{what} would take {size} bytes beside {self.taken}: more than the {self.limit} that this file may "
                "take. If you trust it, allow more with max_bytes="
            )
        self.taken += size

    @contextmanager
    def hold(self, what: str, size: int) -> Iterator[None]:
        """Count what is given back at the end of the block."""
        self.keep(what, size)
        try:
            yield
        finally:
            self.taken -= size

    def add_file(self, size: int) -> None:
        """Count another file that belongs to this one: raise the limit by 4 times its size."""
        self._packed += size
        if not self._fixed:
            self.limit += TIMES * size

    def unpack(self, unpacked: int, packed: int) -> None:
        """Count a compressed part of the file by its decoded size, at most 20 times what it is packed in.

        All parts together are packed in the file's size at most. Call it once for a part, before it is kept.
        """
        packed = max(0, min(packed, self._packed))
        self._packed -= packed
        if not self._fixed:
            self.limit += TIMES * max(0, min(unpacked, RATIO * packed) - packed)
