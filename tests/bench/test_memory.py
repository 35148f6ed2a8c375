"""A layer takes as much memory as its weights are stored in, and a first run brings nothing of their size along."""

import pytest

from bench.memory import Taken, supported, taken

pytestmark = [pytest.mark.unsanitized, pytest.mark.skipif(not supported(), reason="no /proc/self/smaps_rollup")]

H = 1024


@pytest.fixture(scope="module")
def plain() -> Taken:
    return taken("float32", H)


# What is not weights, and their rounding up to large pages, may take a tenth of what float32 takes.
@pytest.mark.parametrize(
    ("weights", "share"), [("float16", 1 / 2), ("bfloat16", 1 / 2), ("int8", 1 / 4), ("int8-fast", 1 / 4)]
)
def test_fewer_bytes_are_less_memory(plain: Taken, weights: str, share: float) -> None:
    found = taken(weights, H)
    assert found.made < (share + 0.1) * plain.made
    assert found.run < (share + 0.1) * plain.run


def test_it_is_the_weights_that_are_measured(plain: Taken) -> None:
    assert 4 * 8 * H * H < plain.made <= plain.run < 1.1 * plain.made
