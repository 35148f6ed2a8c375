"""Weights in fewer bytes than float32, ours and others': the time, and what it costs of the answer."""

from collections.abc import Mapping
from operator import attrgetter
from typing import NamedTuple

import pytest

import fastlstm
from bench.clock import now
from bench.conftest import Record
from bench.rows import centile, micro, seconds
from bench.works import ADVANCED, BATCHES, SEQUENCES, SESSIONS, STEPS, Case, Work
from fastlstm.bench.arena import Arena, Entry, Result
from fastlstm.bench.report import Cell, Row

pytestmark = pytest.mark.benchmark(timer=now)

OURS = ("float32", "float16", "bfloat16", "int8", "int8-fast")
# Who can be had for it, and their own words for the weights.
RIVALS = {
    "onnxruntime": ("int8", "int8-matmul"),
    "torch": ("int8", "int8-onednn", "bfloat16"),
    "onednn": ("int8", "bfloat16"),
}
VNNI = "vnni" in fastlstm.LSTM(1, 1, weights="int8").isa
# The rms error that is allowed beside the fastest rival's in 8 bits.
ERROR = {"int8": 1 / 3}


# Of a type of weights: for each size on AVX2, the same with VNNI (0: none), and beside the rival.
Wanted = tuple[tuple[float, ...], tuple[float, ...], float | None]


class Goals(NamedTuple):
    """How many times as fast as our float32 by H, and as the fastest rival in 8 bits, something should be."""

    own: Mapping[int, float]
    rival: float | None = None


def _goals(sizes: tuple[int, ...], **wanted: Wanted) -> dict[str, Goals]:
    made = {}
    for weights, (avx2, vnni, rival) in wanted.items():
        own = {H: factor for H, factor in zip(sizes, vnni if VNNI else avx2, strict=True) if factor}
        made[weights.replace("_", "-")] = Goals(own, rival)
    return made


SEQUENCE_GOALS = _goals(
    (128, 256, 512, 1024),
    int8=((1.4, 1.7, 1.9, 2), (2.5, 3.5, 7, 3.8), 1.2 if VNNI else 0.7),
    int8_fast=((2.2, 3, 3.2, 3.5), (3.5, 5, 8, 4), 1.3),
    float16=((0, 1.6, 1.8, 1.8), (0, 0, 1.7, 1.9), None),
    bfloat16=((0, 1.2, 1.6, 1.8), (0, 1.4, 1.8, 1.9), None),
)
STEP_GOALS = _goals((128, 256, 512), int8_fast=((2, 2.8, 3), (4, 6, 8), 1.5))
BATCH_GOALS = _goals((128, 256, 512), int8=((1, 1, 1), (1.7, 1.7, 1.7), None), int8_fast=((1.5,) * 3, (3,) * 3, 1.15))
SESSION_GOALS = _goals((128, 256), int8_fast=((1.5, 1.5), (3, 3), 1.3))
AHEAD_GOAL = 1.9 if VNNI else 2.5  # microseconds: the best figure that is published of an FPGA is 1.9


def _sized(cases: tuple[Case, ...], *sizes: int) -> list[Case]:
    return [case for case in cases if case.H in sizes]


@pytest.mark.parametrize("case", _sized(SEQUENCES, 64, 128, 256, 512, 1024), ids=attrgetter("name"))
def test_sequence(arena: Arena, record: Record, case: Case) -> None:
    """A sequence alone."""
    results = arena.play(_entries("sequence", case))
    record("Fewer bytes, a sequence alone: T=100, B=1, I=H, 1 thread", _rows(case, results, SEQUENCE_GOALS), results)


@pytest.mark.parametrize("case", _sized(STEPS, 64, 128, 256, 512), ids=attrgetter("name"))
def test_step(arena: Arena, record: Record, case: Case) -> None:
    """A step from Python: ours of a stream with ``out``, the rivals' of a cell, or of a sequence of one."""
    results = arena.play(_entries("step_out", case, theirs="step_cell"))
    record("Fewer bytes, one step from Python: B=1, I=H, 1 thread", _rows(case, results, STEP_GOALS), results)


@pytest.mark.parametrize("case", _sized(BATCHES, 64, 128, 256, 512), ids=attrgetter("name"))
def test_batch(arena: Arena, record: Record, case: Case) -> None:
    """A batch of sequences."""
    results = arena.play(_entries("sequence", case))
    record("Fewer bytes, a batch: T=50, B=32, I=H, 1 thread", _rows(case, results, BATCH_GOALS), results)


@pytest.mark.parametrize("case", [case for case in SESSIONS if case.B == 64], ids=attrgetter("name"))
def test_sessions(arena: Arena, record: Record, case: Case) -> None:
    """One step of 64 of many sessions, in another company every time."""
    results = arena.play(_entries("sessions", case))
    record("Fewer bytes, 64 sessions a call: I=H, 1 thread", _rows(case, results, SESSION_GOALS), results)


@pytest.mark.parametrize("case", ADVANCED[1:], ids=attrgetter("name"))
def test_ahead(arena: Arena, record: Record, case: Case) -> None:
    """A step of two layers from Python, each alone on the clock, after `advance`."""
    entries: dict[str, Entry] = {name: ("fastlstm", Work("step_advanced", case, weights=name)) for name in OURS}
    results = arena.play_single(entries, seconds=2.0)
    rows: list[Row] = []
    for name, result in results.items():
        row: Row = {"weights": name, "median us": micro(result), "99 % us": centile(result, 99), **_errors(result)}
        goal = AHEAD_GOAL if name == "int8-fast" else None
        row |= {"goal": None if goal is None else f"< {goal:g} us", "met": None}
        if goal is not None:
            row["met"] = seconds(result) * 1e6 < goal
        rows.append(row)
    layers = f"{case.num_layers} x {case.H}"
    record(f"Fewer bytes, one step of {layers} from Python, after advance: B=1, I=H, 1 thread", rows, results)


def _entries(ours: str, case: Case, theirs: str | None = None) -> dict[str, Entry]:
    entries: dict[str, Entry] = {name: ("fastlstm", Work(ours, case, weights=name)) for name in OURS}
    for rival, words in RIVALS.items():
        if rival == "onednn" and ours == "sessions":  # its primitive takes no states that are gathered anew
            continue
        entries |= {f"{rival} {word}": (rival, Work(theirs or ours, case, weights=word)) for word in words}
    return entries


def _rows(case: Case, results: Mapping[str, Result], goals: Mapping[str, Goals]) -> list[Row]:
    own = seconds(results["float32"])
    timed = [result for name, result in results.items() if " int8" in name and result.seconds is not None]
    best = min(timed, key=seconds, default=None)
    return [_row(case, name, result, own, best, goals.get(name)) for name, result in results.items()]


def _row(case: Case, name: str, result: Result, own: float, best: Result | None, goals: Goals | None) -> Row:
    row: Row = {"H": str(case.H), "of": name, "us": micro(result), "as fast as our float32": None}
    row |= {"as the best int8 rival": None, **_errors(result), "rms to its": None, "goal": None, "met": None}
    if result.seconds is None:
        return row
    row["as fast as our float32"] = gain = own / result.seconds
    over = share = None
    if best is not None and best.off is not None and result.off is not None:
        row["as the best int8 rival"] = over = seconds(best) / result.seconds
        row["rms to its"] = share = result.off.rms / best.off.rms
    if goals is not None and case.H in goals.own:
        row["goal"], row["met"] = _judged(name, goals, goals.own[case.H], (gain, over, share))
    return row


def _judged(name: str, goals: Goals, own: float, found: tuple[float, float | None, float | None]) -> tuple[Cell, Cell]:
    gain, over, share = found
    told, met = f"{own:g}x", gain >= own
    if goals.rival is not None:
        told += f", {goals.rival:g}x"
        met = met and over is not None and over >= goals.rival
        if (error := ERROR.get(name)) is not None:
            told += f", {error:.0%}"
            met = met and share is not None and share <= error
    return told, met


def _errors(result: Result) -> Row:
    if result.off is None:
        return {"largest error": None, "rms error": None}
    return {"largest error": result.off.largest, "rms error": result.off.rms}
