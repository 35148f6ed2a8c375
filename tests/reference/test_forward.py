"""The reference, checked from the ground up: each section leans only on the ones before it.

1. One unit computed by hand. 2. The equations, on many shapes. 3. Layers, stacks, directions, lengths and resets as
compositions of cells. 4. What torch computed, from a file. 5. What torch computes, where it is installed. 6. Errors.
"""

import ast
import doctest
import importlib
import math
import pkgutil
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fastlstm import reference
from tests.cases import CELLS, LAYERS, SATURATED, Array, Case, Data, assert_close, find, make_data
from tests.reference.support import layer_arguments
from tests.support import CONFIGS, by_name, each_dtype, golden
from tests.torch.support import run_torch, torch_lstm


def run(case: Case, data: Data) -> tuple[Array, Array, Array]:
    """Run the reference on a case: output, h_n, c_n."""
    options = case.config | {"lengths": data.lengths, "resets": data.resets}
    output, (h_n, c_n) = reference.lstm_forward(data.input, data.hx, data.state_dict, **options)
    return output, h_n, c_n


# 1. By hand


def hand_made_cell(dtype: str) -> tuple[Array, ...]:
    """One unit whose gates and states are known: i = 3/4, f = 1/4, g = 1/2, o = 4/5, c' = ln 2, h' = 12/25.

    sigmoid(ln k) = k / (1 + k) and tanh(ln k) = (k^2 - 1) / (k^2 + 1), so the pre-activations
        z_i = ln 3        gives  i = 3/4
        z_f = -ln 3       gives  f = 1/4
        z_g = ln(3) / 2   gives  g = (3 - 1) / (3 + 1) = 1/2
        z_o = ln 4        gives  o = 4/5
    c = 4 (ln 2 - 3/8) is chosen for  c' = 1/4 c + 3/4 1/2 = ln 2,  and then  h' = 4/5 tanh(ln 2) = 4/5 3/5 = 12/25.
    Each z is made of all four terms, x w + h u + b_ih + b_hh, with x = 2, h = -1:
        w = z,  u = 2z,  b_ih = 3z,  b_hh = -2z   gives   2z - 2z + 3z - 2z = z
    """
    z = np.array([math.log(3), -math.log(3), math.log(3) / 2, math.log(4)])
    c = 4 * (math.log(2) - 3 / 8)
    arrays = ([2.0], [-1.0], [c], z[:, np.newaxis], 2 * z[:, np.newaxis], 3 * z, -2 * z)
    return tuple(np.array(array, dtype) for array in arrays)


@each_dtype
def test_one_unit_by_hand(dtype: str) -> None:
    x, h, c, w, u, b_ih, b_hh = hand_made_cell(dtype)
    h, c, gates = reference.cell_forward_gates(x, h, c, w, u, b_ih, b_hh)
    assert_close(np.concatenate(gates), [3 / 4, 1 / 4, 1 / 2, 4 / 5], "hand-computed")
    assert_close(c, [math.log(2)], "hand-computed")
    assert_close(h, [12 / 25], "hand-computed")


@each_dtype
def test_projection_by_hand(dtype: str) -> None:
    # The gates now see two projected units: h = (-1, -1) with u/2 each adds up to what h = -1 did with u.
    x, h, c, w, u, b_ih, b_hh = hand_made_cell(dtype)
    weight_hr = np.array([[1.0], [-0.5]], dtype)
    h, u = np.repeat(h, 2), np.repeat(u / 2, 2, axis=1)
    h_next, c_next = reference.cell_forward(x, h, c, w, u, b_ih, b_hh, weight_hr)
    assert_close(c_next, [math.log(2)], "hand-computed")
    assert_close(h_next, [12 / 25, -6 / 25], "hand-computed")


@each_dtype
def test_saturated_gates_are_exact_switches(dtype: str) -> None:
    def step(i: float, f: float, g: float, o: float) -> tuple[Array, Array]:
        x, zero, c = np.zeros(1, dtype), np.zeros((4, 1), dtype), np.array([0.3], dtype)
        return reference.cell_forward(x, x, c, zero, zero, np.array([i, f, g, o], dtype))

    big = 1000.0  # exp(-big) is 0 in both dtypes
    c = np.array([0.3], dtype)
    assert step(-big, big, big, -big)[1] == c  # keep all, write nothing
    assert step(-big, big, big, -big)[0] == 0  # show nothing
    assert step(big, -big, -big, big)[1] == -1  # forget all, write all of -1
    assert step(big, big, 0.0, big)[1] == c  # an update of 0
    assert step(-big, big, big, big)[0] == np.tanh(c)  # show all


# 2. Equations


@each_dtype
def test_sigmoid_against_math(dtype: str) -> None:
    x = np.linspace(-80, 80, 2001).astype(dtype)
    # Relative to the value itself: tiny results are as accurate as large ones.
    expected = np.array([math.exp(v) / (1 + math.exp(v)) if v < 0 else 1 / (1 + math.exp(-v)) for v in x.tolist()])
    ratio = (reference.sigmoid(x) / expected).astype(dtype)
    assert_close(ratio, np.ones_like(x), "sigmoid")


@each_dtype
def test_sigmoid_stays_in_range_without_warnings(dtype: str) -> None:
    largest = np.finfo(dtype).max
    x = np.array([-np.inf, -largest, -1e4, -100, -1, -0.0, 0, 1, 100, 1e4, largest, np.inf, np.nan], dtype)
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        y = reference.sigmoid(x)
    assert y.dtype == dtype
    assert np.all((y[:-1] >= 0) & (y[:-1] <= 1))
    assert np.all(np.diff(y[:-1]) >= 0)
    assert y[0] == 0
    assert y[5] == y[6] == 0.5
    assert y[-2] == 1
    assert np.isnan(y[-1])


@each_dtype
@by_name(CELLS + SATURATED)
def test_cell_follows_the_equations(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    x, c = data.input[0], data.c_0[0]
    h_next, c_next, gates = reference.cell_forward_gates(x, data.h_0[0], c, **layer_arguments(data))
    np.testing.assert_array_equal(c_next, gates.f * c + gates.i * gates.g)
    np.testing.assert_array_equal(h_next, gates.o * np.tanh(c_next))
    for gate, low in zip(gates, (0, 0, -1, 0), strict=True):
        assert gate.shape == (case.B, case.H)
        assert gate.dtype == dtype
        assert np.all((gate >= low) & (gate <= 1))
    assert h_next.dtype == dtype
    assert c_next.dtype == dtype


@each_dtype
@by_name(tuple(case for case in CELLS if case.B * case.H * (case.I + case.H) < 5000))
def test_gates_against_sums_in_plain_python(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    weights = layer_arguments(data)
    _, _, gates = reference.cell_forward_gates(data.input[0], data.h_0[0], data.c_0[0], **weights)
    terms = {name: array.astype("float64").tolist() for name, array in weights.items()}
    no_bias = [0.0] * (4 * case.H)
    for row in range(case.B):
        x, h = data.input[0, row].tolist(), data.h_0[0, row].tolist()
        z = [
            math.fsum(
                [w * v for w, v in zip(terms["weight_ih"][k], x, strict=True)]
                + [u * v for u, v in zip(terms["weight_hh"][k], h, strict=True)]
                + [terms.get("bias_ih", no_bias)[k], terms.get("bias_hh", no_bias)[k]]
            )
            for k in range(4 * case.H)
        ]
        for block, gate in enumerate(gates):  # unit j of block i, f, g, o is row block*H + j of the weights
            activation = math.tanh if block == 2 else lambda v: 1 / (1 + math.exp(-v))
            expected = [activation(z[block * case.H + j]) for j in range(case.H)]
            assert_close(gate[row], expected, "forward")


@by_name(CELLS + LAYERS)
def test_float32_agrees_with_float64(case: Case) -> None:
    data = make_data(case, "float32")
    for single, double in zip(run(case, data), run(case, data.astype("float64")), strict=True):
        assert single.dtype == "float32"
        assert double.dtype == "float64"
        assert_close(single, double, "forward")


@by_name(SATURATED)
def test_saturated_float32_agrees_with_float64(case: Case) -> None:
    data = make_data(case, "float32")
    for single, double in zip(run(case, data), run(case, data.astype("float64")), strict=True):
        assert_close(single, double, "forward, saturated")


def test_one_bias_is_the_sum_of_two() -> None:
    data = make_data(find("plain"), "float64")
    weights = layer_arguments(data)
    arguments = (data.input[0], data.h_0[0], data.c_0[0], weights["weight_ih"], weights["weight_hh"])
    both = reference.cell_forward(*arguments, weights["bias_ih"], weights["bias_hh"])
    total = weights["bias_ih"] + weights["bias_hh"]
    for one in (reference.cell_forward(*arguments, total), reference.cell_forward(*arguments, None, total)):
        np.testing.assert_array_equal(one, both)


# 3. Compositions


@each_dtype
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.parametrize("name", ["plain", "projection", "no-bias", "many-steps"])
def test_layer_is_a_loop_of_cells(name: str, reverse: bool, dtype: str) -> None:
    data = make_data(find(name), dtype)
    weights = layer_arguments(data)
    h, c = data.h_0[0], data.c_0[0]
    output, h_n, c_n = reference.layer_forward(data.input, h, c, **weights, reverse=reverse)
    steps = range(len(data.input))
    for t in reversed(steps) if reverse else steps:
        h, c = reference.cell_forward(data.input[t], h, c, **weights)
        assert_close(output[t], h, "regrouped")
    assert_close(h_n, h, "regrouped")
    assert_close(c_n, c, "regrouped")


@each_dtype
@pytest.mark.parametrize("name", ["three-layers", "two-layers-projection", "resets-two-layers-projection"])
def test_stack_feeds_each_layer_the_output_below(name: str, dtype: str) -> None:
    case = find(name)
    data = make_data(case, dtype)
    output, h_n, c_n = run(case, data)
    x = data.input
    for k in range(case.num_layers):
        weights = layer_arguments(data, f"_l{k}")
        x, h, c = reference.layer_forward(x, data.h_0[k], data.c_0[k], **weights, resets=data.resets)
        assert_close(h_n[k], h, "regrouped")
        assert_close(c_n[k], c, "regrouped")
    assert_close(output, x, "regrouped")


@each_dtype
@pytest.mark.parametrize("name", ["bidirectional", "two-layers-bidirectional", "two-layers-bidirectional-no-bias"])
def test_bidirectional_is_a_second_layer_on_flipped_input(name: str, dtype: str) -> None:
    case = find(name)
    data = make_data(case, dtype)
    output, h_n, c_n = run(case, data)
    x = data.input
    for layer in range(case.num_layers):
        halves = []
        for direction, suffix in enumerate(("", "_reverse")):
            k = 2 * layer + direction
            seen = x[::-1] if direction else x
            weights = layer_arguments(data, f"_l{layer}{suffix}")
            half, h, c = reference.layer_forward(seen, data.h_0[k], data.c_0[k], **weights)
            halves.append(half[::-1] if direction else half)
            assert_close(h_n[k], h, "regrouped")
            assert_close(c_n[k], c, "regrouped")
        x = np.concatenate(halves, axis=-1)
    assert_close(output, x, "regrouped")


@each_dtype
@by_name(tuple(case for case in LAYERS if case.ragged))
def test_lengths_equal_separate_runs(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    assert data.lengths is not None
    assert {0, case.T} <= set(data.lengths.tolist())
    output, h_n, c_n = run(case, data)
    rows_first = output if case.batch_first else output.swapaxes(0, 1)
    x = data.input if case.batch_first else data.input.swapaxes(0, 1)
    resets = data.resets if data.resets is None or case.batch_first else data.resets.T
    options = case.config | {"batch_first": False}
    for row, length in enumerate(data.lengths):
        hx = data.h_0[:, row], data.c_0[:, row]
        piece = None if resets is None else resets[row, :length]
        alone, (h, c) = reference.lstm_forward(x[row, :length], hx, data.state_dict, **options, resets=piece)
        assert_close(rows_first[row, :length], alone, "regrouped")
        assert np.all(rows_first[row, length:] == 0)
        assert_close(h_n[:, row], h, "regrouped")
        assert_close(c_n[:, row], c, "regrouped")


@by_name(tuple(case for case in LAYERS if case.ragged))
def test_padding_is_never_read(case: Case) -> None:
    data = make_data(case, "float64")
    assert data.lengths is not None
    padded = data.input.copy()
    for row, length in enumerate(data.lengths):
        (padded[row] if case.batch_first else padded[:, row])[length:] = np.nan
    poisoned = Data(padded, *data.hx, data.state_dict, data.lengths, data.resets)
    for got, expected in zip(run(case, poisoned), run(case, data), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_full_lengths_are_no_lengths() -> None:
    case = find("two-layers-bidirectional")
    data = make_data(case, "float64")
    full = Data(data.input, *data.hx, data.state_dict, np.full(case.B, case.T), None)
    for got, expected in zip(run(case, full), run(case, data), strict=True):
        np.testing.assert_array_equal(got, expected)


@each_dtype
@pytest.mark.parametrize("name", ["resets", "resets-two-layers-projection"])
def test_resets_equal_separate_pieces(name: str, dtype: str) -> None:
    case = find(name)
    data = make_data(case, dtype)
    assert data.resets is not None
    assert np.any(data.resets[0])
    assert np.any(data.resets[1:])
    output, h_n, c_n = run(case, data)
    for row in range(case.B):
        cuts = np.flatnonzero(data.resets[:, row]).tolist()
        hx: tuple[Array, Array] | None = (data.h_0[:, row], data.c_0[:, row])
        for start, stop in zip([0, *cuts], [*cuts, case.T], strict=True):
            # The first piece goes on from the initial state (and is empty if step 0 is reset), the others from zero.
            piece = data.input[start:stop, row]
            alone, (h, c) = reference.lstm_forward(piece, hx, data.state_dict, **case.config)
            assert_close(output[start:stop, row], alone, "regrouped")
            hx = None
        assert_close(h_n[:, row], h, "regrouped")
        assert_close(c_n[:, row], c, "regrouped")


def test_resets_beyond_the_length_do_nothing() -> None:
    case = find("ragged")
    data = make_data(case, "float64")
    assert data.lengths is not None
    late = np.arange(case.T)[:, np.newaxis] >= data.lengths
    reset = Data(data.input, *data.hx, data.state_dict, data.lengths, late)
    for got, expected in zip(run(case, reset), run(case, data), strict=True):
        np.testing.assert_array_equal(got, expected)


@each_dtype
@by_name(tuple(case for case in LAYERS if case.batch_first))
def test_batch_first_swaps_input_output_and_resets_only(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    resets = None if data.resets is None else data.resets.T
    options: dict[str, Any] = case.config | {"batch_first": False, "lengths": data.lengths, "resets": resets}
    expected, (h, c) = reference.lstm_forward(data.input.swapaxes(0, 1), data.hx, data.state_dict, **options)
    output, h_n, c_n = run(case, data)
    assert output.shape == (case.B, case.T, case.R * case.directions)
    assert_close(output, expected.swapaxes(0, 1), "regrouped")
    assert_close(h_n, h, "regrouped")
    assert_close(c_n, c, "regrouped")


@each_dtype
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", ["everything", "resets-ragged-batch-first", "two-layers-bidirectional", "no-steps"])
def test_unbatched_is_a_batch_of_one(name: str, batch_first: bool, dtype: str) -> None:
    case = find(name)
    data = make_data(case, dtype)
    x = data.input.swapaxes(0, 1) if case.batch_first else data.input
    resets = data.resets.T if data.resets is not None and case.batch_first else data.resets
    row = case.B - 1
    options: dict[str, Any] = {"num_layers": case.num_layers, "bidirectional": case.bidirectional}
    one: dict[str, Any] = {
        "lengths": None if data.lengths is None else data.lengths[row],
        "resets": None if resets is None else resets[:, row],
    }
    batch: dict[str, Any] = {
        "lengths": None if data.lengths is None else data.lengths[row:],
        "resets": None if resets is None else resets[:, row:],
    }
    hx = data.h_0[:, row], data.c_0[:, row]
    got, states = reference.lstm_forward(x[:, row], hx, data.state_dict, batch_first=batch_first, **options, **one)
    hx = data.h_0[:, row:], data.c_0[:, row:]
    expected, expected_states = reference.lstm_forward(x[:, row:], hx, data.state_dict, **options, **batch)
    assert got.shape == (case.T, case.R * case.directions)
    assert_close(got, expected[:, 0], "regrouped")
    for state, expected_state in zip(states, expected_states, strict=True):
        assert_close(state, expected_state[:, 0], "regrouped")


@each_dtype
@by_name(LAYERS)
def test_shapes_and_dtypes(case: Case, dtype: str) -> None:
    output, h_n, c_n = run(case, make_data(case, dtype))
    rows = (case.B, case.T) if case.batch_first else (case.T, case.B)
    assert output.shape == (*rows, case.R * case.directions)
    assert h_n.shape == (case.num_layers * case.directions, case.B, case.R)
    assert c_n.shape == (case.num_layers * case.directions, case.B, case.H)
    assert {output.dtype.name, h_n.dtype.name, c_n.dtype.name} == {dtype}


def test_no_steps_pass_the_state_through() -> None:
    case = find("no-steps")
    data = make_data(case, "float64")
    _, h_n, c_n = run(case, data)
    np.testing.assert_array_equal(h_n, data.h_0)
    np.testing.assert_array_equal(c_n, data.c_0)


@by_name((find("plain"), find("everything")))
def test_no_states_are_zero_states(case: Case) -> None:
    data = make_data(case, "float64")
    zeros = Data(data.input, 0 * data.h_0, 0 * data.c_0, data.state_dict, data.lengths, data.resets)
    output, states = reference.lstm_forward(data.input, None, data.state_dict, **case.config, lengths=data.lengths)
    for got, expected in zip((output, *states), run(case, zeros), strict=True):
        np.testing.assert_array_equal(got, expected)


@by_name((find("everything"), find("resets-ragged-batch-first"), find("no-steps")))
def test_arguments_are_not_written_to_nor_returned(case: Case) -> None:
    data, fresh = make_data(case, "float64"), make_data(case, "float64")
    arguments = [data.input, data.h_0, data.c_0, *data.state_dict.values()]
    for array in arguments:
        array.flags.writeable = False
    for result in run(case, data):
        assert not any(np.shares_memory(result, array) for array in arguments)
    np.testing.assert_array_equal(data.input, fresh.input)


def test_nan_stays_in_its_row() -> None:
    case = find("two-layers")
    data = make_data(case, "float64")
    expected = run(case, data)[0]
    data.input[3, 1] = np.nan
    output = run(case, data)[0]
    assert np.all(np.isnan(output[3:, 1]))
    output[3:, 1] = expected[3:, 1]
    assert_close(output, expected, "regrouped")


def test_to_float64_is_exact() -> None:
    weights = make_data(find("everything"), "float32").state_dict
    wide = reference.to_float64(weights)
    assert list(wide) == list(weights)
    for name, array in wide.items():
        assert array.dtype == "float64"
        np.testing.assert_array_equal(array, weights[name])


# 4. torch's results from the file that tests/data/make_torch_golden.py writes


@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.startswith("cell")])
def test_lstm_against_golden_torch(name: str) -> None:
    arrays = golden(name)
    weights = {key: array for key, array in arrays.items() if key.startswith(("weight", "bias"))}
    config = CONFIGS[name]
    output, (h_n, c_n) = reference.lstm_forward(
        arrays["input"],
        (arrays["h_0"], arrays["c_0"]),
        weights,
        num_layers=config.get("num_layers", 1),
        bidirectional=config.get("bidirectional", False),
        batch_first=config.get("batch_first", False),
        lengths=arrays.get("lengths"),
    )
    assert output.dtype == config.get("dtype", "float64")
    assert_close(output, arrays["output"], "golden")
    assert_close(h_n, arrays["h_n"], "golden")
    assert_close(c_n, arrays["c_n"], "golden")


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("cell")])
def test_cell_against_golden_torch(name: str) -> None:
    arrays = golden(name)
    weights = {key: array for key, array in arrays.items() if key.startswith(("weight", "bias"))}
    h, c = reference.cell_forward(arrays["input"], arrays["h_0"], arrays["c_0"], **weights)
    assert h.dtype == CONFIGS[name].get("dtype", "float64")
    assert_close(h, arrays["h_n"], "golden")
    assert_close(c, arrays["c_n"], "golden")


# 5. torch itself


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@each_dtype
@by_name(tuple(case for case in CELLS + LAYERS if case.T > 0))  # torch refuses sequences without steps
def test_lstm_against_torch(torch: Any, case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    for got, expected in zip(run(case, data), run_torch(torch, case, data), strict=True):
        assert_close(got, expected, "torch")


@each_dtype
@by_name(SATURATED)
def test_saturated_against_torch(torch: Any, case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    for got, expected in zip(run(case, data), run_torch(torch, case, data), strict=True):
        assert_close(got, expected, "torch, saturated")


@each_dtype
@by_name(CELLS)
def test_cell_against_torch(torch: Any, case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    weights = layer_arguments(data)
    cell = torch.nn.LSTMCell(case.I, case.H, bias=case.bias, dtype=getattr(torch, dtype))
    cell.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    with torch.no_grad():
        arrays = (data.input[0], data.h_0[0], data.c_0[0])
        x, h, c = map(torch.from_numpy, arrays)
        expected = cell(x, (h, c))
        expected_row = cell(x[0], (h[0], c[0]))
    got = reference.cell_forward(*arrays, **weights)
    got_row = reference.cell_forward(*(array[0] for array in arrays), **weights)
    for state, torch_state in zip(got + got_row, expected + expected_row, strict=True):
        assert_close(state, torch_state.numpy(), "torch")


@each_dtype
def test_unbatched_against_torch(torch: Any, dtype: str) -> None:
    case = find("two-layers-bidirectional")
    data = make_data(case, dtype)
    x, hx = data.input[:, 1], (data.h_0[:, 1], data.c_0[:, 1])
    with torch.no_grad():
        expected, states = torch_lstm(torch, case, data)(torch.from_numpy(x.copy()), tuple(map(torch.tensor, hx)))
    output, (h_n, c_n) = reference.lstm_forward(x, hx, data.state_dict, **case.config)
    for got, torch_result in zip((output, h_n, c_n), (expected, *states), strict=True):
        assert_close(got, torch_result.numpy(), "torch")


# 6. Errors, and the module itself


def call(case: Case, **changes: Any) -> None:
    """Run a float64 case with some arguments of `lstm_forward` changed."""
    data = make_data(case, "float64")
    arguments = {"input": data.input, "hx": data.hx, "state_dict": data.state_dict, **case.config}
    reference.lstm_forward(**(arguments | changes))


PLAIN = find("plain")  # T=7, B=3, I=5, H=9
WEIGHTS = make_data(PLAIN, "float64").state_dict


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"input": np.zeros(5)}, ValueError, "input: expected 2 dimensions"),
        ({"input": np.zeros((1, 7, 3, 5))}, ValueError, "input: expected 2 dimensions"),
        ({"input": np.zeros((7, 3, 4))}, ValueError, r"input: expected shape \(7, 3, 5\), got \(7, 3, 4\)"),
        ({"input": np.zeros((7, 3, 5), "float32")}, TypeError, "float32 like the input, got float64; convert"),
        ({"input": np.zeros((7, 3, 5), int)}, TypeError, "input: expected dtype float32 or float64, got int64"),
        ({"input": [[0.0] * 5] * 7}, TypeError, "input: expected a NumPy array, got list"),
        ({"hx": (np.zeros((1, 2, 9)), np.zeros((1, 3, 9)))}, ValueError, r"h_0: expected shape \(1, 3, 9\)"),
        ({"hx": (np.zeros((1, 3, 9)), np.zeros((1, 9)))}, ValueError, r"c_0: expected shape \(1, 3, 9\), got \(1, 9\)"),
        ({"hx": (np.zeros((1, 3, 9)),)}, ValueError, "hx: expected two arrays"),
        ({"hx": (np.zeros((1, 3, 9)), np.zeros((1, 3, 9), "float32"))}, TypeError, "c_0: expected dtype float64"),
        ({"num_layers": 0}, ValueError, "num_layers: expected at least 1, got 0"),
        ({"num_layers": 2}, ValueError, "missing .*'weight_ih_l1'"),
        ({"bidirectional": True}, ValueError, "missing .*'weight_hh_l0_reverse'"),
        ({"state_dict": {**WEIGHTS, "weight_ih_l1": WEIGHTS["weight_ih_l0"]}}, ValueError, "unexpected .*_l1"),
        ({"state_dict": {}}, ValueError, "missing .*'weight_hh_l0', 'weight_ih_l0'"),
        ({"state_dict": {**WEIGHTS, "weight_ih_l0": np.zeros((35, 5))}}, ValueError, r"weight_ih: .*\(4H, I\)"),
        ({"state_dict": {**WEIGHTS, "weight_hh_l0": np.zeros((36, 8))}}, ValueError, r"weight_hh: .*\(36, 9\)"),
        ({"state_dict": {**WEIGHTS, "bias_ih_l0": np.zeros(9)}}, ValueError, r"bias_ih: .*\(36,\)"),
        ({"state_dict": {**WEIGHTS, "bias_hh_l0": np.zeros(9)}}, ValueError, r"bias_hh: .*\(36,\)"),
        ({"state_dict": {**WEIGHTS, "weight_hr_l0": np.zeros(9)}}, ValueError, r"weight_hr: .*\(P, H\)"),
        ({"lengths": [7, 8, 0]}, ValueError, r"lengths: expected values in 0\.\.7"),
        ({"lengths": [-1, 7, 0]}, ValueError, r"lengths: expected values in 0\.\.7"),
        ({"lengths": [7, 7]}, ValueError, r"lengths: expected shape \(3,\)"),
        ({"lengths": [1.0, 2.0, 3.0]}, TypeError, "lengths: expected integers"),
        ({"lengths": [True, True, True]}, TypeError, "lengths: expected integers"),
        ({"resets": np.zeros((3, 7), bool)}, ValueError, r"resets: expected shape \(7, 3\)"),
        ({"resets": np.zeros((7, 3), int)}, TypeError, "resets: expected dtype bool"),
    ],
)
def test_bad_arguments_are_named(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(PLAIN, **changes)


def test_resets_need_one_direction() -> None:
    case = find("bidirectional")
    with pytest.raises(ValueError, match="resets: expected None for a bidirectional"):
        call(case, resets=np.zeros((case.T, case.B), bool))
    data = make_data(PLAIN, "float64")
    with pytest.raises(ValueError, match="resets: expected None for a layer that runs in reverse"):
        reference.layer_forward(
            data.input, data.h_0[0], data.c_0[0], **layer_arguments(data), resets=np.zeros((7, 3), bool), reverse=True
        )


def test_cell_and_layer_name_bad_arguments() -> None:
    data = make_data(PLAIN, "float64")
    weights = layer_arguments(data)
    x, h, c = data.input[0], data.h_0[0], data.c_0[0]
    with pytest.raises(ValueError, match=r"x: expected shape \(I,\) or \(B, I\)"):
        reference.cell_forward(data.input, h, c, **weights)
    with pytest.raises(ValueError, match=r"h: expected shape \(3, 9\)"):
        reference.cell_forward(x, h[0], c, **weights)  # no broadcasting over the batch
    with pytest.raises(ValueError, match=r"c: expected shape \(3, 9\)"):
        reference.cell_forward(x, h, c[:2], **weights)
    with pytest.raises(ValueError, match=r"input: expected shape \(T, B, I\)"):
        reference.layer_forward(x, h, c, **weights)
    with pytest.raises(TypeError, match="float32 or float64, got float16"):
        reference.to_float64({"weight": np.zeros(1, "float16")})
    with pytest.raises(TypeError, match="x: expected dtype float32 or float64"):
        reference.sigmoid(0)


def modules() -> list[ModuleType]:
    """Return the package and all that is in it."""
    names = [f"{reference.__name__}.{found.name}" for found in pkgutil.iter_modules(reference.__path__)]
    return [reference, *(importlib.import_module(name) for name in names)]


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_examples_in_docstrings(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_every_public_name_is_documented() -> None:
    for name in reference.__all__:
        documented = getattr(reference, name)
        assert documented.__doc__, name
        # what can be called has an example of a call; the records are what such calls return
        assert isinstance(documented, type) or ">>> " in documented.__doc__, name


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_needs_numpy_only(module: ModuleType) -> None:
    assert module.__file__ is not None
    imported = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= 1, "an import from outside of reference/ would need the rest of the package"
            if node.level == 0:
                imported.add(str(node.module).split(".")[0])
    assert imported <= {"numpy", *sys.stdlib_module_names}
