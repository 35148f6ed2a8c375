"""The activations alone, on as many elements as stay in the L1 cache."""

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import peak, seconds
from bench.works import ACTIVATIONS, Work
from fastlstm.bench.arena import Arena, Entry
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)

# What the algorithm needs for one vector. At best these run as fast as FMAs, each of which counts as two operations.
INSTRUCTIONS = 19


@pytest.mark.parametrize(("kind", "goal"), [("sigmoid", 1.7), ("tanh", 4.5)])
def test_activation(arena: Arena, record: Record, kind: str, goal: float) -> None:
    """Race: the time for 2048 elements minus that for 512, so that the cost of a call drops out."""
    entries: dict[str, Entry] = {
        f"{name} {case.I}": (name, Work(kind, case)) for name in ("fastlstm", "torch") for case in ACTIVATIONS
    }
    entries["fma"] = "limits", Work("fma", ACTIVATIONS[0])
    results = arena.play(entries)

    def marginal(name: str) -> float:
        many, few = (seconds(results[f"{name} {case.I}"]) for case in ACTIVATIONS)
        return (many - few) / (ACTIVATIONS[0].I - ACTIVATIONS[1].I)

    ours = marginal("fastlstm")
    torch = None if results[f"torch {ACTIVATIONS[0].I}"].error else marginal("torch")
    limit = 2 * INSTRUCTIONS / peak(results, 1)
    row: Row = {
        "function": kind,
        "fastlstm ns": ours * 1e9,
        "torch ns": None if torch is None else torch * 1e9,
        "of limit": f"{limit / ours:.0%}",
        "ratio": None if torch is None else torch / ours,
        "goal": f"{goal:g}x",
        "met": torch is not None and torch / ours >= goal,
    }
    record("An element of an activation, out of 2048 in L1, 1 thread", row, results)
