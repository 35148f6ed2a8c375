"""No caller's code can change what was checked, and an object that could not be made anew stays as it was.

What is wrong here is a crash, or another object's memory: run under the address sanitizer, these tests say where.
"""

import copy
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm import _core
from tests.cases import Array
from tests.support import assert_same_bits, run_python

F4 = np.float32


def drawn(*shape: int, dtype: Any = F4) -> Array:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


# ---- code of the caller's that runs between a check and the call


class Late:
    """An array-like that does something to another array when it is read."""

    def __init__(self, array: Array, act: Callable[[], object]) -> None:
        self.array, self.act = array, act

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        self.act()
        return self.array


class LateInterface:
    """The same by another door."""

    def __init__(self, array: Array, act: Callable[[], object]) -> None:
        self.array, self.act = array, act

    @property
    def __array_interface__(self) -> Any:
        self.act()
        return self.array.__array_interface__


class LateBuffer(Late):
    """The same by a third one: the array that is handed out is itself changed later."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        self.act()
        return self.array


def reshaped(array: Array, *shape: int) -> Callable[[], object]:
    def act() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # setting a shape is on its way out of NumPy
            array.shape = shape

    return act


KINDS = {"__array__": Late, "__array_interface__": LateInterface}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1000, 4), (1000, 1, 4), (2, 500, 4), (10, 400)])
def test_an_input_that_is_reshaped_later_counts_as_it_was_checked(kind: str, shape: tuple[int, ...]) -> None:
    lstm = fastlstm.LSTM(4, 8, seed=0)
    x, z = drawn(10, 100, 4), np.zeros((1, 100, 8), F4)
    expected = lstm(x.copy(), (z, z))
    given = x.copy()
    output, states = lstm(given, (KINDS[kind](z, reshaped(given, *shape)), z))
    assert_same_bits(output, expected[0])
    assert_same_bits(states, expected[1])
    assert given.shape == shape


@pytest.mark.parametrize("batch_first", [False, True])
def test_states_and_out_that_are_reshaped_later_count_as_they_were_checked(batch_first: bool) -> None:
    lstm = fastlstm.LSTM(4, 8, seed=0, batch_first=batch_first)
    x, h, c = drawn(6, 6, 4), drawn(1, 6, 8), drawn(1, 6, 8)
    expected, _ = lstm(x, (h, c))
    given_h, out = h.copy(), np.empty((6, 6, 8), F4)
    output, _ = lstm(x, (given_h, Late(c, reshaped(given_h, 1, 48, 1))), out=out)
    assert_same_bits(output, expected)
    assert output is out
    lengths = Late(np.full(6, 6), reshaped(out, 1, 36, 8))
    output, _ = lstm(x, (h, c), lengths=lengths, out=out.reshape(6, 6, 8))
    assert_same_bits(output, expected)


def test_what_is_read_later_does_not_change_what_was_read_first_by_any_other_door() -> None:
    lstm = fastlstm.LSTM(4, 8, seed=0)
    cell, stream, pool, window = fastlstm.LSTMCell(4, 8, seed=0), lstm.stream(2), lstm.pool(2), lstm.window(3)
    x, h = drawn(2, 4), drawn(2, 8)
    expected = cell(x, (h, h))
    given = x.copy()
    assert_same_bits(cell(given, (Late(h, reshaped(given, 1, 8)), h)), expected)

    state = drawn(1, 2, 8), drawn(1, 2, 8)
    given = state[0].copy()
    stream.state = given, Late(state[1], reshaped(given, 16))
    assert_same_bits(stream.state, state)

    ids = [pool.open(), pool.open()]
    given = np.ascontiguousarray(state[0].swapaxes(0, 1))
    pool.set_state(ids, (given, Late(state[1].swapaxes(0, 1), reshaped(given, 16))))
    assert_same_bits(pool.state(ids)[0], state[0].swapaxes(0, 1))

    gates, c = drawn(2, 32), drawn(2, 8)
    expected_grads = fastlstm.gates_backward(gates, c, c, h)
    given = gates.copy()
    assert_same_bits(fastlstm.gates_backward(given, Late(c, reshaped(given, 64)), c, h), expected_grads)
    given = gates.copy()
    assert_same_bits(fastlstm.gates_forward(given, Late(c, reshaped(given, 64))), fastlstm.gates_forward(gates, c))
    assert window.push(Late(x[0], lambda: window.reset())).shape == (8,)


def test_gradients_that_are_reshaped_later_count_as_they_were_checked() -> None:
    lstm = fastlstm.LSTM(4, 8, seed=0)
    x, grad, h = drawn(5, 3, 4), drawn(5, 3, 8), drawn(1, 3, 8)
    _, _, tape = lstm.forward(x)
    expected = lstm.backward(tape, grad, h)
    _, _, tape = lstm.forward(x)
    given = grad.copy()
    made = lstm.backward(tape, given, Late(h, reshaped(given, 120)))
    assert_same_bits(made.input, expected.input)
    assert_same_bits(made.parameters["weight_ih_l0"], expected.parameters["weight_ih_l0"])


class Once:
    """An array-like that is another one when it is read again."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array, self.array = self.array, np.ones((7, 7), bool)
        return array


def call_of(lstm: fastlstm.LSTM[Any], given: Callable[[Array], Any]) -> Any:
    state = given(drawn(1, 2, 3)), given(drawn(1, 2, 3))
    return lstm(given(drawn(5, 2, 4)), state, lengths=given(np.array([3, 5])), resets=given(np.eye(5, 2, dtype=bool)))


def backward_of(lstm: fastlstm.LSTM[Any], given: Callable[[Array], Any]) -> Any:
    output, (h_n, c_n), tape = lstm.forward(given(drawn(5, 2, 4)))
    return lstm.backward(tape, given(output), given(h_n), given(c_n))[:3]


def cell_of(lstm: fastlstm.LSTM[Any], given: Callable[[Array], Any]) -> Any:
    return fastlstm.LSTMCell(4, 3, seed=0)(given(drawn(2, 4)), (given(drawn(2, 3)), given(drawn(2, 3))))


def stream_of(lstm: fastlstm.LSTM[Any], given: Callable[[Array], Any]) -> Any:
    stream = lstm.stream(2)
    stream.state = given(drawn(1, 2, 3)), given(drawn(1, 2, 3))  # type: ignore[assignment]
    return stream.step(given(drawn(2, 4))), stream.feed(given(drawn(5, 2, 4))), lstm.window(2).push(given(drawn(4)))


def pool_of(lstm: fastlstm.LSTM[Any], given: Callable[[Array], Any]) -> Any:
    pool = lstm.pool(2)
    ids, one = np.array([pool.open(), pool.open()]), np.array(1)
    pool.set_state(given(ids), (given(drawn(2, 1, 3)), given(drawn(2, 1, 3))))
    pool.set_state(given(one), (given(drawn(1, 3)), given(drawn(1, 3))))
    return pool.step(given(ids), given(drawn(2, 4))), pool.state(given(ids)), pool.state(given(one))


def gates_of(lstm: fastlstm.LSTM[Any], given: Callable[[Array], Any]) -> Any:
    units = [given(drawn(2, 3)) for _ in range(4)]
    forward = fastlstm.gates_forward(given(drawn(2, 12)), given(drawn(2, 3)))
    return forward, fastlstm.gates_backward(given(drawn(2, 12)), *units), fastlstm.sigmoid(given(drawn(2, 3)))


@pytest.mark.parametrize("results", [call_of, backward_of, cell_of, stream_of, pool_of, gates_of])
def test_an_argument_is_read_once(results: Callable[[fastlstm.LSTM[Any], Callable[[Array], Any]], Any]) -> None:
    """What is read again may be another array than the one that was checked."""
    lstm = fastlstm.LSTM(4, 3, seed=0)
    assert_same_bits(results(lstm, Once), results(lstm, np.asarray))


def test_the_other_values_of_an_array_like_that_keeps_its_array_may_change() -> None:
    """What __array__ returns is the caller's own array: it may be reshaped after it was read."""
    lstm = fastlstm.LSTM(4, 8, seed=0)
    x, z = drawn(10, 10, 4), np.zeros((1, 10, 8), F4)
    expected, _ = lstm(x, (z, z))
    inner = x.copy()
    output, _ = lstm(LateBuffer(inner, lambda: None), (Late(z, reshaped(inner, 1, 100, 4)), z))
    assert_same_bits(output, expected)


class Liar(np.ndarray):
    """A subclass whose sizes are not those of its memory."""

    shape = property(lambda self: (100, 8, 8))  # type: ignore[assignment]
    strides = property(lambda self: (256, 32, 4))  # type: ignore[assignment]
    ndim = property(lambda self: 3)  # type: ignore[assignment]
    size = property(lambda self: 6400)  # type: ignore[assignment]
    dtype = property(lambda self: np.dtype(F4))  # type: ignore[assignment]


def test_a_subclass_that_lies_is_taken_at_its_memory() -> None:
    lstm = fastlstm.LSTM(4, 8, seed=0)
    x = drawn(100, 8, 4)
    with pytest.raises(ValueError, match="Expected out size"):
        lstm(x, out=np.zeros((1, 8, 8), F4).view(Liar))
    with pytest.raises(ValueError, match=r"input\.size"):
        lstm(np.zeros((1, 8, 8), F4).view(Liar))
    with pytest.raises(ValueError, match="hx"):
        lstm(x, (np.zeros((1, 2, 8), F4).view(Liar), np.zeros((1, 8, 8), F4)))
    with pytest.raises(TypeError, match="should have dtype"):
        lstm(np.zeros((1, 8, 4), np.float64).view(Liar))
    small = np.zeros(2, F4).view(Liar)
    cell, pool = fastlstm.LSTMCell(4, 8), lstm.pool(1)
    calls: list[Callable[[], object]] = [
        lambda: cell(small),
        lambda: cell(np.zeros(4, F4), out=(small, small)),
        lambda: lstm.stream().step(small),
        lambda: lstm.stream().step(np.zeros(4, F4), small),
        lambda: lstm.stream().feed(small),
        lambda: pool.step([pool.open()], small),
        lambda: lstm.window(2).push(small),
        lambda: lstm.window(2).push(np.zeros(4, F4), small),
        lambda: fastlstm.gates_forward(small, np.zeros(8, F4)),
        lambda: fastlstm.gates_backward(np.zeros(32, F4), small, np.zeros(8, F4), np.zeros(8, F4)),
        lambda: fastlstm.sigmoid(np.zeros(6400, F4), small),
    ]
    for call in calls:
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            call()


def test_lengths_are_copied_before_they_are_checked() -> None:
    """Another thread writes to them all the time: what is accepted fits, or nothing is."""
    lstm = fastlstm.LSTM(3, 4, seed=0)
    refused: set[str] = set()
    x, lengths, stop = drawn(6, 400, 3), np.zeros(400, np.int64), threading.Event()

    def write() -> None:
        while not stop.is_set():
            lengths[:] = 10**12
            lengths[:] = 3

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(300):
            for call in (lambda: lstm(x, lengths=lengths), lambda: lstm.forward(x, lengths=lengths)):
                try:
                    call()
                except ValueError as error:
                    refused.add(str(error).split(" (T)")[0])
    finally:
        stop.set()
        thread.join()
    assert refused <= {"lengths should be in 0..6"}


# ---- where Python meets C


def z(*shape: int, dtype: Any = F4) -> Array:
    return np.zeros(shape, dtype)


def test_sizes_are_compared_once_more_where_python_meets_c() -> None:
    lstm = fastlstm.LSTM(4, 8, seed=0)
    p, ids = lstm._plan, np.array([0])
    stream, pool, window = lstm.stream(2), lstm.pool(2), lstm.window(3)
    ids = np.array([pool.open()])
    x, y, s = z(5, 2, 4), z(5, 2, 8), z(1, 2, 8)
    narrow, wide, double = z(1, 1, 8), z(5, 2, 9), s.astype(float)
    frozen = z(1, 2, 8)
    frozen.setflags(write=False)
    name = lstm.isa.encode()
    tape = lstm.forward(x)[2]
    assert isinstance(tape, fastlstm.Tape)
    core = tape._core
    weights: list[tuple[Array | None, ...]] = [(z(32, 4), z(32, 8), z(32), None, None)]
    calls: dict[str, Callable[[], object]] = {
        "run: y": lambda: p.run(x, z(4, 2, 8), None, None, s, s, None, None, None),
        "run: y too wide": lambda: p.run(x, wide, None, None, s, s, None, None, None),
        "run: y's last axis": lambda: p.run(x, z(5, 2, 16)[:, :, ::2], None, None, s, s, None, None, None),
        "run: x is flat": lambda: p.run(z(10, 4), y, None, None, s, s, None, None, None),
        "run: h_n": lambda: p.run(x, y, None, None, narrow, s, None, None, None),
        "run: h_n read-only": lambda: p.run(x, y, None, None, frozen, s, None, None, None),
        "run: c_n double": lambda: p.run(x, y, None, None, s, double, None, None, None),
        "run: h_0": lambda: p.run(x, y, narrow, None, s, s, None, None, None),
        "run: lengths": lambda: p.run(x, y, None, None, s, s, np.zeros(1, np.int64), None, None),
        "run: lengths int32": lambda: p.run(x, y, None, None, s, s, np.zeros(2, np.int32), None, None),  # type: ignore[arg-type]
        "run: resets": lambda: p.run(x, y, None, None, s, s, None, np.zeros((5, 1), bool), None),
        "run_at: lengths": lambda: p.run_at(5, 2, *[0] * 10, np.zeros(1, np.int64), None, None),
        "plan: weights": lambda: _core.Plan(
            32, 4, 8, 0, 1, 1, [(z(32, 4), z(31, 8), None, None, None, None)], name, _core.Memory(), packed()
        ),
        "plan: layers": lambda: _core.Plan(
            32, 4, 8, 0, 2, 1, [(z(32, 4), z(32, 8), None, None, None, None)], name, _core.Memory(), packed()
        ),
        "backward: weights": lambda: core.run_backward(
            p, y, None, None, None, None, None, [(z(32, 3), None, None, None, None)], None
        ),
        "backward: bias": lambda: core.run_backward(
            p, y, None, None, None, None, None, [(None, None, z(8), None, None)], None
        ),
        "backward: input": lambda: core.run_backward(p, y, None, None, z(5, 2, 5), None, None, weights, None),
        "backward: strided": lambda: core.run_backward(
            p, z(5, 2, 16)[:, :, ::2], None, None, None, None, None, weights, None
        ),
        "gates_forward": lambda: _core.run_gates_forward(z(2, 32), z(2, 8), z(2, 8), z(1, 8), None, 2, 8, name),
        "gates_train": lambda: _core.run_gates_forward(z(2, 32), z(2, 8), z(2, 8), z(2, 8), z(1, 32), 2, 8, name),
        "gates_backward": lambda: _core.run_gates_backward(
            z(2, 32), z(2, 8), z(2, 8), z(2, 8), z(2, 8), z(2, 8), 2, 8, name
        ),
        "accumulate": lambda: _core.accumulate(z(4), z(3)),
        "accumulate: dtype": lambda: _core.accumulate(z(4), z(4, dtype=float)),
        "feed: x": lambda: stream._run_feed(z(5, 1, 4), z(5, 1, 8)),
        "feed: y": lambda: stream._run_feed(x, z(5, 2, 7)),
        "stream: get": lambda: stream._run_get(narrow, s),
        "stream: set": lambda: stream._run_set(s, narrow),
        "stream: repeat": lambda: stream._repeat(z(4), z(2, 8), 1),
        "pool: step": lambda: pool._run_step(ids, z(1, 4), z(1, 7)),
        "pool: step, x": lambda: pool._run_step(ids, z(1, 3), z(1, 8)),
        "pool: advance": lambda: pool._run_advance(ids.astype(np.int32)),  # type: ignore[arg-type]
        "pool: get": lambda: pool._run_get(ids, z(1, 1, 7), z(1, 1, 8)),
        "pool: set": lambda: pool._run_set(ids, z(1, 1, 8), z(1, 1, 9)),
        "pool: close": lambda: pool._run_close(ids.astype(np.int32)),  # type: ignore[arg-type]
        "window: push": lambda: window._run_push(z(4), z(7)),
        "window: x": lambda: window._run_push(z(3), z(8)),
    }
    for what, call in calls.items():
        with pytest.raises(ValueError, match=r"not of the sizes|of another call"):
            call()
        assert what
    assert len(pool) == 1
    core.run_backward(p, y, None, None, None, None, None, weights, None)  # the refused ones have not used it up


def packed() -> Any:
    from fastlstm import _forms

    return _forms.packed(fastlstm.Form())


def test_objects_of_no_size_are_refused_by_private_doors_too() -> None:
    lstm = fastlstm.LSTM(4, 8)
    p, origin = lstm._plan, lstm._origin
    for kind in (fastlstm.SlidingWindow, fastlstm.StreamPool):
        with pytest.raises(ValueError, match="at least 1"):
            kind(p, 0, None, origin, None)
    for batch_size in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            fastlstm.Stream(p, batch_size, origin, None)
    with pytest.raises(ValueError, match="a cell is one layer"):
        _core.CellCore(fastlstm.LSTM(4, 8, 2)._plan)


@pytest.mark.parametrize("number", [2**62, 2**63, 2**64, 2**80])
def test_sizes_beyond_c_are_told_in_our_words(number: int) -> None:
    lstm = fastlstm.LSTM(4, 8, seed=0)
    for call in (lstm.stream, lstm.window, lstm.pool):
        with pytest.raises((OverflowError, MemoryError), match=r"too l|capacity"):
            call(number)
    for arguments in ((number, 8), (4, number), (4, 8, number)):
        with pytest.raises((ValueError, OverflowError), match=r"sizes are too large|num_layers"):
            fastlstm.LSTM(*arguments)
    with pytest.raises((ValueError, OverflowError), match="sizes are too large"):
        fastlstm.LSTMCell(4, number)


def test_the_number_of_layers_has_a_limit() -> None:
    with pytest.raises(ValueError, match="num_layers should be at most 65536, got: 10000000"):
        fastlstm.LSTM(4, 8, num_layers=10**7)
    state = fastlstm.LSTM(4, 8).__getstate__()
    settings = list(state["settings"])
    settings[2] = 10**7
    with pytest.raises(ValueError, match="num_layers should be at most"):
        fastlstm.LSTM.__new__(fastlstm.LSTM).__setstate__({**state, "settings": tuple(settings)})


# ---- made anew


FAILING: dict[str, Callable[[Any], object]] = {
    "a seed": lambda layer: layer.__init__(4, 8, seed=-1),
    "a larger size and a seed": lambda layer: layer.__init__(4, 2000, seed=-1),
    "another dtype and a seed": lambda layer: layer.__init__(9, 8, dtype="float64", seed=-1),
    "an instruction set": lambda layer: layer.__init__(4, 8, isa="x"),
    "memory": lambda layer: layer.__init__(2**40, 8),
    "a form": lambda layer: layer.__init__(4, 8, form="x"),
    "a state without parameters": lambda layer: layer.__setstate__(layer_state(layer, parameters={})),
    "a state of other sizes": lambda layer: layer.__setstate__(layer_state(layer, input_size=9)),
    "a state of another dtype": lambda layer: layer.__setstate__(layer_state(layer, dtype=np.dtype(np.int32))),
    "a state with a size of text": lambda layer: layer.__setstate__(layer_state(layer, hidden_size="8")),
    "a state of threads": lambda layer: layer.__setstate__(layer_state(layer, threads=10**9)),
    "a state without settings": lambda layer: layer.__setstate__({"parameters": {}}),
    "a state with too many settings": lambda layer: layer.__setstate__({"settings": range(99), "parameters": {}}),
}


def layer_state(layer: Any, parameters: Any = None, **settings: Any) -> dict[str, Any]:
    state: dict[str, Any] = layer.__getstate__()
    fields = layer._settings._replace(**settings)
    return {"settings": tuple(fields), "parameters": state["parameters"] if parameters is None else parameters}


@pytest.mark.parametrize("failing", FAILING)
@pytest.mark.parametrize("kind", [fastlstm.LSTM, fastlstm.LSTMCell])
def test_a_layer_that_cannot_be_made_anew_stays_as_it_was(kind: Any, failing: str) -> None:
    layer = kind(4, 200, seed=0)
    x = drawn(10, 3, 4) if kind is fastlstm.LSTM else drawn(3, 4)
    expected, told, parameters = layer(x), repr(layer), layer.state_dict()
    with pytest.raises((ValueError, TypeError)):
        FAILING[failing](layer)
    assert repr(layer) == told
    assert layer.weight_ih_l0.shape == (800, 4) if kind is fastlstm.LSTM else layer.weight_ih.shape == (800, 4)
    for name, array in layer.state_dict().items():
        assert array is parameters[name]
    for got, wanted in zip(layer(x), expected, strict=True):
        assert_same_bits(got, wanted)


def test_a_layer_that_is_made_anew_is_another() -> None:
    layer, other = fastlstm.LSTM(4, 200, threads=2), fastlstm.LSTM(5, 8, 2, seed=1)
    layer(drawn(10, 3, 4))
    layer.__init__(5, 8, 2, seed=1)  # type: ignore[misc]
    assert repr(layer) == repr(other)
    assert_same_bits(layer(drawn(10, 3, 5)), other(drawn(10, 3, 5)))
    layer.__init__(5, 8, threads=3)  # type: ignore[misc]
    pool = layer._workers
    assert pool is not None
    assert pool.threads == 3


@pytest.mark.parametrize("dtype", [np.dtype(np.int32), "int32", None, "O"])
def test_a_crafted_state_is_checked_as_arguments_are(dtype: Any) -> None:
    layer = fastlstm.LSTM(4, 8, seed=0)
    state = layer_state(layer, dtype=dtype)
    with pytest.raises(ValueError, match="dtype should be"):
        copy.copy(layer).__setstate__(state)
    with pytest.raises(ValueError, match="threads should be"):
        copy.copy(layer).__setstate__(layer_state(layer, threads=10**9))
    with pytest.raises(TypeError, match="form should be"):
        copy.copy(layer).__setstate__(layer_state(layer, form="x"))
    cell = fastlstm.LSTMCell(4, 8)
    with pytest.raises(ValueError, match="not the settings of a fastlstm"):
        cell.__setstate__(layer_state(cell, num_layers=2))


def test_what_runs_on_a_layer_is_made_once() -> None:
    a, b = fastlstm.LSTM(4, 200, seed=0), fastlstm.LSTM(4, 8, seed=0)
    stream, pool, window = a.stream(), a.pool(2), a.window(2)
    for made, more in ((stream, (1,)), (pool, (2, None)), (window, (2, None))):
        with pytest.raises(RuntimeError, match="has been made already"):
            made.__init__(b._plan, *more, b._origin, None)  # type: ignore[misc]
    assert stream.state[0].shape == (1, 1, 200)
    assert pool.state(pool.open())[0].shape == (1, 200)
    assert window.push(z(4)).shape == (200,)
    bare = fastlstm.Stream.__new__(fastlstm.Stream, a._plan, 1, a._origin, None)
    bare.__init__(b._plan, 1, b._origin, None)  # type: ignore[misc]
    with pytest.raises(ValueError, match="not of the sizes"):
        _ = bare.state


def test_a_thread_pool_and_a_tape_that_cannot_be_made_anew_stay_as_they_were() -> None:
    threads = fastlstm.ThreadPool(2)
    with pytest.raises(ValueError, match="threads"):
        threads.__init__(0)  # type: ignore[misc]
    assert threads.threads == 2
    lstm, other = fastlstm.LSTM(4, 8, seed=0), fastlstm.LSTM(4, 200, seed=0)
    x = drawn(5, 3, 4)
    _, _, tape = lstm.forward(x)
    assert isinstance(tape, fastlstm.Tape)
    with pytest.raises(OverflowError):
        tape.__init__(other._plan, tape._frame, 0.0, -1)  # type: ignore[misc]
    assert lstm.backward(tape, drawn(5, 3, 8)).input.shape == (5, 3, 4)


# ---- snapshots of a pool that is at work


def test_a_pool_that_steps_can_be_snapshotted() -> None:
    lstm = fastlstm.LSTM(16, 128, seed=0)
    pool = lstm.pool(64)
    ids, stop = np.array([pool.open() for _ in range(64)]), threading.Event()
    x, steps = drawn(64, 16), [0]

    def step() -> None:
        while not stop.is_set():
            pool.step(ids, x)
            steps[0] += 1

    thread = threading.Thread(target=step)
    thread.start()
    try:
        taken = [pool.snapshot() for _ in range(20)]
    finally:
        stop.set()
        thread.join()
    expected, _ = lstm(np.ascontiguousarray(np.broadcast_to(x, (steps[0], 64, 16))))
    for data in taken:
        fresh = lstm.pool(64)
        moved = fresh.restore(data)
        h, _ = fresh.state([moved[int(id)] for id in ids])
        step_of = np.flatnonzero((expected == h[:, 0]).all((1, 2)))
        assert step_of.size or not h.any(), "a snapshot of a moment between two steps has all sessions at one step"


def test_ids_that_come_twice_and_ids_in_a_step_are_told_apart() -> None:
    pool = fastlstm.LSTM(4, 8).pool(2)
    a = pool.open()
    with pytest.raises(RuntimeError, match=f"session {a} is given twice$"):
        pool.step([a, a], z(2, 4))


def test_zeros_that_another_thread_fills_meanwhile_cost_no_memory() -> None:
    """What is not zero is counted, then listed: a list takes no more than there is room for."""
    run_python(
        """
import threading, time
import numpy as np
import fastlstm

for shape in ((8, 1, 20000), (16, 4, 3000)):
    x, over = np.zeros(shape, np.float32), threading.Event()

    def fill():
        while not over.is_set():
            x.fill(1)
            x.fill(0)

    lstm, other = fastlstm.LSTM(shape[-1], 8, seed=0), threading.Thread(target=fill)
    other.start()
    try:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            lstm(x)
    finally:
        over.set()
        other.join()
"""
    )
