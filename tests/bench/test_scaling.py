"""The table of more and more threads: what it says of given times, and a run of one small work, timed as it may be."""

import json
import sys
from pathlib import Path

import pytest

from bench import scaling
from bench.scaling import Line
from bench.works import Case

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nobody has run the benchmarks on Windows yet")


def test_slower_is_more_than_three_per_cent_over_the_best_of_fewer() -> None:
    assert scaling._slower({1: 100.0, 2: 50.0, 4: 51.4}) == []
    assert scaling._slower({1: 100.0, 2: 50.0, 4: 52.0, 8: 40.0}) == ["4 threads 52 us, 2 50 us, 4% more"]
    assert scaling._slower({8: 60.0, 1: 50.0, 2: 51.0}) == ["8 threads 60 us, 1 50 us, 20% more"]


def test_a_run_writes_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = (
        Line("sequence", Case("scaling-small", T=3, B=2, I=4, H=5)),
        Line("training", Case("s", T=3, B=2, I=4, H=5)),
    )
    monkeypatch.setattr(scaling, "LINES", lines)
    monkeypatch.setattr(scaling, "find_spec", lambda name: None)  # no rivals
    written = tmp_path / "scaling.json"
    monkeypatch.setattr(sys, "argv", ["scaling", "--quick", "--threads", "1,2", "--json", str(written)])
    assert scaling.main() == 0
    rows = json.loads(written.read_text())["rows"]
    assert [(row["kind"], row["of"], row["threads"]) for row in rows] == [
        (kind, "fastlstm", threads) for kind in ("sequence", "training") for threads in (1, 2)
    ]
    assert all(0 < row["least"] <= row["median"] for row in rows)


def test_a_wrong_answer_is_a_failed_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(scaling, "LINES", (Line("sequence", Case("scaling-small", T=3, B=2, I=4, H=5)),))
    monkeypatch.setattr(scaling, "find_spec", lambda name: None)
    monkeypatch.setattr("fastlstm.bench.arena.complaint", lambda work, answer, right, slack: f"{work}: wrong answer")
    monkeypatch.setattr(sys, "argv", ["scaling", "--quick", "--threads", "1"])
    assert scaling.main() == 1
    assert "wrong answer" in capsys.readouterr().out


def test_without_time_nothing_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["scaling", "--seconds", "0", "--threads", "1"])
    assert scaling.main() == 0
    assert "no time left for: sequence T=100 B=1 H=512, " in capsys.readouterr().out
