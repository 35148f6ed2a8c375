"""Flat names as torch's modules give them, `encoder.lstm.weight_ih_l0`, -> layers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from ._layer import Layer, layer_of
from ._stored import Stored

_NAME = re.compile(
    r"(?:(?P<prefix>.*)[./])?(?P<name>weight_ih|weight_hh|weight_hr|weight_ph|bias_ih|bias_hh)(?P<suffix>_l\d+(?:_reverse)?)?",
    re.DOTALL,
)


def layers(tensors: Mapping[str, Stored], format: str) -> Iterator[Layer]:
    """Yield what belongs together: all layers and directions of an LSTM, or one LSTMCell."""
    groups: dict[tuple[str, bool], dict[str, Stored]] = defaultdict(dict)
    for full, stored in tensors.items():
        if found := _NAME.fullmatch(full):
            is_cell = found["suffix"] is None
            groups[found["prefix"] or "", is_cell][found["name"] + (found["suffix"] or "_l0")] = stored
    for (prefix, is_cell), parameters in groups.items():
        yield layer_of(prefix, "LSTMCell" if is_cell else "LSTM", format, parameters)
