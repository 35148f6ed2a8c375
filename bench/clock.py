"""A clock for pytest-benchmark that shows the time which a worker has measured.

Rounds are timed inside the workers, where no pipe is timed along with them. To give pytest-benchmark the same numbers,
for its statistics, comparisons and files, each of its rounds moves this clock by the seconds per call of one of ours.
"""

from collections.abc import Sequence

from pytest_benchmark.fixture import BenchmarkFixture

_now = 0.0


def now() -> float:
    """Tell the time; to be given to the marker ``benchmark(timer=now)``.

    Returns
    -------
    float
        Seconds, which pass only during `replay`.
    """
    return _now


def replay(benchmark: BenchmarkFixture, times: Sequence[float]) -> None:
    """Hand measured times over to pytest-benchmark.

    Parameters
    ----------
    benchmark : BenchmarkFixture
        Of a test whose timer is `now`.
    times : sequence of float
        Seconds per call, one for each round; none if there was nothing to measure.
    """
    waiting = iter(times)

    def pass_time() -> None:
        global _now
        _now += next(waiting)

    if times:
        benchmark.pedantic(pass_time, rounds=len(times))  # type: ignore[no-untyped-call]
