"""fastlstm bench: what it takes, prints and writes, and that nobody's failure costs more than a cell."""

import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm._cli import main
from fastlstm.bench import command, families, options
from fastlstm.bench.arena import Arena, Entry, Result
from fastlstm.bench.contenders.limits_ import footprint
from fastlstm.bench.progress import Progress
from fastlstm.bench.worker import Round
from fastlstm.bench.works import Case, Work, make
from tests.support import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nobody has run the benchmarks on Windows yet")

SMALL = ["bench", "--quick", "--rivals", "numpy", "--shape", "T=3,B=2,I=5,H=9"]


def test_figures_and_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "found.json"
    assert main([*SMALL, "--shape", "H=8", "--weights", "int8", "--json", str(path)]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    told = json.loads(path.read_text())
    assert (told["complete"], told["fastlstm"], told["isa"]) == (True, fastlstm.__version__, fastlstm.isa())
    assert (told["format_version"], told["footprint"]) == (2, None)
    assert told["machine"]["energy"]
    assert any(line.startswith("numpy ") for line in told["versions"])
    first, second = told["works"]
    assert [first[name] for name in ("T", "B", "I", "H", "layers", "directions", "threads")] == [3, 2, 5, 9, 1, 1, 1]
    assert [second[name] for name in ("T", "B", "I", "H")] == [1, 1, 8, 8]
    for work in told["works"]:
        assert 1e7 < work["peak_flops"] < 1e13
        assert 1e7 < work["read_bytes_per_second"] < 1e13
        assert [(cell["of"], cell["weights"]) for cell in work["results"]] == [
            ("fastlstm", "float32"),
            ("fastlstm", "int8"),
            ("numpy", "float32"),
        ]
        for cell in work["results"]:
            assert cell["problem"] is None
            assert len(cell["round_seconds"]) == len(cell["round_disturbed"]) == cell["rounds"]
            assert sum(cell["round_disturbed"]) == cell["disturbed"]
            assert cell["form"] is None
            assert cell["joules"] is None or cell["joules"] > 0
            texts_and_lists = {"of", "form", "weights", "marked", "problem", "round_seconds", "round_disturbed"}
            texts_and_lists |= {"calls", "joules", "one_thread"}
            numbers = [value for name, value in cell.items() if name not in texts_and_lists]
            assert all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
            assert cell["least_seconds"] <= cell["seconds"]
            assert 0 < cell["rms_error"] <= cell["largest_error"]
            if work["T"] > 1:
                assert cell["calls"] is None
                continue
            shares, values = zip(*cell["calls"]["quantiles"], strict=True)
            assert cell["calls"]["count"] >= 1
            assert list(values) == sorted(values)
            assert (shares[0], (0.9999 in shares)) == (0, cell["calls"]["problem"] is None)
        ours, small, numpy = work["results"]
        assert ours["of_fastlstm"] == 1
        assert numpy["of_fastlstm"] == numpy["seconds"] / ours["seconds"]
        assert small["rms_error"] > 100 * ours["rms_error"]
    assert f"T=3 B=2 I=5 H=9, 1 thread; the machine: {first['peak_flops'] * 1e-9:.0f} GFLOP/s" in printed.out
    assert f"{ours['largest_error']:.1e}" in printed.out
    assert f"fastlstm {fastlstm.__version__} ({fastlstm.isa()})" in printed.out


def test_the_environment_that_is_told_has_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"OMP_NUM_THREADS": "1", "TF_ENABLE_ONEDNN_OPTS": "0", "FASTLSTM_HIDE": "amx"}
    secrets = {"TF_TOKEN_example_org": "a secret", "TF_VAR_password": "a secret", "OPENAI_API_KEY": "a secret"}
    for name, value in (told | secrets).items():
        monkeypatch.setenv(name, value)
    found = command.Run(options.Options([], [], ["float32"], 1, quick=True), None)._told()["environment"]
    assert found.items() >= told.items()
    assert "a secret" not in found.values()


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="not in a source tree")
def test_the_page_names_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--quick", "--rivals", "none", "--footprint", "--shape", "H=4", "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    (work,), (to_have,) = told["works"], told["footprint"]
    parts = [told, told["machine"], work, *work["results"], work["results"][0]["calls"], to_have]
    assert [key for part in parts for key in part if f"`{key}`" not in page] == []


def test_json_alone_is_all_that_standard_output_gets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--json", "-"]) == 0
    printed = capsys.readouterr()
    assert (json.loads(printed.out)["complete"], printed.err) == (True, "")


def test_who_cannot_do_it_loses_its_cell(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*SMALL[:2], "--rivals", "ncnn,numpy", "--shape", "T=2,B=2,I=3,H=4,layers=2,directions=2"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "T=2 B=2 I=3 H=4, 2 layers, both directions, 1 thread" in printed
    assert "ncnn: ncnn: " in printed  # not here, or not for two rows
    rows = {words[0].strip("*"): words for words in map(str.split, printed.splitlines()) if len(words) == 7}
    assert rows["ncnn"][1:] == ["-"] * 6
    assert float(rows["numpy"][1]) > 0


def test_ctrl_c_leaves_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    shapes = [text for k in range(1, 60) for text in ("--shape", f"T=20,B=2,I={k},H=64")]
    start = [
        sys.executable,
        "-c",
        "from fastlstm._cli import main; raise SystemExit(main())",
        *("bench", "--quick", "--rivals", "none"),
    ]
    process = subprocess.Popen([*start, *shapes, "--json", str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = ""
    while "I=2 " not in seen:  # the first work's table is there, and the second's
        seen += (line := process.stdout.readline())
        assert line, seen
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    told = json.loads(path.read_text())
    assert told["complete"] is False
    assert 2 <= len(told["works"]) < 59
    assert told["works"][0]["results"][0]["seconds"] > 0


def test_ctrl_c_before_a_work_begins_does_not_give_it_the_times_of_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, play, played = tmp_path / "found.json", Arena.play, []

    def interrupted(self: Arena, entries: dict[str, Entry]) -> dict[str, Result]:
        played.append(entries)
        if len(played) == 2:
            raise KeyboardInterrupt
        return play(self, entries)

    monkeypatch.setattr(Arena, "play", interrupted)
    assert main([*SMALL, "--shape", "T=5,H=6", "--json", str(path)]) == 130
    (work,) = json.loads(path.read_text())["works"]
    assert (work["T"], work["results"][0]["problem"]) == (3, None)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_who_is_told_to_end_keeps_what_was_measured(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, play, played, number = tmp_path / "found.json", Arena.play, [], getattr(signal, name)

    def ended(self: Arena, entries: dict[str, Entry]) -> dict[str, Result]:
        played.append(entries)
        if len(played) == 2:
            signal.raise_signal(number)
        return play(self, entries)

    monkeypatch.setattr(Arena, "play", ended)
    usual = signal.getsignal(number)
    assert main([*SMALL, "--shape", "T=5,H=6", "--json", str(path)]) == 130
    assert signal.getsignal(number) is usual
    told = json.loads(path.read_text())
    assert (told["complete"], len(told["works"])) == (False, 1)


def test_figures_are_written_before_anything_else_can_go_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    close, path = Arena.close, tmp_path / "found.json"
    monkeypatch.setattr(command.pictures, "write", full)
    assert main([*SMALL, "--json", str(path), "--plot", str(tmp_path)]) == 1
    assert "No space left" in capsys.readouterr().err
    assert json.loads(path.read_text())["complete"] is True

    def again(self: Arena) -> None:
        close(self)
        raise KeyboardInterrupt

    path.unlink()
    monkeypatch.setattr(Arena, "close", again)
    assert main([*SMALL, "--json", str(path)]) == 130
    assert json.loads(path.read_text())["works"]


def test_what_says_nothing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--quick", "--rivals", "none", "--shape", "H=9999999"]) == 1
    printed = capsys.readouterr()
    assert "Unable to allocate" in printed.out
    assert "fastlstm bench: nothing could be measured" in printed.err


def test_why_a_share_of_the_limit_is_missing() -> None:
    case = options.case_of(3, 1, 4, 4)
    asked = options.Options([case], [], ["float32"], 2, quick=True)
    failed = Result(error="limits: no answer in 30 s")
    made = command.figures(case, asked, {"fastlstm": Result([Round(1.0, disturbed=False)]), "fma": failed})
    assert made["limit_problems"] == ["fma, limits: no answer in 30 s"]
    assert made["results"][0]["of_limit"] is None


def test_a_folder_that_takes_no_pictures_is_told_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*SMALL, "--plot", "/proc/self" if sys.platform == "linux" else __file__]) == 1
    assert "T=3" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--shape", "T=3"], "H is missing in 'T=3'"),
        (["--shape", "T=3,H=0"], "H should be a whole number from 1 to 16777216, got: '0'"),
        (["--shape", "H=4,H=5"], "each once and with =, got: 'H=5'"),
        (["--shape", "H=4,P=5"], "expected T, B, I, H, layers, directions, each once and with =, got: 'P=5'"),
        (["--shape", "H=-4"], "got: '-4'"),
        (["--shape", "H=4,directions=3"], "directions should be 1 or 2, got: 3"),
        (["--rivals", "torch,theano"], "got: 'theano'"),
        (["--threads", "0"], "expected a whole number from 1 to 1024, got: '0'"),
        (["--weights", "int4"], "int4"),
        (["--shape", "H=4", "--model", "x.npz"], "not allowed with"),
        (["--family", "audio,video"], "published, got: 'video'"),
    ],
)
def test_wrong_usage(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, "--json", str(tmp_path / "no" / "found.json")]) == 1
    printed = capsys.readouterr()
    assert "No such file or directory" in printed.err
    assert "T=3" not in printed.out


def test_a_file_s_lstms_with_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lstm = fastlstm.LSTM(5, 7, num_layers=2, bias=False, seed=3)
    fastlstm.save(lstm, tmp_path / "w.npz")
    step, sequence = command.model_cases(str(tmp_path / "w.npz"), str(tmp_path))
    assert [(case.T, case.B, case.I, case.H, case.num_layers) for case in (step, sequence)] == [
        (1, 1, 5, 7, 2),
        (100, 1, 5, 7, 2),
    ]
    weights = make(Work("sequence", sequence)).weights
    for name, array in lstm.state_dict().items():
        assert (weights.pop(name) == array).all()
    assert sorted(weights) == ["bias_hh_l0", "bias_hh_l1", "bias_ih_l0", "bias_ih_l1"]
    assert not any(array.any() for array in weights.values())
    assert main(["bench", "--quick", "--rivals", "numpy", "--model", str(tmp_path / "w.npz"), "--json", "-"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(work["name"], work["source"], work["family"]) for work in told["works"]] == [("w.npz", "w.npz", None)] * 2
    assert [cell["problem"] for work in told["works"] for cell in work["results"]] == [None] * 4


@pytest.mark.parametrize("stored", ["int8", "bfloat16", "zeros"])
def test_a_file_whose_weights_lose_nothing_in_fewer_bytes(
    stored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, path = "int8" if stored == "zeros" else stored, tmp_path / "w.npz"
    lstm = fastlstm.LSTM(5, 8, seed=3)
    if stored == "zeros":
        lstm.load_state_dict({name: np.zeros_like(array) for name, array in lstm.state_dict().items()})
        fastlstm.save(lstm, path)
    else:
        fastlstm.save(lstm.astype(weights=stored), path)
    assert (
        main(["bench", "--quick", "--rivals", "none", "--model", str(path), "--weights", weights, "--json", "-"]) == 0
    )
    for work in json.loads(capsys.readouterr().out)["works"]:
        assert [(cell["weights"], cell["problem"]) for cell in work["results"]] == [("float32", None), (weights, None)]


def test_layers_that_others_do_not_have_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fastlstm.save(fastlstm.LSTM(5, 7, proj_size=3), tmp_path / "p.npz")
    fastlstm.save(fastlstm.LSTM(5, 7, form=fastlstm.Form(peepholes=True)), tmp_path / "f.npz")
    for name, why in (("p.npz", "a projection"), ("f.npz", "others have no such form")):
        assert main(["bench", "--model", str(tmp_path / name)]) == 1
        told = capsys.readouterr().err
        assert "left out: " in told
        assert why in told
        assert "has no LSTM that could be timed" in told


def test_published_layers() -> None:
    published = families.cases(["published"])
    assert len(published) == sum(len(families.FAMILIES[name]) for name in families.FAMILIES) - 12
    assert all(case.title and case.source and case.family for case in published)
    assert len({case.title for case in published}) == len(published)
    for name, least, most in (("T", 1, 1000), ("B", 1, 150), ("I", 1, 640), ("H", 8, 512)):
        sizes = [getattr(case, name) for case in published]
        assert (min(sizes), max(sizes) > most / 2, max(sizes) <= most) == (least, True, True)
    assert {case.directions for case in published} == {1, 2}
    assert families.cases(["audio", "published"])[0].family == "audio"
    assert len(families.cases(["audio", "published"])) == len(published)


def test_a_family_by_name(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(families.FAMILIES, "audio", families.FAMILIES["audio"][:1])  # type: ignore[misc]
    assert main(["bench", "--quick", "--rivals", "none", "--family", "audio", "--json", "-"]) == 0
    (work,) = json.loads(capsys.readouterr().out)["works"]
    assert (work["family"], work["source"]) == ("audio", "sdatkinson/neural-amp-modeler")
    assert work["name"] == "NAM LSTM 1x8, 64 samples at 48 kHz"


def test_what_is_entered() -> None:
    case = options.case_of(1, 1, 8, 8)
    asked = options.Options([case], ["torch", "numpy"], ["float32", "int8-fast"], 1, quick=True)
    found = command.entries(case, asked)
    assert found["fastlstm int8-fast"] == ("fastlstm", Work("step_out", case, 1, "int8-fast"))
    assert found["torch int8"] == ("torch", Work("step_cell", case, 1, "int8"))
    assert found["numpy"] == ("numpy", Work("step_cell", case, 1))
    assert "torch bfloat16" not in found
    assert "numpy int8" not in found
    assert found["read int8"] == ("limits", Work("read", case, 1, "int8"))


def test_each_way_of_a_rival_is_entered() -> None:
    step, sequence = options.case_of(1, 1, 8, 8), options.case_of(5, 1, 8, 8)
    asked = options.Options([step, sequence], ["torch", "onnxruntime"], ["float32", "int8"], 1, quick=False)
    assert command.entries(step, asked)["torch LSTM"] == ("torch", Work("step_cell", step, form="LSTM"))
    assert "torch compiled int8" not in command.entries(step, asked)
    found = command.entries(sequence, asked)
    assert "torch LSTM" not in found  # it is the usual way
    assert found["torch compiled"] == ("torch", Work("sequence", sequence, form="compiled"))
    assert found["onnxruntime run int8"] == ("onnxruntime", Work("sequence", sequence, weights="int8", form="run"))


def test_rivals_may_prefer_one_thread() -> None:
    case = options.case_of(5, 1, 8, 8)
    asked = options.Options([case], ["torch", "numpy"], ["float32", "int8"], 2, quick=False)
    found = command.entries(case, asked)
    assert found["torch"] == ("torch", Work("sequence", case, 2))
    assert found["torch, 1 thread"] == ("torch", Work("sequence", case, 1))
    assert [label for label in found if "1 thread" in label] == ["torch, 1 thread", "numpy, 1 thread"]
    works = [command.figures(case, asked, {label: Result([Round(1.0, disturbed=False)]) for label in found})]
    cells = [(cell["of"], cell["one_thread"]) for cell in works[0]["results"] if cell["of"] == "numpy"]
    assert cells == [("numpy", False), ("numpy", True)]
    assert not any("1 thread" in label for label in command.entries(case, replace(asked, quick=True)))
    assert not any("1 thread" in label for label in command.entries(case, replace(asked, threads=1)))


def test_a_share_needs_calls_that_were_slower() -> None:
    assert command.singly(np.zeros(0)) is None
    few = command.singly(np.arange(1000.0))
    assert few is not None
    assert [share for share, _ in few["quantiles"] if share > 0.9] == [0.95, 0.99]
    assert few["problem"] == "1000 calls; 99.99% needs 100000"
    enough = command.singly(np.arange(100_001.0))
    assert enough is not None
    assert enough["quantiles"][-1] == [0.9999, pytest.approx(99_990)]
    assert enough["problem"] is None


def test_limits() -> None:
    peak, read = 1e9, 1e-3
    step, sequence = options.case_of(1, 1, 10, 20), options.case_of(7, 3, 10, 20, 2, 2)
    assert command.limit(step, peak, 0.0) == pytest.approx(2 * 80 * 30 / peak)
    assert command.limit(step, peak, read) == read
    flops = 7 * 3 * 2 * 80 * 2 * ((10 + 40) + 2 * 20)
    assert command.limit(sequence, peak, 0.0) == pytest.approx(flops / peak)
    assert command.limit(sequence, peak, read) == pytest.approx(7 * 2 * 2 * read)  # longer than the products
    assert command.limit(sequence, math.inf, read) == pytest.approx(7 * 2 * 2 * read)


def test_the_bytes_that_a_limit_reads_are_those_that_have_to_be_near() -> None:
    step, sequence = options.case_of(1, 1, 10, 20, 3, 2), options.case_of(7, 3, 10, 20, 3, 2)
    weights = sum(math.prod(shape) for name, shape in step.weight_shapes().items() if name.startswith("weight"))
    assert footprint(step) == 4 * weights
    assert footprint(step, "int8-fast") == weights
    assert footprint(sequence, "bfloat16") == 2 * math.prod(sequence.weight_shapes()["weight_hh_l0"])


def test_others_16_bits_are_not_held_against_float32_s_peak() -> None:
    case = options.case_of(7, 300, 10, 20)  # at FLOPS in a second the products take longer than 7 seconds
    asked = options.Options([case], ["torch"], ["float32", "bfloat16", "int8"], 1, quick=True)
    results = {label: Result([Round(1.0, disturbed=False)]) for label in command.entries(case, asked)}
    found = command.figures(case, asked, results)
    shares = {(cell["of"], cell["weights"]): cell["of_limit"] for cell in found["results"]}
    float32 = shares["fastlstm", "float32"]
    assert shares["fastlstm", "bfloat16"] == shares["torch", "float32"] == float32 > 7
    assert shares["torch", "bfloat16"] == shares["torch", "int8"] == shares["fastlstm", "int8"] == 7


def test_the_machine_s_loops() -> None:
    from fastlstm import _core

    for name in fastlstm.isas():
        assert _core.limit_multiply(name.encode(), 5) == 5 * 384
        assert _core.limit_read(name.encode(), np.ones(1000, np.uint8), 3) == 3 * 768
        assert _core.limit_read(name.encode(), np.ones(100_000, np.uint8), 3) == 3 * 99_840  # in parts, to and fro
        assert _core.limit_read(name.encode(), np.ones(0, np.uint8), 3) == 0
    with pytest.raises(ValueError, match="instruction set"):
        _core.limit_multiply(b"none", 1)
    with pytest.raises(ValueError, match="contiguous"):
        _core.limit_read(b"scalar", np.ones((4, 4), np.uint8)[:, 1], 1)


def test_disturbed_rounds_are_repeated_and_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena(rounds=6, seconds=0.0001)
    taken: list[Round] = []

    def ask(result: Result, entry: object, name: str, argument: object, keep: Any) -> None:
        keep(1 if name == "calls" else Round(1.0, disturbed=len(result.rounds) < 4))
        taken[:] = result.rounds

    monkeypatch.setattr(arena, "_ask", ask)
    found = arena.play({"ours": ("fastlstm", Work("sequence", Case("disturbed", 2, 1, 3, 4)))})["ours"]
    arena.close()
    assert len(found.rounds) == 9  # 4 disturbed and 5 that were not
    assert not command.cell(found, 1.0, None)["marked"]
    found.rounds = [Round(1.0, disturbed=True)] * 6
    assert command.cell(found, 1.0, None)["marked"]


def test_the_rest_of_the_command_line_does_without() -> None:
    code = "import sys, fastlstm._cli; print(*(name for name in sys.modules if name.startswith('fastlstm.bench')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    needed = [f"fastlstm.bench{name}" for name in ("", ".families", ".options", ".works")]
    assert sorted(done.stdout.split()) == needed


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_without_rich(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)  # its import fails
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    progress = Progress(3)
    for work in ("first", "second"):
        with progress.of(work):
            progress.tell("numpy", 0, 5)
            progress.tell("numpy", 2, 5)
    told = capsys.readouterr().err
    assert bool(told) == terminal
    assert ("1 of 3: first: numpy, preparing" in told) == terminal
    assert ("2 of 3: second: numpy, round 2 of at most 5, about " in told) == terminal
    assert told.endswith("\x1b[K") == terminal  # the line is gone


def test_progress_stays_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    progress = Progress(1)
    with progress.of("a work"):
        progress.tell("numpy", 2, 5)
    assert "\x1b[K1 of 1: a work: num\r" in capsys.readouterr().err


def test_progress_with_rich_takes_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = Progress(1)
    with progress.of("enc[/bold]"):
        progress.tell("numpy", 0, 5)
