"""Zip archives, read with care: members apart from each other, stored or deflated, each name once."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Final

from ._budget import Budget

_LOCAL: Final = struct.Struct("<4s5H3L2H")
#: Python's records of the members, in sizes of the directory that they are made of.
_RECORDS: Final = 12
_CHUNK: Final = 2**18


class Archive:
    """The members of a zip archive by their names.

    Parameters
    ----------
    path : Path
        Of the archive.
    budget : Budget
        What the directory and the members read whole are counted on.
    """

    def __init__(self, path: Path, budget: Budget) -> None:
        self.path, self.budget = path, budget
        try:
            with _Measured(path, budget) as file, zipfile.ZipFile(file) as archive:
                members, directory = archive.infolist(), archive.start_dir
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error) as error:
            raise ValueError(f"a damaged zip archive: {error}") from None
        _check_apart(members, directory)
        self.members = {member.filename: member for member in members}
        if len(self.members) != len(members):
            raise ValueError("a damaged zip archive: two members have one name")
        self._allowed: set[str] = set()

    def is_stored(self, name: str) -> bool:
        """Whether a member lies in the archive as it is."""
        return self.members[name].compress_type == zipfile.ZIP_STORED

    def size(self, name: str) -> int:
        """Return how large a member claims to be; a stored one is."""
        member = self.members[name]
        if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{name} is encrypted, or packed by another method than deflate: refused")
        if self.is_stored(name) and member.file_size != member.compress_size:
            raise ValueError(f"{name} has {member.compress_size} bytes and claims {member.file_size}")
        return member.file_size

    def read(self, name: str, most: int | None = None) -> bytes | bytearray:
        """Read a member whole, counted as kept; ValueError for one of more than `most` bytes."""
        size = self.size(name)
        if most is not None and size > most:
            raise ValueError(f"{name} has {size} bytes, expected at most {most}")
        self.allow(name)
        self.budget.keep(name, size)
        content = self.head(name, size + 1)
        checksum = self.members[name].CRC  # torch.serialization.set_crc32_options(False) leaves them 0
        if len(content) != size or (checksum and zlib.crc32(content) != checksum):
            raise ValueError(f"{name} is damaged: {size} bytes are not as they were written")
        return content

    def allow(self, name: str) -> None:
        """Raise the budget for a compressed member that is to be read, once for each."""
        if not self.is_stored(name) and name not in self._allowed:
            self._allowed.add(name)
            self.budget.unpack(self.members[name].file_size, self.members[name].compress_size)

    def head(self, name: str, count: int) -> bytes | bytearray:
        """Read the first bytes of a member, of a short one all; they are not counted."""
        count = min(count, self.size(name) + 1)
        member = self.members[name]
        with self.path.open("rb") as file:
            file.seek(member.header_offset)
            local = file.read(_LOCAL.size)
            if len(local) != _LOCAL.size or not local.startswith(b"PK\x03\x04"):
                raise ValueError(f"{name} is not where the directory says")
            file.seek(sum(_LOCAL.unpack(local)[-2:]), io.SEEK_CUR)  # its name once more, and what else is noted
            if self.is_stored(name):
                return file.read(min(count, member.compress_size))
            return _inflated(file, member.compress_size, count, name)


class _Measured(io.FileIO):
    """A file whose every read is asked for: Python's zipfile reads as large a directory as the file claims."""

    def __init__(self, path: Path, budget: Budget) -> None:
        super().__init__(path)
        self._budget = budget

    def read(self, size: int | None = -1, /) -> bytes:
        left = max(0, self._budget.file_size - self.tell())
        size = left if size is None or size < 0 else min(size, left)
        self._budget.keep("the directory of the archive", _RECORDS * size)
        return super().read(size) or b""


def _inflated(file: io.BufferedReader, packed: int, count: int, name: str) -> bytearray:
    """Inflate at most `count` bytes."""
    machine, content, rest = zlib.decompressobj(-zlib.MAX_WBITS), bytearray(), b""
    try:
        while len(content) < count and not machine.eof:
            if not rest:
                rest = file.read(min(packed, _CHUNK))
                packed -= len(rest)
            made = machine.decompress(rest, min(count - len(content), _CHUNK))
            if not rest and not made:
                break
            content += made
            rest = machine.unconsumed_tail
    except zlib.error as error:
        raise ValueError(f"{name} cannot be inflated: {error}") from None
    return content


def _check_apart(members: list[zipfile.ZipInfo], directory: int) -> None:
    """Refuse members that share bytes: together they cannot be packed in more than the archive."""
    ordered = sorted(members, key=lambda member: member.header_offset)
    ends = [*(member.header_offset for member in ordered[1:]), directory]
    for member, end in zip(ordered, ends, strict=True):
        if member.header_offset < 0 or member.header_offset + _LOCAL.size + member.compress_size > end:
            raise ValueError("a damaged zip archive: its members overlap")
