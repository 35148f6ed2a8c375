"""A batch of sequences: enough rows to be limited by arithmetic."""

from operator import attrgetter

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import ALL_RIVALS, before, by_isa, limits, peak, race, rivals
from bench.works import BATCHES, Case, Work
from fastlstm.bench.arena import Arena
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)

# How many times faster than the best rival, and which share of the limit, for each size.
GOALS = {1: by_isa((1.08, 1.06, 1.05, 1.03, 1.05), (1.05,) * 5), 2: (1.5, 1.25, 1.15, 1.15, 1.15)}
SHARES = {1: by_isa((0.82, 0.88, 0.91, 0.91, 0.88), (0.78, 0.86, 0.90, 0.90, 0.88))}


@pytest.mark.parametrize("threads", [1, 2], ids=["one", "two"])
@pytest.mark.parametrize("case", BATCHES, ids=attrgetter("name"))
def test_batch(arena: Arena, record: Record, case: Case, threads: int) -> None:
    """Race: the limit is all products at the FMA peak that as many threads reach."""
    size = BATCHES.index(case)
    work = Work("sequence", case, threads)
    results = arena.play(
        {"fastlstm": ("fastlstm", work)} | before(work) | rivals(work, ALL_RIVALS) | limits(case, threads)
    )
    flops = 2 * case.T * case.B * 4 * case.H * (case.I + case.H)
    most = peak(results, threads)
    cells: Row = {"H": str(case.H), "threads": str(threads), "peak GFLOP/s": most * 1e-9}
    row = race(
        cells,
        results,
        "fastlstm",
        flops / most,
        goal=GOALS[threads][size],
        share=SHARES[threads][size] if threads in SHARES else None,
    )
    record("A batch: T=50, B=32, I=H", row, results)
