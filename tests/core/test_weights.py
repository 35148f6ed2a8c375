"""Matrices in 16 bits: the bits of the float32 layer that holds the rounded weights, whatever runs."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm._weights import is_stored

WEIGHTS = ("float16", "bfloat16")
KINDS = (
    {"num_layers": 2},
    {"bidirectional": True, "num_layers": 2},
    {"proj_size": 5},
    {"form": fastlstm.Form(peepholes=True)},
    {"bias": False},
)


def rounded(array: np.ndarray[Any, Any], weights: str) -> np.ndarray[Any, Any]:
    """Round by another way than the package: in float64, to so many bits."""
    bits, least = (11, -14) if weights == "float16" else (8, -126)
    exponent = np.maximum(np.frexp(array.astype(np.float64))[1] - 1, least)
    unit = np.ldexp(1.0, exponent - bits + 1)
    return (np.rint(array / unit) * unit).astype(np.float32)


def plain_of(lstm: Any, weights: str) -> Any:
    """Make the float32 layer with rounded weights."""
    made = lstm.astype(weights="float32")
    made.load_state_dict({name: rounded(a, weights) if is_stored(name) else a for name, a in lstm.state_dict().items()})
    return made


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("isa", fastlstm.isas())
def test_the_bits_of_the_rounded_layer(weights: str, kind: dict[str, Any], isa: str) -> None:
    lstm: Any = fastlstm.LSTM(7, 19, seed=0, isa=isa, **kind)
    half, plain = lstm.astype(weights=weights), plain_of(lstm, weights)
    assert (half.weights, plain.weights) == (weights, "float32")
    assert half._plan.nbytes < plain._plan.nbytes
    x = np.random.default_rng(0).standard_normal((9, 5, 7)).astype(np.float32)
    for found, expected in zip(half(x, lengths=[9, 0, 4, 9, 1])[1], plain(x, lengths=[9, 0, 4, 9, 1])[1], strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)
    for name, array in plain.state_dict().items():
        np.testing.assert_array_equal(half.state_dict()[name], array, strict=True)
        np.testing.assert_array_equal(getattr(half, name), array, strict=True)
    if half.bidirectional:
        return
    streams, pools = [m.stream() for m in (half, plain)], [m.pool(2) for m in (half, plain)]
    windows = [m.window(4) for m in (half, plain)]
    ids = [pool.open() for pool in pools]
    for step in x:
        np.testing.assert_array_equal(streams[0].step(step[0]), streams[1].step(step[0]))
        np.testing.assert_array_equal(windows[0].push(step[0]), windows[1].push(step[0]))
        ours, theirs = (pool.step([at], step[:1]) for pool, at in zip(pools, ids, strict=True))
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_cell(weights: str) -> None:
    cell: Any = fastlstm.LSTMCell(5, 11, seed=0)
    half, plain = cell.astype(weights=weights), plain_of(cell, weights)
    x = np.ones((3, 5), np.float32)
    for found, expected in zip(half(x), plain(x), strict=True):
        np.testing.assert_array_equal(found, expected, strict=True)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_what_is_made_of_it(weights: str) -> None:
    lstm = fastlstm.LSTM(3, 4, seed=0, weights=weights)
    assert repr(lstm) == f"LSTM(3, 4, weights='{weights}')"
    x = np.ones((2, 1, 3), np.float32)
    for again in (pickle.loads(pickle.dumps(lstm)), lstm.astype(weights=weights), lstm.astype(weights="float32")):
        np.testing.assert_array_equal(again(x)[0], lstm(x)[0])
    assert pickle.loads(pickle.dumps(lstm)).weights == weights
    assert pickle.loads(pickle.dumps(lstm)).fingerprint() == lstm.fingerprint()
    assert lstm.astype(weights="float32").fingerprint() != lstm.fingerprint()
    with pytest.raises(ValueError, match="for inference"):
        lstm.forward(x)
    output, _, tape = lstm.forward(x, train=False)
    np.testing.assert_array_equal(output, lstm(x)[0])
    assert tape is None


def test_float16_of_a_checkpoint_loses_nothing() -> None:
    lstm = fastlstm.LSTM(3, 4, seed=0)
    exact = {name: a.astype(np.float16).astype(np.float32) for name, a in lstm.state_dict().items()}
    half, plain = fastlstm.LSTM(3, 4, weights="float16"), fastlstm.LSTM(3, 4)
    half.load_state_dict(exact)
    plain.load_state_dict(exact)
    x = np.ones((2, 1, 3), np.float32)
    np.testing.assert_array_equal(half(x)[0], plain(x)[0])


@pytest.mark.parametrize(
    ("weights", "number"),
    [("float16", 65520), ("float16", np.nan), ("float16", -np.inf), ("bfloat16", 3.4e38), ("bfloat16", np.nan)],
)
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "weight_hr_l0"])
def test_what_does_not_fit_is_an_error(weights: str, number: float, name: str) -> None:
    lstm = fastlstm.LSTM(3, 4, proj_size=2, seed=0, weights=weights)
    before = lstm.state_dict()
    spoiled = {key: array.copy() for key, array in before.items()}
    spoiled[name][1, 0] = number
    with pytest.raises(ValueError, match=rf"{name} has .*, which does not fit in {weights}"):
        lstm.load_state_dict(spoiled)
    np.testing.assert_array_equal(lstm.state_dict()[name], before[name])
    spoiled = {key: array.copy() for key, array in before.items()}
    spoiled["bias_ih_l0"][0] = number  # stays float32
    lstm.load_state_dict(spoiled)


@pytest.mark.parametrize("make", [fastlstm.LSTM, fastlstm.LSTMCell])
def test_bad_names(make: Any) -> None:
    with pytest.raises(ValueError, match=r"weights should be one of .*, got: 'int4'"):
        make(3, 4, weights="int4")
    with pytest.raises(TypeError, match="weights should be a name"):
        make(3, 4, weights=16)
    with pytest.raises(ValueError, match="layers of float32"):
        make(3, 4, dtype="float64", weights="float16")
    assert make(3, 4, dtype="float64", weights="float64").weights == "float64"
    assert make(3, 4, weights="float32").weights == "float32"
    with pytest.raises(TypeError, match="weights should be a name"):
        make(3, 4).astype(weights=None)
    with pytest.raises(ValueError, match="layers of float32"):
        make(3, 4, dtype="float64").astype(weights="bfloat16")


@pytest.mark.parametrize("stored", [np.float16, np.float32])
def test_a_file_in_16_bits(tmp_path: Path, stored: Any) -> None:
    weights = {
        name: a.astype(np.float16).astype(stored) for name, a in fastlstm.LSTM(3, 4, seed=0).state_dict().items()
    }
    np.savez(tmp_path / "weights.npz", **weights)
    half = fastlstm.load(tmp_path / "weights.npz", weights="float16")
    assert (half.weights, half.dtype) == ("float16", np.float32)
    for name, array in weights.items():
        np.testing.assert_array_equal(half.state_dict()[name], array)
    for wrong in ("", "float64", "int8"):  # none of them is taken for one that was not given
        with pytest.raises(ValueError, match="float32"):
            fastlstm.load(tmp_path / "weights.npz", weights="float16", dtype=wrong)  # type: ignore[call-overload]
