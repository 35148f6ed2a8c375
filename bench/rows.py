"""From results to rows: the physical limit, the ratio to the better rival, and whether the goal was met."""

import os
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

import fastlstm
from bench.works import Case, Work
from fastlstm.bench.arena import LIMITS, Entry, Result
from fastlstm.bench.contenders.limits_ import FLOPS, footprint
from fastlstm.bench.report import Cell, Row

RIVALS = ("torch", "onnxruntime")
ALL_RIVALS = (*RIVALS, "openvino", "onednn")
TRAINING_RIVALS = ("torch", "onednn", "jax")  # the packages of ONNX Runtime and OpenVINO have no backward pass
_ALL = (*ALL_RIVALS, "jax")

Results = Mapping[str, Result]
T = TypeVar("T")


def rivals(work: Work, names: Sequence[str] = RIVALS) -> dict[str, Entry]:
    """Enter all rivals for a work: with its threads, and also with one, which small sizes often prefer."""
    entries: dict[str, Entry] = {name: (name, work) for name in names}
    if work.threads > 1:
        alone = Work(work.kind, work.case)
        entries |= {f"{name}, 1 thread": (name, alone) for name in names}
    return entries


def before(work: Work) -> dict[str, Entry]:
    """Enter another build of ours, where FASTLSTM_BEFORE names one."""
    return {"before": ("before", work)} if os.environ.get("FASTLSTM_BEFORE") else {}


def by_isa(avx2: T, avx512: T) -> T:
    """Choose between goals for CPUs without AVX-512 and for those with it."""
    return avx512 if fastlstm.isa() == "avx512" else avx2


def limits(case: Case, threads: int) -> dict[str, Entry]:
    """Enter the limits of the machine for a case: "fma" and "read"."""
    return {kind: (LIMITS, Work(kind, case, threads)) for kind in ("fma", "read")}


def peak(results: Results, threads: int) -> float:
    """Tell how many floating point operations per second were possible in the same rounds, all threads together."""
    return FLOPS * threads / seconds(results["fma"])


def bandwidth(results: Results, case: Case) -> float:
    """Tell how many bytes of weights per second could be read in the same rounds, all threads together."""
    return footprint(case) / seconds(results["read"])


def seconds(result: Result) -> float:
    """Return the median seconds per call of someone who must be there: ourselves, or a limit."""
    if result.seconds is None:
        raise RuntimeError(result.error)
    return result.seconds


def better(results: Results) -> float | None:
    """Return the median seconds per call of the better rival, with as many threads as suit it; None without rivals."""
    times = [result.seconds for name, result in results.items() if name.startswith(_ALL)]
    return min((time for time in times if time is not None), default=None)


def micro(result: Result) -> Cell:
    """Make a cell of a time: microseconds per call."""
    return None if result.seconds is None else result.seconds * 1e6


def centile(result: Result, percent: float) -> Cell:
    """Make a cell of one of the slower calls: so many per cent were faster; 100 is for the slowest of all."""
    return float(np.percentile(result.times, percent)) * 1e6 if result.rounds else None


def race(row: Row, results: Results, ours: str, limit: float, *, goal: float, share: float | None = None) -> Row:
    """Complete the row of a race against the rivals.

    `limit`: seconds per call that the machine needs in any case, of which we want to reach `share`; `goal`: how many
    times faster than the better rival we want to be. The ratio to that rival is above 1 where we are faster.
    """
    time, rival = seconds(results[ours]), better(results)
    ratio = None if rival is None else rival / time
    reached = limit / time
    met = ratio is not None and ratio >= goal and (share is None or reached >= share)
    columns: Row = {f"{ours} us": time * 1e6}
    columns |= {f"{name} us": micro(result) for name, result in results.items() if name.startswith(_ALL)}
    if "before" in results:
        columns |= {"before us": micro(results["before"]), "of before": f"{time / seconds(results['before']):.0%}"}
    columns |= {
        "of limit": f"{reached:.0%}",
        "ratio": ratio,
        "possible": None if rival is None else rival / limit,
        "goal": f"{goal:g}x" if share is None else f"{goal:g}x {share:.0%}",
        "met": met,
    }
    return row | columns
