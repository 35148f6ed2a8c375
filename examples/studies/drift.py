"""What becomes of cells that can only add: a candidate between 0 and 1 in the place of one between -1 and 1."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import fastlstm

from .record import Study
from .weights import drawn, inputs


def cells(candidate: str, T: int, H: int, forget_bias: float, seed: int) -> dict[str, Any]:
    """Run an untrained layer on random inputs; return means of |c| and of c over units and rows, now and then."""
    lstm = fastlstm.LSTM(16, H, form=fastlstm.Form(candidate=candidate))
    lstm.load_state_dict(drawn(16, H, forget_bias, seed, np.float32))
    stream = lstm.stream(batch_size=8)
    steps, size, mean = [], [], []
    for t, row in enumerate(inputs(T, 8, 16, seed).astype(np.float32), start=1):
        stream.step(row)
        if t == 1 or t % (T // 50) == 0:
            c = stream.state[1].ravel().tolist()
            steps.append(t)
            size.append(math.fsum(map(abs, c)) / len(c))
            mean.append(math.fsum(c) / len(c))
    return {"step": steps, "size": size, "mean": mean}


STUDY: Study = {
    f"{candidate}, forget bias {bias}": (
        {"candidate": candidate, "T": 500, "H": 32, "forget_bias": float(bias), "seed": 0},
        cells,
    )
    for bias in (1, 3, 6)
    for candidate in ("tanh", "sigmoid")
}
