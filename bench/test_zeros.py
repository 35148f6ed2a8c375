"""Inputs of which many are exactly 0, whose weights need not be read."""

from dataclasses import replace

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import seconds
from bench.works import CHECKED_STEPS, ZERO_SHARE, ZEROS, ZEROS_SEQUENCE, Work
from fastlstm.bench.arena import Arena, Entry
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)

# How many times faster the input's part of a step should be, and what dense inputs may lose. All steps of a sequence
# share their reads of the weights, so that leaving some out saves less.
GOAL, LOST = 3.0, 0.01


@pytest.mark.parametrize("kind", ["step", "sequence"])
def test_zeros(arena: Arena, record: Record, kind: str) -> None:
    """The input's part is the time of a step, in C, or of a sequence, less that of the same layer with a single input.

    Zeros have to give the bits that the same rows get among others without zeros. What dense inputs lose shows a layer
    with an infinite weight, in which nothing may be left out, so that nobody looks.
    """
    case, single = ZEROS if kind == "step" else ZEROS_SEQUENCE
    plain = "step_c" if kind == "step" else "sequence"
    entries: dict[str, Entry] = {
        "dense": ("fastlstm", Work(plain, case)),
        "zeros": ("fastlstm", Work(f"{kind}_zeros", case)),
        "single": ("fastlstm", Work(plain, single)),
        "unlooked": ("fastlstm", Work(f"{kind}_unlooked", case)),
        "among others": ("fastlstm", Work("sequence_dense", replace(case, T=max(case.T, CHECKED_STEPS)))),
    }
    results = arena.play(entries, alike=("zeros", "among others"))
    dense, zeros, rest, unlooked, _ = (seconds(result) for result in results.values())
    gain, lost = (dense - rest) / (zeros - rest), dense / unlooked - 1
    row: Row = {
        "of": f"a {kind}",
        "dense us": dense * 1e6,
        "zeros us": zeros * 1e6,
        "1 input us": rest * 1e6,
        "dense, never looked us": unlooked * 1e6,
        "input's part, dense / zeros": gain,
        "goal": f"{GOAL:g}x" if kind == "step" else None,
        "dense loses": f"{lost:.1%}",
        "its goal": f"< {LOST:.0%}",
        "met": (gain >= GOAL or kind != "step") and lost < LOST,
    }
    record(f"Inputs of which {ZERO_SHARE:.0%} are 0: B=1, I=H=128, 1 thread", row, results)
