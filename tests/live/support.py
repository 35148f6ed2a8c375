"""What the tests of sessions and of windows share: kinds of layers."""

from typing import Any

import fastlstm

KINDS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "a stack": {"num_layers": 3},
    "a projection": {"num_layers": 2, "proj_size": 11},
    "another form": {"form": fastlstm.Form(gate="hard_sigmoid", peepholes=True)},
}
I, H = 5, 33


def layer(dtype: str = "float32", **options: Any) -> fastlstm.LSTM:
    """Return a layer that has the same weights for the same sizes."""
    return fastlstm.LSTM(I, H, dtype=dtype, seed=7, **options)
