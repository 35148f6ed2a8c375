"""What docs/gates.md shows of the units that were found, drawn from the numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import figures, record
from .svg import Drawing, Scale


def _result(study: str, cell: str) -> Any:
    return record.read(study)[cell]["result"]


def _write(drawing: Drawing, x: float, y: float, line: str, values: Sequence[float], width: float) -> None:
    """Write a line in columns, each character on the colour of its value: a above zero, b below, up to 1 and -1."""
    for column, (character, value) in enumerate(zip(line, values, strict=True)):
        if abs(value) >= 0.05:
            strength = 0.65 * min(1, abs(value))
            drawing.bar(x + column * width, y - 12, width, 16, "a" if value > 0 else "b", strength)
        if character != " ":
            drawing.text(x + (column + 0.5) * width, y, character, size=11)


FOUND = (
    ("words", "words", "published model"),
    ("code, tanh", "code", "model of code"),
)


def _scale(drawing: Drawing, left: int, right: int, top: int, told: str) -> Scale:
    """Draw lines from 0 to 1 under bars, and their numbers."""
    x = Scale(0, 1, left, right)
    for value in (0, 0.25, 0.5, 0.75, 1):
        drawing.line([(x(value), top), (x(value), 350)], "faint", 1)
        drawing.text(x(value), 368, told.format(value), size=12)
    return x


def units() -> Drawing:
    """Draw how well the units that were found follow what they were chosen for, beside what luck can do."""
    drawing = Drawing(720, 400, "Units found by correlation, and what the best of all units reaches by luck")
    x, top = _scale(drawing, 140, 500, 30, "{:g}"), 44
    for cell, _, model in FOUND:
        drawing.text(20, top, model, at="start", size=12)
        for label, told in _result("units", cell).items():
            top += 22
            drawing.text(132, top + 4, label, at="end", size=12)
            drawing.bar(x(0), top - 7, x(abs(told["measured"])) - x(0), 14, "a", 0.8)
            drawing.line([(x(told["most_by_luck"]), top - 9), (x(told["most_by_luck"]), top + 9)], "b", 3)
            what = "forget gate" if told["of"] == "f" else "cell"
            drawing.text(508, top + 4, f"{what} of unit {figures.unit(cell, told)}", at="start", size=12)
        top += 28
    drawing.text(320, 392, "size of the correlation, on text that the unit was not chosen on", size=12)
    drawing.legend(570, 372, [("the unit", "a"), ("luck, at most", "b")])
    return drawing


def marks() -> Drawing:
    """Draw what three units of the published model do at marks and blanks: the text on the colour of their cells."""
    told = _result("units", "words, shown")
    drawing = Drawing(720, 290, "Three units of the published model, on lines that no unit was chosen on")
    for row, label in enumerate(("quoted", "parenthesis", "blank")):
        found_ = _result("units", "words")[label]
        what = "forget gate" if found_["of"] == "f" else "cell"
        drawing.text(20, 30 + row * 86, f"{label}: {what} of unit {figures.unit('words', found_)}", at="start")
        for at, line in enumerate(told["text"]):
            length = len(line) + 1  # and the edge before it
            values = [value / 1024 for value in told[label][at * length : (at + 1) * length]]
            _write(drawing, 20 + at * 345, 60 + row * 86, "^" + line, values, 8.4)
    drawing.legend(20, 280, [("above 0", "a")])
    drawing.legend(120, 280, [("below 0, the stronger the farther", "b")])
    return drawing


def listing() -> Drawing:
    """Draw code on the colours of four units: what is forgotten in the case of a forget gate."""
    told = _result("units", "shown, tanh")
    lines = told["text"].splitlines(keepends=True)
    drawing = Drawing(720, 740, "Four units of the model of code, on a text that was written for this page")
    top = 24
    for label in ("comment", "brackets", "indent", "newline"):
        found_ = _result("units", "code, tanh")[label]
        is_gate = found_["of"] == "f"
        values = [1 - value / 1024 if is_gate else value / 1024 for value in told[label]]
        most = max(map(abs, values))
        what = "what the forget gate removes, unit" if is_gate else f"cell, up to {most:.0f}, unit"
        drawing.text(20, top, f"{label}: {what} {found_['unit']}", at="start")
        start, top = 0, top + 24
        for line in lines:
            piece = [value / (1 if is_gate else most) for value in values[start : start + len(line)]]
            _write(drawing, 20, top, line.replace("\n", "\u21b5"), piece, 8.6)
            start, top = start + len(line), top + 17
        top += 18
    return drawing


def leaving() -> Drawing:
    """Draw how cells become smaller where units are done with something: by forgetting, or by taking away."""
    drawing = Drawing(720, 400, "Forgetting and taking away, where units let go")
    x, top = _scale(drawing, 290, 640, 24, "{:.0%}"), 40
    for cell, model, moments in figures.LETTING_GO:
        drawing.text(20, top, model, at="start", size=12)
        for label, when, name in moments:
            top += 22
            steps = _result("units", cell)[label][when]
            drawing.text(282, top + 4, name, at="end", size=12)
            at = x(0)
            for what, color in (("forgotten", "c"), ("taken", "b")):
                wide = x(steps[what] / steps["size"]) - x(0)
                drawing.bar(at, top - 7, wide, 14, color, 0.85)
                at += wide
        top += 28
    drawing.text(465, 392, "share of the cell that is gone in such a step", size=12)
    drawing.legend(20, 372, [("forgotten: (1 - f) |c|", "c"), ("taken away: i * g against c", "b")])
    return drawing


PICTURES = {draw.__name__: draw for draw in (units, marks, listing, leaving)}
