"""A page for a browser: one file, with all that it shows, and no use for a network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, Final

import numpy as np

from .._types import Array
from .labels import Labels
from .overview import AMOUNTS, GATES, Overview

_FULL: Final = 65000  # of a number between the least and the largest of its unit; what is above has no size:
_OVER, _MINUS, _PLUS, _NAN = 65532, 65533, 65534, 65535


def page(
    overviews: Mapping[str, Overview], labels: Mapping[str, Labels | None], title: str, seconds: float | None
) -> bytes:
    """Return a page of all that is given."""
    entries = [_entry(name, overview, labels[name]) for name, overview in overviews.items()]
    rounding = f"Numbers are rounded to 1/{_FULL} of what lies between the least and the largest of their unit."
    content = {"seconds": seconds, "rounding": rounding, "entries": entries}
    parts = {
        "title": html.escape(title),
        "style": _read("page.css"),
        "data": "\n".join([_script("application/json", "data", _json(content)), *_blocks(overviews)]),
        "script": _read("page.js"),
    }
    made = []
    for k, part in enumerate(_read("page.html").replace("}}", "{{").split("{{")):
        made.append(parts[part] if k % 2 else part)
    return "".join(made).encode("utf-8", "xmlcharrefreplace")  # half a surrogate pair is no UTF-8


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _script(kind: str, name: str, text: str) -> str:
    return f'<script type="{kind}" id="{name}">{text}</script>'


def _json(content: object) -> str:
    """Write JSON that no label can break out of."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _entry(name: str, overview: Overview, labels: Labels | None) -> dict[str, Any]:
    sizes = overview.layer.sizes
    return {
        "name": name or "LSTM",
        "layers": sizes.L,
        "directions": sizes.D,
        "units": overview.units.tolist(),
        "rows": overview.rows,
        "columns": overview.columns,
        "width": overview.width,
        "every": overview.every,
        "start": overview.start,
        "kept": overview.kept,
        "exact": overview.exact,
        "halfLife": _lives(overview.half_life()),
        "labels": None if labels is None else _labels(overview, labels),
        "about": about(overview, "their mean, their least and their largest"),
        "warning": warning(overview),
    }


def about(overview: Overview, of_many: str | None = None) -> str:
    """Say what is shown, and what is not; `of_many`: what of a column of several steps, None where there are none."""
    sizes = overview.layer.sizes
    counts = [(sizes.L, "layer"), (sizes.D, "direction"), (overview.time, "step"), (overview.B, "row")]
    said = [f"{', '.join(_count(*each) for each in counts)}, {_count(len(overview.units), 'unit')}."]
    if len(overview.units) < sizes.H:
        said.append(f"Of {sizes.H} units these were traced.")
    if overview.every > 1:
        said.append(f"Only one step in {overview.every} was kept: what was between is not in here.")
    first, last = overview.step_of(0), overview.last_step_of(overview.columns - 1)
    if overview.choice.steps is not None:
        said.append(f"Shown are the steps {first} to {last}.")
    if of_many is not None and overview.exact:
        said.append("Every step is a column.")
    elif of_many is not None:
        steps = "steps" if overview.every == 1 else "kept steps"
        said.append(f"A column is {overview.width} {steps}: {of_many}.")
    if overview.reordered:
        said.append("Steps are in the order in which the layer reads; labels are those of what it reads.")
    if len(overview.rows) < overview.B:
        said.append(f"Shown are the rows {', '.join(map(str, overview.rows))} of {overview.B}.")
    if sizes.P:
        said.append("h is o * tanh(c), before the projection.")
    return " ".join(said)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def warning(overview: Overview) -> str:
    """Tell of numbers that are none; empty where there are none."""
    if not overview.unknown:
        return ""
    verb = "is" if overview.unknown == 1 else "are"
    return f"{_count(overview.unknown, 'number')} of the trace {verb} NaN, from {overview.first_unknown} on."


def _lives(lives: Array) -> Any:
    """Return half-lives as JSON has them: null for NaN."""

    def shown(life: Any) -> Any:
        if isinstance(life, list):
            return [shown(each) for each in life]
        return None if np.isnan(life) else "inf" if np.isinf(life) else float(f"{life:.6g}")

    return shown(lives.tolist())


def _labels(overview: Overview, labels: Labels) -> dict[str, Any]:
    if labels.all is not None and not overview.reordered:
        return {"all": labels.columns(overview, overview.rows[0]), "joined": labels.are_letters}
    return {"rows": {row: labels.columns(overview, row) for row in overview.rows}, "joined": labels.are_letters}


def _blocks(overviews: Mapping[str, Overview]) -> Iterator[str]:
    """Write the numbers of each layer, direction and row: what the page shows at a time."""
    for k, overview in enumerate(overviews.values()):
        kinds = ["mean"] if overview.exact else ["mean", "low", "high"]
        named = [(name, kind) for name in GATES for kind in kinds] + [(name, "mean") for name in AMOUNTS]
        arrays = [overview.values(*each) for each in named]
        for layer, direction in np.ndindex(arrays[0].shape[:2]):
            for place, row in enumerate(overview.rows):
                block = _block([array[layer, direction, :, place].T for array in arrays])
                text = base64.b64encode(block).decode("ascii")
                yield _script("text/plain", f"block-{k}-{layer}-{direction}-{row}", text)


def _block(arrays: list[Any]) -> bytes:
    """Pack arrays [K, columns]: the least and the largest of each unit, then whole numbers between them."""
    ends, codes = [], []
    for array in arrays:
        values, over = array.data, np.broadcast_to(np.ma.getmaskarray(array), array.shape)
        sized = np.isfinite(values) & ~over
        low = values.min(axis=1, where=sized, initial=np.inf)
        high = values.max(axis=1, where=sized, initial=-np.inf)
        low, high = np.where(low > high, 0, low), np.where(low > high, 0, high)
        span = np.where(high > low, high.astype(np.float64) - low, 1)
        share = np.where(sized, values - low[:, np.newaxis].astype(np.float64), 0) / span[:, np.newaxis]
        code = np.rint(share * _FULL).astype("<u2")
        for where, sign in ((np.isnan(values), _NAN), (values == np.inf, _PLUS), (values == -np.inf, _MINUS)):
            code[where] = sign
        code[over] = _OVER
        ends.append(np.stack([low, high]).astype("<f4").tobytes())
        codes.append(code.tobytes())
    return b"".join(ends + codes)
