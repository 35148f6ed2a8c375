"""Kernels in 16 and in 8 bits through Keras's layer: the bits of fastlstm's own layer with the same, and no others."""

from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.keras.support import BACKEND, MASKS, H, I, arrays, c_0, fastkeras, h_0, keras, quiet, randomized, x
from tests.support import assert_same_bits

WEIGHTS = ("float16", "bfloat16", "int8", "int8-fast")
RUNS = BACKEND in ("numpy", "torch", "jax")
pytestmark = pytest.mark.skipif(not RUNS, reason=f"fastlstm does not run on {BACKEND}")


def made(weights: str | None, **options: Any) -> Any:
    layer = fastkeras.LSTM(H, return_sequences=True, return_state=True, weights=weights, **options)
    layer.build((4, 6, I))
    return randomized(layer)


def no_grad() -> Any:
    if BACKEND == "torch":
        import torch

        return torch.no_grad()
    import contextlib

    return contextlib.nullcontext()


def plain(array: Any) -> Any:
    return keras.ops.convert_to_numpy(keras.ops.cast(array, "float32"))


def own(layer: Any, weights: str | None) -> Any:
    """Make fastlstm's layer of a layer's variables."""
    kernel, recurrent, bias = map(plain, (v._value for v in layer.cell.weights))
    lstm = fastlstm.LSTM(I, H, batch_first=True, weights=weights)
    parameters = kernel.T, recurrent.T, bias, np.zeros_like(bias)
    lstm.load_state_dict(dict(zip(fastlstm.LSTM(I, H).state_dict(), parameters, strict=True)))
    return lstm


@pytest.mark.parametrize("weights", WEIGHTS)
@quiet
def test_the_bits_of_the_rounded_layer(weights: str) -> None:
    layer = made(weights)
    assert layer.stored_as == weights
    with no_grad():
        for k in range(3):
            lstm = own(layer, weights)
            output, (h_n, c_n) = lstm(x, (h_0[None], c_0[None]))
            found = layer(x, initial_state=[keras.ops.convert_to_tensor(h_0), keras.ops.convert_to_tensor(c_0)])
            for one, other in zip(arrays(found), (output, h_n[0], c_n[0]), strict=True):
                assert_same_bits(one, other)
            assert layer.fallback is None
            lengths = MASKS["right-padded"].sum(1)
            assert_same_bits(arrays(layer(x, mask=MASKS["right-padded"]))[1], lstm(x, lengths=lengths)[1][0][0])
            layer.cell.kernel.assign(layer.cell.kernel + 0.1 * k)  # noticed


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16"])
@pytest.mark.parametrize("weights", ["auto", *WEIGHTS])
@quiet
def test_policies_of_16_bits(policy: str, weights: str) -> None:
    """Computed in float32, with biases as the variables have them; each result is rounded once."""
    half = policy.removeprefix("mixed_")
    layer = made(weights, dtype=policy, recurrent_initializer="glorot_uniform")  # the usual one has no 16 bits
    assert layer.stored_as == (half if weights == "auto" else weights)
    given = keras.ops.cast(x, half)
    with no_grad():
        for _ in range(2):
            output, (h_n, c_n) = own(layer, layer.stored_as)(plain(given))
            found = layer(given)
            assert layer.fallback is None
            for one, other in zip(found, (output, h_n[0], c_n[0]), strict=True):
                assert keras.backend.standardize_dtype(one.dtype) == half
                assert_same_bits(plain(one), plain(keras.ops.cast(other, half)))


def test_auto_leaves_float32_and_float64_as_they_are() -> None:
    assert fastkeras.LSTM(H, weights="auto").stored_as is None
    assert fastkeras.LSTM(H, weights="auto", dtype="float64").stored_as is None
    assert fastkeras.LSTM(H, weights="float64", dtype="float64").stored_as is None
    assert fastkeras.LSTM(H, weights="float32").stored_as is None


@pytest.mark.parametrize("weights", WEIGHTS)
@quiet
def test_a_model(weights: str) -> None:
    layers = [keras.Input((6, I)), keras.layers.Bidirectional(keras.layers.LSTM(H)), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    served = fastkeras.accelerate(model, weights=weights)
    both = served.layers[0]
    assert (both.forward_layer.stored_as, both.backward_layer.stored_as) == (weights, weights)
    assert both.forward_layer.get_config()["weights"] == weights
    again = fastkeras.accelerate(served, weights="float16")
    assert again.layers[0].forward_layer.stored_as == "float16"
    back = fastkeras.accelerate(served, weights="float32")
    assert back.layers[0].forward_layer.stored_as is None
    assert "weights" not in back.layers[0].forward_layer.get_config()
    with no_grad():
        expected = [
            own(layer, weights)(x[:, ::step])[1][0][0]
            for layer, step in ((both.forward_layer, 1), (both.backward_layer, -1))
        ]
        assert_same_bits(arrays(both(x))[0], np.concatenate(expected, axis=1))


@pytest.mark.skipif(BACKEND != "torch", reason="gradients on torch")
@quiet
@pytest.mark.parametrize("weights", WEIGHTS)
def test_for_inference(weights: str) -> None:
    layer = made(weights)
    with pytest.raises(RuntimeError, match=f"weights={weights!r} is for inference, but a gradient is wanted"):
        layer(x)
    model = keras.Sequential([keras.Input((6, I)), fastkeras.LSTM(H, weights=weights)])
    model.compile(loss="mse", optimizer="sgd")
    with pytest.raises(RuntimeError, match="is for inference"):
        model.fit(x, np.zeros((4, H)), verbose=0)
    assert model.predict(x, verbose=0).shape == (4, H)


@pytest.mark.parametrize(
    ("options", "call", "reason"),
    [
        ({"dropout": 0.5, "seed": 1}, {"training": True}, "dropout in training"),
        ({"activation": "gelu"}, {}, "no counterpart"),
        ({"unroll": True}, {"mask": MASKS["holes"]}, "a mask with unroll"),
    ],
)
def test_what_keras_would_run_is_refused(options: Any, call: Any, reason: str) -> None:
    layer = made("float16", **options)
    with no_grad(), pytest.raises(RuntimeError, match=f"weights='float16' needs fastlstm's own code.*{reason}"):
        layer(x, **call)


def test_bad_names_and_float64() -> None:
    for wrong, kind in ("int4", ValueError), (16, TypeError):
        with pytest.raises(kind, match="weights should be"):
            made(wrong)  # type: ignore[arg-type]
        with pytest.raises(kind, match="weights should be"):
            fastkeras.accelerate(keras.Sequential([keras.Input((6, I)), keras.layers.LSTM(H)]), weights=wrong)
    with pytest.raises(ValueError, match="layers of float32"):
        made("float16", dtype="float64")


@quiet
def test_what_does_not_fit_is_an_error() -> None:
    layer = made("float16")
    layer.cell.kernel.assign(layer.cell.kernel + 70000)
    with no_grad(), pytest.raises(ValueError, match=r"weight_ih_l0 has .*, which does not fit in float16"):
        layer(x)


@pytest.mark.skipif(BACKEND != "jax", reason="traces of jax")
def test_a_trace_is_refused() -> None:
    import jax

    layer = made("float16")
    with pytest.raises(RuntimeError, match=r"needs fastlstm's own code.*traced"):
        jax.jit(lambda x: layer(x))(x)
