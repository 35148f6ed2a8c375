"""The compiled LSTM and LSTMCell are right: against the float64 reference, and stored torch results."""

import array
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm import _checks, reference
from tests.cases import (
    CELLS,
    LAYERS,
    ODD_SIZES,
    SATURATED,
    SPEED_STEP,
    Array,
    Case,
    Data,
    assert_close,
    find,
    make_data,
)
from tests.support import (
    CONFIGS,
    backwards,
    by_name,
    cell_of,
    each_dtype,
    each_isa,
    each_layout,
    expected_results,
    fortran,
    golden,
    lstm_of,
    results,
    strided,
    unaligned,
)

# Where the kernels change their way of working: a call in several time chunks, rows past two register tiles, sums past
# a cache block of the reduction; and what the options do there.
LARGE = (
    *SPEED_STEP,
    Case("several-chunks", T=40, B=83, I=3, H=100),
    Case("several-chunks-ragged", T=40, B=83, I=3, H=100, ragged=True, bidirectional=True),
    Case("several-chunks-projection", T=40, B=83, I=3, H=100, P=70, num_layers=2),
    Case("several-chunks-resets", T=40, B=83, I=3, H=100, resets=True, ragged=True, batch_first=True),
    Case("long-sums", T=2, B=5, I=1100, H=530),
    Case("wide-projection", T=3, B=7, I=5, H=140, P=129),
)


# Against the reference


@each_isa
@each_dtype
@by_name(CELLS + LAYERS)
def test_lstm_against_the_reference(case: Case, dtype: str, isa: str) -> None:
    data = make_data(case, dtype)
    for got, expected in zip(results(lstm_of(case, data, isa=isa), data), expected_results(case, data), strict=True):
        assert got.dtype == dtype
        assert_close(got, expected, "forward")


@each_isa
@each_dtype
@by_name(LARGE)
def test_large_lstm_against_the_reference(case: Case, dtype: str, isa: str) -> None:
    data = make_data(case, dtype)
    for got, expected in zip(results(lstm_of(case, data, isa=isa), data), expected_results(case, data), strict=True):
        assert_close(got, expected, "forward, wide")


@each_isa
@each_dtype
@by_name(SATURATED)
def test_saturated_lstm_against_the_reference(case: Case, dtype: str, isa: str) -> None:
    data = make_data(case, dtype)
    for got, expected in zip(results(lstm_of(case, data, isa=isa), data), expected_results(case, data), strict=True):
        assert_close(got, expected, "forward, saturated")


@each_isa
@each_dtype
@pytest.mark.parametrize("H", ODD_SIZES)
def test_every_pair_of_odd_sizes(H: int, dtype: str, isa: str) -> None:
    for I in ODD_SIZES:
        case = Case(f"odd-{I}-{H}", T=2, B=3, I=I, H=H)
        data = make_data(case, dtype)
        expected = expected_results(case, data)
        for got, exact in zip(results(lstm_of(case, data, isa=isa), data), expected, strict=True):
            assert_close(got, exact, "forward, wide")


@each_isa
@each_dtype
@by_name(CELLS)
def test_cell_against_the_reference(case: Case, dtype: str, isa: str) -> None:
    data = make_data(case, dtype)
    cell = cell_of(case, data, isa=isa)
    x, h, c = data.input[0], data.h_0[0], data.c_0[0]
    _, h_n, c_n = expected_results(case, data)
    for got, expected in zip(cell(x, (h, c)), (h_n[0], c_n[0]), strict=True):
        assert got.dtype == dtype
        assert_close(got, expected, "forward")
    for got, expected in zip(cell(x[0], (h[0], c[0])), (h_n[0, 0], c_n[0, 0]), strict=True):
        assert_close(got, expected, "forward")


@each_dtype
@by_name((find("plain"), find("everything"), find("resets-two-layers-projection")))
def test_no_state_is_a_zero_state(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    zeros = Data(data.input, 0 * data.h_0, 0 * data.c_0, data.state_dict, data.lengths, data.resets)
    output, (h_n, c_n) = lstm_of(case, data)(data.input, lengths=data.lengths, resets=data.resets)
    for got, expected in zip((output, h_n, c_n), expected_results(case, zeros), strict=True):
        assert_close(got, expected, "forward")


@each_dtype
def test_cell_without_a_state(dtype: str) -> None:
    case = CELLS[3]
    data = make_data(case, dtype)
    zeros = Data(data.input, 0 * data.h_0, 0 * data.c_0, data.state_dict, None, None)
    _, h_n, c_n = expected_results(case, zeros)
    for got, expected in zip(cell_of(case, data)(data.input[0]), (h_n[0], c_n[0]), strict=True):
        assert_close(got, expected, "forward")


# Shapes


@by_name(LAYERS)
def test_shapes_are_those_of_torch(case: Case) -> None:
    data = make_data(case, "float32")
    output, h_n, c_n = results(lstm_of(case, data), data)
    lead = (case.B, case.T) if case.batch_first else (case.T, case.B)
    states = case.num_layers * case.directions
    assert output.shape == (*lead, case.directions * case.R)
    assert h_n.shape == (states, case.B, case.R)
    assert c_n.shape == (states, case.B, case.H)


@each_dtype
@by_name((find("plain"), find("batch-first"), find("two-layers-bidirectional"), find("two-layers-projection")))
def test_unbatched_input_is_one_row(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    row = (1,) if case.batch_first else (slice(None), 1)
    output, (h_n, c_n) = lstm_of(case, data)(data.input[row], (data.h_0[:, 1], data.c_0[:, 1]))
    full, h_full, c_full = expected_results(case, data)
    for got, expected in zip((output, h_n, c_n), (full[row], h_full[:, 1], c_full[:, 1]), strict=True):
        assert_close(got, expected, "forward")


def test_unbatched_options() -> None:
    case = find("resets")
    data = make_data(case, "float64")
    assert data.resets is not None
    wide = {"hx": (data.h_0[:, 0], data.c_0[:, 0]), "resets": data.resets[:, 0]}
    for lengths in (case.T - 2, np.int32(3), 0, [2]):
        got, states = lstm_of(case, data)(data.input[:, 0], lengths=lengths, **wide)
        expected, expected_states = reference.lstm_forward(
            data.input[:, 0], state_dict=data.state_dict, num_layers=1, lengths=lengths, **wide
        )
        for one, exact in zip((got, *states), (expected, *expected_states), strict=True):
            assert_close(one, exact, "forward")


@each_isa
def test_no_rows_and_no_steps_at_once(isa: str) -> None:
    lstm = fastlstm.LSTM(5, 9, num_layers=2, bidirectional=True, isa=isa, seed=0)
    output, (h_n, c_n) = lstm(np.empty((0, 0, 5), np.float32), lengths=[])
    assert output.shape == (0, 0, 18)
    assert h_n.shape == c_n.shape == (4, 0, 9)


def test_unbatched_without_steps_passes_the_state_through() -> None:
    lstm = fastlstm.LSTM(5, 9, seed=0)
    h_0, c_0 = np.full((1, 9), 0.25, np.float32), np.full((1, 9), -2, np.float32)
    output, (h_n, c_n) = lstm(np.empty((0, 5), np.float32), (h_0, c_0))
    assert output.shape == (0, 9)
    np.testing.assert_array_equal(h_n, h_0)
    np.testing.assert_array_equal(c_n, c_0)


@each_isa
def test_rows_of_length_zero_pass_their_state_through(isa: str) -> None:
    case = find("ragged-two-layers-bidirectional")
    data = make_data(case, "float32")
    output, (h_n, c_n) = lstm_of(case, data, isa=isa)(data.input, data.hx, lengths=[0] * case.B)
    assert not output.any()
    np.testing.assert_array_equal(h_n, data.h_0)
    np.testing.assert_array_equal(c_n, data.c_0)


def test_cell_without_rows() -> None:
    h, c = fastlstm.LSTMCell(5, 9)(np.empty((0, 5), np.float32))
    assert h.shape == c.shape == (0, 9)


# Layouts and kinds of input


@each_layout
@by_name((find("two-layers-projection"), find("everything"), find("resets-ragged-batch-first")))
def test_layout_of_the_arguments_is_free(case: Case, layout: Any) -> None:
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    extra = {
        name: None if value is None else layout(value)
        for name, value in (("lengths", data.lengths), ("resets", data.resets))
    }
    x, h_0, c_0 = (layout(array) for array in (data.input, data.h_0, data.c_0))
    output, (h_n, c_n) = lstm(x, (h_0, c_0), **extra)
    for got, expected in zip((output, h_n, c_n), results(lstm, data), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(x, data.input)


@each_layout
def test_layout_of_a_cell_s_arguments_is_free(layout: Any) -> None:
    case = CELLS[5]
    data = make_data(case, "float32")
    cell = cell_of(case, data)
    arrays = (data.input[0], data.h_0[0], data.c_0[0])
    x, h, c = map(layout, arrays)
    for got, expected in zip(cell(x, (h, c)), cell(arrays[0], arrays[1:]), strict=True):
        np.testing.assert_array_equal(got, expected)
    for got, expected in zip(cell(x[0], (h[0], c[0])), cell(arrays[0][0], (h[0].copy(), c[0].copy())), strict=True):
        np.testing.assert_array_equal(got, expected)


@each_layout
def test_layout_of_a_stream_s_arguments_is_free(layout: Any) -> None:
    case = find("two-layers-projection")
    data = make_data(case, "float32")
    stream, plain = lstm_of(case, data).stream(case.B), lstm_of(case, data).stream(case.B)
    stream.state, plain.state = (layout(data.h_0), layout(data.c_0)), data.hx
    np.testing.assert_array_equal(stream.step(layout(data.input[0])), plain.step(data.input[0]))
    np.testing.assert_array_equal(stream.feed(layout(data.input[1:])), plain.feed(data.input[1:]))


@each_layout
def test_layout_of_the_weights_is_free(layout: Any) -> None:
    case = find("two-layers-projection")
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    expected = results(lstm, data)
    lstm.load_state_dict({name: layout(array) for name, array in data.state_dict.items()})
    for got, exact in zip(results(lstm, data), expected, strict=True):
        np.testing.assert_array_equal(got, exact)


@pytest.mark.parametrize("layout", [strided, backwards, fortran, unaligned], ids=lambda layout: layout.__name__)
@by_name((find("plain"), find("everything")))
def test_layout_of_out_is_free(case: Case, layout: Any) -> None:
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    expected = results(lstm, data)[0]
    out = layout(np.full_like(expected, 7))
    got, _ = lstm(data.input, data.hx, lengths=data.lengths, out=out)
    assert got is out
    np.testing.assert_array_equal(out, expected)


def test_unaligned_data_is_aligned_before_it_reaches_c() -> None:
    assert _checks.readable(unaligned(np.ones((2, 3, 4), np.float32))).flags.aligned
    assert _checks.lengths(unaligned(np.array([5, 0, 3])), 5, 3).flags.aligned


def test_broadcast_input() -> None:
    case = find("plain")
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    x = np.broadcast_to(data.input[:1, :1], data.input.shape)
    np.testing.assert_array_equal(lstm(x)[0], lstm(x.copy())[0])


@each_dtype
def test_lists_are_read_as_arrays(dtype: str) -> None:
    lstm = fastlstm.LSTM(2, 3, dtype=dtype, seed=0)
    x, h, c = [[[1.0, 2.0]], [[0.5, -1.0]]], [[[0.0, 0.5, 1.0]]], [[[1, 2, 3]]]
    arrays = [np.array(value, dtype) for value in (x, h, c)]
    resets = [[False], [True]]
    output, (h_n, c_n) = lstm(x, [h, c], lengths=[2], resets=resets)
    expected, states = lstm(arrays[0], tuple(arrays[1:]), lengths=np.array([2]), resets=np.array(resets))
    for got, exact in zip((output, h_n, c_n), (expected, *states), strict=True):
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, exact)


def test_buffers_and_array_likes_are_read_as_arrays() -> None:
    class Tensor:
        """What a tensor of a framework shows to NumPy."""

        def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
            return np.ones((5, 2), np.float32)

    lstm = fastlstm.LSTM(2, 3, seed=0)
    expected, _ = lstm(np.ones((5, 2), np.float32))
    np.testing.assert_array_equal(lstm(Tensor())[0], expected)
    flat = array.array("f", [1.0] * 10)
    np.testing.assert_array_equal(lstm(memoryview(flat).cast("b").cast("f", (5, 2)))[0], expected)


# Stored torch results


@each_isa
@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.startswith("cell")])
def test_lstm_against_golden_torch(name: str, isa: str) -> None:
    arrays = golden(name)
    weights = {key: array for key, array in arrays.items() if key.startswith(("weight", "bias"))}
    lstm = fastlstm.LSTM(**{"input_size": 3, "hidden_size": 4, "dtype": "float64", "isa": isa} | CONFIGS[name])
    lstm.load_state_dict(weights)
    output, (h_n, c_n) = lstm(arrays["input"], (arrays["h_0"], arrays["c_0"]), lengths=arrays.get("lengths"))
    assert_close(output, arrays["output"], "golden")
    assert_close(h_n, arrays["h_n"], "golden")
    assert_close(c_n, arrays["c_n"], "golden")


@each_isa
@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("cell")])
def test_cell_against_golden_torch(name: str, isa: str) -> None:
    arrays = golden(name)
    weights = {key: array for key, array in arrays.items() if key.startswith(("weight", "bias"))}
    cell = fastlstm.LSTMCell(**{"input_size": 3, "hidden_size": 4, "dtype": "float64", "isa": isa} | CONFIGS[name])
    cell.load_state_dict(weights)
    h, c = cell(arrays["input"], (arrays["h_0"], arrays["c_0"]))
    assert_close(h, arrays["h_n"], "golden")
    assert_close(c, arrays["c_n"], "golden")


@pytest.mark.parametrize("weights", ["float32", "bfloat16", "int8", "int8-fast"])
@pytest.mark.parametrize("sizes", [{"num_layers": 2, "bidirectional": True}, {"proj_size": 7}, {"threads": 3}], ids=str)
def test_many_rows_are_each_as_alone(weights: str, sizes: dict[str, Any]) -> None:
    """From some number of rows on, steps take input and state in one product; a row alone goes by chunks."""
    lstm = fastlstm.LSTM(21, 19, seed=0, weights=weights, **sizes)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 33, 21)).astype(np.float32)
    lengths = rng.integers(0, 13, 33)
    y, (h_n, c_n) = lstm(x, lengths=lengths)
    for row in range(33):
        alone, (h, c) = lstm(x[:, row : row + 1], lengths=lengths[row : row + 1])
        np.testing.assert_array_equal(alone, y[:, row : row + 1])
        np.testing.assert_array_equal(h, h_n[:, row : row + 1])
        np.testing.assert_array_equal(c, c_n[:, row : row + 1])
