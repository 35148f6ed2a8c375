"""Models of torch after one line, `fastlstm.torch.accelerate`, against the same models without it."""

from importlib.util import find_spec
from operator import attrgetter

import pytest

from bench.clock import now
from bench.conftest import Record
from bench.rows import Results, better, micro, rivals, seconds
from bench.works import ADAPTER, CELL_LOOPS, LOOKED_AT, MODELS, PACKED, REPACKED, Case, Work
from fastlstm.bench.arena import Arena
from fastlstm.bench.report import Row

pytestmark = [
    pytest.mark.benchmark(timer=now),
    pytest.mark.skipif(find_spec("torch") is None, reason="pip install torch"),
]

KINDS = {"inference": "model", "training step": "model_training"}
each_kind = pytest.mark.parametrize("way", KINDS)
each_number = pytest.mark.parametrize("threads", [1, 2])


@each_number
@each_kind
@pytest.mark.parametrize("case", MODELS, ids=attrgetter("name"))
def test_model(arena: Arena, record: Record, case: Case, way: str, threads: int) -> None:
    """Race: two layers, padded; the goal is to be ahead."""
    cells: Row = {"B": str(case.B), "H": str(case.H), "of": way, "threads": str(threads)}
    row, results = _race(arena, Work(KINDS[way], case, threads), cells, goal=1.0)
    record("torch, 2 layers: T=50, I=H, training with loss, backward and SGD", row, results)


@each_number
@each_kind
@pytest.mark.parametrize("case", PACKED, ids=attrgetter("name"))
def test_packed(arena: Arena, record: Record, case: Case, way: str, threads: int) -> None:
    """Race: a PackedSequence of unequal lengths."""
    cells: Row = {"H": str(case.H), "of": way, "threads": str(threads)}
    row, results = _race(arena, Work(KINDS[way], case, threads), cells, goal=2.0)
    record("torch, packed sequences of unequal lengths up to T=100: B=32, I=H", row, results)


@each_number
@pytest.mark.parametrize("case", CELL_LOOPS, ids=attrgetter("name"))
def test_cells(arena: Arena, record: Record, case: Case, threads: int) -> None:
    """Race: an LSTMCell in a loop of Python; ours runs in the caller's thread whatever the number."""
    cells: Row = {"H": str(case.H), "threads": str(threads)}
    row, results = _race(arena, Work("model_cells", case, threads), cells, goal=5.0 if case.H <= 128 else 1.0)
    record("torch, LSTMCell in a loop: T=50, B=1, I=H", row, results)


@pytest.mark.parametrize("case", LOOKED_AT, ids=attrgetter("name"))
@pytest.mark.parametrize("kind", ["model_cells", "model"])
def test_look(arena: Arena, record: Record, case: Case, kind: str) -> None:
    """What it costs to look at all parameters: once for a whole sequence, and at every step of an LSTMCell."""
    work = Work(kind, case)
    results = arena.play({"looks": ("accelerated", work), "frozen": ("frozen", work)} | rivals(work, ("torch",)))
    calls = case.T if kind == "model_cells" else 1
    row: Row = {
        "H": str(case.H),
        "of": "a step" if kind == "model_cells" else "a sequence",
        "looks us": 1e6 * seconds(results["looks"]) / calls,
        "frozen us": 1e6 * seconds(results["frozen"]) / calls,
        "torch us": 1e6 * seconds(results["torch"]) / calls,
        "looks / frozen": seconds(results["looks"]) / seconds(results["frozen"]),
    }
    record("torch, a look at all parameters: LSTMCell, and LSTM with T=50, B=1, I=H, 1 thread", row, results)


@pytest.mark.parametrize("case", [ADAPTER], ids=attrgetter("name"))
def test_adapter(arena: Arena, record: Record, case: Case) -> None:
    """What tensors cost us: a call of fastlstm.torch.LSTM, minus the same call of fastlstm.LSTM with arrays."""
    entries = {"tensors": ("accelerated", Work("model", case)), "arrays": ("fastlstm", Work("sequence", case))}
    results = arena.play(entries | rivals(Work("model", case), ("torch",)))
    cost = 1e6 * (seconds(results["tensors"]) - seconds(results["arrays"]))
    row: Row = {
        "H": str(case.H),
        "tensors us": micro(results["tensors"]),
        "arrays us": micro(results["arrays"]),
        "torch us": micro(results["torch"]),
        "tensors' cost us": cost,
        "goal": "10",
        "met": cost < 10,
    }
    record("torch, a call's own cost: T=1, B=1, I=H, 1 thread", row, results)


@pytest.mark.parametrize("case", [REPACKED], ids=attrgetter("name"))
def test_repack(arena: Arena, record: Record, case: Case) -> None:
    """What an optimizer's step costs us besides: parameters that have changed are packed again.

    Measured together with one row's first step, hence a little too much.
    """
    kinds = {"repack": "model_repack", "training": "model_training"}
    results = arena.play({name: ("accelerated", Work(kind, case)) for name, kind in kinds.items()})
    share = seconds(results["repack"]) / seconds(results["training"])
    row: Row = {
        "H": str(case.H),
        "repack us": micro(results["repack"]),
        "training step us": micro(results["training"]),
        "share": f"{share:.1%}",
        "goal": "5%",
        "met": share < 0.05,
    }
    record(
        "torch, parameters packed again after an optimizer's step: 2 layers, T=50, B=32, I=H, 1 thread", row, results
    )


def _race(arena: Arena, work: Work, cells: Row, *, goal: float) -> tuple[Row, Results]:
    """Let the accelerated module run against the plain one; the ratio is to the better of torch's thread counts."""
    results = arena.play({"accelerated": ("accelerated", work)} | rivals(work, ("torch",)))
    time, rival = seconds(results["accelerated"]), better(results)
    ratio = None if rival is None else rival / time
    columns: Row = {f"{name} us": micro(result) for name, result in results.items()}
    columns |= {"ratio": ratio, "goal": f"{goal:g}x", "met": ratio is not None and ratio >= goal}
    return cells | columns, results
