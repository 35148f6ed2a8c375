"""The door: what is drawn, checked, and which kind of picture a path asks for."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .. import _checks
from ..files._save import write_whole
from .labels import Labels
from .overview import Overview

_PAGES: Final = (".html", ".htm")
_FIGURES: Final = (".png", ".svg", ".pdf")


def ending_of(path: object) -> str:
    """Return what a path ends in; refuse what no picture can be written to, before any work is done."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path should be a str or os.PathLike, got: {type(path).__name__}")
    name = os.fsdecode(path)
    ending = Path(name).suffix.lower()
    if ending not in (*_PAGES, *_FIGURES):
        raise ValueError(f"path should end in {', '.join((*_PAGES, *_FIGURES))}, got: {name}")
    folder = Path(os.path.realpath(name)).parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "cannot write: its folder does not exist", name)
    return ending


def draw(
    path: str | os.PathLike[str],
    overviews: Mapping[str, Overview],
    labels: Mapping[str, Labels | None],
    title: str | None,
    seconds: object,
) -> None:
    """Write the picture, whole or not at all."""
    ending, duration = ending_of(path), checked_seconds(seconds)
    for overview in overviews.values():
        overview.need_steps()
    heading = "Gates of an LSTM" if title is None else str(title)
    if ending in _PAGES:
        from .page import page

        content = page(overviews, labels, heading, duration)
    else:
        from .figure import figure

        if len(overviews) != 1:
            names = ", ".join(map(repr, overviews))
            raise ValueError(f"a picture in {ending} is of one trace, got: {names}. Choose one, or write .html")
        ((name, overview),) = overviews.items()
        content = figure(overview, labels[name], heading, duration, ending[1:])
    write_whole(content, path)


def checked_seconds(seconds: object) -> float | None:
    """Check how long a step is."""
    if seconds is None:
        return None
    if not _checks.is_number(seconds):
        raise TypeError(f"seconds should be a number, got: {type(seconds).__name__}")
    if not (seconds > 0 and _checks.is_within(seconds, sys.float_info.max)):
        raise ValueError(f"seconds should be finite and greater than zero, got: {seconds!r}")
    return float(seconds)
