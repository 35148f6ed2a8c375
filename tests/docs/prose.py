"""Sentences of a page: without code, tables, headings and pictures."""

import re
from collections.abc import Iterator

_FENCED = re.compile(r"^( *)(```+|~~~+).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^<(figure|div|svg|script|details)\b.*?^</\1>", re.MULTILINE | re.DOTALL)
_NOT_PROSE = re.compile(r"^ {4,}(?![-*\d ])|^#|^ *\||^!\[|^<!--|^:::|^---|^ {8}")
_ITEM = re.compile(r"^ *([-*]|\d+\.) +")
_END = re.compile(r"(?<=[.!?])[)\"*_]*\s+(?=[^a-z])")
_ABBREVIATED = re.compile(r"\b(?:e\.g|i\.e|vs|etc)\.$")
_WORD = re.compile(r"[^\W_]+(?:[.,'/*^+-][^\W_]+)*")


def sentences(text: str) -> Iterator[str]:
    """Split a page's prose; a colon before a list or code ends a sentence, code within one is a word."""
    text = _BLOCK.sub("\n", _FENCED.sub("\n\n", text))
    for paragraph in _paragraphs(text):
        plain = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", paragraph)
        plain = re.sub(r"<[^>]+>", "", re.sub(r"``?[^`]+``?", "Code", plain)).replace("**", "")
        parts = [""]
        for part in _END.split(plain):
            joined = f"{parts.pop()} {part}".strip()
            parts.append(joined)
            if not _ABBREVIATED.search(joined):
                parts.append("")
        yield from (part for part in parts if words(part))


def words(sentence: str) -> int:
    """Count words; a formula's signs are none."""
    return len(_WORD.findall(sentence))


def _paragraphs(text: str) -> Iterator[str]:
    """Join the lines of paragraphs and of items of lists."""
    made: list[str] = []
    for line in [*text.splitlines(), ""]:
        begins = _ITEM.match(line)
        if (begins or not line.strip() or _NOT_PROSE.match(line)) and made:
            yield " ".join(made)
            made = []
        if line.strip() and not (_NOT_PROSE.match(line) and not begins):
            made.append(_ITEM.sub("", line).strip())
