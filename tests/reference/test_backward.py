"""The reference's backward pass, checked from the ground up: each section leans only on the ones before it.

1. One unit computed by hand. 2. Central differences of the forward pass, which `test_forward.py` has proven: the
gates, a cell, whole LSTMs. 3. Layers, stacks, directions, lengths, resets and masks as compositions. 4. What torch's
autograd computed, from a file. 5. What it computes, where it is installed. 6. Errors.
"""

import copy
import itertools
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fastlstm import reference
from fastlstm.reference import Gates, Gradients
from tests.cases import (
    CELLS,
    DROPOUT,
    LAYERS,
    SATURATED,
    TOLERANCES,
    Array,
    Case,
    Data,
    assert_close,
    assert_gradients_close,
    find,
    make_data,
    make_gradients,
)
from tests.reference.support import layer_arguments
from tests.support import CONFIGS, DATA, by_name, each_dtype, golden
from tests.torch.support import torch_gradients

Incoming = tuple[Array | None, ...]  # the gradients of output, h_n and c_n


def forward(case: Case, data: Data) -> tuple[tuple[Array, Array, Array], reference.Tape]:
    """Run the reference on a case: (output, h_n, c_n) and the tape."""
    options = case.config | {"lengths": data.lengths, "resets": data.resets, "dropout_masks": data.dropout_masks}
    output, (h_n, c_n), tape = reference.lstm_forward_train(data.input, data.hx, data.state_dict, **options)
    return (output, h_n, c_n), tape


def backward(case: Case, data: Data, incoming: Incoming) -> dict[str, Array]:
    """Run the reference forward and backward: all gradients by name."""
    return by_argument(reference.lstm_backward(forward(case, data)[1], *incoming))


def by_argument(gradients: Gradients) -> dict[str, Array]:
    """Return all gradients under the names of what they belong to."""
    return {"input": gradients.input, "h_0": gradients.h_0, "c_0": gradients.c_0, **gradients.parameters}


def arguments(data: Data) -> dict[str, Array]:
    """Return all that has a gradient, by name."""
    return {"input": data.input, "h_0": data.h_0, "c_0": data.c_0, **data.state_dict}


def with_arguments(data: Data, changed: Mapping[str, Array]) -> Data:
    """Return the data with other arrays for all that has a gradient."""
    weights = {name: changed[name] for name in data.state_dict}
    return replace(data, input=changed["input"], h_0=changed["h_0"], c_0=changed["c_0"], state_dict=weights)


def assert_all_equal(got: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """Compare gradients name by name, to the bit but for the sign of zeros."""
    assert list(got) == list(expected)
    for name, gradient in got.items():
        np.testing.assert_array_equal(gradient, expected[name], err_msg=name)


# 1. By hand


def hand_made_step(dtype: str) -> dict[str, Array]:
    """One unit whose gates and states are known: i = 3/4, f = 1/4, g = 1/2, o = 4/5, c' = ln 2, tanh(c') = 3/5.

    c = 4 (ln 2 - 3/8) is chosen for  c' = 1/4 c + 3/4 1/2 = ln 2. The gradients that come in are 1 for h' and 61/125
    for c', so that with what reaches c' through h', 1 o (1 - tanh(c')^2) = 4/5 16/25 = 64/125, it has 1 in all. Then
        dz_i = 1 g i (1 - i) = 1/2 3/4 1/4     = 3/32
        dz_f = 1 c f (1 - f) = c 1/4 3/4       = 3/16 c
        dz_g = 1 i (1 - g^2) = 3/4 3/4         = 9/16
        dz_o = 1 tanh(c') o (1 - o) = 3/5 4/25 = 12/125
        dc   = 1 f                             = 1/4
    """
    c = 4 * (math.log(2) - 3 / 8)
    return {
        "c": np.array([c], dtype),
        "gates": np.array([[3 / 4], [1 / 4], [1 / 2], [4 / 5]], dtype),
        "grad_h": np.array([1.0], dtype),
        "grad_c": np.array([61 / 125], dtype),
        "dz": np.array([3 / 32, 3 / 16 * c, 9 / 16, 12 / 125]),
    }


@each_dtype
def test_gates_by_hand(dtype: str) -> None:
    step = hand_made_step(dtype)
    dz, dc = reference.gates_backward(Gates(*step["gates"]), step["c"], step["grad_h"], step["grad_c"])
    assert_close(dz, step["dz"], "gradients, hand-computed")
    assert_close(dc, [1 / 4], "gradients, hand-computed")


@each_dtype
def test_one_unit_by_hand(dtype: str) -> None:
    # x = (2, 1), h = -1; W = (1, 2), (3, 4), (5, 6), (7, 8) and U = 1, 2, 3, 4 for the gates i, f, g, o
    step = hand_made_step(dtype)
    x, h = np.array([2.0, 1.0], dtype), np.array([-1.0], dtype)
    w, u, b = np.arange(1, 9).reshape(4, 2).astype(dtype), np.array([[1], [2], [3], [4]], dtype), np.zeros(4, dtype)
    got = reference.cell_backward(x, h, step["c"], Gates(*step["gates"]), step["grad_h"], step["grad_c"], w, u, b, b)
    i, f, g, o = step["dz"]
    assert_close(got.x, [i + 3 * f + 5 * g + 7 * o, 2 * i + 4 * f + 6 * g + 8 * o], "gradients, hand-computed")
    assert_close(got.h, [i + 2 * f + 3 * g + 4 * o], "gradients, hand-computed")
    assert_close(got.c, [1 / 4], "gradients, hand-computed")
    expected = {
        "weight_ih": np.array([[2 * i, i], [2 * f, f], [2 * g, g], [2 * o, o]]),
        "weight_hh": np.array([[-i], [-f], [-g], [-o]]),
        "bias_ih": step["dz"],
        "bias_hh": step["dz"],
    }
    assert_gradients_close(got.parameters, expected, "gradients, hand-computed")


@each_dtype
def test_projection_by_hand(dtype: str) -> None:
    # h' = (m, -m/2) with gradients (1/2, -1) gives m its 1/2 + 1/2 = 1; m = o tanh(c') = 12/25.
    step = hand_made_step(dtype)
    x, h, w, u = (np.ones(shape, dtype) for shape in (1, 2, (4, 1), (4, 2)))
    weight_hr, grad_h = np.array([[1.0], [-0.5]], dtype), np.array([0.5, -1.0], dtype)
    gates = Gates(*step["gates"])
    got = reference.cell_backward(x, h, step["c"], gates, grad_h, step["grad_c"], w, u, weight_hr=weight_hr)
    assert_close(got.parameters["weight_hr"], [[6 / 25], [-12 / 25]], "gradients, hand-computed")
    assert_close(got.parameters["weight_ih"][:, 0], step["dz"], "gradients, hand-computed")
    assert_close(got.h, [sum(step["dz"])] * 2, "gradients, hand-computed")


@each_dtype
@pytest.mark.parametrize("keeps", [True, False], ids=["keeps", "forgets"])
def test_saturated_filters_pass_all_or_nothing(keeps: bool, dtype: str) -> None:
    # Filters that are exactly 0 or 1 have no slope: the cell's path is all there is, open or shut, for 1000 steps.
    big = np.array([-1000, 1000 if keeps else -1000, 1000, -1000], dtype)
    x, zero, weights = np.zeros((1000, 1, 1), dtype), np.zeros((1, 1), dtype), np.zeros((4, 1), dtype)
    *_, tape = reference.layer_forward_train(x, zero, zero, weights, weights, big)
    gradients = reference.layer_backward(tape, np.ones_like(x), grad_c_n=np.full((1, 1), 0.3, dtype))
    assert gradients.c_0 == (dtype_of(0.3, dtype) if keeps else 0)
    assert gradients.h_0 == 0
    assert all(np.all(gradient == 0) for gradient in gradients.parameters.values())


def dtype_of(value: float, dtype: str) -> Any:
    """Return a number rounded to a dtype."""
    return np.dtype(dtype).type(value)


# 2. Differences

STEP = 5e-4  # truncation shrinks with its fourth power, rounding grows with its inverse: here they are about equal


def along(function: Callable[[float], tuple[Array, ...]]) -> list[Array]:
    """Return the derivative of each result at 0, by fourth-order central differences.

    (8 (F(s) - F(-s)) - (F(2s) - F(-2s))) / 12s: the terms of F in s^2, s^3 and s^4 cancel.
    """
    ahead, behind, ahead_2, behind_2 = (function(step) for step in (STEP, -STEP, 2 * STEP, -2 * STEP))
    points = zip(ahead, behind, ahead_2, behind_2, strict=True)
    return [(8 * (a - b) - (a2 - b2)) / (12 * STEP) for a, b, a2, b2 in points]


def assert_slope(function: Callable[[float], tuple[Array, ...]], incoming: Incoming, expected: float) -> None:
    """Compare a directional derivative of the loss with the differences of what its gradients belong to."""
    slopes = [np.vdot(g, slope) for g, slope in zip(incoming, along(function), strict=True) if g is not None]
    assert_close(expected, sum(slopes), "gradients, differences")


def directions(arrays: Mapping[str, Array], count: int) -> list[tuple[str, Array]]:
    """Draw random directions of length 1, of each array on its own."""
    rng = np.random.default_rng(0)
    drawn = []
    for name, array in arrays.items():
        for _ in range(count if array.size else 0):
            v = rng.standard_normal(array.shape)
            drawn.append((name, v / np.linalg.norm(v)))
    return drawn


def elements(arrays: Mapping[str, Array]) -> list[tuple[str, Array]]:
    """Return the direction of each element of each array."""
    units = []
    for name, array in arrays.items():
        for index in np.ndindex(array.shape):
            v = np.zeros(array.shape)
            v[index] = 1
            units.append((name, v))
    return units


def check_differences(
    case: Case, data: Data, incoming: Incoming, of: Callable[[Mapping[str, Array]], list[tuple[str, Array]]]
) -> None:
    """Compare all gradients of a case with differences of its forward pass, in the given directions."""
    at, gradients = arguments(data), backward(case, data, incoming)
    assert {name: g.shape for name, g in gradients.items()} == {name: array.shape for name, array in at.items()}
    for name, v in of(at):

        def moved(step: float, name: str = name, v: Array = v) -> tuple[Array, ...]:
            return forward(case, with_arguments(data, at | {name: at[name] + step * v}))[0]

        assert_slope(moved, incoming, float(np.vdot(gradients[name], v)))


def two_random_directions(arrays: Mapping[str, Array]) -> list[tuple[str, Array]]:
    return directions(arrays, 2)


def shrunk(case: Case) -> Case:
    """Return a case with the same options and so few elements that each can be tried."""
    few = replace(case, T=min(case.T, 3), B=min(case.B, 3), num_layers=min(case.num_layers, 2))
    return replace(few, I=2, H=2, P=min(case.P, 1))


def one_of_each_kind(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """Return shrunk cases, without those that differ in nothing but their names."""
    kinds = {replace(shrunk(case), name=""): shrunk(case) for case in reversed(cases)}
    return tuple(reversed(kinds.values()))


SMALL = one_of_each_kind(LAYERS + DROPOUT)


def test_gates_by_differences() -> None:
    rng = np.random.default_rng(0)
    z, c, grad_m, grad_c = (3 * rng.standard_normal(shape) for shape in ((4, 200), (200,), (200,), (200,)))

    def gates_of(z: Array) -> Gates:
        return Gates(reference.sigmoid(z[0]), reference.sigmoid(z[1]), np.tanh(z[2]), reference.sigmoid(z[3]))

    def step(z: Array, c: Array) -> tuple[Array, Array]:
        i, f, g, o = gates_of(z)
        c_next = f * c + i * g
        return o * np.tanh(c_next), c_next

    dz, dc = reference.gates_backward(gates_of(z), c, grad_m, grad_c)
    # Units do not meet: one difference gives the derivatives of all.
    m, c_next = along(lambda s: step(z, c + s))
    assert_close(dc, grad_m * m + grad_c * c_next, "gradients, differences")
    for k, dz_k in enumerate(np.split(dz, 4)):
        unit = np.eye(4)[k][:, np.newaxis]
        m, c_next = along(lambda s, unit=unit: step(z + s * unit, c))
        assert_close(dz_k, grad_m * m + grad_c * c_next, "gradients, differences")


@pytest.mark.parametrize("row", [slice(None), 0], ids=["batch", "row"])
@by_name((*CELLS, *(replace(case, T=1) for case in map(find, ("projection", "projection-to-one")))))
def test_cell_by_differences(case: Case, row: Any) -> None:
    data = make_data(case, "float64")
    at = {"x": data.input[0, row], "h": data.h_0[0, row], "c": data.c_0[0, row], **layer_arguments(data)}
    _, grad_h, grad_c = (gradient[0, row] for gradient in make_gradients(case, "float64"))
    _, _, gates = reference.cell_forward_gates(**at)
    got = reference.cell_backward(**at, gates=gates, grad_h_next=grad_h, grad_c_next=grad_c)
    gradients = {"x": got.x, "h": got.h, "c": got.c, **got.parameters}
    assert {name: g.shape for name, g in gradients.items()} == {name: array.shape for name, array in at.items()}
    for name, v in directions(at, 2):

        def moved(step: float, name: str = name, v: Array = v) -> tuple[Array, ...]:
            return reference.cell_forward(**(at | {name: at[name] + step * v}))

        slopes = [np.vdot(g, slope) for g, slope in zip((grad_h, grad_c), along(moved), strict=True)]
        assert_close(float(np.vdot(gradients[name], v)), sum(slopes), "gradients, differences")


@by_name(CELLS + LAYERS + DROPOUT)
def test_lstm_by_differences(case: Case) -> None:
    check_differences(case, make_data(case, "float64"), make_gradients(case, "float64"), two_random_directions)


@by_name(SMALL)
def test_every_element_by_differences(case: Case) -> None:
    check_differences(case, make_data(case, "float64"), make_gradients(case, "float64"), elements)


@pytest.mark.parametrize("kept", [0, 1, 2], ids=["output", "h_n", "c_n"])
@by_name(SMALL)
def test_one_incoming_gradient_by_differences(case: Case, kept: int) -> None:
    incoming = [gradient if k == kept else None for k, gradient in enumerate(make_gradients(case, "float64"))]
    check_differences(case, make_data(case, "float64"), tuple(incoming), two_random_directions)


@pytest.mark.parametrize("batch_first", [False, True])
@by_name(tuple(case for case in SMALL if case.B > 0 and not case.batch_first))
def test_unbatched_by_differences(case: Case, batch_first: bool) -> None:
    data, incoming = unbatched(make_data(case, "float64"), make_gradients(case, "float64"))
    check_differences(replace(case, batch_first=batch_first), data, incoming, two_random_directions)


def unbatched(data: Data, incoming: tuple[Array, Array, Array]) -> tuple[Data, tuple[Array, Array, Array]]:
    """Return the last row of a case that is not batch-first, without an axis for rows."""
    masks = data.dropout_masks
    row = Data(
        data.input[:, -1],
        data.h_0[:, -1],
        data.c_0[:, -1],
        data.state_dict,
        None if data.lengths is None else data.lengths[-1],
        None if data.resets is None else data.resets[:, -1],
        None if masks is None else [mask[:, -1] for mask in masks],
    )
    grad_output, grad_h_n, grad_c_n = incoming
    return row, (grad_output[:, -1], grad_h_n[:, -1], grad_c_n[:, -1])


# 3. Compositions


@each_dtype
@by_name(CELLS + LAYERS)
def test_training_forward_is_the_forward(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    options = case.config | {"lengths": data.lengths, "resets": data.resets}
    output, states = reference.lstm_forward(data.input, data.hx, data.state_dict, **options)
    for got, expected in zip(forward(case, data)[0], (output, *states), strict=True):
        np.testing.assert_array_equal(got, expected)


@by_name(CELLS + LAYERS + DROPOUT)
def test_float32_agrees_with_float64(case: Case) -> None:
    data, incoming = make_data(case, "float32"), make_gradients(case, "float32")
    wide = tuple(gradient.astype("float64") for gradient in incoming)
    got, expected = backward(case, data, incoming), backward(case, data.astype("float64"), wide)
    assert {gradient.dtype.name for gradient in got.values()} == {"float32"}
    assert {gradient.dtype.name for gradient in expected.values()} == {"float64"}
    assert_gradients_close(got, expected, "gradients")


@by_name(SATURATED)
def test_saturated_float32_agrees_with_float64(case: Case) -> None:
    data, incoming = make_data(case, "float32"), make_gradients(case, "float32")
    wide = tuple(gradient.astype("float64") for gradient in incoming)
    got, expected = backward(case, data, incoming), backward(case, data.astype("float64"), wide)
    assert_gradients_close(got, expected, "gradients, saturated")


@each_dtype
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@by_name(tuple(map(find, ("plain", "projection", "no-bias"))))
def test_layer_is_a_loop_of_cells(case: Case, reverse: bool, dtype: str) -> None:
    data = make_data(case, dtype)
    grad_output, (grad_h,), (grad_c,) = make_gradients(case, dtype)
    weights = layer_arguments(data)
    *_, tape = reference.layer_forward_train(data.input, data.h_0[0], data.c_0[0], **weights, reverse=reverse)
    got = by_argument(reference.layer_backward(tape, grad_output, grad_h, grad_c))

    steps = range(case.T)[::-1] if reverse else range(case.T)
    h, c, seen = data.h_0[0], data.c_0[0], {}
    for t in steps:
        h_next, c_next, gates = reference.cell_forward_gates(data.input[t], h, c, **weights)
        seen[t] = (data.input[t], h, c, gates)
        h, c = h_next, c_next
    expected: dict[str, Array] = {name: np.zeros_like(gradient) for name, gradient in got.items()}
    for t in reversed(steps):
        step = reference.cell_backward(*seen[t], grad_h + grad_output[t], grad_c, **weights)
        expected["input"][t], grad_h, grad_c = step.x, step.h, step.c
        for name, gradient in step.parameters.items():
            expected[name] += gradient
    assert_gradients_close(got, expected | {"h_0": grad_h, "c_0": grad_c}, "gradients, regrouped")


@each_dtype
@by_name(tuple(map(find, ("three-layers", "resets-two-layers-projection", "dropout-resets-ragged"))))
def test_stack_hands_down_the_gradient_of_its_input(case: Case, dtype: str) -> None:
    data, (grad, grad_h, grad_c) = make_data(case, dtype), make_gradients(case, dtype)
    got = backward(case, data, (grad, grad_h, grad_c))
    x, tapes = data.input, []
    options = {"lengths": data.lengths, "resets": data.resets}
    for k in range(case.num_layers):
        weights = layer_arguments(data, f"_l{k}")
        x, _, _, tape = reference.layer_forward_train(x, data.h_0[k], data.c_0[k], **weights, **options)
        x = x * data.dropout_masks[k] if data.dropout_masks and k < case.num_layers - 1 else x
        tapes.append(tape)
    for k in reversed(range(case.num_layers)):
        grad = grad * data.dropout_masks[k] if data.dropout_masks and k < case.num_layers - 1 else grad
        gradients = reference.layer_backward(tapes[k], grad, grad_h[k], grad_c[k])
        grad = gradients.input
        assert_close(got["h_0"][k], gradients.h_0, "gradients, regrouped")
        assert_close(got["c_0"][k], gradients.c_0, "gradients, regrouped")
        for name, gradient in gradients.parameters.items():
            assert_close(got[f"{name}_l{k}"], gradient, "gradients, regrouped")
    assert_close(got["input"], grad, "gradients, regrouped")


@each_dtype
@by_name((find("bidirectional"),))
def test_bidirectional_is_a_second_layer_on_flipped_input(case: Case, dtype: str) -> None:
    data, (grad, grad_h, grad_c) = make_data(case, dtype), make_gradients(case, dtype)
    got = backward(case, data, (grad, grad_h, grad_c))
    total = np.zeros_like(data.input)
    for k, (suffix, half) in enumerate(zip(("_l0", "_l0_reverse"), np.split(grad, 2, axis=-1), strict=True)):
        flip = slice(None, None, -1 if k else 1)
        weights = layer_arguments(data, suffix)
        *_, tape = reference.layer_forward_train(data.input[flip], data.h_0[k], data.c_0[k], **weights)
        gradients = reference.layer_backward(tape, half[flip], grad_h[k], grad_c[k])
        total += gradients.input[flip]
        assert_close(got["h_0"][k], gradients.h_0, "gradients, regrouped")
        assert_close(got["c_0"][k], gradients.c_0, "gradients, regrouped")
        for name, gradient in gradients.parameters.items():
            assert_close(got[name + suffix], gradient, "gradients, regrouped")
    assert_close(got["input"], total, "gradients, regrouped")


@each_dtype
@by_name(tuple(map(find, ("plain", "two-layers-projection", "dropout"))))
def test_sequence_in_two_calls(case: Case, dtype: str) -> None:
    # The state goes from the first call to the second; the gradient of the second's initial state goes back.
    data, (grad, grad_h, grad_c) = make_data(case, dtype), make_gradients(case, dtype)
    tapes, cuts = [], (slice(0, 3), slice(3, None))
    hx = data.hx
    for cut in cuts:
        masks = None if data.dropout_masks is None else [mask[cut] for mask in data.dropout_masks]
        _, hx, tape = reference.lstm_forward_train(
            data.input[cut], hx, data.state_dict, **case.config, dropout_masks=masks
        )
        tapes.append(tape)
    second = reference.lstm_backward(tapes[1], grad[cuts[1]], grad_h, grad_c)
    first = reference.lstm_backward(tapes[0], grad[cuts[0]], second.h_0, second.c_0)
    expected = {name: gradient + second.parameters[name] for name, gradient in first.parameters.items()}
    expected |= {"input": np.concatenate([first.input, second.input]), "h_0": first.h_0, "c_0": first.c_0}
    assert_gradients_close(backward(case, data, (grad, grad_h, grad_c)), expected, "gradients, regrouped")


@each_dtype
@by_name(tuple(case for case in LAYERS + DROPOUT if case.ragged))
def test_lengths_equal_separate_runs(case: Case, dtype: str) -> None:
    data, incoming = make_data(case, dtype), make_gradients(case, dtype)
    assert data.lengths is not None
    got = backward(case, data, incoming)
    total = {name: np.zeros_like(weight) for name, weight in data.state_dict.items()}
    for row, length in enumerate(data.lengths):
        of_row = (row, slice(length)) if case.batch_first else (slice(length), row)
        beyond = (row, slice(length, None)) if case.batch_first else (slice(length, None), row)
        alone = Data(
            data.input[of_row],
            data.h_0[:, row],
            data.c_0[:, row],
            data.state_dict,
            None,
            None if data.resets is None else data.resets[of_row],
            None if data.dropout_masks is None else [mask[of_row] for mask in data.dropout_masks],
        )
        expected = backward(case, alone, (incoming[0][of_row], incoming[1][:, row], incoming[2][:, row]))
        assert_close(got["input"][of_row], expected["input"], "gradients, regrouped")
        assert np.all(got["input"][beyond] == 0)
        assert_close(got["h_0"][:, row], expected["h_0"], "gradients, regrouped")
        assert_close(got["c_0"][:, row], expected["c_0"], "gradients, regrouped")
        if length == 0:
            np.testing.assert_array_equal(got["h_0"][:, row], incoming[1][:, row])
            np.testing.assert_array_equal(got["c_0"][:, row], incoming[2][:, row])
        for name in total:
            total[name] += expected[name]
    assert_gradients_close({name: got[name] for name in total}, total, "gradients, regrouped")


@by_name(tuple(case for case in LAYERS + DROPOUT if case.ragged))
def test_padding_is_never_read(case: Case) -> None:
    data, (grad, grad_h, grad_c) = make_data(case, "float64"), make_gradients(case, "float64")
    assert data.lengths is not None
    x, poisoned = data.input.copy(), grad.copy()
    for array in (x, poisoned):
        for row, length in enumerate(data.lengths):
            (array[row] if case.batch_first else array[:, row])[length:] = np.nan
    got = backward(case, replace(data, input=x), (poisoned, grad_h, grad_c))
    assert_all_equal(got, backward(case, data, (grad, grad_h, grad_c)))


@each_dtype
@by_name(tuple(map(find, ("resets", "resets-two-layers-projection"))))
def test_resets_equal_separate_pieces(case: Case, dtype: str) -> None:
    data, (grad, grad_h, grad_c) = make_data(case, dtype), make_gradients(case, dtype)
    assert data.resets is not None
    got = backward(case, data, (grad, grad_h, grad_c))
    total = {name: np.zeros_like(weight) for name, weight in data.state_dict.items()}
    for row in range(case.B):
        cuts = np.flatnonzero(data.resets[:, row]).tolist()
        hx: tuple[Array, Array] | None = (data.h_0[:, row], data.c_0[:, row])
        for start, stop in zip([0, *cuts], [*cuts, case.T], strict=True):
            # Only the last piece meets the last state, only the first (empty if step 0 is reset) the initial one.
            last = (grad_h[:, row], grad_c[:, row]) if stop == case.T else (None, None)
            _, _, tape = reference.lstm_forward_train(data.input[start:stop, row], hx, data.state_dict, **case.config)
            alone = reference.lstm_backward(tape, grad[start:stop, row], *last)
            assert_close(got["input"][start:stop, row], alone.input, "gradients, regrouped")
            if hx is not None:
                assert_close(got["h_0"][:, row], alone.h_0, "gradients, regrouped")
                assert_close(got["c_0"][:, row], alone.c_0, "gradients, regrouped")
            for name in total:
                total[name] += alone.parameters[name]
            hx = None
    assert_gradients_close({name: got[name] for name in total}, total, "gradients, regrouped")


def test_reset_cuts_off_all_that_was_before() -> None:
    case = find("resets")
    data, (_, grad_h, grad_c) = make_data(case, "float64"), make_gradients(case, "float64")
    resets = np.zeros((case.T, case.B), bool)
    resets[5, 1] = True
    got = backward(case, replace(data, resets=resets), (None, grad_h, grad_c))
    assert np.all(got["input"][:5, 1] == 0)
    assert np.all(got["h_0"][:, 1] == 0)
    assert np.all(got["c_0"][:, 1] == 0)
    assert np.all(got["input"][5:, 1] != 0)
    assert np.all(got["input"][:, [0, 2]] != 0)


@by_name(DROPOUT)
def test_masks_of_ones_are_no_masks(case: Case) -> None:
    data, incoming = make_data(case, "float64"), make_gradients(case, "float64")
    assert data.dropout_masks is not None
    ones = replace(data, dropout_masks=[np.ones_like(mask) for mask in data.dropout_masks])
    none = replace(data, dropout_masks=None)
    assert_all_equal(backward(case, ones, incoming), backward(case, none, incoming))
    for got, expected in zip(forward(case, ones)[0], forward(case, none)[0], strict=True):
        np.testing.assert_array_equal(got, expected)


def test_dropped_units_get_no_gradient() -> None:
    # All dropped: the first layer is left with the gradients of its own last states.
    case = find("dropout")
    data, (grad, grad_h, grad_c) = make_data(case, "float64"), make_gradients(case, "float64")
    assert data.dropout_masks is not None
    assert np.any(data.dropout_masks[0] == 0)
    dropped = replace(data, dropout_masks=[np.zeros_like(mask) for mask in data.dropout_masks])
    grad_h[0] = grad_c[0] = 0
    got = backward(case, dropped, (grad, grad_h, grad_c))
    assert np.all(got["weight_ih_l1"] == 0)  # it saw zeros
    assert np.all(got["weight_hh_l1"] != 0)
    for name in ("input", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        assert np.all(got[name] == 0), name


@each_dtype
@by_name(tuple(case for case in LAYERS + DROPOUT if case.batch_first))
def test_batch_first_swaps_what_has_steps(case: Case, dtype: str) -> None:
    data, (grad, grad_h, grad_c) = make_data(case, dtype), make_gradients(case, dtype)
    steps_first = replace(
        data,
        input=data.input.swapaxes(0, 1),
        resets=None if data.resets is None else data.resets.T,
        dropout_masks=None if data.dropout_masks is None else [mask.swapaxes(0, 1) for mask in data.dropout_masks],
    )
    expected = backward(replace(case, batch_first=False), steps_first, (grad.swapaxes(0, 1), grad_h, grad_c))
    got = backward(case, data, (grad, grad_h, grad_c))
    assert got["input"].shape == (case.B, case.T, case.I)
    assert_gradients_close(got, expected | {"input": expected["input"].swapaxes(0, 1)}, "gradients, regrouped")


@each_dtype
@by_name(tuple(map(find, ("two-layers-bidirectional", "ragged-projection", "resets", "dropout-ragged", "no-steps"))))
def test_unbatched_is_a_batch_of_one(case: Case, dtype: str) -> None:
    data, incoming = make_data(case, dtype), make_gradients(case, dtype)
    got = backward(case, *unbatched(data, incoming))
    one = Data(
        data.input[:, -1:],
        data.h_0[:, -1:],
        data.c_0[:, -1:],
        data.state_dict,
        None if data.lengths is None else data.lengths[-1:],
        None if data.resets is None else data.resets[:, -1:],
        None if data.dropout_masks is None else [mask[:, -1:] for mask in data.dropout_masks],
    )
    expected = backward(case, one, (incoming[0][:, -1:], incoming[1][:, -1:], incoming[2][:, -1:]))
    rows = {name: expected[name][:, 0] for name in ("input", "h_0", "c_0")}
    assert_gradients_close(got, expected | rows, "gradients, regrouped")


@each_dtype
@pytest.mark.parametrize("none", list(itertools.product([False, True], repeat=3)), ids=str)
@by_name(tuple(map(find, ("plain", "everything", "resets-ragged-batch-first", "no-steps", "no-rows", "dropout"))))
def test_none_is_zero(case: Case, none: tuple[bool, ...], dtype: str) -> None:
    data, incoming = make_data(case, dtype), make_gradients(case, dtype)
    nones = [None if is_none else gradient for is_none, gradient in zip(none, incoming, strict=True)]
    zeros = [0 * gradient if is_none else gradient for is_none, gradient in zip(none, incoming, strict=True)]
    got = backward(case, data, tuple(nones))
    assert_all_equal(got, backward(case, data, tuple(zeros)))
    if all(none):
        assert not any(np.any(gradient) for gradient in got.values())


@each_dtype
@by_name(CELLS + LAYERS + DROPOUT)
def test_names_shapes_and_dtypes(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    got = backward(case, data, make_gradients(case, dtype))
    assert {name: g.shape for name, g in got.items()} == {name: a.shape for name, a in arguments(data).items()}
    assert list(got)[3:] == list(case.weight_shapes())
    assert {gradient.dtype.name for gradient in got.values()} == {dtype}


def test_no_steps_hand_the_gradient_of_the_state_back() -> None:
    case = find("no-steps")
    grad, grad_h, grad_c = make_gradients(case, "float64")
    got = backward(case, make_data(case, "float64"), (grad, grad_h, grad_c))
    np.testing.assert_array_equal(got.pop("h_0"), grad_h)
    np.testing.assert_array_equal(got.pop("c_0"), grad_c)
    assert not any(np.any(gradient) for gradient in got.values())


def test_no_states_have_gradients_too() -> None:
    case = find("two-layers-bidirectional")
    data, incoming = make_data(case, "float64"), make_gradients(case, "float64")
    zeros = replace(data, h_0=0 * data.h_0, c_0=0 * data.c_0)
    *_, tape = reference.lstm_forward_train(data.input, None, data.state_dict, **case.config)
    assert_all_equal(by_argument(reference.lstm_backward(tape, *incoming)), backward(case, zeros, incoming))


@by_name(tuple(map(find, ("everything", "resets-ragged-batch-first", "dropout-ragged", "no-steps"))))
def test_tape_serves_again_whatever_happens_to_the_arrays(case: Case) -> None:
    data, incoming = make_data(case, "float64"), make_gradients(case, "float64")
    _, tape = forward(case, data)
    expected = by_argument(reference.lstm_backward(tape, *incoming))
    for array in (*arguments(data).values(), *(data.dropout_masks or [])):
        array[...] = np.nan  # an optimiser's step, say
    got = by_argument(reference.lstm_backward(tape, *incoming))
    assert_all_equal(got, expected)
    for gradient in got.values():
        gradient[...] = np.nan
    assert_all_equal(by_argument(reference.lstm_backward(tape, *incoming)), expected)


@by_name(tuple(map(find, ("everything", "dropout-ragged"))))
def test_tape_can_be_copied_and_pickled(case: Case) -> None:
    data, incoming = make_data(case, "float64"), make_gradients(case, "float64")
    _, tape = forward(case, data)
    expected = by_argument(reference.lstm_backward(tape, *incoming))
    for other in (copy.deepcopy(tape), pickle.loads(pickle.dumps(tape))):
        assert_all_equal(by_argument(reference.lstm_backward(other, *incoming)), expected)


@by_name(tuple(map(find, ("everything", "resets-ragged-batch-first", "dropout-ragged", "no-steps"))))
def test_arguments_are_not_written_to_nor_returned(case: Case) -> None:
    data, incoming = make_data(case, "float64"), make_gradients(case, "float64")
    arrays = [*arguments(data).values(), *incoming, *(data.dropout_masks or [])]
    for array in arrays:
        array.flags.writeable = False
    gradients = list(backward(case, data, incoming).values())
    assert not any(np.shares_memory(gradient, array) for gradient in gradients for array in arrays)
    # Gradients are scaled in place, by those who clip them: no two may be the same array, as those of the biases could.
    for one, other in itertools.combinations(gradients, 2):
        assert not np.shares_memory(one, other)
    assert all(gradient.flags.writeable for gradient in gradients)


@by_name(tuple(map(find, ("two-layers", "two-layers-bidirectional"))))
def test_nan_stays_in_its_row(case: Case) -> None:
    data, incoming = make_data(case, "float64"), make_gradients(case, "float64")
    expected = backward(case, data, incoming)
    incoming[0][3, 1] = np.nan
    got = backward(case, data, incoming)
    for name, axis in (("input", 1), ("h_0", 1), ("c_0", 1)):
        np.testing.assert_array_equal(np.delete(got[name], 1, axis), np.delete(expected[name], 1, axis), err_msg=name)
    assert np.all(np.isnan(got["input"][:4, 1]))


def test_one_bias_has_the_gradient_of_either() -> None:
    case = find("plain")
    data, (grad, grad_h, grad_c) = make_data(case, "float64"), make_gradients(case, "float64")
    expected = backward(case, data, (grad, grad_h, grad_c))
    weights = layer_arguments(data)
    total = weights.pop("bias_ih") + weights.pop("bias_hh")
    for name in ("bias_ih", "bias_hh"):
        *_, tape = reference.layer_forward_train(data.input, data.h_0[0], data.c_0[0], **weights, **{name: total})
        got = reference.layer_backward(tape, grad, grad_h[0], grad_c[0])
        assert set(got.parameters) == {"weight_ih", "weight_hh", name}
        np.testing.assert_array_equal(got.parameters[name], expected[f"{name}_l0"])


# 4. torch's gradients from the file that tests/data/make_torch_golden_gradients.py writes

GOLDEN_GRADIENTS: dict[str, Array] = dict(np.load(DATA / "torch_golden_gradients.npz"))


def golden_gradients(name: str) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the gradients of one entry that came in, and those that torch computed."""
    arrays = golden(name, GOLDEN_GRADIENTS)
    incoming = {key: arrays.pop(key) for key in ("output", "h_n", "c_n") if key in arrays}
    return incoming, arrays


def test_golden_files_fit_each_other() -> None:
    assert {key.split("/")[0] for key in GOLDEN_GRADIENTS if "/" in key} == set(CONFIGS)
    for name, config in CONFIGS.items():
        arrays = golden(name) | golden_gradients(name)[1]
        assert {array.dtype.name for key, array in arrays.items() if key != "lengths"} == {
            config.get("dtype", "float64")
        }


@pytest.mark.parametrize("name", [name for name in CONFIGS if not name.startswith("cell")])
def test_lstm_against_golden_torch(name: str) -> None:
    arrays, config = golden(name), CONFIGS[name]
    incoming, expected = golden_gradients(name)
    _, _, tape = reference.lstm_forward_train(
        arrays["input"],
        (arrays["h_0"], arrays["c_0"]),
        {key: array for key, array in arrays.items() if key.startswith(("weight", "bias"))},
        num_layers=config.get("num_layers", 1),
        bidirectional=config.get("bidirectional", False),
        batch_first=config.get("batch_first", False),
        lengths=arrays.get("lengths"),
    )
    gradients = reference.lstm_backward(tape, incoming["output"], incoming["h_n"], incoming["c_n"])
    assert_gradients_close(by_argument(gradients), expected, "gradients, golden")


@pytest.mark.parametrize("name", [name for name in CONFIGS if name.startswith("cell")])
def test_cell_against_golden_torch(name: str) -> None:
    arrays = golden(name)
    incoming, expected = golden_gradients(name)
    weights = {key: array for key, array in arrays.items() if key.startswith(("weight", "bias"))}
    states = arrays["input"], arrays["h_0"], arrays["c_0"]
    _, _, gates = reference.cell_forward_gates(*states, **weights)
    got = reference.cell_backward(*states, gates, incoming["h_n"], incoming["c_n"], **weights)
    gradients = {"input": got.x, "h_0": got.h, "c_0": got.c, **got.parameters}
    assert_gradients_close(gradients, expected, "gradients, golden")


# 5. torch itself


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@each_dtype
@by_name(tuple(case for case in CELLS + LAYERS + DROPOUT if case.T > 0))  # torch refuses sequences without steps
def test_lstm_against_torch(torch: Any, case: Case, dtype: str) -> None:
    data, incoming = make_data(case, dtype), make_gradients(case, dtype)
    expected = torch_gradients(torch, case, data, incoming)
    assert_gradients_close(backward(case, data, incoming), expected, "gradients, torch")


@each_dtype
@by_name(SATURATED)
def test_saturated_against_torch(torch: Any, case: Case, dtype: str) -> None:
    data, incoming = make_data(case, dtype), make_gradients(case, dtype)
    expected = torch_gradients(torch, case, data, incoming)
    assert_gradients_close(backward(case, data, incoming), expected, "gradients, torch, saturated")


@each_dtype
@by_name((find("two-layers-bidirectional"),))
def test_unbatched_against_torch(torch: Any, case: Case, dtype: str) -> None:
    data, incoming = unbatched(make_data(case, dtype), make_gradients(case, dtype))
    expected = torch_gradients(torch, case, data, incoming)
    assert_gradients_close(backward(case, data, incoming), expected, "gradients, torch")


# 6. Errors

PLAIN = find("plain")  # T=7, B=3, I=5, H=9


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"grad_output": np.zeros((7, 3, 8))}, ValueError, r"grad_output: expected shape \(7, 3, 9\), got \(7, 3, 8\)"),
        ({"grad_output": np.zeros((3, 7, 9))}, ValueError, r"grad_output: expected shape \(7, 3, 9\)"),
        ({"grad_output": np.zeros((7, 3, 9), "float32")}, TypeError, "grad_output: expected dtype float64"),
        ({"grad_output": 1.0}, TypeError, "grad_output: expected a NumPy array, got float"),
        ({"grad_h_n": np.zeros((3, 9))}, ValueError, r"grad_h_n: expected shape \(1, 3, 9\), got \(3, 9\)"),
        ({"grad_c_n": np.zeros((1, 3, 1))}, ValueError, r"grad_c_n: expected shape \(1, 3, 9\), got \(1, 3, 1\)"),
        ({"grad_c_n": np.zeros((1, 3, 9), int)}, TypeError, "grad_c_n: expected dtype float32 or float64, got int64"),
        ({"tape": None}, TypeError, "tape: expected the Tape of lstm_forward_train, got NoneType"),
    ],
)
def test_bad_arguments_are_named(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    _, tape = forward(PLAIN, make_data(PLAIN, "float64"))
    with pytest.raises(error, match=message):
        reference.lstm_backward(**({"tape": tape, "grad_output": None} | changes))


def test_shapes_are_those_of_the_layout() -> None:
    data = make_data(PLAIN, "float64")
    rows_first, _ = forward(replace(PLAIN, batch_first=True), replace(data, input=data.input.swapaxes(0, 1)))
    assert rows_first[0].shape == (3, 7, 9)
    case = replace(PLAIN, batch_first=True)
    _, tape = forward(case, replace(data, input=data.input.swapaxes(0, 1)))
    with pytest.raises(ValueError, match=r"grad_output: expected shape \(3, 7, 9\)"):
        reference.lstm_backward(tape, np.zeros((7, 3, 9)))
    _, tape = forward(case, Data(data.input[:, 0], data.h_0[:, 0], data.c_0[:, 0], data.state_dict, None, None))
    with pytest.raises(ValueError, match=r"grad_output: expected shape \(7, 9\)"):
        reference.lstm_backward(tape, np.zeros((7, 1, 9)))
    with pytest.raises(ValueError, match=r"grad_h_n: expected shape \(1, 9\)"):
        reference.lstm_backward(tape, None, np.zeros((1, 1, 9)))


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        ([], ValueError, "dropout_masks: expected 1, one for each layer but the last, got 0"),
        ([np.ones((7, 3, 9))] * 2, ValueError, "dropout_masks: expected 1, .* got 2"),
        ([np.ones((7, 3, 8))], ValueError, r"dropout_masks\[0\]: expected shape \(7, 3, 9\), got \(7, 3, 8\)"),
        ([np.ones((7, 3, 9), bool)], TypeError, r"dropout_masks\[0\]: expected dtype float32 or float64, got bool"),
    ],
)
def test_bad_masks_are_named(masks: list[Array], error: type[Exception], message: str) -> None:
    case = find("dropout")
    with pytest.raises(error, match=message):
        forward(case, replace(make_data(case, "float64"), dropout_masks=masks))


def test_cell_and_layer_name_bad_arguments() -> None:
    data = make_data(PLAIN, "float64")
    weights = layer_arguments(data)
    x, h, c = data.input[0], data.h_0[0], data.c_0[0]
    _, _, gates = reference.cell_forward_gates(x, h, c, **weights)
    with pytest.raises(ValueError, match=r"grad_h_next: expected shape \(3, 9\), got \(9,\)"):
        reference.cell_backward(x, h, c, gates, h[0], None, **weights)
    with pytest.raises(ValueError, match=r"grad_c_next: expected shape \(3, 9\)"):
        reference.cell_backward(x, h, c, gates, h, c[:2], **weights)
    with pytest.raises(ValueError, match=r"i: expected shape \(3, 9\)"):
        reference.cell_backward(x, h, c, Gates(*(gate[0] for gate in gates)), h, c, **weights)
    with pytest.raises(ValueError, match=r"x: expected shape \(I,\) or \(B, I\)"):
        reference.cell_backward(data.input, h, c, gates, h, c, **weights)
    with pytest.raises(TypeError, match="grad_m: expected dtype float64"):
        reference.gates_backward(gates, c, c.astype("float32"))
    *_, tape = reference.layer_forward_train(data.input, h, c, **weights)
    with pytest.raises(ValueError, match=r"grad_h_n: expected shape \(3, 9\)"):
        reference.layer_backward(tape, None, data.h_0)
    with pytest.raises(TypeError, match="tape: expected the LayerTape of layer_forward_train, got dict"):
        reference.layer_backward({}, None)  # type: ignore[arg-type]


def test_tolerance_of_differences_is_for_float64_alone() -> None:
    assert math.isnan(TOLERANCES["gradients, differences"].float32)
