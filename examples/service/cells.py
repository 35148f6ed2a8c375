"""What the LSTM's cells did in a frame, as bytes, for clients that draw them: a byte for each of four amounts.

A cell's step is c' = f c + i g. Kept is |f c|; added and taken are what i g makes |c| larger and smaller by; the rate
is -ln f, at which the cell is forgotten.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import fastlstm

MOST = 256  # frames that a client may ask for at once
PER_OCTAVE = 14  # steps of a byte to a factor of two
LOWEST = {"kept": -8, "added": -8, "taken": -8, "rate": -16}  # powers of two, written as 1; what is less is 0


class BadMessageError(Exception):
    """A client's text is no message; the reason closes the WebSocket."""


def asked(text: str) -> int:
    """Read a client's message: how many of its next frames are to come with their cells."""
    try:
        match json.loads(text):
            case {"cells": int(count), **rest} if not rest and not isinstance(count, bool) and 0 <= count <= MOST:
                return count
    except (ValueError, RecursionError):
        pass
    # 123 bytes are all that a reason may have
    raise BadMessageError(f'expected samples, or {{"cells": N}} with N in 0..{MOST}, got {ascii(text[:24])[:50]}')


def told(trace: fastlstm.GateTrace[Any]) -> list[bytes]:
    """Return for each row of a trace of one step what its cells did: kept, added, taken, rate, of all units each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        amounts = [trace.kept, trace.added, trace.taken, -np.log(trace.f)]
        octaves = [np.log2(amount[0, 0, 0]) - low for amount, low in zip(amounts, LOWEST.values(), strict=True)]
        numbers = np.nan_to_num(1 + PER_OCTAVE * np.stack(octaves, axis=1), nan=0)  # [rows, 4, units]
    return [row.tobytes() for row in np.rint(np.clip(numbers, 0, 255)).astype(np.uint8)]
