"""A trace in a terminal: the cells of some units along time, with colours where rich is installed."""

from __future__ import annotations

import importlib
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np

from .._types import Array
from .labels import Labels
from .overview import Overview
from .page import about, warning

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = " .:-=+*#@"
_UNITS: Final = 12  # of a layer and direction
_LEAST: Final = 20  # letters of a strip, however narrow the terminal is
_STYLES: Final = ("bright_black", "dodger_blue2", "dark_orange", "magenta")  # keeps, adds, takes, NaN
_HEAD: Final = f"{'unit':>6} {'half-life':>9} {'kept':>8} {'added':>8} {'taken':>8}  "


class Strip(NamedTuple):
    """A line of letters, each with the number of its style."""

    head: str
    letters: str
    styles: list[int]


def show(overview: Overview, labels: Labels | None, width: int) -> None:
    """Print the first row of every layer and direction."""
    print(about(overview))
    if told := warning(overview):
        print(told)
    write = _writer()
    if write is not _plain:
        print("grey: it keeps, blue: it is added to, orange: it is taken from")
    for layer, direction in np.ndindex(overview.half_life().shape[:2]):
        count = min(_UNITS, len(overview.units))
        each = max(1, round(overview.kept * overview.every / min(overview.columns, _room(width))))
        print(
            f"\nlayer {layer}{', reverse' * direction}, row {overview.rows[0]}: abs(c) of {count} of "
            f"{len(overview.units)} units, each by its largest, longest half-life first; a letter is {_count(each)}"
        )
        for strip in _strips(overview, (layer, direction), labels, _room(width)):
            write(strip)


def _room(width: int) -> int:
    """Return how many letters of a strip there is room for."""
    return max(_LEAST, width - len(_HEAD) - 1)


def _strips(overview: Overview, place: tuple[int, int], labels: Labels | None, room: int) -> Iterator[Strip]:
    count = min(room, overview.columns)
    starts = np.arange(count) * overview.columns // count  # columns that come together in a letter
    life, units = overview.half_life()[place], overview.by_half_life(*place)[:_UNITS]
    amounts = [overview.values(name)[(*place, slice(None), 0)][:, units] for name in ("kept", "added", "taken")]
    counts = overview.counts[:, 0]
    means = [counts @ array.filled(0) / max(1, counts.sum()) for array in amounts]
    kept, added, taken = (_means(array.filled(0).astype(np.float64), starts) for array in amounts)
    yield Strip(_HEAD, _names(overview, labels, starts), [])
    for k, unit in enumerate(units):
        numbers = " ".join(f"{_short(mean[k]):>8}" for mean in means)
        head = f"{overview.units[unit]:>6} {_short(life[unit]):>9} {numbers}  "
        yield Strip(head, *_letters(kept[:, k], added[:, k], taken[:, k]))


def _means(array: Array, starts: Array) -> Array:
    counts = np.diff(starts, append=len(array))
    made: Array = np.add.reduceat(array, starts, axis=0) / counts[:, np.newaxis]
    return made


def _letters(kept: Array, added: Array, taken: Array) -> tuple[str, list[int]]:
    """Return the height of a cell as letters, and what becomes of it as styles."""
    blocks = _BLOCKS if _can_write(_BLOCKS) else _ASCII
    size = kept + added - taken
    known = size[np.isfinite(size)]
    top = known.max(initial=0) or 1
    most = max(np.nanmax(np.maximum(added, taken), initial=0), np.finfo(float).tiny)
    letters, styles = [], []
    for one, more, less in zip(size, added, taken, strict=True):
        if np.isnan(one):
            letters.append("?")
            styles.append(3)
            continue
        letters.append(blocks[round(min(max(one / top, 0), 1) * (len(blocks) - 1))])
        styles.append(0 if max(more, less) < 0.2 * most else 1 if more >= less else 2)
    return "".join(letters), styles


def _names(overview: Overview, labels: Labels | None, starts: Array) -> str:
    """Return labels of one letter where each has its place; else where time begins and ends."""
    if labels is not None and overview.exact and labels.are_letters and len(starts) == overview.columns:
        text = "".join(labels.columns(overview, overview.rows[0])).ljust(overview.columns)
        return "".join(one if _is_a_column_wide(one) and _can_write(one) else "?" for one in text)
    first, last = str(overview.step_of(0)), str(overview.last_step_of(overview.columns - 1))
    return f"{first}{last.rjust(max(len(last) + 1, len(starts) - len(first)))}" if last != first else first


def _is_a_column_wide(letter: str) -> bool:
    """Tell letters from what would shift those after it: marks on the one before, ideographs, controls."""
    wide = unicodedata.east_asian_width(letter) in "WF"
    return letter.isprintable() and not wide and not unicodedata.combining(letter)


def _count(steps: int) -> str:
    return "a step" if steps == 1 else f"about {steps} steps"


def _short(number: Any) -> str:
    return f"{number:.3g}"


def _can_write(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _writer() -> Any:
    """Return what prints a strip: on a terminal with colours, if rich is there."""
    if not sys.stdout.isatty():
        return _plain
    try:
        console, text = (importlib.import_module(f"rich.{name}") for name in ("console", "text"))
    except ImportError:
        return _plain
    out = console.Console(highlight=False, soft_wrap=True)

    def write(strip: Strip) -> None:
        line = text.Text(strip.head)
        for letter, style in zip(strip.letters, strip.styles or [-1] * len(strip.letters), strict=True):
            line.append(letter, None if style < 0 else _STYLES[style])
        line.rstrip()
        out.print(line)

    return write


def _plain(strip: Strip) -> None:
    print(f"{strip.head}{strip.letters}".rstrip())
