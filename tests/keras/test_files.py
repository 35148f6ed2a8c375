"""Files of Keras with fastlstm.keras.LSTM in them, and models that have their layers swapped."""

import copy
import doctest
import sys
import tarfile

import numpy as np
import pytest

from tests.keras.support import B, H, I, T, arrays, assert_same, fastkeras, keras, quiet, randomized, x
from tests.support import DATA, assert_same_bits, run_python

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


@pytest.mark.parametrize(
    "layers",
    [
        lambda L: [L.LSTM(H, stateful=True)],
        lambda L: [L.Bidirectional(L.LSTM(H, stateful=True, return_sequences=True)), L.LSTM(3, stateful=True)],
        lambda L: [L.LSTM(H, return_sequences=True), L.GRU(3, stateful=True)],  # states of others go on, too
        lambda L: [L.LSTM(H, return_sequences=True), L.RNN([L.LSTMCell(2), L.LSTMCell(3)], stateful=True)],
    ],
    ids=["plain", "both ways", "gru", "cells"],
)
@pytest.mark.filterwarnings("ignore:model 'sequential:UserWarning")
def test_accelerate_in_mid_stream(layers):
    theirs = randomized(keras.Sequential([keras.Input((T, I), batch_size=B), *layers(keras.layers)]))
    first = arrays(theirs(x))[0]
    ours = fastkeras.accelerate(theirs)
    second = theirs(x)
    assert np.abs(arrays(second)[0] - first).max() > 1e-3
    assert_same(ours(x), second)
    for layer in theirs._flatten_layers():
        for state in keras.tree.flatten(getattr(layer, "states", None)):
            if state is not None:
                state.assign(np.zeros(state.shape, "float32"))
    assert_same(fastkeras.accelerate(theirs)(x), first)


def subclassed(layer):
    """Return a model whose config does not tell its layers."""

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.encoder = layer(H, return_sequences=True)
            self.decoders = [layer(3)]

        def call(self, inputs):
            return self.decoders[0](self.encoder(inputs))

    model = Subclassed()
    model(x)
    return randomized(model)


def test_accelerate_tells_what_to_do_with_a_subclassed_model(tmp_path):
    theirs = subclassed(keras.layers.LSTM)
    names = ", ".join(layer.name for layer in theirs.layers)
    with pytest.raises(ValueError, match=f"but it has: {names}. Make them fastlstm.keras.LSTM where the model makes"):
        fastkeras.accelerate(theirs)
    theirs.save_weights(tmp_path / "w.weights.h5")  # the advice, taken
    ours = randomized(subclassed(fastkeras.LSTM), seed=1)
    ours.load_weights(tmp_path / "w.weights.h5")
    assert_same(ours(x), theirs(x))
    assert ours.encoder.fallback is None


def test_accelerate_tells_what_stays():
    L = keras.layers
    cells = keras.Sequential([keras.Input((T, I)), L.RNN(L.LSTMCell(3), name="cells")])
    with pytest.raises(ValueError, match="these stay as they are: cells: an RNN of cells"):
        fastkeras.accelerate(cells)
    own = type("Own", (L.LSTM,), {})
    keras.saving.register_keras_serializable("pkg")(own)
    layers = [
        own(3, return_sequences=True, name="own"),
        L.LSTM(3, return_sequences=True),
        L.RNN([L.LSTMCell(3)], name="r"),
    ]
    with pytest.warns(UserWarning, match=r"stay as they are: own \(Own\): a subclass.*; r: an RNN of cells"):
        made = fastkeras.accelerate(keras.Sequential([keras.Input((T, I)), *layers]))
    assert [type(layer) for layer in made.layers] == [own, fastkeras.LSTM, L.RNN]


def test_time_major_of_keras_2():
    layer = fastkeras.LSTM(H, time_major=False)
    assert "time_major" not in layer.get_config()
    with pytest.raises(ValueError, match=r"time_major=True is not supported by Keras 3"):
        fastkeras.LSTM(H, time_major=True)
    config = keras.layers.LSTM(H, activation="relu").get_config() | {"time_major": False}
    assert fastkeras.LSTM.from_config(config).activation is keras.activations.relu


def test_h5_file_of_keras_2(tmp_path):
    with tarfile.open(DATA / "keras" / "tf-2.12.tar.xz") as archive:
        for name in ("plain.h5", "arrays.npz"):
            (tmp_path / name).write_bytes(archive.extractfile(name).read())
    objects = {"LSTM": fastkeras.LSTM, "pkg>MyLSTM": fastkeras.LSTM}
    model = keras.saving.load_model(tmp_path / "plain.h5", custom_objects=objects)
    assert layers_of(model) == [fastkeras.LSTM] * 5
    given = np.load(tmp_path / "arrays.npz")
    for name in ("enc", "theirs", "ours", "turned"):  # not of the hard sigmoid, which Keras 3 computes in another way
        layer = model.get_layer(name)
        assert_same(layer(given[f"plain/{name}/x"]), given[f"plain/{name}/y"])
        assert layer.fallback is None


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
