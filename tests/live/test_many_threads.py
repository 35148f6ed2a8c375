"""Many threads on one object, each doing something else: every answer is one that a thread alone would get, or refused.

Threads change places as often as the interpreter lets them, so that what holds here by the GIL alone would be seen.
"""

import copy
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import Array
from tests.core.support import at_once
from tests.support import ROOT, assert_same_bits

I, T, LOADS = 9, 12, 120
LAST = (LOADS - 1) % 2  # which weights are left in the end
STALE = 2  # refused: what was made with weights that are no more
#: Units with which steps keep the GIL, and with which they release it.
each_size = pytest.mark.parametrize("H", [17, 301])


@pytest.fixture(autouse=True)
def restless() -> Iterator[None]:
    """Let threads change places as often as can be."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def numbers(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def jobs(job: Callable[[int], Any], n: int) -> list[Callable[[], Any]]:
    return [lambda k=k: job(k) for k in range(n)]  # type: ignore[misc]


def refused(call: Callable[[], Any]) -> bool:
    """Call, and return whether a session's or stream's other user was in the way."""
    try:
        call()
    except RuntimeError as error:
        if "another thread" not in str(error) and "in a step" not in str(error):
            raise
        return True
    return False


def until_taken(call: Callable[[], Any], n: int) -> int:
    """Call until so many calls were not refused; return their number."""
    for _ in range(n):
        while refused(call):
            time.sleep(0)  # whoever is inside may want the GIL
    return n


# ---- pools


@each_size
@pytest.mark.parametrize("threads", [1, 2])
def test_sessions_come_step_and_go_while_the_pool_grows_and_is_looked_at(H: int, threads: int) -> None:
    lstm = fastlstm.LSTM(I, H, threads=threads, seed=0)
    pool, rounds = lstm.pool(3), 12
    alone = fastlstm.LSTM(I, H, seed=0)
    finished, left = threading.Event(), [4]

    def live(k: int) -> None:
        try:
            for n in range(rounds):
                x = numbers(100 * k + n, T, 1, I)
                expected = alone(x)[0]
                session = opened(pool)
                for t in range(T):
                    assert_same_bits(pool.step([session], x[t]), expected[t])
                    if t % 3 == k % 3:
                        pool.advance(session)
                    if t == T // 2:
                        assert session in pool.ids()
                if n % 2:
                    pool.reset(session)
                    assert_same_bits(pool.step([session], x[0]), expected[0])
                pool.close(session)
                with pytest.raises(ValueError, match=str(session)):
                    pool.step([session], x[0])
        finally:
            left[0] -= 1
            if not left[0]:
                finished.set()

    def look() -> None:
        while not finished.is_set():
            refused(lambda: pool.grow(pool.capacity + 1) if pool.capacity < 40 else None)
            assert 0 <= len(pool) <= pool.capacity
            try:
                data = pool.snapshot()
            except ValueError:  # a session was closed meanwhile
                continue
            assert isinstance(data, bytes)

    at_once([*jobs(live, 4), look])
    assert len(pool) == 0


def opened(pool: fastlstm.StreamPool) -> int:
    """Open a session, as soon as the pool has room."""
    while True:
        try:
            return pool.open()
        except RuntimeError as error:
            if "full" not in str(error):
                raise


def test_ids_are_given_once_whoever_opens_and_closes() -> None:
    pool = fastlstm.LSTM(2, 3, seed=0).pool(8)

    def job(_: int) -> list[int]:
        mine = []
        for _ in range(150):
            session = opened(pool)
            mine.append(session)
            pool.close(session)
        return mine

    every = [session for one in at_once(jobs(job, 6)) for session in one]
    assert len(set(every)) == len(every) == 6 * 150
    assert len(pool) == 0


def test_a_session_is_closed_once() -> None:
    pool = fastlstm.LSTM(2, 3, seed=0).pool(1)

    def job(session: int) -> int:
        try:
            pool.close(session)
        except (ValueError, RuntimeError):
            return 0
        return 1

    for _ in range(100):
        session = pool.open()
        assert sum(at_once([lambda session=session: job(session)] * 4)) == 1  # type: ignore[misc]


# ---- streams and windows


@each_size
def test_a_stream_under_many_hands_takes_whole_steps(H: int) -> None:
    """Advances, looks and copies come in between, and change nothing."""
    lstm = fastlstm.LSTM(I, H, seed=0)
    stream, x = lstm.stream(), numbers(0, 1, I)

    def step() -> int:
        return until_taken(lambda: stream.step(x), 60)

    def disturb() -> int:
        for _ in range(150):
            refused(stream.advance)
            refused(lambda: stream.state)
            refused(stream.save)
        return 0

    steps = sum(at_once([step, step, step, disturb]))
    assert_same_bits(stream.state, lstm(np.repeat(x[None], steps, 0))[1])


@each_size
def test_a_window_under_many_hands_takes_whole_inputs(H: int) -> None:
    lstm = fastlstm.LSTM(I, H, seed=0)
    window, x = lstm.window(3), numbers(0, I)

    def push() -> int:
        return until_taken(lambda: window.push(x), 60)

    def advance() -> int:
        for _ in range(100):
            refused(window.advance)
        return 0

    assert sum(at_once([push, push, advance])) == window.count
    assert_same_bits(window.push(x), lstm(np.repeat(x[None], 3, 0))[0][-1])


# ---- new weights, meanwhile


def pair_of_weights(lstm: fastlstm.LSTM) -> list[dict[str, Array]]:
    first = lstm.state_dict()
    return [first, {name: -array for name, array in first.items()}]


def seen_while_loading(lstm: fastlstm.LSTM, job: Callable[[], int]) -> set[int]:
    """Run a job on three threads while new weights come, and once after the last; return its answers."""
    sets, stop = pair_of_weights(lstm), threading.Event()

    def load() -> set[int]:
        try:
            for k in range(LOADS):
                lstm.load_state_dict(sets[k % 2])
        finally:
            stop.set()
        return set()

    def call() -> set[int]:
        seen = set()
        while not stop.is_set():
            seen.add(job())
        last = job()
        assert last == LAST, "weights that are no more"
        return seen | {last}

    return set().union(*at_once([load, call, call, call]))


def which(got: Array, allowed: list[Array]) -> int:
    """Return which of two answers it is: no mixture."""
    found = [k for k, expected in enumerate(allowed) if got.tobytes() == expected.tobytes()]
    assert found, "a mixture of old and new weights"
    return found[0]


def answers(lstm: fastlstm.LSTM, compute: Callable[[], Array]) -> list[Array]:
    """Return what both sets of weights give; the first is loaded again at the end."""
    made, sets = [], pair_of_weights(lstm)
    for weights in sets:
        lstm.load_state_dict(weights)
        made.append(compute())
    lstm.load_state_dict(sets[0])
    assert made[0].tobytes() != made[1].tobytes()
    return made


@pytest.mark.parametrize(
    "kind", ["stream", "pool", "window", "gradients", "copy", "pickle", "state_dict", "fingerprint"]
)
def test_what_is_made_while_weights_change_has_one_set_of_them(kind: str) -> None:
    lstm, x = fastlstm.LSTM(I, 33, num_layers=2, seed=0), numbers(0, T, 2, I)

    def pool() -> Array:
        live = lstm.pool(2)
        ids = [live.open(), live.open()]
        return np.stack([live.step(ids, step) for step in x])

    def window() -> Array:
        live = lstm.window(4)
        return np.stack([live.push(step[0]) for step in x])

    def gradients() -> Array:
        output, states, tape = lstm.forward(x)
        made = lstm.backward(tape, np.ones_like(output))
        parts = [output, *states, made.input, *made.parameters.values()]
        return np.concatenate([part.ravel() for part in parts])

    compute: dict[str, Callable[[], Array]] = {
        "stream": lambda: lstm.stream(2).feed(x),
        "pool": pool,
        "window": window,
        "gradients": gradients,
        "copy": lambda: copy.deepcopy(lstm)(x)[0],
        "pickle": lambda: pickle.loads(pickle.dumps(lstm))(x)[0],
        "state_dict": lambda: np.concatenate([array.ravel() for array in lstm.state_dict().values()]),
        "fingerprint": lambda: np.frombuffer(lstm.fingerprint().encode(), np.uint8),
    }
    allowed = answers(lstm, compute[kind])

    def job() -> int:
        try:
            return which(compute[kind](), allowed)
        except ValueError as error:  # a tape of weights that are no more
            if kind != "gradients" or "present weights" not in str(error):
                raise
            return STALE

    assert STALE not in seen_while_loading(lstm, job) or kind == "gradients"


def test_a_table_is_of_the_weights_that_it_is_used_with_or_refused() -> None:
    lstm, embedding = fastlstm.LSTM(I, 33, seed=0), numbers(0, 20, I)
    tokens = np.arange(20).reshape(10, 2)
    allowed = answers(lstm, lambda: lstm(embedding[tokens])[0])

    def job() -> int:
        try:
            return which(lstm(tokens, table=lstm.table(embedding))[0], allowed)
        except ValueError as error:
            if "table" not in str(error):
                raise
            return STALE

    seen_while_loading(lstm, job)


# ---- tapes


@each_size
def test_a_tape_serves_one_of_the_threads_that_ask(H: int) -> None:
    lstm, x = fastlstm.LSTM(I, H, seed=0), numbers(0, T, 3, I)
    output, _, tape = lstm.forward(x)
    expected = lstm.backward(tape, output)
    for _ in range(10):
        _, _, tape = lstm.forward(x)

        def job(tape: Any = tape) -> Any:
            try:
                return lstm.backward(tape, output)
            except (RuntimeError, ValueError):
                return None

        made = [one for one in at_once([job] * 4) if one is not None]
        assert len(made) == 1
        assert_same_bits(made[0].input, expected.input)
        for name, array in expected.parameters.items():
            assert_same_bits(made[0].parameters[name], array)


@pytest.mark.parametrize(("threads", "rounds", "status"), [("1", "1", 0), ("6", "2", 0), ("0", "1", 2), ("2", "0", 2)])
def test_the_proof_takes_any_number_of_threads(threads: str, rounds: str, status: int) -> None:
    """For Pythons with the thread sanitizer; here it has to run at least."""
    command = [sys.executable, "-m", "tests.proofs.many_threads", "--threads", threads, "--rounds", rounds]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert status or (done.stdout.startswith(f"{threads} threads, with") and done.stdout.endswith(" 0 failed\n"))
