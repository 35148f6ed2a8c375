"""Contenders that need a checkout, or are only of use in one; all others are in `fastlstm.bench.contenders`."""

from collections.abc import Mapping
from pathlib import Path

_FILES = sorted(Path(__file__).parent.glob("*_.py"))
MODULES: Mapping[str, str] = {file.stem.removesuffix("_"): f"bench.contenders.{file.stem}" for file in _FILES}
"""Their names, and the modules that they are."""
