"""Before the input: `Stream.advance` does what does not need it, so that the next answer comes sooner."""

from operator import attrgetter

import pytest

import fastlstm
from bench.clock import now
from bench.conftest import Record
from bench.rows import by_isa, centile, micro, seconds
from bench.works import ADVANCED, Case, Work
from fastlstm.bench.arena import Arena, Entry
from fastlstm.bench.report import Row

pytestmark = [
    pytest.mark.benchmark(timer=now),
    pytest.mark.skipif(not hasattr(fastlstm.Stream, "advance"), reason="this build has no Stream.advance"),
]

# What share of a step may be left.
LEFT = by_isa(0.5, 0.55)


@pytest.mark.parametrize("case", ADVANCED, ids=attrgetter("name"))
def test_advance(arena: Arena, record: Record, case: Case) -> None:
    """Every step is timed alone, `advance` in between and off the clock; and both together. All with the same bits."""
    kinds = {"step": "step_out", "after advance": "step_advanced", "advance and step": "step_both"}
    entries: dict[str, Entry] = {name: ("fastlstm", Work(kind, case)) for name, kind in kinds.items()}
    results = arena.play_single(entries, seconds=2.0, alike=entries)
    step, rest, both = (seconds(results[name]) for name in kinds)
    row: Row = {"layers x H": f"{case.num_layers} x {case.H}"}
    for name, result in results.items():
        row |= {f"{name} us": micro(result), f"{name}, 99 % us": centile(result, 99)}
    row |= {"left": rest / step, "both / step": both / step, "goal": f"< {LEFT:g}", "met": rest < LEFT * step}
    record("A step after advance, from Python: B=1, I=H, 1 thread", row, results)
