"""One step of models whose latencies makers of FPGA accelerators publish.

The figures beside ours are of other hardware and another precision, and reported by the maker: means over PCIe of VOLLO
on a V80 card, bfloat16, a linear layer of 32 outputs at the end (https://vollo.myrtle.ai/25.1.2/benchmark-lstm.html).
"""

from operator import attrgetter

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import bandwidth, centile, limits, micro, seconds
from bench.works import PUBLIC, Case, Work
from fastlstm.bench.arena import Arena
from fastlstm.bench.report import Row

pytestmark = pytest.mark.benchmark(timer=now)

# (layers, units): mean and 99th percentile, microseconds
REPORTED = {
    (2, 128): (2.8, 2.8),
    (3, 256): (3.3, 3.4),
    (3, 480): (4.3, 4.5),
    (6, 320): (4.5, 4.8),
    (3, 960): (8.5, 8.7),
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", PUBLIC, ids=attrgetter("name"))
def test_public(arena: Arena, record: Record, case: Case, threads: int) -> None:
    """Every step is timed alone: `Stream.step` with `out`.

    With two threads, which a stream does not take, it is a call of the layer. The limit is to read all weights once.
    """
    way, kind = ("Stream.step", "step_out") if threads == 1 else ("LSTM()", "step_call")
    results = arena.play_single({way: ("fastlstm", Work(kind, case, threads))}, seconds=2.0)
    machine = arena.play(limits(case, threads))
    ours = results[way]
    mean, slow = REPORTED.get((case.num_layers, case.H), (None, None))
    row: Row = {
        "layers x H": f"{case.num_layers} x {case.H}",
        "threads": str(threads),
        "of": way,
        "read GB/s": bandwidth(machine, case) * 1e-9,
        "mean us": 1e6 * sum(ours.times) / len(ours.times) if ours.times else None,
        "median us": micro(ours),
        "99 % us": centile(ours, 99),
        "of limit": f"{seconds(machine['read']) / seconds(ours):.0%}",
        "VOLLO mean us": mean,
        "VOLLO 99 % us": slow,
    }
    record("One step of public models: I=H; VOLLO: an FPGA, bfloat16, as its maker reports", row, results)
