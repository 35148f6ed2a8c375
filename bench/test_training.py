"""Forward plus backward: the gradients of the input and of all parameters, as every step of a training needs them."""

from operator import attrgetter

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import TRAINING_RIVALS, Results, before, by_isa, limits, micro, peak, race, rivals, seconds
from bench.works import TRAININGS, Case, Work
from fastlstm.bench.arena import Arena
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)

# How many times faster than the best rival, by rows and units; and which share of the limit.
GOALS = {
    (32, 64): 1.15,
    (32, 128): 1.12,
    (32, 256): 1.08,
    (32, 512): 1.05,
    (128, 256): 1.06,
    (1, 128): by_isa(1.3, 1.5),
}
SHARES = by_isa({(32, 64): 0.76, (32, 128): 0.82, (32, 256): 0.86, (32, 512): 0.87}, {})

REPACKED = next(case for case in TRAININGS if case.H == 256 and case.B == 32)


@pytest.mark.parametrize("threads", [1, 2], ids=["one", "two"])
@pytest.mark.parametrize("case", TRAININGS, ids=attrgetter("name"))
def test_training(arena: Arena, record: Record, case: Case, threads: int) -> None:
    """Race: the goals of a sequence alone are about the rivals only, as it is limited by reading and not by FMAs."""
    work = Work("training", case, threads)
    field = rivals(work, TRAINING_RIVALS) | limits(case, threads)
    results = arena.play({"fastlstm": ("fastlstm", work)} | before(work) | field)
    cells: Row = {
        "T": str(case.T),
        "B": str(case.B),
        "H": str(case.H),
        "threads": str(threads),
        "peak GFLOP/s": peak(results, threads) * 1e-9,
    }
    row = race(
        cells,
        results,
        "fastlstm",
        _limit(case, threads, results),
        goal=GOALS[case.B, case.H],
        share=SHARES.get((case.B, case.H)) if threads == 1 else None,
    )
    record("Forward and backward: I=H", row, results)


def _limit(case: Case, threads: int, results: Results) -> float:
    """Count W x, U h, dx, dh, dW, dU at the FMA peak; a sequence alone waits for the reads of U and U^T instead."""
    recurrent = 2 * case.T * case.B * 4 * case.H * case.H
    flops = 3 * (2 * case.T * case.B * 4 * case.H * (case.I + case.H))
    if case.B > 1:
        return flops / peak(results, threads)
    return 2 * case.T * seconds(results["read"]) + (flops - 2 * recurrent) / peak(results, threads)


@pytest.mark.parametrize("case", [REPACKED], ids=attrgetter("name"))
def test_repack(arena: Arena, record: Record, case: Case) -> None:
    """What an optimizer's step costs us besides: `load_state_dict` copies and packs the new weights."""
    training, repack = (Work(kind, case) for kind in ("training", "repack"))
    results = arena.play({"load_state_dict": ("fastlstm", repack), "training": ("fastlstm", training)})
    row: Row = {
        "H": str(case.H),
        "load_state_dict us": micro(results["load_state_dict"]),
        "forward and backward us": micro(results["training"]),
        "share": f"{seconds(results['load_state_dict']) / seconds(results['training']):.1%}",
    }
    record("New weights after an optimizer's step: T=50, B=32, I=H, 1 thread", row, results)
