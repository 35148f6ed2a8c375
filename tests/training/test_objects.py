"""Tapes as objects: bad input, what may happen between forward and backward, threads, memory."""

import copy
import gc
import os
import pickle
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import Array, Case, assert_close, make_data, make_gradients
from tests.core.support import at_once
from tests.support import assert_same_bits, run_python
from tests.training.support import assert_same_gradients, forward, layer_of, named, train

F32 = np.float32
CASE = Case("training-objects", T=5, B=3, I=4, H=6, P=2, num_layers=2)
KEPT = pytest.mark.parametrize("keep_every", [None, 2], ids=["dense", "sparse"])
needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc here")


def zeros(*shape: int, dtype: Any = F32) -> Array:
    """Zeros of a shape."""
    return np.zeros(shape, dtype)


# Gradients that do not fit


BAD_GRADIENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"grad_output": zeros(5, 3, 3)}, ValueError, r"grad_output size \(5, 3, 2\).*got \(5, 3, 3\)"),
    ({"grad_output": zeros(4, 3, 2)}, ValueError, r"grad_output size \(5, 3, 2\).*got \(4, 3, 2\)"),
    ({"grad_output": zeros(3, 5, 2)}, ValueError, r"grad_output size \(5, 3, 2\).*got \(3, 5, 2\)"),
    ({"grad_output": zeros(5, 2)}, ValueError, r"grad_output size \(5, 3, 2\).*got \(5, 2\)"),
    ({"grad_output": zeros(5, 3, 2, dtype=float)}, TypeError, "grad_output should have dtype float32.*float64"),
    ({"grad_output": zeros(5, 3, 2, dtype=int)}, TypeError, "grad_output should have dtype float32.*int64"),
    ({"grad_output": zeros(5, 3, 2, dtype=">f4")}, TypeError, "grad_output should have dtype float32"),
    ({"grad_output": 0.0}, ValueError, r"grad_output size \(5, 3, 2\).*got \(\)"),
    ({"grad_output": "text"}, TypeError, "grad_output should have dtype float32"),
    ({"grad_output": np.ma.masked_array(zeros(5, 3, 2))}, TypeError, "grad_output is a masked array"),
    ({"grad_output": [[[0.0]], [[0.0, 1.0]]]}, ValueError, "grad_output could not be read as an array"),
    ({"grad_h_n": zeros(2, 3, 6)}, ValueError, r"grad_h_n size \(2, 3, 2\).*got \(2, 3, 6\)"),
    ({"grad_h_n": zeros(1, 3, 2)}, ValueError, r"grad_h_n size \(2, 3, 2\).*got \(1, 3, 2\)"),
    ({"grad_h_n": zeros(2, 3, 2, dtype=float)}, TypeError, "grad_h_n should have dtype float32.*float64"),
    ({"grad_c_n": zeros(2, 3, 2)}, ValueError, r"grad_c_n size \(2, 3, 6\).*got \(2, 3, 2\)"),
    ({"grad_c_n": zeros(2, 1, 6)}, ValueError, r"grad_c_n size \(2, 3, 6\).*got \(2, 1, 6\)"),
    ({"grad_c_n": zeros(2, 3, 6, dtype=complex)}, TypeError, "grad_c_n should have dtype float32.*complex"),
    ({"grad_c_n": object()}, TypeError, "grad_c_n should have dtype float32"),
]


@KEPT
@pytest.mark.parametrize(("changes", "error", "message"), BAD_GRADIENTS)
def test_a_bad_gradient_is_named_and_costs_nothing(
    changes: dict[str, Any], error: type[Exception], message: str, keep_every: int | None
) -> None:
    data = make_data(CASE, "float32")
    lstm = layer_of(CASE, data)
    _, tape = forward(lstm, data, keep_every=keep_every)
    good = dict(zip(("grad_output", "grad_h_n", "grad_c_n"), make_gradients(CASE, "float32"), strict=True))
    with pytest.raises(error, match=message):
        lstm.backward(tape, **(good | changes))
    if "grad_output" in changes:
        grad_outputs, others = [changes["grad_output"]], {name: good[name] for name in ("grad_h_n", "grad_c_n")}
    else:
        grad_outputs, others = [good["grad_output"]], {name: changes.get(name) for name in ("grad_h_n", "grad_c_n")}
    with pytest.raises(error, match=message):
        lstm.backward_chunks([tape], grad_outputs, **others)
    assert not tape.used
    got = named(lstm.backward(tape, **good))
    assert_same_gradients(got, train(lstm, CASE, data, keep_every=keep_every))


def test_shapes_of_unbatched_and_batch_first_gradients_are_told() -> None:
    lstm = fastlstm.LSTM(4, 6, batch_first=True)
    *_, tape = lstm.forward(zeros(3, 5, 4))
    with pytest.raises(ValueError, match=r"grad_output size \(3, 5, 6\).*got \(5, 3, 6\)"):
        lstm.backward(tape, zeros(5, 3, 6))
    *_, tape = lstm.forward(zeros(5, 4))
    with pytest.raises(ValueError, match=r"grad_output size \(5, 6\).*got \(5, 1, 6\)"):
        lstm.backward(tape, zeros(5, 1, 6))
    with pytest.raises(ValueError, match=r"grad_h_n size \(1, 6\).*got \(1, 1, 6\)"):
        lstm.backward(tape, None, zeros(1, 1, 6))


# Tapes that do not fit


@KEPT
def test_a_tape_serves_once(keep_every: int | None) -> None:
    data = make_data(CASE, "float32")
    lstm = layer_of(CASE, data)
    _, tape = forward(lstm, data, keep_every=keep_every)
    assert not tape.used
    assert "ready" in repr(tape)
    lstm.backward(tape)
    assert tape.used
    assert "used" in repr(tape)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="this tape is used up"):
            lstm.backward(tape)
        with pytest.raises(RuntimeError, match="this tape is used up"):
            lstm.backward_chunks([tape], [None])


@KEPT
def test_a_tape_of_earlier_weights_is_refused(keep_every: int | None) -> None:
    data = make_data(CASE, "float32")
    lstm = layer_of(CASE, data)
    _, tape = forward(lstm, data, keep_every=keep_every)
    lstm.load_state_dict({name: array / 2 for name, array in lstm.state_dict().items()})
    for back in (lambda: lstm.backward(tape), lambda: lstm.backward_chunks([tape], [None])):
        with pytest.raises(ValueError, match="not of this layer with its present weights: run forward again"):
            back()
    lstm.load_state_dict(data.state_dict)
    expected = train(layer_of(CASE, data), CASE, data, keep_every=keep_every)
    assert_same_gradients(train(lstm, CASE, data, keep_every=keep_every), expected)


@KEPT
def test_new_weights_that_are_refused_leave_the_tape_good(keep_every: int | None) -> None:
    data = make_data(CASE, "float32")
    lstm = layer_of(CASE, data)
    expected = train(lstm, CASE, data, keep_every=keep_every)
    _, tape = forward(lstm, data, keep_every=keep_every)
    with pytest.raises(ValueError, match="weight"):
        lstm.load_state_dict({})
    assert_same_gradients(named(lstm.backward(tape, *make_gradients(CASE, "float32"))), expected)


@KEPT
def test_a_tape_of_another_layer_is_refused(keep_every: int | None) -> None:
    data = make_data(CASE, "float32")
    lstm, twin = layer_of(CASE, data), layer_of(CASE, data)
    _, tape = forward(lstm, data, keep_every=keep_every)
    for other in (twin, fastlstm.LSTM(4, 6), fastlstm.LSTM(4, 6, dtype=float), copy.copy(lstm), copy.deepcopy(lstm)):
        with pytest.raises(ValueError, match="tape is not of this layer"):
            other.backward(tape)
    lstm.backward(tape)


@KEPT
def test_a_tape_keeps_what_it_needs_alive(keep_every: int | None) -> None:
    data = make_data(CASE, "float32")
    lstm = layer_of(CASE, data)
    _, tape = forward(lstm, data, keep_every=keep_every)
    lstm.load_state_dict(data.state_dict)
    del lstm
    gc.collect()
    assert tape.nbytes > 0
    del tape
    gc.collect()


@pytest.mark.parametrize("value", [None, 1, "tape", object(), [], zeros(5, 3, 2), fastlstm.Tape, fastlstm.SparseTape])
def test_foreign_objects_are_not_tapes(value: Any) -> None:
    lstm = fastlstm.LSTM(4, 6)
    with pytest.raises(TypeError, match="tape should be a Tape from forward, got: "):
        lstm.backward(value)
    with pytest.raises(TypeError, match="tape should be a Tape from forward, got: "):
        lstm.backward_chunks([value], [None])


@pytest.mark.parametrize(("kind", "options"), [(fastlstm.Tape, ()), (fastlstm.SparseTape, (2,))])
def test_an_empty_tape_is_refused(kind: Callable[..., Any], options: tuple[int, ...]) -> None:
    lstm = fastlstm.LSTM(4, 6)
    *_, full = lstm.forward(zeros(5, 4))
    empty = kind(full._plan, full._frame, 0.0, 0, *options)
    with pytest.raises(RuntimeError, match="this tape is empty: forward fills it"):
        lstm.backward(empty)
    for tapes in ([full, empty], [empty, full]):
        with pytest.raises(RuntimeError, match="this tape is empty: forward fills it"):
            lstm.backward_chunks(tapes, [None, None])
        assert not full.used


@pytest.mark.parametrize(
    "harm",
    [
        "large._frame = small._frame",
        "small._frame = large._frame; large = small",
        "large._plan = other._plan; lstm = other",
        "small._core, large = large._core, small",
        "large.__init__(lstm._plan, small._frame, 0.0, 0)",
    ],
)
def test_a_tape_cannot_be_turned_into_a_crash(harm: str) -> None:
    # an error of any kind will do: for the assignment, or for what comes of it
    script = f"""
import numpy as np, fastlstm
lstm, other = fastlstm.LSTM(4, 40), fastlstm.LSTM(4, 8)
large, small = (lstm.forward(np.zeros((T, T, 4), np.float32))[2] for T in (90, 1))
try:
    {harm}
    lstm.backward(large, None)
except Exception:
    pass
made = [np.zeros(n) for n in range(0, 5000, 7)]
"""
    run_python(script, MALLOC_CHECK_="3", MALLOC_PERTURB_="165")


@KEPT
def test_tapes_are_not_copied(keep_every: int | None) -> None:
    *_, tape = fastlstm.LSTM(4, 6).forward(zeros(5, 4), keep_every=keep_every)
    for how in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="a tape cannot be pickled or copied"):
            how(tape)


# Bad arguments of forward and backward_chunks


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"train": 1}, TypeError, "train should be of type bool, got: int"),
        ({"seed": -1}, ValueError, r"seed should be in 0..2\^64-1, got: -1"),
        ({"seed": 2**64}, ValueError, r"seed should be in 0..2\^64-1"),
        ({"seed": 1.0}, TypeError, "seed should be of type int, got: float"),
        ({"keep_every": 0}, ValueError, "keep_every must be greater than zero, got: 0"),
        ({"keep_every": -2}, ValueError, "keep_every must be greater than zero, got: -2"),
        ({"keep_every": 2.0}, TypeError, "keep_every should be of type int, got: float"),
        ({"keep_every": True}, TypeError, "keep_every should be of type int, got: bool"),
    ],
)
def test_options_of_forward_are_checked(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fastlstm.LSTM(4, 6).forward(zeros(5, 3, 4), **options)


@KEPT
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"input": zeros(5, 3, 7)}, ValueError, "Expected 4, got 7"),
        ({"input": zeros(4)}, ValueError, "Expected input to be 2D or 3D, got 1D"),
        ({"input": zeros(5, 3, 4, dtype=float)}, TypeError, "input should have dtype float32.*float64"),
        ({"hx": 3}, TypeError, r"hx should be a pair \(h_0, c_0\), got: int"),
        ({"hx": zeros(2, 2, 3, 2)}, TypeError, r"hx should be a pair \(h_0, c_0\), got: ndarray"),
        ({"hx": (zeros(2, 3, 2),)}, TypeError, r"hx should be a pair \(h_0, c_0\), got: tuple of length 1"),
        ({"hx": (zeros(2, 3, 2), zeros(2, 3, 2))}, ValueError, r"hx\[1\] size \(2, 3, 6\).*got \(2, 3, 2\)"),
        ({"hx": (np.ma.zeros((2, 3, 2), F32), zeros(2, 3, 6))}, TypeError, r"hx\[0\] is a masked array"),
        ({"lengths": [6, 1, 1]}, ValueError, r"lengths should be in 0..5 \(T\), got 6 at row 0"),
        ({"lengths": [1, 1]}, ValueError, r"Expected lengths size \(3,\)"),
        ({"resets": zeros(3, 5, dtype=bool)}, ValueError, r"Expected resets size \(5, 3\).*got \(3, 5\)"),
        ({"resets": zeros(5, 3)}, TypeError, "resets should have dtype bool"),
    ],
)
def test_forward_names_bad_arguments(
    changes: dict[str, Any], error: type[Exception], message: str, keep_every: int | None
) -> None:
    data = make_data(CASE, "float32")
    arguments: dict[str, Any] = {"input": data.input, "hx": data.hx} | changes
    with pytest.raises(error, match=message):
        layer_of(CASE, data).forward(**arguments, keep_every=keep_every)


@KEPT
def test_lists_are_taken_by_forward(keep_every: int | None) -> None:
    case = Case("lists", T=3, B=2, I=2, H=2)
    data = make_data(case, "float32")
    data = replace(data, input=np.round(data.input, 1), h_0=np.round(data.h_0, 1), c_0=np.round(data.c_0, 1))
    lstm = layer_of(case, data)
    got, _ = lstm.forward(data.input.tolist(), (data.h_0.tolist(), data.c_0.tolist()), keep_every=keep_every)[:2]
    assert_same_bits(got, lstm(data.input, data.hx)[0])


def test_a_bidirectional_layer_has_no_pieces() -> None:
    lstm = fastlstm.LSTM(4, 6, bidirectional=True)
    with pytest.raises(ValueError, match="keep_every needs a unidirectional layer"):
        lstm.forward(zeros(5, 3, 4), keep_every=2)
    *_, tape = lstm.forward(zeros(5, 3, 4))
    with pytest.raises(ValueError, match="backward_chunks needs a unidirectional layer"):
        lstm.backward_chunks([tape], [None])
    lstm.backward(tape)


def test_bad_chunks_are_named_and_cost_nothing() -> None:
    data = make_data(CASE, "float32")
    lstm = layer_of(CASE, data)
    *_, state, one = lstm.forward(data.input[:2], data.hx)
    *_, two = lstm.forward(data.input[2:], state)
    *_, small = lstm.forward(data.input[:, :1])
    *_, stranger = layer_of(CASE, data).forward(data.input[2:], state)
    *_, used = lstm.forward(data.input)
    lstm.backward(used)
    g = zeros(2, 3, 2), zeros(3, 3, 2)
    for tapes, grads, error, message in (
        ([], [], ValueError, "at least 1, got: 0 and 0"),
        ([one, two], [g[0]], ValueError, "one length, at least 1, got: 2 and 1"),
        ([one, one], [g[0], g[0]], ValueError, "a tape is given twice in tapes"),
        ([one, small], [g[0], None], ValueError, "tapes are of different batch sizes"),
        ([one, stranger], list(g), ValueError, "tape is not of this layer"),
        ([one, used], [g[0], None], RuntimeError, "this tape is used up"),
        ([used, two], [None, g[1]], RuntimeError, "this tape is used up"),
        ([one, None], [g[0], None], TypeError, "tape should be a Tape from forward, got: NoneType"),
        ([one, two], [g[0], g[0]], ValueError, r"grad_output size \(3, 3, 2\).*got \(2, 3, 2\)"),
        ([one, two], [zeros(2, 3, 2, dtype=float), g[1]], TypeError, "grad_output should have dtype float32"),
    ):
        with pytest.raises(error, match=message):
            lstm.backward_chunks(tapes, grads)  # type: ignore[arg-type]
        assert not one.used
        assert not two.used
    lstm.backward_chunks([one, two], g)


# Between forward and backward


@KEPT
def test_a_tape_copies_what_it_read(keep_every: int | None) -> None:
    case = Case("copies", T=6, B=4, I=5, H=9, num_layers=2, ragged=True, resets=True)
    data = make_data(case, "float32")
    lstm = layer_of(case, data)
    incoming = make_gradients(case, "float32")
    expected = train(lstm, case, data, incoming, keep_every=keep_every)
    assert data.lengths is not None
    assert data.resets is not None
    x, h_0, c_0, lengths, resets = (a.copy() for a in (data.input, *data.hx, data.lengths, data.resets))
    output, states, tape = lstm.forward(x, (h_0, c_0), lengths=lengths, resets=resets, keep_every=keep_every)
    for array in (x, h_0, c_0, output, *states):
        array[...] = np.nan
    lengths[...] = 0
    resets[...] = True
    got = named(lstm.backward(tape, *incoming))
    assert_same_gradients(got, expected)
    for name, gradient in got.items():
        for array in (x, h_0, c_0, output, *states, *incoming, *data.state_dict.values()):
            assert not np.shares_memory(gradient, array), name
        for other in got:
            assert other == name or not np.shares_memory(gradient, got[other]), f"{name} and {other}"


@KEPT
def test_chunks_copy_what_they_hand_on(keep_every: int | None) -> None:
    data = make_data(CASE, "float32")
    lstm = layer_of(CASE, data)
    grad_output, *others = make_gradients(CASE, "float32")

    def run(spoil: bool) -> Any:
        _, state, one = lstm.forward(data.input[:2], data.hx, keep_every=keep_every)
        _, last, two = lstm.forward(data.input[2:], state, keep_every=keep_every)
        for array in (*state, *last) if spoil else ():
            array[...] = np.nan
        made = lstm.backward_chunks([one, two], [grad_output[:2], grad_output[2:]], *others)  # type: ignore[list-item]
        return named(made._replace(input=np.concatenate(made.input)))

    assert_same_gradients(run(spoil=True), run(spoil=False))


@KEPT
def test_tapes_may_be_used_in_any_order(keep_every: int | None) -> None:
    data = make_data(CASE, "float32")
    lstm = layer_of(CASE, data)
    incoming = make_gradients(CASE, "float32")
    inputs = [data.input * F32(1 + k) for k in range(4)]
    expected = [train(lstm, CASE, replace(data, input=x), incoming, keep_every=keep_every) for x in inputs]
    tapes = [forward(lstm, replace(data, input=x), keep_every=keep_every)[1] for x in inputs]
    lstm(data.input[:3])
    for k in (2, 0, 3, 1):
        assert_same_gradients(named(lstm.backward(tapes[k], *incoming)), expected[k], f"tape {k}")


def test_a_dropped_tape_gives_its_memory_to_the_next() -> None:
    data = make_data(CASE, "float32")
    lstm = layer_of(CASE, data)
    expected = train(lstm, CASE, data)
    for T in (5, 1, 3, 5, 2, 5):
        _, tape = forward(lstm, replace(data, input=data.input[:T]))
        del tape
        assert_same_gradients(train(lstm, CASE, data), expected)


# Threads


@KEPT
@pytest.mark.parametrize("threads", [1, 2])
def test_many_sequences_may_be_in_flight(threads: int, keep_every: int | None) -> None:
    case = Case("in-flight", T=12, B=9, I=9, H=33, num_layers=2, dropout=0.3)
    data = make_data(case, "float32")
    incoming = make_gradients(case, "float32")
    alone, shared = layer_of(case, data), layer_of(case, data, threads=threads)
    several = [replace(data, input=data.input * F32(1 + k / 8)) for k in range(5)]
    options = {"seed": 1, "keep_every": keep_every}
    expected = [train(alone, case, each, incoming, **options) for each in several]

    def job(k: int) -> None:
        for _ in range(12):
            assert_same_gradients(train(shared, case, several[k], incoming, **options), expected[k], f"thread {k}")

    at_once([lambda k=k: job(k) for k in range(5)])  # type: ignore[misc]


def test_many_sizes_may_be_in_flight() -> None:
    # the memory that one call leaves behind for the next must be large enough, or replaced
    case = Case("in-flight-sizes", T=10, B=6, I=5, H=17)
    data = make_data(case, "float32")
    grad_output, grad_h_n, grad_c_n = make_gradients(case, "float32")
    lstm, alone = layer_of(case, data), layer_of(case, data)

    def job(k: int) -> None:
        rng = np.random.default_rng(k)
        for _ in range(25):
            T, B = rng.integers(0, 11), rng.integers(0, 7)
            part = replace(data, input=data.input[:T, :B], h_0=data.h_0[:, :B], c_0=data.c_0[:, :B])
            incoming = grad_output[:T, :B], grad_h_n[:, :B], grad_c_n[:, :B]
            assert_same_gradients(train(lstm, case, part, incoming), train(alone, case, part, incoming), f"{T} {B}")

    at_once([lambda k=k: job(k) for k in range(4)])  # type: ignore[misc]


def test_a_forward_in_one_thread_has_its_backward_in_another() -> None:
    data = make_data(CASE, "float32")
    lstm = layer_of(CASE, data, threads=2)
    expected = train(lstm, CASE, data)
    _, tape = forward(lstm, data)
    (got,) = at_once([lambda: named(lstm.backward(tape, *make_gradients(CASE, "float32")))])
    assert_same_gradients(got, expected)


@KEPT
def test_of_many_threads_on_one_tape_one_is_served(keep_every: int | None) -> None:
    case = Case("one-tape", T=20, B=8, I=9, H=65)
    data = make_data(case, "float32")
    incoming = make_gradients(case, "float32")
    lstm = layer_of(case, data)
    expected = train(lstm, case, data, incoming, keep_every=keep_every)

    def job() -> Any:
        try:
            return named(lstm.backward(tape, *incoming))
        except RuntimeError as error:
            assert "is used up" in str(error) or "another thread is using this tape" in str(error)  # noqa: PT017
            return None

    for _ in range(10):
        _, tape = forward(lstm, data, keep_every=keep_every)
        served = [got for got in at_once([job] * 4) if got is not None]
        assert len(served) == 1
        assert_same_gradients(served[0], expected)


@KEPT
def test_new_weights_come_whole_or_not_at_all(keep_every: int | None) -> None:
    # a call that is under way in another thread finishes with the weights that it has begun with
    case = Case("new-weights", T=40, B=2, I=5, H=17)
    data = make_data(case, "float32")
    lstm = layer_of(case, data)
    incoming = make_gradients(case, "float32")
    sets = [data.state_dict, {name: -array for name, array in data.state_dict.items()}]
    outputs, gradients = set(), set()
    for weights in sets:
        lstm.load_state_dict(weights)
        (output, *_), tape = forward(lstm, data, keep_every=keep_every)
        outputs.add(output.tobytes())
        gradients.add(named(lstm.backward(tape, *incoming))["input"].tobytes())
    stop = threading.Event()
    mixed: list[str] = []

    def change() -> None:
        for k in range(100_000):
            if stop.is_set():
                return
            lstm.load_state_dict(sets[k % 2])

    def train_on() -> None:
        try:
            for _ in range(150):
                (output, *_), tape = forward(lstm, data, keep_every=keep_every)
                if output.tobytes() not in outputs:
                    mixed.append("output")
                try:
                    made = lstm.backward(tape, *incoming)
                except ValueError:
                    continue  # the weights have changed since
                if made.input.tobytes() not in gradients:
                    mixed.append("gradients")
        finally:
            stop.set()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        at_once([change, train_on])
    finally:
        sys.setswitchinterval(interval)
    assert not mixed, f"{len(mixed)} of two sets of weights at once: {set(mixed)}"


# Memory


@pytest.mark.parametrize(
    "case",
    [
        Case("bytes", T=100, B=8, I=16, H=64),
        Case("bytes-stack", T=100, B=8, I=5, H=128, num_layers=3),
        Case("bytes-directions", T=60, B=8, I=16, H=64, num_layers=2, bidirectional=True),
        Case("bytes-projection", T=100, B=8, I=16, H=64, P=8),
    ],
    ids=lambda case: case.name,
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tape_takes_what_is_documented(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    lstm = layer_of(case, data)
    LD, T, B = case.num_layers * case.directions, case.T, case.B
    for steps in (T, T // 2):
        *_, tape = lstm.forward(data.input, lengths=[steps] * B)
        numbers = LD * B * steps * (5 * case.H + 32) + T * B * (case.I + LD * case.R)
        assert_close(np.float32(tape.nbytes / data.input.itemsize / numbers), np.float32(1), "bytes of a tape")
        *_, smaller = lstm.forward(data.input[:1])
        assert smaller.nbytes < tape.nbytes


@pytest.mark.parametrize("keep_every", [1, 7, 25, 100, 1000])
def test_a_sparse_tape_takes_what_is_documented(keep_every: int) -> None:
    case = Case("bytes-sparse", T=100, B=8, I=16, H=64, P=24, num_layers=2)
    data = make_data(case, "float32")
    lstm = layer_of(case, data)
    _, tape = forward(lstm, data, keep_every=keep_every)
    pieces = -(-case.T // keep_every)
    numbers = case.T * case.B * case.I + pieces * case.num_layers * case.B * (case.R + case.H)
    assert tape.nbytes == numbers * data.input.itemsize
    *_, dense = lstm.forward(data.input)
    assert tape.nbytes < dense.nbytes


MEASURE = """
import numpy as np, fastlstm

def now(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))
"""


@pytest.mark.unsanitized
@needs_proc
def test_states_kept_every_few_steps_bound_the_peak_of_memory() -> None:
    script = f"""{MEASURE}
lstm = fastlstm.LSTM(4, 64, proj_size=2, seed=0)
x = np.ones((20000, 4, 4), np.float32)
gradient = np.ones((20000, 4, 2), np.float32)
lstm.backward(lstm.forward(x[:100])[2])
before = now("VmHWM")
output, _, tape = lstm.forward(x, keep_every=100)
lstm.backward(tape, gradient)
sparse = now("VmHWM") - before
arrays = tape.nbytes + 4 * x.nbytes + 4 * output.nbytes  # what goes in and comes out, in pieces and whole
piece = lstm.forward(x[:100])[2].nbytes
assert sparse < arrays + 4 * piece + (4 << 20), (sparse, arrays, piece)
dense = lstm.forward(x)[2].nbytes
assert now("VmHWM") - before >= dense > 8 * sparse, (dense, sparse)
"""
    run_python(script)


@pytest.mark.unsanitized
@needs_proc
@KEPT
def test_memory_stays_flat_over_a_thousand_steps(keep_every: int | None) -> None:
    # 1000 tapes are 700 MB, 1000 sets of gradients 70 MB
    script = f"""{MEASURE}
lstm = fastlstm.LSTM(32, 48, num_layers=2, dropout=0.1, threads=2, seed=0)
x = np.ones((16, 8, 32), np.float32)
gradient = np.ones((16, 8, 48), np.float32)
for step in range(1050):
    T = 16 - step % 3
    _, _, tape = lstm.forward(x[:T], lengths=[T] * 8, keep_every={keep_every})
    made = lstm.backward(tape, gradient[:T])
    if step % 5 == 0:
        lstm.load_state_dict({{name: w - 1e-3 * made.parameters[name] for name, w in lstm.state_dict().items()}})
    if step % 7 == 0:
        lstm.forward(x)  # a tape that is never used
    if step % 11 == 0:
        try:
            lstm.backward(tape)
        except (RuntimeError, ValueError):
            pass
    if step == 50:
        start = now("VmRSS")
assert now("VmRSS") - start < 4 << 20, now("VmRSS") - start
"""
    run_python(script)


def test_many_tapes_at_once_are_given_back() -> None:
    lstm = fastlstm.LSTM(4, 32, seed=0)
    x = np.ones((20, 4, 4), F32)
    tapes = [lstm.forward(x)[2] for _ in range(50)]
    assert len({tape.nbytes for tape in tapes if tape is not None}) == 1
    first = named(lstm.backward(tapes.pop(0)))  # type: ignore[arg-type]
    for tape in tapes:
        assert tape is not None
        assert_same_gradients(named(lstm.backward(tape)), first)
