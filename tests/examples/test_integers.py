"""examples/precision/integers.py: its table, for a small LSTM."""

import sys

import pytest
from precision import integers


@pytest.mark.parametrize("library", integers.LIBRARIES)
def test_the_errors_of_each_library(library: str, monkeypatch, capsys) -> None:
    pytest.importorskip(library)
    pytest.importorskip("onnx")
    monkeypatch.setattr(integers, "SIZES", ((20, 24, True),))
    monkeypatch.setattr(sys, "argv", ["integers", library])
    assert integers.main() == 0
    told = capsys.readouterr().out
    rows = [line.split("|")[1:-1] for line in told.splitlines() if line.startswith(f"| {library} ")]
    assert [row[1].strip() for row in rows] == ["per tensor", "per row"]
    for *_, theirs, ours, times in rows:
        assert 0 < 3 * float(ours) < float(theirs)
        assert float(times) > 50


def test_a_library_that_is_not_there(monkeypatch, capsys) -> None:
    def none(sizes):
        raise ModuleNotFoundError("No module named 'none'", name="none")

    monkeypatch.setattr(integers, "LIBRARIES", {"none": none})
    monkeypatch.setattr(sys, "argv", ["integers"])
    assert integers.main() == 1
    assert "none is missing" in capsys.readouterr().err
