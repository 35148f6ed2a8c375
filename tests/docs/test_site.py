"""What `make docs` builds from: every page has its place, every name its entry; what the hooks do needs no MkDocs."""

import ast
import importlib.util
import re
from types import ModuleType

import pytest

from tests.support import ROOT

CONFIG = ROOT / "mkdocs.yml"
if not CONFIG.exists():
    pytest.skip("not in a source tree", allow_module_level=True)

TEXT = CONFIG.read_text(encoding="utf-8")
HEADER = (ROOT / "csrc" / "fastlstm.h").read_text(encoding="utf-8")


@pytest.fixture(name="hooks", scope="module")
def load_hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "packaging" / "site" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_every_page_is_in_the_navigation_once() -> None:
    listed = re.findall(r"^ +- .*: ([\w.-]+\.md)$", TEXT, re.MULTILINE)
    left_out = re.findall(r"^exclude_docs: ([\w.-]+\.md)", TEXT, re.MULTILINE)
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]
    assert sorted(listed + left_out) == sorted(pages)


def test_it_fetches_nothing() -> None:
    """Fonts are the system's. Whether a built page would fetch something, the hook looks at, in every page."""
    assert re.search(r"^  font: false", TEXT, re.MULTILINE)
    assert not re.search(r"https?://", re.sub(r"#.*", "", TEXT))
    for path in (each for each in (ROOT / "docs" / "assets").rglob("*") if each.is_file()):
        text = path.read_bytes().decode(errors="replace").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|@import", text), path.name


@pytest.mark.parametrize("module", ["", "torch", "keras", "onnx", "files"])
def test_every_public_name_has_its_entry(module: str) -> None:
    source = ROOT / "src" / "fastlstm" / module / "__init__.py"
    (listed,) = (
        node.value
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
    )
    prefix = f"fastlstm.{module}." if module else "fastlstm."
    wanted = {prefix + name for name in ast.literal_eval(listed) if not name.startswith("__")}
    wanted -= {"fastlstm.files.inspect", "fastlstm.files.load", "fastlstm.files.save"}  # which have a shorter name
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^##+ (fastlstm\.[\w.]+)$", page, re.MULTILINE))
    adapters = ("fastlstm.torch", "fastlstm.keras", "fastlstm.onnx")
    assert wanted == {name for name in told if name.rpartition(".")[0] + "." == prefix and name not in adapters}


def test_every_section_of_the_header_has_its_place(hooks: ModuleType) -> None:
    page = (ROOT / "docs" / "c-api.md").read_text(encoding="utf-8")
    placed = re.findall(r"^<!-- c: (.+) -->$", page, re.MULTILINE)
    assert placed == ["order of calls", *re.findall(r"^/\* ---- (.+?) -+ \*/$", HEADER, re.MULTILINE)]
    shown = "".join(map(hooks._section, placed))
    functions = re.findall(r"^FL_API [^;(]*?(\w+)\(", HEADER, re.MULTILINE)
    assert len(functions) > 50
    assert [name for name in functions if f"{name}(" not in shown] == []
    for name in re.findall(r"`(fl_\w+)`", page):
        assert name in functions, name


def test_a_section_that_is_not_there_is_refused(hooks: ModuleType) -> None:
    with pytest.raises(ValueError, match="no section nothing"):
        hooks._section("nothing")


def test_a_link_out_of_the_pages_leads_to_a_copy(hooks: ModuleType) -> None:
    assert hooks._copied(hooks._named("torch.md", "../csrc/fastlstm.h")) == "tree/csrc/fastlstm.h.md"
    assert hooks._copied(hooks._named("torch.md", "../examples/embed")) == "tree/examples/embed/README.md"
    assert hooks._copied(hooks._named("tree/CONTRIBUTING.md", "docs/contract.md")) == "contract.md"
    assert hooks._named("torch.md", "../nowhere.md") is None


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("1. one\n\n       code\n\n   more\n2. two", "1. one\n\n        code\n\n    more\n2. two"),
        (
            "- one\n  goes on\n\n  - inner\n    goes on\n\nout",
            "- one\n    goes on\n\n    - inner\n        goes on\n\nout",
        ),
        ("text\n- one\nlazy", "text\n\n- one\n    lazy"),
        ("    code - one\n```\n- no item\n```", "    code - one\n```\n- no item\n```"),
    ],
)
def test_lists_are_indented_by_four(given: str, made: str, hooks: ModuleType) -> None:
    text = hooks._indented(given)
    assert [line.rstrip() for line in text.splitlines()] == made.splitlines()


@pytest.mark.parametrize(
    ("html", "fetched"),
    [
        ('<script src="https://a.b/c.js">', True),
        ('<link rel="stylesheet" href="//a.b/c.css">', True),
        ("<img src=http://a.b/c.png>", True),
        ('<a href="https://a.b">', False),
        ('<script src="assets/a.js">', False),
    ],
)
def test_a_page_that_would_fetch_something_is_refused(html: str, fetched: bool, hooks: ModuleType) -> None:
    assert bool(hooks.FETCHED.search(html)) == fetched
