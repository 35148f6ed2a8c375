"""One step of one row, from Python: what a service that streams waits for, and how much of it is Python."""

from operator import attrgetter

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import ALL_RIVALS, before, by_isa, limits, micro, race, rivals, seconds
from bench.works import STEPS, TINY_STEPS, Case, Work
from fastlstm.bench.arena import Arena
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)

GOALS = by_isa((7.0, 3.5, 2.5, 1.5, 1.2), (7.0, 3.5, 2.5, 1.7, 1.3))


@pytest.mark.parametrize("case", STEPS, ids=attrgetter("name"))
def test_step(arena: Arena, record: Record, case: Case) -> None:
    """Race: `Stream.step` with a new output, against the best of LSTMCell and rivals' sequences of one step.

    The limit is to read W and U once.
    """
    entries = {"step": ("fastlstm", Work("step", case))}
    others = {kind: ("fastlstm", Work(kind, case)) for kind in ("step_out", "step_cell")}
    others |= before(Work("step", case))
    results = arena.play(entries | others | rivals(Work("step_cell", case), ALL_RIVALS) | limits(case, 1))
    cells: Row = {
        "H": str(case.H),
        "step(out=) us": micro(results["step_out"]),
        "LSTMCell us": micro(results["step_cell"]),
    }
    row = race(cells, results, "step", seconds(results["read"]), goal=GOALS[STEPS.index(case)])
    record("One step from Python: B=1, I=H, 1 thread", row, results)


@pytest.mark.parametrize("case", TINY_STEPS, ids=attrgetter("name"))
def test_python_cost(arena: Arena, record: Record, case: Case) -> None:
    """Python's own cost: a step called from Python, minus the same step repeated in C."""
    kinds = "step", "step_out", "step_c"
    results = arena.play({kind: ("fastlstm", Work(kind, case)) for kind in kinds})
    step, step_out, step_c = (1e9 * seconds(results[kind]) for kind in kinds)
    row: Row = {
        "H": str(case.H),
        "in C ns": step_c,
        "step ns": step,
        "Python's ns": step - step_c,
        "goal": "150",
        "step(out=) ns": step_out,
        "Python's own ns": step_out - step_c,
        "its goal": "60",
        "met": step - step_c <= 150 and step_out - step_c <= 60,
    }
    record("Python's own cost of a step: B=1, I=H, 1 thread", row, results)
