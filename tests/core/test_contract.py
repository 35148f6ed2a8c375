"""The same bits, however the work is cut (docs/contract.md, points 4 and 6). Everything here compares bits."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
from tests.cases import LAYERS, ODD_SIZES, Array, Case, Data, find, make_data
from tests.core.support import any_case
from tests.support import (
    DTYPES,
    assert_same_bits,
    by_name,
    cell_of,
    each_dtype,
    each_isa,
    each_mode,
    floating_point,
    lstm_of,
    results,
    rows_of,
    wild_data,
)

ISAS = fastlstm.isas()
BEST = ISAS[0]

# As many rows as span every way of tiling them, on one panel of units, on several, and on an odd number of them.
ROWS = (
    Case("rows-one-step", T=1, B=34, I=5, H=9),
    Case("rows", T=3, B=34, I=9, H=33),
    Case("rows-many-units", T=2, B=34, I=33, H=100),
    Case("rows-projection", T=3, B=34, I=7, H=41, P=33),
    Case("rows-stack", T=3, B=34, I=7, H=17, num_layers=2, bidirectional=True),
    Case("rows-resets", T=5, B=34, I=7, H=17, num_layers=2, resets=True),
)

# The ways in which threads share the work: by rows, by units, by directions, by layers; in one chunk and in several.
SHARED = (
    Case("threads-rows", T=50, B=13, I=9, H=33),
    Case("threads-rows-projection", T=20, B=17, I=9, H=65, P=40, num_layers=2),
    Case("threads-units-one-row", T=50, B=1, I=33, H=257),
    Case("threads-units", T=50, B=3, I=33, H=161),
    Case("threads-units-projection", T=20, B=2, I=33, H=300, P=161),
    Case("threads-units-resets", T=40, B=3, I=9, H=161, resets=True, ragged=True),
    Case("threads-layers", T=50, B=1, I=9, H=65, num_layers=2),
    Case("threads-layers-ragged", T=61, B=7, I=9, H=65, resets=True, ragged=True, num_layers=5),
    Case("threads-layers-projection", T=20, B=2, I=33, H=300, P=161, num_layers=3),
    Case("threads-layers-batch-first", T=33, B=3, I=9, H=100, batch_first=True, num_layers=3),
    Case("threads-layers-peepholes", T=25, B=2, I=9, H=100, num_layers=3, form=fastlstm.Form(peepholes=True)),
    Case("threads-chunks", T=530, B=3, I=3, H=161),
    Case("threads-directions", T=50, B=1, I=9, H=33, bidirectional=True, num_layers=2),
    Case("threads-directions-rows", T=20, B=19, I=9, H=65, bidirectional=True, ragged=True, num_layers=2),
    Case("threads-directions-units", T=20, B=3, I=9, H=161, bidirectional=True, ragged=True),
    Case("threads-batch-first", T=40, B=33, I=3, H=100, batch_first=True, ragged=True),
    Case("threads-more-than-work", T=5, B=2, I=1, H=1),
    Case("threads-no-steps", T=0, B=9, I=5, H=161),
    Case("threads-no-rows", T=9, B=0, I=5, H=161),
)

STREAMED = (
    Case("stream-one-row", T=30, B=1, I=9, H=33),
    Case("stream-rows", T=17, B=7, I=33, H=100),
    Case("stream-layers", T=17, B=3, I=9, H=17, num_layers=3),
    Case("stream-projection", T=17, B=3, I=9, H=100, P=65, num_layers=2),
    Case("stream-no-bias", T=9, B=2, I=1, H=1, bias=False),
)


# Batches


@each_isa
@each_dtype
@by_name(ROWS)
def test_a_row_does_not_see_its_batch(case: Case, dtype: str, isa: str) -> None:
    data = make_data(case, dtype)
    lstm = lstm_of(case, data, isa=isa)
    alone = [results(lstm, rows_of(data, [row])) for row in range(case.B)]
    for rows in range(2, case.B + 1):
        batch = results(lstm, rows_of(data, slice(rows)))
        for row in range(rows):
            at = tuple(array[:, [row]] for array in batch)
            assert_same_bits(at, alone[row], f"row {row} of {rows}")


@each_isa
@each_dtype
def test_a_cell_s_row_does_not_see_its_batch(dtype: str, isa: str) -> None:
    case = Case("rows-cell", T=1, B=34, I=9, H=41)
    data = make_data(case, dtype)
    cell = cell_of(case, data, isa=isa)
    x, h, c = data.input[0], data.h_0[0], data.c_0[0]
    for rows in range(1, case.B + 1):
        batch = cell(x[:rows], (h[:rows], c[:rows]))
        for row in range(rows):
            alone = cell(x[row], (h[row], c[row]))
            assert_same_bits(tuple(array[row] for array in batch), alone, f"row {row} of {rows}")


@each_isa
@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(12)), rows=st.integers(1, 12))
def test_a_row_does_not_see_its_position(isa: str, order: list[int], rows: int) -> None:
    case = Case("positions", T=3, B=12, I=5, H=25, ragged=True)
    data = make_data(case, "float32")
    lstm = lstm_of(case, data, isa=isa)
    chosen = order[:rows]
    whole = results(lstm, data)
    assert_same_bits(results(lstm, rows_of(data, chosen)), tuple(array[:, chosen] for array in whole))


@each_dtype
@by_name((find("batch-first"), find("everything"), find("resets-ragged-batch-first")))
def test_batch_first_changes_the_axes_only(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    output, h_n, c_n = results(lstm_of(case, data), data)
    turned = Case(case.name, case.T, case.B, case.I, case.H, case.P, case.num_layers, case.bidirectional, case.bias)
    resets = None if data.resets is None else data.resets.T
    other = Data(data.input.swapaxes(0, 1), data.h_0, data.c_0, data.state_dict, data.lengths, resets)
    assert_same_bits(results(lstm_of(turned, data), other), (output.swapaxes(0, 1), h_n, c_n))


# Instruction sets


@each_dtype
@by_name(LAYERS + ROWS + STREAMED + SHARED)
def test_instruction_sets_agree(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    expected = results(lstm_of(case, data, isa="scalar"), data)
    for isa in ISAS[:-1]:
        assert_same_bits(results(lstm_of(case, data, isa=isa), data), expected, isa)


@each_dtype
@pytest.mark.parametrize("H", ODD_SIZES)
def test_instruction_sets_agree_on_odd_sizes(H: int, dtype: str) -> None:
    for I in ODD_SIZES:
        for B in (1, 2, 5):
            case = Case(f"agree-{I}-{H}-{B}", T=2, B=B, I=I, H=H)
            data = make_data(case, dtype)
            expected = results(lstm_of(case, data, isa="scalar"), data)
            for isa in ISAS[:-1]:
                assert_same_bits(results(lstm_of(case, data, isa=isa), data), expected, f"{isa}, I={I}, B={B}")


@settings(max_examples=60, deadline=None)
@given(case=any_case(), dtype=st.sampled_from(DTYPES))
def test_instruction_sets_agree_on_any_shape(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    expected = results(lstm_of(case, data, isa="scalar"), data)
    for isa in ISAS[:-1]:
        assert_same_bits(results(lstm_of(case, data, isa=isa), data), expected, isa)


# Threads


@each_dtype
@pytest.mark.parametrize("threads", [2, 3])
@by_name(SHARED)
def test_threads_do_not_change_a_bit(case: Case, threads: int, dtype: str) -> None:
    data = make_data(case, dtype)
    expected = results(lstm_of(case, data), data)
    lstm = lstm_of(case, data, threads=threads)
    for _ in range(10):  # who gets which block differs from call to call
        assert_same_bits(results(lstm, data), expected)


@pytest.mark.parametrize("threads", range(2, 17))
def test_more_threads_than_layers_or_cores(threads: int) -> None:
    for case in (
        Case("threads-many", T=40, B=2, I=9, H=100, num_layers=6, ragged=True),
        Case("threads-many-few-layers", T=40, B=1, I=9, H=161, num_layers=2),
        Case("threads-many-rows", T=21, B=4 * threads - 1, I=9, H=161, num_layers=4),
    ):
        for dtype in DTYPES:
            data = make_data(case, dtype)
            expected = results(lstm_of(case, data), data)
            lstm = lstm_of(case, data, threads=threads)
            for _ in range(2):
                assert_same_bits(results(lstm, data), expected)


def test_threads_on_calls_of_changing_sizes() -> None:
    case = Case("threads-sizes", T=40, B=24, I=9, H=161, num_layers=2)
    data = make_data(case, "float32")
    alone, shared = lstm_of(case, data), lstm_of(case, data, threads=2)
    rng = np.random.default_rng(0)
    for _ in range(60):
        T, B = rng.integers(0, 41), rng.integers(0, 25)
        part = rows_of(data, slice(B))
        cut = Data(part.input[:T], part.h_0, part.c_0, data.state_dict, None, None)
        assert_same_bits(results(shared, cut), results(alone, cut), f"T={T} B={B}")


# Chunks in time


@each_isa
@each_dtype
@by_name(STREAMED)
def test_step_by_step_is_the_whole(case: Case, dtype: str, isa: str) -> None:
    data = make_data(case, dtype)
    lstm = lstm_of(case, data, isa=isa)
    output, h_n, c_n = results(lstm, data)
    stream = lstm.stream(case.B)
    stream.state = data.hx
    into = np.empty((case.B, case.R), dtype)
    for t in range(case.T):
        if t % 2:
            assert stream.step(data.input[t], into) is into
            assert_same_bits(into, output[t], f"step {t}")
        else:
            assert_same_bits(stream.step(data.input[t]), output[t], f"step {t}")
    assert_same_bits(stream.state, (h_n, c_n))


@each_isa
def test_a_single_row_streams_without_its_axis(isa: str) -> None:
    case = STREAMED[0]
    data = make_data(case, "float32")
    lstm = lstm_of(case, data, isa=isa)
    output, _ = lstm(data.input)
    for x in (data.input, data.input[:, 0]):
        stream = lstm.stream()
        for t in range(case.T):
            assert_same_bits(stream.step(x[t]).reshape(1, -1), output[t])


@each_dtype
@by_name(STREAMED)
@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["step", "feed", "call"])), max_size=12))
def test_any_chunks_are_the_whole(case: Case, dtype: str, cuts: list[tuple[int, str]]) -> None:
    data = make_data(case, dtype)
    lstm = lstm_of(case, data)
    output, h_n, c_n = results(lstm, data)
    stream = lstm.stream(case.B)
    stream.state = data.hx
    at = 0
    for size, how in [*cuts, (case.T, "feed")]:
        piece = data.input[at : at + size]
        if how == "step":
            got = [stream.step(x) for x in piece]
            result = np.stack(got) if got else output[at:at]
        elif how == "feed":
            result = stream.feed(piece)
        else:
            result, stream.state = lstm(piece, stream.state)
        assert_same_bits(result, output[at : at + size], f"{how} of {len(piece)} at {at}")
        at += len(piece)
    assert_same_bits(stream.state, (h_n, c_n))


@each_dtype
@by_name((find("ragged"), find("projection"), find("three-layers")))
def test_a_long_call_is_its_halves(case: Case, dtype: str) -> None:
    long = Case(case.name, 900, 5, 3, 100, case.P, case.num_layers)  # several time chunks
    data = make_data(long, dtype)
    lstm = lstm_of(long, data)
    output, h_n, c_n = results(lstm, data)
    first, states = lstm(data.input[:311], data.hx)
    second, states = lstm(data.input[311:], states)
    assert_same_bits((first, second, *states), (output[:311], output[311:], h_n, c_n))


def test_reset_is_a_new_stream() -> None:
    case = STREAMED[2]
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    stream = lstm.stream(case.B)
    stream.feed(data.input)
    stream.reset()
    assert_same_bits(stream.feed(data.input), lstm.stream(case.B).feed(data.input))


# Lengths and resets


@each_isa
@each_dtype
@by_name(
    (
        find("ragged"),
        find("ragged-projection"),
        find("ragged-two-layers-bidirectional"),
        Case("ragged-many-rows", T=20, B=34, I=5, H=33, ragged=True, num_layers=2),
        Case("ragged-chunks", T=60, B=60, I=5, H=161, ragged=True),
    )
)
def test_a_ragged_row_is_its_own_run(case: Case, dtype: str, isa: str) -> None:
    data = make_data(case, dtype)
    assert data.lengths is not None
    lstm = lstm_of(case, data, isa=isa)
    output, h_n, c_n = results(lstm, data)
    for row, length in enumerate(data.lengths):
        alone = lstm(data.input[:length, row], (data.h_0[:, row], data.c_0[:, row]))
        assert_same_bits((output[:length, row], (h_n[:, row], c_n[:, row])), alone, f"row {row}")
        assert not output[length:, row].any()


@each_dtype
@by_name(tuple(case for case in LAYERS + SHARED if case.ragged))
def test_padding_is_never_read(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    assert data.lengths is not None
    lstm = lstm_of(case, data, threads=2)
    expected = results(lstm, data)
    for poison in (np.nan, np.inf, 7):
        x = data.input.copy()
        by_row = x if case.batch_first else x.swapaxes(0, 1)
        for row, length in enumerate(data.lengths):
            by_row[row, length:] = poison
        resets = data.resets
        if resets is not None:
            resets = resets.copy()
            for row, length in enumerate(data.lengths):
                (resets if case.batch_first else resets.T)[row, length:] = True
        assert_same_bits(results(lstm, Data(x, *data.hx, data.state_dict, data.lengths, resets)), expected)


@each_isa
@each_dtype
@by_name(
    (
        find("resets"),
        find("resets-two-layers-projection"),
        Case("resets-many-rows", T=20, B=17, I=5, H=100, resets=True, num_layers=2),
    )
)
def test_resets_are_separate_pieces(case: Case, dtype: str, isa: str) -> None:
    data = make_data(case, dtype)
    assert data.resets is not None
    lstm = lstm_of(case, data, isa=isa)
    output, h_n, c_n = results(lstm, data)
    for row in range(case.B):
        states: Any = (data.h_0[:, row], data.c_0[:, row])
        at = 0
        for end in [*np.flatnonzero(data.resets[:, row]), case.T]:
            piece, states = lstm(data.input[at:end, row], states)
            assert_same_bits(piece, output[at:end, row], f"row {row}, steps {at} to {end}")
            if end < case.T:
                states = None
            at = int(end)
        assert_same_bits(states, (h_n[:, row], c_n[:, row]), f"row {row}")


# Cell and layer


@each_isa
@each_dtype
@pytest.mark.parametrize("B", [1, 2, 5, 13])
def test_a_cell_is_a_layer(B: int, dtype: str, isa: str) -> None:
    case = Case(f"cell-and-layer-{B}", T=9, B=B, I=9, H=41)
    data = make_data(case, dtype)
    output, (h_n, c_n) = lstm_of(case, data, isa=isa)(data.input, data.hx)
    cell = cell_of(case, data, isa=isa)
    state = (data.h_0[0], data.c_0[0])
    for t in range(case.T):
        state = cell(data.input[t], state)
        assert_same_bits(state[0], output[t], f"step {t}")
    assert_same_bits(state, (h_n[0], c_n[0]))


def test_a_cell_may_write_into_its_old_state() -> None:
    case = Case("cell-out", T=6, B=3, I=9, H=41)
    data = make_data(case, "float32")
    cell = cell_of(case, data)
    h, c = data.h_0[0].copy(), data.c_0[0].copy()
    spare = np.empty_like(h)
    expected = (h.copy(), c.copy())
    for x in data.input:
        expected = cell(x, expected)
        got = cell(x, (h, c), out=(spare, c))
        assert got[0] is spare
        assert got[1] is c
        assert_same_bits(got, expected)
        h, spare = spare, h


# The caller's floating-point environment


ENVIRONMENT_CASE = Case("environment", T=5, B=9, I=9, H=161)


def environment_data(dtype: str, scale: str) -> Data:
    """Return usual data, or weights, inputs and states that are all denormal, so that flushing any of them shows."""
    data = make_data(ENVIRONMENT_CASE, dtype)
    if scale == "usual":
        return data
    tiny = np.finfo(dtype).smallest_subnormal
    weights = {name: np.round(array * 999) * tiny for name, array in data.state_dict.items()}
    x, h_0, c_0 = (np.round(array * 999) * tiny for array in (data.input, *data.hx))
    assert c_0.any()
    assert (np.abs(c_0) < np.finfo(dtype).smallest_normal).all()
    return Data(x, h_0, c_0, weights, None, None)


def everything_of(data: Data, layers: list[fastlstm.LSTM], cell: fastlstm.LSTMCell) -> list[Array]:
    """Return results of every entry point."""
    made: list[Array] = []
    for lstm in layers:
        made += results(lstm, data)
    stream = layers[0].stream(data.input.shape[1])
    stream.state = data.hx
    made += [stream.step(data.input[0]), stream.feed(data.input[1:]), *stream.state]
    made += cell(data.input[0], (data.h_0[0], data.c_0[0]))
    made += fastlstm.gates_forward(np.concatenate([data.c_0[0]] * 4, axis=-1), data.c_0[0])
    return [*made, fastlstm.sigmoid(data.c_0), fastlstm.tanh(data.c_0)]


@each_mode
@each_dtype
@pytest.mark.parametrize("scale", ["usual", "denormal"])
def test_the_caller_s_environment_does_not_matter(scale: str, dtype: str, mode: str) -> None:
    data = environment_data(dtype, scale)
    layers = [lstm_of(ENVIRONMENT_CASE, data, threads=threads) for threads in (1, 2)]
    cell = cell_of(ENVIRONMENT_CASE, data)
    expected = everything_of(data, layers, cell)
    with floating_point(mode):
        got = everything_of(data, layers, cell)
    for k, (one, other) in enumerate(zip(got, expected, strict=True)):
        assert_same_bits(one, other, f"result {k}")


@each_mode
@each_dtype
@pytest.mark.parametrize("scale", ["usual", "denormal"])
def test_the_environment_in_which_weights_are_loaded_does_not_matter(scale: str, dtype: str, mode: str) -> None:
    data = environment_data(dtype, scale)
    expected = results(lstm_of(ENVIRONMENT_CASE, data), data)
    with floating_point(mode):
        lstm = lstm_of(ENVIRONMENT_CASE, data)
    assert_same_bits(results(lstm, data), expected)


@each_mode
def test_worker_threads_started_elsewhere_do_not_matter(mode: str) -> None:
    data = make_data(ENVIRONMENT_CASE, "float32")
    expected = results(lstm_of(ENVIRONMENT_CASE, data), data)
    lstm = lstm_of(ENVIRONMENT_CASE, data, threads=2)
    with floating_point(mode):
        lstm(data.input[:1])  # starts the workers, which inherit the mode
    for _ in range(20):
        assert_same_bits(results(lstm, data), expected)


@each_isa
@each_dtype
def test_denormals_are_numbers(dtype: str, isa: str) -> None:
    tiny = np.finfo(dtype).smallest_subnormal
    small = np.array([1, 3, -7, 1001], dtype) * tiny
    assert_same_bits(fastlstm.tanh(small, isa=isa), small)
    # i = f = o = 1 exactly, g = 0: the cell is kept, and shown
    z = np.repeat(np.array([100, 100, 0, 100], dtype), 4)
    h, c = fastlstm.gates_forward(z, small, isa=isa)
    assert_same_bits((h, c), (small, small))


@each_dtype
def test_instruction_sets_agree_on_denormals(dtype: str) -> None:
    case = Case("denormals", T=4, B=5, I=9, H=17)
    data = make_data(case, dtype)
    normal = float(np.finfo(dtype).smallest_normal)
    for weights, inputs, state in ((1, normal, normal), (normal, 1, normal / 64), (normal / 8, normal / 8, normal)):
        scaled = Data(
            (data.input * inputs).astype(dtype),
            (data.h_0 * state).astype(dtype),
            (data.c_0 * state).astype(dtype),
            {name: (array * weights).astype(dtype) for name, array in data.state_dict.items()},
            None,
            None,
        )
        expected = results(lstm_of(case, scaled, isa="scalar"), scaled)
        for isa in ISAS[:-1]:
            assert_same_bits(results(lstm_of(case, scaled, isa=isa), scaled), expected, isa)


# NaN and infinities


@each_isa
@each_dtype
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("B", [1, 2, 3, 7, 12])
def test_a_special_value_stays_in_its_row(B: int, value: float, threads: int, dtype: str, isa: str) -> None:
    case = Case(f"special-{B}", T=4, B=B, I=5, H=17)
    data = make_data(case, dtype)
    lstm = lstm_of(case, data, isa=isa, threads=threads)
    clean = results(lstm, data)
    row = B // 2
    others = np.arange(B) != row
    for which in range(3):
        arrays = [data.input.copy(), data.h_0.copy(), data.c_0.copy()]
        arrays[which][-1, row, 1] = value
        got = results(lstm, Data(arrays[0], arrays[1], arrays[2], data.state_dict, None, None))
        assert_same_bits(tuple(a[:, others] for a in got), tuple(a[:, others] for a in clean))
        if np.isnan(value):
            assert np.isnan(got[0][-1, row]).any()


@each_isa
@each_dtype
def test_nan_reaches_the_units_that_read_it(dtype: str, isa: str) -> None:
    case = Case("nan-reach", T=1, B=3, I=5, H=17)
    data = make_data(case, dtype)
    cell = cell_of(case, data, isa=isa)
    x, h, c = data.input[0], data.h_0[0], data.c_0[0]
    expected = cell(x, (h, c))

    # an input and a hidden state reach every unit of their row
    for array in (x, h):
        kept = array[1, 2]
        array[1, 2] = np.nan
        got = cell(x, (h, c))
        assert np.isnan(got[0][1]).all()
        assert np.isnan(got[1][1]).all()
        array[1, 2] = kept

    # a cell reaches itself only
    for unit in range(case.H):
        kept = c[1, unit]
        c[1, unit] = np.nan
        got = cell(x, (h, c))
        c[1, unit] = kept
        reached = np.zeros((case.B, case.H), bool)
        reached[1, unit] = True
        for one, clean in zip(got, expected, strict=True):
            np.testing.assert_array_equal(np.isnan(one), reached)
            assert_same_bits(one[~reached], clean[~reached])

    # a weight reaches the unit of its row: in every gate but o, its cell; in any, its output
    for gate in range(4):
        weights = cell.state_dict()
        poisoned = weights["weight_ih"].copy()
        poisoned[gate * case.H + 5, 0] = np.nan
        other = cell_of(case, data, isa=isa)
        other.load_state_dict(weights | {"weight_ih": poisoned})
        h_next, c_next = other(x, (h, c))
        assert np.flatnonzero(np.isnan(h_next).all(axis=0)).tolist() == [5]
        assert np.flatnonzero(np.isnan(c_next).all(axis=0)).tolist() == ([] if gate == 3 else [5])


@each_isa
@each_dtype
def test_infinite_inputs_saturate(dtype: str, isa: str) -> None:
    # one input, one unit: z = w x + 0 h is infinite with the sign of w x
    cell = fastlstm.LSTMCell(1, 1, bias=False, dtype=dtype, isa=isa)
    inf = np.array([[np.inf], [-np.inf]], dtype)
    zero, c = np.zeros((2, 1), dtype), np.full((2, 1), 0.5, dtype)
    for signs in np.ndindex(2, 2, 2, 2):
        w = np.where(np.array(signs), 1, -1).astype(dtype).reshape(4, 1)
        cell.load_state_dict({"weight_ih": w, "weight_hh": np.zeros((4, 1), dtype)})
        h_next, c_next = cell(inf, (zero, c))
        for row, sign in enumerate((1, -1)):
            i, f, o = (float(sign * w[k, 0] > 0) for k in (0, 1, 3))
            expected = f * 0.5 + i * sign * float(w[2, 0])
            assert c_next[row, 0] == expected
            np.testing.assert_array_equal(h_next[row, 0], np.array(o, dtype) * fastlstm.tanh(c_next)[row, 0])


@each_isa
@each_dtype
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_value_is_too_much(dtype: str, isa: str, seed: int) -> None:
    case = Case("wild", T=3, B=4, I=3, H=9)
    data = wild_data(case, dtype, seed)
    expected = results(lstm_of(case, data, isa="scalar"), data)
    assert_same_bits(results(lstm_of(case, data, isa=isa), data), expected)
    assert not (np.abs(expected[0]) > 1).any()
