"""README.md and docs/: every block of Python runs as it stands, by itself, in an empty folder."""

import contextlib
import doctest
import importlib.util
import io
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

from tests.support import EXAMPLES, ROOT

PAGES = [path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if path.exists()]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: What a block needs, told by what it says; where that is not installed, the block is skipped.
NEEDS = {
    "torch": r"\bimport torch\b|fastlstm\.torch\b",
    "keras": r"\bimport keras\b|fastlstm\.keras\b",
    "onnx": r"\bimport onnx\b|fastlstm\.onnx\b|\.onnx\"",
}

pytestmark = pytest.mark.skipif(not PAGES, reason="not in a source tree")


def blocks() -> Iterator[object]:
    """Find the blocks of all pages, by page and line."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start(1)) + 1
            yield pytest.param(found[1], line, id=f"{page.name}:{line}")


@pytest.mark.parametrize(
    "page",
    [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(EXAMPLES.glob("**/README.md"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_what_a_page_names_is_there(page: Path) -> None:
    """Links and their headings, files and folders, what Python runs, targets of make."""
    text = page.read_text(encoding="utf-8")
    for target, heading in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", text):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not heading or heading in headings(linked), f"{target}#{heading}"
    named = re.findall(r"`((?:bench|cmake|csrc|docs|examples|src|tests)/[\w./*-]+)`", text)
    for name in (*named, *re.findall(r"(?:^    |`)python ((?:examples|tests)/[\w./-]+)", text, re.MULTILINE)):
        assert list(ROOT.glob(name.rstrip("/"))), name
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"(?:^    |`)make ([a-z][a-z0-9-]*)", text, re.MULTILINE)) <= set(targets)


def test_the_map_of_the_tree_has_every_file() -> None:
    named = re.findall(r"`([^`]+)`", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    patterns = [word.rpartition("/")[2] for name in named for word in name.split()]
    files = [*ROOT.glob("csrc/**/*.[ch]"), *ROOT.glob("src/fastlstm/*.py"), *ROOT.glob("src/fastlstm/core/*.*")]
    missing = [
        str(path.relative_to(ROOT))
        for path in files
        if not path.name.startswith("__") and not any(fnmatch(path.name, p) or path.stem == p for p in patterns if p)
    ]
    assert not missing


def headings(page: Path) -> set[str]:
    """Return the headings of a page as links name them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in found}


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # torch.export's, about itself
@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize(("text", "line"), list(blocks()))
def test_a_block_runs_as_it_stands(text: str, line: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, sign in NEEDS.items():
        if re.search(sign, text) and importlib.util.find_spec(module) is None:
            pytest.skip(f"pip install {module}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [""])
    if re.search(NEEDS["keras"], text):  # which reads its backend's name once
        run_alone(text, tmp_path)
        return
    with torch_as_it_was() if re.search(NEEDS["torch"], text) else contextlib.nullcontext():
        run(text, line)


@contextlib.contextmanager
def torch_as_it_was() -> Iterator[None]:
    """Undo what a block sets."""
    with warnings.catch_warnings(action="ignore"):  # what torch's own imports warn of
        import torch._dynamo
    with torch._dynamo.config.patch(allow_rnn=False):
        yield


def run(text: str, line: int) -> None:
    """Run a program, or the examples of a session."""
    if ">>> " not in text:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(text, f"<block at line {line}>", "exec"), {"__name__": "__main__"})
        return
    told = io.StringIO()
    examples = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, "block", None, line)
    doctest.DocTestRunner().run(examples, out=told.write)
    assert told.getvalue() == ""


def run_alone(text: str, folder: Path) -> None:
    """Run a program in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_block_is_written_in_another_way() -> None:
    """So that none escapes: sessions only in such blocks, and no block of Python under another name."""
    for page in PAGES:
        rest = BLOCK.sub("", page.read_text(encoding="utf-8"))
        assert [line for line in rest.splitlines() if ">>> " in line or re.match(r"\s*```\s*(py|pycon)", line)] == []
