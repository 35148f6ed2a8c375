"""Drawings and the table of docs/gallery.md, from the files of the studies alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from . import record
from .svg import Drawing, Scale


class Model(NamedTuple):
    """What the page says of a model."""

    title: str
    licence: str
    does: str
    shown: str
    directions: int = 1


MODELS = {
    "silero": Model("silero-vad 6.2.3", "MIT", "is it speech?", "13 recordings"),
    "resemblyzer": Model("Resemblyzer 0.1.4", "Apache 2.0", "whose voice is it?", "49 windows of them"),
    "textgenrnn": Model("textgenrnn 2.0.0", "MIT", "the next character", "the Zen of Python"),
    "chars2vec": Model("chars2vec 0.1.7", "Apache 2.0", "words that are spelled alike", "73 words of the Zen"),
    "naampy": Model("naampy 0.8.0", "MIT", "a man's or a woman's name?", "16 first names", 2),
    "g2pm": Model("g2pM 0.1.2.5", "Apache 2.0", "how is a Chinese character read?", "two articles of human rights", 2),
    "dksplit": Model("dksplit 1.0.2", "CC BY 4.0", "where words begin", "the Zen without spaces", 2),
}
MIDDLE = 10  # of the half-lives that are kept
GATES = (("i", "input gate: write"), ("f", "forget gate: keep"), ("o", "output gate: show"))


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return every layer and direction, with a name."""
    kept = record.read("gallery")
    for name, model in MODELS.items():
        told = kept[name]["result"]["rows"]
        for k, row in enumerate(told):
            layer = f" {k // model.directions + 1}" if len(told) > model.directions else ""
            back = ", reverse" if k % model.directions else ""
            yield f"{model.title.split()[0]}{layer}{back}", row


def gallery_gates() -> Drawing:
    """Draw how often gates are shut and open."""
    drawn = list(rows())
    drawing = Drawing(720, 82 + 20 * len(drawn), "How often the gates of published models are shut, and open")
    for panel, (gate, title) in enumerate(GATES):
        x = Scale(0, 1, 150 + panel * 192, 330 + panel * 192)
        drawing.text((x.start + x.end) / 2, 18, title, size=12)
        for k, (name, row) in enumerate(drawn):
            top = 30 + 20 * k
            if not panel:
                drawing.text(142, top + 12, name, at="end", size=11)
            shut, opened = (row[side][gate] / row["counted"] for side in ("below", "above"))
            drawing.bar(x(0), top, x(1) - x(0), 16, "faint", 0.5)
            drawing.bar(x(0), top, x(shut) - x(0), 16, "b", 0.5)
            drawing.bar(x(1 - opened), top, x(1) - x(1 - opened), 16, "a", 0.5)
            for share, at, side in ((shut, 0.02, "start"), (opened, 0.98, "end")):
                if share >= 0.14:
                    drawing.text(x(at), top + 12, f"{share:.0%}", at=side, size=10)
    bottom = 54 + 20 * len(drawn)
    drawing.legend(150, bottom, [("below 0.1: shut", "b")])
    drawing.legend(300, bottom, [("above 0.9: open", "a")])
    drawing.text(720 - 18, bottom, "shares of all units and steps", at="end", size=12)
    return drawing


def gallery_lives() -> Drawing:
    """Draw how long units remember."""
    drawn = list(rows())
    drawing = Drawing(720, 100 + 20 * len(drawn), "How many steps units take to forget half of their cells")
    x = Scale(0.08, 500, 150, 690, is_log=True)
    bottom = 24 + 20 * len(drawn)
    for mark in (0.1, 1, 10, 100):
        drawing.line([(x(mark), 14), (x(mark), bottom)], "faint", 1)
        drawing.text(x(mark), bottom + 18, f"{mark:g}", size=12)
    for k, (name, row) in enumerate(drawn):
        lives, middle = [min(max(life, x.low), x.high) for life in row["half-life"]], 26 + 20 * k
        last = len(lives) - 1
        drawing.text(142, middle + 4, name, at="end", size=11)
        drawing.line([(x(lives[0]), middle), (x(lives[last]), middle)], "e", 1.5)
        drawing.bar(
            x(lives[last // 4]), middle - 6, max(1, x(lives[3 * last // 4]) - x(lives[last // 4])), 12, "a", 0.5
        )
        drawing.bar(x(lives[MIDDLE]) - 1.5, middle - 8, 3, 16, "a")
        for life in lives[-2:]:
            drawing.bar(x(life) - 2, middle - 2, 4, 4, "b")
    drawing.text(420, bottom + 40, "half-life in steps: all units, the middle half, the median", size=12)
    drawing.legend(150, bottom + 62, [("the longest half-life, and the one that a unit in twenty exceeds", "b")])
    return drawing


def _percent(part: int, whole: int) -> str:
    share = part / whole
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def models() -> str:
    """Write the table of models."""
    lines = ["| model | licence | what it says | what it was shown | layers, units | steps |"]
    lines.append("| --- | --- | --- | --- | --- | ---: |")
    for name, model in MODELS.items():
        result = record.read("gallery")[name]["result"]
        told = result["rows"]
        ways = ", both directions" if model.directions > 1 else ""
        size = f"{len(told) // model.directions} of {told[0]['units']}{ways}"
        lines.append(
            f"| {model.title} | {model.licence} | {model.does} | {model.shown} | {size} | {result['steps']:,} |"
        )
    return "\n".join(lines)


def writes() -> str:
    """Write the table of what steps do."""
    lines = [
        "| layer | writes < 0.1 | g alone < 0.1 | both open: adds | takes away | f < 1/2: forgets | median half-life |"
    ]
    lines.append("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, row in rows():
        counted, lives = row["counted"], row["half-life"]
        shares = [row[each] for each in ("writes nothing", "candidate is nothing", "adds", "takes away", "forgets")]
        cells = " | ".join(_percent(share, counted) for share in shares)
        lines.append(f"| {name} | {cells} | {lives[MIDDLE]:.2g} |")
    return "\n".join(lines)


PICTURES: dict[str, Callable[[], Drawing]] = {draw.__name__: draw for draw in (gallery_gates, gallery_lives)}
