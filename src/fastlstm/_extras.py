"""Packages that are not always installed."""

from __future__ import annotations

import importlib
from typing import Any


def need(module: str) -> Any:
    """Import what reads or writes a file."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(module, "this file", error) from error


def missing(module: str, who: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """Say which package is missing: by its own name, which is right wherever fastlstm came from."""
    package = module.partition(".")[0]
    there = error.name not in (package, module)
    told = f", whose own import fails: {error}" if there else f": pip install {package}"
    return ModuleNotFoundError(f"{who} needs {package}{told}", name=error.name)
