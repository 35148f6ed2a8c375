"""Ctrl-C ends a long call, and what it ran on is as before; the GIL is there for others meanwhile.

That a call ended before its work was done is seen in what it has not written, not on a clock.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm import _core

PREPARED = """
import os, signal, threading, time
import numpy as np, fastlstm
from fastlstm import _core

F4 = np.float32
H = 512
lstm = fastlstm.LSTM(8, H, seed=0, threads=THREADS)

def drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape, F4)

def seconds(call):
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun

def enough(call, n, most):
    'how large n has to be for a call of several seconds'
    call(n)
    return int(min(most, max(n, n * 3 / seconds(lambda: call(n)))))

def interrupted(call):
    'SIGINT while it runs'
    timer = threading.Timer(0.25, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        timer.join()
    return False

def unwritten(array):
    return bool(np.isnan(array).all())
"""

#: Those whose work threads share.
SHARED = (
    "a call",
    "a stack",
    "a batch",
    "a table",
    "a call with a table",
    "forward, kept",
    "backward",
    "a pool's step",
    "a pool's advance",
)

DOORS = {
    "a call": """
T = enough(lambda n: lstm(drawn(n, 1, 8)), 500, 10**6)
x, out = drawn(T, 1, 8), np.full((T, 1, H), np.nan, F4)
assert interrupted(lambda: lstm(x, out=out))
assert unwritten(out[-1]) and not unwritten(out[0])
expected = lstm(x[:50])[0]
assert (lstm(x[:50])[0] == expected).all()
""",
    "a stack": """
stack = fastlstm.LSTM(8, H, 3, seed=0, threads=THREADS)
T = enough(lambda n: stack(drawn(n, 1, 8)), 500, 10**6)
x, out = drawn(T, 1, 8), np.full((T, 1, H), np.nan, F4)
assert interrupted(lambda: stack(x, out=out))
assert unwritten(out[-1])
expected = fastlstm.LSTM(8, H, 3, seed=0)(x[:50])[0]
assert (stack(x[:50])[0] == expected).all()
""",
    "a batch": """
B = enough(lambda n: lstm(drawn(1, n, 8)), 200, 10**5)
x = drawn(2, B, 8)
out = np.full((2, B, H), np.nan, F4)
assert interrupted(lambda: lstm(x, out=out))
assert np.isnan(out[-1]).any()
""",
    "a table": """
wide = fastlstm.LSTM(64, H, seed=0, threads=THREADS)
V = enough(lambda n: wide.table(drawn(n, 64)), 2000, 3 * 10**5)
rows = drawn(V, 64)
assert interrupted(lambda: wide.table(rows))
assert (wide([1, 2], table=wide.table(rows[:3]))[0] == wide(rows[1:3])[0]).all()
""",
    "a call with a table": """
table = lstm.table(drawn(50, 8))
T = enough(lambda n: lstm(np.zeros((n, 1), int), table=table), 500, 10**6)
tokens, out = np.arange(T)[:, None] % 50, np.full((T, 1, H), np.nan, F4)
assert interrupted(lambda: lstm(tokens, table=table, out=out))
assert unwritten(out[-1]) and not unwritten(out[0])
assert (lstm(tokens[:50], table=table)[0] == lstm(drawn(50, 8)[:, None])[0]).all()
""",
    "forward, kept": """
T = enough(lambda n: lstm.forward(drawn(n, 1, 8)), 500, 10**5)
x = drawn(T, 1, 8)
core = _core.Tape(0.0, 0, 0)
y, h, c = np.full((T, 1, H), np.nan, F4), np.empty((1, 1, H), F4), np.empty((1, 1, H), F4)
assert interrupted(lambda: lstm._plan.run(x, y, None, None, h, c, None, None, lstm._workers, core))
assert unwritten(y)
assert interrupted(lambda: lstm.forward(x))
assert interrupted(lambda: lstm.forward(x, keep_every=T))
""",
    "backward": """
T = enough(lambda n: lstm.forward(drawn(n, 1, 8)), 500, 10**5)
x = drawn(T, 1, 8)
output, _, tape = lstm.forward(x)
weights = [(np.full((4 * H, 8), np.nan, F4), np.full((4 * H, H), np.nan, F4), None, None, None)]
call = lambda: tape._core.run_backward(lstm._plan, output, None, None, None, None, None, weights, lstm._workers)
assert interrupted(call)
assert np.isnan(weights[0][1]).any()
assert tape.used
try:
    lstm.backward(tape, output)
except RuntimeError as error:
    assert "is used up" in str(error)
else:
    raise AssertionError("a tape that is half gradients is used up")
""",
    "a stream's feed": """
stream = lstm.stream()
T = enough(lambda n: stream.feed(drawn(n, 8)), 500, 10**6)
x = drawn(T, 8)
stream.reset()
stream.step(x[0])
before = stream.state
assert interrupted(lambda: stream.feed(x))
assert all((a == b).all() for a, b in zip(stream.state, before))
assert (stream.step(x[1]) == lstm(x[:2, None])[0][-1, 0]).all()
""",
    "a stream's step": """
B = enough(lambda n: lstm.stream(n).step(drawn(n, 8)), 2000, 3 * 10**5)
stream, x = lstm.stream(B), drawn(B, 8)
out = np.full((B, H), np.nan, F4)
stream.step(x[:1].repeat(B, 0))
before = stream.state
assert interrupted(lambda: stream.step(x, out))
assert all((a == b).all() for a, b in zip(stream.state, before))
""",
    "a stream's advance": """
def advance(n):
    stream = lstm.stream(n)
    stream.advance()
B = enough(advance, 2000, 3 * 10**5)
stream, x = lstm.stream(B), drawn(B, 8)
stream.step(x)
before = stream.state
assert interrupted(stream.advance)
assert all((a == b).all() for a, b in zip(stream.state, before))
some = np.full((B, H), np.nan, F4)
stream.advance()
stream.step(x, some)
assert (some[-3:] == lstm(x[None, -3:], (before[0][:, -3:], before[1][:, -3:]))[0][0]).all()
""",
    "a pool's step": """
def stepped(n):
    pool = lstm.pool(n)
    pool.step([pool.open() for _ in range(n)], drawn(n, 8))
n = enough(stepped, 500, 10**5)
pool, x = lstm.pool(n), drawn(n, 8)
ids = np.array([pool.open() for _ in range(n)])
some = ids[:64]
pool.step(some, x[:64])
before, out = pool.state(ids), np.full((n, H), np.nan, F4)
assert interrupted(lambda: pool.step(ids, x, out))
assert unwritten(out[-1]) and not unwritten(out[0])
assert all((a == b).all() for a, b in zip(pool.state(ids), before))
first = np.stack([x[:64], x[:64]])
assert (pool.step(some, x[:64]) == lstm(first)[0][1]).all()
""",
    "a pool's advance": """
def advanced(n):
    pool = lstm.pool(n)
    pool.advance([pool.open() for _ in range(n)])
n = enough(advanced, 500, 10**5)
pool, x = lstm.pool(n), drawn(n, 8)
ids = np.array([pool.open() for _ in range(n)])
some = ids[:64]
pool.step(some, x[:64])
pool.advance(some[:9])
before = pool.state(ids)
assert interrupted(lambda: pool.advance(ids))
assert all((a == b).all() for a, b in zip(pool.state(ids), before))
first = np.stack([x[:64], x[:64]])
assert (pool.step(some, x[:64]) == lstm(first)[0][1]).all()
""",
    "a window": """
small = fastlstm.LSTM(8, 64, seed=0, threads=THREADS)
window, x = small.window(50), drawn(97, 8)
def push():
    while True:
        window.push(x[window.count % 97])
assert interrupted(push)
last = [t % 97 for t in range(window.count - 49, window.count + 1)]
assert window.count > 50
assert (window.push(x[last[-1]]) == small(x[last])[0][-1]).all()
""",
    "a cell": """
cell = fastlstm.LSTMCell(8, H, seed=0)
B = enough(lambda n: cell(drawn(n, 8)), 500, 3 * 10**5)
x, h, c = drawn(B, 8), np.full((B, H), np.nan, F4), np.full((B, H), np.nan, F4)
assert interrupted(lambda: cell(x, out=(h, c)))
assert unwritten(h[-1]) and not unwritten(h[0])
""",
    "an activation": """
n = enough(lambda n: fastlstm.tanh(np.zeros(n)), 10**6, 10**8)
x, out = np.zeros(n), np.full(n, np.nan)
def often():
    while True:
        fastlstm.tanh(x, out)
assert interrupted(often)
""",
}


def run(script: str, threads: int, tmp_path: Path) -> None:
    """Run a script that tells where it failed."""
    path = tmp_path / "script.py"
    path.write_text((PREPARED + script).replace("THREADS", str(threads)), encoding="utf-8")
    done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.unsanitized
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to itself")
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_ends_a_long_call(threads: int, tmp_path: Path) -> None:
    doors = DOORS if threads == 1 else SHARED
    run("".join(f"\n# ---- {door}\n{DOORS[door]}" for door in doors), threads, tmp_path)


@pytest.mark.unsanitized
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to itself")
def test_a_handler_runs_while_the_call_goes_on_or_raises_what_it_likes(tmp_path: Path) -> None:
    run(
        """
T = enough(lambda n: lstm(drawn(n, 1, 8)), 500, 10**5)
x = drawn(T, 1, 8)
seen, out = [], np.full((T, 1, H), np.nan, F4)

def note(number, frame):
    seen.append(unwritten(out[-1]))

signal.signal(signal.SIGINT, note)
assert not interrupted(lambda: lstm(x, out=out))
assert seen == [True], "it ran while there was work left"
assert (out == lstm(x)[0]).all()

class Enough(Exception):
    pass

def refuse(number, frame):
    raise Enough

signal.signal(signal.SIGINT, refuse)
out[:] = np.nan
try:
    interrupted(lambda: lstm(x, out=out))
except Enough:
    assert unwritten(out[-1])
else:
    raise AssertionError("the handler's error is the call's")
""",
        1,
        tmp_path,
    )


@pytest.mark.unsanitized
@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT to itself")
def test_a_call_of_another_thread_is_left_alone(tmp_path: Path) -> None:
    run(
        """
T = enough(lambda n: lstm(drawn(n, 1, 8)), 500, 10**5)
x, out = drawn(T, 1, 8), np.full((T, 1, H), np.nan, F4)
done = threading.Event()
def work():
    lstm(x, out=out)
    done.set()
threading.Thread(target=work).start()
assert interrupted(done.wait)
assert not done.is_set(), "it is still at work"
done.wait()
assert not np.isnan(out).any()
""",
        1,
        tmp_path,
    )


# ---- the GIL


def elsewhere(call: Callable[[], object]) -> bool:
    """Tell whether another thread gets on during the call: nobody is made to give up the GIL, a call does it or not."""
    turns, stop, interval = [0], threading.Event(), sys.getswitchinterval()

    def turn() -> None:
        while not stop.is_set():
            turns[0] += 1
            time.sleep(0)  # gives it back

    thread = threading.Thread(target=turn)
    sys.setswitchinterval(1000)
    try:
        thread.start()
        for _ in range(50):
            before = turns[0]
            call()
            if turns[0] > before:
                return True
        return False
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        thread.join()


def test_the_gil_is_released_by_all_that_takes_its_time() -> None:
    rows, units = 4000, 256
    gates, one = np.ones((rows, 4 * units), np.float32), np.ones((rows, units), np.float32)
    isa = fastlstm.isa().encode()
    wide, narrow = np.empty_like(gates), [np.empty_like(one) for _ in range(2)]
    calls: dict[str, Callable[[], object]] = {
        "gates_forward": lambda: _core.run_gates_forward(gates, one, *narrow, None, rows, units, isa),
        "gates_train": lambda: _core.run_gates_forward(gates, one, *narrow, wide, rows, units, isa),
        "gates_backward": lambda: _core.run_gates_backward(gates, one, one, one, wide, narrow[0], rows, units, isa),
        "accumulate": lambda: _core.accumulate(wide, gates),
        "activation": lambda: _core.activation(True, gates, wide, isa),
    }
    assert {name: elsewhere(call) for name, call in calls.items()} == dict.fromkeys(calls, True)


@pytest.mark.skipif(hasattr(sys, "_is_gil_enabled") and not sys._is_gil_enabled(), reason="there is no GIL")
def test_the_test_of_the_gil_can_fail() -> None:
    lstm = fastlstm.LSTM(2, 3)
    x = np.ones((40, 2), np.float32)
    assert not elsewhere(lambda: [lstm.stream().step(row) for row in x])
