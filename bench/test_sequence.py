"""A sequence alone: every step waits for the one before, and reads all of U."""

from operator import attrgetter

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import ALL_RIVALS, bandwidth, before, by_isa, limits, peak, race, rivals, seconds
from bench.works import SEQUENCES, Case, Work
from fastlstm.bench.arena import Arena
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)

# How many times faster than the best rival, and which share of the limit, for each size.
GOALS = {
    1: by_isa((2.2, 1.5, 1.4, 1.2, 1.12, 1.15), (1.8, 1.4, 1.2, 1.25, 1.15, 1.15)),
    2: (2.0, 2.0, 2.0, 1.5, 1.2, 1.3),
}
SHARES = {1: (0.60, 0.80, 0.80, 0.80, 0.80, 0.80)}


@pytest.mark.parametrize("threads", [1, 2], ids=["one", "two"])
@pytest.mark.parametrize("case", SEQUENCES, ids=attrgetter("name"))
def test_sequence(arena: Arena, record: Record, case: Case, threads: int) -> None:
    """Race: the limit is to read U once a step, after W x of all steps at the FMA peak; with two threads, half each."""
    size = SEQUENCES.index(case)
    work = Work("sequence", case, threads)
    results = arena.play(
        {"fastlstm": ("fastlstm", work)} | before(work) | rivals(work, ALL_RIVALS) | limits(case, threads)
    )
    projection = 2 * case.T * case.B * 4 * case.H * case.I
    limit = case.T * seconds(results["read"]) + projection / peak(results, threads)
    cells: Row = {"H": str(case.H), "threads": str(threads), "read GB/s": bandwidth(results, case) * 1e-9}
    row = race(
        cells,
        results,
        "fastlstm",
        limit,
        goal=GOALS[threads][size],
        share=SHARES[threads][size] if threads in SHARES else None,
    )
    record("A sequence alone: T=100, B=1, I=H", row, results)
