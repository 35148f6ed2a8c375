"""Inputs that are zero are skipped: the bits of looking at every one, and NaN where that gives NaN."""

import itertools
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import Array
from tests.support import assert_same_bits, each_dtype, each_isa

FRACTIONS = (0.0, 0.3, 0.6, 0.75, 0.9, 1.0)
SIZES = pytest.mark.parametrize(("I", "H"), [(5, 9), (40, 56), (131, 33), (300, 16)], ids=lambda size: str(size))


def inputs(shape: tuple[int, ...], zeros: float, dtype: str, seed: int = 0) -> Array:
    """Numbers, some of them tiny, with so many zeros of either sign."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    x *= np.where(rng.random(shape) < 0.1, np.finfo(dtype).smallest_subnormal, 1)
    x *= rng.random(shape) >= zeros
    return (x * rng.choice((1, -1), shape)).astype(dtype)


def with_tiny_weights(lstm: fastlstm.LSTM) -> fastlstm.LSTM:
    """So small that products underflow, to zeros of either sign; some of a bias are zero."""
    rng = np.random.default_rng(1)
    state = {name: w.copy() for name, w in lstm.state_dict().items()}
    for name in state:
        if "weight_ih" in name:
            state[name] *= np.where(rng.random(state[name].shape) < 0.3, 1e-30, 1).astype(state[name].dtype)
        if "bias" in name:
            state[name][::3] = -0.0
    lstm.load_state_dict(state)
    return lstm


class Dense:
    """The same layer without any skipping: one unit more, which has an infinite weight.

    That unit becomes NaN or infinite; it is set to zero after every step, and the other units see none of it.
    """

    def __init__(self, lstm: fastlstm.LSTM, suffix: str = "_l0") -> None:
        """Of a layer, or one direction of it."""
        H, I = lstm.hidden_size, lstm.input_size
        dtype = np.dtype(lstm.dtype)
        widened: dict[str, Array] = {}
        for kind, width in (("weight_ih", I), ("weight_hh", H), ("bias_ih", 0), ("bias_hh", 0)):
            w = lstm.state_dict()[kind + suffix].reshape(4, H, -1)
            wide = np.zeros((4, H + 1, w.shape[2] + (kind == "weight_hh")), dtype)
            wide[:, :H, : w.shape[2]] = w
            if kind == "weight_ih":
                wide[:, H, 0] = np.inf
            widened[f"{kind}_l0"] = wide.reshape(4 * (H + 1), -1) if width else wide.reshape(-1)
        self.lstm = fastlstm.LSTM(I, H + 1, dtype=lstm.dtype, isa=lstm.isa)
        self.lstm.load_state_dict(widened)

    def __call__(self, x: Array, resets: Array | None = None) -> Array:
        """Its outputs, step by step."""
        H = self.lstm.hidden_size - 1
        h, c = (np.zeros((1, x.shape[1], H + 1), x.dtype) for _ in range(2))
        y = np.empty((*x.shape[:2], H), x.dtype)
        for t in range(len(x)):
            if resets is not None:
                h[:, resets[t]] = c[:, resets[t]] = 0
            _, states = self.lstm(x[t : t + 1], (h, c))
            h, c = (np.array(state) for state in states)
            h[..., H] = c[..., H] = 0
            y[t] = h[0, :, :H]
        return y


@each_isa
@each_dtype
@SIZES
def test_every_way_gives_the_bits_of_looking_at_every_input(I: int, H: int, dtype: str, isa: str) -> None:
    lstm = with_tiny_weights(fastlstm.LSTM(I, H, seed=0, dtype=dtype, isa=isa))
    cell = fastlstm.LSTMCell(I, H, dtype=dtype, isa=isa)
    cell.load_state_dict({name.removesuffix("_l0"): w for name, w in lstm.state_dict().items()})
    dense = Dense(lstm)
    for B, zeros in [*itertools.product((1, 3, 15), FRACTIONS), (70, 0.75)]:
        x = inputs((4, B, I), zeros, dtype, seed=B)
        if zeros == FRACTIONS[-2]:  # some rows in company of others
            x[:, ::3] = inputs(x[:, ::3].shape, 0, dtype)
        expected = dense(x)
        assert_same_bits(lstm(x)[0], expected, f"sequence {B} {zeros}")
        y, _, _ = lstm.forward(x)
        assert_same_bits(y, expected, f"training {B} {zeros}")
        stream, pool = lstm.stream(B), lstm.pool(B)
        ids = [pool.open() for _ in range(B)]
        state: Any = None
        for t in range(2):
            assert_same_bits(stream.step(x[t]), expected[t], f"stream {B} {zeros}")
            assert_same_bits(pool.step(ids, x[t]), expected[t], f"sessions {B} {zeros}")
            state = cell(x[t], state)
            assert_same_bits(state[0], expected[t], f"cell {B} {zeros}")


@each_isa
@each_dtype
@pytest.mark.parametrize("threads", [1, 2])
def test_lengths_resets_and_directions(threads: int, dtype: str, isa: str) -> None:
    T, B, I, H = 20, 4, 130, 40
    rng = np.random.default_rng(0)
    lstm = with_tiny_weights(fastlstm.LSTM(I, H, seed=0, dtype=dtype, isa=isa, threads=threads))
    both = with_tiny_weights(fastlstm.LSTM(I, H, seed=0, bidirectional=True, dtype=dtype, isa=isa, threads=threads))
    lengths, resets = np.array([20, 0, 7, 19]), rng.random((T, B)) < 0.2
    for zeros in FRACTIONS:
        x = inputs((T, B, I), zeros, dtype)
        y = lstm(x, lengths=lengths)[0]
        expected = Dense(lstm)(x)
        for b, length in enumerate(lengths):
            assert_same_bits(y[:length, b], expected[:length, b], f"length {length}, {zeros}")
        assert_same_bits(lstm(x, resets=resets)[0], Dense(lstm)(x, resets), f"resets {zeros}")
        forth, back = Dense(both)(x), Dense(both, "_l0_reverse")(x[::-1])[::-1]
        assert_same_bits(both(x)[0], np.concatenate((forth, back), axis=2), f"both directions {zeros}")


@each_isa
@each_dtype
def test_windows(dtype: str, isa: str) -> None:
    lstm = with_tiny_weights(fastlstm.LSTM(64, 64, seed=0, dtype=dtype, isa=isa))
    for zeros in FRACTIONS:
        x = inputs((6, 64), zeros, dtype)
        window = lstm.window(3)
        for t in range(len(x)):
            answer = Dense(lstm)(x[max(0, t - 2) : t + 1, None])[-1, 0]
            assert_same_bits(window.push(x[t]), answer, f"{t} {zeros}")
            if t % 2:
                window.advance()


@each_isa
@each_dtype
@pytest.mark.parametrize("B", [1, 3, 20])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_meets_its_zeros(value: float, B: int, dtype: str, isa: str) -> None:
    I, H = 64, 64
    lstm = fastlstm.LSTM(I, H, seed=0, dtype=dtype, isa=isa)
    x = inputs((2, B, I), 0.9, dtype)
    x[..., 5] = 0
    clean = lstm(x)[0]
    state = {name: w.copy() for name, w in lstm.state_dict().items()}
    state["weight_ih_l0"][3, 5] = value  # of unit 3's input gate
    lstm.load_state_dict(state)
    y = lstm(x)[0]
    assert np.isnan(y[0, :, 3]).all()
    assert np.isnan(y[1]).all()  # every unit reads the third one's state
    assert_same_bits(np.delete(y[0], 3, axis=1), np.delete(clean[0], 3, axis=1))


@each_isa
@each_dtype
@pytest.mark.parametrize("B", [1, 3, 20])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_input_that_is_no_number_is_none_of_the_zeros(value: float, B: int, dtype: str, isa: str) -> None:
    lstm = with_tiny_weights(fastlstm.LSTM(64, 64, seed=0, dtype=dtype, isa=isa))
    for zeros in FRACTIONS:
        x = inputs((2, B, 64), zeros, dtype)
        x[0, -1, 7] = value
        with np.errstate(invalid="ignore"):
            assert_same_bits(lstm(x)[0], Dense(lstm)(x))
