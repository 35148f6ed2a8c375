"""One unit: a switch times an update, beside an update alone, over the plane of their two pre-activations."""

from __future__ import annotations

from typing import Any

import numpy as np

import fastlstm

from .record import Study


def curves(most: float, steps: int) -> dict[str, Any]:
    """Return sigmoid and tanh at 2 steps + 1 places from -most to most."""
    z = (np.arange(-steps, steps + 1) * (most / steps)).astype(np.float32)
    return {"z": z.tolist(), "sigmoid": fastlstm.sigmoid(z).tolist(), "tanh": fastlstm.tanh(z).tolist()}


def _grid(most: float, steps: int) -> Any:
    """Return the middles of 2 steps equal parts of -most to most."""
    return ((np.arange(2 * steps) - steps + 0.5) * (most / steps)).astype(np.float32)


def plane(most: float, steps: int) -> dict[str, Any]:
    """Compute sigmoid(a) tanh(b) on a grid of a (columns) and b (rows), and tanh(b)."""
    z = _grid(most, steps)
    switch, update = fastlstm.sigmoid(z), fastlstm.tanh(z)
    product = switch[np.newaxis, :] * update[:, np.newaxis]
    return {"z": z.tolist(), "product": product.tolist(), "tanh": update.tolist()}


def volume(most: float, steps: int, nothing: float) -> dict[str, Any]:
    """Count the places of a grid where less than so much is written: by the product, and by the tanh alone."""
    z = _grid(most, steps)
    switch, update = fastlstm.sigmoid(z), np.abs(fastlstm.tanh(z))
    return {
        "product": sum(int((each * update < nothing).sum()) for each in switch),
        "tanh": int((update < nothing).sum()) * 2 * steps,
        "places": 4 * steps * steps,
    }


MOST = (3, 6, 12, 24, 48)

STUDY: Study = {
    "curves": ({"most": 6.0, "steps": 48}, curves),
    "plane": ({"most": 6.0, "steps": 12}, plane),
    **{f"volume, {most}": ({"most": float(most), "steps": 4800, "nothing": 0.05}, volume) for most in MOST},
}
