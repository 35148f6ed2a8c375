"""docs/contract.py, the contract in whole numbers, gives the frozen bits of small cases."""

import ast
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tests.cases import Array
from tests.frozen_bits import Row, numbers, table
from tests.support import ROOT, each_dtype

PAGE = ROOT / "docs" / "contract.py"
if not PAGE.exists():
    pytest.skip("not in a source tree", allow_module_level=True)

from tests.proofs import contract as proof  # noqa: E402  it loads the page

SMALL = [row for row in proof.rows(5000) if row.kind != "activation"]
LARGER = (
    "activation name=sigmoid n=1025 values=special",
    "activation name=tanh n=1025 values=special",
    "activation name=sigmoid n=1025 values=tiny",
    "activation name=tanh n=1025 values=huge",
    "forward I=130 H=17 T=3 B=2",  # a second piece
    "forward I=2 H=11 T=3 B=9 values=special",
    "forward I=7 H=3 P=1 L=2 D=2 T=5 B=4 lengths=1 hx=1",
    "backward I=2 H=11 T=3 B=9 values=special",
    "backward I=5 H=3 L=2 D=2 T=5 B=3 lengths=1 hx=1",
)


def named(name: str) -> Row:
    return next(row for row in table() if row.name == name)


@each_dtype
@pytest.mark.parametrize("row", [*SMALL, *map(named, LARGER)], ids=lambda row: row.name.replace(" ", "-"))
def test_it_gives_the_frozen_bits(row: Row, dtype: str) -> None:
    assert proof.computed(row, dtype) == row.hashes[dtype]


def test_every_kind_is_among_the_small_ones() -> None:
    assert {row.kind for row in SMALL} | {"activation"} == set(proof.KINDS)


def test_it_is_short_and_has_neither_floats_nor_imports() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 200
    tree = list(ast.walk(ast.parse(text)))
    assert not [node for node in tree if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [node for node in tree if isinstance(node, ast.Constant) and isinstance(node.value, float)]
    assert not [node for node in tree if isinstance(node, ast.Name) and node.id in ("float", "complex")]


@pytest.mark.parametrize(
    ("rule", "value", "row"),
    [
        ("PIECE", 64, "backward I=1 H=17 T=5 B=2 hx=1"),
        ("PIECE", 64, "forward I=130 H=17 T=3 B=2"),
        ("BLOCK", 4, "backward I=3 H=3 T=5 B=2 hx=1"),
    ],
)
def test_another_rule_gives_other_bits(rule: str, value: int, row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is above can fail."""
    monkeypatch.setattr(proof.contract, rule, value)
    assert proof.computed(named(row), "float32") != named(row).hashes["float32"]


@pytest.mark.parametrize(
    ("most", "piece", "status", "said"),
    [
        (2000, 128, 0, "0 with other bits"),
        (2000, 2, 1, "OTHER BITS"),
        (-1, 128, 1, "0 rows of "),
    ],
)
def test_the_proof_fails_where_bits_differ_or_nothing_was_compared(
    most: int, piece: int, status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["contract", str(most)])
    monkeypatch.setattr(proof.contract, "PIECE", piece)
    assert proof.main() == status
    assert said in capsys.readouterr().out


# ---- its arithmetic, against the machine's


def pairs_of(dtype: str) -> tuple[Array, Array]:
    """Numbers of every kind, each with others."""
    kinds = ("special", "wide", "tiny", "huge")
    every = np.concatenate([numbers(place, (40,), dtype, kind) for place, kind in enumerate(kinds)])
    every = np.concatenate([every, np.array([0.0, -0.0, np.inf, -np.inf, np.nan], dtype)])
    first, second = np.meshgrid(every, every)
    return first.ravel(), second.ravel()


@each_dtype
@pytest.mark.parametrize("operation", ["add", "subtract", "multiply", "divide", "less"])
def test_its_arithmetic_is_the_machines(operation: str, dtype: str) -> None:
    a, b = pairs_of(dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, operation)(a, b)
    named_so = {
        "add": "__add__",
        "subtract": "__sub__",
        "multiply": "__mul__",
        "divide": "__truediv__",
        "less": "__lt__",
    }
    made = [getattr(x, named_so[operation])(y) for x, y in zip(proof.exact(a), proof.exact(b), strict=True)]
    if operation == "less":
        assert made == expected.tolist()
        return
    assert [number.bits() for number in made] == [number.bits() for number in proof.exact(expected)]


@each_dtype
def test_its_fused_multiply_add_rounds_once(dtype: str) -> None:
    """Against fractions, rounded by Python's own division, which is correctly rounded; float32 through its 53 bits."""
    a, b, c = (numbers(stream, (200,), dtype, "plain", 3) for stream in (1, 2, 3))
    for x, y, z in zip(a, b, c, strict=True):
        product = Fraction(float(x)) * Fraction(float(y))
        exact = product + Fraction(float(z))
        made = proof.exact(x).fma(proof.exact(y), proof.exact(z))
        assert made.bits() == proof.exact(nearest(exact, dtype)).bits()


def nearest(exact: Fraction, dtype: str) -> Any:
    """Find the number nearest to a fraction among the neighbours of one that is near."""
    near = np.dtype(dtype).type(float(exact))
    inf = near.dtype.type(np.inf)
    return min((np.nextafter(near, -inf), near, np.nextafter(near, inf)), key=lambda n: abs(Fraction(float(n)) - exact))
