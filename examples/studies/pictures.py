"""A drawing for each study, from its file alone."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from . import deaf_pictures, figures, gallery_pictures, record, units_pictures
from .svg import Drawing, Scale

REGIONS = (
    ("keep", "c", "keep: f open, i shut"),
    ("add", "a", "add: both open, g with the cell's sign"),
    ("take", "b", "take away: both open, g against it"),
    ("replace", "d", "replace: f shut, i open"),
    ("forget", "e", "forget: both shut"),
)
AMOUNTS = ("kept", "forgotten", "added", "taken")
LAYERS = (("lstm_1", "first layer"), ("lstm_2", "second layer"))


def _result(study: str, cell: str) -> Any:
    return record.read(study)[cell]["result"]


def curves() -> Drawing:
    """Draw the two functions."""
    told = _result("unit", "curves")
    drawing = Drawing(720, 300, "The sigmoid goes from 0 to 1, the tanh from -1 to 1")
    x, y = Scale(-6, 6, 60, 500), Scale(-1, 1, 250, 30)
    drawing.axes(x, y, (-6, -3, 0, 3, 6), (-1, -0.5, 0, 0.5, 1), ("pre-activation", "value"))
    for name, color in (("sigmoid", "a"), ("tanh", "b")):
        drawing.line([(x(z), y(value)) for z, value in zip(told["z"], told[name], strict=True)], color, 3)
    drawing.legend(520, 60, [("sigmoid: how much passes", "a"), ("tanh: what passes", "b")])
    return drawing


def plane() -> Drawing:
    """Draw what a unit writes, by the product and by the tanh alone."""
    told, cell = _result("unit", "plane"), _result("unit", "volume, 6")
    drawing = Drawing(720, 390, "Where a unit writes nothing: a half of the plane by the product, a strip by the tanh")
    side, top = 280, 40
    step = side / len(told["z"])
    for panel, (name, title) in enumerate((("product", "sigmoid(a) * tanh(b)"), ("tanh", "tanh(b) alone"))):
        left = 60 + panel * 350
        for row, values in enumerate(told[name]):
            for column, value in enumerate([values] if panel else values):
                color = "c" if abs(value) < 0.05 else "a" if value > 0 else "b"
                opacity = 0.45 if color == "c" else 0.06 + 0.6 * abs(value)
                wide = side if panel else step
                drawing.bar(left + column * step, top + side - (row + 1) * step, wide, step, color, opacity)
        x, y = Scale(-6, 6, left, left + side), Scale(-6, 6, top + side, top)
        drawing.axes(x, y, (-6, 0, 6), (-6, 0, 6), ("a", ""))
        drawing.text(left - 30, y(2), "b")
        drawing.text(left + side / 2, 24, f"{title}: nothing in {cell[name] / cell['places']:.0%}")
    drawing.legend(60, 382, [("less than 0.05 is written", "c")])
    drawing.legend(300, 382, [("adds", "a")])
    drawing.legend(400, 382, [("subtracts", "b")])
    return drawing


def writes() -> Drawing:
    """Draw how often trained units write next to nothing."""
    drawing = Drawing(720, 320, "Trained units write next to nothing in a third to a half of their steps")
    y = Scale(0, 0.6, 260, 40)
    drawing.axes(Scale(0, 1, 60, 480), y, (), (0, 0.2, 0.4, 0.6), ("", "share of steps"), "{:.0%}".format)
    for panel, (layer, name) in enumerate(LAYERS):
        cell = record.read("published")[f"writes, {layer}"]
        told = cell["result"]
        for group, nothing in enumerate(cell["settings"]["nothing"]):
            left = 80 + panel * 205 + group * 64
            for bar, (key, color) in enumerate((("by_product", "a"), ("by_tanh_alone", "b"))):
                share = told[key][group] / told["steps"]
                drawing.bar(left + bar * 24, y(share), 22, y(0) - y(share), color)
                drawing.text(
                    left + bar * 24 + 11, y(share) - 5, f"{share:.0%}" if share >= 0.1 else f"{share:.1%}", size=10
                )
            drawing.text(left + 23, 278, f"< {nothing:g}", size=12)
        drawing.text(80 + panel * 205 + 87, 302, name)
    drawing.legend(500, 80, [("the product i * g", "a"), ("g alone would", "b")])
    return drawing


def regions() -> Drawing:
    """Draw what the steps of trained units do to their cells."""
    drawing = Drawing(720, 290, "What steps do to cells, in two layers")
    x = Scale(0, 1, 110, 690)
    for row, (layer, name) in enumerate(LAYERS):
        told, at, top = _result("published", f"regions, {layer}"), 0.0, 20 + row * 60
        drawing.text(100, top + 26, name, at="end")
        for key, color, _ in REGIONS:
            share = told[key] / told["steps"]
            drawing.bar(x(at), top, x(at + share) - x(at), 40, color, 0.85)
            drawing.text(x(at + share / 2), top + 25, f"{share:.0%}", size=12)
            at += share
    drawing.legend(110, 165, [(text, color) for _, color, text in REGIONS])
    return drawing


def history() -> Drawing:
    """Draw a unit along a line of text: what it keeps, and what it writes."""
    told = _result("published", "history")
    text, c, kept, written = told["text"], told["c"][0], told["kept"][0], told["written"][0]
    drawing = Drawing(720, 360, "A unit's cell along a sentence: kept, added, taken away")
    most = max(1, *(abs(value) for value in c))
    x, y = Scale(0, len(text), 60, 700), Scale(-most, most, 300, 40)
    marks = [value for value in range(-5, 6) if abs(value) <= most]
    drawing.axes(x, y, (), marks, ("", f"cell of unit {told['unit'][0]}"))
    before, wide = 0.0, x(1) - x(0)
    for t, character in enumerate(text):
        drawing.bar(x(t) + 2, min(y(kept[t]), y(0)), wide - 4, abs(y(kept[t]) - y(0)), "c", 0.35)
        color = "b" if written[t] * before < 0 else "a"
        drawing.bar(x(t) + 5, min(y(kept[t]), y(c[t])), wide - 10, abs(y(kept[t]) - y(c[t])), color, 0.9)
        drawing.text(x(t) + wide / 2, 322, "_" if character == " " else character)
        before = c[t]
    drawing.line([(x(t) + wide / 2, y(value)) for t, value in enumerate(c)], "ink", 1.5)
    drawing.legend(80, 348, [("kept: f * c", "c")])
    drawing.legend(220, 348, [("i * g adds", "a")])
    drawing.legend(350, 348, [("i * g takes away", "b")])
    drawing.legend(520, 348, [("the new cell", "ink")])
    return drawing


def sentence() -> Drawing:
    """Draw cells along a line of text, each as large as it is: what it is made of, and what went from it."""
    told = _result("sentence", "balance")
    text, left, wide, high = told["text"], 100, 24, 46
    drawing = Drawing(left + wide * len(text) + 16, 416, "Six cells of a trained LSTM along a sentence")
    drawing.text(left, 22, "cell = forget gate \u00d7 cell + input gate \u00d7 candidate", at="start", size=16)
    for t, character in enumerate(text):
        drawing.text(left + wide * (t + 0.5), 58, "\u2423" if character == " " else character, size=16)
    drawing.text(left - 10, 58, "reads", at="end")
    for row, (life, *amounts) in enumerate(zip(*(told[name] for name in ("half_life", *AMOUNTS)), strict=True)):
        foot, steps = 70 + high * (row + 1), list(zip(*amounts, strict=True))
        most = max(max(kept + forgotten, kept - taken + added) for kept, forgotten, added, taken in steps)
        y = Scale(0, most, foot, foot - high + 6)
        drawing.line([(left, foot), (left + wide * len(text), foot)], "faint", 1)
        drawing.text(left - 10, foot - 12, figures.written(life), at="end")
        for t, (kept, forgotten, added, taken) in enumerate(steps):
            rest, x = kept - taken, left + wide * t
            parts = ((3, 13, 0, rest, "c"), (3, 13, rest, rest + added, "a"))
            gone = ((17, 5, rest, kept, "b"), (17, 5, kept, kept + forgotten, "faint"))
            for at, width, low, top, color in parts + gone:
                if y(low) - y(top) >= 0.5:
                    drawing.bar(x + at, y(top), width, y(low) - y(top), color)
    drawing.text(left - 10, 368, "half-life,", at="end", size=12)
    drawing.text(left - 10, 384, "in letters", at="end", size=12)
    drawing.legend(
        left,
        384,
        [("kept: how much, says the forget gate, a sigmoid", "c"), ("added by input gate \u00d7 candidate", "a")],
    )
    drawing.legend(left + 370, 384, [("taken away by it, since a tanh has a sign", "b"), ("forgotten", "faint")])
    return drawing


def matrices() -> Drawing:
    """Draw the angles between the weights that make i and those that make g."""
    drawing = Drawing(720, 300, "The weights of i and g of a unit have little to do with each other")
    x, y = Scale(0, 127, 60, 500), Scale(-1, 1, 250, 30)
    drawing.axes(x, y, (0, 32, 64, 96, 127), (-1, -0.5, 0, 0.5, 1), ("units, in order", "cosine of the angle"))
    for (layer, _), color in zip(LAYERS, "ab", strict=True):
        values = _result("published", f"matrices, {layer}")["cosine"]
        drawing.line([(x(unit), y(value)) for unit, value in enumerate(values)], color, 3)
    drawing.legend(520, 60, [(name, color) for (_, name), color in zip(LAYERS, "ab", strict=True)])
    return drawing


def drift() -> Drawing:
    """Draw how large cells become."""
    drawing = Drawing(720, 320, "Cells that can only add fill up to where forgetting balances them")
    x, y = Scale(0, 500, 60, 500), Scale(0.1, 200, 270, 40, is_log=True)
    drawing.axes(x, y, (0, 100, 200, 300, 400, 500), (0.1, 1, 10, 100), ("steps", "mean of |c|"))
    for bias, dash in ((1, "2 4"), (3, "7 4"), (6, "")):
        for candidate, color in (("tanh", "a"), ("sigmoid", "b")):
            told = _result("drift", f"{candidate}, forget bias {bias}")
            drawing.line([(x(t), y(c)) for t, c in zip(told["step"], told["size"], strict=True)], color, 2, dash)
            drawing.text(506, y(told["size"][-1]) + 4, f"bias {bias}", at="start", size=11, color=color)
    drawing.legend(580, 60, [("tanh", "a"), ("sigmoid", "b")])
    return drawing


def distance() -> Drawing:
    """Draw how far back gradients reach."""
    drawing = Drawing(720, 380, "Gradient norms over 1000 steps")
    x, y = Scale(0, 1000, 70, 520), Scale(1e-20, 1e4, 320, 40, is_log=True)
    marks = [10.0**power for power in (-20, -15, -10, -5, 0)]
    drawing.axes(x, y, (0, 250, 500, 750, 1000), marks, ("steps back", "norm, as a share of that at the last step"))
    entries = []
    names = [("LSTM, forget bias 0", "e"), ("LSTM, forget bias 1", "d"), ("LSTM, forget bias 3", "b")]
    names += [("LSTM, forget bias 6", "a"), ("tanh, orthogonal U", "c"), ("tanh", "ink")]
    for name, color in names:
        told = _result("distance", name)
        for key, dash in (("whole", ""), ("cell", "3 4")):
            points = zip(told["distance"], told.get(key, ()), strict=False)
            drawing.line([(x(k), y(n)) for k, n in points if 1e-20 <= n <= 1e4], color, 2, dash)
        entries.append((name, color))
    drawing.legend(540, 70, entries)
    drawing.text(540, 205, "solid: all paths", at="start", size=12)
    drawing.text(540, 225, "dotted: product of f", at="start", size=12)
    return drawing


def ablations() -> Drawing:
    """Draw how well each variant ends, on each task: five seeds each."""
    drawing = Drawing(720, 428, "Errors of variants of the LSTM after training: five seeds each, and their median")
    names = figures.variants()
    for panel, task in enumerate(figures.SPAN):
        rows = figures.ends(task)
        low, high = figures.SPAN[task]
        x = Scale(low, high, 190 + panel * 134, 308 + panel * 134, is_log=True)
        drawing.text((x.start + x.end) / 2, 24, task)
        for mark in figures.marks(low, high):
            drawing.line([(x(mark), 36), (x(mark), 378)], "faint", 1)
            drawing.text(x(mark), 396, f"{mark:g}", size=10)
        for row, name in enumerate(names):
            y, color = 52 + row * 28, "a" if name == "LSTM" else "b"
            if not panel:
                drawing.text(178, y + 4, name, at="end", size=12)
            ends = [min(max(end, low), high) for end in rows[name]]
            drawing.line([(x(min(ends)), y), (x(max(ends)), y)], color, 2)
            for end in ends:
                drawing.bar(x(end) - 1.5, y - 4, 3, 8, color, 0.6)
            drawing.bar(x(statistics.median(ends)) - 3, y - 7, 6, 14, color)
    drawing.text(450, 420, "mean square error, the smaller the better", size=12)
    return drawing


def cells() -> Drawing:
    """Draw how large the cells of each variant become along a stream, and how often its gates are at an end."""
    drawing = Drawing(720, 430, "How large cells become along a stream, and how often gates are at an end")
    names = figures.variants()
    for panel, task in enumerate(("adding", "text")):
        x = Scale(0.02, 50, 190 + panel * 150, 322 + panel * 150, is_log=True)
        drawing.text((x.start + x.end) / 2, 24, f"{task}: mean |c|")
        for mark in (0.1, 1, 10):
            drawing.line([(x(mark), 36), (x(mark), 378)], "faint", 1)
            drawing.text(x(mark), 396, f"{mark:g}", size=10)
        for row, name in enumerate(names):
            y, color = 52 + row * 28, "a" if name == "LSTM" else "b"
            first, last = (min(max(each, 0.02), 50) for each in figures.drift(task, name))
            drawing.line([(x(first), y), (x(last), y)], color, 2)
            drawing.bar(x(first) - 1.5, y - 4, 3, 8, color, 0.6)
            drawing.bar(x(last) - 3, y - 7, 6, 14, color)
    for column, gate in enumerate("ifog"):
        drawing.text(526 + column * 52, 32, gate)
    for row, name in enumerate(names):
        y = 52 + row * 28
        drawing.text(178, y + 4, name, at="end", size=12)
        for column, gate in enumerate("ifog"):
            share = figures.saturated("text", name, gate)
            if share is not None:
                drawing.bar(504 + column * 52, y - 10, 44, 20, "c", max(0.04, 0.8 * share))
                drawing.text(526 + column * 52, y + 4, f"{share:.0%}", size=11)
    drawing.text(330, 422, "small mark: first of ten texts read in a row; large: tenth", size=12)
    drawing.text(604, 12, "text: steps at an end", size=12)
    return drawing


def training() -> Drawing:
    """Draw the way there: the median of five seeds, on one task."""
    drawing = Drawing(720, 330, "Errors along the training, median of five seeds")
    shown = ("LSTM", "no input gate: g alone", "g by sigmoid: only adds", "no forget gate", "plain recurrence")
    x, y = Scale(0, 1000, 60, 480), Scale(0.0001, 2, 280, 40, is_log=True)
    marks = (0.0001, 0.001, 0.01, 0.1, 1)
    drawing.axes(x, y, (0, 250, 500, 750, 1000), marks, ("steps of training", "adding: mean square error"))
    colors = "abcd" + "e"
    for name, color in zip(shown, colors, strict=True):
        told = _result("ablations", f"adding, {name}")
        middle = [statistics.median(seeds) for seeds in zip(*told["errors"], strict=True)]
        points = zip(told["step"], middle, strict=True)
        drawing.line([(x(step), y(max(error, 0.0001))) for step, error in points], color, 2.5)
    drawing.legend(500, 70, zip(shown, colors, strict=True))
    return drawing


PICTURES: dict[str, Callable[[], Drawing]] = {
    draw.__name__: draw
    for draw in (
        *(curves, plane, writes, regions, history, sentence, matrices),
        *(drift, distance, ablations, cells, training),
    )
}
PICTURES |= units_pictures.PICTURES | deaf_pictures.PICTURES | gallery_pictures.PICTURES


def draw_all() -> None:
    """Write all of them, beside the files that they are drawn from."""
    for name, draw in PICTURES.items():
        (record.FOLDER / f"{name}.svg").write_text(str(draw()), encoding="utf-8")
