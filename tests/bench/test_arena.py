"""No time without a right answer: what the benchmarks check before they time anything. No clock is looked at here."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from bench.works import CHECKED_STEPS, ZERO_SHARE, ZEROS, Case, Work, make
from fastlstm import reference
from fastlstm.bench import arena as arenas
from fastlstm.bench.arena import Arena, in_order, products
from fastlstm.bench.truth import ALLOWED, BOUNDS, complaint, distance, expected
from fastlstm.bench.worker import _told
from tests.cases import TOLERANCES

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nobody has run the benchmarks on Windows yet")

STEP = Case("arena-step", T=1, B=1, I=5, H=9)
TWO_LAYERS = Case("arena-layers", T=7, B=3, I=5, H=9, num_layers=2, bidirectional=True)
TOKENS = Case("arena-tokens", T=6, B=1, I=5, H=9)
WORKS = [Work("sequence", TWO_LAYERS), Work("sequence", TWO_LAYERS, threads=2)]
WORKS += [Work(kind, STEP) for kind in ("step", "step_out", "step_c", "step_cell", "step_unlooked")]
WORKS += [Work(kind, replace(STEP, T=6)) for kind in ("training", "sequence_zeros", "sequence_dense")]
ALIKE = [[Work("step_zeros", STEP), Work("sequence_dense", replace(STEP, T=CHECKED_STEPS))]]
if hasattr(fastlstm.Stream, "advance"):
    ALIKE += [[Work(kind, STEP) for kind in ("step_out", "step_advanced", "step_both")]]
if hasattr(fastlstm.LSTM, "table"):
    ALIKE += [[Work(kind, TOKENS) for kind in ("tokens", "tokens_table")]]
    ALIKE += [[Work(kind, TOKENS) for kind in ("tokens_step", "tokens_step_table")]]
WORKS += [work for group in ALIKE for work in group]
FEWER = ("float16", "bfloat16", "int8", "int8-fast")
WORKS += [Work(kind, STEP, weights=weights) for kind in ("step", "step_cell", "sessions") for weights in FEWER]
ALONE = Case("arena-alone", T=40, B=2, I=48, H=64)


def waits_until(done: Callable[[], bool]) -> None:
    """Wait for something that has to come soon."""
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    arena = Arena(rounds=1, seconds=0.0001)
    yield arena
    arena.close()


@pytest.mark.parametrize("work", WORKS, ids=str)
def test_our_answer_is_the_reference_s(arena: Arena, work: Work) -> None:
    assert arena.prepare({"ours": ("fastlstm", work)})["ours"].error is None


@pytest.mark.parametrize("works", ALIKE, ids=lambda works: works[0].kind)
def test_what_a_row_compares_has_the_same_bits(arena: Arena, works: list[Work]) -> None:
    entries = {work.kind: ("fastlstm", work) for work in works}
    assert [result.error for result in arena.prepare(entries, alike=entries).values()] == [None] * len(works)


def test_a_wrong_answer_gets_no_time(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work("step", STEP)
    monkeypatch.setattr(arenas, "expected", lambda work: expected(work) + 1e-3)
    result = arena.play({"ours": ("fastlstm", work)})["ours"]
    assert "wrong answer" in str(result.error)
    assert (result.rounds, result.seconds) == ([], None)


def test_other_bits_get_no_time(arena: Arena) -> None:
    entries = {name: ("fastlstm", Work("step", replace(STEP, name=name))) for name in ("arena-a", "arena-b")}
    assert all(result.rounds for result in arena.play(entries).values())
    first, second = arena.play(entries, alike=entries).values()
    assert first.rounds
    assert (second.error, second.rounds) == (
        "fastlstm: step arena-b: wrong answer: other bits than those of 'arena-a'",
        [],
    )


def test_fewer_bytes_are_told_how_far_they_are_from_the_same_answer(arena: Arena) -> None:
    entries = {name: ("fastlstm", Work("sequence", ALONE, weights=name)) for name in ("float32", *FEWER)}
    results = arena.play(entries)
    assert [result.error for result in results.values()] == [None] * len(entries)
    off = [result.off.rms for result in results.values() if result.off is not None]
    assert off[0] < off[1] < off[2] < off[3] < off[4]
    assert all(result.off.largest >= result.off.rms for result in results.values() if result.off is not None)


def _wrong(how: str, answer: np.ndarray[Any, Any], work: Work) -> np.ndarray[Any, Any]:
    weights = {name: array.astype(np.float64) for name, array in make(work).weights.items()}
    if how == "late":
        return np.roll(answer, 1, axis=0)
    if how == "no recurrence":
        weights["weight_hh_l0"] *= 0
    if how == "gates exchanged":
        gates = {name: np.split(array, 4) for name, array in weights.items()}
        weights = {name: np.concatenate([f, i, g, o]) for name, (i, f, g, o) in gates.items()}
    if how == "one bias":
        weights["bias_hh_l0"] *= 0
    output, _ = reference.lstm_forward(make(work).x.astype(np.float64), None, weights, num_layers=1)
    return output


@pytest.mark.parametrize("how", ["late", "no recurrence", "gates exchanged", "one bias", "zeros", "nan"])
@pytest.mark.parametrize("weights", BOUNDS)
def test_an_answer_that_is_wrong_is_not_taken_for_one_of_fewer_bytes(how: str, weights: str) -> None:
    work = Work("sequence", ALONE, weights=weights)
    right = expected(Work("sequence", ALONE))
    wrong = {"zeros": right * 0, "nan": np.where(np.arange(ALONE.H) == 3, np.nan, right)}
    answer = wrong[how] if how in wrong else _wrong(how, right, work)
    told = complaint(work, answer.astype(np.float32), right)
    assert told is not None
    assert f"{weights}: wrong answer: the rms error" in told


@pytest.mark.parametrize("weights", BOUNDS)
def test_float32_is_not_taken_for_fewer_bytes(weights: str) -> None:
    right = expected(Work("sequence", ALONE))
    told = complaint(Work("sequence", ALONE, weights=weights), right.astype(np.float32), right)
    assert told is not None
    assert "as exact as float32" in told


def test_a_bound_is_of_the_answer_s_size() -> None:
    work = Work("sequence", ALONE, weights="int8-of-some-engine")
    right = expected(Work("sequence", ALONE))
    noise = np.random.default_rng(0).standard_normal(right.shape)
    noise *= np.sqrt(np.mean(right**2) / np.mean(noise**2))
    fine, coarse = ((right + part * noise).astype(np.float32) for part in (0.049, 0.051))
    assert distance(fine, right).rms == pytest.approx(0.049 * np.sqrt(np.mean(right**2)), rel=1e-4)
    assert complaint(work, fine, right) is None
    assert complaint(work, coarse, right) is not None
    with pytest.raises(KeyError):
        complaint(replace(work, weights="int4"), fine, right)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("dies at once", "the process ended: SIGABRT"),
        ("dies later", "the process ended: SIGABRT"),
        ("hangs at once", "no answer in 2 s"),
        ("hangs later", "no answer in 2 s"),
        ("ends slowly later", "the process has not ended in 2 s, but gives no answers any more"),
        ("refuses", "ValueError: no such shape"),
        ("is wrong", "wrong answer"),
    ],
)
def test_who_fails_loses_that_and_nothing_else(how: str, told: str, capfd: pytest.CaptureFixture[str]) -> None:
    arena = Arena(rounds=2, seconds=0.0001, modules={"rival": "tests.bench.rival"}, hung=2)
    bad, good = (Work("sequence", replace(STEP, T=3, name=name)) for name in (f"rival {how}", "rival"))
    try:
        results = arena.play({"bad": ("rival", bad), "ours": ("fastlstm", bad)})
        assert results["bad"].error is not None
        assert told in results["bad"].error
        assert results["bad"].rounds == []
        assert results["ours"].error is None
        assert len(results["ours"].rounds) >= 2
        assert len(arena.play({"good": ("rival", good)})["good"].rounds) >= 2
    finally:
        arena.close()
    assert capfd.readouterr().out == ""


def test_who_dies_when_calls_are_timed_singly_loses_all() -> None:
    arena = Arena(rounds=1, seconds=0.01, modules={"rival": "tests.bench.rival"}, first=True)
    try:
        names = "rival", "rival dies singly"
        works = {name: Work("sequence", replace(STEP, T=1, name=name), form=name) for name in names}  # two processes
        entries = {name: ("rival", work) for name, work in works.items()}
        results = arena.play(entries)
        assert all(result.rounds for result in results.values())
        arena.play_singly(entries, results, 60.0, 2000)
        fine, bad = results.values()
        assert (len(fine.singly), fine.error) == (2000, None)
        assert (len(bad.singly), bad.rounds, bad.error) == (0, [], "rival: the process ended: SIGABRT")
    finally:
        arena.close()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("import numpy; numpy.what_is_gone", "rival: cannot be used: AttributeError: module 'numpy' has no attribute"),
        ("import nothing_such", "rival: not here: No module named 'nothing_such'"),
        ("raise ImportError('one\\ntwo')", "rival: not here: one"),
        (
            "def version(): raise OSError('a library is missing')",
            "rival: cannot be used: OSError: a library is missing",
        ),
        ("raise SystemExit(7)", "rival: the process ended: status 7"),
    ],
)
def test_who_is_there_in_part_says_what_is_missing(
    code: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in_part.py").write_text(f"label = 'rival'\n{code}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    arena = Arena(rounds=1, modules={"rival": "in_part"})
    try:
        assert str(arena.prepare({"rival": ("rival", Work("step", STEP))})["rival"].error).startswith(told)
    finally:
        arena.close()


def test_what_a_rival_says_is_a_short_line_that_steers_no_terminal() -> None:
    assert _told(ValueError("\x1b[31mred\nmore")) == r"ValueError: '\x1b[31mred'"
    assert len(_told(ValueError("x" * 1_000_000))) < 400
    assert _told(ValueError()) == "ValueError: "


def test_signals_without_a_name() -> None:
    assert [arenas.told(status) for status in (-6, -40, 3)] == ["SIGABRT", "signal 40", "status 3"]


def test_a_right_answer_that_needs_too_much_memory_costs_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(work: Work) -> None:
        raise MemoryError("Unable to allocate")

    arena = Arena(rounds=1)
    monkeypatch.setattr(arenas, "expected", too_much)
    try:
        assert arena.play({"ours": ("fastlstm", Work("step", STEP))})["ours"].error == "fastlstm: Unable to allocate"
    finally:
        arena.close()


def test_all_end_though_ctrl_c_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def again(self: object) -> None:
        raise KeyboardInterrupt

    arena = Arena(rounds=1)
    arena.prepare({str(threads): ("fastlstm", Work("step_cell", STEP, threads)) for threads in (1, 2)})
    found = [each._process for each in arena._workers.values()]
    monkeypatch.setattr(arenas._Process, "wait", again)
    with pytest.raises(KeyboardInterrupt):
        arena.close()
    assert len(found) == 2
    assert all(process.returncode is not None for process in found)


def test_nobody_always_follows_the_same() -> None:
    three = ["ours", "again", "before"]
    assert len({tuple(in_order(three, turn)) for turn in range(6)}) == 6  # all orders that there are
    four = [in_order("abcd", turn) for turn in range(8)]
    assert sorted(order[0] for order in four) == sorted("abcd" * 2)
    after = [order.index("b") > order.index("a") for order in four]
    assert sum(after) == 4
    assert (in_order([], 3), in_order(["alone"], 3)) == ([], ["alone"])


def test_numpy_s_products_have_the_threads_of_the_work() -> None:
    arena = Arena(rounds=1, seconds=0.0001, modules=dict.fromkeys(("numpy", "other"), "tests.bench.rival"))
    try:
        for name, threads in (("other", 3), ("numpy", 1), ("numpy", 3)):
            arena.prepare({name: (name, Work("sequence", replace(STEP, T=3, name="rival"), threads))})
        assert arena.versions == ["rival 1", "rival 3"]
    finally:
        arena.close()
    for name, told in (("numpy", "3"), ("torch", None)):
        assert products(name, 3).get("MKL_NUM_THREADS") == told  # torch's products are not NumPy's


def _state(pid: int) -> str:
    """Tell the state of a process, in Linux's letter; empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return ""


linux = pytest.mark.skipif(sys.platform != "linux", reason="states of processes are read from /proc")


@linux
def test_nobody_gets_a_gpu(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    work = Work("sequence", replace(STEP, name="no gpu"), form="of its own")  # a process that is not there yet
    process = arena._worker("fastlstm", work)._process
    given = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    assert {b"CUDA_VISIBLE_DEVICES=", b"JAX_PLATFORMS=cpu", b"KERAS_TORCH_DEVICE=cpu"} <= set(given)


def _has_stopped(pid: int) -> bool:
    return _state(pid) == "T"


@linux
def test_who_waits_is_stopped() -> None:
    seen: set[int] = set()

    def tell(label: str, turn: int, rounds: int) -> None:
        """Between two turns everyone has stopped, and does not only sleep, or is about to."""
        for worker in arena._workers.values():
            waits_until(partial(_has_stopped, worker._process.pid))
            seen.add(worker._process.pid)

    arena = Arena(rounds=2, seconds=0.0001, modules={"rival": "tests.bench.rival"}, tell=tell)
    try:
        work = Work("sequence", replace(STEP, T=3, name="rival"))
        results = arena.play({"ours": ("fastlstm", work), "rival": ("rival", work)})
        assert all(result.error is None for result in results.values())
    finally:
        arena.close()
    assert [_state(pid) for pid in seen] == ["", ""]


@linux
def test_whom_one_who_dies_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RIVAL_CHILD", str(tmp_path / "child"))
    arena = Arena(rounds=1, seconds=0.0001, modules={"rival": "tests.bench.rival"}, hung=20)
    try:
        work = Work("sequence", replace(STEP, T=3, name="rival leaves a child later"))
        assert arena.play({"rival": ("rival", work)})["rival"].error == "rival: the process ended: SIGABRT"
        child = int((tmp_path / "child").read_text())
        waits_until(lambda: _state(child) in {"", "Z"})
    finally:
        arena.close()


@linux
def test_who_waits_ends_with_the_one_who_started_it() -> None:
    code = """
import os, signal
from fastlstm.bench.arena import Arena
from fastlstm.bench.works import Case, Work
arena = Arena(rounds=1)
arena.prepare({"ours": ("fastlstm", Work("sequence", Case("orphan", 2, 1, 3, 4)))})
print(*(worker._process.pid for worker in arena._workers.values()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    (pid,) = map(int, done.stdout.split())
    waits_until(lambda: _state(pid) in {"", "Z"})  # a zombie is for whoever adopts it


def test_answers_may_be_as_far_off_as_the_package_s_tests_allow() -> None:
    kinds = {"forward": "forward, wide", "gradients": "gradients, wide", "activation": "sigmoid"}
    assert {kind: TOLERANCES[name].float32 for kind, name in kinds.items()} == ALLOWED


def test_who_is_not_installed_is_missed(arena: Arena) -> None:
    result = arena.play({"nobody": ("nobody", Work("step", STEP))})["nobody"]
    assert "not here" in str(result.error)


def test_nan_is_a_wrong_answer() -> None:
    work = Work("sequence", STEP)
    right = expected(work)
    assert complaint(work, right.astype(np.float32), right) is None
    assert complaint(work, np.full_like(right, np.nan, np.float32), right) is not None


def test_zeros_are_as_many_as_the_table_says() -> None:
    case, _ = ZEROS
    x = make(Work("step_zeros", case)).x
    assert x.shape == (CHECKED_STEPS, 1, case.I)
    assert ((x == 0).sum(axis=2) == ZERO_SHARE * case.I).all()
    assert (make(Work("step", case)).x != 0).all()
