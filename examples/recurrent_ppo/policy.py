"""A recurrent policy whose sequences are one call each, whatever episodes start in them."""

from __future__ import annotations

from typing import Any

import torch
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from torch import Tensor, nn

import fastlstm.torch


class OneCallPolicy(RecurrentActorCriticPolicy):
    """MlpLstmPolicy on fastlstm, with `resets=` where an episode starts.

    The library's own policy calls the LSTM once for every step as soon as one episode starts in a minibatch, which in
    training is nearly always: the state has to be zeroed in between. Here the LSTM does that by itself.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        fastlstm.torch.accelerate(self)

    @staticmethod
    def _process_sequence(
        features: Tensor, lstm_states: tuple[Tensor, Tensor], episode_starts: Tensor, lstm: nn.LSTM
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run features [B * T, I] from states [L, B, H]; zero them where episode_starts [B * T] says so."""
        rows = lstm_states[0].shape[1]
        x = features.reshape(rows, -1, lstm.input_size).transpose(0, 1)
        starts = episode_starts.reshape(rows, -1).transpose(0, 1) != 0
        output, states = lstm(x, lstm_states, resets=starts if torch.any(starts) else None)
        return output.transpose(0, 1).flatten(0, 1), states
