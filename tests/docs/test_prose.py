"""Pages read easily: sentences of at most 25 words, on average 15 or fewer, code, tables and headings aside."""

import statistics

import pytest

from tests.docs.prose import sentences, words
from tests.support import ROOT

LONGEST, MEAN = 25, 15
PAGES = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
if not (ROOT / "docs").exists():
    pytest.skip("not in a source tree", allow_module_level=True)


def faults(text: str) -> list[str]:
    """Say which sentences are too long, and whether they are on average."""
    counted = [(words(each), each) for each in sentences(text)]
    told = [f"{count} words: {each}" for count, each in counted if count > LONGEST]
    mean = statistics.mean(count for count, _ in counted) if counted else 0
    return told + [f"{mean:.1f} words in a sentence on average"] * (mean > MEAN)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_sentences_are_short(page):
    found = faults(page.read_text(encoding="utf-8"))
    assert not found, "\n".join(found)


TEXT = """# A heading. It is no sentence

One sentence, e.g. with `a. b()` in it. Another one
over two lines, with [a link](to/a.page); no end!

- an item
- **Another.** With two. And a colon:

```python
code. is. none()
```

    nor = this

| nor | a table. |
|---|---|

![nor a picture. at all](x.svg)

Version 1.5 costs 3.2 us. The last one
"""


def test_what_a_sentence_is():
    assert [(words(each), each[:9]) for each in sentences(TEXT)] == [
        (7, "One sente"),
        (10, "Another o"),
        (2, "an item"),
        (1, "Another."),
        (2, "With two."),
        (3, "And a col"),
        (5, "Version 1"),
        (3, "The last "),
    ]


def test_long_sentences_are_found():
    long, medium, most = (" ".join(["Word"] * count) + "." for count in (26, 16, 25))
    assert len(faults(f"{long} Short. Short.")) == 1
    assert faults(" ".join([medium] * 3)) == ["16.0 words in a sentence on average"]
    assert faults(f"{most} Short. Short.") == []
