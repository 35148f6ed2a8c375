"""Files of Keras with fastlstm.keras.LSTM in them, and models that have their layers swapped."""

import copy
import doctest
import sys

import numpy as np
import pytest
from support import assert_same_bits, run_python
from support_keras import B, H, I, T, arrays, assert_same, fastkeras, keras, quiet, randomized, x

pytestmark = quiet


def model_of(layer):
    """Return a model that has the layer bare, in a wrapper, and in a model of its own."""
    inner = keras.Sequential([keras.Input((T, I)), layer(H, return_sequences=True)])
    model = keras.Sequential(
        [
            keras.Input((T, I)),
            inner,
            keras.layers.Bidirectional(layer(H, return_sequences=True)),
            layer(H, recurrent_dropout=0.25, go_backwards=True, kernel_regularizer="l2"),
            keras.layers.Dense(3),
        ]
    )
    return randomized(model)


def layers_of(model):
    """List the types of all LSTM layers of a model."""
    return [type(layer) for layer in model._flatten_layers() if isinstance(layer, keras.layers.LSTM)]


def test_keras_file(tmp_path):
    model = model_of(fastkeras.LSTM)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert layers_of(again) == [fastkeras.LSTM] * 4
    assert_same_bits(arrays(again(x))[0], arrays(model(x))[0])
    theirs = keras.saving.load_model(tmp_path / "model.keras", custom_objects={"fastlstm>LSTM": keras.layers.LSTM})
    assert_same(again(x), theirs(x))


def test_keras_file_in_another_process(tmp_path):
    model = model_of(fastkeras.LSTM)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    run_python(f"""
import warnings
warnings.filterwarnings("ignore", message="__array__ implementation")
import keras, numpy as np, fastlstm.keras
model = keras.saving.load_model({str(tmp_path / "model.keras")!r})
assert type(model.layers[-2]) is fastlstm.keras.LSTM
y = keras.ops.convert_to_numpy(model(np.load({str(tmp_path / "x.npy")!r})))
np.save({str(tmp_path / "y.npy")!r}, y)
""")
    assert_same_bits(np.load(tmp_path / "y.npy"), arrays(model(x))[0])


def test_weight_files(tmp_path):
    ours, theirs = model_of(fastkeras.LSTM), model_of(keras.layers.LSTM)
    randomized(theirs, seed=1)
    before = arrays(ours(x))
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    ours.load_weights(tmp_path / "theirs.weights.h5")
    assert np.any(arrays(ours(x))[0] != before[0])
    assert_same(ours(x), theirs(x))
    randomized(ours, seed=2).save_weights(tmp_path / "ours.weights.h5")
    theirs.load_weights(tmp_path / "ours.weights.h5")
    assert_same(ours(x), theirs(x))


def test_h5_file(tmp_path):
    theirs = randomized(keras.Sequential([keras.Input((T, I)), keras.layers.LSTM(H), keras.layers.Dense(3)]))
    theirs.save(tmp_path / "model.h5")
    ours = keras.saving.load_model(tmp_path / "model.h5", custom_objects={"LSTM": fastkeras.LSTM})
    assert layers_of(ours) == [fastkeras.LSTM]
    assert_same(ours(x), theirs(x))


def test_accelerate(tmp_path):
    model_of(keras.layers.LSTM).save(tmp_path / "model.keras")
    theirs = keras.saving.load_model(tmp_path / "model.keras")
    ours = fastkeras.accelerate(theirs)
    assert layers_of(theirs) == [keras.layers.LSTM] * 4
    assert layers_of(ours) == [fastkeras.LSTM] * 4
    assert [v.path for v in ours.weights] == [v.path for v in theirs.weights]
    assert_same(ours(x), theirs(x))
    assert_same(ours.losses, theirs.losses)
    layer = keras.layers.LSTM(H)
    expected = layer(x)
    assert_same(fastkeras.accelerate(layer)(x), expected)


def test_accelerate_bad_input():
    with pytest.raises(TypeError, match=r"model should be a keras.Model or keras.Layer, got: str"):
        fastkeras.accelerate("model.keras")
    with pytest.raises(ValueError, match="not built"):
        fastkeras.accelerate(keras.layers.LSTM(H))
    dense = keras.layers.Dense(3)
    dense.build((B, I))
    with pytest.raises(ValueError, match=r"no keras.layers.LSTM"):
        fastkeras.accelerate(dense)


def test_a_model_that_has_run_can_be_copied():
    model = model_of(fastkeras.LSTM)
    expected = arrays(model(x))[0]
    assert_same_bits(arrays(copy.deepcopy(model)(x))[0], expected)
    clone = keras.models.clone_model(model)
    clone.set_weights([keras.ops.convert_to_numpy(variable) for variable in model.weights])
    assert_same_bits(arrays(clone(x))[0], expected)


@pytest.mark.parametrize("module", ["fastlstm.keras", "fastlstm.keras._accelerate"])
def test_examples_in_docstrings(module):
    result = doctest.testmod(sys.modules[module])
    assert result.attempted > 0
    assert result.failed == 0
