"""Ours as it was: another build, in the folder that FASTLSTM_BEFORE names (``pip install --target``)."""

import os
import sys
from pathlib import Path

FOLDER = os.environ.get("FASTLSTM_BEFORE", "")
if not FOLDER:
    raise ImportError("set FASTLSTM_BEFORE")
sys.path.insert(0, FOLDER)

import fastlstm  # noqa: E402  only now: that build
from bench.contenders.fastlstm_ import prepare, version  # noqa: E402

if not Path(fastlstm.__file__).is_relative_to(Path(FOLDER).resolve()):
    raise ImportError(f"there is no fastlstm in {FOLDER}")

__all__ = ["label", "prepare", "version"]

label = "before: fastlstm"
