"""What it costs to have a package: figures that must be there, and reasons where they cannot be."""

import json
import sys

import pytest

from fastlstm._cli import main
from fastlstm.bench import footprint

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="memory and threads are read as POSIX has them")


def test_rows_of_ours_and_of_a_rival(capsys: pytest.CaptureFixture[str]) -> None:
    shape = ["--shape", "H=4", "--rivals", "numpy", "--footprint"]
    assert main(["bench", "--quick", *shape, "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    ours, numpy = told["footprint"]
    assert [(row["of"], row["form"], row["problem"]) for row in (ours, numpy)] == [
        ("fastlstm", None, None),
        ("numpy", None, None),
    ]
    assert 1e6 < ours["installed_bytes"] < numpy["installed_bytes"] < 1e9
    assert 0 < ours["import_seconds"] < 60
    assert numpy["import_seconds"] is None  # it is there for all
    assert min(ours["rss_bytes"], numpy["rss_bytes"]) > 1e7
    assert min(ours["idle_cpu_seconds"], numpy["idle_cpu_seconds"]) >= 0
    if sys.platform == "linux":
        assert (ours["threads_left"], numpy["threads_left"]) == (1, 0)  # of two, one is the caller's


def test_who_fails_has_a_reason() -> None:
    missing = footprint.measure("nobody", "", 2)
    assert "No module named 'fastlstm.bench.contenders.nobody_'" in missing["problem"]
    assert missing["rss_bytes"] is None
    slow = footprint.measure("numpy", "", 2, hung=0.001)
    assert (slow["problem"], slow["rss_bytes"]) == ("no answer in 0.001 s", None)


def test_what_is_required_counts_but_for_numpy() -> None:
    ours = footprint.installed_bytes(["fastlstm"])
    assert ours is not None
    assert ours < 1e7
    assert footprint.installed_bytes(["pytest"]) > footprint.installed_bytes(["iniconfig"]) > 0  # type: ignore[operator]
    assert footprint.installed_bytes(["no such package"]) == 0
