"""Flat names as torch's modules give them, `encoder.lstm.weight_ih_l0`, -> layers."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from .._integers import SCALE, ZERO_POINT
from ._layer import Layer, layer_of
from ._own import Described, Told
from ._parametrized import resolved
from ._stored import Stored

_PREFIX = r"(?:(?P<prefix>.*)[./])?"
_OWN = r"(?P<name>weight_ih|weight_hh|weight_hr|weight_ph|bias_ih|bias_hh)(?P<suffix>_l\d+(?:_reverse)?)?"
_NAME = re.compile(rf"{_PREFIX}{_OWN}(?:_(?P<part>g|v|u|orig|mask|raw|scale|zero_point))?", re.DOTALL)
_PARAMETRIZED = re.compile(rf"{_PREFIX}parametrizations\.{_OWN}\.(?P<part>.+)", re.DOTALL)


def layers(
    tensors: Mapping[str, Stored],
    format: str,
    modules: Mapping[str, Mapping[Any, Any]] | None = None,
    own: Described | None = None,
) -> Iterator[Layer]:
    """Yield what belongs together: all layers and directions of an LSTM, or one LSTMCell.

    `modules` are the attributes of modules by their names, `own` what `save` tells, where a file has them.
    """
    groups: dict[tuple[str, bool], dict[str, dict[str, Stored]]] = defaultdict(lambda: defaultdict(dict))
    for full, stored in tensors.items():
        if found := _NAME.fullmatch(full) or _PARAMETRIZED.fullmatch(full):
            is_cell = found["suffix"] is None
            group = groups[found["prefix"] or "", is_cell]
            group[found["name"] + (found["suffix"] or "_l0")][found["part"] or ""] = stored
    _move_raw(groups)
    for (prefix, is_cell), kept in groups.items():
        parameters: dict[str, Stored] = {}
        problem = ""
        for name, parts in kept.items():
            try:
                parameters |= _parameters(name, parts)
            except ValueError as error:
                problem = problem or str(error)
        told = (own or {}).get(prefix) or Told(options=module_options((modules or {}).get(prefix, {})))
        form, options, weights = told
        kind = "LSTMCell" if is_cell else "LSTM"
        yield layer_of(prefix, kind, format, parameters, form=form, options=options, problem=problem, weights=weights)


def _parameters(name: str, parts: Mapping[str, Stored]) -> dict[str, Stored]:
    """Return a parameter of its parts, with the scales and zero points of integers beside it."""
    beside = {f"_{part}": stored for part, stored in parts.items() if f"_{part}" in (SCALE, ZERO_POINT)}
    others = {part: stored for part, stored in parts.items() if f"_{part}" not in beside}
    made = {name: resolved(name, others)} if others else {}
    return made | {f"{name}{end}": stored for end, stored in beside.items()}


def _move_raw(groups: dict[tuple[str, bool], dict[str, dict[str, Stored]]]) -> None:
    """Give weights under dropout to the LSTM that they are of: they lie around it, and it has a copy full of holes."""
    for prefix, is_cell in list(groups):
        inner = groups.get((f"{prefix}.module" if prefix else "module", is_cell))
        kept = groups[prefix, is_cell]
        if inner is not None and all(set(parts) == {"raw"} for parts in kept.values()):
            for name, parts in groups.pop((prefix, is_cell)).items():
                inner[name] |= parts


def module_options(module: Mapping[Any, Any]) -> dict[str, bool | float]:
    """Tell what a module says beside its weights."""
    batch_first, dropout = module.get("batch_first"), module.get("dropout")
    options: dict[str, bool | float] = {}
    if isinstance(batch_first, bool):
        options["batch_first"] = batch_first
    if isinstance(dropout, int | float) and 0 <= dropout <= 1:
        options["dropout"] = float(dropout)
    return options
