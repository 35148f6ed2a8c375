"""The formulas of docs/memory.md, as they stand there, to be computed."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.support import ROOT

PAGE = ROOT / "docs" / "memory.md"

#: Bytes of a stored weight; those of 8 bits have a formula of their own.
STORED = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "int8": 1, "int8-fast": 1}


class Size(NamedTuple):
    """A row of the table."""

    least: int
    most: int


def formulas() -> dict[str, tuple[str, str]]:
    """Read the table: what, and both of its formulas."""
    rows = re.findall(
        r"^\| ([\w ]+) \| `([^`]*)` \| `([^`]*)` \| `fl_\w+` \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {what: (least, more) for what, least, more in rows}


def sizes(weights: str = "float32", **letters: int) -> dict[str, Size]:
    """Compute the table for a layer: I, H, and what else is other than 1, or P = 0."""
    known: dict[str, Any] = dict.fromkeys("TBLDVNS", 1) | {"P": 0} | letters
    known |= {
        "R": known["P"] or known["H"],
        "r": 8 if weights == "float64" else 4,
        "w": STORED[weights],
        "up": lambda a, b: -(-a // b) * b,
    }
    _define(known)
    made = {}
    for what, (least, more) in formulas().items():
        low = eval(least, known)
        made[what] = Size(low, low + eval(more, known))
    if weights.startswith("int8"):
        made["plan"] = made["plan of 8 bits"]
    return made


def _define(known: dict[str, Any]) -> None:
    """Add the names that the page gives a value, or a formula of k."""
    text = PAGE.read_text(encoding="utf-8")
    for name, formula in re.findall(r"^\| `([\w()]+)` \| `([^`]+)` \|", text, re.MULTILINE):
        given = f"lambda k: {formula}" if name.endswith("(k)") else formula
        known[name.removesuffix("(k)")] = eval(given, known)


def outside(told: Mapping[str, int], expected: Mapping[str, Size]) -> list[str]:
    """Return what takes less or more than its formulas say."""
    return [
        f"{what}: {size} bytes, expected {expected[what].least} to {expected[what].most}"
        for what, size in told.items()
        if not expected[what].least <= size <= expected[what].most
    ]
