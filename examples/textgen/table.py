"""The small table at the end: with rich where that is installed and the output is a terminal, else in plain text."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .timing import Timing

BASELINE = "NumPy reference"
HEADER = ("LSTM layers by", "characters/s", "us per step", "x NumPy", "max |error| of h")


def show(rows: Mapping[str, Timing | str]) -> None:
    """Print the timings and, below them, why any engine has none."""
    timings = {name: row for name, row in rows.items() if isinstance(row, Timing)}
    cells = [_cells(name, timing, timings[BASELINE]) for name, timing in timings.items()]
    if not (sys.stdout.isatty() and _rich(cells)):
        _plain(cells)
    for name, row in rows.items():
        if isinstance(row, str):
            print(f"  {name}: {row}")


def _cells(name: str, timing: Timing, baseline: Timing) -> tuple[str, ...]:
    return (
        name,
        f"{timing.characters_per_second:,.0f}",
        f"{timing.seconds_per_step * 1e6:.2f}",
        f"{baseline.seconds_per_step / timing.seconds_per_step:.1f}",
        f"{timing.error:.1e}",
    )


def _rich(cells: Sequence[tuple[str, ...]]) -> bool:
    """Print with rich; return False where it is not installed."""
    try:
        console: Any = importlib.import_module("rich.console")
        table: Any = importlib.import_module("rich.table")
    except ImportError:
        return False
    grid = table.Table(*HEADER)
    for column in grid.columns[1:]:
        column.justify = "right"
    for row in cells:
        grid.add_row(*row, style="bold" if row[0] == "fastlstm" else "")
    console.Console().print(grid)
    return True


def _plain(cells: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in (HEADER, *cells)) for column in range(len(HEADER))]
    for row in (HEADER, tuple("-" * width for width in widths), *cells):
        numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        print("  " + "  ".join([row[0].ljust(widths[0]), *numbers]))
