"""What a run found out as drawings: beside the best rival, beside the limit, by size, and call by call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from fastlstm.bench import compare
from fastlstm.bench.results import Cell, Measured, Results, Sizes
from fastlstm.bench.svg import Drawing, Scale
from fastlstm.files._layer import short

OURS = "fastlstm"
COLORS = "abcde"
COLOR_OF = {"won": "a", "lost": "b", "even": "e"}
_ROW, _TOP, _LEFT, _RIGHT, _WIDTH = 22, 64, 330, 610, 800


class Pair(NamedTuple):
    """A work of which fastlstm and somebody else have a time, in float32."""

    sizes: Sizes
    ours: Cell
    best: Cell

    @property
    def ratio(self) -> float:
        """How many times as long as fastlstm the fastest rival takes."""
        return _seconds(self.best) / _seconds(self.ours)

    @property
    def outcome(self) -> str:
        """Whether fastlstm is faster: won, lost, or even where the rounds do not tell."""
        verdict = compare.ratio(compare.undisturbed(self.best), compare.undisturbed(self.ours)).verdict()
        return {"B is faster": "won", "B is slower": "lost"}.get(verdict, "even")


def outcomes(found: Sequence[Pair]) -> dict[str, int]:
    """Count the works that are won, lost and even."""
    told = [pair.outcome for pair in found]
    return {outcome: told.count(outcome) for outcome in COLOR_OF}


def pairs(results: Results) -> list[Pair]:
    """List the works that say who is faster."""
    made = []
    for work in results.works:
        ours = work.cell(OURS)
        rivals = [cell for cell in work.cells if cell.of != OURS and cell.weights == "float32" and cell.seconds]
        if ours is not None and ours.seconds and rivals:
            made.append(Pair(work.sizes, ours, min(rivals, key=_seconds)))
    return made


def _seconds(cell: Cell) -> float:
    assert cell.seconds is not None
    return cell.seconds


def ratios(results: Results) -> Drawing:
    """Draw how many times as long as fastlstm the best rival takes, work by work, losses as well."""
    rows = pairs(results)
    counted = ", ".join(f"{count} {outcome}" for outcome, count in outcomes(rows).items())
    title = f"The best rival's time over fastlstm's, in {len(rows)} works: {counted}"
    drawing = _list(title, results, [str(pair.sizes) for pair in rows])
    values = [pair.ratio for pair in rows]
    scale = Scale(min([0.5, *values]) / 1.1, max([2.0, *values]) * 1.1, _LEFT, _RIGHT, is_log=True)
    _grid(drawing, scale, [2.0**k for k in range(-6, 11)], len(rows), "{:g}".format)
    for row, pair in enumerate(rows):
        y, x = _TOP + _ROW * row, scale(pair.ratio)
        drawing.bar(min(x, scale(1)), y, abs(x - scale(1)), 12, COLOR_OF[pair.outcome])
        drawing.text(_RIGHT + 8, y + 11, f"{pair.ratio:.2f}  {pair.best.label}", at="start", size=12)
    return drawing


def shares(results: Results) -> Drawing:
    """Draw which share of the machine's limit fastlstm and the best rival reach."""
    rows = [pair for pair in pairs(results) if pair.ours.of_limit is not None]
    drawing = _list("Share of the machine's limit", results, [str(pair.sizes) for pair in rows])
    known = [cell.of_limit for pair in rows for cell in (pair.ours, pair.best) if cell.of_limit is not None]
    scale = Scale(0, max([1.0, *known]), _LEFT, _RIGHT)
    _grid(drawing, scale, [k / 4 for k in range(int(4 * scale.high) + 1)], len(rows), "{:.0%}".format)
    for row, pair in enumerate(rows):
        y = _TOP + _ROW * row + 6
        for cell, color in ((pair.best, "b"), (pair.ours, "a")):
            if cell.of_limit is not None:
                drawing.dot(scale(cell.of_limit), y, 5, color)
    drawing.legend(_RIGHT + 20, _TOP + 6, [(OURS, "a"), ("the best rival", "b")])
    return drawing


def _list(title: str, results: Results, names: Sequence[str]) -> Drawing:
    drawing = Drawing(_WIDTH, max(_TOP + _ROW * len(names) + 34, _TOP + 60), f"{title}; {results.machine}")
    drawing.text(10, 22, title, at="start", size=15)
    drawing.text(10, 40, results.machine, at="start", size=11, color="e")
    for row, name in enumerate(names):
        drawing.text(_LEFT - 10, _TOP + _ROW * row + 11, short(name, 50), at="end", size=12)
    return drawing


def _grid(drawing: Drawing, scale: Scale, marks: Iterable[float], rows: int, write: Callable[[float], str]) -> None:
    bottom = _TOP + _ROW * rows
    for value in marks:
        if scale.low <= value <= scale.high:
            drawing.line([(scale(value), _TOP - 6), (scale(value), bottom)], "ink" if value == 1 else "faint", 1)
            drawing.text(scale(value), bottom + 16, write(value), size=12)


class Series(NamedTuple):
    """Works that differ in one size only."""

    name: str
    points: list[tuple[int, Pair]]


def series(found: Sequence[Pair], size: str) -> list[Series]:
    """Put the works together that differ in one size only, the most of them first; I goes with H where it is H."""
    groups: dict[tuple[Sizes, bool], dict[int, Pair]] = {}
    for pair in found:
        plain = replace(pair.sizes, name="", family="")
        square = size == "H" and plain.I == plain.H
        without: dict[str, Any] = {"H": 0, "I": 0} if square else {size: 0}
        rest = replace(plain, **without)
        groups.setdefault((rest, square), {})[getattr(plain, size)] = pair
    made = [
        Series(_fixed(rest, size, square=square), sorted(points.items(), key=lambda point: point[0]))
        for (rest, square), points in groups.items()
        if len(points) > 1
    ]
    return sorted(made, key=lambda each: -len(each.points))[: len(COLORS)]


def _fixed(rest: Sizes, size: str, *, square: bool) -> str:
    parts = [f"{name}={getattr(rest, name)}" for name in ("T", "B", "I", "H") if name != size and getattr(rest, name)]
    parts += (
        ["I=H"] * square + [f"{rest.layers} layers"] * (rest.layers > 1) + ["both directions"] * (rest.directions > 1)
    )
    return " ".join(parts + [f"{rest.threads} threads"] * (rest.threads > 1))


def costs(results: Results) -> Drawing:
    """Draw the time of a call against H, B, T and threads, both axes logarithmic."""
    title = "Time of a call, and by dashes the best rival's"
    drawing = Drawing(_WIDTH, 710, f"{title}; {results.machine}")
    drawing.text(10, 22, title, at="start", size=15)
    drawing.text(10, 40, results.machine, at="start", size=11, color="e")
    found = pairs(results)
    for place, size in enumerate(("H", "B", "T", "threads")):
        left, top = 70 + 370 * (place % 2), 86 + 330 * (place // 2)
        told = series(found, size)
        if not told:
            drawing.text(left, top, f"{size}: no two works that differ in it alone", at="start")
            continue
        values = sorted({value for each in told for value, _ in each.points})
        times = [_seconds(cell) for each in told for _, pair in each.points for cell in (pair.ours, pair.best)]
        x = Scale(values[0], values[-1], left, left + 290, is_log=True)
        _panel(drawing, x, _microseconds(times, top + 180, top), values, size)
        y = _microseconds(times, top + 180, top)
        for each, color in zip(told, COLORS, strict=False):
            for cells, dash in (([p.ours for _, p in each.points], ""), ([p.best for _, p in each.points], "5 4")):
                drawn = zip((value for value, _ in each.points), cells, strict=True)
                drawing.line([(x(value), y(1e6 * _seconds(cell))) for value, cell in drawn], color, 2, dash)
        drawing.legend(left, top + 232, [(each.name, color) for each, color in zip(told, COLORS, strict=False)][:4])
    return drawing


def _microseconds(times: Iterable[float], bottom: float, top: float) -> Scale:
    """Make an axis from one power of 10 to another."""
    logs = [math.log10(1e6 * time) for time in times]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    return Scale(10.0**low, 10.0 ** max(high, low + 1), bottom, top, is_log=True)


def _panel(drawing: Drawing, x: Scale, y: Scale, marks: Sequence[float], name: str) -> None:
    powers = [10.0**k for k in range(round(math.log10(y.low)), round(math.log10(y.high)) + 1)]
    drawing.axes(x, y, marks, powers, (name, "us"))


def latencies(results: Results) -> Drawing:
    """Draw how many calls of a step take longer than what, both axes logarithmic."""
    works = [work for work in results.works if len(list(_curves(work))) > 0][:4]
    title = "Calls timed one by one: the slowest share of them takes at least"
    drawing = Drawing(_WIDTH, 70 + 370 * max((len(works) + 1) // 2, 1), f"{title}; {results.machine}")
    drawing.text(10, 22, title, at="start", size=15)
    drawing.text(10, 40, results.machine, at="start", size=11, color="e")
    if not works:
        drawing.text(10, 86, "no calls were timed one by one", at="start")
    for place, work in enumerate(works):
        left, top = 70 + 370 * (place % 2), 86 + 370 * (place // 2)
        told = sorted(_curves(work), key=lambda curve: (curve[0] != OURS, curve[1][0][1]))[: len(COLORS)]
        slowest = min(share for _, points in told for share, _ in points)
        x = Scale(0.5, min(slowest, 0.1), left, left + 290, is_log=True)
        y = _microseconds([time for _, points in told for _, time in points], top + 170, top)
        marks = [share for share in (0.5, 0.1, 0.01, 0.001, 0.0001) if share >= x.high * 0.999]
        _panel(drawing, x, y, marks, f"share; {work.sizes}")
        for (_, points), color in zip(told, COLORS, strict=False):
            drawing.line([(x(share), y(1e6 * time)) for share, time in points], color)
        drawing.legend(left, top + 230, [(name, color) for (name, _), color in zip(told, COLORS, strict=False)])
    return drawing


def _curves(work: Measured) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    """Give, of each contender in float32, shares of calls and what they take at least, from half of them on."""
    for cell in work.cells:
        points = [(1 - share, time) for share, time in cell.quantiles if 0.5 <= share < 1]
        if len(points) > 1 and cell.weights == "float32":
            yield cell.label, points


PICTURES = {"rivals": ratios, "limit": shares, "cost": costs, "latency": latencies}
"""Names of files, and what draws them."""


def draw(results: Results) -> dict[str, str]:
    """Draw everything: names and contents of files."""
    return {f"{name}.svg": str(make(results)) for name, make in PICTURES.items()}


def write(folder: str, results: Results) -> list[Path]:
    """Draw everything into a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = []
    for name, text in draw(results).items():
        paths.append(Path(folder) / name)
        paths[-1].write_text(text, encoding="utf-8")
    return paths
