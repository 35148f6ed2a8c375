"""make bench-results: runs of one machine in one file, and that a busy machine is not measured in silence."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fastlstm.bench import results
from tests.bench.test_compare import around, cell, file, work
from tests.support import ROOT

pytestmark = [
    pytest.mark.skipif(not (ROOT / "bench").exists(), reason="not in a source tree"),
    pytest.mark.skipif(not hasattr(os, "getloadavg"), reason="the system does not tell its load"),
]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Provide the module with runs that measure nothing, and a tree of its own."""
    from bench import record

    def measured(arguments: list[str], folder: str) -> dict[str, Any]:
        threads = int(arguments[arguments.index("--threads") + 1]) if "--threads" in arguments else 1
        works = [work(cell("fastlstm", around(1e-3)), T=len(asked) + 1, threads=threads)]
        asked.append(arguments)
        return file(*works, versions=["fastlstm 0.1.0", f"rival {threads}"])

    asked: list[list[str]] = []
    monkeypatch.setattr(record, "measured", measured)
    monkeypatch.setattr(record, "cpus", lambda: 4)
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setattr(record, "renew", lambda root: None)
    monkeypatch.setattr(record, "PATIENCE", 0)
    monkeypatch.setattr("sys.argv", ["record"])
    record.asked = asked
    return record


def test_all_runs_are_in_one_file(record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 0, 0))
    assert record.main() == 0
    (path,) = (tmp_path / "bench" / "results").iterdir()
    assert path.name.startswith("2026-11-27-4-cpus-")
    told = results.read(str(path))
    assert [each.sizes.threads for each in told.works] == [1, 1, 2, 4]
    assert told.versions == ("fastlstm 0.1.0", "rival 1", "rival 2", "rival 4")
    assert (told.complete, told.rounds) == (True, (60, 0))
    assert json.loads(path.read_text())["load_before"] == 0.025


def test_a_busy_machine_is_named_or_not_measured(
    record: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (3.0, 0, 0))
    assert record.main() == 1
    assert "0.75 runnable tasks a CPU: wait until the machine is quiet" in capsys.readouterr().err
    assert record.asked == []
    monkeypatch.setattr("sys.argv", ["record", "--busy", "--kind", "mine"])
    assert record.main() == 0
    assert [path.name for path in (tmp_path / "bench" / "results").iterdir()] == ["2026-11-27-mine-busy.json"]


def test_what_is_asked_for_is_understood(record: Any) -> None:
    """Every run's arguments, by the command line itself; works of the runs differ."""
    import argparse

    from bench.record import FAMILIES, ROWS, STEPS, THREADS, shapes
    from fastlstm.bench import families, options

    parser = argparse.ArgumentParser()
    options.add_arguments(parser)
    plain = {case.name for case in families.cases(parser.parse_args(FAMILIES).family)}  # names are of sizes
    more = [case.name for case in parser.parse_args(shapes(ROWS + STEPS)).shape]
    assert len({*plain, *more}) == len(plain) + len(more)
    assert {case.name for case in parser.parse_args(shapes(THREADS)).shape} <= plain  # with one thread
