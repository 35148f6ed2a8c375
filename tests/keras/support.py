"""What the tests of fastlstm.keras share. KERAS_BACKEND chooses the backend; test_backends runs the others."""

import os
from typing import Any

import numpy as np
import pytest

from tests.cases import assert_close

os.environ.setdefault("KERAS_BACKEND", "numpy")
keras: Any = pytest.importorskip("keras", reason="pip install keras", exc_type=ImportError)
fastkeras: Any = pytest.importorskip("fastlstm.keras", reason="pip install keras")

BACKEND = keras.backend.backend()
B, T, I, H = 4, 6, 5, 7

# Keras's variables have an __array__ of NumPy 1, of which NumPy 2 warns; its saving and get_weights call it.
quiet = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")

rng = np.random.default_rng(5)
x = rng.standard_normal((B, T, I)).astype("float32")
h_0, c_0 = (rng.standard_normal((2, B, H)) / 2).astype("float32")

MASKS = {
    "all": np.ones((B, T), bool),
    "right-padded": np.arange(T) < np.array([[6], [3], [0], [1]]),
    "left-padded": np.arange(T) >= np.array([[0], [3], [6], [5]]),
    "holes": np.array([[0, 1, 0, 0, 1, 1], [1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 1]], bool),
}


def randomized(layer: Any, seed: int = 0) -> Any:
    """Give a built layer or model weights of the usual size, biases too."""
    draw = np.random.default_rng(seed)
    layer.set_weights([draw.uniform(-0.5, 0.5, variable.shape) for variable in layer.weights])
    return layer


def pair(**options: Any) -> tuple[Any, Any]:
    """Return a layer of ours and one of Keras's own, built, with the same weights."""
    layers = fastkeras.LSTM(H, **options), keras.layers.LSTM(H, **options)
    for layer in layers:
        layer.build((B, T, I))
        randomized(layer)
    return layers


def arrays(results: Any) -> list[Any]:
    """Return tensors, however nested, as a list of arrays."""
    return [keras.ops.convert_to_numpy(tensor) for tensor in keras.tree.flatten(results)]


def assert_same(actual: Any, expected: Any, tolerance: str = "keras") -> None:
    """Compare two results that may be nested."""
    actual, expected = arrays(actual), arrays(expected)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        assert a.dtype == e.dtype
        assert_close(a, e, tolerance)


def assert_alike(ours: Any, theirs: Any, *arguments: Any, **options: Any) -> None:
    """Call both layers; the results should agree, and ours should be fastlstm's."""
    assert_same(ours(*arguments, **options), theirs(*arguments, **options))
    assert ours.fallback is None
