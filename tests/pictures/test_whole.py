"""fastlstm inspect FILE --whole --data INPUTS: all LSTMs of a model, while the whole model runs once."""

import os
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm._cli import main

# Keras's variables have an __array__ of NumPy 1, of which NumPy 2 warns; its saving calls it.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    np.save("x.npy", np.random.default_rng(0).standard_normal((30, 2, 4)).astype(np.float32))
    return tmp_path


@pytest.fixture
def onnx_file(folder):
    pytest.importorskip("onnx", reason="pip install onnx")
    import fastlstm.onnx

    fastlstm.onnx.export(fastlstm.LSTM(4, 6, num_layers=2, seed=0), "m.onnx")
    return "m.onnx"


@pytest.fixture
def keras_model(folder):
    os.environ.setdefault("KERAS_BACKEND", "numpy")
    keras: Any = pytest.importorskip("keras", reason="pip install keras", exc_type=ImportError)
    layers = keras.layers
    both = layers.Bidirectional(layers.LSTM(6, return_sequences=True, name="rnn"), name="both")
    model = keras.Sequential([keras.Input((30, 4), name="speech"), both, layers.LSTM(5, name="top")])
    model.save("m.keras")
    return model


def inspect(*line: str) -> int:
    return main(["inspect", *line])


def test_health_of_every_node(onnx_file, capsys):
    assert inspect(onnx_file, "--whole", "--data", "x.npy", "--health") == 0
    told = capsys.readouterr()
    x, lstm = np.load("x.npy"), fastlstm.LSTM(4, 6, num_layers=2, seed=0)
    for layer in range(2):
        alone = fastlstm.LSTM(4 if layer == 0 else 6, 6)
        alone.load_state_dict(
            {name.replace(f"l{layer}", "l0"): w for name, w in lstm.state_dict().items() if f"l{layer}" in name}
        )
        trace = alone.trace(x)
        assert f"\nlstm_l{layer}:\n{fastlstm.health(trace)}\n" in told.out
        x = trace.output
    assert told.err == ""


def test_strips_pages_and_one_of_them(onnx_file, capsys):
    np.savez("named.npz", input=np.load("x.npy"))
    assert inspect(onnx_file, "--whole", "--data", "named.npz") == 0
    told = capsys.readouterr().out
    assert "\nlstm_l0\n1 layer, 1 direction, 30 steps" in told
    assert "\nlstm_l1\n1 layer, 1 direction, 30 steps" in told
    assert inspect(onnx_file, "--whole", "--data", "x.npy", "--prefix", "lstm_l1") == 0
    assert "\nlstm_l0\n" not in capsys.readouterr().out
    names = "".join(chr(ord("a") + k % 26) for k in range(30))
    with open("names.txt", "w", encoding="utf-8") as file:
        file.write(names)
    assert inspect(onnx_file, "--whole", "--data", "x.npy", "--text", "names.txt", "--units", "4,1") == 0
    told = capsys.readouterr().out
    assert told.count(names) == 2
    assert told.count("abs(c) of 2 of 2 units") == 2
    assert inspect(onnx_file, "--whole", "--data", "x.npy", "--html", "out.html", "--steps", "2:9") == 0
    with open("out.html", encoding="utf-8") as file:
        page = file.read()
    assert "lstm_l0" in page
    assert "lstm_l1" in page


def test_a_keras_model(keras_model, capsys):
    import fastlstm.keras

    x = np.load("x.npy").swapaxes(0, 1)
    np.save("x.npy", x)
    np.savez("named.npz", speech=x)
    for data in ("x.npy", "named.npz"):
        assert inspect("m.keras", "--whole", "--data", data, "--health") == 0
        told = capsys.readouterr().out
        for name, (trace,) in fastlstm.keras.trace(keras_model, x).items():
            assert f"\n{name}:\n{fastlstm.health(trace)}\n" in told


def test_what_cannot_be_run_says_why(onnx_file, keras_model, capsys):
    fastlstm.save(fastlstm.LSTM(4, 6), "weights.npz")
    np.savez("other.npz", other=np.load("x.npy"))
    keras_model.save_weights("m.weights.h5")
    for line, message in (
        ("m.onnx --whole", "--whole needs --data: the inputs of the model"),
        ("m.onnx --whole --data x.npy --health --probe x.npy", "--probe is for one LSTM"),
        ("m.onnx --whole --data x.npy --health --units 1", "--units"),
        ("m.onnx --whole --data other.npz", "input missing; no input is called 'other'"),
        (
            "m.onnx --whole --data x.npy --prefix lstm_l7",
            "--prefix lstm_l7 is none of the LSTMs that ran: lstm_l0, lstm_l1",
        ),
        ("weights.npz --whole --data x.npy", "weights.npz (npz) has weights, and not what the model does with them"),
        ("m.weights.h5 --whole --data x.npy", "m.weights.h5 is no whole model that Keras loads here"),
        ("m.keras --whole --data other.npz", "--data should hold the inputs speech, got: other"),
    ):
        assert main(["inspect", *line.split()]) == 1
        assert message in capsys.readouterr().err
