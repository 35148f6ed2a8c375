"""Cells of studies, their hashes, and the files that keep them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "studies"

#: A cell of a study: its settings, and what computes the result from them.
Cell = tuple[Mapping[str, Any], Callable[..., Any]]
Study = Mapping[str, Cell]


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def computed(cell: Cell) -> dict[str, Any]:
    """Compute a cell; its hash is of settings and result, in which every float stands with all its digits."""
    settings, compute = cell
    made = {"settings": dict(settings), "result": compute(**settings)}
    return made | {"sha256": hashlib.sha256(_canonical(made).encode()).hexdigest()}


def is_whole(kept: Mapping[str, Any]) -> bool:
    """Tell whether what was kept has the hash that stands beside it."""
    made = {"settings": kept["settings"], "result": kept["result"]}
    return bool(hashlib.sha256(_canonical(made).encode()).hexdigest() == kept["sha256"])


def read(name: str) -> dict[str, Any]:
    """Return the cells of a study, as they were kept."""
    cells: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return cells


def write(name: str, cells: Mapping[str, Any]) -> None:
    """Keep the cells of a study: a line for each, so that a change shows which it was."""
    lines = [f"{json.dumps(cell)}: {_canonical(cells[cell])}" for cell in cells]
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
