"""What the tests of pictures share: traces, and what a page holds, read back."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

import fastlstm

I, H = 4, 6
GATES = ("i", "f", "g", "o", "c", "h")
AMOUNTS = ("kept", "forgotten", "added", "taken")
FULL, OVER, MINUS, PLUS, NAN = 65000, 65532, 65533, 65534, 65535


def x(T: int, B: int = 1, seed: int = 0) -> np.ndarray:
    """Return inputs [T, B, I]."""
    return np.random.default_rng(seed).standard_normal((T, B, I)).astype(np.float32)


def layer(**options: Any) -> fastlstm.LSTM:
    """Return a layer that writes and forgets."""
    return fastlstm.LSTM(I, H, seed=0, forget_bias=2.0, **options)


class Page:
    """A page, read back."""

    def __init__(self, path: Path) -> None:
        self.text = path.read_text(encoding="utf-8")
        self.scripts = dict(re.findall(r'<script type="[a-z/]+" id="([\w-]+)">([^<]*)</script>', self.text))
        self.data = json.loads(self.scripts["data"])
        self.entries = self.data["entries"]

    def numbers(self, name: str, kind: str, entry: int = 0, layer: int = 0, direction: int = 0, row: int = 0) -> Any:
        """Return [columns, K]: a masked array, masked where the row is over."""
        about = self.entries[entry]
        kinds = ("mean",) if about["exact"] else ("mean", "low", "high")
        named = [(gate, each) for gate in GATES for each in kinds] + [(amount, "mean") for amount in AMOUNTS]
        K, N, k = len(about["units"]), about["columns"], named.index((name, kind))
        block = base64.b64decode(self.scripts[f"block-{entry}-{layer}-{direction}-{row}"])
        assert len(block) == len(named) * (8 * K + 2 * K * N)
        low, high = np.frombuffer(block, "<f4", 2 * K, 8 * K * k).reshape(2, K, 1).astype(np.float64)
        codes = np.frombuffer(block, "<u2", K * N, 8 * K * len(named) + 2 * k * K * N).reshape(K, N)
        values = low + codes / FULL * (high - low)
        for code, value in ((MINUS, -np.inf), (PLUS, np.inf), (NAN, np.nan)):
            values[codes == code] = value
        return np.ma.masked_array(values, codes == OVER).T
