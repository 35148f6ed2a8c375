"""Resemblyzer's voice encoder: mel frames -> three layers -> one vector for each voice."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .published import Wheel
from .sound import BANDS

# Apache License 2.0.
WHEEL = Wheel(
    "resemblyzer",
    "0.1.4",
    "Resemblyzer-0.1.4-py3-none-any.whl",
    "8f12eb2f1a9982d32e8db7856de754709b59c93a77bcf0ff536584b619a9dd1f",
    "resemblyzer/pretrained.pt",
)


class VoiceEncoder(nn.Module):
    """The published model, under the names that its parameters have in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(BANDS, 256, num_layers=3, batch_first=True)
        self.linear = nn.Linear(256, 256)

    def forward(self, frames: Tensor) -> Tensor:
        """Turn windows of mel frames [B, T, 40] into vectors [B, 256] of length 1."""
        _, (h_n, _) = self.lstm(frames)
        return nn.functional.normalize(torch.relu(self.linear(h_n[-1])))


def load() -> VoiceEncoder:
    """Return the published model, ready to answer; fetched if need be."""
    state = WHEEL.weights()["model_state"]
    model = VoiceEncoder()
    # Two numbers of the training's loss are in the file as well.
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return model.eval()


def similarity(vectors: Tensor, others: Tensor) -> float:
    """Compare two voices by the cosine between the means of their vectors [B, 256]."""
    return float(nn.functional.cosine_similarity(vectors.mean(0), others.mean(0), dim=0))
