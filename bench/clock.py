"""A clock for pytest-benchmark that shows the time which a worker has measured.

Rounds are timed inside the workers, where no pipe is timed along with them. To give pytest-benchmark the same numbers,
for its statistics, comparisons and files, each of its rounds moves this clock by the seconds per call of one of ours.
"""

from collections.abc import Sequence

from pytest_benchmark.fixture import BenchmarkFixture

_now = 0.0


def now() -> float:
    """Tell the time, which passes only during `replay`; to be given to the marker ``benchmark(timer=now)``."""
    return _now


def replay(benchmark: BenchmarkFixture, times: Sequence[float]) -> None:
    """Hand measured times, one for each round, over to pytest-benchmark; the test's timer is `now`."""
    waiting = iter(times)

    def pass_time() -> None:
        global _now
        _now += next(waiting)

    if times:
        benchmark.pedantic(pass_time, rounds=len(times))  # type: ignore[no-untyped-call]
