"""What is done before an input is there changes no bit: whatever comes between, whoever shares the step."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import Array
from tests.live.support import KINDS, I, layer
from tests.support import assert_same_bits, bits, each_dtype, each_isa, floating_point, run_python

each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def numbers(seed: int, *shape: int, dtype: str = "float32") -> Array:
    """Draw an array."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def opened(lstm: fastlstm.LSTM, n: int) -> tuple[fastlstm.StreamPool, list[int]]:
    """Return a pool and n sessions."""
    pool = lstm.pool(n)
    return pool, [pool.open() for _ in range(n)]


# ---- streams


@each_dtype
@each_kind
@pytest.mark.parametrize("B", [1, 2, 5, 17])
def test_a_stream_that_advances_has_the_bits_of_the_whole(dtype: str, kind: dict[str, Any], B: int) -> None:
    lstm = layer(dtype, **kind)
    x = numbers(B, 12, B, I, dtype=dtype)
    whole, states = lstm(x)
    for often in (lambda _: 1, lambda t: t % 3, lambda t: 2 * (t > 6)):
        stream = lstm.stream(B)
        for t in range(len(x)):
            for _ in range(often(t)):  # a second time there is nothing left to do
                stream.advance()
            assert_same_bits(stream.step(x[t]), whole[t], f"step {t}")
        assert_same_bits(stream.state, states)


@each_isa
@pytest.mark.parametrize("size", [(1, 1), (8, 7), (130, 64), (3, 129), (256, 136), (40, 300)])
def test_any_size_on_any_instruction_set(isa: str, size: tuple[int, int]) -> None:
    lstm = fastlstm.LSTM(*size, num_layers=2, isa=isa, seed=0)
    x = numbers(1, 4, 3, size[0])
    stream, (pool, ids), whole = lstm.stream(3), opened(lstm, 3), fastlstm.LSTM(*size, num_layers=2, seed=0)(x)[0]
    for t in range(len(x)):
        stream.advance()
        pool.advance(ids)
        assert_same_bits(stream.step(x[t]), whole[t])
        assert_same_bits(pool.step(ids, x[t]), whole[t])


def test_the_bits_of_infinite_and_missing_numbers() -> None:
    lstm = layer(num_layers=2)
    weights = {name: array.copy() for name, array in lstm.state_dict().items()}
    weights["weight_hh_l0"][3, 5] = np.inf
    weights["weight_ih_l1"][:, 2] = np.nan
    lstm.load_state_dict(weights)
    x = numbers(0, 6, 2, I)
    x[2, 0, 1], x[3, 1, 0] = np.inf, np.nan
    whole, stream = lstm(x)[0], lstm.stream(2)
    assert np.isnan(whole).any()
    for t in range(len(x)):
        stream.advance()
        assert_same_bits(stream.step(x[t]), whole[t])


def test_a_zero_is_the_zero_that_it_is_without() -> None:
    # no bias, and products that round to -0: the sum of two parts has to be the same zero
    lstm = fastlstm.LSTM(2, 8, bias=False, seed=0, form=fastlstm.Form(gate="affine", candidate="affine", cell="affine"))
    tiny = {name: np.full_like(array, -1e-30) for name, array in lstm.state_dict().items()}
    lstm.load_state_dict(tiny)
    x = np.full((5, 1, 2), np.float32(1e-30))
    state = np.full((1, 1, 8), np.float32(1e-30)), np.full((1, 1, 8), np.float32(-1))
    whole, end = lstm(x, state)
    stream = lstm.stream()
    stream.state = state
    for t in range(len(x)):
        stream.advance()
        assert (bits(stream.step(x[t])) == bits(whole[t])).all()
    assert all((bits(got) == bits(wanted)).all() for got, wanted in zip(stream.state, end, strict=True))


CHANGES: dict[str, Callable[[fastlstm.Stream[Any], Array, bytes], object]] = {
    "a new state": lambda stream, x, _: setattr(stream, "state", tuple(array + 1 for array in stream.state)),
    "reset": lambda stream, x, _: stream.reset(),
    "restore": lambda stream, x, data: stream.restore(data),
    "feed": lambda stream, x, _: stream.feed(x),
    "feed of nothing": lambda stream, x, _: stream.feed(x[:0]),
    "a step": lambda stream, x, _: stream.step(x[0]),
}


@each_kind
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_was_done_is_dropped_with_the_state(kind: dict[str, Any], change: Callable[..., object]) -> None:
    lstm = layer(**kind)
    x = numbers(0, 8, 2, I)
    source, stream, plain = lstm.stream(2), lstm.stream(2), lstm.stream(2)
    source.feed(x[:5])
    for each in (stream, plain):
        each.feed(x[:3])
        if each is stream:
            each.advance()
        change(each, x[5:7], source.save())
    assert_same_bits(stream.step(x[7]), plain.step(x[7]))
    assert_same_bits(stream.state, plain.state)


def test_bad_input_in_between_changes_nothing() -> None:
    lstm = layer(num_layers=2)
    stream, (pool, ids) = lstm.stream(3), opened(lstm, 3)
    x = numbers(0, 6, 3, I)
    whole = lstm(x)[0]
    wrong: tuple[Callable[[], object], ...] = (
        lambda: stream.step(x[0, :2]),
        lambda: stream.step(x[0].astype(float)),
        lambda: stream.step(x[0], x[0]),
        lambda: stream.feed(x[..., 1:]),
        lambda: setattr(stream, "state", (x, x)),
        lambda: stream.restore(b"no"),
        lambda: pool.step(ids, x[0, :2]),
        lambda: pool.step([ids[0], ids[0]], x[0, :2]),
        lambda: pool.step([99], x[0, :1]),
        lambda: pool.advance([99]),
        lambda: pool.advance([ids[0], ids[0]]),
        lambda: pool.advance([0.5]),
        lambda: pool.advance([[1]]),
        lambda: pool.set_state(ids, (x, x)),
        lambda: pool.restore(b"no"),
    )
    for t in range(len(x)):
        stream.advance()
        pool.advance(ids)
        for call in wrong:
            with pytest.raises((ValueError, TypeError, RuntimeError)):
                call()
        assert_same_bits(stream.step(x[t]), whole[t])
        assert_same_bits(pool.step(ids, x[t]), whole[t])


def test_the_floating_point_environment_of_the_caller_does_not_matter() -> None:
    lstm = layer(threads=2)
    x = numbers(1, 3, 20, I) * np.float32(1e-38)
    whole = lstm(x)[0]
    for mode in ("flush", "up"):
        stream, (pool, ids) = lstm.stream(20), opened(lstm, 20)
        for t in range(len(x)):
            with floating_point(mode):
                stream.advance()
                pool.advance(ids)
            assert_same_bits(stream.step(x[t]), whole[t])
            assert_same_bits(pool.step(ids, x[t]), whole[t])


def test_a_state_saved_after_it_is_the_state() -> None:
    lstm = layer(num_layers=2)
    x = numbers(0, 6, I)
    stream, (pool, ids) = lstm.stream(), opened(lstm, 1)
    stream.feed(x[:4])
    pool.set_state(ids, tuple(array.swapaxes(0, 1) for array in stream.state))
    saved, snapshot = stream.save(), pool.snapshot()
    stream.advance()
    pool.advance(ids)
    assert (stream.save(), pool.snapshot()) == (saved, snapshot)
    other, into = lstm.stream(), lstm.pool(3)
    other.advance()
    other.restore(stream.save())
    first = into.open()
    into.advance(first)
    into.close(first)
    again = list(into.restore(pool.snapshot()).values())
    expected = stream.step(x[4])
    assert_same_bits(other.step(x[4]), expected)
    assert_same_bits(into.step(again, x[4:5])[0], expected)
    assert_same_bits(lstm(x[:5])[0][4], expected)


def test_another_thread_in_a_stream_is_refused() -> None:
    lstm = fastlstm.LSTM(8, 300, seed=0)
    stream, x = lstm.stream(), np.zeros((1, 8), np.float32)
    start, told = threading.Barrier(4), set[str]()

    def job(_: int) -> int:
        start.wait()
        good = 0
        for _ in range(200):
            try:
                stream.advance()
                stream.step(x)
            except RuntimeError as error:
                told.add(str(error))
                continue
            good += 1
        return good

    with ThreadPoolExecutor(4) as workers:
        steps = sum(workers.map(job, range(4)))
    assert steps
    assert all(text.startswith("another thread is inside this stream") for text in told)
    assert_same_bits(stream.state, lstm(np.zeros((steps, 1, 8), np.float32))[1])


# ---- pools


@each_dtype
@each_kind
@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_of_sessions_of_which_any_are_advanced(dtype: str, kind: dict[str, Any], threads: int) -> None:
    lstm, n = layer(dtype, threads=threads, **kind), 33
    rng = np.random.default_rng(5)
    x = numbers(2, 24, n, I, dtype=dtype)
    pool, ids = opened(lstm, n)
    expected, states = layer(dtype, **kind)(x)
    for t in range(len(x)):
        some = rng.permutation(n)[: (0, 1, n // 4, n // 2, n - 1, n)[t % 6]]
        pool.advance([ids[k] for k in some])
        pool.advance([ids[k] for k in some[: t % 4]])
        order = rng.permutation(n)
        for part in (order[: n // 3], order[n // 3 :]) if t % 2 else (order,):
            assert_same_bits(pool.step([ids[k] for k in part], x[t, part]), expected[t, part], f"step {t}")
        if t == 7:
            pool.advance(ids[::2])
            pool.grow(n + 20)  # what was done moves along
    assert_same_bits(pool.state(ids), tuple(array.swapaxes(0, 1) for array in states))


def test_one_id_and_none() -> None:
    lstm = layer()
    pool, ids = opened(lstm, 2)
    x = numbers(0, 1, 2, I)
    pool.advance([])
    pool.advance(np.zeros(0, np.int64))
    pool.advance(ids[0])
    pool.advance(np.array(ids, np.int32))
    assert_same_bits(pool.step(ids, x[0]), lstm(x)[0][0])


def test_what_was_done_for_a_session_is_dropped_with_its_state() -> None:
    lstm = layer(num_layers=2)
    x = numbers(0, 2, 5, I)
    pool, ids = opened(lstm, 5)
    pool.step(ids, x[0])
    pool.advance(ids)
    h, c = pool.state(ids)
    pool.reset(ids[0])
    pool.set_state(ids[1], (h[2], c[2]))
    pool.close(ids[3])
    ids[3] = pool.open()  # in the same slot
    h[1], c[1] = h[2], c[2]
    h[[0, 3]] = c[[0, 3]] = 0
    expected = lstm(x[1:], (h.swapaxes(0, 1), c.swapaxes(0, 1)))[0]
    assert_same_bits(pool.step(ids, x[1]), expected[0])


def test_threads_may_advance_different_sessions_at_once_from_the_first_time_on() -> None:
    lstm = fastlstm.LSTM(I, 150, seed=0)  # large: the GIL is released
    x = numbers(0, 20, 16, I)
    whole = lstm(x)[0]
    for _ in range(5):
        pool, start = lstm.pool(4 * 16), threading.Barrier(4)

        def job(k: int, pool: fastlstm.StreamPool = pool, start: threading.Barrier = start) -> None:
            ids = [pool.open() for _ in range(16)]
            start.wait()
            for t in range(len(x)):
                if (t + k) % 3 == 0:
                    pool.advance(ids[t % 5 :])
                assert_same_bits(pool.step(ids, x[t]), whole[t])

        with ThreadPoolExecutor(4) as workers:
            list(workers.map(job, range(4)))


@pytest.mark.unsanitized
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits its own memory")
def test_a_pool_that_cannot_have_the_memory_goes_on_without() -> None:
    script = """
import resource
import numpy as np, fastlstm

lstm = fastlstm.LSTM(1, 2**12, proj_size=1, seed=0)
pool = lstm.pool(4000)  # 66 MB, and 262 MB to be advanced, of which little is touched
ids, x = [pool.open(), pool.open()], np.ones((3, 2, 1), np.float32)
whole, limits = lstm(x)[0], resource.getrlimit(resource.RLIMIT_AS)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (128 << 20), limits[1]))
try:
    pool.advance(ids)
except MemoryError as error:
    assert "4000 sessions" in str(error), error
else:
    raise AssertionError("there was no limit")
assert (pool.step(ids, x[0]) == whole[0]).all()
resource.setrlimit(resource.RLIMIT_AS, limits)
pool.advance(ids)
assert (pool.step(ids, x[1]) == whole[1]).all()
pool.advance(ids)
resource.setrlimit(resource.RLIMIT_AS, (used + (640 << 20), limits[1]))
try:
    pool.grow(8000)  # 132 MB, and 524 MB
except MemoryError:
    pass
else:
    raise AssertionError("there was no limit")
assert pool.capacity == 4000
assert (pool.step(ids, x[2]) == whole[2]).all()
"""
    run_python(script)


# ---- windows


@each_kind
@pytest.mark.parametrize("length", [1, 2, 3, 9])
def test_a_window_that_forgets_its_inputs_forgets_what_it_has_done(kind: dict[str, Any], length: int) -> None:
    lstm = layer(**kind)
    x = numbers(0, 25, I)
    window = lstm.window(length)
    for begin in (0, 5, 7, 16):
        window.reset()
        window.advance()
        for t in range(begin, len(x)):
            assert_same_bits(window.push(x[t]), lstm(x[max(begin, t + 1 - length) : t + 1])[0][-1])
            for _ in range((t + begin) % 3):
                window.advance()
            if t == begin + 5:
                break


# ---- tables: X is known, and U h too


@each_dtype
@each_kind
@pytest.mark.parametrize("B", [1, 3, 17])
def test_tokens_after_it_have_the_bits_of_the_whole(dtype: str, kind: dict[str, Any], B: int) -> None:
    lstm = layer(dtype, **kind)
    embedding = numbers(0, 9, I, dtype=dtype)
    ids = np.random.default_rng(1).integers(0, 9, (14, B))
    table, (whole, states) = lstm.table(embedding), lstm(embedding[ids])
    stream, pool, window = lstm.stream(B, table=table), lstm.pool(B, table=table), lstm.window(4, table=table)
    sessions = [pool.open() for _ in range(B)]
    for t in range(len(ids)):
        if t % 4 != 2:
            stream.advance()
        pool.advance(sessions[: (0, B, B // 2, B - 1)[t % 4]])
        assert_same_bits(stream.step(ids[t] if B > 1 else int(ids[t, 0])).reshape(B, -1), whole[t], f"step {t}")
        assert_same_bits(pool.step(sessions, ids[t]), whole[t], f"step {t}")
        assert_same_bits(window.push(int(ids[t, 0])), lstm(embedding[ids[max(0, t - 3) : t + 1, 0]])[0][-1])
        if t % 3:
            window.advance()
        if t == 6:
            stream.advance()
            with pytest.raises(ValueError, match="9"):
                stream.step(np.full(B, 9))
    assert_same_bits(stream.state, states)
    assert_same_bits(pool.state(sessions), tuple(array.swapaxes(0, 1) for array in states))
