"""What the site has beside the pages in docs/, so that those stay plain Markdown that a code host shows as well.

Links that leave docs/ lead to copies of what they name; comments such as ``<!-- python: fastlstm.LSTM -->`` and
``<!-- c: training -->`` become a signature with its docstring, and a section of csrc/fastlstm.h; drawings stand in the
page itself, so that they take its colours. A page that would fetch something is an error. Lists are indented as
Python-Markdown wants them, which knows four spaces only.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `make test` tries what needs no MkDocs
    from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
TREE = "tree"  #: where copies of the rest of the tree are
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")
ITEM = re.compile(r"( *)((?:[-*]|\d+\.) +)(?=\S)")
FETCHED = re.compile(r"<(?:script|img|iframe|source)[^>]+src=\"?(?:https?:)?//|<link[^>]+href=\"?(?:https?:)?//[^>]*>")
LANGUAGES = {".c": "c", ".h": "c", ".hpp": "cpp", ".cpp": "cpp", ".py": "python", ".txt": "text", ".toml": "toml"}


def on_files(files: Files, config: Any) -> Files:
    """Add a page for everything outside of docs/ that a page leads to."""
    from mkdocs.structure.files import File

    waiting = [(file.src_uri, Path(file.abs_src_path).read_text(encoding="utf-8")) for file in files if _is_page(file)]
    while waiting:
        page, text = waiting.pop()
        for link in LINK.finditer(text):
            named = _named(page, link[1])
            uri = _copied(named) if named else None
            if named is None or uri is None or files.get_file_from_path(uri):
                continue
            content = _content(named)
            files.append(File.generated(config, uri, content=content))
            waiting.append((uri, content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links and comments into what they stand for."""
    here = posixpath.dirname(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        named = _named(page.file.src_uri, found[1])
        uri = _copied(named) if named else None
        return f"]({posixpath.relpath(uri, here or '.')}{found[2] or ''})" if uri else found[0]

    markdown = _indented(LINK.sub(link, markdown))
    markdown = re.sub(r"^<!-- python: ([\w.]+) -->$", r"::: \1", markdown, flags=re.MULTILINE)
    markdown = re.sub(r"^<!-- c: (.+) -->$", lambda found: _section(found[1]), markdown, flags=re.MULTILINE)
    return re.sub(r"^!\[([^]]*)\]\(((?:studies|assets)/[\w.-]+\.svg)\)$", _drawn, markdown, flags=re.MULTILINE)


def on_page_content(html: str, **_: Any) -> str:
    """Take the second colon from where docstrings have two before code."""
    return html.replace("::</p>", ":</p>")


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuse what would be fetched from somewhere else when the page is shown."""
    fetched = FETCHED.search(output)
    if fetched:
        raise ValueError(f"{page.file.src_uri} would fetch {fetched[0]}")
    return output


def _is_page(file: File) -> bool:
    return file.is_documentation_page() and file.abs_src_path is not None and file.inclusion.is_included()


def _named(page: str, target: str) -> Path | None:
    """Find what a page's link names in the tree; None for what is not there, which MkDocs tells of."""
    folder = ROOT / posixpath.dirname(page.removeprefix(f"{TREE}/")) if page.startswith(TREE) else ROOT / "docs"
    named = (folder / target).resolve()
    return named if named.exists() and named.is_relative_to(ROOT) else None


def _copied(named: Path) -> str | None:
    """Return the page of the site that shows something of the tree."""
    if named.is_relative_to(ROOT / "docs"):
        return named.relative_to(ROOT / "docs").as_posix()
    if named.is_dir():
        named = named / "README.md"
    path = named.relative_to(ROOT).as_posix()
    return f"{TREE}/{path}" if named.suffix == ".md" else f"{TREE}/{path}.md"


def _content(named: Path) -> str:
    if named.is_dir() and not (named / "README.md").exists():
        names = sorted(path.name for path in named.iterdir() if not path.name.startswith("__"))
        return f"# {named.name}\n\n" + "".join(f"- `{name}`\n" for name in names)
    file = named / "README.md" if named.is_dir() else named
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    return f"# {file.name}\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{text}````\n"


def _indented(text: str) -> str:
    """Indent what belongs to items of lists by four spaces, and give lists an empty line before them."""
    made: list[str] = []
    open_items: list[int] = []  # where the text of each begins
    fence = ""
    for line in text.splitlines():
        indent, before = len(line) - len(line.lstrip(" ")), len(open_items)
        if not fence and line.strip():
            while open_items and indent < open_items[-1] and not (made[-1].strip() and not ITEM.match(line)):
                open_items.pop()
        item = None if fence else ITEM.match(line)
        depth = len(open_items)
        if item and indent < (open_items[-1] if open_items else 0) + 4:
            if not before and made and made[-1].strip():
                made.append("")
            open_items.append(indent + len(item[2]))
            made.append("    " * depth + line[indent:])
        else:
            shift = open_items[-1] if open_items else 0
            made.append("    " * depth + line[min(indent, shift) :] if line.strip() else "")
        mark = line.strip()[:3]
        if mark in ("```", "~~~"):
            fence = "" if fence == mark else fence or mark
    return "\n".join(made)


def _section(name: str) -> str:
    """Cut a section out of the C header; what is before the first one is the order of calls."""
    text = (ROOT / "csrc" / "fastlstm.h").read_text(encoding="utf-8")
    if name == "order of calls":
        lines = [line.removeprefix(" *").removeprefix(" ") for line in text[3 : text.index("*/")].splitlines()]
        return "\n".join(["```text", *lines, "```"])
    ends = r"(?=^/\* ---- |^#ifdef __cplusplus)"
    found = re.search(rf"^/\* ---- {re.escape(name)} -+ \*/\n+(.*?){ends}", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise ValueError(f"csrc/fastlstm.h has no section {name}")
    return f"```c\n{found[1].rstrip()}\n```"


def _drawn(found: re.Match[str]) -> str:
    """Put a drawing in the place of its link; its colours are those of assets/site.css then."""
    drawing = (ROOT / "docs" / found[2]).read_text(encoding="utf-8")
    drawing = re.sub(r"<style>.*?</style>\n?", "", drawing, flags=re.DOTALL)
    return f'<figure class="study">\n{drawing.strip()}\n</figure>'
