"""A user's program with torch, to be type-checked. An expected error that is not reported is an error."""

from typing import assert_type

import torch
from torch.nn.utils.rnn import PackedSequence

import fastlstm.torch

States = tuple[torch.Tensor, torch.Tensor]


def run(x: torch.Tensor, packed: PackedSequence, model: torch.nn.Module) -> None:
    """Modules in the place of torch's."""
    lstm = fastlstm.torch.LSTM(3, 4, num_layers=2, threads=2)
    assert_type(lstm(x), tuple[torch.Tensor, States])
    output, states = lstm(x, lengths=[3, 1])
    lstm(output, states)
    assert_type(lstm(packed), tuple[PackedSequence, States])
    assert_type(lstm.fallback, str | None)
    cell = fastlstm.torch.LSTMCell(3, 4)
    assert_type(cell(x), States)
    made = fastlstm.torch.accelerate(model)
    assert_type(made.swapped, list[str])
    fastlstm.torch.restore(model)
    lstm(x, length=[3])  # type: ignore[call-arg]
    fastlstm.torch.acelerate(model)  # type: ignore[attr-defined]
