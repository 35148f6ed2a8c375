"""The text to score, and the way from characters to the model's windows.

The default text is the Zen of Python (Tim Peters). It is real English that reads well, it is inside every Python, on
any machine and without a network, and so nothing has to be committed. It also suits the model, which was trained on
short texts (submissions to a forum): each line of it is one text, with "<s>" before and after.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import re
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

WINDOW = 40  # characters that the model sees at once: it was trained so, and knows no longer past
EDGE = "<s>"  # begins and ends a text
PADDING = 0  # fills the window to the left of a text's beginning


def zen() -> list[str]:
    """Return the Zen of Python, line by line, without printing it."""
    with contextlib.redirect_stdout(io.StringIO()):  # the module prints itself when it is imported
        import this
    return [line for line in codecs.decode(this.s, "rot13").splitlines() if line]


def paragraphs(text: str) -> list[str]:
    """Cut a text at its blank lines; inside, a line's end is a space (the model knows no line ends)."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def encode(text: str, vocabulary: Mapping[str, int]) -> tuple[list[int], int]:
    """Turn a text and its edges into numbers, without the characters that the model does not know; count these."""
    known = [vocabulary[character] for character in text if character in vocabulary]
    return [vocabulary[EDGE], *known, vocabulary[EDGE]], len(text) - len(known)


def window(numbers: list[int]) -> Numbers:
    """Cut the last 40 numbers, padded on the left: what the model sees before it names the next character."""
    seen = numbers[-WINDOW:]
    return np.array([PADDING] * (WINDOW - len(seen)) + seen, dtype=np.int64)


def questions(encoded: Iterable[list[int]]) -> tuple[Numbers, Numbers]:
    """Make each position of each text a question: windows [N, 40], and the character that did come next [N]."""
    asked = [(window(numbers[:end]), numbers[end]) for numbers in encoded for end in range(1, len(numbers))]
    return (
        np.array([shown for shown, _ in asked], dtype=np.int64).reshape(-1, WINDOW),
        np.array([answer for _, answer in asked], dtype=np.int64),
    )
