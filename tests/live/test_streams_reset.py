"""Stream.reset(rows): some rows begin anew, the others go on."""

from typing import Any

import numpy as np
import pytest

from tests.live.support import KINDS, I, layer
from tests.support import assert_same_bits, each_dtype

B = 4


@each_dtype
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("rows", [2, [1, 3], [True, False, False, True], [], np.arange(B), [0, 0]])
@pytest.mark.parametrize("advances", [False, True])
def test_rows_begin_anew(dtype: str, kind: dict[str, Any], rows: Any, advances: bool) -> None:
    lstm = layer(dtype, **kind)
    x = np.random.default_rng(0).standard_normal((9, B, I)).astype(dtype)
    stream = lstm.stream(B)
    stream.feed(x[:5])
    if advances:
        stream.advance()
    stream.reset(rows)
    resets = np.zeros((9, B), bool)
    resets[5, np.flatnonzero(rows) if np.asarray(rows).dtype == bool else np.asarray(rows, int)] = True
    whole, states = lstm(x, resets=resets)
    assert_same_bits(stream.feed(x[5:]), whole[5:])
    assert_same_bits(stream.state, states)


def test_all_rows() -> None:
    lstm = layer()
    stream = lstm.stream(B)
    stream.step(np.ones((B, I), np.float32))
    stream.reset()
    assert not any(state.any() for state in stream.state)


def test_wrong_rows_change_nothing() -> None:
    stream = layer().stream(B)
    stream.step(np.ones((B, I), np.float32))
    before = stream.state
    for rows, error, message in (
        (4, ValueError, r"rows should be in 0\.\.3, got: 4"),
        ([0, -1], ValueError, r"rows should be in 0\.\.3, got: -1"),
        ([2**70], ValueError, r"rows should be in 0\.\.3, got: 1180591620717411303424"),
        ([True, False], ValueError, r"Expected rows size \(4,\)"),
        (True, TypeError, "rows should be integers"),
        ([[0]], ValueError, r"Expected rows size \(n,\)"),
        ([0.5], TypeError, "rows should be integers"),
        ("one", TypeError, "rows should be integers"),
    ):
        with pytest.raises(error, match=message):
            stream.reset(rows)
    assert_same_bits(stream.state, before)
