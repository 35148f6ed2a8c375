"""What cells of a published character model (textgenrnn 2.0.0, the demo's) keep, add and take away along a sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from textgen import texts

from .gates import amounts_of, gates_of
from .published import published_model
from .record import Study


def balance(line: int, units: int) -> dict[str, Any]:
    """Follow units of the first layer along a line of the Zen of Python: those of which most is taken away.

    Most is meant beside the largest size that the unit's cell has. They are told in the order of their half-lives.
    """
    text = texts.zen()[line]
    numbers = texts.encode(text, published_model().vocabulary)[0][: len(text) + 1]
    gates = gates_of(published_model().lstm_1, published_model().embedding[np.array(numbers)[:, np.newaxis]])
    amounts = {name: array[:, 0].T for name, array in amounts_of(gates)._asdict().items()}
    largest = np.abs(gates.c[:, 0].T).max(axis=1, keepdims=True)
    shares = [math.fsum(row) for row in (amounts["taken"] / largest).tolist()]
    rates = [math.fsum(-math.log(f) for f in column) / len(column) for column in gates.f[:, 0].T.tolist()]
    most = sorted(range(len(shares)), key=lambda unit: -shares[unit])[:units]
    most.sort(key=lambda unit: rates[unit])
    return {
        "text": ["^", *text],
        "unit": most,
        "half_life": [round(math.log(2) / rates[unit], 2) for unit in most],
        **{name: [[round(each, 4) for each in row] for row in a[most].tolist()] for name, a in amounts.items()},
    }


STUDY: Study = {"balance": ({"line": 1, "units": 6}, balance)}
