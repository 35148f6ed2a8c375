"""naampy's model of first names: characters -> two bidirectional layers over packed lengths -> how likely a woman's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from .published import Wheel

# MIT licence.
WHEEL = Wheel(
    "naampy",
    "0.8.0",
    "naampy-0.8.0-py3-none-any.whl",
    "3fa084e5050598639ebbd0517803c842cbff984a57f9f054e8a2eb7f4f355a6d",
    "naampy/model/gender_lstm.pt",
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"  # 1 to 26; 0 fills what is past a name's end

WOMEN = ("priya", "anjali", "lakshmi", "sunita", "kavita", "deepika", "meenakshi", "rekha")
MEN = ("rahul", "amit", "rajesh", "suresh", "vijay", "arjun", "venkateshwaran", "ramesh")


class NameModel(nn.Module):
    """The published model, under the names that its parameters have in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1 + len(LETTERS), 64, padding_idx=0)
        self.lstm = nn.LSTM(64, 256, num_layers=2, batch_first=True, bidirectional=True, dropout=0.2)
        self.fc = nn.Linear(512, 1)

    def forward(self, letters: Tensor, lengths: Tensor) -> Tensor:
        """Turn letters [B, T] and lengths [B] into logits [B]."""
        packed = pack_padded_sequence(self.embedding(letters), lengths, batch_first=True, enforce_sorted=False)
        _, (h_n, _) = self.lstm(packed)
        return self.fc(torch.cat([h_n[2], h_n[3]], dim=1))[:, 0]  # the upper layer, forward and reverse


def load() -> NameModel:
    """Return the published model, ready to answer; fetched if need be."""
    model = NameModel()
    model.load_state_dict(WHEEL.weights())
    return model.eval()


def encode(names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Turn names of small letters into letters [B, T] and lengths [B]."""
    rows = [torch.tensor([1 + LETTERS.index(letter) for letter in name]) for name in names]
    return pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])
