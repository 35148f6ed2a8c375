"""Many live sessions, some of which step together: a pool gathers them, computes one batch, and scatters them."""

from operator import attrgetter

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import limits, peak, race, rivals, seconds
from bench.works import SESSIONS, Case, Work
from fastlstm.bench.arena import Arena, Entry
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)

# A step of one session reads all weights, which a call of many reads once; where there is a goal for what that gives.
TOGETHER = 3.0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", SESSIONS, ids=attrgetter("name"))
def test_sessions(arena: Arena, record: Record, case: Case, threads: int) -> None:
    """Race: `StreamPool.step` against streams one by one, in one thread, and against rivals that keep states in arrays.

    The limit is all products at the FMA peak that as many threads reach. The goal is to be ahead of the rivals; ahead
    of the streams by `TOGETHER`, too, for 64 sessions of 128 units.
    """
    work = Work("sessions", case, threads)
    ours: dict[str, Entry] = {
        "pool": ("fastlstm", work),
        "one by one": ("fastlstm", Work("sessions_alone", case)),
        "torch nn.LSTM": ("torch", Work("sessions_layer", case, threads)),
    }
    results = arena.play(ours | rivals(work) | limits(case, threads))
    most = peak(results, threads)
    limit = 2 * case.B * 4 * case.H * (case.I + case.H) / most
    gain = seconds(results["one by one"]) / seconds(results["pool"])
    wanted = TOGETHER if (case.B, case.H) == (64, 128) else None
    cells: Row = {
        "sessions": str(case.B),
        "H": str(case.H),
        "threads": str(threads),
        "peak GFLOP/s": most * 1e-9,
        "one by one us": seconds(results["one by one"]) * 1e6,
        "one by one / pool": gain,
        "one by one / limit": seconds(results["one by one"]) / limit,
        "its goal": None if wanted is None else f"{wanted:g}x",
    }
    row = race(cells, results, "pool", limit, goal=1.0)
    row["met"] = bool(row["met"]) and (wanted is None or gain >= wanted)
    record("Sessions: one step of some of many, in another company every time: I=H", row, results)
