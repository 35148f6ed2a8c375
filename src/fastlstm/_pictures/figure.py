"""A figure by matplotlib: the gates of a layer over time, for a paper or a page of text."""

from __future__ import annotations

import importlib
import io
import math
import re
from typing import Any, Final

import numpy as np

from .._extras import missing
from .._types import Array
from .labels import Labels
from .overview import Overview
from .page import about, warning

_SHOWN: Final = {
    "f": "f, forget gate",
    "i": "i, input gate",
    "g": "g, candidate",
    "o": "o, output gate",
    "c": "c, cell: each unit by its largest",
    "h": "h, output",
}
_KEPT, _ADDED, _TAKEN, _NAN, _OVER = (
    (0.55, 0.58, 0.62),
    (0.04, 0.41, 0.85),
    (0.76, 0.25, 0.05),
    (1.0, 0.0, 0.66),
    (1.0, 1.0, 1.0),
)
_TICKS: Final = 12
_MOST_LABELS: Final = 64
_LETTERS: Final = 10  # of the labels at a tick
_LONGEST: Final = 20  # letters of a label that stands by itself: a longer one would take the panels' room


def figure(overview: Overview, labels: Labels | None, title: str, seconds: float | None, ending: str) -> bytes:
    """Draw one row, a column of panels for each layer and direction; return the file's content."""
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError as error:
        raise missing("matplotlib", f"a picture in .{ending}", error) from error
    L, D, _ = overview.half_life().shape
    made = figures.Figure(figsize=(min(9 * L * D, 60), 13), layout="constrained", dpi=110)
    panels = made.subplots(len(_SHOWN) + 1, L * D, sharex=True, squeeze=False)
    for k, (layer, direction) in enumerate(np.ndindex(L, D)):
        column = _Column(overview, layer, direction)
        for panel, name in zip(panels[:, k], (*_SHOWN, "cell"), strict=True):
            column.draw(panel, name)
        panels[0, k].set_title(f"layer {layer}{', reverse' * direction}: {panels[0, k].get_title()}", fontsize="medium")
        _mark_time(panels[-1, k], overview, labels, seconds)
    drawn = f" Drawn is row {overview.rows[0]}." if overview.B > 1 else ""
    lines = [title, about(overview, "their mean") + drawn, warning(overview)]
    made.suptitle("\n".join(_plain(line) for line in lines if line), fontsize="small", wrap=True)
    content = io.BytesIO()
    made.savefig(content, format=ending)
    return content.getvalue()


def _plain(text: str) -> str:
    """Return a text in which matplotlib finds no formula, and no letter that draws nothing."""
    return re.sub(r"[^\S ]|[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text).replace("$", r"\$")


class _Column:
    """The panels of a layer in one direction."""

    def __init__(self, overview: Overview, layer: int, direction: int) -> None:
        self._overview, self._place = overview, (layer, direction)
        self._order = overview.by_half_life(layer, direction)
        self._life = overview.half_life()[layer, direction][self._order]

    def _values(self, name: str) -> Any:
        """Return [K, columns] of the first row, units by half-life."""
        return self._overview.values(name)[(*self._place, slice(None), 0)].T[self._order]

    def draw(self, panel: Any, name: str) -> None:
        """Draw one quantity."""
        if name == "cell":
            panel.imshow(self._cell(), aspect="auto", interpolation="nearest")
            panel.set_title(
                "kept (grey), added (blue), taken away (orange), each by its unit's largest", fontsize="small"
            )
        else:
            self._draw_gate(panel, name)
        step = max(1, math.ceil(len(self._order) / 8))
        places = range(0, len(self._order), step)
        units = self._overview.units[self._order]
        panel.set_yticks(places, [f"{units[k]}: {self._life[k]:.3g}" for k in places], fontsize="x-small")
        panel.set_ylabel("unit: half-life", fontsize="x-small")

    def _draw_gate(self, panel: Any, name: str) -> None:
        values = self._values(name)
        if name == "c":
            finite = np.where(np.isfinite(values.filled(0)), np.abs(values.filled(0)), 0)
            values = values / np.maximum(finite.max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        known = values.compressed()
        known = known[np.isfinite(known)]
        signed = name in "gch" or bool((known < 0).any())
        top = max(1.0, float(np.abs(known).max(initial=0)))
        colours = importlib.import_module("matplotlib").colormaps["PRGn" if signed else "GnBu"]
        shares = values.filled(0).astype(np.float64) / top
        shown = colours((shares + 1) / 2 if signed else shares)[..., :3]
        shown[np.isnan(shares)] = _NAN
        shown[np.ma.getmaskarray(values)] = _OVER
        panel.imshow(shown, aspect="auto", interpolation="nearest")
        ends = f"violet -{top:.3g}, white 0, green {top:.3g}" if signed else f"white 0, blue {top:.3g}"
        panel.set_title(f"{_SHOWN[name]} ({ends})", fontsize="small")

    def _cell(self) -> Array:
        kept, added, taken = (self._values(name).filled(0).astype(np.float64) for name in ("kept", "added", "taken"))
        unknown = np.isnan(kept + added + taken)
        kept, added, taken = (np.where(np.isfinite(each), each, 0) for each in (kept, added, taken))
        written = np.maximum(added, taken)
        ground = _mixed(np.ones(3), np.array(_KEPT), 0.75 * kept / _largest(kept))
        share = taken / np.maximum(added + taken, np.finfo(float).tiny)
        made = _mixed(ground, _mixed(np.array(_ADDED), np.array(_TAKEN), share), written / _largest(written))
        made[unknown] = _NAN
        made[np.ma.getmaskarray(self._values("kept"))] = _OVER
        return made


def _largest(array: Array) -> Array:
    made: Array = np.maximum(array.max(axis=1, keepdims=True), np.finfo(float).tiny)
    return made


def _mixed(a: Array, b: Array, share: Array) -> Array:
    made: Array = a + (b - a) * share[..., np.newaxis]
    return made


def _mark_time(panel: Any, overview: Overview, labels: Labels | None, seconds: float | None) -> None:
    """Name the steps: each by its label where there are few, else some by their number."""
    columns = overview.columns
    names = None if labels is None else labels.columns(overview, overview.rows[0])
    if names is not None and columns <= _MOST_LABELS:
        shown = [{" ": "␣", "\n": "⏎", "\t": "⇥"}.get(name, name) for name in names]
        shown = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in shown]
        short = max(map(len, shown)) <= 1
        panel.set_xticks(range(columns), map(_plain, shown), fontsize="x-small", rotation=0 if short else 90)
        return
    places = range(0, columns, max(1, math.ceil(columns / _TICKS)))
    times = [overview.step_of(k) for k in places]
    texts = [str(t) if seconds is None else f"{t * seconds:.4g} s" for t in times]
    if labels is not None and names is not None:
        gap = "" if labels.are_letters else " "
        texts = [
            f"{text}\n{_plain(' '.join(gap.join(names[k : k + _LETTERS]).split()))[:_LETTERS]}"
            for text, k in zip(texts, places, strict=True)
        ]
    panel.set_xticks(places, texts, fontsize="x-small")
    panel.set_xlabel("step" if seconds is None else "time", fontsize="x-small")
