"""The rivals that are installed: each in its own process, all its ways, right on small works of each kind."""

import re
import sys
from importlib.util import find_spec

import pytest

from fastlstm.bench import command, options
from fastlstm.bench.arena import Arena
from fastlstm.bench.contenders import NO_AVX512

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nobody has run the benchmarks on Windows yet")

STEP = options.case_of(1, 1, 5, 9)
BOTH = options.case_of(6, 3, 5, 9, 2, 2)
WEIGHTS = ("float32", "int8", "bfloat16")
# What they say that they cannot do; anything else is a fault.
REFUSALS = {
    "ncnn": "NotImplementedError: its LSTM takes one row",
    "onednn int8": "ValueError: sequence bench 6 3 5 9 2 2 int8: not with oneDNN",
    "onednn bfloat16": "not here: the LSTM primitive has no bfloat16 without AVX-512",
    "onnxruntime int8-matmul": "NotImplementedError: products in a Scan are of one layer in one direction here",
    "onnxruntime run int8-matmul": "NotImplementedError: products in a Scan are of one layer in one direction here",
}


@pytest.mark.parametrize("rival", [*options.RIVALS, options.ONEDNN[0]])
def test_answers_are_right(rival: str) -> None:
    if rival not in options.installed():
        pytest.skip(f"group rivals: {rival} is not installed")
    asked = options.Options([STEP, BOTH], [rival], WEIGHTS, 1, quick=False)
    arena = Arena(rounds=1, seconds=0.0001, slack=command.SLACK, first=True)
    try:
        for case in asked.cases:
            entered = {k: v for k, v in command.entries(case, asked).items() if v[0] == rival}
            for label, result in arena.prepare(entered).items():
                if result.error is None:
                    assert result.prepared is not None
                    assert result.first is not None
                    assert min(result.prepared, result.first) > 0
                elif not (NO_AVX512 and "do without AVX-512" in result.error):
                    assert result.error.endswith(REFUSALS.get(label, "no such refusal")), label
        assert NO_AVX512 or any(line.startswith(rival) and re.search(r" \(.+\)$", line) for line in arena.versions)
    finally:
        arena.close()


def test_keras_has_a_way_for_each_backend() -> None:
    found = [name for name in ("tensorflow", "jax", "torch") if find_spec(name) is not None]
    asked = options.Options([STEP], ["keras"], ["float32"], 1, quick=False)
    entered = [work.form for name, work in command.entries(STEP, asked).values() if name == "keras"]
    assert entered == (found or ["tensorflow"])
