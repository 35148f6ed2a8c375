"""sigmoid and tanh alone: error bounds on a sample, the same bits everywhere, special values, out=.

proofs/activations.py tries every float32; here it is every 4099th, and the neighbourhood of special ones.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastlstm
from tests.cases import ULPS, Array
from tests.proofs import activations as proof
from tests.support import (
    Guarded,
    assert_same_bits,
    backwards,
    each_dtype,
    each_isa,
    fortran,
    read_only,
    strided,
    ulps,
    unaligned,
)

FUNCTIONS = (fastlstm.sigmoid, fastlstm.tanh)
each_function = pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)

# Where something changes: clamps, roundings of n, saturation, subnormals, and the worst inputs found so far.
SPECIAL = (
    *(0.0, 2.0**-149, 2.0**-126, 2.0**-25, 2.0**-24, 2.0**-13, 2.0**-12, 2.0**-11, 2.0**-10, 0.5, 1.0, 0.1974864),
    *(
        8.14689,
        8.49105,
        9.02,
        16.63553,
        17.4,
        18.04,
        40.0,
        87.33654,
        87.68311,
        87.9,
        88.72,
        708.39,
        709.0,
        745.2,
        3.4e38,
    ),
    *(np.log(2) * k / 4 for k in (1, 2, 3, 4, 5, 6, 10, 14)),
)
HARD = {"sigmoid": (-0.0039175209, -1.0990213233225825), "tanh": (0.501063526, 0.19748641905248368)}


def sample(dtype: str) -> Array:
    """Sorted finite inputs: every 4099th float32, in float64 with random lower bits, and the neighbours of SPECIAL."""
    x = np.arange(0, 1 << 32, 4099, dtype=np.uint32).view(np.float32)
    x = x[np.isfinite(x)].astype(dtype)
    rng = np.random.default_rng(0)
    if dtype == "float64":
        x = np.concatenate([x * rng.uniform(1, 2, x.shape), rng.standard_normal(10**6), rng.uniform(-40, 40, 10**6)])
    special = np.concatenate([SPECIAL, *HARD.values()]).astype(dtype)
    integers = special.view(f"i{special.itemsize}")[:, np.newaxis] + np.arange(-50, 51)
    near = integers.astype(f"i{special.itemsize}").view(dtype).ravel()
    near = near[np.isfinite(near)]
    return np.unique(np.concatenate([x, near, -near]))


def exactly(function: Callable[..., Array], x: Array) -> Array:
    """Return the exact values: of float32 in float64, of float64 in extended precision."""
    if x.dtype == np.float32:
        return (proof.exact_tanh if function is fastlstm.tanh else proof.exact_sigmoid)(x.astype(np.float64))
    if np.finfo(np.longdouble).nmant < 63:
        pytest.skip("long double is no wider than float64 here")
    wide = x.astype(np.longdouble)
    result: Array = np.tanh(wide) if function is fastlstm.tanh else 1 / (1 + np.exp(-wide))
    return result


# Error bounds


@each_isa
@each_dtype
@each_function
def test_error_is_within_its_bound(function: Callable[..., Array], dtype: str, isa: str) -> None:
    x = sample(dtype)
    y = function(x, isa=isa)
    with np.errstate(over="ignore", under="ignore"):
        error = ulps(y, exactly(function, x))
    if function is fastlstm.sigmoid:  # subnormal results: documented to be 0
        flushed = x < (-87.68 if dtype == "float32" else -708.75)
        assert (y[x < (-87.69 if dtype == "float32" else -708.76)] == 0).all()
        error[flushed & (y == 0)] = 0
    worst = int(np.argmax(error))
    bound = getattr(ULPS[function.__name__], dtype)
    assert error[worst] <= bound, f"{float(error[worst]):.4f} ULP at {float(x[worst]).hex()}, promised {bound}"


@each_dtype
@each_function
def test_the_check_of_the_error_can_fail(function: Callable[..., Array], dtype: str) -> None:
    x = np.array([0.3, 1, 5], dtype)
    exact = exactly(function, x)
    assert (ulps(exact.astype(dtype), exact) <= 0.5).all()
    off = np.nextafter(exact.astype(dtype), np.array(0, dtype))
    assert (ulps(off, exact) > 0.5).all()


def test_the_proof_runs_on_blocks_of_its_inputs() -> None:
    for function, exact in ((fastlstm.sigmoid, proof.exact_sigmoid), (fastlstm.tanh, proof.exact_tanh)):
        with np.errstate(all="ignore"):
            for start in (
                0,
                0x3F000000,
                0x41000000,
                0x42AF5C00,
                0x7F7FE000,
                0x7F800000,
                0xBF000000,
                0xC2AF4000,
                0xFFFFE000,
            ):
                found = proof.check(function, exact, fastlstm.isa(), start)
                assert found.wrong == 0, f"{start:#x}"
                assert found.error <= ULPS[function.__name__].float32


def test_the_proof_sees_a_wrong_result() -> None:
    def nearly(x: Array, isa: str) -> Array:
        return fastlstm.tanh(x, isa=isa) * np.float32(1 + 3e-7)

    found = proof.check(nearly, proof.exact_tanh, fastlstm.isa(), 0x3F000000)
    assert found.error > ULPS["tanh"].float32


# The same bits


@each_dtype
@each_function
def test_instruction_sets_agree(function: Callable[..., Array], dtype: str) -> None:
    x = np.concatenate([sample(dtype), np.array([np.inf, -np.inf, np.nan, -0.0], dtype)])
    expected = function(x, isa="scalar")
    for isa in fastlstm.isas()[:-1]:
        assert_same_bits(function(x, isa=isa), expected, isa)


@each_isa
@each_dtype
@each_function
def test_tails_have_the_bits_of_the_body(function: Callable[..., Array], dtype: str, isa: str) -> None:
    x = np.random.default_rng(0).uniform(-20, 20, 67).astype(dtype)
    alone = np.array([function(x[k : k + 1], isa=isa)[0] for k in range(67)])
    for length in range(68):
        guarded = Guarded((length,), dtype)
        assert_same_bits(function(x[:length], isa=isa), alone[:length], f"length {length}")
        assert function(x[:length], guarded.array, isa=isa) is guarded.array
        assert_same_bits(guarded.array, alone[:length], f"length {length}")
        guarded.check()
        assert_same_bits(function(x[67 - length :], isa=isa), alone[67 - length :], f"last {length}")


@each_isa
@each_dtype
def test_inside_a_cell_they_have_the_same_bits(dtype: str, isa: str) -> None:
    # One gate at a time is x; the others are saturated to exactly 0 or 1. x reaches them as a bias, through LSTMCell.
    x = np.concatenate([np.random.default_rng(0).uniform(-30, 30, 41), [0.0, 1e-30, -1e-30]]).astype(dtype)
    n, big = len(x), 100
    zero = np.zeros((4 * n, 1), dtype)
    for gates, c, expected in (
        ((x, 0, big, 0), 0, fastlstm.sigmoid(x)),
        ((0, x, 0, 0), 1, fastlstm.sigmoid(x)),
        ((big, 0, x, 0), -0.0, fastlstm.tanh(x)),
    ):
        bias = np.concatenate([np.broadcast_to(np.asarray(gate, dtype), n) for gate in gates])
        cell = fastlstm.LSTMCell(1, n, dtype=dtype, isa=isa)
        weight_hh = np.zeros((4 * n, n), dtype)
        cell.load_state_dict(
            {"weight_ih": zero, "weight_hh": weight_hh, "bias_ih": bias, "bias_hh": np.zeros_like(bias)}
        )
        _, c_next = cell(np.zeros((3, 1), dtype), (np.zeros((3, n), dtype), np.full((3, n), c, dtype)))
        assert_same_bits(c_next, np.stack([expected] * 3))
    # and the last tanh, of the cell: i g = 0, f = o = 1, c = x
    bias = np.repeat(np.array([-big, big, 0, big], dtype), n)
    cell.load_state_dict({"weight_ih": zero, "weight_hh": weight_hh, "bias_ih": bias, "bias_hh": np.zeros_like(bias)})
    h_next, _ = cell(np.zeros((1, 1), dtype), (np.zeros((1, n), dtype), x[np.newaxis]))
    np.testing.assert_array_equal(h_next[0], fastlstm.tanh(x))


# Values


@each_isa
@each_dtype
def test_special_values(dtype: str, isa: str) -> None:
    largest = np.finfo(dtype).max
    x = np.array([-np.inf, -largest, -0.0, 0.0, largest, np.inf, np.nan], dtype)
    assert_same_bits(fastlstm.sigmoid(x, isa=isa), np.array([0, 0, 0.5, 0.5, 1, 1, np.nan], dtype))
    assert_same_bits(fastlstm.tanh(x, isa=isa), np.array([-1, -1, -0.0, 0, 1, 1, np.nan], dtype))


@each_isa
@each_dtype
def test_nan_touches_no_neighbour(dtype: str, isa: str) -> None:
    x = np.linspace(-2, 2, 37).astype(dtype)
    for function in FUNCTIONS:
        clean = function(x, isa=isa)
        for k in range(37):
            dirty = x.copy()
            dirty[k] = np.nan
            y = function(dirty, isa=isa)
            assert np.flatnonzero(np.isnan(y)).tolist() == [k]
            y[k] = clean[k]
            assert_same_bits(y, clean)


@each_isa
@each_dtype
def test_tanh_is_odd_to_the_bit(dtype: str, isa: str) -> None:
    x = sample(dtype)
    assert_same_bits(fastlstm.tanh(-x, isa=isa), -fastlstm.tanh(x, isa=isa))


@each_isa
@each_dtype
def test_tanh_keeps_subnormals(dtype: str, isa: str) -> None:
    x = np.arange(-5000, 5001).astype(dtype) * np.finfo(dtype).smallest_subnormal
    x = np.concatenate([x, x * 1600])
    assert_same_bits(fastlstm.tanh(x, isa=isa), x)


@each_dtype
def test_results_stay_in_their_range(dtype: str) -> None:
    x = sample(dtype)
    y = fastlstm.sigmoid(x)
    assert ((y >= 0) & (y <= 1)).all()
    assert (np.abs(fastlstm.tanh(x)) <= 1).all()


@each_dtype
@each_function
def test_saturation_is_monotone(function: Callable[..., Array], dtype: str) -> None:
    # out there a step of the input is much smaller than one of the result: nothing may go down
    x = sample(dtype)
    for outer in (x[x > 6], x[x < -6]):
        assert (np.diff(function(outer)) >= 0).all()


# Arguments


@each_function
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_shape_is_done_element_by_element(function: Callable[..., Array], data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9))
    x = data.draw(hnp.arrays(dtype, shape, elements=hnp.from_dtype(np.dtype(dtype))))
    y = function(x)
    assert y.dtype == dtype
    assert_same_bits(y, np.array([function(np.array([v]))[0] for v in x.ravel()], dtype).reshape(shape))


@each_dtype
@each_function
@pytest.mark.parametrize(
    "layout", [strided, backwards, fortran, read_only, unaligned], ids=lambda layout: layout.__name__
)
def test_layout_is_free(layout: Any, function: Callable[..., Array], dtype: str) -> None:
    x = np.random.default_rng(0).standard_normal((5, 7, 3)).astype(dtype)
    given = layout(x)
    expected = function(x)
    assert_same_bits(function(given), expected)
    assert_same_bits(given, x)
    if layout is not read_only:
        out = layout(np.zeros_like(x))
        assert function(x, out=out) is out
        assert_same_bits(out, expected)
        assert function(given, out=given) is given  # in place
        assert_same_bits(given, expected)


@each_function
def test_lists_and_numbers_are_float64(function: Callable[..., Array]) -> None:
    expected = function(np.array([0.25, -3.0]))
    assert_same_bits(function([0.25, -3.0]), expected)
    assert_same_bits(function((0.25, -3)), expected)
    assert_same_bits(function(0.25), expected[0:1].reshape(()))
    assert function(np.float32(0.25)).dtype == np.float32


@each_function
def test_large_arrays(function: Callable[..., Array]) -> None:
    x = np.random.default_rng(0).standard_normal(100_003).astype(np.float32)  # the GIL is released here
    assert_same_bits(function(x)[-37:], function(x[-37:]))


X = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("x", "options", "error", "message"),
    [
        (np.ones(4, int), {}, TypeError, "x should be an array of float32 or float64, got: ndarray of int64"),
        (np.ones(4, np.float16), {}, TypeError, "x .*float16"),
        (np.ones(4, complex), {}, TypeError, "x .*complex128"),
        (np.ones(4, ">f4"), {}, TypeError, "x .*>f4"),
        (np.ma.array(X), {}, TypeError, "x .*MaskedArray"),
        ("abc", {}, TypeError, "x .*str"),
        (None, {}, TypeError, "x .*object"),
        (X, {"out": np.ones(5, np.float32)}, ValueError, r"out size \(4,\).*\(5,\)"),
        (X, {"out": np.ones((4, 1), np.float32)}, ValueError, r"out size \(4,\).*\(4, 1\)"),
        (X, {"out": np.ones(4)}, TypeError, "out should have dtype float32.*float64"),
        (X, {"out": [0.0] * 4}, TypeError, "out should be a numpy.ndarray, got: list"),
        (X, {"out": read_only(X)}, ValueError, "out is read-only"),
        (X, {"isa": "sse9"}, ValueError, "isa='sse9' is unknown or not supported"),
        (X, {"isa": 2}, TypeError, "isa should be the name .*int"),
    ],
)
@each_function
def test_bad_arguments_are_named(
    function: Callable[..., Array], x: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        function(x, **options)


@each_function
def test_partial_overlap_is_refused_and_changes_nothing(function: Callable[..., Array]) -> None:
    buffer = np.arange(10, dtype=np.float32)
    for x, out in ((buffer[:8], buffer[1:9]), (buffer[1:9], buffer[:8]), (buffer[:8], buffer[7::-1])):
        with pytest.raises(ValueError, match="out overlaps x"):
            function(x, out)
    np.testing.assert_array_equal(buffer, np.arange(10))
