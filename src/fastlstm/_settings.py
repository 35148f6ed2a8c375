"""What a layer is made with: the arguments of LSTM and LSTMCell, checked, be they given or from a pickle."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from . import _checks, _forms, _isa, _weights
from ._forms import Form
from ._sizes import Sizes, check_memory

#: Each takes names and arrays of its own, so that many more take minutes and gigabytes however small they are.
MOST_LAYERS: Final = 2**16


class Settings(NamedTuple):
    """Fixed, since the packed weights have these sizes; a pickle holds them in this order."""

    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int
    dtype: np.dtype[Any]
    threads: int
    isa: str | None
    form: Form = Form()
    weights: str | None = None

    def sizes(self, *, cell: bool) -> Sizes:
        """Return what the packed weights are made for."""
        directions = 2 if self.bidirectional else 1
        rest = self.bias, self.form.peepholes, cell
        return Sizes(self.input_size, self.hidden_size, self.proj_size, self.num_layers, directions, *rest)

    def __str__(self) -> str:
        """Write as torch writes: sizes, then what is not the default."""
        told = [str(self.input_size), str(self.hidden_size)]
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                told.append(f"{name}={str(value)!r}" if name == "dtype" else f"{name}={value!r}")
        return ", ".join(told)


_DEFAULTS: Final[dict[str, object]] = {
    "proj_size": 0,
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
    "dtype": np.dtype(np.float32),
    "threads": 1,
    "isa": None,
    "form": Form(),
    "weights": None,
}


def of_lstm(s: Settings) -> Settings:
    """Check the settings of an LSTM."""
    dtype = _checks.float_dtype(s.dtype)
    made = Settings(
        input_size=_checks.size(s.input_size, "input_size"),
        hidden_size=_checks.size(s.hidden_size, "hidden_size"),
        num_layers=_checks.size(s.num_layers, "num_layers"),
        bias=_checks.flag(s.bias, "bias"),
        batch_first=_checks.flag(s.batch_first, "batch_first"),
        dropout=_probability(s.dropout),
        bidirectional=_checks.flag(s.bidirectional, "bidirectional"),
        proj_size=_checks.integer(s.proj_size, "proj_size"),
        dtype=dtype,
        threads=_checks.thread_count(s.threads),
        isa=s.isa,
        form=_forms.checked(s.form),
        weights=_weights.checked(s.weights, dtype),
    )
    if made.proj_size < 0:
        raise ValueError(
            f"proj_size should be a positive integer or zero to disable projections, got: {made.proj_size}"
        )
    if made.proj_size >= made.hidden_size:
        raise ValueError(f"proj_size has to be smaller than hidden_size, got: {made.proj_size} and {made.hidden_size}")
    if made.num_layers > MOST_LAYERS:
        raise ValueError(f"num_layers should be at most {MOST_LAYERS}, got: {made.num_layers}")
    _weights.check_sizes(made.weights, made.input_size, made.hidden_size * (2 if made.bidirectional else 1))
    _isa.resolve(made.isa)
    check_memory(4 * made.num_layers * made.hidden_size)  # before there is a name for every layer
    return made


def of_cell(s: Settings) -> Settings:
    """Check the settings of an LSTMCell."""
    _isa.resolve(s.isa)
    fixed = s.num_layers, s.batch_first, s.dropout, s.bidirectional, s.proj_size, s.threads
    if fixed != (1, False, 0.0, False, 0, 1):
        raise ValueError("these are not the settings of a fastlstm.LSTMCell")
    dtype = _checks.float_dtype(s.dtype)
    made = s._replace(
        input_size=_checks.size(s.input_size, "input_size"),
        hidden_size=_checks.size(s.hidden_size, "hidden_size"),
        bias=_checks.flag(s.bias, "bias"),
        dtype=dtype,
        form=_forms.checked(s.form),
        weights=_weights.checked(s.weights, dtype),
    )
    _weights.check_sizes(made.weights, made.input_size, made.hidden_size)
    return made


def _probability(dropout: object) -> float:
    if not _checks.is_number(dropout) or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an element being zeroed, "
            f"got: {dropout!r}"
        )
    return float(dropout)
