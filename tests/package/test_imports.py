"""Modules of the package import each other without circles."""

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "fastlstm"

#: (importer, imported): imports that would close a circle, and why each is there.
ALLOWED = {
    ("_isa", ""): "show_config tells the package's version, which is written where packaging reads it",
}

pytestmark = pytest.mark.skipif(not SOURCE.exists(), reason="not in a source tree")


def name_of(path: Path) -> tuple[str, ...]:
    """Name a module by its place in the package."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {name_of(path): path for path in SOURCE.rglob("*.py")}
COMPILED = ("_core",)


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """Find what a module imports of the package: at its top, in functions, and for type checkers alone."""
    package = path.parent.relative_to(SOURCE).parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top, *rest = alias.name.split(".")
                if top == "fastlstm":
                    yield tuple(rest)
        elif isinstance(node, ast.ImportFrom):
            parts = tuple((node.module or "").split(".")) if node.module else ()
            if node.level:
                base = package[: len(package) - node.level + 1] + parts
            elif parts[:1] == ("fastlstm",):
                base = parts[1:]
            else:
                continue
            for alias in node.names:  # of a package its modules, and of a module its names
                found = (*base, alias.name)
                yield found if found in MODULES or found == COMPILED else base


def graph() -> dict[str, set[str]]:
    """Tell what each module imports; a package's contents import the package too, but that is not theirs to avoid."""
    found: dict[str, set[str]] = {}
    for name, path in MODULES.items():
        others = {other for other in imported(path) if other in MODULES and other != name}
        found[".".join(name)] = {".".join(other) for other in others}
    return found


def test_imports_have_no_circles() -> None:
    found = graph()
    assert {"_call", "_tapes", "_sizes"} <= found["_lstm"] | found["_call"]  # it reads imports
    for importer, other in ALLOWED:
        found[importer].remove(other)
    try:
        tuple(graphlib.TopologicalSorter(found).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(module or "fastlstm" for module in reversed(error.args[1])))


@pytest.mark.parametrize(("importer", "other"), ALLOWED, ids=" to ".join)
def test_what_is_allowed_is_needed(importer: str, other: str) -> None:
    found = graph()
    for allowed in set(ALLOWED) - {(importer, other)}:
        found[allowed[0]].remove(allowed[1])
    with pytest.raises(graphlib.CycleError):
        tuple(graphlib.TopologicalSorter(found).static_order())
