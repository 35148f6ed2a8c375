"""load and inspect on Keras's files, written by Keras 3; on the layout of Keras 2 and of CuDNNLSTM, written by hand."""

import warnings

import numpy as np
import pytest
from cases import assert_close
from support import assert_same_bits
from support_files import keras_2
from support_keras import arrays, keras, quiet, randomized

import fastlstm

h5py = pytest.importorskip("h5py", reason="pip install h5py")

pytestmark = quiet

T, I = 6, 4
HARD_2 = fastlstm.Form(("hard_sigmoid", 0.2, 0.5))
HARD_3 = fastlstm.Form(("hard_sigmoid", 1 / 6, 0.5))


def model():
    """Return a model with LSTMs of every kind, and the input and output of each."""
    L = keras.layers
    layers = [
        L.LSTM(3, return_sequences=True, name="plain"),
        L.LSTM(5, return_sequences=True, use_bias=False, activation="relu", recurrent_activation="linear", name="bare"),
        L.Bidirectional(L.LSTM(6, return_sequences=True, recurrent_activation="hard_sigmoid"), name="both"),
        L.LSTM(4, return_sequences=True, activation="softsign", name="last"),
    ]
    made = keras.Sequential([keras.Input((T, I)), *layers, L.GRU(2, return_sequences=True), L.Dense(2)])
    return randomized(made)


def saved(made, kind, path):
    """Save a model in one of Keras's formats."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that h5 is old
        if kind == "weights":
            made.save_weights(path / "m.weights.h5")
            return path / "m.weights.h5"
        made.save(path / f"m.{kind}")
        return path / f"m.{kind}"


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_every_layer_gives_keras_results(kind, tmp_path):
    made = model()
    path = saved(made, kind, tmp_path)
    found = {layer.name: layer for layer in fastlstm.inspect(path) if not layer.problem}
    assert sorted(found) == ["bare", "both", "last", "plain"]
    assert found["both"].kind == "Bidirectional"
    assert found["both"].form == HARD_3
    assert (found["bare"].bias, found["bare"].form) == (False, fastlstm.Form(("affine", 1, 0), "relu", "relu"))
    x = np.random.default_rng(0).standard_normal((2, T, I)).astype(np.float32)
    for layer in made.layers[:4]:
        (expected,) = arrays(layer(x))
        assert_close(fastlstm.load(path, layer.name, batch_first=True)(x)[0], expected, "files")
        x = expected


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_what_the_weights_do_not_tell_is_noted(kind, tmp_path):
    L = keras.layers
    made = keras.Sequential(
        [
            keras.Input((T, I)),
            L.Bidirectional(L.LSTM(3, return_sequences=True), merge_mode="sum", name="sum"),
            L.LSTM(3, go_backwards=True, return_sequences=True, name="turned"),
            L.LSTM(3, activation="gelu", name="other"),
        ]
    )
    path = saved(made, kind, tmp_path)
    found = {layer.name: layer for layer in fastlstm.inspect(path)}
    assert "merge_mode='sum'" in found["sum"].note
    assert "go_backwards" in found["turned"].note
    assert found["other"].form is None
    with pytest.raises(ValueError, match=r"say which form, form=fastlstm.Form\(...\), since the activation 'gelu'"):
        fastlstm.load(path, "other")
    assert fastlstm.load(path, "other", form=HARD_2).form == HARD_2


@pytest.mark.parametrize("kind", ["keras", "h5", "weights"])
def test_cells_and_nested_models(kind, tmp_path):
    L = keras.layers
    inner = keras.Sequential([keras.Input((T, I)), L.LSTM(3, return_sequences=True, name="deep")], name="inner")
    cells = L.RNN([L.LSTMCell(4, name="one"), L.LSTMCell(5, name="two")], name="stack")
    made = randomized(keras.Sequential([keras.Input((T, I)), inner, cells]))
    path = saved(made, kind, tmp_path)
    sizes = {layer.name.rsplit("/")[-1]: (layer.input_size, layer.hidden_size) for layer in fastlstm.inspect(path)}
    assert sizes == {"deep": (4, 3), "one": (3, 4), "two": (4, 5)}
    two = next(layer.name for layer in fastlstm.inspect(path) if layer.hidden_size == 5)
    weights = fastlstm.load(path, two, form=fastlstm.Form()).state_dict()
    assert_same_bits(weights["weight_hh_l0"], arrays(cells.weights[4])[0].T)


def test_weights_alone_get_the_defaults_and_a_note(tmp_path):
    made = model()
    layer = next(layer for layer in fastlstm.inspect(saved(made, "weights", tmp_path)) if layer.name == "both")
    assert (layer.form, layer.directions) == (fastlstm.Form(), 2)
    assert "defaults of Keras 3" in layer.assumed
    lstm = fastlstm.load(tmp_path / "m.weights.h5", "both", form=HARD_3)
    assert lstm.form == HARD_3


def test_compiled_model_with_its_optimizer(tmp_path):
    pytest.importorskip("torch", reason="pip install torch")
    made = keras.Sequential([keras.Input((T, I)), keras.layers.LSTM(3, name="one")])
    made.compile("adam", "mse")
    made.optimizer.build(made.trainable_variables)
    for kind in ("keras", "h5"):
        assert [layer.name for layer in fastlstm.inspect(saved(made, kind, tmp_path))] == ["one"]


# --------------------------------------------------------------------------------------- Keras 2, as its files look


@pytest.mark.parametrize(
    ("version", "activation", "form"),
    [
        ("2.2.0", None, HARD_2),
        ("2.2.4", "hard_sigmoid", HARD_2),
        ("2.2.4-tf", "sigmoid", fastlstm.Form()),
        ("2.2.4-tf", "hard_sigmoid", HARD_2),
        ("2.2.4-tf", None, None),
        ("2.3.1", None, fastlstm.Form()),
        ("2.11.0", "hard_sigmoid", HARD_2),
        ("3.1.0", "hard_sigmoid", HARD_3),
    ],
)
def test_the_version_decides_the_hard_sigmoid(version, activation, form, tmp_path):
    state_dict = keras_2(tmp_path / "w", version, activation, group="model_weights/" if activation else "")
    (layer,) = fastlstm.inspect(tmp_path / "w")
    assert (layer.name, layer.form) == ("lstm_1", form)
    assert (bool(layer.assumed), bool(layer.note)) == (activation is None and form is not None, form is None)
    if form is None:
        with pytest.raises(ValueError, match=r"say which form(?s:.*)TensorFlow 1"):
            fastlstm.load(tmp_path / "w")
    lstm = fastlstm.load(tmp_path / "w", form=form or HARD_2)
    for name, array in lstm.state_dict().items():
        assert_same_bits(array, state_dict[name], name)


@pytest.mark.parametrize("activation", [None, "tanh"], ids=["weights", "model"])
def test_cudnn_layout(activation, tmp_path):
    state_dict = keras_2(tmp_path / "w", "2.1.5", activation, cudnn=True)
    (layer,) = fastlstm.inspect(tmp_path / "w")
    assert (layer.kind, layer.form, layer.note) == ("CuDNNLSTM", fastlstm.Form(), "")
    for name, array in fastlstm.load(tmp_path / "w").state_dict().items():
        assert_same_bits(array, state_dict[name], name)


@pytest.mark.parametrize(
    ("part", "shape", "message"),
    [
        ("bias", None, None),
        ("kernel", None, "missing: kernel"),
        ("kernel", (4, 9), "should have shape"),
        ("recurrent_kernel", (4, 12), r"recurrent_kernel should have shape \(H, 4H\)"),
        ("recurrent_kernel", (12,), r"recurrent_kernel should have shape \(H, 4H\)"),
        ("bias", (5,), r"bias_ih_l0 should have shape \(12,\), got: \(5,\)"),
    ],
)
def test_what_does_not_fit(part, shape, message, tmp_path):
    keras_2(tmp_path / "w", "2.3.1")
    with h5py.File(tmp_path / "w", "a") as file:
        del file[f"lstm_1/lstm_1/{part}:0"]
        if shape:
            file[f"lstm_1/lstm_1/{part}:0"] = np.zeros(shape, "float32")
    if message is None:
        assert not fastlstm.load(tmp_path / "w", form=fastlstm.Form()).bias
        return
    with pytest.raises(ValueError, match=message):
        fastlstm.load(tmp_path / "w")
