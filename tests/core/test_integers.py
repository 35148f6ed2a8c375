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


def part_of(x: Array, matrix: Array, limit: int, start: Array) -> Array:
    """W x, or U h, of one row, with what it starts from."""
    values, scales = integers_of(matrix)
    largest = np.abs(x).max()
    factor = np.float32(limit) / largest if largest >= np.float32(2.0**-100) else np.float32(0)
    scale = largest / np.float32(limit) if factor else np.float32(0)
    q = np.rint(x * factor).astype(np.int64)
    out = np.zeros(len(matrix), np.float32)
    for unit in range(len(matrix)):
        total = np.float32(0)
        for k in range(0, len(x), 256):
            total = total + np.float32(int(values[unit, k : k + 256] @ q[k : k + 256]))
        out[unit] = float32(
            Fraction(float(total * scale)) * Fraction(float(scales[unit])) + Fraction(float(start[unit]))
        )
    return out


def plain_step(lstm: Any, x: Array, h: Array, c: Array, limit: int) -> tuple[Array, Array]:
    """One step of a layer with one direction; the gates are the package's own, of the sum."""
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0 + np.float32(0)
    rows = [
        part_of(row, lstm.weight_ih_l0, limit, bias) + part_of(state, lstm.weight_hh_l0, limit, np.zeros_like(bias))
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
    for t, step in enumerate(x):
        h, c = plain_step(lstm, step, h, c, LIMITS[weights])
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
    layer.load_state_dict({f"{name}_l0": array for name, array in cell.state_dict().items()})
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
    state = {name: np.ones_like(array) for name, array in lstm.state_dict().items()}
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
        np.testing.assert_array_equal(array, small.state_dict()[name], strict=True)
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
