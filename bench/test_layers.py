"""Several layers: in both directions, and one row through a stack, whose layers two threads can share."""

from operator import attrgetter

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import ALL_RIVALS, before, better, limits, micro, peak, race, rivals, seconds
from bench.works import BOTH_WAYS, STACKS, Case, Work
from fastlstm.bench.arena import Arena, Entry
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)

GOALS = {1: 1.06, 2: 1.25}
# How many times faster than one thread two should be, by layers.
TOGETHER = {2: 1.75, 3: 1.88, 6: 1.95}


@pytest.mark.parametrize("threads", [1, 2], ids=["one", "two"])
@pytest.mark.parametrize("case", [BOTH_WAYS], ids=attrgetter("name"))
def test_both_ways(arena: Arena, record: Record, case: Case, threads: int) -> None:
    """Race: the limit is all products at the FMA peak that as many threads reach."""
    work = Work("sequence", case, threads)
    ours: dict[str, Entry] = {"fastlstm": ("fastlstm", work)}
    results = arena.play(ours | before(work) | rivals(work, ALL_RIVALS) | limits(case, threads))
    inputs = case.I + 2 * case.H * (case.num_layers - 1)
    flops = 2 * case.T * case.B * 4 * case.H * 2 * (inputs + case.H * case.num_layers)
    cells: Row = {"H": str(case.H), "threads": str(threads), "peak GFLOP/s": peak(results, threads) * 1e-9}
    row = race(cells, results, "fastlstm", flops / peak(results, threads), goal=GOALS[threads])
    record("Two layers, both directions: T=50, B=16, I=H", row, results)


@pytest.mark.parametrize("case", STACKS, ids=attrgetter("name"))
def test_stack(arena: Arena, record: Record, case: Case) -> None:
    """Two threads against one, with the same bits; the rivals with two."""
    two = Work("sequence", case, threads=2)
    ours: dict[str, Entry] = {"1 thread": ("fastlstm", Work("sequence", case)), "2 threads": ("fastlstm", two)}
    results = arena.play(ours | before(two) | rivals(two, ALL_RIVALS), alike=ours)
    time, rival = seconds(results["2 threads"]), better(results)
    gain, goal = seconds(results["1 thread"]) / time, TOGETHER[case.num_layers]
    row: Row = {"layers x H": f"{case.num_layers} x {case.H}"}
    row |= {f"{name} us": micro(result) for name, result in results.items()}
    row |= {
        "1 thread / 2": gain,
        "goal": f"{goal:g}x",
        "met": gain >= goal,
        "best rival / 2 threads": None if rival is None else rival / time,
    }
    record("A stack, one row: T=100, B=1, I=H, 2 threads", row, results)
