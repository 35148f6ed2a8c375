"""load on published models: chars2vec (Keras 2), textgenrnn (CuDNNLSTM), silero-vad (TorchScript, safetensors, ONNX).

The packages are fetched by their hashes into the cache; what they hold is compared with the original implementation, or
with the reference in float64.
"""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from textgen import weights

import fastlstm
from fastlstm import reference
from tests.cases import assert_close
from tests.files.support import CHARS2VEC, SILERO, fetch
from tests.support import assert_same_bits
from tests.torch.support import import_torch

WORDS = ("natural", "language", "understanding", "inderstanding", "antidisestablishmentarianism")


def expected_of(lstm, x, form=None):
    """Run the reference in float64 on a layer's weights."""
    wide = {name: array.astype("float64") for name, array in lstm.state_dict().items()}
    form = form or lstm.form
    return reference.lstm_forward(x.astype("float64"), None, wide, num_layers=lstm.num_layers, form=form)[0]


@pytest.mark.parametrize("size", [50, 100, 150, 200, 300])
def test_chars2vec(size, tmp_path):
    path = CHARS2VEC.extracted(f"chars2vec-0.1.7/chars2vec/trained_models/eng_{size}/weights.h5", tmp_path)
    found = fastlstm.inspect(path)
    assert [(layer.input_size, layer.hidden_size) for layer in found] == [(59, size), (size, size)]
    for word in WORDS:
        one_hot = np.eye(59, dtype=np.float32)[[ord(letter) % 59 for letter in word]]
        x = expected = one_hot[:, None]  # T,1,59
        for layer in found:
            with pytest.warns(fastlstm.files.AssumptionWarning, match=r"the defaults of Keras 2\.2\.0"):
                lstm = fastlstm.load(path, layer.name)
            assert lstm.form == fastlstm.Form(("hard_sigmoid", 0.2, 0.5))
            expected = expected_of(lstm, expected)
            x, _ = lstm(x)
        assert_close(x, expected, "files, published")


def test_chars2vec_as_keras_computes_it(tmp_path):
    from tests.keras.support import arrays, keras

    path = CHARS2VEC.extracted("chars2vec-0.1.7/chars2vec/trained_models/eng_50/weights.h5", tmp_path)

    def hard_sigmoid(x):
        return keras.ops.clip(0.2 * x + 0.5, 0, 1)

    x = np.eye(59, dtype=np.float32)[[[ord(letter) % 59 for letter in word] for word in ("natural", "realist")]]
    output, expected = x, x
    for layer in fastlstm.inspect(path):
        lstm = fastlstm.load(path, layer.name, batch_first=True, form=layer.form)
        output, _ = lstm(output)
        theirs = keras.layers.LSTM(50, return_sequences=True, recurrent_activation=hard_sigmoid)
        theirs.build(expected.shape)
        state_dict = lstm.state_dict()
        theirs.set_weights([state_dict["weight_ih_l0"].T, state_dict["weight_hh_l0"].T, state_dict["bias_ih_l0"]])
        (expected,) = arrays(theirs(expected))
    assert_close(output, expected, "files, published")


def test_textgenrnn(tmp_path):
    pytest.importorskip("h5py", reason="pip install h5py")
    try:
        archive = fetch.fetch()
    except fetch.FetchError as error:
        pytest.skip(str(error))
    path = tmp_path / "weights"
    path.write_bytes(fetch.read_member(archive, fetch.WEIGHTS_MEMBER))
    vocabulary = fetch.read_member(archive, fetch.VOCABULARY_MEMBER)
    expected = weights.load_weights(path.read_bytes(), vocabulary)  # the example's own reader, which its loss proves
    for name, layer in (("rnn_1", expected.lstm_1), ("rnn_2", expected.lstm_2)):
        lstm = fastlstm.load(path, name)
        assert list(lstm.state_dict()) == list(layer)
        for parameter, array in lstm.state_dict().items():
            assert_same_bits(array, layer[parameter], parameter)
    x = np.random.default_rng(0).standard_normal((40, 2, 100)).astype(np.float32)
    lstm = fastlstm.load(path, "rnn_1")
    assert_close(lstm(x)[0], expected_of(lstm, x), "files, published")


@pytest.fixture
def silero(tmp_path):
    def member(name):
        return SILERO.extracted(f"silero_vad/data/{name}", tmp_path)

    return member


def test_silero_vad_torch_script(silero):
    torch = import_torch()
    path = silero("silero_vad.jit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        original = torch.jit.load(path)
    x = np.random.default_rng(0).standard_normal((30, 2, 128)).astype(np.float32)
    for prefix in ("_model", "_model_8k"):
        cell = getattr(original, prefix).decoder.rnn
        lstm = fastlstm.load(path, prefix)
        for name, array in lstm.state_dict().items():
            assert_same_bits(array, getattr(cell, name.removesuffix("_l0")).detach().numpy(), name)
        state, outputs = (torch.zeros(2, 128), torch.zeros(2, 128)), []
        with torch.no_grad():
            for step in torch.from_numpy(x):
                state = cell(step, state)
                outputs.append(state[0].numpy())
        assert_close(lstm(x)[0], np.stack(outputs), "files, published")
        assert_close(lstm(x)[0], expected_of(lstm, x), "files, published")


def test_silero_vad_is_the_same_as_onnx_and_as_torch_script(silero):
    pytest.importorskip("onnx", reason="pip install onnx")
    script, model = silero("silero_vad.jit"), silero("silero_vad.onnx")
    expected = {name: fastlstm.load(script, name).state_dict() for name in ("_model", "_model_8k")}
    found = fastlstm.inspect(model)
    assert len(found) == 4  # each twice, for a state that is given and one that is not
    for layer in found:
        told = pytest.warns(UserWarning, match="initial_h comes from the model") if layer.caution else nullcontext()
        with told:
            made = fastlstm.load(model, layer.name).state_dict()
        same = [
            name
            for name, weights in expected.items()
            if all(np.array_equal(made[parameter], array) for parameter, array in weights.items())
        ]
        assert same == ["_model" if layer.name.startswith("If_0.then_branch") else "_model_8k"]


def test_silero_vad_safetensors(silero):
    library = pytest.importorskip("safetensors.numpy", reason="pip install safetensors")
    path = silero("silero_vad_16k.safetensors")
    expected = library.load_file(path)
    lstm = fastlstm.load(path)
    for name, array in lstm.state_dict().items():
        assert_same_bits(array, expected[f"lstm_cell.{name.removesuffix('_l0')}"], name)
    x = np.random.default_rng(0).standard_normal((30, 2, 128)).astype(np.float32)
    assert_close(lstm(x)[0], expected_of(lstm, x), "files, published")
