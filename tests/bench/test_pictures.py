"""Drawings of benchmarks: what is in them, and that those of the documentation are what the files of results give."""

import json
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from fastlstm._cli import main
from fastlstm.bench import pictures, results
from tests.bench.test_compare import Told, around, cell, file, work
from tests.support import ROOT

QUANTILES = [[0.0, 1e-6], [0.5, 2e-6], [0.9, 3e-6], [0.99, 9e-6], [0.999, 2e-5]]


def everything() -> results.Results:
    """Make results that have all: sizes that differ in one of them, a loss, calls one by one, who has no time."""
    told: list[Told] = []
    for sizes in [{"H": H, "I": H} for H in (64, 128, 256)] + [{}, {"T": 7}, {"B": 9}, {"threads": 2}]:
        time = 1e-3 * (sizes.get("H") or 128) / 128
        rivals = [cell("torch", around(1.7 * time)), cell("onnxruntime", around(0.8 * time), form="run")]
        told.append(work(cell("fastlstm", around(time)), *rivals, **sizes))
    calls = {"calls": {"count": 9999, "quantiles": QUANTILES, "problem": None}}
    gone = cell("jax", [], problem="jax: not here", of_limit=None)
    told.append(work(cell("fastlstm", around(1e-6), **calls), cell("numpy", around(4e-6), **calls), gone, T=1))
    return results.taken("a file", file(*told, environment={"FASTLSTM_HIDE": "avx512", "OMP_NUM_THREADS": "1"}))


def texts(drawn: object) -> list[str]:
    root = ElementTree.fromstring(str(drawn))
    assert root.tag.endswith("svg")
    assert re.findall(r"https?://[^\"]*", str(drawn)) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme: dark" in str(drawn)
    return [str(each.text) for each in root.iter() if each.tag.endswith("text")]


def test_losing_rows_stay() -> None:
    told = texts(pictures.ratios(everything()))
    assert "The best rival's time over fastlstm's, in 8 works: 1 won, 7 lost, 0 even" in told
    assert told.count("0.80  onnxruntime run") == 7
    assert "4.00  numpy" in told
    assert "T=100 B=1 I=64 H=64" in told


def test_the_best_rival_may_have_one_thread() -> None:
    alone = cell("torch", around(2e-3), one_thread=True)
    told = file(work(cell("fastlstm", around(1e-3)), cell("torch", around(3e-3)), alone, threads=2))
    assert "2.00  torch, 1 thread" in texts(pictures.ratios(results.taken("a file", told)))


def test_what_the_rounds_do_not_tell_is_neither_won_nor_lost() -> None:
    close, few = cell("torch", around(0.999e-3)), cell("torch", [2e-3, 2e-3])
    told = file(work(cell("fastlstm", around(1e-3)), close), work(cell("fastlstm", [1e-3, 1e-3]), few, T=9))
    made = results.taken("a file", told)
    assert pictures.outcomes(pictures.pairs(made)) == {"won": 0, "lost": 0, "even": 2}
    drawn = str(pictures.ratios(made))
    assert "in 2 works: 0 won, 0 lost, 2 even" in drawn
    assert [drawn.count(f'fill="var(--{color})"/>') for color in "abe"] == [0, 0, 2]


def test_machine_and_what_was_hidden_are_named() -> None:
    for make in pictures.PICTURES.values():
        assert "a CPU, 2 CPUs, avx2, FASTLSTM_HIDE=avx512, 2026-11-27" in texts(make(everything()))


def test_series_differ_in_one_size_only() -> None:
    found = pictures.pairs(everything())
    (square,) = [each for each in pictures.series(found, "H") if each.name == "T=100 B=1 I=H"]
    assert [value for value, _ in square.points] == [64, 128, 256]
    (along,) = pictures.series(found, "T")
    assert ([value for value, _ in along.points], along.name) == ([1, 7, 100], "B=1 I=64 H=128")
    (rows,) = pictures.series(found, "B")
    assert [value for value, _ in rows.points] == [1, 9]


@pytest.mark.parametrize("name", sorted(pictures.PICTURES))
def test_results_of_little_are_drawn_too(name: str) -> None:
    alone = results.taken("a file", file(work(cell("fastlstm", around(1e-3)))))
    empty = results.taken("a file", file())
    one = results.taken(
        "a file", file(work(cell("fastlstm", around(1e-3)), cell("torch", around(1e-3), of_limit=None)))
    )
    for each in (alone, empty, one):
        assert texts(pictures.PICTURES[name](each))


def test_latencies_are_of_half_the_calls_and_fewer() -> None:
    drawn = str(pictures.latencies(everything()))
    lines = re.findall(r'<polyline points="([^"]*)"[^>]*stroke-width="2"', drawn)
    assert [len(line.split()) for line in lines] == [4, 4]
    assert {"fastlstm", "numpy"} <= set(texts(drawn))


@pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks' processes inherit descriptors")
def test_the_command_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, path = tmp_path / "new" / "folder", tmp_path / "found.json"
    arguments = ["bench", "--quick", "--rivals", "numpy", "--shape", "H=8", "--plot", str(folder), "--json", str(path)]
    assert main(arguments) == 0
    assert sorted(each.name for each in folder.iterdir()) == ["cost.svg", "latency.svg", "limit.svg", "rivals.svg"]
    drawn = pictures.draw(results.read(str(path)))
    assert {each.name: each.read_text() for each in folder.iterdir()} == drawn
    assert "T=1 B=1 I=8 H=8" in texts(drawn["rivals.svg"])


# What is committed


@pytest.fixture
def published() -> Any:
    if not (ROOT / "bench" / "published.py").exists():
        pytest.skip("not in a source tree")
    from bench import published

    return published


def test_tables_and_drawings_of_the_documentation_are_what_the_results_give(published: Any) -> None:
    assert published.outdated(ROOT) == []


def test_what_is_changed_by_hand_is_noticed(published: Any, tmp_path: Path) -> None:
    for name in ("README.md", "docs/benchmarks.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "bench" / "results").mkdir(parents=True)
    everywhere = file(work(cell("fastlstm", around(1e-3)), cell("torch", around(0.9e-3))))
    to_have = {"of": "torch", "form": None, "installed_bytes": 5e8, "import_seconds": 2, "rss_bytes": None}
    everywhere["footprint"] = [to_have | {"threads_left": 0, "idle_cpu_seconds": 0.5, "problem": None}]
    for name in ("2026-11-27-avx2", "2026-11-28-avx2"):
        (tmp_path / "bench" / "results" / f"{name}.json").write_text(json.dumps(everywhere))
    assert len(published.outdated(tmp_path)) == 2 + 2 * len(pictures.PICTURES)
    published.renew(tmp_path)
    assert published.outdated(tmp_path) == []
    text = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert "| T=100 B=1 I=64 H=128 | 1000 | 50% | torch | 900 | 0.90 |" in text
    assert "| torch | 500 | 2000 | - | 0 | 500 |" in text
    assert "of 1 works fastlstm is faster than every rival in 0, slower in 1.\n" in (tmp_path / "README.md").read_text()
    (tmp_path / "docs" / "benchmarks.md").write_text(text.replace("| 0.90 |", "| 1.90 |"))
    assert published.outdated(tmp_path) == ["docs/benchmarks.md"]
    (tmp_path / "bench" / "results" / "2026-11-27-avx2.json").unlink()
    published.renew(tmp_path)
    assert len(list((tmp_path / "docs" / "assets" / "bench").iterdir())) == len(pictures.PICTURES)
    (tmp_path / "bench" / "results" / "2026-11-28-avx2.json").write_text("{")
    with pytest.raises(ValueError, match="is no result of fastlstm bench"):
        published.outdated(tmp_path)
