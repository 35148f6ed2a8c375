"""Two threads, while another process keeps all CPUs but one busy, should not stall each other."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from operator import attrgetter
from statistics import median

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import RIVALS, seconds
from bench.works import CROWDED, Case, Work
from fastlstm.bench.arena import Arena
from fastlstm.bench.report import Row

pytestmark = [
    pytest.mark.benchmark(timer=now),
    pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs to pin the burning process to a CPU"),
]

# A pure spin barrier took milliseconds for each step of a call; the scheduler alone takes a few in one step of a call.
WORST_STEP = 200e-6

BURN = """
import os, sys
cpu, parent = map(int, sys.argv[1:])
os.sched_setaffinity(0, [cpu])
print(flush=True)
while os.getppid() == parent:
    pass
"""


@pytest.fixture
def burning() -> Iterator[None]:
    """Keep all CPUs but one busy."""
    _, *cpus = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        for cpu in cpus:
            command = [sys.executable, "-c", BURN, str(cpu), str(os.getpid())]
            burner = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(burner.kill)
            assert burner.stdout is not None
            burner.stdout.readline()  # it burns now
        yield


@pytest.mark.usefixtures("burning")
@pytest.mark.parametrize("case", CROWDED, ids=attrgetter("name"))
def test_crowded(arena: Arena, record: Record, case: Case) -> None:
    """Every call of 100 steps is timed alone: the median and the worst, per step.

    There is no limit to compare with: the CPUs are not ours. Instead, two threads should be no slower than one.
    """
    two = Work("sequence", case, threads=2)
    entries = {"2 threads": ("fastlstm", two), "1 thread": ("fastlstm", Work("sequence", case))}
    results = arena.play_single(entries | {name: (name, two) for name in RIVALS}, seconds=0.5)

    row: Row = {"H": str(case.H)}
    for name, result in results.items():
        steps = [1e6 * time / case.T for time in result.times]
        row |= {name: median(steps), f"{name}, worst": max(steps)} if steps else {name: None, f"{name}, worst": None}
    ours, alone = results["2 threads"], results["1 thread"]
    row |= {
        "goal": f"<= 1 thread, worst <= {WORST_STEP * 1e6:.0f}",
        "met": seconds(ours) <= seconds(alone) and max(ours.times) <= WORST_STEP * case.T,
    }
    record("Crowded: us per step, T=100, B=1, I=H, 2 threads, all CPUs but one busy", row, results)
