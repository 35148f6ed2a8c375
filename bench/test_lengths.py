"""Rows of unequal lengths should cost the steps that they contain, not the padding."""

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import limits, peak, rivals, seconds
from bench.works import LENGTHS, Work, make
from fastlstm.bench.arena import Arena
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)


def test_lengths(arena: Arena, record: Record) -> None:
    """Unequal lengths against equal ones; torch gets a PackedSequence, ONNX Runtime its sequence_lens."""
    case, unequal = LENGTHS, Work("lengths", LENGTHS)
    ours = {"unequal": ("fastlstm", unequal), "equal": ("fastlstm", Work("sequence", case))}
    results = arena.play(ours | rivals(unequal) | limits(case, 1))
    real, padded = int(make(unequal).lengths.sum()), case.T * case.B

    def per_step(name: str, steps: int) -> float | None:
        time = results[name].seconds
        return None if time is None else time / steps * 1e9

    cost = seconds(results["unequal"]) / real / (seconds(results["equal"]) / padded)
    limit = real * 2 * 4 * case.H * (case.I + case.H) / peak(results, 1)
    row: Row = {
        "real steps": f"{real / padded:.0%}",
        "equal ns": per_step("equal", padded),
        "unequal ns": per_step("unequal", real),
        "torch packed ns": per_step("torch", real),
        "onnxruntime ns": per_step("onnxruntime", real),
        "of limit": f"{limit / seconds(results['unequal']):.0%}",
        "unequal / equal": cost,
        "goal": "1.00",
        "met": round(cost, 2) <= 1.0,
    }
    record("A real step of one row, unequal lengths: T=200, B=32, I=H=128, 1 thread", row, results)
