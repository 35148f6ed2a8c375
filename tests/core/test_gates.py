"""gates_forward: the fused kernel alone, against the equations and against the activations it is made of."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
from fastlstm import reference
from tests.cases import Array, assert_close
from tests.support import DTYPES, LAYOUTS, assert_same_bits, each_dtype, each_isa, each_layout, read_only


def draw(dtype: str, *shape: int, scale: float = 3.0, seed: int = 0) -> tuple[Array, Array]:
    """Pre-activations [..., 4H] and cells [..., H]."""
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((*shape[:-1], 4 * shape[-1])) * scale
    return z.astype(dtype), rng.standard_normal(shape).astype(dtype)


def equations(z: Array, c: Array) -> tuple[Array, Array]:
    """Compute h' and c' by the equations, in float64."""
    z_i, z_f, z_g, z_o = np.split(z.astype(np.float64), 4, axis=-1)
    i, f, g, o = reference.sigmoid(z_i), reference.sigmoid(z_f), np.tanh(z_g), reference.sigmoid(z_o)
    c_next = f * c + i * g
    return o * np.tanh(c_next), c_next


@each_isa
@each_dtype
@pytest.mark.parametrize("scale", [0.01, 1.0, 3.0, 30.0])
def test_gates_against_the_equations(scale: float, dtype: str, isa: str) -> None:
    z, c = draw(dtype, 50, 333, scale=scale)
    for got, expected in zip(fastlstm.gates_forward(z, c, isa=isa), equations(z, c), strict=True):
        assert got.dtype == dtype
        assert_close(got, expected, "gates")


@each_dtype
def test_instruction_sets_agree(dtype: str) -> None:
    z, c = draw(dtype, 40, 517)
    z[0, :7] = [np.nan, np.inf, -np.inf, 0, -0.0, np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal]
    expected = fastlstm.gates_forward(z, c, isa="scalar")
    for isa in fastlstm.isas()[:-1]:
        assert_same_bits(fastlstm.gates_forward(z, c, isa=isa), expected, isa)


@each_isa
@each_dtype
def test_tails_have_the_bits_of_single_units(dtype: str, isa: str) -> None:
    z, c = draw(dtype, 67)
    quarters = z.reshape(4, 67)
    alone = [fastlstm.gates_forward(quarters[:, k].copy(), c[k : k + 1], isa=isa) for k in range(67)]
    expected = tuple(np.concatenate(parts) for parts in zip(*alone, strict=True))
    for units in range(1, 68):
        got = fastlstm.gates_forward(quarters[:, :units].ravel(), c[:units], isa=isa)
        assert_same_bits(got, tuple(array[:units] for array in expected), f"{units} units")


@each_isa
@each_dtype
def test_gates_are_those_of_a_cell(dtype: str, isa: str) -> None:
    # one input of 1 and weights z: the pre-activations of the cell are z
    z, c = draw(dtype, 41)
    cell = fastlstm.LSTMCell(1, 41, bias=False, dtype=dtype, isa=isa)
    cell.load_state_dict({"weight_ih": z[:, np.newaxis], "weight_hh": np.zeros((4 * 41, 41), dtype)})
    assert_same_bits(cell(np.ones(1, dtype), (np.zeros(41, dtype), c)), fastlstm.gates_forward(z, c, isa=isa))


@each_isa
@each_dtype
def test_gates_are_made_of_the_activations(dtype: str, isa: str) -> None:
    # saturate all gates but one to exactly 0 or 1: what is left is that one's activation
    x = np.random.default_rng(0).uniform(-30, 30, 67).astype(dtype)
    full = np.full_like(x, 100)
    zero = np.zeros_like(x)

    def run(i: Array, f: Array, g: Array, o: Array, c: Array) -> tuple[Array, Array]:
        return fastlstm.gates_forward(np.concatenate([i, f, g, o]), c, isa=isa)

    assert_same_bits(run(x, zero, full, zero, zero)[1], fastlstm.sigmoid(x))
    assert_same_bits(run(zero, x, zero, zero, zero + 1)[1], fastlstm.sigmoid(x))
    assert_same_bits(run(full, zero, x, zero, zero)[1], fastlstm.tanh(x))
    assert_same_bits(run(zero, full, zero, x, full)[0], fastlstm.sigmoid(x))  # tanh(100) = 1
    assert_same_bits(run(zero, full, zero, full, x)[0], fastlstm.tanh(x))


@settings(max_examples=60, deadline=None)
@given(
    lead=st.lists(st.integers(0, 5), max_size=3),
    units=st.integers(0, 40),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 1000),
)
def test_any_leading_shape(lead: list[int], units: int, dtype: str, seed: int) -> None:
    z, c = draw(dtype, *lead, units, seed=seed)
    h, c_next = fastlstm.gates_forward(z, c)
    assert h.shape == c_next.shape == c.shape
    for got, expected in zip((h, c_next), equations(z, c), strict=True):
        assert_close(got, expected, "gates")


@each_layout
def test_layout_is_free(layout: Any) -> None:
    z, c = draw("float32", 3, 5, 9)
    expected = fastlstm.gates_forward(z, c)
    assert_same_bits(fastlstm.gates_forward(layout(z), layout(c)), expected)


def test_arguments_are_not_written_to_nor_returned() -> None:
    assert read_only in LAYOUTS
    z, c = draw("float32", 3, 9)
    kept = z.copy(), c.copy()
    for result in fastlstm.gates_forward(z, c):
        assert not np.shares_memory(result, z)
        assert not np.shares_memory(result, c)
    assert_same_bits((z, c), kept)


def test_lists_are_float64() -> None:
    h, c = fastlstm.gates_forward([0.0] * 4, [1.0])
    assert c.tolist() == [0.5]
    assert h.dtype == np.float64


Z, C = draw("float32", 3, 9)


@pytest.mark.parametrize(
    ("z", "c", "error", "message"),
    [
        (Z.astype(float), C, TypeError, "z and c should have the same dtype, got: float64 and float32"),
        (Z.astype(int), C, TypeError, "z should be an array of float32 or float64, got: .*int64"),
        (Z, C.astype("float16"), TypeError, "c should be an array of float32 or float64, got: .*float16"),
        (Z[:, :35], C, ValueError, r"Expected z size \(3, 36\).*got \(3, 35\)"),
        (Z[:2], C, ValueError, r"Expected z size \(3, 36\).*got \(2, 36\)"),
        (Z[0], C, ValueError, r"Expected z size \(3, 36\).*got \(36,\)"),
        (Z, C[0], ValueError, r"Expected z size \(36,\).*got \(3, 36\)"),
        (Z, np.float32(1), ValueError, "c to have at least one dimension"),
    ],
)
def test_bad_arguments_are_named(z: Array, c: Array, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fastlstm.gates_forward(z, c)


def test_unknown_instruction_set() -> None:
    with pytest.raises(ValueError, match=r"isa='avx1024' is unknown or not supported by this CPU; supported: .*scalar"):
        fastlstm.gates_forward(Z, C, isa="avx1024")
