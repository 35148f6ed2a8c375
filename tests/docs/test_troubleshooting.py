"""docs/troubleshooting.md: every message that it explains is one that the sources have, and no variable is left out."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
if not PAGE.exists():
    pytest.skip("not in a source tree", allow_module_level=True)

TEXT = PAGE.read_text(encoding="utf-8")
SOURCES = sorted((ROOT / "src" / "fastlstm").glob("**/*.py"))
VARIES = "\0"


def explained() -> list[str]:
    """Return the messages in tables under a heading that says so."""
    tables = re.findall(r"^\| the message .*\n\|[-| ]+\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    return [found for table in tables for found in re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)]


def texts() -> Iterator[str]:
    """Find all texts in the sources; what varies in one is a character that no message has."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else VARIES for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    for path in sorted((ROOT / "src" / "fastlstm" / "core").glob("*.pxi")):
        for found in re.findall(r'"([^"\n]+)"', path.read_text(encoding="utf-8")):
            yield re.sub(r"\{[^}]*\}", VARIES, found)


@pytest.fixture(name="said", scope="module")
def collect() -> list[str]:
    return sorted(text for text in set(texts()) if len(text.replace(VARIES, "")) > 20)


def is_said(message: str, said: list[str]) -> bool:
    """Tell whether a text gives the message: "..." on the page stands for anything, what varies in a text as well."""
    wanted = re.compile(".*?".join(re.escape(piece) for piece in message.split("...")), re.DOTALL)
    for text in said:
        pieces = text.split(VARIES)
        if wanted.search(text):
            return True
        if len(pieces) > 1 and re.fullmatch(".*".join(map(re.escape, pieces)), message):
            return True
    return False


@pytest.mark.parametrize("message", explained())
def test_a_message_is_one_of_the_sources(message: str, said: list[str]) -> None:
    assert is_said(message, said)


def test_there_are_messages_and_another_one_would_be_seen(said: list[str]) -> None:
    assert len(explained()) > 25
    assert not is_said("this tape is used up: run forward never again", said)
    assert not is_said("hx should be a trio (h_0, c_0), got: ...", said)


def test_every_variable_is_explained() -> None:
    read = set()
    for path in (*SOURCES, *(ROOT / "csrc").glob("**/*.c")):
        read |= set(re.findall(r"""(?:environ\S*\(?|getenv\()\s*["'](FASTLSTM_\w+)["']""", path.read_text("utf-8")))
    assert {"FASTLSTM_ISA", "FASTLSTM_HIDE"} <= read
    assert read == set(re.findall(r"^\| `(FASTLSTM_\w+)=", TEXT, re.MULTILINE))
