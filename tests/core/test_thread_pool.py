"""One ThreadPool for many objects and callers; forks; threads that go when they should and cost nothing when idle."""

import copy
import gc
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm import ThreadPool
from tests.cases import RESOURCES, Array
from tests.support import assert_same_bits, needs_fork, run_python

I = 9
counts_threads = pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="counts threads through /proc")
# rows enough for two threads; units enough to share; both directions; a stack with a projection; float64
KINDS: tuple[dict[str, Any], ...] = (
    {"hidden_size": 33},
    {"hidden_size": 161},
    {"hidden_size": 33, "bidirectional": True},
    {"hidden_size": 40, "num_layers": 2, "proj_size": 7},
    {"hidden_size": 33, "dtype": "float64"},
)


def inputs(dtype: Any = "float32", B: int = 12) -> Array:
    """Draw a batch [T, B, I]."""
    return np.random.default_rng(0).standard_normal((15, B, I)).astype(dtype)


def layers(threads: Any) -> list[fastlstm.LSTM]:
    """Return one layer of each kind."""
    return [fastlstm.LSTM(I, seed=k, threads=threads, **kind) for k, kind in enumerate(KINDS)]


def work(lstm: fastlstm.LSTM) -> list[Array]:
    """Do everything that threads share: sequences, training, sessions, windows."""
    x = inputs(lstm.dtype, B=20)
    output, states, tape = lstm.forward(x)
    gradients = lstm.backward(tape, np.ones_like(output))
    made = [output, *states, gradients.input, *gradients.parameters.values(), lstm(x[:, :2])[0]]
    if not lstm.bidirectional:
        pool, window = lstm.pool(20), lstm.window(18)
        ids = [pool.open() for _ in range(20)]
        made += [pool.step(ids, row) for row in x[:3]] + [window.push(row) for row in x.reshape(-1, I)[:40]]
    return made


def threads_now() -> int:
    """Return how many threads this process has."""
    return len(os.listdir("/proc/self/task"))


# ---- sharing


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_objects_that_share_a_pool_give_the_same_bits(threads: int) -> None:
    pool = ThreadPool(threads)
    assert pool.threads == threads
    for shared, alone in zip(layers(pool), layers(1), strict=True):
        assert shared.threads == threads
        for _ in range(2):
            for one, other in zip(work(shared), work(alone), strict=True):
                assert_same_bits(one, other)


def test_callers_that_share_a_pool_at_once_give_the_same_bits() -> None:
    pool = ThreadPool(2)
    made, expected = layers(pool), [work(lstm) for lstm in layers(1)]
    start = threading.Barrier(6)

    def job(k: int) -> None:
        start.wait()
        for n in range(6):
            at = (k + n) % len(made)  # at times the same layer as another thread, at times another one
            for one, other in zip(work(made[at]), expected[at], strict=True):
                assert_same_bits(one, other)

    with ThreadPoolExecutor(6) as callers:
        list(callers.map(job, range(6)))


@counts_threads
def test_sharing_starts_threads_once() -> None:
    gc.collect()
    before = threads_now()
    pool = ThreadPool(3)
    assert threads_now() == before + 2
    made = layers(pool)
    for lstm in made:
        work(lstm)
    sessions, window = made[0].pool(3), made[0].window(5)
    assert threads_now() == before + 2
    del lstm, made, pool
    gc.collect()
    assert threads_now() == before + 2  # sessions and window still use it
    del sessions
    window.push(inputs()[0, 0])
    del window
    gc.collect()
    assert threads_now() == before


@counts_threads
def test_no_thread_starts_unless_asked() -> None:
    gc.collect()
    before = threads_now()
    for lstm in layers(1):
        work(lstm)
    one = ThreadPool(1)
    assert threads_now() == before
    for _ in range(20):
        ThreadPool(4)
    assert threads_now() == before
    assert one.threads == 1


@pytest.mark.unsanitized
@counts_threads
def test_a_pool_that_cannot_start_its_threads_leaves_none() -> None:
    # a limit on address space refuses some of the stacks, and so some of the threads
    run_python(
        """
import os, resource
import fastlstm

before = len(os.listdir("/proc/self/task"))
with open("/proc/self/statm") as file:
    size = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (size + (200 << 20), resource.RLIM_INFINITY))
for _ in range(3):
    try:
        fastlstm.ThreadPool(4096)
    except RuntimeError as error:
        assert "thread" in str(error), error
    else:
        raise AssertionError("4095 threads in 200 MB")
    assert len(os.listdir("/proc/self/task")) == before
assert fastlstm.ThreadPool(2).threads == 2
"""
    )


def test_idle_threads_use_no_cpu() -> None:
    pool = ThreadPool(4)
    made = layers(pool)
    for lstm in made:
        work(lstm)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    used = time.process_time() - before
    assert used < RESOURCES["idle, CPU seconds"].most, f"{used} s of CPU while asleep"


# ---- what cannot be


@pytest.mark.parametrize(
    ("threads", "error", "message"),
    [
        (0, ValueError, "threads must be greater than zero, got: 0"),
        (-1, ValueError, "threads must be greater than zero, got: -1"),
        (4097, ValueError, "threads should be at most 4096, got: 4097"),
        (2**80, ValueError, "threads should be at most 4096"),
        (2.0, TypeError, "threads should be of type int, got: float"),
        (True, TypeError, "threads should be of type int, got: bool"),
        (None, TypeError, "threads should be of type int, got: NoneType"),
        ("2", TypeError, "threads should be of type int, got: str"),
    ],
)
def test_numbers_that_cannot_be(threads: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ThreadPool(threads)
    with pytest.raises(error, match=message):
        fastlstm.LSTM(3, 4, threads=threads)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_pool_is_not_copied(duplicate: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="a ThreadPool cannot be pickled or copied"):
        duplicate(ThreadPool(2))


def test_a_pool_says_what_it_is() -> None:
    pool = ThreadPool(2)
    assert repr(pool) == "ThreadPool(2)"
    assert "threads=2" in repr(fastlstm.LSTM(3, 4, threads=pool))
    with pytest.raises(AttributeError):
        pool.threads = 3  # type: ignore[misc]


@pytest.mark.parametrize("duplicate", [lambda lstm: pickle.loads(pickle.dumps(lstm)), copy.copy, copy.deepcopy])
def test_a_layer_with_a_pool_is_copied_and_has_threads_of_its_own(duplicate: Callable[[Any], Any]) -> None:
    pool = ThreadPool(2)
    lstm = fastlstm.LSTM(I, 33, threads=pool, seed=0)
    expected = lstm(inputs())[0]
    other = duplicate(lstm)
    del lstm, pool
    gc.collect()
    assert other.threads == 2
    assert_same_bits(other(inputs())[0], expected)


# ---- forks

FORK = """
import threading

import numpy as np

import fastlstm
from tests.core.forks import check, make, x
from tests.support import child

pool = fastlstm.ThreadPool(2)
made = make(pool)
"""


@pytest.mark.fork
@needs_fork
def test_a_fork_before_use() -> None:
    run_python(FORK + "child(lambda: check(made))\nassert check(made)")


@pytest.mark.fork
@needs_fork
def test_a_fork_between_uses() -> None:
    run_python(
        FORK
        + """
for _ in range(3):
    assert check(made)
    child(lambda: check(made) and check(make(pool)))          # the parent's pool: on the caller's thread
    child(lambda: check(make(fastlstm.ThreadPool(2))))        # workers of the child's own
    child(lambda: (child(lambda: check(made)), True)[1])      # a fork of a fork
child(lambda: (made.clear(), globals().pop("pool"), True)[2])  # the child frees what has no workers there
assert check(made)
"""
    )


@pytest.mark.fork
@needs_fork
def test_a_fork_while_another_thread_is_inside() -> None:
    run_python(
        FORK
        + """
big = fastlstm.LSTM(9, 300, threads=pool, seed=0)
sessions, window, stream = big.pool(200), big.window(100), big.stream(20)
ids = np.array([sessions.open() for _ in range(200)])
many = np.zeros((200, 9), np.float32)
stop, failed = threading.Event(), []


def use(call):
    try:
        while not stop.is_set():
            call()
    except BaseException as error:
        failed.append(error)


def used(call):
    # what another thread was inside of may be refused for good in the child: that is told, and never waited for
    try:
        call()
    except RuntimeError as error:
        assert "another thread" in str(error), error
    return True


calls = [
    lambda: sessions.step(ids, many),
    lambda: window.push(many[0]),
    lambda: stream.feed(x),
    lambda: check(made) or failed.append("wrong"),
]
threads = [threading.Thread(target=use, args=(call,)) for call in calls]
for thread in threads:
    thread.start()
try:
    for _ in range(10):
        child(lambda: check(made))
        child(lambda: all(used(call) for call in calls[:3]) and check(make(fastlstm.ThreadPool(3))))
finally:
    stop.set()
    for thread in threads:
        thread.join()
assert not failed, failed
"""
    )


@needs_fork
def test_live_sessions_go_on_in_both_processes() -> None:
    run_python(
        FORK
        + """
lstm = made[0]
whole = lstm(x)[0]
sessions, window, stream = lstm.pool(20), lstm.window(6), lstm.stream(20)
ids = [sessions.open() for _ in range(20)]
for row in x[:7]:
    sessions.step(ids, row), stream.step(row), window.push(row[0])


def rest():
    last = lstm(x[14:, 0])[0][-1].tobytes()
    return (
        all((sessions.step(ids, x[t]) == stream.step(x[t])).all() for t in range(7, 19))
        and sessions.step(ids, x[19]).tobytes() == stream.step(x[19]).tobytes() == whole[19].tobytes()
        and [window.push(row).tobytes() for row in x[7:, 0]][-1] == last
    )


child(rest)
assert rest()
"""
    )


@needs_fork
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not start processes by fork")
def test_processes_of_multiprocessing_share_nothing_but_the_bits() -> None:
    run_python(
        FORK
        + """
import multiprocessing

assert check(made)
with multiprocessing.get_context("fork").Pool(2) as processes:
    results = [processes.apply_async(check, (make(1),)) for _ in range(2)]
    assert all(result.get(timeout=60) for result in results)
assert check(made)
"""
    )
