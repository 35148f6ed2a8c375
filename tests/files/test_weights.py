"""Matrices in 16 and in 8 bits in files: as they are stored, with `weights="auto"`, and as they are written."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm._cli import main
from fastlstm._weights import is_stored
from tests.support import assert_same_bits

WEIGHTS = ("float16", "bfloat16", "int8", "int8-fast")
HALVES = ("float16", "bfloat16")
KINDS = ({}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 2, "bias": False}, {"batch_first": True})
NOTE = "for matrices in {}: weights='auto' keeps them so"


def made(weights: str | None, **options: Any) -> Any:
    return fastlstm.LSTM(3, 5, seed=0, weights=weights, **options)


def assert_same_layer(found: Any, expected: Any) -> None:
    assert repr(found) == repr(expected)
    assert found.fingerprint() == expected.fingerprint()
    x = np.random.default_rng(0).standard_normal((4, 4, 3)).astype(np.float32)
    assert_same_bits(found(x)[0], expected(x)[0])


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".flw"])
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_saved_comes_back(ending: str, weights: str, kind: Any, tmp_path: Path, recwarn: Any) -> None:
    lstm, path = made(weights, **kind), tmp_path / f"lstm{ending}"
    fastlstm.save(lstm, path)
    again = fastlstm.load(path, weights="auto")
    assert_same_layer(again, lstm)
    assert again.note == ""
    (layer,) = fastlstm.inspect(path)
    assert (layer.weights, layer.dtype) == (weights, "float32")
    assert NOTE.format(weights) in str(layer)
    plain = fastlstm.load(path)  # the default stays float32
    assert_same_layer(plain, lstm.astype(weights="float32"))
    assert plain.note == NOTE.format(weights)
    wide = fastlstm.load(path, dtype="float64", weights="auto")
    assert (wide.weights, wide.note) == ("float64", "")
    other = fastlstm.load(path, weights=weights)
    assert_same_layer(other, lstm)
    assert not recwarn.list
    with pytest.raises(ValueError, match="layers of float32"):
        fastlstm.load(path, dtype="float64", weights=weights)  # type: ignore[call-overload]


@pytest.mark.parametrize("weights", WEIGHTS)
def test_what_matrices_are_written_in(weights: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    lstm = made(weights)
    fastlstm.save(lstm, tmp_path / "lstm.safetensors")
    with safetensors.safe_open(tmp_path / "lstm.safetensors", "numpy") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    code = {"float16": "F16", "bfloat16": "BF16"}.get(weights, "I8")
    assert kinds == {name: code if is_stored(name) else "F32" for name in lstm.state_dict()}


def test_numpy_reads_what_is_saved(tmp_path: Path) -> None:
    for weights in WEIGHTS:
        dtype = {"float16": np.float16, "bfloat16": np.float32}.get(weights, np.int8)
        lstm = made(weights)
        fastlstm.save(lstm, tmp_path / "lstm.npz")
        with np.load(tmp_path / "lstm.npz") as file:
            assert {*file.files} == {*lstm.state_dict(), "fastlstm"}
            for name, array in lstm.state_dict().items():
                assert file[name].dtype == (dtype if is_stored(name) else np.float32)
                np.testing.assert_array_equal(file[name].astype(np.float32), array)


def test_several_of_different_types_in_a_file(tmp_path: Path) -> None:
    from fastlstm.files._save import write_layers

    layers = {"a": made(None)} | {f"of {weights}": made(weights) for weights in WEIGHTS}
    for ending in ".npz", ".safetensors":
        path = tmp_path / f"all{ending}"
        write_layers(layers, path)
        for name, lstm in layers.items():
            assert_same_layer(fastlstm.load(path, name, weights="auto"), lstm)


@pytest.mark.parametrize("biases", [np.float16, np.float32])
def test_a_file_of_others(biases: Any, tmp_path: Path) -> None:
    lstm, path = made("float16"), tmp_path / "weights.npz"
    state = {name: a.astype(np.float16 if is_stored(name) else biases) for name, a in lstm.state_dict().items()}
    np.savez(path, **state)
    again = fastlstm.load(path, weights="auto")
    assert again.weights == "float16"
    for name, array in state.items():
        assert_same_bits(again.state_dict()[name], array.astype(np.float32))
    assert fastlstm.load(path, dtype="float32").note == NOTE.format("float16")
    with pytest.raises(TypeError, match=r"say what to convert it to.*; or weights='auto', which keeps float16"):
        fastlstm.load(path)


def test_what_auto_leaves_in_32_bits(tmp_path: Path) -> None:
    state, path = made(None).state_dict(), tmp_path / "weights.npz"
    mixed = state | {"weight_ih_l0": state["weight_ih_l0"].astype(np.float16)}
    for given, dtype in (
        (state, "float32"),
        (mixed, "float32"),
        ({n: a.astype(float) for n, a in state.items()}, "float64"),
    ):
        np.savez(path, **given)
        found = fastlstm.load(path, weights="auto")
        assert (found.weights, found.dtype.name, found.note) == (dtype, dtype, "")
    halves = {n: a.astype(np.float16) if is_stored(n) else a.astype(float) for n, a in state.items()}
    np.savez(path, **halves)  # float32 would not hold the biases
    with pytest.raises(TypeError, match="say what to convert it to"):
        fastlstm.load(path, weights="auto")


def test_weights_that_are_made_of_parts_are_not_rounded(tmp_path: Path) -> None:
    """weight_norm's product of two float16 arrays is no float16."""
    state = dict(made(None).state_dict())
    v = state.pop("weight_hh_l0").astype(np.float16)
    g = np.full((20, 1), 1.7, np.float16)
    halves = {name: array.astype(np.float16) for name, array in state.items()}
    np.savez(tmp_path / "parts.npz", **halves, weight_hh_l0_v=v, weight_hh_l0_g=g)
    found = fastlstm.load(tmp_path / "parts.npz", weights="auto")
    expected = fastlstm.load(tmp_path / "parts.npz", dtype="float32")
    for name, array in expected.state_dict().items():
        assert_same_bits(found.state_dict()[name], array)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_checkpoint_of_torch(dtype: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.LSTM(3, 5).to(getattr(torch, dtype))
    torch.save(module.state_dict(), tmp_path / "model.pt")
    assert fastlstm.inspect(tmp_path / "model.pt")[0].weights == dtype
    found = fastlstm.load(tmp_path / "model.pt", weights="auto")
    assert found.weights == dtype
    for name, p in module.state_dict().items():
        assert_same_bits(found.state_dict()[name], p.float().numpy())


def test_a_file_of_keras(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    source = made("float16")
    kernel, recurrent, bias, _ = (a.T.astype(np.float16) for a in source.state_dict().values())
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        group = file.create_group("layers/lstm/cell/vars")
        for k, array in enumerate((kernel, recurrent, bias)):
            group[str(k)] = array
    with pytest.warns(fastlstm.files.AssumptionWarning):
        found = fastlstm.load(tmp_path / "model.weights.h5", weights="auto")
    assert found.weights == "float16"


@pytest.mark.parametrize("entry", ['"int4"', "16", '["float16"]', '{"a": 1}'])
def test_a_type_that_is_unknown_in_a_file(entry: str, tmp_path: Path) -> None:
    path = tmp_path / "lstm.safetensors"
    fastlstm.save(made("float16"), path)
    content = path.read_bytes()
    old, new = b'\\"weights\\": \\"float16\\"', b'\\"weights\\": ' + entry.replace('"', '\\"').encode()
    assert content.count(old) == 1
    header = content[8:].replace(old, new)
    length = int.from_bytes(content[:8], "little") + len(new) - len(old)
    path.write_bytes(length.to_bytes(8, "little") + header)
    with pytest.raises(ValueError, match="is not one of fastlstm's: weights should be one of"):
        fastlstm.load(path, weights="auto")


@pytest.mark.parametrize("weights", ["bfloat16", "int8", "int8-fast"])
def test_a_wrong_word_about_values_rounds_nothing(weights: str, tmp_path: Path) -> None:
    """The file names a type, and has values that are none of it."""
    fastlstm.save(made(weights, batch_first=True), tmp_path / "lstm.npz")
    with np.load(tmp_path / "lstm.npz") as file:
        told = file["fastlstm"]
    content = dict(made(weights).astype(weights="float32").state_dict())
    np.savez(tmp_path / "lstm.npz", **content, fastlstm=told)
    assert fastlstm.load(tmp_path / "lstm.npz", weights="auto").weights == weights  # a right one, beside float32
    content["weight_ih_l0"] = content["weight_ih_l0"] + np.float32(1e-3)
    np.savez(tmp_path / "lstm.npz", **content, fastlstm=told)
    found = fastlstm.load(tmp_path / "lstm.npz", weights="auto")
    assert found.weights == "float32"
    assert_same_bits(found.state_dict()["weight_ih_l0"], content["weight_ih_l0"])


def test_bad_names(tmp_path: Path) -> None:
    fastlstm.save(made(None), tmp_path / "lstm.npz")
    with pytest.raises(ValueError, match=r"weights should be one of .*, got: 'int4'"):
        fastlstm.load(tmp_path / "lstm.npz", weights="int4")
    with pytest.raises(TypeError, match="weights should be a name"):
        fastlstm.load(tmp_path / "lstm.npz", weights=16)  # type: ignore[call-overload]
    for make in made, lambda weights: made(None).astype(weights=weights):
        with pytest.raises(ValueError, match="weights should be one of"):  # there is no file to take it from
            make("auto")


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".flw"])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_convert(ending: str, weights: str, tmp_path: Path, capsys: Any) -> None:
    lstm, source, target = made(None), tmp_path / "in.npz", tmp_path / f"out{ending}"
    fastlstm.save(lstm, source)
    assert main(["convert", str(source), str(target), "--weights", weights]) == 0
    assert f"weights='{weights}'" in capsys.readouterr().out
    expected = lstm.astype(weights=weights)
    assert_same_layer(fastlstm.load(target, weights="auto"), expected)
    again = tmp_path / "again.safetensors"
    assert main(["convert", str(target), str(again), "--weights", "auto"]) == 0
    assert_same_layer(fastlstm.load(again, weights="auto"), expected)
    capsys.readouterr()
    assert main(["convert", str(target), str(again)]) == 0  # as ever, and it says what there could be
    assert (
        capsys.readouterr().err
        == f"fastlstm convert: note: for matrices in {weights}: --weights 'auto' keeps them so\n"
    )
    assert_same_layer(fastlstm.load(again, weights="auto"), expected.astype(weights="float32"))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_copies_and_pickles(weights: str) -> None:
    for lstm in made(weights), fastlstm.LSTMCell(3, 5, seed=0, weights=weights):
        for again in copy.copy(lstm), copy.deepcopy(lstm), pickle.loads(pickle.dumps(lstm)):
            assert again.weights == weights
            assert again.fingerprint() == lstm.fingerprint()
    lstm = made(None)
    lstm.note = "kept with a layer"
    assert pickle.loads(pickle.dumps(lstm)).note == lstm.note
