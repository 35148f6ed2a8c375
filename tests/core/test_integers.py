"""Matrices of 8 bits: their own arithmetic, written out in whole numbers, and the same bits whatever runs."""

import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.support import run_python

Array = np.ndarray[Any, Any]
WEIGHTS = ("int8", "int8-fast")
LIMITS = {"int8": 32639, "int8-fast": 64}
KINDS: tuple[dict[str, Any], ...] = (
    {"input_size": 7, "hidden_size": 19},
    {"input_size": 300, "hidden_size": 140, "num_layers": 2},
    {"input_size": 33, "hidden_size": 20, "num_layers": 2, "bidirectional": True},
    {"input_size": 5, "hidden_size": 70, "proj_size": 13, "num_layers": 3},
    {"input_size": 4, "hidden_size": 33, "form": fastlstm.Form(peepholes=True)},
    {"input_size": 260, "hidden_size": 8, "bias": False},
)


# ---- the arithmetic, once more -----------------------------------------------------------------------------------


def float32(exact: Fraction) -> np.float32:
    """Round once, to nearest, ties to even: through a float64 that is odd where it is not exact."""
    near = float(exact)
    if Fraction(near) != exact and int(np.float64(near).view(np.int64)) % 2 == 0:
        near = float(np.nextafter(near, np.inf if Fraction(near) < exact else -np.inf))
    return np.float32(near)


def integers_of(matrix: Array) -> tuple[Array, Array]:
    """Return whole numbers and the scale of each row."""
    scales = np.ones(len(matrix), np.float32)
    values = np.zeros(matrix.shape, np.int64)
    for row, scale in enumerate(np.abs(matrix).max(axis=1) / np.float32(127)):
        if np.abs(matrix[row]).max() < np.float32(2.0**-100):
            continue
        mantissa, exponent = np.frexp(np.float64(scale))  # up, to 16 bits
        scales[row] = np.ldexp(np.ceil(np.ldexp(mantissa, 16)), exponent - 16)
        values[row] = np.rint(matrix[row] / scales[row])
    return values, scales


def part_of(x: Array, matrix: tuple[Array, Array], limit: int, start: Array) -> Array:
    """W x, or U h, of one row, with what it starts from; W is whole numbers and scales."""
    values, scales = matrix
    largest = np.abs(x).max()
    factor = np.float32(limit) / largest if largest >= np.float32(2.0**-100) else np.float32(0)
    scale = largest / np.float32(limit) if factor else np.float32(0)
    q = np.rint(x * factor).astype(np.int64)
    out = np.zeros(len(values), np.float32)
    for unit in range(len(values)):
        total = np.float32(0)
        for k in range(0, len(x), 256):
            total = total + np.float32(int(values[unit, k : k + 256] @ q[k : k + 256]))
        out[unit] = float32(
            Fraction(float(total * scale)) * Fraction(float(scales[unit])) + Fraction(float(start[unit]))
        )
    return out


def plain_step(
    ih: tuple[Array, Array], hh: tuple[Array, Array], bias: Array, x: Array, h: Array, c: Array, limit: int
) -> tuple[Array, Array]:
    """One step of a layer with one direction; the gates are the package's own, of the sum."""
    rows = [
        part_of(row, ih, limit, bias) + part_of(state, hh, limit, np.zeros_like(bias))
        for row, state in zip(x, h, strict=True)
    ]
    return fastlstm.gates_forward(np.array(rows), c)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("sizes", [(5, 3), (300, 9), (257, 4), (3, 17)])
def test_the_arithmetic_in_whole_numbers(weights: str, sizes: tuple[int, int]) -> None:
    lstm = fastlstm.LSTM(*sizes, seed=3)
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((4, 3, sizes[0])) * np.array([[[1e-3], [1.0], [1e6]]])).astype(np.float32)
    x[1, 0] = 0
    x[2, 1] *= np.float32(2.0**-110)
    h, c = (rng.standard_normal((3, sizes[1])).astype(np.float32) * 3 for _ in range(2))
    found, (h_n, c_n) = lstm.astype(weights=weights)(x, (h[np.newaxis], c[np.newaxis]))
    ih, hh = integers_of(lstm.weight_ih_l0), integers_of(lstm.weight_hh_l0)
    for t, step in enumerate(x):
        h, c = plain_step(ih, hh, lstm.bias_ih_l0 + lstm.bias_hh_l0 + np.float32(0), step, h, c, LIMITS[weights])
        np.testing.assert_array_equal(found[t], h, strict=True)
    np.testing.assert_array_equal(h_n[0], h, strict=True)
    np.testing.assert_array_equal(c_n[0], c, strict=True)


def test_rounding_weights() -> None:
    lstm = fastlstm.LSTM(300, 30, seed=0)
    state = {name: array.copy() for name, array in lstm.state_dict().items()}
    state["weight_ih_l0"][4] = 0
    state["weight_ih_l0"][5] = np.float32(2.0**-120)
    state["weight_ih_l0"][6] *= np.float32(1e30)
    lstm.load_state_dict(state)
    made = lstm.astype(weights="int8").weight_ih_l0
    values, scales = integers_of(state["weight_ih_l0"])
    np.testing.assert_array_equal(made, (values * scales[:, None].astype(np.float64)).astype(np.float32), strict=True)
    assert np.array_equal(made.astype(np.float64), values * scales[:, None].astype(np.float64))  # exact
    assert np.abs(values).max(axis=1)[[0, 1, 2, 6]].tolist() == [127] * 4
    assert not made[4:6].any()
    error, largest = np.abs(made - state["weight_ih_l0"]), np.abs(state["weight_ih_l0"]).max(axis=1, keepdims=True)
    assert (error <= largest / 253)[largest[:, 0] != np.float32(2.0**-120)].all()


# ---- integers from elsewhere -------------------------------------------------------------------------------------


def given(kind: str, sizes: tuple[int, int], dtype: Any) -> dict[str, Any]:
    """Draw a state dict as other libraries quantise: per tensor or per row, with zero points or without."""
    rng = np.random.default_rng(7)
    limits = np.iinfo(dtype)
    state: dict[str, Any] = {}
    for name, columns in zip(("weight_ih_l0", "weight_hh_l0"), sizes, strict=True):
        rows = 4 * sizes[1]
        state[name] = rng.integers(limits.min, limits.max + 1, (rows, columns)).astype(dtype)
        per_row = kind == "rows"
        state[f"{name}_scale"] = rng.uniform(1e-3, 3e-3, rows if per_row else ()).astype(np.float32)
        if kind != "no zero points":
            zeros = rng.integers(limits.min, limits.max + 1, rows if per_row else 1)
            state[f"{name}_zero_point"] = zeros.astype(dtype)
    for name in ("bias_ih_l0", "bias_hh_l0"):
        state[name] = rng.standard_normal(4 * sizes[1]).astype(np.float32)
    return state


def whole(state: dict[str, Any], name: str) -> tuple[Array, Array]:
    """Return the whole numbers that are multiplied, and the scales of the rows."""
    values = state[name].astype(np.int64)
    zeros = np.broadcast_to(np.asarray(state.get(f"{name}_zero_point", 0), np.int64), len(values))
    return values - zeros[:, np.newaxis], np.broadcast_to(state[f"{name}_scale"], len(values))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("kind", ["rows", "tensor", "no zero points"])
@pytest.mark.parametrize("sizes", [(5, 3), (259, 9)])
def test_the_arithmetic_with_integers_from_elsewhere(
    weights: str, dtype: Any, kind: str, sizes: tuple[int, int]
) -> None:
    state = given(kind, sizes, dtype)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 2, sizes[0])).astype(np.float32)
    h, c = (rng.standard_normal((2, sizes[1])).astype(np.float32) for _ in range(2))
    ih, hh = whole(state, "weight_ih_l0"), whole(state, "weight_hh_l0")
    expected, h_t, c_t = [], h, c
    for step in x:
        bias = state["bias_ih_l0"] + state["bias_hh_l0"] + np.float32(0)
        h_t, c_t = plain_step(ih, hh, bias, step, h_t, c_t, LIMITS[weights])
        expected.append(h_t)
    for isa in fastlstm.isas(weights=weights):
        lstm = fastlstm.LSTM(*sizes, weights=weights, isa=isa)
        lstm.load_state_dict(state)
        for layer in (lstm, pickle.loads(pickle.dumps(lstm))):
            np.testing.assert_array_equal(layer(x, (h[None], c[None]))[0], expected, err_msg=isa)
    for name, (values, scales) in (("weight_ih_l0", ih), ("weight_hh_l0", hh)):
        np.testing.assert_array_equal(
            getattr(lstm, name), (values * scales[:, None].astype(np.float64)).astype(np.float32)
        )


def test_a_state_dict_of_integers_and_back() -> None:
    lstm, x = fastlstm.LSTM(20, 9, proj_size=4, weights="int8", seed=0), inputs({"input_size": 20})
    state = lstm.state_dict()
    assert {name for name in state if state[name].dtype == np.int8} == {"weight_ih_l0", "weight_hh_l0", "weight_hr_l0"}
    assert "weight_ih_l0_zero_point" not in state
    for name in ("weight_ih_l0", "weight_hh_l0", "weight_hr_l0"):
        stands_for = state[name] * state[f"{name}_scale"][:, np.newaxis]
        np.testing.assert_array_equal(getattr(lstm, name), stands_for, strict=True)
    again = fastlstm.LSTM(20, 9, proj_size=4, weights="int8")
    again.load_state_dict(state)
    assert again.fingerprint() == lstm.fingerprint()
    np.testing.assert_array_equal(again(x)[0], lstm(x)[0])
    plain = fastlstm.LSTM(20, 9, proj_size=4)
    plain.load_state_dict(state)  # what they stand for
    np.testing.assert_array_equal(plain.weight_ih_l0, lstm.weight_ih_l0, strict=True)
    assert plain.state_dict()["weight_ih_l0"].dtype == np.float32
    fast = lstm.astype(weights="int8-fast")
    assert all(np.array_equal(fast.state_dict()[name], array) for name, array in state.items())


def test_integers_with_zero_points_stay_as_they_came() -> None:
    state = given("rows", (6, 5), np.uint8)
    lstm = fastlstm.LSTM(6, 5, weights="int8")
    lstm.load_state_dict(state)
    for made in (lstm, lstm.astype(weights="int8-fast"), pickle.loads(pickle.dumps(lstm))):
        kept = made.state_dict()
        for name in ("weight_ih_l0", "weight_ih_l0_zero_point"):  # the same distances, in int8
            np.testing.assert_array_equal(kept[name], (state[name].astype(np.int16) - 128).astype(np.int8), strict=True)
        np.testing.assert_array_equal(kept["weight_ih_l0_scale"], state["weight_ih_l0_scale"], strict=True)
    assert not any(array.flags.writeable for array in lstm.state_dict().values())
    state["weight_ih_l0"][:] = 0
    assert lstm.state_dict()["weight_ih_l0"].any()  # a copy
    other = dict(lstm.state_dict(), weight_ih_l0_zero_point=lstm.state_dict()["weight_ih_l0_zero_point"][::-1])
    before = lstm.fingerprint()
    lstm.load_state_dict(other)
    assert lstm.fingerprint() != before


WRONG: tuple[tuple[dict[str, Any], str], ...] = (
    ({"weight_ih_l0_scale": np.float32(0)}, "weight_ih_l0_scale should be finite and greater than zero, got: 0.0"),
    ({"weight_ih_l0_scale": np.float32(-1)}, "greater than zero, got: -1.0"),
    ({"weight_ih_l0_scale": np.full(20, np.nan, np.float32)}, "greater than zero, got: nan for row 0"),
    ({"weight_ih_l0_scale": np.float32(3e38)}, "weight_ih_l0_scale is too large"),
    (
        {"weight_ih_l0_scale": np.ones(5, np.float32)},
        r"should have shape \(\) or \(20,\), one for each row, got: \(5,\)",
    ),
    ({"weight_ih_l0_scale": np.ones((20, 2), np.float32)}, r"got: \(20, 2\)"),
    ({"weight_ih_l0_scale": np.ones((1, 20), np.float32)}, r"got: \(1, 20\)"),
    ({"weight_ih_l0_scale": np.ones(20, np.int64)}, "weight_ih_l0_scale should be of floats, got: int64"),
    ({"weight_ih_l0_scale": np.full(20, 1e300)}, "greater than zero, got: inf for row 0"),
    ({"weight_ih_l0_scale": np.float32(-0.0)}, "greater than zero, got: -0.0"),
    ({"weight_ih_l0_zero_point": 256}, r"weight_ih_l0_zero_point should be in 0..255, as uint8 is, got: 256"),
    ({"weight_ih_l0_zero_point": -1}, "got: -1"),
    ({"weight_ih_l0_zero_point": 1.0}, "weight_ih_l0_zero_point should be of integers, got: float64"),
    ({"weight_ih_l0_zero_point": np.zeros(3, np.uint8)}, r"got: \(3,\)"),
    ({"weight_ih_l0": np.zeros((20, 6), np.int16)}, "weight_ih_l0 should have dtype int8 or uint8, got: int16"),
    ({"weight_ih_l0": np.zeros((20, 7), np.int8)}, r"Expected weight_ih_l0 size \(20, 6\)"),
    ({"bias_ih_l0_scale": np.float32(1)}, "unexpected: bias_ih_l0_scale"),
    ({"weight_ih_l0_scales": np.float32(1)}, "unexpected: weight_ih_l0_scales"),
)


@pytest.mark.parametrize(("change", "message"), WRONG)
@pytest.mark.parametrize("weights", ["int8", "float32"])
def test_integers_that_cannot_be(weights: str, change: dict[str, Any], message: str) -> None:
    lstm, x = fastlstm.LSTM(6, 5, weights=weights, seed=0), inputs({"input_size": 6})
    before = lstm(x)[0]
    with pytest.raises((ValueError, TypeError), match=message):
        lstm.load_state_dict(given("tensor", (6, 5), np.uint8) | change)
    np.testing.assert_array_equal(lstm(x)[0], before)


def test_integers_of_any_layout_and_scales_of_float64() -> None:
    state = given("rows", (6, 5), np.uint8)
    expected = fastlstm.LSTM(6, 5, weights="int8")
    expected.load_state_dict(state)
    wide = {name: array.astype(np.float64) if name.endswith("_scale") else array for name, array in state.items()}
    twice = {name: np.repeat(array, 2, -1)[..., ::2] for name, array in state.items()}
    for other in (wide, twice, {name: np.asfortranarray(array) for name, array in state.items()}):
        lstm = fastlstm.LSTM(6, 5, weights="int8")
        lstm.load_state_dict(other)
        assert lstm.fingerprint() == expected.fingerprint()


def test_rounding_under_errors_that_are_raised() -> None:
    lstm = fastlstm.LSTM(6, 5, seed=0)
    state = {name: array.copy() for name, array in lstm.state_dict().items()}
    state["weight_ih_l0"][0, 0] = np.float32(1e-44)
    lstm.load_state_dict(state)
    with np.errstate(all="raise"):
        for weights in WEIGHTS:
            assert np.isfinite(lstm.astype(weights=weights).weight_ih_l0).all()


@pytest.mark.parametrize("cell", [False, True])
def test_names_of_cells_and_reverse_directions(cell: bool) -> None:
    layer: Any = fastlstm.LSTMCell(6, 5, weights="int8", seed=0)
    if not cell:
        layer = fastlstm.LSTM(6, 5, 2, bidirectional=True, weights="int8", seed=0)
    state = dict(layer.state_dict())
    matrices = [name for name in state if name.startswith("weight") and not name.endswith("_scale")]
    assert len(matrices) == (2 if cell else 8)
    for name in matrices:
        state[f"{name}_zero_point"] = np.int64(3)
    layer.load_state_dict(state)
    for name in matrices:
        stands_for = (state[name].astype(np.float32) - 3) * state[f"{name}_scale"][:, np.newaxis]
        np.testing.assert_array_equal(getattr(layer, name), stands_for, strict=True)
        np.testing.assert_array_equal(layer.state_dict()[f"{name}_zero_point"], np.full(20, 3, np.int8), strict=True)


def test_integers_without_a_scale_or_for_float64() -> None:
    state = given("tensor", (6, 5), np.uint8)
    with pytest.raises(ValueError, match="weight_hh_l0 is of integers, which are for layers of float32"):
        fastlstm.LSTM(6, 5, dtype="float64").load_state_dict(
            {n: a for n, a in state.items() if "weight_ih_l0_" not in n} | {"weight_ih_l0": np.zeros((20, 6))}
        )
    del state["weight_hh_l0_scale"], state["weight_hh_l0_zero_point"]
    with pytest.raises(ValueError, match="weight_hh_l0 is of uint8, which needs weight_hh_l0_scale"):
        fastlstm.LSTM(6, 5, weights="int8").load_state_dict(state)


def test_a_row_of_no_distance_may_have_any_scale() -> None:
    state = given("rows", (6, 5), np.uint8)
    state["weight_ih_l0"][3] = state["weight_ih_l0_zero_point"][3]
    state["weight_ih_l0_scale"][3] = 0
    for weights in ("int8", "float32"):
        lstm = fastlstm.LSTM(6, 5, weights=weights)
        lstm.load_state_dict(state)
        assert not lstm.weight_ih_l0[3].any()
        assert np.isfinite(lstm(inputs({"input_size": 6}))[0]).all()


# ---- the same bits, whatever runs --------------------------------------------------------------------------------


def made(kind: dict[str, Any], weights: str, **rest: Any) -> Any:
    return fastlstm.LSTM(**kind, weights=weights, seed=0, **rest)


def inputs(kind: dict[str, Any], T: int = 9, B: int = 7) -> Array:
    return np.random.default_rng(0).standard_normal((T, B, kind["input_size"])).astype(np.float32)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_same_bits(weights: str, kind: dict[str, Any]) -> None:
    lstm, x = made(kind, weights), inputs(kind)
    y, (h_n, c_n) = lstm(x)
    for isa in fastlstm.isas(weights=weights):
        forced = made(kind, weights, isa=isa)
        assert forced.isa == isa
        np.testing.assert_array_equal(forced(x)[0], y, err_msg=isa)
    for row in range(x.shape[1]):
        np.testing.assert_array_equal(lstm(x[:, row : row + 1])[0], y[:, row : row + 1])
    for threads in (2, 3):
        np.testing.assert_array_equal(made(kind, weights, threads=threads)(x)[0], y)
    lengths = [9, 0, 4, 9, 1, 2, 8]
    padded, _ = lstm(x, lengths=lengths)
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(padded[:length, row], lstm(x[:length, row])[0])
    many = np.tile(x, (1, 30, 1))
    np.testing.assert_array_equal(lstm(many)[0], np.tile(y, (1, 30, 1)))
    embedding = inputs(kind, 11, 1)[:, 0]
    ids = np.random.default_rng(1).integers(0, 11, (4, 3))
    np.testing.assert_array_equal(lstm(ids, table=lstm.table(embedding))[0], lstm(embedding[ids])[0])
    if not lstm.bidirectional:
        state: Any = None
        for first, last in ((0, 1), (1, 5), (5, 9)):
            part, state = lstm(x[first:last], state)
            np.testing.assert_array_equal(part, y[first:last])
        np.testing.assert_array_equal(state[0], h_n)
        np.testing.assert_array_equal(state[1], c_n)
        step_by_step(lstm, x, y)


def step_by_step(lstm: Any, x: Array, y: Array) -> None:
    stream, pool, window = lstm.stream(x.shape[1]), lstm.pool(9), lstm.window(4)
    ids = [pool.open() for _ in range(x.shape[1])]
    for t, step in enumerate(x):
        if t % 2:
            stream.advance()
            pool.advance(ids[::2])
        np.testing.assert_array_equal(stream.step(step), y[t])
        np.testing.assert_array_equal(pool.step(ids, step), y[t])
        full = window.push(step[0])
        if full is not None and t >= 3:
            np.testing.assert_array_equal(full, lstm(x[t - 3 : t + 1, 0])[0][-1])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_cell(weights: str) -> None:
    cell = fastlstm.LSTMCell(6, 11, weights=weights, seed=0)
    layer = fastlstm.LSTM(6, 11, weights=weights)
    state = cell.state_dict()
    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    layer.load_state_dict(
        {name.replace(part, f"{part}_l0"): state[name] for part in parts for name in state if part in name}
    )
    x = np.random.default_rng(0).standard_normal((3, 6)).astype(np.float32)
    h, c = cell(x)
    y, (_, c_n) = layer(x[np.newaxis])
    np.testing.assert_array_equal(h, y[0])
    np.testing.assert_array_equal(c, c_n[0])


# ---- corners -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("isa", fastlstm.isas(weights="int8"))
def test_a_row_that_is_not_finite_is_alone_with_it(weights: str, isa: str) -> None:
    lstm = fastlstm.LSTM(9, 21, weights=weights, seed=0, isa=isa)
    x = inputs({"input_size": 9})
    y, _ = lstm(x)
    for bad in (np.nan, np.inf, -np.inf):
        for column in range(9):
            broken = x.copy()
            broken[3, 2, column] = bad
            found, (h_n, c_n) = lstm(broken)
            assert np.isnan(found[3:, 2]).all()
            assert np.isnan([h_n[0, 2], c_n[0, 2]]).all()
            np.testing.assert_array_equal(np.delete(found, 2, axis=1), np.delete(y, 2, axis=1))
            np.testing.assert_array_equal(found[:3, 2], y[:3, 2])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_extremes(weights: str) -> None:
    lstm = fastlstm.LSTM(600, 5, weights=weights)
    state = {name: np.ones_like(array) for name, array in fastlstm.LSTM(600, 5).state_dict().items()}
    state["weight_ih_l0"][:] = -1e30
    lstm.load_state_dict(state)
    largest = np.finfo(np.float32).max
    answers = [fastlstm.LSTM(600, 5, weights=weights, isa=isa) for isa in fastlstm.isas(weights=weights)]
    for value in (largest, -largest, np.float32(1e-45), np.float32(2.0**-100), np.float32(-0.0)):
        x = np.full((2, 3, 600), value, np.float32)
        expected = lstm(x)[0]
        assert not np.isnan(expected).any()
        for other in answers:
            other.load_state_dict(state)
            np.testing.assert_array_equal(other(x)[0], expected)


def test_what_it_is_for() -> None:
    lstm = fastlstm.LSTM(64, 128, seed=0)
    x = inputs({"input_size": 64}, T=40)
    exact = lstm(x)[0]
    accurate, fast = (np.abs(lstm.astype(weights=name)(x)[0] - exact).max() for name in WEIGHTS)
    assert 0 < accurate < fast < 0.02
    rounded = fastlstm.LSTM(64, 128)
    rounded.load_state_dict(lstm.astype(weights="int8").state_dict())  # the same weights in float32
    error = np.abs(lstm.astype(weights="int8")(x)[0] - rounded(x)[0]).max()
    assert error < accurate / 20  # 16 bits of x and h cost next to nothing
    assert lstm.astype(weights="int8")._plan.nbytes < lstm._plan.nbytes / 3


@pytest.mark.parametrize("weights", WEIGHTS)
def test_back_and_forth(weights: str) -> None:
    lstm = fastlstm.LSTM(31, 17, num_layers=2, seed=0)
    small, x = lstm.astype(weights=weights), inputs({"input_size": 31})
    assert (small.weights, small.dtype) == (weights, np.float32)
    y = small(x)[0]
    plain = small.astype(weights="float32")
    for name, array in plain.state_dict().items():
        np.testing.assert_array_equal(array, getattr(small, name), strict=True)
    np.testing.assert_array_equal(plain.astype(weights=weights)(x)[0], y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(small))(x)[0], y)
    with pytest.raises(ValueError, match="for inference"):
        small.forward(x)


@pytest.mark.parametrize("isa", fastlstm.isas(weights="int8"))
def test_the_environment_forces_an_instruction_set(isa: str) -> None:
    script = """
import fastlstm
print(fastlstm.isa(), fastlstm.LSTM(4, 3).isa, fastlstm.LSTM(4, 3, weights="int8").isa)
fastlstm.show_config()
"""
    names, *lines = run_python(script, FASTLSTM_ISA=isa, FASTLSTM_HIDE="").splitlines()
    assert names.split() == [isa] * 3
    assert [line.split()[1] for line in lines if line.startswith("  * ")] == [isa]


PERMISSION = """
import ctypes
import fastlstm

libc = ctypes.CDLL(None)

def has_tiles():
    known = ctypes.c_uint64()
    assert libc.syscall(158, 0x1022, ctypes.byref(known)) == 0  # arch_prctl(ARCH_GET_XCOMP_PERM)
    return bool(known.value >> 18 & 1)

class Stack(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
"""


@pytest.mark.skipif("amx" not in fastlstm.isas(weights="int8"), reason="no AMX here")
def test_amx_is_asked_for_where_it_is_named_alone() -> None:
    script = """
fastlstm.LSTM(4, 3, weights="int8"), fastlstm.isas(weights="int8"), fastlstm.show_config()
before = has_tiles()
print(before, fastlstm.LSTM(4, 3, weights="int8", isa="amx").isa, has_tiles())
"""
    assert run_python(PERMISSION + script, FASTLSTM_ISA="").splitlines()[-1] == "False amx True"


@pytest.mark.skipif("amx" not in fastlstm.isas(weights="int8"), reason="no AMX here")
def test_amx_that_the_system_refuses_is_an_error() -> None:
    script = """
memory = ctypes.create_string_buffer(4096)  # a stack for signals that is too small for tiles
assert libc.sigaltstack(ctypes.byref(Stack(ctypes.addressof(memory), 0, len(memory))), None) == 0
try:
    fastlstm.LSTM(4, 3, weights="int8", isa="amx")
except ValueError as error:
    print(error)
print(has_tiles(), fastlstm.LSTM(4, 3, weights="int8").isa != "amx")
"""
    *said, after = run_python(PERMISSION + script, FASTLSTM_ISA="").splitlines()
    assert said == ["unknown instruction set, or one that the CPU lacks or the system refuses"]
    assert after == "False True"


def test_instruction_sets_for_unknown_weights() -> None:
    assert fastlstm.isas(weights="float16") == fastlstm.isas(weights="float32") == fastlstm.isas()
    with pytest.raises(ValueError, match=r"weights should be one of 'float32', .*'int8-fast', got: 'int4'"):
        fastlstm.isas(weights="int4")
    with pytest.raises(TypeError, match="weights should be a name such as 'float16', got: int"):
        fastlstm.isas(weights=8)  # type: ignore[arg-type]
    supported = ", ".join(fastlstm.isas(weights="int8"))
    with pytest.raises(ValueError, match=f"isa='mmx' is unknown or not supported by this CPU; supported: {supported}$"):
        fastlstm.LSTM(4, 3, isa="mmx")


def to_int8(state: dict[str, Array]) -> Any:
    lstm = fastlstm.LSTM(3, 4)
    lstm.load_state_dict(state)
    return lstm.astype(weights="int8")


def test_bad_input() -> None:
    with pytest.raises(
        ValueError, match="weights should be one of 'float32', 'float16', 'bfloat16', 'int8', 'int8-fast'"
    ):
        fastlstm.LSTM(3, 4, weights="int4")
    with pytest.raises(ValueError, match="float32"):
        fastlstm.LSTM(3, 4, weights="int8", dtype="float64")
    state = {name: array.copy() for name, array in fastlstm.LSTM(3, 4, seed=0).state_dict().items()}
    state["weight_hh_l0"][2, 1] = np.nan
    with pytest.raises(ValueError, match="weight_hh_l0 has nan"):
        fastlstm.LSTM(3, 4, weights="int8").load_state_dict(state)
    state["weight_hh_l0"][2, 1] = -np.finfo(np.float32).max  # 127 times its scale, rounded up, is infinite
    for make in (lambda s: fastlstm.LSTM(3, 4, weights="int8").load_state_dict(s), to_int8):
        with pytest.raises(
            ValueError, match=r"weight_hh_l0 has -3.4028\d*e\+38, which does not fit in int8, up to 3.4028e38"
        ):
            make(state)
    state["weight_hh_l0"][2, 1] = np.float32(-3.4028e38)
    assert np.isfinite(to_int8(state).weight_hh_l0).all()
    with pytest.raises(ValueError, match="at most 16384 inputs and units of a layer, got: 16385"):
        fastlstm.LSTM(16385, 1, weights="int8")
