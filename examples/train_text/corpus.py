"""The text: sources of Python's standard library, as numbers, and the chunks that training reads of it.

They are real text on any machine that can run this, without a network. The modules are single files of plain Python
that every CPython from 3.11 on has, in alphabetical order. Some more are held out, to see whether what was learned is
Python or only these files. Releases of Python edit their modules: the text is the same only for the same release.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

TRAINING_MODULES = (
    "argparse",
    "calendar",
    "contextlib",
    "csv",
    "dataclasses",
    "fractions",
    "functools",
    "heapq",
    "random",
)
HELD_OUT_MODULES = ("shlex", "statistics", "textwrap")
MOST_CHARACTERS = 500_000  # of either; what future releases add beyond this is not read

# Fixed, so that a model does not depend on which characters its text happens to have.
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
_NUMBER = {character: number for number, character in enumerate(ALPHABET)}


class CorpusError(Exception):
    """A source is not on this machine; the message says which."""


def read(modules: tuple[str, ...]) -> Numbers:
    """Return the sources, one after the other; the few characters that the alphabet lacks are left out."""
    return encode("\n".join(_source(module) for module in modules))[:MOST_CHARACTERS]


def _source(module: str) -> str:
    spec = find_spec(module)
    try:
        # The loader's own way finds a source in a zip archive as well.
        source: str | None = getattr(spec and spec.loader, "get_source")(module)  # noqa: B009  mypy: not all loaders have it
    except (AttributeError, OSError):
        source = None
    if source is None:
        raise CorpusError(f"This Python came without the source of its module {module!r}; a full installation has it.")
    return source.expandtabs()


def encode(text: str) -> Numbers:
    """Turn characters into numbers, leaving out those that the alphabet lacks."""
    return np.array([_NUMBER[character] for character in text if character in _NUMBER], np.int64)


def digest(text: Numbers) -> str:
    """Tell two texts apart."""
    return hashlib.sha256(text.astype(np.uint8).tobytes()).hexdigest()[:16]


@dataclass(frozen=True)
class Pass:
    """One reading of the text by B readers side by side, each with its own stretch of it, T characters at a time."""

    text: Numbers
    rows: int  # B
    steps: int  # T
    offset: int  # where the first reader begins

    @property
    def chunks(self) -> int:
        """How many chunks each reader has."""
        return (len(self.text) - 1 - self.offset) // (self.rows * self.steps)

    def chunk(self, index: int) -> tuple[Numbers, Numbers]:
        """Return what is read, [T, B], and the characters that come next, [T, B]."""
        begins = self.offset + self.steps * (self.chunks * np.arange(self.rows) + index)
        places = begins + np.arange(self.steps)[:, None]
        return self.text[places], self.text[places + 1]
