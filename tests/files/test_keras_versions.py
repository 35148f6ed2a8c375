"""load on files of many versions of Keras against what that Keras computed; tests/proofs/keras_files.py wrote them."""

import io
import tarfile
import warnings

import numpy as np
import pytest

import fastlstm
from fastlstm.files import AssumptionWarning
from tests.cases import assert_close
from tests.support import DATA

ARCHIVES = sorted((DATA / "keras").glob("*.tar.xz"))
KINDS = ("keras", "h5", "weights.h5")
#: Keras 3.0 cannot save two layers of one group as h5, Keras 2 no subclassed model.
NEVER_WRITTEN = {
    ("keras-3.0.5", "wrapped.h5"),
    *((path.name[:-7], "subclassed.h5") for path in ARCHIVES if "tf" in path.name),
}


def test_there_is_a_file_of_every_version():
    names = {path.name.removesuffix(".tar.xz") for path in ARCHIVES}
    assert {"tf-2.12", "tf-2.15", "tf_keras-2.16", "keras-3.0.5", "keras-3.5.0", "keras-3.6.0", "keras-3.15.1"} <= names


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def files(request, tmp_path_factory):
    """Return the folder of one version's files, and the arrays among them."""
    folder = tmp_path_factory.mktemp(request.param.name.removesuffix(".tar.xz"))
    arrays = {}
    with tarfile.open(request.param) as archive:
        for name in archive.getnames():
            content = archive.extractfile(name).read()
            if name == "arrays.npz":
                arrays = dict(np.load(io.BytesIO(content)))
            (folder / name).write_bytes(content)
    return folder, arrays


def options(folder, model, kind):
    """Return the path of a model's file, and what `load` needs beside it."""
    path = folder / f"{model}.{kind}"
    if not path.exists():
        assert (folder.name[:-1], path.name) in NEVER_WRITTEN
        pytest.skip("this version does not write it")
    return path, {"config": folder / f"{model}.json"} if kind == "weights.h5" else {}


def assert_equal_to_keras(path, given, model, arrays, names):
    """Compare layers by their outputs."""
    for name in names:
        x, y = arrays[f"{model}/{name}/x"], arrays[f"{model}/{name}/y"]
        assert_close(fastlstm.load(path, name, batch_first=True, **given)(x)[0], y, "files")


@pytest.mark.parametrize("kind", KINDS)
def test_layers_and_subclasses(files, kind):
    folder, arrays = files
    path, given = options(folder, "plain", kind)
    assert_equal_to_keras(path, given, "plain", arrays, ["enc", "lstm", "ours"])
    with pytest.warns(AssumptionWarning, match="the class 'pkg>MyLSTM' is taken for Keras's own"):
        assert_equal_to_keras(path, given, "plain", arrays, ["theirs"])
    with pytest.warns(UserWarning, match="go_backwards: the input is to be reversed"):
        turned = fastlstm.load(path, "turned", batch_first=True, **given)
    x, y = arrays["plain/turned/x"], arrays["plain/turned/y"]
    assert_close(turned(np.ascontiguousarray(x[:, ::-1]))[0], y, "files")
    for layer in fastlstm.inspect(path, **given):
        assert (layer.assumed != "") == (layer.name == "theirs")
    cautions = {layer.name: layer.note + layer.caution for layer in fastlstm.inspect(path, **given)}
    assert cautions == {
        "enc": "",
        "lstm": "",
        "theirs": "",
        "ours": "",
        "turned": "go_backwards: the input is to be reversed",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_cells_and_wrappers(files, kind):
    folder, arrays = files
    path, given = options(folder, "wrapped", kind)
    assert_equal_to_keras(path, given, "wrapped", arrays, ["both", "cell", "both_cells"])
    x, y = arrays["wrapped/bidirectional/x"], arrays["wrapped/bidirectional/y"]
    with pytest.warns(UserWarning, match="merge_mode='sum'"):
        both = fastlstm.load(path, "bidirectional", batch_first=True, **given)
    forward, backward = np.split(both(x)[0], 2, axis=2)
    assert_close(forward + backward, y, "files")
    x, y = arrays["wrapped/stack/x"], arrays["wrapped/stack/y"]
    for name in ("stack/one", "two"):  # in full, or by its last part
        x = fastlstm.load(path, name, batch_first=True, **given)(x)[0]
    assert_close(x, y, "files")
    kinds = {layer.name: layer.kind for layer in fastlstm.inspect(path, **given)}
    assert kinds == dict.fromkeys(("both", "both_cells", "bidirectional"), "Bidirectional") | dict.fromkeys(
        ("cell", "stack/one", "stack/two"), "LSTMCell"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_models_in_models(files, kind):
    folder, arrays = files
    path, given = options(folder, "nested", kind)
    top = next(name.split("/")[1] for name in arrays if name.startswith("nested/lstm"))
    assert_equal_to_keras(path, given, "nested", arrays, ["first/deep", "second/deep", top])
    assert_equal_to_keras(
        path, given, "nested", {f"nested/first/{a}": arrays[f"nested/first/deep/{a}"] for a in "xy"}, ["first"]
    )
    forms = {layer.name: layer.form for layer in fastlstm.inspect(path, **given)}
    assert forms["each/words"] == fastlstm.Form(("affine", 1.0, 0.0))
    with pytest.raises(ValueError, match=r"prefix='deep' has more than one LSTM"):
        fastlstm.load(path, "deep", **given)


@pytest.mark.parametrize("kind", ["keras", "h5"])
def test_a_model_that_does_not_tell_its_layers(files, kind):
    folder, arrays = files
    path, _ = options(folder, "subclassed", kind)
    layers = fastlstm.inspect(path)
    assert [layer.form for layer in layers] == [None, None]
    assert not any("not in the file" in str(layer) for layer in layers)
    encoder = next(layer.name for layer in layers if layer.input_size == 4)
    with pytest.raises(ValueError, match=r"say which form(?s:.*)does not tell which of its layers"):
        fastlstm.load(path, encoder)
    lstm = fastlstm.load(path, encoder, form=fastlstm.Form(candidate="relu", cell="relu"), batch_first=True)
    assert_close(lstm(arrays["subclassed/encoder/x"])[0], arrays["subclassed/encoder/y"], "files")


@pytest.mark.parametrize("model", ["plain", "wrapped", "nested", "subclassed"])
def test_weights_alone(files, model):
    folder, _ = files
    layers = fastlstm.inspect(folder / f"{model}.weights.h5")
    assert len(layers) == {"plain": 5, "wrapped": 6, "nested": 4, "subclassed": 2}[model]
    for layer in layers:
        assert (layer.form, layer.note) == (fastlstm.Form(), "")
        with pytest.warns(AssumptionWarning, match="activations are not in the file: the defaults of Keras 3"):
            fastlstm.load(folder / f"{model}.weights.h5", layer.name)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fastlstm.load(folder / f"{model}.weights.h5", layer.name, form=fastlstm.Form())
