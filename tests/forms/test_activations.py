"""The activations of other forms, one by one: error bounds, bits, infinities, slopes."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm import Form, reference
from fastlstm._forms import ACTIVATIONS, parameters
from tests.cases import ULPS, Array, assert_close
from tests.support import assert_same_bits, each_dtype, each_isa, ulps

Exact = Callable[[Array, Any, Any], Array]

EXACT: dict[str, Exact] = {
    "scaled_tanh": lambda x, a, b: a * np.tanh(b * x),
    "elu": lambda x, a, b: np.where(x < 0, a * np.expm1(x), x),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "softplus": lambda x, a, b: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "relu": lambda x, a, b: np.maximum(x, 0),
    "leaky_relu": lambda x, a, b: np.where(x < 0, a * x, x),
    "thresholded_relu": lambda x, a, b: np.where(x > a, x, 0),
}
BOUNDS = {"relu": "one rounding", "leaky_relu": "one rounding", "thresholded_relu": "one rounding"}
TRIED: tuple[Any, ...] = (
    *EXACT,
    ("leaky_relu", -0.3),
    ("thresholded_relu", -0.5),
    ("scaled_tanh", 1.7159, 2 / 3),
    ("elu", 0.7),
)
ALL: tuple[Any, ...] = (*ACTIVATIONS, *TRIED[len(EXACT) :], ("hard_sigmoid", -1 / 6, 0.5), ("affine", 1.7, -0.3))
each_of_all = pytest.mark.parametrize("activation", ALL, ids=str)


def held(activation: Any) -> Any:
    """Return an activation with all its parameters."""
    return Form(gate=activation).gate


def apply(activation: Any, x: Array, isa: str | None = None) -> Array:
    """Return an activation of many numbers: with i = 1 and c = 0, c' is that of z_g, and z_g is x."""
    form = Form(("affine", 0, 1), activation, "affine")
    cell = fastlstm.LSTMCell(1, 1, bias=False, dtype=x.dtype, isa=isa, form=form)
    weight = np.array([[0], [0], [1], [0]], x.dtype)
    cell.load_state_dict({"weight_ih": weight, "weight_hh": np.zeros_like(weight)})
    _, c = cell(x[:, np.newaxis])
    return c[:, 0]


def apply_to_bias(activation: Any, x: float, dtype: str, isa: str) -> Array:
    """Return an activation of one number that may be infinite: a bias meets no zero."""
    cell = fastlstm.LSTMCell(1, 1, dtype=dtype, isa=isa, form=Form(("affine", 0, 1), activation, "affine"))
    bias, zero = np.array([0, 0, x, 0], dtype), np.zeros((4, 1), dtype)
    cell.load_state_dict({"weight_ih": zero, "weight_hh": zero, "bias_ih": bias, "bias_hh": np.zeros(4, dtype)})
    return cell(np.zeros((1, 1), dtype))[1][0]


def sample(dtype: str) -> Array:
    """Return numbers of all sizes that matter."""
    rng = np.random.default_rng(0)
    plain = [rng.uniform(-size, size, 20_000) for size in (0.5, 1, 4, 20, 80)]
    small = np.ldexp(rng.uniform(-1, 1, 20_000), rng.integers(-40, 0, 20_000))
    return np.concatenate([*plain, small]).astype(dtype)


@each_isa
@each_dtype
@pytest.mark.parametrize("activation", TRIED, ids=str)
def test_error_is_within_its_bound(activation: Any, dtype: str, isa: str) -> None:
    if dtype == "float64" and np.finfo(np.longdouble).nmant < 63:
        pytest.skip("long double is no wider than float64 here")
    x = sample(dtype)
    name, alpha, beta = parameters(held(activation))
    wide = np.float64 if dtype == "float32" else np.longdouble
    exact = EXACT[name](x.astype(wide), wide(x.dtype.type(alpha)), wide(x.dtype.type(beta)))
    error = ulps(apply(activation, x, isa), exact)
    worst = int(np.argmax(error))
    bound = getattr(ULPS[BOUNDS.get(name, name)], dtype)
    assert error[worst] <= bound, f"{float(error[worst]):.4f} ULP at {float(x[worst]).hex()}, promised {bound}"


@each_isa
@each_dtype
@pytest.mark.parametrize(
    "activation", ["hard_sigmoid", "affine", ("hard_sigmoid", -1 / 6), ("affine", 1.7, -0.3)], ids=str
)
def test_a_sum_has_one_rounding(activation: Any, dtype: str, isa: str) -> None:
    x = sample(dtype)[::100]
    name, alpha, beta = parameters(held(activation))
    a, b = (Fraction(float(x.dtype.type(number))) for number in (alpha, beta))
    for one, got in zip(x.tolist(), apply(activation, x, isa), strict=True):
        exact = a * Fraction(one) + b
        if name == "hard_sigmoid":
            exact = max(Fraction(0), min(Fraction(1), exact))
        off = abs(Fraction(float(got)) - exact)
        assert off <= Fraction(getattr(ULPS["one rounding"], dtype)) * Fraction(float(np.spacing(abs(got)))), one


@each_dtype
@each_of_all
def test_instruction_sets_agree(activation: Any, dtype: str) -> None:
    x = sample(dtype)
    info = np.finfo(dtype)
    x[:8] = [0, -0.0, np.nan, info.max, -info.max, info.tiny, info.smallest_subnormal, -info.smallest_subnormal]
    expected = apply(activation, x, "scalar")
    for isa in fastlstm.isas():
        assert_same_bits(apply(activation, x, isa), expected, isa)
    np.testing.assert_array_equal(np.isnan(expected), np.isnan(x))


@each_isa
@each_dtype
@each_of_all
def test_infinities_and_nan_are_those_of_the_reference(activation: Any, dtype: str, isa: str) -> None:
    for x in (np.inf, -np.inf, np.nan):
        if held(activation) == "softsign" and np.isinf(x):
            expected = np.sign(x)  # the limit; the formula has infinity over infinity
        else:
            expected = float(reference.activate(held(activation), np.array(x)))
        got = apply_to_bias(activation, x, dtype, isa)
        np.testing.assert_array_equal(got, np.array([expected], dtype))


@each_isa
@each_dtype
@pytest.mark.parametrize("activation", [one for one in ALL if one != ("leaky_relu", -0.3)], ids=str)  # not trainable
def test_slopes_are_those_of_the_reference(activation: Any, dtype: str, isa: str) -> None:
    lstm = fastlstm.LSTM(1, 1, bias=False, dtype=dtype, isa=isa, form=Form(("affine", 0, 1), activation, "affine"))
    weight = np.array([[0], [0], [1], [0]], dtype)
    lstm.load_state_dict({"weight_ih_l0": weight, "weight_hh_l0": np.zeros_like(weight)})
    x = sample(dtype)[::7]
    output, _, tape = lstm.forward(x[np.newaxis, :, np.newaxis])
    got = lstm.backward(tape, np.ones_like(output)).input[0, :, 0]
    y = output[0, :, 0]
    assert_close(got, reference.slope(held(activation), y.astype("float64")), "gates, backward")


def test_a_scaled_tanh_of_zero_has_no_slope() -> None:
    lstm = fastlstm.LSTM(2, 3, form=Form(cell=("scaled_tanh", 0)), seed=0)
    output, _, tape = lstm.forward(np.ones((4, 2, 2), np.float32))
    assert not output.any()
    assert not any(gradient.any() for gradient in lstm.backward(tape, np.ones_like(output)).parameters.values())
