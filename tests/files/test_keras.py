"""load and inspect on Keras's files, written by Keras 3; on the layout of Keras 2 and of CuDNNLSTM, written by hand."""

import contextlib
import json
import warnings

import numpy as np
import pytest

import fastlstm
from fastlstm import files
from tests.cases import assert_close
from tests.files.support import keras_2
from tests.keras.support import arrays, keras, quiet, randomized
from tests.support import assert_same_bits

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
    for name, caution in (("sum", "merge_mode='sum'"), ("turned", "go_backwards")):
        assert caution in found[name].caution
        with pytest.warns(UserWarning, match=caution):
            fastlstm.load(path, name)
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


# ------------------------------------------------------------------------- weights and a configuration that come apart


def lstm_node(name="one", units=3, kind="LSTM", **config):
    """Return a layer as Keras 3 writes it."""
    settings = {"name": name, "units": units, "activation": "tanh", "recurrent_activation": "sigmoid", "seed": None}
    return {"class_name": kind, "config": settings | config}


def model_node(*layers, kind="Sequential", **config):
    return {"class_name": kind, "config": {"name": kind.lower(), "layers": list(layers), **config}}


def wrapped(kind, name, key, inner, **config):
    return {"class_name": kind, "config": {"name": name, key: inner, **config}}


def write_cells(path, cells, dtype="float32"):
    """Write cells by their groups: (I, H), with a bias unless there is a third number."""
    draw = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for place, (rows, hidden, *bare) in cells.items():
            shapes = [(rows, 4 * hidden), (hidden, 4 * hidden), *([] if bare else [(4 * hidden,)])]
            for k, shape in enumerate(shapes):
                name = (
                    place.replace("*", str(k))
                    if "*" in place
                    else f"{place}/{('kernel', 'recurrent_kernel', 'bias')[k]}"
                )
                file[name] = draw.standard_normal(shape).astype(dtype)


RELU = fastlstm.Form(candidate="relu", cell="relu")
DOES_NOT_TELL = "the model's configuration does not tell which of its layers this is"
USERS = {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "function"}


@pytest.mark.parametrize(
    ("config", "form", "note"),
    [
        (lstm_node(), fastlstm.Form(), ""),
        (lstm_node(activation="relu"), RELU, ""),
        (lstm_node(activation=None), fastlstm.Form(candidate=("affine", 1, 0), cell=("affine", 1, 0)), ""),
        (lstm_node(recurrent_activation="hard_sigmoid"), HARD_3, ""),
        (lstm_node(recurrent_activation="hard_sigmoid", time_major=False), HARD_2, ""),
        (lstm_node(recurrent_activation="hard_sigmoid", implementation=2), HARD_2, ""),
        (lstm_node(activation="mish"), None, "the activation 'mish' is not one of"),
        (
            lstm_node(activation=USERS),
            None,
            "the activation 'relu' is an object of the user's own",
        ),
        (
            lstm_node(activation={"class_name": "ReLU", "config": {"name": "relu", "max_value": 6}}),
            None,
            "is an object of the user's own",
        ),
        (lstm_node(activation="pkg>relu"), None, "the activation 'pkg>relu' is not"),
        (lstm_node(units=4), None, "the configuration of 'one' says units 4 and not 3"),
        (lstm_node(use_bias=False), None, "the configuration of 'one' says use_bias False and not True"),
        (lstm_node(batch_input_shape=[None, 5, 9]), None, "says input size 9 and not 2"),
        (lstm_node() | {"build_config": {"input_shape": [None, 5, 9]}}, None, "says input size 9 and not 2"),
        (lstm_node() | {"build_config": {"input_shape": [None, 5, 2]}}, fastlstm.Form(), ""),
        (lstm_node(go_backwards=True), fastlstm.Form(), "go_backwards: the input is to be reversed"),
        (lstm_node(time_major=True), fastlstm.Form(), "time_major"),
        (
            {"class_name": "pkg>Odd", "config": {"name": "one", "units": 3}},
            None,
            "'pkg>Odd', has no recurrent",
        ),
        ({"class_name": "Dense", "config": {"name": "other", "units": 3}}, None, DOES_NOT_TELL),
    ],
)
@pytest.mark.parametrize("place", ["layers/{}/cell/vars/*", "one/one/lstm_cell"])
def test_what_a_configuration_tells(place, config, form, note, tmp_path):
    group = {"pkg>Odd": "odd"}.get(config["class_name"], "lstm")
    write_cells(tmp_path / "w", {place.format(group): (2, 3)})
    (layer,) = fastlstm.inspect(tmp_path / "w", config=model_node(config))
    assert layer.form == form
    assert note in layer.note + layer.caution if note else layer.note + layer.caution == ""
    if form is None:
        with pytest.raises(ValueError, match="say which form"):
            fastlstm.load(tmp_path / "w", config=model_node(config))
        return
    with pytest.warns(UserWarning, match=note) if layer.caution else contextlib.nullcontext():
        assert fastlstm.load(tmp_path / "w", config=model_node(config)).form == form


PAIR = [lstm_node("first", activation="relu"), lstm_node("second", activation="elu")]
ELU = fastlstm.Form(candidate=("elu", 1.0), cell=("elu", 1.0))
NAMED_AS_HALVES = [lstm_node("forward_a", activation="relu"), lstm_node("backward_a", activation="elu")]
HALVES = {"layer": lstm_node(activation="relu"), "backward_layer": lstm_node(activation="elu", go_backwards=True)}


@pytest.mark.parametrize(
    ("config", "cells", "expected"),
    [
        # two of a class, in order; Keras 2.12 counts those with weights twice, 2.14 does not
        (model_node(*PAIR), ["layers/lstm", "layers/lstm_1"], {"first": RELU, "second": ELU}),
        (
            model_node(*PAIR),
            ["_layer_checkpoint_dependencies/lstm", "_layer_checkpoint_dependencies/lstm_1"],
            {"first": RELU, "second": ELU},
        ),
        (
            model_node(*PAIR),
            ["_layer_checkpoint_dependencies/lstm", "_layer_checkpoint_dependencies/lstm_2"],
            {"first": RELU, "second": ELU},
        ),
        # one of three is not there: which, both ways of counting tell differently
        (
            model_node(*PAIR, lstm_node("third")),
            ["_layer_checkpoint_dependencies/lstm", "_layer_checkpoint_dependencies/lstm_2"],
            {"first": RELU, "_layer_checkpoint_dependencies/lstm_2": None},
        ),
        (model_node(*PAIR), ["layers/lstm_7", "layers/lstm"], {"first": RELU, "lstm_7": None}),
        # layers by attributes
        ({"class_name": "pkg>Net", "config": {"enc": PAIR[0]}}, ["enc", "dec"], {"first": RELU, "dec": None}),
        ({"class_name": "pkg>Net", "config": {"stack": PAIR}}, ["stack/lstm_1"], {"second": ELU}),
    ],
)
def test_layers_by_their_place(config, cells, expected, tmp_path):
    write_cells(tmp_path / "w", {f"{cell}/cell/vars/*": (2, 3) for cell in cells})
    found = {layer.name: layer.form for layer in fastlstm.inspect(tmp_path / "w", config=config)}
    assert found == {name.removeprefix("_layer_checkpoint_dependencies/"): form for name, form in expected.items()}


@pytest.mark.parametrize(
    ("config", "cells", "expected"),
    [
        # a Bidirectional made by hand, of layers with such names
        (
            model_node(*NAMED_AS_HALVES),
            ["forward_a/forward_a/lstm_cell", "backward_a/backward_a/lstm_cell"],
            {"forward_a": RELU, "backward_a": ELU},
        ),
        (
            model_node(
                model_node(lstm_node("forward_a", activation="relu"), lstm_node("backward_a", activation="elu"))
            ),
            ["sequential/forward_a/lstm_cell", "sequential/backward_a/lstm_cell"],
            {"sequential/forward_a": RELU, "sequential/backward_a": ELU},
        ),
        (None, ["forward_a/forward_a/lstm_cell"], {"forward_a": fastlstm.Form()}),
        # two layers of one name at the top, which Keras does not allow
        (model_node(lstm_node(), lstm_node(activation="relu")), ["one/lstm_cell"], {"one": None}),
        # one layer in the configuration, two in the file
        (
            model_node(wrapped("pkg>Twice", "both", "layer", lstm_node())),
            ["both/a/lstm_cell", "both/b/lstm_cell"],
            {"both/a": None, "both/b": None},
        ),
        # unnamed cells, which say the same
        (
            model_node(wrapped("RNN", "r", "cell", wrapped("StackedRNNCells", "s", "cells", [PAIR[0], PAIR[0]]))),
            ["r/x", "r/y"],
            {"r/first/x": RELU, "r/first/y": RELU},
        ),
    ],
)
def test_layers_by_their_name(config, cells, expected, tmp_path):
    write_cells(tmp_path / "w", dict.fromkeys(cells, (2, 3)))
    assert {layer.name: layer.form for layer in fastlstm.inspect(tmp_path / "w", config=config)} == expected


@pytest.mark.parametrize("places", [("layers/bidirectional/{}_layer/cell/vars/*",), ("b/b/{}_one/lstm_cell",)])
def test_halves(places, tmp_path):
    (place,) = places
    cells = {place.format(side): (2, 3) for side in ("forward", "backward")}
    write_cells(tmp_path / "w", cells)
    config = model_node(wrapped("Bidirectional", "b", "layer", lstm_node(activation="relu")))
    (layer,) = fastlstm.inspect(tmp_path / "w", config=config)
    assert (layer.name, layer.kind, layer.directions, layer.form) == ("b", "Bidirectional", 2, RELU)
    config["config"]["layers"][0]["config"] |= HALVES
    (layer,) = fastlstm.inspect(tmp_path / "w", config=config)
    assert layer.problem == "its two halves have different activations"
    cells.popitem()
    write_cells(tmp_path / "w", cells)
    (layer,) = fastlstm.inspect(tmp_path / "w", config=config)
    assert (layer.name, layer.directions, layer.form) == ("b/forward", 1, RELU)


def test_a_stack_of_cells_in_a_bidirectional(tmp_path):
    made = randomized(
        keras.Sequential(
            [
                keras.Input((T, I)),
                keras.layers.Bidirectional(
                    keras.layers.RNN([keras.layers.LSTMCell(3, name="one"), keras.layers.LSTMCell(2, name="two")]),
                    name="b",
                ),
            ]
        )
    )
    for kind in ("keras", "h5"):
        layers = {layer.name: layer for layer in fastlstm.inspect(saved(made, kind, tmp_path))}
        assert sorted(layers) == [f"b/{side}/{name}" for side in ("backward", "forward") for name in ("one", "two")]
        assert "backwards" in layers["b/backward/one"].caution
        assert layers["b/forward/one"].caution == ""
        assert [layer.directions for layer in layers.values()] == [1] * 4


@pytest.mark.parametrize(
    "extra", ["layers/lstm/cell/vars/3", "layers/lstm/cell/vars/12"], ids=["peepholes", "normalisation"]
)
def test_cells_with_more_arrays_are_no_lstms(extra, tmp_path):
    write_cells(tmp_path / "w", {"layers/lstm/cell/vars/*": (2, 3)})
    with h5py.File(tmp_path / "w", "a") as file:
        file[extra] = np.zeros(3, "float32")
    (layer,) = fastlstm.inspect(tmp_path / "w")
    assert layer.problem == f"it has more arrays than an LSTM: {extra.rpartition('/')[2]}"


def test_keras_1_is_told_by_name(tmp_path):
    with h5py.File(tmp_path / "w", "w") as file:
        file.attrs["keras_version"] = b"1.2.2"
        for gate in "icfo":
            for part, shape in (("W", (4, 3)), ("U", (3, 3)), ("b", (3,))):
                file[f"lstm_1/lstm_1_{part}_{gate}"] = np.zeros(shape, "float32")
    with pytest.raises(ValueError, match="lstm_1: LSTM of Keras h5, cannot be loaded: it is of Keras 1"):
        fastlstm.load(tmp_path / "w")


def test_bfloat16(tmp_path):
    write_cells(tmp_path / "w", {"layers/lstm/cell/vars/*": (2, 3)})
    expected = fastlstm.load(tmp_path / "w", form=RELU).state_dict()
    with h5py.File(tmp_path / "w", "a") as file:
        for k in "012":
            bits = (file[f"layers/lstm/cell/vars/{k}"][()].view(np.uint32) >> 16).astype(np.uint16)
            del file[f"layers/lstm/cell/vars/{k}"]
            file[f"layers/lstm/cell/vars/{k}"] = bits.view("V2")
            file[f"layers/lstm/cell/vars/{k}"].attrs["dtype"] = "bfloat16"
    assert fastlstm.inspect(tmp_path / "w")[0].dtype == "bfloat16"
    for name, array in fastlstm.load(tmp_path / "w", form=RELU, dtype="float32").state_dict().items():
        assert_same_bits(array, (expected[name].view(np.uint32) >> 16 << 16).view(np.float32))


def test_config_as_a_dict_text_or_path(tmp_path):
    write_cells(tmp_path / "w", {"layers/lstm/cell/vars/*": (2, 3)})
    config = model_node(lstm_node(activation="relu"))
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    path = tmp_path / "config.json"
    for given in (config, json.dumps(config), f"\n {json.dumps(config)}", path, str(path), config["config"]):
        assert fastlstm.load(tmp_path / "w", config=given).form == RELU
    for given, error, message in (
        (3, TypeError, "config should be a mapping, JSON or a path, got: int"),
        (tmp_path / "none.json", FileNotFoundError, "none.json"),
        (tmp_path, OSError, "not a regular file"),
        ("{not json", ValueError, "cannot be read as HDF5"),
        (tmp_path / "w", ValueError, "cannot be read as HDF5"),
        ({}, ValueError, "say which form"),
    ):
        with pytest.raises(error, match=message):
            fastlstm.load(tmp_path / "w", config=given)
    np.savez(tmp_path / "w.npz", **fastlstm.LSTM(2, 3).state_dict())
    with pytest.raises(ValueError, match="config= is for Keras's files"):
        fastlstm.load(tmp_path / "w.npz", config=config)


def test_a_list_of_layers_is_counted_once(tmp_path, monkeypatch):
    calls = []
    snake = files._keras_model._snake
    monkeypatch.setattr(files._keras_model, "_snake", lambda node: calls.append(node) or snake(node))
    count = 200
    write_cells(tmp_path / "w", {f"layers/lstm{f'_{k}' if k else ''}/cell/vars/*": (1, 1) for k in range(count)})
    config = model_node(*(lstm_node(f"a{k}", 1, activation="relu" if k % 2 else "tanh") for k in range(count)))
    found = {layer.name: layer.form for layer in fastlstm.inspect(tmp_path / "w", config=config)}
    assert found == {f"a{k}": RELU if k % 2 else fastlstm.Form() for k in range(count)}
    assert len(calls) == count


def test_too_many_cells_to_tell_apart_by_name(tmp_path):
    write_cells(tmp_path / "w", {"m/c3/lstm_cell": (1, 1)})
    for count, form in ((1000, RELU), (1001, None)):
        inner = model_node(
            *(lstm_node(f"c{k}", 1, activation="relu" if k == 3 else "tanh") for k in range(count)), name="m"
        )
        assert [layer.form for layer in fastlstm.inspect(tmp_path / "w", config=model_node(inner))] == [form]


@pytest.mark.parametrize("depth", [40, 500, 20_000])
def test_a_configuration_that_is_too_deep(depth, tmp_path):
    write_cells(tmp_path / "w", {"layers/lstm/cell/vars/*": (2, 3)})
    text = '{"class_name": "Sequential", "config": {"layers": [' * depth + "]}}" * depth
    if depth == 40:
        assert fastlstm.inspect(tmp_path / "w", config=text)[0].form is None
        return
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        fastlstm.inspect(tmp_path / "w", config=text)


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
