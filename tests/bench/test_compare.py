"""fastlstm bench --compare: rows, intervals and verdicts, warnings, and files that are none."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastlstm._cli import main
from fastlstm.bench import compare, results

Told = dict[str, Any]


def cell(of: str, times: list[float], **more: Any) -> Told:
    made: Told = {"of": of, "form": None, "weights": "float32", "seconds": times[0] if times else None, "marked": False}
    made |= {"round_seconds": times, "round_disturbed": [False] * len(times), "problem": None, "of_limit": 0.5}
    return made | more


def work(*cells: Told, **more: Any) -> Told:
    sizes = {"T": 100, "B": 1, "I": 64, "H": 128, "layers": 1, "directions": 1, "threads": 1}
    return sizes | {"name": None, "family": None, "peak_flops": 1e11, "results": list(cells)} | more


def file(*works: Told, **more: Any) -> Told:
    machine = {"processor": "a CPU", "cpus": 2, "system": "Linux"}
    made: Told = {"format_version": results.FORMAT, "fastlstm": "0.1.0", "isa": "avx2", "date": "2026-11-27T10:00:00"}
    made |= {"machine": machine, "python": "3.13", "numpy": "2.4", "complete": True, "versions": ["fastlstm 0.1.0"]}
    made |= {"rounds_played": 15, "rounds_disturbed": 0}
    return made | {"works": list(works)} | more


def around(seconds: float, count: int = 15) -> list[float]:
    """Make rounds that scatter by a percent or so."""
    return [float(seconds * (1 + 0.01 * wave)) for wave in np.sin(np.arange(count))]


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(*files: Told | str) -> list[str]:
        paths = [tmp_path / f"{letter}.json" for letter in "ab"]
        for path, content in zip(paths, files, strict=True):
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return [str(path) for path in paths]

    return write


def run(paths: list[str], *arguments: str) -> int:
    return main(["bench", "--compare", *paths, *arguments])


def told(paths: list[str], capsys: pytest.CaptureFixture[str]) -> Told:
    assert run(paths, "--json", "-") == 0
    made: Told = json.loads(capsys.readouterr().out)
    return made


def test_which_differences_are_noise(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    a = file(work(cell("fastlstm", around(1e-3)), cell("torch", around(2e-3)), cell("numpy", around(5e-3))))
    b = file(work(cell("fastlstm", around(1.2e-3)), cell("torch", around(2.001e-3)), cell("numpy", around(4e-3))))
    slower, same, faster = told(written(a, b), capsys)["rows"]
    assert [row["verdict"] for row in (slower, same, faster)] == ["B is slower", "noise", "B is faster"]
    assert slower["work"] == "T=100 B=1 I=64 H=128"
    assert slower["ratio"] == pytest.approx(1.2)
    assert 1.17 < slower["low"] < 1.2 < slower["high"] < 1.23
    assert same["low"] < 1 < same["high"]
    assert run(written(a, b)) == 0
    printed = capsys.readouterr().out
    assert "3 rows: B is faster: 1; B is slower: 1; noise: 1" in printed
    assert f"{slower['low']:.3f} to {slower['high']:.3f}" in printed


@pytest.mark.parametrize(("allowed", "status"), [("3", 3), ("15", 3), ("25", 0)])
def test_a_row_that_is_slower_than_allowed_ends_with_3(
    allowed: str, status: int, written: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = written(file(work(cell("fastlstm", around(1e-3)))), file(work(cell("fastlstm", around(1.2e-3)))))
    assert run(paths, "--fail-above", allowed) == status
    assert ("H=128, fastlstm: slower by more than" in capsys.readouterr().err) == (status == 3)
    assert run(paths[::-1], "--fail-above", "0") == 0  # faster


def test_noise_fails_nothing(written: Any) -> None:
    a = cell("fastlstm", [1e-3, 1.5e-3, 1e-3, 1.5e-3, 1.1e-3, 1.4e-3])
    b = cell("fastlstm", [1.1e-3, 1.6e-3, 1.1e-3, 1.5e-3, 1.2e-3, 1.4e-3])
    assert run(written(file(work(a)), file(work(b))), "--fail-above", "0") == 0


def test_intervals_hold_what_they_promise() -> None:
    """Of 150 pairs of equal runs about 5 % are told apart; with 15 rounds a bootstrap is a little too sure."""
    rng = np.random.default_rng(5)
    samples = 1 + 0.03 * rng.standard_normal((150, 2, 15))
    verdicts = [compare.ratio(list(a), list(b)).verdict() for a, b in samples]
    assert 0.88 < verdicts.count("noise") / 150 < 0.99
    drift = 1 + 0.3 * rng.random((60, 1, 15))  # what both rounds of a pair share says nothing about either
    paired = [compare.ratio(list(a), list(1.05 * b), paired=True) for a, b in drift * samples[:60]]
    assert np.median([each.high - each.low for each in paired if each.high and each.low]) < 0.15
    assert [each.verdict() for each in paired].count("B is slower") > 20


def test_few_rounds_tell_nothing(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    paths = written(file(work(cell("fastlstm", [1e-3] * 4))), file(work(cell("fastlstm", [2e-3] * 4))))
    (row,) = told(paths, capsys)["rows"]
    assert (row["verdict"], row["low"], row["ratio"]) == ("too few rounds to tell", None, 2)
    assert run(paths, "--fail-above", "3") == 0


def test_disturbed_rounds_do_not_count(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    times, disturbed = around(1e-3, 10) + [9e-3] * 12, [False] * 10 + [True] * 12
    paths = written(
        file(work(cell("fastlstm", around(1e-3)))), file(work(cell("fastlstm", times, round_disturbed=disturbed)))
    )
    (row,) = told(paths, capsys)["rows"]
    assert (row["verdict"], row["b_seconds"]) == ("noise", pytest.approx(1e-3, rel=0.02))


def test_as_far_from_itself_is_noise() -> None:
    from fastlstm.bench.compare import Ratio

    other = Ratio(1.04, 1.03, 1.05)
    assert other.verdict(Ratio(1.0, 0.99, 1.01)) == "B is slower"
    assert other.verdict(Ratio(1.03, 1.02, 1.04)) == "noise: as far from itself"
    assert other.verdict(Ratio(0.97, 0.96, 0.98)) == "noise: as far from itself"
    assert Ratio(0.9, 0.89, 0.91).verdict(Ratio(1.0, 0.99, 1.01)) == "B is faster"
    assert other.verdict(Ratio(1.0)) == "too few rounds to tell"


def test_rows_in_only_one(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    gone = cell("torch", [], seconds=None, problem="torch: the process ended: SIGSEGV")
    a = file(work(cell("fastlstm", around(1e-3)), cell("torch", around(1e-3))), work(cell("fastlstm", around(1)), H=9))
    b = file(work(cell("fastlstm", around(1e-3)), gone), work(cell("fastlstm", around(1)), B=7))
    notes = told(written(a, b), capsys)["notes"]
    assert "only in A: T=100 B=1 I=64 H=128, torch (torch: the process ended: SIGSEGV)" in notes
    assert "only in A: T=100 B=1 I=64 H=9, fastlstm" in notes
    assert "only in B: T=100 B=7 I=64 H=128, fastlstm" in notes


def test_works_that_are_there_twice_are_both_compared(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    twice = file(work(cell("fastlstm", around(1e-3))), work(cell("fastlstm", around(3e-3))))
    rows = told(written(twice, twice), capsys)["rows"]
    assert [row["work"] for row in rows] == ["T=100 B=1 I=64 H=128", "T=100 B=1 I=64 H=128 (2)"]
    assert rows[1]["a_seconds"] == pytest.approx(3e-3, rel=0.02)


def test_who_failed_since_is_not_passed_over(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rival = cell("torch", around(1e-3))
    a = file(work(cell("fastlstm", around(1e-3)), rival))
    b = file(work(cell("fastlstm", [], seconds=None, problem="wrong answer"), rival))
    assert run(written(a, b), "--fail-above", "3") == 1
    assert "B has no time where A has one; T=100 B=1 I=64 H=128, fastlstm: wrong answer" in capsys.readouterr().err
    assert run(written(b, a), "--fail-above", "3") == 0
    assert run(written(a, b)) == 0


@pytest.mark.parametrize(
    ("change", "warned", "other_machine"),
    [
        ({"machine": {"processor": "another", "cpus": 2, "system": "Linux"}}, "processor is a CPU in A, another", True),
        ({"machine": {"processor": "a CPU", "cpus": 9, "system": "Linux"}}, "cpus is 2 in A, 9 in B", True),
        ({"isa": "avx512"}, "isa is avx2 in A, avx512 in B", True),
        ({"works": [work(cell("fastlstm", around(1e-3)), peak_flops=2e11)]}, "multiplied 2.00 times as fast", True),
        ({"numpy": "3.0"}, "numpy is 2.4 in A, 3.0 in B", False),
        ({"python": "3.14"}, "python is 3.13 in A, 3.14 in B", False),
        ({"versions": ["fastlstm 0.1.0", "torch 2"]}, "only B has torch 2", False),
        ({"environment": {"FASTLSTM_HIDE": "avx512"}}, "only B has FASTLSTM_HIDE=avx512", False),
        ({"complete": False}, "B was interrupted", False),
    ],
)
def test_what_else_differs_is_warned_of(
    change: Told, warned: str, other_machine: bool, written: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    a = file(work(cell("fastlstm", around(1e-3))))
    paths = written(a, copy.deepcopy(a) | change)
    assert run(paths) == 0
    assert warned in capsys.readouterr().err
    assert run(paths, "--fail-above", "50") == int(other_machine)  # which no verdict can be given across
    assert ("needs two files of one machine" in capsys.readouterr().err) == other_machine


def test_other_threads(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    one = work(cell("fastlstm", around(1e-3)))
    assert run(written(file(one), file(one, one | {"threads": 2}))) == 0
    assert "threads are 1 in A, 1, 2 in B" in capsys.readouterr().err
    assert run(written(file(one), file(one | {"threads": 2}))) == 1
    assert "no row is in both files: other sizes, threads or contenders" in capsys.readouterr().err


GOOD = file(work(cell("fastlstm", around(1e-3))))
TEXT = json.dumps(GOOD)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Expecting value"),
        (TEXT[: len(TEXT) // 2], "is no result of fastlstm bench"),
        (TEXT[:-1], "is no result of fastlstm bench"),
        ("[]", "the whole should be an object, got: []"),
        ("{}", "fastlstm is missing"),
        ("[" * 100_000, "nested too deeply"),
        (TEXT.replace("0.5", "NaN"), "NaN is no number"),
        (TEXT.replace("0.5", "1e999"), "of_limit should be a number greater than zero"),
        (TEXT.replace("0.5", '"0.5"'), "of_limit should be a number greater than zero, got: '0.5'"),
        (TEXT.replace("0.5", "true"), "of_limit should be a number greater than zero, got: True"),
        (TEXT.replace("0.5", "9" * 400), "of_limit should be a number greater than zero"),
        (TEXT.replace("0.5", "1e-308"), "of_limit should be a number from 1e-30 to 1e+30, got: 1e-308"),
        (
            json.dumps(file(work(cell("torch", [1e308, 1e-308])))),
            "round_seconds should be a number from 1e-30 to 1e+30",
        ),
        (json.dumps(file(work(peak_flops=1e308))), "peak_flops should be a number from 1e-30 to 1e+30, got: 1e+308"),
        (json.dumps(file(work(cell("torch", [1.0] * 10_001)))), "round_seconds are 10001, expected at most 10000"),
        (TEXT.replace('"T": 100', '"T": -1'), "works[0]: T should be a whole number greater than zero, got: -1"),
        (TEXT.replace('"T": 100', '"T": 1.5'), "T should be a whole number"),
        (TEXT.replace('"T": 100', '"U": 1'), "works[0]: T is missing"),
        (TEXT.replace('"complete": true', '"complete": 1'), "complete should be true or false, got: 1"),
        (TEXT.replace('"format_version": 2', '"format_version": 3'), "format_version is 3, and this version"),
        (
            TEXT.replace('"round_disturbed": [', '"round_disturbed": [false, '),
            "round_seconds are 15, round_disturbed 16",
        ),
        (TEXT.replace('"marked": false', '"marked": null'), "works[0]: results[0]: marked should be true or false"),
        (json.dumps(file(work(*[cell("fastlstm", [1.0])] * 2))), "works[0]: a contender is there twice"),
        ("\x00\x01", "is no result of fastlstm bench"),
    ],
)
def test_files_that_are_no_results(
    content: str, message: str, written: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for paths in (written(content, GOOD), written(GOOD, content)):
        assert run(paths) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert message in printed.err
        assert printed.err.startswith("fastlstm bench: ")
        assert printed.err.count("\n") == 1


def test_files_that_cannot_be_read(tmp_path: Path, written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    paths = written(GOOD, GOOD)
    assert run([paths[0], str(tmp_path / "none.json")]) == 1
    assert "No such file" in capsys.readouterr().err
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x80")
    assert run([paths[0], str(tmp_path / "binary.json")]) == 1
    assert "is no result of fastlstm bench" in capsys.readouterr().err


def test_what_is_compared_is_not_written_over(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    paths = written(*[file(work(cell("fastlstm", around(1e-3))))] * 2)
    assert run(paths, "--json", paths[1]) == 1
    assert "is one of the two files that are compared" in capsys.readouterr().err
    assert results.read(paths[1]).works


def test_a_file_steers_no_terminal(written: Any, capsys: pytest.CaptureFixture[str]) -> None:
    named = file(work(cell("fast\x1b[31mlstm", around(1e-3)), name="\x1b[2J"), versions=["torch \x07"])
    assert run(written(named, named)) == 0
    assert not {"\x1b", "\x07"} & set(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--compare", "a", "b", "--footprint"], "--compare measures nothing: it goes without --footprint"),
        (["--against", "0.1.0", "--footprint"], "--against only takes times: it goes without --footprint"),
        (["--compare", "a", "b", "--quick"], "--compare measures nothing: it goes without --quick"),
        (["--compare", "a", "b", "--rivals", "none", "--threads", "2"], "goes without --rivals, --threads"),
        (["--fail-above", "3"], "--fail-above goes with --compare or --against"),
        (["--against", "0.1.0", "--rivals", "torch"], "--against has one rival"),
    ],
)
def test_what_does_not_go_together(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--compare", "a"], ["--compare", "a", "b", "--against", "c"], ["--fail-above", "-1"]]
)
def test_wrong_usage(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2
