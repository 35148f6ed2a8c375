"""The units of a published character model (textgenrnn 2.0.0, the demo's), on the Zen of Python."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from textgen import texts, weights

import fastlstm

from .gates import Array, Gates, amounts_of, gates_of
from .record import Study

LAYERS = ("lstm_1", "lstm_2")


@functools.cache
def published_model() -> weights.Weights:
    """Return the model's weights, read once."""
    return weights.published()


@functools.cache
def _text() -> tuple[Array, Array]:
    """Return every window of the text as the first layer reads it, and which steps read a character, not padding."""
    encoded = [texts.encode(line, published_model().vocabulary)[0] for line in texts.zen()]
    windows = np.ascontiguousarray(texts.questions(encoded)[0].T)
    return published_model().embedding[windows], windows != texts.PADDING


@functools.cache
def _steps(layer: str) -> tuple[Gates, Array]:
    """Return the gates of a layer in every step of every window, and which steps count."""
    x, read = _text()
    if layer == "lstm_2":
        below = fastlstm.LSTM(x.shape[2], published_model().lstm_1["weight_hh_l0"].shape[1])
        below.load_state_dict(published_model().lstm_1)
        x = below(x)[0]
    return gates_of(getattr(published_model(), layer), x), read


def writes(layer: str, nothing: list[float]) -> dict[str, Any]:
    """Count steps of units that write less than so much: by i * g, and what g alone would have written."""
    gates, read = _steps(layer)
    i, g = gates.i[read], gates.g[read]
    written = np.abs(i * g)
    return {
        "windows": read.shape[1],
        "steps": int(written.size),
        "by_product": [int((written < each).sum()) for each in nothing],
        "by_tanh_alone": [int((np.abs(g) < each).sum()) for each in nothing],
        "switch_shut": [int((i < each).sum()) for each in nothing],
        "shut_before_a_loud_candidate": int(((i < 0.1) & (np.abs(g) > 0.9)).sum()),
        "loud_candidate": int((np.abs(g) > 0.9).sum()),
    }


def regions(layer: str) -> dict[str, Any]:
    """Count what steps do to cells: five cases that exclude each other, a gate being open from 1/2 on."""
    gates, read = _steps(layer)
    i, f, g, before = (array[read] for array in (gates.i, gates.f, gates.g, gates.before))
    opens, keeps, against = i >= 0.5, f >= 0.5, g * before < 0
    return {
        "keep": int((keeps & ~opens).sum()),
        "add": int((keeps & opens & ~against).sum()),
        "take": int((keeps & opens & against).sum()),
        "forget": int((~keeps & ~opens).sum()),
        "replace": int((~keeps & opens).sum()),
        "steps": int(i.size),
    }


def matrices(layer: str) -> dict[str, Any]:
    """Compare the rows of W_i and W_g that meet in one unit: cosines of the angle between them, sorted."""
    made = []
    sd = getattr(published_model(), layer)
    joined = np.concatenate([sd["weight_ih_l0"], sd["weight_hh_l0"]], axis=1).astype(np.float64)
    H = len(joined) // 4
    for a, b in zip(joined[:H].tolist(), joined[2 * H : 3 * H].tolist(), strict=True):
        squares = math.fsum(p * p for p in a) * math.fsum(q * q for q in b)
        made.append(math.fsum(p * q for p, q in zip(a, b, strict=True)) / math.sqrt(squares))
    return {"cosine": sorted(made)}


def history(line: int, units: int) -> dict[str, Any]:
    """Follow the units of the first layer of which most is taken away, along a line of the text."""
    model = published_model()
    text = texts.zen()[line]
    numbers = texts.encode(text, model.vocabulary)[0][: len(text) + 1]
    x = model.embedding[np.array(numbers)[:, np.newaxis]]
    gates = gates_of(model.lstm_1, x)
    written = gates.i * gates.g
    totals = [math.fsum(column) for column in amounts_of(gates).taken[:, 0].T.tolist()]
    most = sorted(range(len(totals)), key=lambda unit: -totals[unit])[:units]
    return {
        "text": ["^", *text],
        "unit": most,
        "c": gates.c[:, 0, most].T.tolist(),
        "kept": (gates.f * gates.before)[:, 0, most].T.tolist(),
        "written": written[:, 0, most].T.tolist(),
        "f": gates.f[:, 0, most].T.tolist(),
    }


STUDY: Study = {
    **{f"writes, {layer}": ({"layer": layer, "nothing": [0.01, 0.05, 0.1]}, writes) for layer in LAYERS},
    **{f"regions, {layer}": ({"layer": layer}, regions) for layer in LAYERS},
    **{f"matrices, {layer}": ({"layer": layer}, matrices) for layer in LAYERS},
    "history": ({"line": 3, "units": 1}, history),
}
