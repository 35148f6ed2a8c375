"""examples/precision: its table, without the published models."""

import io
import os
import pickle
import sys

import numpy as np
import pytest
from precision import __main__ as command
from precision import cases
from textgen.fetch import FetchError

import fastlstm


def small():
    lstm = fastlstm.LSTM(4, 3, bidirectional=True, seed=0)
    x, lengths = cases._padded([np.ones((n, 4), np.float32) * n for n in (20, 3)])
    return cases.Case("small", lstm, x, lengths, lambda each: f"stored as {each.weights}")


def unreachable():
    raise FetchError("no network")


def incomplete():
    raise ModuleNotFoundError("No module named 'none'", name="none")


def run(monkeypatch, capsys, *arguments):
    made = {case.__name__: case for case in (small, unreachable, incomplete)}
    monkeypatch.setattr(command, "CASES", made)
    monkeypatch.setattr(sys, "argv", ["precision", *arguments])
    return command.main(), capsys.readouterr()


def test_rows_are_what_compare_finds(monkeypatch, capsys):
    code, told = run(monkeypatch, capsys, "small", "--weights", "bfloat16,float32")
    assert (code, told.err) == (0, "")
    *_, one, other = told.out.splitlines()
    case = small()
    each = fastlstm.compare(case.lstm, case.x, "bfloat16", lengths=[20, 3])["bfloat16"]
    cells = [cell.strip() for cell in one.strip("|").split("|")]
    assert cells == [
        "small",
        "bfloat16",
        f"{max(each.weight_errors.values()):.1e}",
        f"{each.y.largest.max():.1e}",
        f"{np.sqrt(np.mean(each.y.rms**2)):.1e}",
        f"{each.drift.max():.2f}",
        "stored as bfloat16",
    ]
    assert other == "| small | float32 | 0.0e+00 | 0.0e+00 | 0.0e+00 | 1.00 | stored as float32 |"


def test_what_cannot_be_had_is_told_and_the_rest_goes_on(monkeypatch, capsys):
    code, told = run(monkeypatch, capsys, "unreachable", "incomplete", "small")
    assert code == 1
    assert told.err.splitlines() == [
        "precision: unreachable: no network",
        "precision: incomplete: none is missing; `make precision` installs it",
    ]
    assert "| small | float16 |" in told.out


def test_a_case_that_there_is_not(monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, capsys, "large")
    assert ended.value.code == 2
    assert "CASE should be one of small, unreachable, incomplete, got: large" in capsys.readouterr().err


def test_pickles_of_a_package_run_nothing(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    with pytest.raises(pickle.UnpicklingError, match="mkdir is not plain data"):
        cases._Plain(io.BytesIO(pickle.dumps([Harm()]))).load()
    assert not (tmp_path / "made").exists()
