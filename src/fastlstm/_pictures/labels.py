"""Names of steps: characters, tokens, frames; one list for all rows, or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from .overview import Overview

_LONGEST: Final = 100  # letters of a label that are kept
_LONGEST_JOINED: Final = 24  # letters of a column of many steps


class Labels(NamedTuple):
    """What the steps of a call are called."""

    all: list[str] | None
    rows: list[list[str]] | None

    def of_row(self, row: int) -> list[str]:
        """Return those of a row."""
        if self.all is not None:
            return self.all
        assert self.rows is not None  # one of the two
        return self.rows[row]

    @property
    def are_letters(self) -> bool:
        """Whether they are read as one text."""
        return all(
            len(label) == 1 for part in ([self.all] if self.all is not None else self.rows or []) for label in part
        )

    def columns(self, overview: Overview, row: int) -> list[str]:
        """Return one for each column: of many steps, how they begin."""
        own, gap, times, width = self.of_row(row), "" if self.are_letters else " ", overview.times(row), overview.width
        texts = [
            [_at(own, time) for time in times[k : k + min(width, _LONGEST_JOINED)]] for k in range(0, len(times), width)
        ]
        return [text[0] if overview.exact else _joined(text, gap) for text in texts]


def checked_labels(labels: object, overview: Overview, lengths: Sequence[int], of: str = "") -> Labels | None:
    """Check names of all steps; rows may have as many as their length instead, and some readers skip steps."""
    T = overview.time
    if labels is None:
        return None
    if isinstance(labels, str):
        labels = list(labels)
    elif isinstance(labels, np.ndarray):
        labels = labels.tolist()
    if not isinstance(labels, list | tuple):
        raise TypeError(f"labels should be a text or a list of {T} names, got: {type(labels).__name__}")
    if labels and all(isinstance(row, list | tuple) for row in labels):
        return Labels(None, _of_rows(labels, overview, lengths, of))
    if len(labels) != T and not (overview.reordered and len(labels) > T):
        raise ValueError(f"labels should be one for each of {T} steps{of}, got: {len(labels)}")
    return Labels([_text(label) for label in labels], None)


def _of_rows(labels: Sequence[Any], overview: Overview, lengths: Sequence[int], of: str) -> list[list[str]]:
    T = overview.time
    if len(labels) != len(lengths):
        raise ValueError(f"labels should be one list for each of {len(lengths)} rows{of}, got: {len(labels)}")
    for row, (given, length) in enumerate(zip(labels, lengths, strict=True)):
        if len(given) not in (T, length) and not (overview.reordered and len(given) > length):
            steps = f"{length} steps" if length == T else f"{length} steps, or {T} with those past its end"
            raise ValueError(f"labels of row {row} should be one for each of {steps}{of}, got: {len(given)}")
    return [[_text(label) for label in given] for given in labels]


def _text(label: object) -> str:
    text = str(label)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _at(labels: list[str], step: Any) -> str:
    return labels[step] if step < len(labels) else ""  # past the end of a row


def _joined(labels: list[str], gap: str) -> str:
    text = gap.join(label for label in labels if label)
    return text if len(text) <= _LONGEST_JOINED else f"{text[: _LONGEST_JOINED - 1]}…"
