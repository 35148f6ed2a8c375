"""Lines, bars and fields as SVG: small, the same everywhere, and in the reader's own colours, light or dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import NamedTuple

STYLE = """\
<style>
svg { --ink: #24292f; --faint: #d0d7de; --a: #0969da; --b: #bc4c00; --c: #1a7f37; --d: #8250df; --e: #6e7781; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e6edf3; --faint: #484f58; --a: #58a6ff; --b: #f0883e; --c: #3fb950; --d: #bc8cff; --e: #8b949e; }
}
</style>
"""

Point = tuple[float, float]


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


class Scale(NamedTuple):
    """A straight or logarithmic axis: values from `low` to `high` lie from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return where a value lies."""
        low, high, at = (math.log10(v) for v in (self.low, self.high, value)) if self.is_log else (*self[:2], value)
        return self.start + (at - low) / (high - low) * (self.end - self.start)


class Drawing:
    """What has been drawn so far."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._size, self._title = (width, height), title
        self._parts: list[str] = []

    def text(self, x: float, y: float, text: str, *, at: str = "middle", size: int = 13, color: str = "ink") -> None:
        """Write; `at` is start, middle or end: which part of the text is at x."""
        self._parts.append(
            f'<text x="{_number(x)}" y="{_number(y)}" text-anchor="{at}" font-size="{size}" fill="var(--{color})">'
            f"{escape(text)}</text>"
        )

    def line(self, points: Iterable[Point], color: str, width: float = 2, dash: str = "") -> None:
        """Draw a line through points."""
        path = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        self._parts.append(
            f'<polyline points="{path}" fill="none" stroke="var(--{color})" stroke-width="{_number(width)}"{dashed}/>'
        )

    def bar(self, x: float, y: float, width: float, height: float, color: str, opacity: float = 1) -> None:
        """Draw a rectangle."""
        faint = f' fill-opacity="{opacity:.2f}"' if opacity < 1 else ""
        self._parts.append(
            f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" height="{_number(height)}" '
            f'fill="var(--{color})"{faint}/>'
        )

    def dot(self, x: float, y: float, radius: float, color: str) -> None:
        """Draw a disc."""
        self._parts.append(f'<circle cx="{_number(x)}" cy="{_number(y)}" r="{_number(radius)}" fill="var(--{color})"/>')

    def axes(
        self,
        x: Scale,
        y: Scale,
        x_marks: Sequence[float],
        y_marks: Sequence[float],
        names: tuple[str, str],
        write: Callable[[float], str] = "{:g}".format,
    ) -> None:
        """Draw a frame with marks, and what the axes are."""
        left, right, bottom, top = x.start, x.end, y.start, y.end
        for value in y_marks:
            self.line([(left, y(value)), (right, y(value))], "faint", 1)
            self.text(left - 6, y(value) + 4, write(value), at="end", size=12)
        for value in x_marks:
            self.line([(x(value), bottom), (x(value), bottom + 4)], "ink", 1)
            self.text(x(value), bottom + 18, f"{value:g}", size=12)
        self.line([(left, bottom), (right, bottom)], "ink", 1)
        self.text((left + right) / 2, bottom + 38, names[0])
        self.text(left, top - 10, names[1], at="start")

    def legend(self, x: float, y: float, entries: Iterable[tuple[str, str]]) -> None:
        """Tell what colours stand for."""
        for row, (name, color) in enumerate(entries):
            self.bar(x, y + 20 * row - 9, 14, 9, color)
            self.text(x + 20, y + 20 * row, name, at="start", size=12)

    def __str__(self) -> str:
        width, height = self._size
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            f'font-family="system-ui, sans-serif">\n<title>{escape(self._title)}</title>\n{STYLE}'
            + "\n".join(self._parts)
            + "\n</svg>\n"
        )
