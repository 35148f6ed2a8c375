"""Tokens: an embedding's rows looked up and multiplied, against a table of the products."""

from operator import attrgetter

import pytest

import fastlstm
from bench.clock import now
from bench.conftest import Record
from bench.rows import micro, seconds
from bench.works import TOKENS, VOCABULARY, Case, Work
from fastlstm.bench.arena import Arena, Entry
from fastlstm.bench.report import Row

pytestmark = [
    pytest.mark.benchmark(timer=now),
    pytest.mark.skipif(not hasattr(fastlstm.LSTM, "table"), reason="this build has no LSTM.table"),
]

GOAL = 1.7


@pytest.mark.parametrize("kind", ["tokens", "tokens_step"])
@pytest.mark.parametrize("case", TOKENS, ids=attrgetter("name"))
def test_tokens(arena: Arena, record: Record, case: Case, kind: str) -> None:
    """The demo's model, its first layer alone and both, with the same bits either way.

    Only the first layer's input comes from the table. "Possible" is what that leaves: the share of its products.
    """
    entries: dict[str, Entry] = {
        "looked up": ("fastlstm", Work(kind, case)),
        "table": ("fastlstm", Work(f"{kind}_table", case)),
    }
    results = arena.play(entries, alike=entries)
    gain = seconds(results["looked up"]) / seconds(results["table"])
    rest = case.H * (2 * case.num_layers - 1)
    row: Row = {
        "layers x H": f"{case.num_layers} x {case.H}",
        "of": "a step" if kind == "tokens_step" else f"{case.T} tokens",
        "looked up us": micro(results["looked up"]),
        "table us": micro(results["table"]),
        "ratio": gain,
        "possible": (case.I + rest) / rest,
        "goal": f"{GOAL:g}x" if case.num_layers == 1 else None,
        "met": gain >= GOAL if case.num_layers == 1 else None,
    }
    record(f"Tokens, with a table and without: B=1, I=100, {VOCABULARY} tokens, 1 thread", row, results)
