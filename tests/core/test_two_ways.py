"""A call of exactly right arrays goes straight to C, any other through `Call`, which explains: the same results."""

from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import LAYERS, Array, Case, make_data
from tests.support import (
    LAYOUTS,
    Guarded,
    assert_same_bits,
    backwards,
    backwards_outside,
    by_name,
    fortran,
    lstm_of,
    read_only,
    strided,
    unaligned,
)

LAYER = Case("two-ways", T=5, B=3, I=4, H=6, P=4, num_layers=2)  # its output and its states might be its input
EMPTY = tuple(Case(f"two-ways-{T}-{B}", T=T, B=B, I=4, H=6, num_layers=2) for T, B in ((0, 3), (5, 0), (0, 0)))
STEPS = tuple(Case(f"two-ways-step-{B}", T=1, B=B, I=8, H=8, batch_first=B == 2) for B in (1, 2))
PLAIN = (*(case for case in LAYERS if not case.ragged and not case.resets), *EMPTY, *STEPS)


class Mine(np.ndarray[Any, Any]):
    """A class of the user's."""


class Pair(tuple[Array, Array]):
    """A tuple of the user's."""


def straight(lstm: fastlstm.LSTM, x: Any, hx: Any = None, out: Any = None) -> Any:
    """Try the straight way."""
    return lstm._plan.call(x, hx, out, lstm.batch_first, lstm._workers)


def explained(lstm: fastlstm.LSTM, x: Any, hx: Any = None, out: Any = None) -> Any:
    """Take the other one."""
    return lstm._call(x, hx, None, None, out).run(lstm._plan, lstm._workers)


def assert_same(found: Any, expected: Any) -> None:
    """Compare outputs and states: bits, shapes, types, and what the caller may do with them."""
    (output, states), (output_, states_) = found, expected
    assert type(states) is type(states_) is tuple
    for array, other in zip((output, *states), (output_, *states_), strict=True):
        assert type(array) is type(other) is np.ndarray
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert_same_bits(array, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
@by_name(PLAIN)
def test_both_ways_give_the_same(case: Case, threads: int, dtype: str) -> None:
    data = make_data(case, dtype)
    lstm = lstm_of(case, data, threads=threads)
    for hx in (None, data.hx):
        expected = explained(lstm, data.input, hx)
        assert_same(straight(lstm, data.input, hx), expected)
        assert_same(lstm(data.input, hx), expected)
        out = np.full_like(expected[0], np.nan)
        into = straight(lstm, data.input, hx, out)
        assert into[0] is out
        assert_same(into, expected)


@by_name(PLAIN)
def test_both_ways_give_the_same_for_one_row(case: Case) -> None:
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    for b in range(case.B):
        x = data.input[b] if case.batch_first else data.input[:, b]
        for hx in (None, tuple(state[:, b].copy() for state in data.hx)):
            expected = explained(lstm, x, hx)
            out = np.empty_like(expected[0])
            made = straight(lstm, x, hx)
            assert_same(made, expected)
            if x.flags.c_contiguous:
                assert_same(straight(lstm, x, hx, out), expected)


@pytest.mark.parametrize("layout", [*LAYOUTS, read_only], ids=lambda function: function.__name__)
@pytest.mark.parametrize("batch_first", [False, True])
def test_every_layout_gives_the_same(layout: Any, batch_first: bool) -> None:
    data = make_data(Case("two-ways-layouts", T=5, B=3, I=4, H=6, batch_first=batch_first), "float32")
    lstm = lstm_of(Case("two-ways-layouts", T=5, B=3, I=4, H=6, batch_first=batch_first), data)
    expected = explained(lstm, data.input, data.hx)
    made = straight(lstm, layout(data.input), data.hx)
    assert (made is None) == (layout in (strided, backwards, fortran, unaligned))
    if made is not None:
        assert_same(made, expected)
    assert_same(lstm(layout(data.input), data.hx), expected)
    assert_same(lstm(data.input, tuple(map(layout, data.hx))), expected)


def test_rows_and_steps_of_a_larger_array_go_straight() -> None:
    data = make_data(LAYER, "float32")
    lstm = lstm_of(LAYER, data)
    wide = np.repeat(np.repeat(data.input, 2, 0), 3, 1)
    for x in (wide[::2, ::3], wide[::2, :3], wide[::-1], wide[:, ::-3], backwards_outside(data.input), wide[3:3]):
        assert_same(straight(lstm, x), explained(lstm, np.array(x)))
    row = np.broadcast_to(data.input[:1], (7, 3, 4))
    assert_same(straight(lstm, row), explained(lstm, row.copy()))


def test_what_is_written_to_is_only_the_output() -> None:
    data = make_data(LAYER, "float32")
    lstm = lstm_of(LAYER, data)
    out = Guarded((5, 3, 4), "float32")
    read = data.input.copy(), *(state.copy() for state in data.hx)
    expected = explained(lstm, data.input, data.hx)
    assert_same(straight(lstm, data.input, data.hx, out.array), expected)
    out.check()
    for array, before in zip((data.input, *data.hx), read, strict=True):
        assert_same_bits(array, before)


# What is not exactly right


X, H, C = (np.zeros(shape, np.float32) for shape in ((5, 3, 4), (2, 3, 4), (2, 3, 6)))
LARGE = np.zeros((6, 3, 4), np.float32)

CONVERTED = {
    "a list": (X.tolist(), None),
    "a subclass": (X.view(Mine), None),
    "a mapped file's class": (X.view(np.memmap), None),
    "states in a list": (X, [H, C]),
    "states in a tuple of another class": (X, Pair((H, C))),
    "states of another class": (X, (H.view(Mine), C)),
    "lists as states": (X, (H.tolist(), C)),
    "states with gaps": (X, (np.zeros((2, 3, 8), np.float32)[..., ::2], C)),
    "turned states": (X, (H, np.zeros((6, 3, 2), np.float32).T)),
    "an object that gives an array": (memoryview(X), None),
}

REFUSED = {
    "nothing": (None, None),
    "a number": (np.float32(1), None),
    "one axis": (X[0, 0], None),
    "four axes": (X[None], None),
    "a masked array": (np.ma.masked_array(X), None),
    "another dtype": (X.astype(np.float64), None),
    "integers": (X.astype(np.int32), None),
    "another byte order": (X.astype(X.dtype.newbyteorder()), None),
    "another width": (np.zeros((5, 3, 5), np.float32), None),
    "one state": (X, (H,)),
    "three states": (X, (H, C, C)),
    "an array of states": (X, np.zeros((2, 2, 3, 6), np.float32)),
    "a state that is None": (X, (None, C)),
    "another order of states": (X, (C, H)),
    "states for other rows": (X, (H[:, :2].copy(), C[:, :2].copy())),
    "states for other layers": (X, (H[:1], C[:1])),
    "states without rows": (X, (H[:, 0].copy(), C[:, 0].copy())),
    "states with rows": (X[:, 0], (H, C)),
    "states of another dtype": (X, (H.astype(np.float64), C)),
    "states of another byte order": (X, (H.astype(H.dtype.newbyteorder()), C)),
}


@pytest.mark.parametrize("x_hx", CONVERTED.values(), ids=CONVERTED)
def test_what_can_be_converted_is(x_hx: Any) -> None:
    lstm = fastlstm.LSTM(4, 6, 2, proj_size=4, seed=0)
    assert straight(lstm, *x_hx) is None
    assert_same(lstm(*x_hx), explained(lstm, X, (H, C)))


@pytest.mark.parametrize("x_hx", REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_explained(x_hx: Any) -> None:
    lstm = fastlstm.LSTM(4, 6, 2, proj_size=4, seed=0)
    assert straight(lstm, *x_hx) is None
    errors = []
    for way in (lambda: explained(lstm, *x_hx), lambda: lstm(*x_hx), lambda: lstm.forward(*x_hx, train=False)):
        with pytest.raises((TypeError, ValueError)) as raised:
            way()
        errors.append((raised.type, str(raised.value)))
    assert len(set(errors)) == 1


OUTPUTS = {
    "gaps": lambda: np.empty((5, 3, 8), np.float32)[..., ::2],
    "another order": lambda: np.empty((4, 3, 5), np.float32).T,
    "a subclass": lambda: np.empty((5, 3, 4), np.float32).view(Mine),
    "unaligned": lambda: unaligned(np.empty((5, 3, 4), np.float32)),
}
BAD_OUTPUTS = {
    "the input": lambda: X,
    "the state": lambda: np.broadcast_to(H[:1], (5, 3, 4)),
    "part of the input": lambda: LARGE[:5],
    "read-only": lambda: read_only(np.empty((5, 3, 4), np.float32)),
    "another shape": lambda: np.empty((5, 3, 6), np.float32),
    "one axis less": lambda: np.empty((15, 4), np.float32),
    "another dtype": lambda: np.empty((5, 3, 4)),
    "a list": lambda: X.tolist(),
}


@pytest.mark.parametrize("make", OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_that_are_not_contiguous_are_written(make: Any) -> None:
    lstm = fastlstm.LSTM(4, 6, 2, proj_size=4, seed=0)
    out, expected = make(), explained(lstm, X, (H, C))
    assert straight(lstm, X, (H, C), out) is None
    output, states = lstm(X, (H, C), out=out)
    assert output is out
    assert_same((np.array(output, order="C"), states), expected)


@pytest.mark.parametrize("make", BAD_OUTPUTS.values(), ids=BAD_OUTPUTS)
def test_outputs_that_are_wrong_are_explained(make: Any) -> None:
    lstm = fastlstm.LSTM(4, 6, 2, proj_size=4, seed=0)
    x = LARGE[1:] if make is BAD_OUTPUTS["part of the input"] else X
    assert straight(lstm, x, (H, C), make()) is None
    with pytest.raises((TypeError, ValueError)) as expected:
        explained(lstm, x, (H, C), make())
    with pytest.raises(expected.type) as raised:
        lstm(x, (H, C), out=make())
    assert str(raised.value) == str(expected.value)


def test_an_output_between_the_rows_of_the_input_is_written() -> None:
    # the arrays share a stretch of memory, and no element: the straight way does not tell
    lstm = fastlstm.LSTM(4, 6, 2, proj_size=4, seed=0)
    memory = np.random.default_rng(0).standard_normal((5, 2, 3, 4), np.float32)
    x, out = memory[:, 0], memory[:, 1]
    expected = explained(lstm, x.copy())
    assert straight(lstm, x, None, out) is None
    output, states = lstm(x, out=out)
    assert output is out
    assert_same((np.array(output, order="C"), states), expected)


def test_a_subclass_that_calls_itself_otherwise_keeps_its_way() -> None:
    class Twice(fastlstm.LSTM):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            output, states, _ = self.forward(*args, **kwargs, train=False)
            return 2 * output, states

    lstm, twice = fastlstm.LSTM(4, 6, seed=0), Twice(4, 6, seed=0)
    assert_same_bits(twice(X)[0], 2 * lstm(X)[0])
    assert_same_bits(twice.forward(X, train=False)[0], lstm(X)[0])
