"""What a place in Python code is, told by the tokenizer and by counting, with nothing of a model."""

from __future__ import annotations

import io
import tokenize

import numpy as np
from numpy.typing import NDArray

Labels = dict[str, NDArray[np.int64]]


def of_code(text: str) -> Labels:
    """Return a number for each character: what is true once it has been read.

    quoted      1 from the quote that opens a string within a line to the last character before the one that closes it
    docstring   the same for strings that go on over lines
    comment     1 from # to the end of the line
    brackets    how many are open
    indent      how many blanks the line began with, so far
    column      where in the line
    word        1 for letters, digits and _
    newline     1 for the end of a line
    """
    made = {name: np.zeros(len(text), np.int64) for name in ("quoted", "docstring", "comment", "brackets")}
    lines = np.cumsum([0, *map(len, text.splitlines(keepends=True))])
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        first, last = (int(lines[row - 1]) + column for row, column in (token.start, token.end))
        if token.type == tokenize.STRING:
            made["quoted" if token.start[0] == token.end[0] else "docstring"][first : last - 1] = 1
        elif token.type == tokenize.COMMENT:
            made["comment"][first:last] = 1
        elif token.type == tokenize.OP and token.string in "()[]{}":
            made["brackets"][first:] += 1 if token.string in "([{" else -1
    return made | _by_lines(text)


def _by_lines(text: str) -> Labels:
    made: dict[str, list[int]] = {"indent": [], "column": [], "word": [], "newline": []}
    for line in text.splitlines(keepends=True):
        blanks = len(line) - len(line.lstrip(" "))
        for column, character in enumerate(line):
            made["indent"].append(min(column + 1, blanks))
            made["column"].append(column)
            made["word"].append(character.isalnum() or character == "_")
            made["newline"].append(character == "\n")
    return {name: np.array(values, np.int64) for name, values in made.items()}


def of_words(text: str) -> Labels:
    """Return the same of English that has quotes and parentheses, which do not nest.

    quoted, parenthesis   1 from the mark that opens to the last character before the one that closes
    column                how many characters are before
    word                  1 for letters
    blank                 1 for a blank
    """
    made: dict[str, list[int]] = {name: [] for name in ("quoted", "parenthesis", "column", "word", "blank")}
    quoted = parenthesis = False
    for column, character in enumerate(text):
        quoted ^= character == '"'
        parenthesis = character == "(" or (parenthesis and character != ")")
        made["quoted"].append(quoted)
        made["parenthesis"].append(parenthesis)
        made["column"].append(column)
        made["word"].append(character.isalpha())
        made["blank"].append(character == " ")
    return {name: np.array(values, np.int64) for name, values in made.items()}
