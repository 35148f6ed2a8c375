"""A good guest: many threads on one object, forks, the GIL, idle workers, memory. Nothing here measures speed."""

import contextlib
import ctypes
import gc
import itertools
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import Array, Case, make_data
from tests.core.support import at_once
from tests.support import assert_same_bits, cell_of, lstm_of, needs_fork, results, run_python

# rows enough for two threads; units enough to share; one direction each
SHARED = (
    Case("guest-rows", T=20, B=12, I=9, H=33),
    Case("guest-units", T=20, B=2, I=9, H=161),
    Case("guest-directions", T=20, B=1, I=9, H=33, bidirectional=True),
)


# One object, many threads


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.name)
def test_many_threads_may_call_one_layer(case: Case, threads: int) -> None:
    data = make_data(case, "float32")
    alone, shared = lstm_of(case, data), lstm_of(case, data, threads=threads)
    inputs = [data.input * np.float32(1 + k / 8) for k in range(6)]
    expected = [alone(x, data.hx) for x in inputs]

    def job(k: int) -> None:
        for _ in range(25):
            output, states = shared(inputs[k], data.hx)
            assert_same_bits((output, *states), (expected[k][0], *expected[k][1]))

    at_once([lambda k=k: job(k) for k in range(6)])  # type: ignore[misc]


def test_many_threads_may_call_one_layer_with_sizes_of_their_own() -> None:
    # the scratch that a call leaves behind for the next must be large enough, or replaced
    case = Case("guest-sizes", T=24, B=9, I=9, H=65)
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)

    def job(k: int) -> None:
        rng = np.random.default_rng(k)
        for _ in range(60):
            T, B = rng.integers(0, 25), rng.integers(0, 10)
            x = data.input[:T, :B]
            output, _ = lstm(x)
            for row in range(0, B, 4):
                assert_same_bits(output[:, row], lstm(x[:, row])[0])

    at_once([lambda k=k: job(k) for k in range(4)])  # type: ignore[misc]


def test_many_threads_may_call_one_cell() -> None:
    for H in (17, 300):  # with the GIL kept, and released
        case = Case(f"guest-cell-{H}", T=1, B=3, I=9, H=H)
        data = make_data(case, "float32")
        cell = cell_of(case, data)
        arguments = (data.input[0], (data.h_0[0], data.c_0[0]))
        expected = cell(*arguments)

        def job(cell: Any = cell, arguments: Any = arguments, expected: Any = expected) -> None:
            for _ in range(50):
                assert_same_bits(cell(*arguments), expected)

        at_once([job] * 4)


def test_the_first_calls_of_a_threaded_layer_may_come_at_once() -> None:
    case = SHARED[0]
    data = make_data(case, "float32")
    expected = results(lstm_of(case, data), data)
    for _ in range(20):
        lstm = lstm_of(case, data, threads=2)
        for got in at_once([lambda lstm=lstm: results(lstm, data)] * 4):  # type: ignore[misc]
            assert_same_bits(got, expected)


def test_new_weights_come_whole_or_not_at_all() -> None:
    case = Case("guest-weights", T=6, B=2, I=9, H=33, num_layers=2)
    data = make_data(case, "float32")
    lstm = lstm_of(case, data, threads=2)
    sets = [data.state_dict, {name: -array for name, array in data.state_dict.items()}]
    allowed = []
    for weights in sets:
        lstm.load_state_dict(weights)
        allowed.append(tuple(array.tobytes() for array in results(lstm, data)))
    stop = threading.Event()
    seen: set[int] = set()

    def call() -> None:
        while not stop.is_set():
            got = tuple(array.tobytes() for array in results(lstm, data))
            assert got in allowed, "a mixture of old and new weights"
            seen.add(allowed.index(got))

    def load() -> None:
        try:
            for k in range(300):
                lstm.load_state_dict(sets[k % 2])
                if k % 8 == 0:
                    time.sleep(0.001)
        finally:
            stop.set()

    at_once([load, call, call, call])
    assert seen == {0, 1}


def test_a_second_thread_in_a_stream_is_refused_and_changes_nothing() -> None:
    case = Case("guest-stream", T=400, B=4, I=65, H=257)  # large: the GIL is released
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    output, h_n, c_n = results(lstm, data)
    stream = lstm.stream(case.B)
    poked, finished = threading.Event(), threading.Event()
    refused: list[str] = []

    def insist(call: Callable[[], Array | None]) -> Array | None:
        while True:
            with contextlib.suppress(RuntimeError):  # the other thread was in first
                return call()

    def feed() -> Array | None:
        poked.wait()
        try:
            for _ in range(20):  # a busy machine may take its time until it lets the other thread run
                insist(lambda: setattr(stream, "state", data.hx))
                got = insist(lambda: stream.feed(data.input))
                if refused:
                    break
            return got
        finally:
            finished.set()

    def poke() -> None:
        while not finished.is_set():
            poked.set()
            try:
                _ = stream.state  # reads only: harmless if it comes before or after the feed
            except RuntimeError as error:
                refused.append(str(error))

    got, _ = at_once([feed, poke])
    assert refused, "the GIL was held during a long feed, or nothing kept the second thread out"
    assert {"another thread is inside this stream" in message for message in refused} == {True}
    assert_same_bits(got, output)
    assert_same_bits(stream.state, (h_n, c_n))


def test_steps_of_two_threads_are_each_whole() -> None:
    # whoever gets in advances the state by one whole step on zeros; a refused one by none
    lstm = fastlstm.LSTM(8, 300, seed=0)
    x = np.zeros((1, 8), np.float32)
    stream = lstm.stream()

    def job() -> int:
        good = 0
        for _ in range(300):
            try:
                stream.step(x)
            except RuntimeError:
                continue
            good += 1
        return good

    steps = sum(at_once([job] * 4))
    _, states = lstm(np.zeros((steps, 1, 8), np.float32))
    assert_same_bits(stream.state, states)


def test_the_gil_is_released_during_a_long_call() -> None:
    # The other thread can only count while this one is inside C: its switch interval is longer than the test.
    case = Case("guest-gil", T=200, B=8, I=65, H=257)
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    interval = sys.getswitchinterval()
    progress, stop, go = [0], threading.Event(), threading.Event()

    def count() -> None:
        go.set()
        while not stop.is_set():
            progress[0] += 1
            time.sleep(0)

    other = threading.Thread(target=count)
    try:
        other.start()
        go.wait()
        sys.setswitchinterval(60)
        for call in (lambda: lstm(data.input), lambda: lstm.stream(8).feed(data.input)):
            for _ in range(20):
                before = progress[0]
                call()
                if progress[0] > before:
                    break
            else:
                pytest.fail("nothing else ran during 20 long calls")
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        other.join()


def test_lengths_that_change_during_a_call_do_no_harm() -> None:
    # the call goes by the lengths that were checked: whoever writes to the array meanwhile changes nothing
    script = """
import threading
import numpy as np, fastlstm

lstm, x = fastlstm.LSTM(4, 100, seed=0), np.zeros((1000, 8, 4), np.float32)
lengths, stop = np.full(8, 1000), threading.Event()

def write():
    while not stop.is_set():
        lengths[:] = 0
        lengths[:] = 1000

other = threading.Thread(target=write)
other.start()
try:
    for _ in range(15):
        lstm(x, lengths=lengths)
finally:
    stop.set()
    other.join()
"""
    run_python(script)


# Worker threads


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="counts threads through /proc")
def test_workers_come_with_the_first_call_and_go_with_the_layer() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/task"))

    data = make_data(SHARED[0], "float32")
    gc.collect()
    before = count()
    lstm = lstm_of(SHARED[0], data, threads=3)
    assert count() == before
    for _ in range(3):
        results(lstm, data)
        assert count() == before + 2
    del lstm
    gc.collect()
    assert count() == before


def test_idle_workers_use_no_cpu() -> None:
    data = make_data(SHARED[0], "float32")
    layers = [lstm_of(SHARED[0], data, threads=3) for _ in range(3)]
    for lstm in layers:
        results(lstm, data)
    time.sleep(0.05)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1  # six spinning workers would take 0.3 or more


# How many threads a call takes


def used_in_a_process_of(cpus: int, calls: str) -> list[int]:
    script = f"""
import os
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:{cpus}])
import fastlstm
print(fastlstm._core.cpus(), {calls})
"""
    return [int(number) for number in run_python(script, FASTLSTM_ALL_THREADS="0").split()]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="limits the CPUs of a process by its affinity")
def test_a_call_takes_no_more_threads_than_cpus_and_none_that_do_not_shorten_it() -> None:
    few, many = "fastlstm.LSTM(4, 8, threads=16).threads_used(100)", "fastlstm.LSTM(512, 512, threads={}).threads_used"
    calls = f"{few}, {many.format(16)}(100), {many.format(16)}(50, 64), {many.format(1)}(100)"
    assert used_in_a_process_of(1, calls) == [1, 1, 1, 1, 1]
    cpus, *used = used_in_a_process_of(2, calls)
    assert cpus <= len(os.sched_getaffinity(0))
    assert used == [1, cpus, cpus, 1]


def test_threads_used_is_of_sizes() -> None:
    lstm = fastlstm.LSTM(64, 64, threads=4)  # in this process calls take all that they can
    assert lstm.threads_used(10, 64) > 1
    assert lstm.threads_used(T=10, B=64) == lstm.threads_used(10, 64)
    assert fastlstm.LSTM(64, 64).threads_used(10, 64) == 1
    with pytest.raises(ValueError, match="T must be greater than zero, got: 0"):
        lstm.threads_used(0)
    with pytest.raises(TypeError, match="B should be of type int, got: float"):
        lstm.threads_used(1, 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [5, 8, 16])
def test_more_threads_than_cpus_change_no_bit(threads: int) -> None:
    for case in (*SHARED, Case("guest-many", T=9, B=7, I=9, H=65, num_layers=3, bidirectional=True, P=17)):
        data = make_data(case, "float32")
        assert_same_bits(results(lstm_of(case, data, threads=threads), data), results(lstm_of(case, data), data))


# Forks

FORK = """
import threading

import fastlstm
from tests.core.forks import check, make, x
from tests.support import child

made = make(2)
"""


@pytest.mark.fork
@needs_fork
def test_a_fork_before_use() -> None:
    run_python(FORK + "child(lambda: check(made))\nassert check(made)")


@pytest.mark.fork
@needs_fork
def test_a_fork_after_use() -> None:
    run_python(
        FORK
        + """
assert check(made)
for _ in range(5):
    child(lambda: check(made) and check(made))
    child(lambda: check(make(2)))                         # new workers in the child
    child(lambda: (child(lambda: check(made)), True)[1])  # a fork of a fork
    assert check(made)
child(lambda: (made.clear(), True)[1])                    # the child frees what has no workers there
assert check(made)
"""
    )


@pytest.mark.fork
@needs_fork
def test_a_fork_during_use() -> None:
    run_python(
        FORK
        + """
assert check(made)
stop = threading.Event()
wrong = []


def work():
    while not stop.is_set():
        if not check(made):
            wrong.append(1)


threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
try:
    for _ in range(15):
        child(lambda: check(made))
finally:
    stop.set()
    for thread in threads:
        thread.join()
assert not wrong
"""
    )


@needs_fork
def test_a_stream_goes_on_in_both_processes() -> None:
    run_python(
        FORK
        + """
lstm = fastlstm.LSTM(9, 33, seed=0)
whole = lstm(x[:, 0])[0]
stream = lstm.stream()
stream.feed(x[:7, 0])
rest = lambda: stream.feed(x[7:, 0]).tobytes() == whole[7:].tobytes()
child(rest)
assert rest()
"""
    )


# Memory


@pytest.mark.unsanitized
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
def test_memory_does_not_grow_with_the_number_of_calls() -> None:
    script = """
import numpy as np, fastlstm

def pages():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

layers = [fastlstm.LSTM(8, 24, num_layers=2, threads=threads, seed=0) for threads in (1, 2)]
cell = fastlstm.LSTMCell(8, 24, seed=0)
rng = np.random.default_rng(0)
x = np.zeros((64, 9, 8), np.float32)

def calls(n):
    for k in range(n):
        T, B = rng.integers(0, 65), rng.integers(0, 10)
        layers[k % 2](x[:T, :B], lengths=rng.integers(0, T, B, endpoint=True))
        cell(x[k % 64, :B])
        if k % 100 == 0:
            layers[0].stream(1 + k % 7).step(x[0, :1 + k % 7])
            layers[0].load_state_dict(layers[0].state_dict())

layers[0](x), layers[1](x)
calls(2000)
before = pages()
calls(10000)
grown = (pages() - before) * 4096
assert grown < 4 << 20, f"{grown} bytes more after 10000 calls"
"""
    run_python(script)


def steps() -> list[tuple[str, Callable[..., Any], tuple[Any, ...]]]:
    """Ways of taking a step that promise to allocate nothing: a name, what to call, with what."""
    made: list[tuple[str, Callable[..., Any], tuple[Any, ...]]] = []
    for H, layers, P in ((9, 1, 0), (33, 2, 7), (257, 1, 0)):
        lstm = fastlstm.LSTM(5, H, layers, proj_size=P, seed=0)
        for B in (1, 3):
            x, y = np.ones((B, 5), np.float32), np.empty((B, P or H), np.float32)
            made.append((f"Stream.step, H={H}, B={B}", lstm.stream(B).step, (x, y)))
            made.append((f"Stream.advance, H={H}, B={B}", advanced_step, (lstm.stream(B), x, y)))
    return made


def advanced_step(stream: fastlstm.Stream[Any], x: Array, y: Array) -> None:
    """Take a step in two parts."""
    stream.advance()
    stream.step(x, y)


def test_a_step_allocates_no_objects_and_no_arrays() -> None:
    for name, step, arguments in steps():
        for _ in range(10):
            step(*arguments)
        n = itertools.repeat(None, 1000)
        tracemalloc.start()
        try:
            step(*arguments)
            before, blocks = tracemalloc.get_traced_memory()[0], sys.getallocatedblocks()
            tracemalloc.reset_peak()
            for _ in n:
                step(*arguments)
            after, peak = tracemalloc.get_traced_memory()
            grown = sys.getallocatedblocks() - blocks
        finally:
            tracemalloc.stop()
        assert after - before < 500, f"{name}: {after - before} bytes kept"
        assert peak - before < 500, f"{name}: {peak - before} bytes taken for a while"  # an array's header takes 112
        assert abs(grown) < 20, f"{name}: {grown} objects kept"


SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
static volatile long count;
long allocations(void) { return count; }
void *malloc(size_t n) { __sync_fetch_and_add(&count, 1); return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { __sync_fetch_and_add(&count, 1); return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { __sync_fetch_and_add(&count, 1); return __libc_realloc(p, n); }
"""


@pytest.mark.unsanitized
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counts calls of glibc's malloc")
def test_a_step_never_calls_malloc(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler, to count calls of malloc")
    source, shim = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM, encoding="utf-8")
    subprocess.run([compiler, "-shared", "-fPIC", "-fno-builtin", "-o", shim, source], check=True)
    script = """
import ctypes, itertools, sys
import numpy as np, fastlstm

allocations = ctypes.CDLL(None).allocations
allocations.restype = ctypes.c_long
before = allocations()
assert np.empty(10000) is not None
assert allocations() > before, "nothing is counted"


def check(name, call, *arguments):
    for _ in range(10):
        call(*arguments)
    repeat = itertools.repeat(None, 1000)
    before = allocations()
    for _ in repeat:
        call(*arguments)
    count = allocations() - before
    assert count < 10, f"{name}: {count} calls of malloc in 1000 steps"  # reading the count may take one


for H, L, P in ((9, 1, 0), (33, 2, 7), (257, 1, 0)):
    lstm = fastlstm.LSTM(5, H, L, proj_size=P, seed=0)
    for B in (1, 3):
        x = np.ones((B, 5), np.float32)
        check(f"step {H} {B}", lstm.stream(B).step, x, np.empty((B, P or H), np.float32))
        both = lambda stream, x, y: (stream.advance(), stream.step(x, y))
        check(f"advance {H} {B}", both, lstm.stream(B), x, np.empty((B, P or H), np.float32))
        cell = fastlstm.LSTMCell(5, H, seed=0)
        h, c, spare = (np.zeros((B, H), np.float32) for _ in range(3))
        step = lambda cell, x, state, out: cell(x, state, out=out)
        check(f"cell {H} {B}", step, cell, x, (h, c), (spare, c))
"""
    run_python(script, LD_PRELOAD=str(shim))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc's malloc")
def test_a_step_keeps_no_memory() -> None:
    class Info(ctypes.Structure):
        _fields_ = tuple((name, ctypes.c_size_t) for name in ("a", "b", "c", "d", "e", "f", "g", "used", "free", "top"))

    libc = ctypes.CDLL("libc.so.6")
    if not hasattr(libc, "mallinfo2"):
        pytest.skip("needs mallinfo2, of glibc 2.33")
    libc.mallinfo2.restype = Info
    for name, step, arguments in steps():
        for _ in range(10):
            step(*arguments)
        gc.collect()
        before = libc.mallinfo2().used
        for _ in range(1000):
            step(*arguments)
        assert libc.mallinfo2().used - before < 10_000, name
