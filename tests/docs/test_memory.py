"""docs/memory.md: its formulas against what Python can see; tests/package/test_c_library.py asks C for the rest."""

import re
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.support import ROOT

if not (ROOT / "docs" / "memory.md").exists():
    pytest.skip("not in a source tree", allow_module_level=True)

from tests.docs import memory

LAYERS: list[dict[str, Any]] = [
    {"I": 64, "H": 128},
    {"I": 7, "H": 13, "L": 3, "D": 2},
    {"I": 100, "H": 130, "P": 40, "L": 2},
    {"I": 1, "H": 1},
]


def layer(weights: str, letters: dict[str, int]) -> fastlstm.LSTM[Any]:
    of = {"I": 1, "H": 1, "P": 0, "L": 1, "D": 1} | letters
    options: dict[str, Any] = {"dtype": weights} if weights == "float64" else {"weights": weights}
    return fastlstm.LSTM(of["I"], of["H"], of["L"], bidirectional=of["D"] == 2, proj_size=of["P"], seed=0, **options)


@pytest.mark.parametrize("letters", LAYERS, ids=str)
@pytest.mark.parametrize("weights", memory.STORED)
def test_a_plan_and_a_table_take_what_the_page_says(weights: str, letters: dict[str, int]) -> None:
    lstm = layer(weights, letters)
    expected = memory.sizes(weights, **letters, V=1000)
    told = {"plan": lstm._plan.nbytes, "table": lstm.table_nbytes(1000)}
    assert memory.outside(told, expected) == []
    assert expected["plan"].least == expected["plan"].most


@pytest.mark.parametrize("letters", LAYERS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tape_takes_what_the_page_says(dtype: str, letters: dict[str, int]) -> None:
    lstm = layer(dtype, letters)
    tape = lstm.forward(np.zeros((50, 4, lstm.input_size), dtype))[2]
    assert tape is not None
    assert memory.outside({"tape": tape.nbytes}, memory.sizes(dtype, **letters, T=50, B=4)) == []


def test_another_formula_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is above can fail: a letter less, or nothing more allowed."""
    lstm = layer("float32", LAYERS[0])
    told = {"plan": lstm._plan.nbytes}
    plan = memory.formulas()["plan"]
    monkeypatch.setattr(memory, "formulas", lambda: {"plan": (plan[0].replace("A(I)", "A(I + 1)"), plan[1])})
    assert memory.outside(told, memory.sizes("float32", **LAYERS[0]))
    assert memory.outside({"plan": told["plan"] + 1}, {"plan": memory.Size(0, told["plan"])})


def test_every_size_that_c_tells_is_in_the_table() -> None:
    """All but the scratch of one step, and the ids of sessions."""
    header = (ROOT / "csrc" / "fastlstm.h").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")
    told = set(re.findall(r"\b(fl_\w+_size)\(const fl_", header)) - {"fl_cell_size"}
    assert told <= set(re.findall(r"`(fl_\w+)` \|$", page, re.MULTILINE))
