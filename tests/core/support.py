"""What the tests of the core share with those of training: calls at the same time, cases drawn at random."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from hypothesis import strategies as st

from tests.cases import Case


def at_once(jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run all jobs at the same time, each on a thread of its own; raise what any of them raises."""
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], Any]) -> Any:
        start.wait()
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


@st.composite
def any_case(draw: st.DrawFn) -> Case:
    """Draw a small case of any shape."""
    sizes = st.integers(1, 40)
    H = draw(sizes)
    return Case(
        f"any-{draw(st.integers(0, 1000))}",
        T=draw(st.integers(0, 8)),
        B=draw(st.integers(0, 20)),
        I=draw(sizes),
        H=H,
        P=draw(st.integers(0, H - 1)),
        num_layers=draw(st.integers(1, 3)),
        bidirectional=draw(st.booleans()),
        bias=draw(st.booleans()),
        ragged=draw(st.booleans()),
        scale=draw(st.sampled_from([0.01, 1.0, 30.0])),
    )
