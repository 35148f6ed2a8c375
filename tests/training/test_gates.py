"""gates_backward: the fused kernel alone, against the equations, differences of gates_forward, and the layer's."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
from fastlstm import reference
from tests.cases import Array, assert_close
from tests.support import (
    DTYPES,
    assert_same_bits,
    each_dtype,
    each_isa,
    each_layout,
    each_mode,
    floating_point,
    read_only,
)

Arguments = tuple[Array, Array, Array, Array, Array]


def draw(dtype: str, *shape: int, scale: float = 3.0, seed: int = 0) -> Arguments:
    """Draw gates [..., 4H], c_prev, c, grad_h and grad_c [..., H] of a step."""
    rng = np.random.default_rng(seed)
    z = (rng.standard_normal((*shape[:-1], 4 * shape[-1])) * scale).astype(dtype)
    c_prev, grad_h, grad_c = (rng.standard_normal(shape).astype(dtype) for _ in range(3))
    gates = np.empty_like(z)
    _, c = fastlstm.gates_forward(z, c_prev, gates=gates)
    return gates, c_prev, c, grad_h, grad_c


def equations(gates: Array, c_prev: Array, c: Array, grad_h: Array, grad_c: Array | None) -> tuple[Array, Array]:
    """Compute the gradients of z and c_prev by the equations, in float64."""
    i, f, g, o = np.split(gates.astype(np.float64), 4, axis=-1)
    dh = grad_h.astype(np.float64)
    shown = np.tanh(c.astype(np.float64))
    dc = (0 if grad_c is None else grad_c.astype(np.float64)) + dh * o * (1 - shown**2)
    dz = dc * g * i * (1 - i), dc * c_prev * f * (1 - f), dc * i * (1 - g**2), dh * shown * o * (1 - o)
    return np.concatenate(dz, axis=-1), dc * f


def some(arguments: Arguments, units: int) -> Arguments:
    """Take the first units of 1-D arguments."""
    gates, *others = arguments
    quarters = gates.reshape(4, -1)[:, :units].ravel()
    return quarters, *(array[:units] for array in others)  # type: ignore[return-value]


@each_isa
@each_dtype
@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0, 30.0])
def test_gradients_against_the_equations(scale: float, dtype: str, isa: str) -> None:
    arguments = draw(dtype, 50, 333, scale=scale)
    for got, expected in zip(fastlstm.gates_backward(*arguments, isa=isa), equations(*arguments), strict=True):
        assert got.dtype == dtype
        assert_close(got, expected, "gates, backward")


@each_isa
def test_gradients_against_differences(isa: str) -> None:
    rng = np.random.default_rng(0)
    z, c_prev = rng.standard_normal((7, 4 * 13)), rng.standard_normal((7, 13))
    grad_h, grad_c = rng.standard_normal((2, 7, 13))
    gates = np.empty_like(z)
    _, c = fastlstm.gates_forward(z, c_prev, gates=gates, isa=isa)
    made = fastlstm.gates_backward(gates, c_prev, c, grad_h, grad_c, isa=isa)

    def losses(dz: float, dc: float, gate: int) -> Array:
        """One for each unit: nothing that one unit does reaches another."""
        moved = z.copy()
        moved[:, gate * 13 : (gate + 1) * 13] += dz
        h_next, c_next = fastlstm.gates_forward(moved, c_prev + dc, isa=isa)
        return h_next * grad_h + c_next * grad_c

    step = 5e-4
    for part in range(5):
        at = [losses(k * step * (part < 4), k * step * (part == 4), part % 4) for k in (-2, -1, 1, 2)]
        slopes = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * step)
        expected = made[1] if part == 4 else made[0][:, part * 13 : (part + 1) * 13]
        assert_close(slopes, expected, "gradients, differences")


@each_dtype
def test_instruction_sets_agree(dtype: str) -> None:
    arguments = draw(dtype, 40, 517)
    info = np.finfo(dtype)
    special = [np.nan, np.inf, -np.inf, 0, -0.0, info.max, info.smallest_subnormal]
    for row, array in enumerate(arguments):
        array[row, : len(special)] = special
    expected = fastlstm.gates_backward(*arguments, isa="scalar")
    for isa in fastlstm.isas()[:-1]:
        assert_same_bits(fastlstm.gates_backward(*arguments, isa=isa), expected, isa)


@each_isa
@each_dtype
def test_tails_have_the_bits_of_single_units(dtype: str, isa: str) -> None:
    arguments = draw(dtype, 67)
    gates, *others = arguments
    alone = [
        fastlstm.gates_backward(gates.reshape(4, 67)[:, k].copy(), *(a[k : k + 1] for a in others), isa=isa)
        for k in range(67)
    ]
    dz, dc = np.stack([part[0] for part in alone], axis=1), np.concatenate([part[1] for part in alone])
    for units in range(1, 68):
        got = fastlstm.gates_backward(*some(arguments, units), isa=isa)
        assert_same_bits(got, (dz[:, :units].ravel(), dc[:units]), f"{units} units")


@each_isa
@each_dtype
@pytest.mark.parametrize("H", [1, 7, 8, 9, 16, 17, 24, 41])
def test_gradients_are_those_of_a_layer(H: int, dtype: str, isa: str) -> None:
    # one input of 1: the gradient of weight_ih is that of the pre-activations
    gates, c_prev, c, grad_h, grad_c = draw(dtype, H, seed=H)
    z = np.random.default_rng(H).standard_normal(4 * H).astype(dtype)
    lstm = fastlstm.LSTM(1, H, bias=False, dtype=dtype, isa=isa)
    lstm.load_state_dict({"weight_ih_l0": z[:, np.newaxis], "weight_hh_l0": np.zeros((4 * H, H), dtype)})
    *_, tape = lstm.forward(np.ones((1, 1), dtype), (np.zeros((1, H), dtype), c_prev[np.newaxis]))
    made = lstm.backward(tape, None, grad_h[np.newaxis], grad_c[np.newaxis])
    _, c = fastlstm.gates_forward(z, c_prev, gates=gates)
    dz, dc = fastlstm.gates_backward(gates, c_prev, c, grad_h, grad_c, isa=isa)
    assert_same_bits((made.parameters["weight_ih_l0"][:, 0] + 0, made.c_0[0]), (dz + 0, dc))  # + 0: sums have no -0


@each_dtype
def test_gradients_are_those_of_the_reference(dtype: str) -> None:
    gates, c_prev, _, grad_h, grad_c = (array.astype(np.float64) for array in draw(dtype, 3, 9))
    expected = reference.gates_backward(reference.Gates(*np.split(gates, 4, axis=-1)), c_prev, grad_h, grad_c)
    for got, wanted in zip(fastlstm.gates_backward(*draw(dtype, 3, 9)), expected, strict=True):
        assert_close(got, wanted, "gates, backward")


@each_isa
@each_dtype
def test_a_gradient_of_c_that_is_not_given_is_zero(dtype: str, isa: str) -> None:
    *arguments, grad_c = draw(dtype, 5, 19)
    got = fastlstm.gates_backward(*arguments, isa=isa)
    assert_same_bits(got, fastlstm.gates_backward(*arguments, np.zeros_like(grad_c), isa=isa))
    assert_same_bits(got, fastlstm.gates_backward(*arguments, None, isa=isa))


@each_isa
@each_dtype
def test_saturated_gates_let_nothing_or_everything_through(dtype: str, isa: str) -> None:
    zero, one = np.zeros(19, dtype), np.ones(19, dtype)
    *_, grad_h, grad_c = draw(dtype, 19)
    # all filters shut: nothing reaches the old cell
    dz, dc = fastlstm.gates_backward(np.concatenate([zero] * 4), one, zero, grad_h, grad_c, isa=isa)
    assert not dz.any()
    assert not dc.any()
    # forget gate open, output shut: all of it does, as it is
    dz, dc = fastlstm.gates_backward(np.concatenate([zero, one, zero, zero]), one, one, grad_h, grad_c, isa=isa)
    assert not dz.any()
    assert_same_bits(dc, grad_c)


@each_isa
@each_dtype
def test_nan_reaches_its_own_unit_only(dtype: str, isa: str) -> None:
    arguments = draw(dtype, 3, 19)
    clean = fastlstm.gates_backward(*arguments, isa=isa)
    for which, array in enumerate(arguments):
        for unit in (0, 7, 8, 18):
            kept = array[1, unit]
            array[1, unit] = np.nan
            got = fastlstm.gates_backward(*arguments, isa=isa)
            array[1, unit] = kept
            reached = np.zeros((3, 19), bool)
            reached[1, unit] = True
            assert np.isnan(got[0].reshape(3, 4, 19)[1, :, unit]).any(), which
            for one, other in zip(got, clean, strict=True):
                others = np.broadcast_to(~reached[:, np.newaxis], (3, one.shape[-1] // 19, 19)).reshape(one.shape)
                assert_same_bits(one[others], other[others], f"argument {which}")


@each_mode
@each_dtype
def test_the_caller_s_environment_does_not_matter(dtype: str, mode: str) -> None:
    arguments = draw(dtype, 5, 41)
    tiny = np.finfo(dtype).smallest_subnormal
    small = (*arguments[:3], *(np.round(array * 999) * tiny for array in arguments[3:]))
    for given_ in (arguments, small):
        expected = fastlstm.gates_backward(*given_)
        with floating_point(mode):
            got = fastlstm.gates_backward(*given_)
        assert_same_bits(got, expected)


@settings(max_examples=60, deadline=None)
@given(
    lead=st.lists(st.integers(0, 5), max_size=3),
    units=st.integers(0, 40),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
)
def test_any_leading_shape(lead: list[int], units: int, dtype: str, seed: int) -> None:
    arguments = draw(dtype, *lead, units, seed=seed)
    dz, dc = fastlstm.gates_backward(*arguments)
    assert dz.shape == arguments[0].shape
    assert dc.shape == arguments[1].shape
    for got, expected in zip((dz, dc), equations(*arguments), strict=True):
        assert_close(got, expected, "gates, backward")


@each_layout
def test_layout_is_free(layout: Any) -> None:
    arguments = draw("float32", 3, 5, 9)
    expected = fastlstm.gates_backward(*arguments)
    assert_same_bits(fastlstm.gates_backward(*(layout(array) for array in arguments)), expected)


def test_arguments_are_not_written_to_nor_returned() -> None:
    arguments = draw("float32", 3, 9)
    kept = tuple(array.copy() for array in arguments)
    for result in fastlstm.gates_backward(*(read_only(array) for array in arguments)):
        assert not any(np.shares_memory(result, array) for array in arguments)
    for result in fastlstm.gates_backward(*arguments):
        assert not any(np.shares_memory(result, array) for array in arguments)
        result[...] = 7
    assert_same_bits(arguments, kept)


def test_lists_are_float64() -> None:
    dz, dc = fastlstm.gates_backward([0.5, 0.25, 0.0, 1.0], [1.0], [0.0], [1.0], [1.0])
    assert dz.dtype == np.float64
    assert dc.tolist() == [0.5]


GATES, C_PREV, C, GRAD_H, GRAD_C = draw("float32", 3, 9)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"gates": GATES.astype(float)}, TypeError, "gates and c should have the same dtype, got: float64 and float32"),
        ({"c_prev": C.astype(float)}, TypeError, "c_prev and c should have the same dtype, got: float64"),
        ({"grad_h": C.astype(float)}, TypeError, "grad_h and c should have the same dtype, got: float64"),
        ({"grad_c": C.astype(float)}, TypeError, "grad_c and c should have the same dtype, got: float64"),
        ({"c": C.astype(int)}, TypeError, "c should be an array of float32 or float64, got: .*int64"),
        ({"gates": GATES.astype("float16")}, TypeError, "gates should be an array of float32 or float64.*float16"),
        ({"grad_h": None}, TypeError, "grad_h should be an array of float32 or float64"),
        ({"grad_h": np.ma.masked_array(C)}, TypeError, "grad_h should be an array of float32 or float64, got: Masked"),
        ({"gates": GATES[:, :35]}, ValueError, r"Expected gates size \(3, 36\).*got \(3, 35\)"),
        ({"gates": GATES[:2]}, ValueError, r"Expected gates size \(3, 36\).*got \(2, 36\)"),
        ({"c_prev": C[:2]}, ValueError, r"Expected c_prev size \(3, 9\).*got \(2, 9\)"),
        ({"c_prev": C[0]}, ValueError, r"Expected c_prev size \(3, 9\).*got \(9,\)"),
        ({"grad_h": C[:, :8]}, ValueError, r"Expected grad_h size \(3, 9\).*got \(3, 8\)"),
        ({"grad_c": C[:, :1]}, ValueError, r"Expected grad_c size \(3, 9\).*got \(3, 1\)"),
        ({"c": np.float32(1)}, ValueError, "c to have at least one dimension"),
        ({"isa": "avx1024"}, ValueError, r"isa='avx1024' is unknown or not supported by this CPU; supported: .*scalar"),
    ],
)
def test_bad_arguments_are_named(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    arguments = {"gates": GATES, "c_prev": C_PREV, "c": C, "grad_h": GRAD_H, "grad_c": GRAD_C}
    with pytest.raises(error, match=message):
        fastlstm.gates_backward(**(arguments | changes))


# The gates that gates_forward hands out for it


@each_isa
@each_dtype
def test_gates_are_the_activations(dtype: str, isa: str) -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((5, 4 * 41)).astype(dtype)
    c = rng.standard_normal((5, 41)).astype(dtype)
    gates = np.empty_like(z)
    got = fastlstm.gates_forward(z, c, gates=gates, isa=isa)
    assert_same_bits(got, fastlstm.gates_forward(z, c, isa=isa))
    z_i, z_f, z_g, z_o = np.split(z, 4, axis=-1)
    exact = fastlstm.sigmoid(z_i), fastlstm.sigmoid(z_f), fastlstm.tanh(z_g), fastlstm.sigmoid(z_o)
    assert_same_bits(gates, np.concatenate(exact, axis=-1))


@pytest.mark.parametrize(
    ("gates", "error", "message"),
    [
        (np.empty((3, 35), np.float32), ValueError, r"Expected gates size \(3, 36\).*got \(3, 35\)"),
        (np.empty((3, 36)), TypeError, "gates should have dtype float32"),
        (np.empty((3, 72), np.float32)[:, ::2], ValueError, "gates should be contiguous"),
        (read_only(GATES), ValueError, "gates is read-only"),
        ([[0.0] * 36] * 3, TypeError, "gates should be a numpy.ndarray, got: list"),
    ],
)
def test_a_bad_buffer_for_gates_is_named(gates: Any, error: type[Exception], message: str) -> None:
    z, c = GATES.copy(), C.copy()
    with pytest.raises(error, match=message):
        fastlstm.gates_forward(z, c, gates=gates)
    with pytest.raises(ValueError, match="gates overlaps z"):
        fastlstm.gates_forward(z, c, gates=z)
