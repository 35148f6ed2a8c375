"""Sliding windows: after every input the answer for the last ones, the bits of running each window by itself."""

import copy
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import RESOURCES, Array
from tests.live.support import KINDS, H, I, layer
from tests.support import Guarded, assert_same_bits, each_dtype, each_isa, each_layout, run_python


def inputs(T: int, dtype: str = "float32") -> Array:
    """Draw a sequence [T, I]."""
    return np.random.default_rng(T).standard_normal((T, I)).astype(dtype)


def recomputed(lstm: fastlstm.LSTM, x: Array, length: int) -> list[Array]:
    """Run every window by itself."""
    return [lstm(x[max(0, t + 1 - length) : t + 1])[0][-1] for t in range(len(x))]


@each_dtype
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("length", [1, 2, 3, 7, 16, 17, 33])
def test_every_answer_has_the_bits_of_its_window_alone(dtype: str, kind: dict[str, Any], length: int) -> None:
    lstm = layer(dtype, **kind)
    x = inputs(2 * length + 5, dtype)
    expected = recomputed(lstm, x, length)
    for advance in (lambda _: False, lambda _: True, lambda t: t % 3 == 0):
        window = lstm.window(length)
        assert (window.length, window.count) == (length, 0)
        for t, row in enumerate(x):
            assert_same_bits(window.push(row), expected[t], f"answer {t}")
            assert window.count == t + 1
            if advance(t):
                window.advance()
                window.advance()  # there is nothing left to do


@each_isa
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_instruction_set_and_threads_change_no_bit(isa: str, threads: int) -> None:
    x = inputs(60)
    lstm = layer(isa=isa, threads=threads, num_layers=2)
    expected = recomputed(layer(num_layers=2), x, 40)
    window = lstm.window(40)
    for t, row in enumerate(x):
        assert_same_bits(window.push(row), expected[t], f"answer {t}")


def test_fewer_windows_need_no_more_scratch() -> None:
    # four threads cut 31 rows into three groups of up to 11, 32 rows into four of 8: 33 rows of scratch, and 32
    options: dict[str, Any] = {"proj_size": 300, "num_layers": 2, "seed": 0}
    lstm = fastlstm.LSTM(I, 700, threads=4, **options)
    window, x = lstm.window(32), inputs(64)
    for row in x:
        y = window.push(row)
    assert_same_bits(y, fastlstm.LSTM(I, 700, **options)(x[32:])[0][-1])


def test_many_lengths_over_a_long_stream() -> None:
    lstm = layer()
    x = inputs(150)
    for length in range(1, 60, 3):
        window = lstm.window(length)
        answers = np.stack([window.push(row) for row in x])
        assert_same_bits(answers, np.stack(recomputed(lstm, x, length)), f"length {length}")


def test_a_window_that_is_longer_than_what_came_is_the_whole_sequence() -> None:
    lstm = layer()
    x = inputs(20)
    window = lstm.window(1000)
    assert_same_bits(np.stack([window.push(row) for row in x]), lstm(x)[0])


def test_a_reset_window_is_a_new_one() -> None:
    lstm = layer(num_layers=2)
    x = inputs(30)
    window = lstm.window(8)
    for k in (0, 3, 8, 21):  # empty, filling, just full, past it
        for row in inputs(k + 1)[:k]:
            window.push(row)
        window.reset()
        assert window.count == 0
        window.advance()
        assert_same_bits(np.stack([window.push(row) for row in x]), np.stack(recomputed(lstm, x, 8)))
        window.reset()


def test_nan_leaves_with_its_windows() -> None:
    lstm = layer()
    x = inputs(20)
    x[6, 1] = np.nan
    window = lstm.window(5)
    answers = [window.push(row) for row in x]
    assert [t for t, y in enumerate(answers) if np.isnan(y).any()] == [6, 7, 8, 9, 10]
    for t in (5, 11, 19):
        assert_same_bits(answers[t], lstm(x[t - 4 : t + 1])[0][-1])


def test_a_window_does_not_keep_the_caller_s_array() -> None:
    lstm = layer()
    x = inputs(12)
    window = lstm.window(4)
    row = np.empty(I, np.float32)
    for values in x:
        row[:] = values
        y = window.push(row)
        row[:] = np.nan
    assert_same_bits(y, lstm(x[-4:])[0][-1])


@each_layout
def test_any_layout_of_the_arguments(layout: Callable[[Array], Array]) -> None:
    lstm = layer()
    window, x = lstm.window(3), inputs(6)
    expected = recomputed(lstm, x, 3)
    for t, row in enumerate(x):
        out = layout(np.zeros(H, np.float32))
        if out.flags.writeable:
            assert window.push(layout(row), out) is out
        else:
            out = window.push(layout(row))
        assert_same_bits(out.copy(), expected[t])
    assert_same_bits(window.push(x[0].tolist()), lstm(x[[4, 5, 0]])[0][-1])


def test_out_gets_the_answer_and_nothing_around_it() -> None:
    lstm = layer(proj_size=9)
    window, x = lstm.window(3), inputs(5)
    for t, row in enumerate(x):
        out = Guarded((9,), np.float32)
        assert window.push(row, out.array) is out.array
        assert_same_bits(out.array, recomputed(lstm, x, 3)[t])
        out.check()


BOTH = np.zeros(64, np.float32)
READ_ONLY = np.zeros(H, np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros(6, np.float32),), ValueError, r"Expected x size \(5,\) = \(I,\), got \(6,\)"),
        ((np.zeros((1, 5), np.float32),), ValueError, "Expected x size"),
        ((np.zeros(5),), TypeError, "x should have dtype float32"),
        ((None,), TypeError, "x should be an array of float32, got: None"),
        ((BOTH[:5], np.zeros(H + 1, np.float32)), ValueError, "Expected out size"),
        ((BOTH[:5], np.zeros(H)), TypeError, "out should have dtype"),
        ((BOTH[:5], BOTH[4 : 4 + H]), ValueError, "out overlaps x"),
        ((BOTH[:5], READ_ONLY), ValueError, "out is read-only"),
        ((BOTH[:5], [0.0] * H), TypeError, "out should be a numpy.ndarray, got: list"),
    ],
)
def test_a_push_that_cannot_be_changes_nothing(
    arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    lstm = layer()
    window, x = lstm.window(4), inputs(9)
    for t, row in enumerate(x):
        with pytest.raises(error, match=message):
            window.push(*arguments)
        assert window.count == t
        assert_same_bits(window.push(row), recomputed(lstm, x, 4)[t])


@pytest.mark.parametrize(
    ("length", "error"),
    [(0, ValueError), (-3, ValueError), (2.0, TypeError), (None, TypeError), (True, TypeError)],
)
def test_lengths_that_cannot_be(length: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="length"):
        layer().window(length)


@pytest.mark.unsanitized
@pytest.mark.parametrize("length", [2**40, 2**60, 2**63, 2**80])
def test_a_window_that_does_not_fit_in_memory(length: int) -> None:
    with pytest.raises((MemoryError, OverflowError)):
        layer().window(length)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_window_is_not_copied(duplicate: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match="a SlidingWindow cannot be pickled or copied: push its last inputs"):
        duplicate(layer().window(3))


def test_a_window_says_what_it_is() -> None:
    window = layer().window(3)
    window.push(inputs(1)[0])
    assert repr(window) == f"SlidingWindow({I} -> {H}, length=3, count=1)"


def test_a_window_keeps_the_weights_of_its_layer_when_it_was_made() -> None:
    lstm, same = layer(), layer()
    window, x = lstm.window(3), inputs(7)
    lstm.load_state_dict({name: -array for name, array in lstm.state_dict().items()})
    del lstm
    assert_same_bits(np.stack([window.push(row) for row in x]), np.stack(recomputed(same, x, 3)))


def test_a_second_thread_is_refused_and_changes_nothing() -> None:
    lstm = fastlstm.LSTM(I, 257, num_layers=2, seed=0)
    window, x = lstm.window(60), inputs(200)
    started, finished = threading.Event(), threading.Event()

    def push() -> Array:
        started.set()
        answers = []
        try:
            for row in x:
                while True:
                    try:
                        answers.append(window.push(row))
                        break
                    except RuntimeError:  # the other thread happens to be inside
                        continue
        finally:
            finished.set()
        return np.stack(answers)

    def poke() -> int:
        started.wait()
        refused = 0
        while not finished.is_set():
            try:
                window.advance()  # harmless when it comes between two pushes
            except RuntimeError as error:
                refused += "another thread is inside this window" in str(error)
        return refused

    with ThreadPoolExecutor(2) as workers:
        poking, pushing = workers.submit(poke), workers.submit(push)
        assert poking.result() > 0, "the GIL was held during long pushes, or nothing kept the other thread out"
    for t in (0, 58, 59, 60, 199):
        assert_same_bits(pushing.result()[t], lstm(x[max(0, t - 59) : t + 1])[0][-1])


@pytest.mark.unsanitized
def test_memory_stays_flat_over_many_pushes() -> None:
    script = f"""
import numpy as np, fastlstm
from tests.support import resident_bytes

window = fastlstm.LSTM(8, 24, seed=0).window(10)
x, y = np.zeros(8, np.float32), np.empty(24, np.float32)

def calls(n):
    for k in range(n):
        window.push(x, y if k % 2 else None)
        if k % 100 == 0:
            window.reset()

calls(5000)
before = resident_bytes()
calls(100_000)
grown = resident_bytes() - before
assert grown < {RESOURCES["steps, bytes"].most}, f"{{grown}} bytes more after 10^5 pushes"
"""
    run_python(script)
