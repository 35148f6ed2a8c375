"""The answer for the last inputs, after every input: windows that slide, against windows that are computed again."""

from dataclasses import replace
from operator import attrgetter

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import better, centile, limits, micro, peak, rivals, seconds
from bench.works import WINDOWS, Case, Work
from fastlstm.bench.arena import Arena, Entry
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)

# How many steps of a stream an answer may take, when the time between inputs was used.
STEPS = 1.2


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", WINDOWS, ids=attrgetter("name"))
def test_window(arena: Arena, record: Record, case: Case, threads: int) -> None:
    """Every call is timed alone: `push` with `advance` between the inputs, off the clock, and without.

    Two threads share what a `push` without `advance` has to do for the other windows. The limit of an answer is to read
    all weights once, in one thread; without `advance` all the other windows come on top, at the FMA peak.
    """
    entries: dict[str, Entry] = {
        "advanced": ("fastlstm", Work("window_advanced", case, threads)),
        "push": ("fastlstm", Work("window", case, threads)),
        "step": ("fastlstm", Work("step_out", case)),
        "fastlstm again": ("fastlstm", Work("window_again", case, threads)),
    }
    results = arena.play_single(entries | rivals(Work("window_again", case, threads), ("onnxruntime",)), seconds=2.0)
    step = replace(case, T=1)
    one = seconds(arena.play(limits(step, 1))["read"])
    flops = 2 * (case.T - 1) * 4 * case.H * (case.I + (2 * case.num_layers - 1) * case.H)
    others = flops / peak(arena.play(limits(step, threads)), threads)

    time, push, rival = seconds(results["advanced"]), seconds(results["push"]), better(results)
    row: Row = {"layers x H": f"{case.num_layers} x {case.H}", "length": str(case.T), "threads": str(threads)}
    for name, result in results.items():
        row |= {f"{name} us": micro(result), f"{name}, 99 % us": centile(result, 99)}
    row |= {
        "of limit": f"{one / time:.0%}",
        "push, of limit": f"{(one + others) / push:.0%}",
        "onnxruntime / push": None if rival is None else rival / push,
        "onnxruntime / advanced": None if rival is None else rival / time,
        "advanced / step": time / seconds(results["step"]),
        "goal": f"{STEPS:g} steps",
        "met": time <= STEPS * seconds(results["step"]),
    }
    record("A sliding window: the latency of an answer, with the time between inputs used or not: I=H", row, results)
