"""Readers that are not always installed."""

from __future__ import annotations

import importlib
from typing import Any


def need(module: str, extra: str) -> Any:
    """Import a reader, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'this file needs {module}, which is not installed: pip install "fastlstm[{extra}]"', name=error.name
        ) from error
