"""The tables: rows of named cells, printed as text, Markdown or JSON."""

import json
from collections.abc import Sequence

Cell = str | float | bool | None
Row = dict[str, Cell]


class Report:
    """What a run of the benchmarks found out."""

    def __init__(self) -> None:
        self.header: list[str] = []
        self.tables: dict[str, list[Row]] = {}
        self.notes: list[str] = []

    def add(self, table: str, row: Row) -> None:
        """Add a row to a table, which begins with its first row; a row may lack columns that others have."""
        self.tables.setdefault(table, []).append(row)

    def text(self) -> str:
        """Write the report for a terminal."""
        parts = ["\n".join(self.header)]
        for title, rows in self.tables.items():
            lines = _grid(rows)
            widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
            aligned = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
            parts.append("\n".join([title, *aligned]))
        return "\n\n".join([*parts, *self.notes])

    def markdown(self) -> str:
        """Write the report for a page; goals that were met are ticked."""
        parts = ["\n".join(f"- {line}" for line in self.header)]
        for title, rows in self.tables.items():
            names, *lines = _grid(rows)
            ruler = ["---:"] * len(names)
            parts.append(
                "\n".join([f"### {title}", "", *("| " + " | ".join(line) + " |" for line in (names, ruler, *lines))])
            )
        return "\n\n".join([*parts, *self.notes]) + "\n"

    def json(self) -> str:
        """Write the report for a program, with all digits."""
        return json.dumps({"header": self.header, "tables": self.tables, "notes": self.notes}, indent=1) + "\n"


def _grid(rows: Sequence[Row]) -> list[list[str]]:
    names = max((list(row) for row in rows), key=len)
    return [names, *([_show(row.get(name), error=name.endswith("error")) for name in names] for row in rows)]


def _show(cell: Cell, *, error: bool) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float) and error:
        return f"{cell:.1e}"
    if isinstance(cell, float):
        digits = 0 if abs(cell) >= 100 else 1 if abs(cell) >= 10 else 2
        return f"{cell:.{digits}f}"
    return str(cell)
