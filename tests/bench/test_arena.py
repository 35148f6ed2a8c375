"""No time without a right answer: what the benchmarks check before they time anything. No clock is looked at here."""

import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import fastlstm
from bench import arena as arenas
from bench.arena import Arena
from bench.truth import complaint, expected
from bench.works import CHECKED_STEPS, ZERO_SHARE, ZEROS, Case, Work, make

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the benchmarks' processes inherit descriptors")

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
