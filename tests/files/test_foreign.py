"""Formats that are not read: told by how they begin, with what to do."""

import io
import json
import pickle
import tarfile
import zipfile

import numpy as np
import pytest

import fastlstm
from fastlstm._cli import main


def protobuf(*fields):
    """Encode fields of numbers and bytes."""
    made = b""
    for number, value in fields:
        if isinstance(value, int):
            made += bytes([number << 3, value])
        else:
            tag = (number << 3) | 2
            made += (bytes([tag]) if tag < 128 else bytes([tag & 127 | 128, tag >> 7])) + varint(len(value)) + value
    return made


def varint(number):
    made = b""
    while number > 127:
        made += bytes([number & 127 | 128])
        number >>= 7
    return made + bytes([number])


def tar():
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    return stream.getvalue()


def archive(*names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for name in names:
            made.writestr(name, b"")
    return stream.getvalue()


def npy():
    stream = io.BytesIO()
    np.save(stream, np.zeros((4, 3)))
    return stream.getvalue()


WEIGHTS = {f"lstm.{name}": array for name, array in fastlstm.LSTM(4, 3).state_dict().items()}
TENSORFLOW = protobuf((1, protobuf((1, b"input"), (2, b"Placeholder"), (5, b"x"))), (2, b"y"))
KERAS = {"class_name": "Sequential", "config": {"layers": [{"class_name": "LSTM", "config": {"units": 3}}]}}

FOREIGN = {
    "TensorFlow Lite": (b"\x1c\0\0\0TFL3" + bytes(100), "TensorFlow Lite.*take the Keras or SavedModel"),
    "GGUF": (b"GGUF\x03\0\0\0" + bytes(64), "GGUF"),
    "ggml": (b"lmgg" + bytes(64), "ggml"),
    "npy": (npy(), r"single array of NumPy.*numpy\.savez"),
    "gzip": (b"\x1f\x8b\x08\0" + bytes(64), "gzip.*unpack"),
    "bzip2": (b"BZh91AY&SY" + bytes(64), "bzip2.*unpack"),
    "xz": (b"\xfd7zXZ\x00" + bytes(64), "xz.*unpack"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(64), "Zstandard"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(64), "7z"),
    "tar": (tar(), "tar archive"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
    "matlab": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(100), "MATLAB.*loadmat"),
    "mxnet": (b"\x12\x01" + bytes(60), "MXNet"),
    "ncnn": (b"7767517\n3 3\nInput data 0 1 data\n", "ncnn.*ONNX"),
    "checkpoint list": (b'model_checkpoint_path: "model.ckpt-1"\n', "TensorFlow checkpoint"),
    "checkpoint index": (b"\x00\x00\x01\x08\x01\x12\x00" + bytes(64), "TensorFlow checkpoint"),
    "Core ML": (protobuf((1, 4), (2, protobuf((1, b"\n\x05input"))), (3, b"x")), "Core ML.*ONNX"),
    "SavedModel": (protobuf((1, 1), (2, protobuf((1, b"x" * 300)))), r"SavedModel.*model\.save\('model\.keras'\)"),
    "TensorFlow graph": (TENSORFLOW, "graph of TensorFlow.*ONNX"),
    "pickle 2": (pickle.dumps(WEIGHTS, 2), r"plain pickle.*numpy\.savez\(path, \*\*arrays\) or safetensors"),
    "pickle 4": (pickle.dumps(WEIGHTS, 4), "plain pickle"),
    "pickle 5": (pickle.dumps(WEIGHTS, 5), "plain pickle"),
    "index": (json.dumps({"metadata": {}, "weight_map": {"lstm": "a.safetensors"}}), "the one that has the"),
    "tfjs": (json.dumps({"format": "layers-model", "weightsManifest": []}), r"TensorFlow\.js"),
    "NAM": (json.dumps({"version": "0.5", "architecture": "LSTM", "config": {}, "weights": []}), "NAM.*numpy.savez"),
    "RTNeural": (json.dumps({"in_shape": [None, 1], "layers": [{"type": "lstm"}]}, indent=1), "RTNeural"),
    "GuitarML": (json.dumps({"model_data": {"model": "SimpleRNN"}, "state_dict": {}}), "GuitarML"),
    "Keras's JSON": (json.dumps(KERAS), "configuration of Keras without weights"),
    "JSON": ('{"a": [1, 2]}', "JSON"),
    "web page": ("\n<!DOCTYPE html>\n<html><head>", "web page.*fetch"),
    "OpenVINO": ('<?xml version="1.0"?>\n<net name="x" version="11">', "OpenVINO"),
    "pt2": (archive("m/version", "m/archive_format", "m/models/model.json", "m/data/weights/weight_0"), r"\.pt2"),
    "old pt2": (archive("serialized_exported_program.json", "serialized_state_dict.pt"), r"torch\.export"),
    "stable-baselines": (archive("data.json", "policy.pth"), "Stable-Baselines3"),
    "other zip": (archive("a.txt", "b.txt"), r"neither torch's nor Keras's nor NumPy's: a\.txt, b\.txt"),
    "nothing": (b"", "it has 0 bytes"),
    "zeros": (bytes(100), "none of safetensors"),
    "noise": (b"\xf1\x02\x03", r"none of safetensors.*it has 3 bytes and begins with b'\\xf1"),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_formats_that_are_not_read(name, tmp_path, capsys):
    content, message = FOREIGN[name]
    path = tmp_path / "w.bin"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    for function in (fastlstm.load, fastlstm.inspect):
        with pytest.raises(ValueError, match=rf"w\.bin cannot be read: (?s:.*){message}"):
            function(path)
    for command in (["inspect", str(path)], ["convert", str(path), str(tmp_path / "out.npz")]):
        assert main(command) == 1
        told = capsys.readouterr().err
        assert told.startswith(f"fastlstm {command[0]}: {path} cannot be read: it ")
        assert told.count("\n") == 1


def test_pickles_are_not_told_to_use_torch(tmp_path):
    (tmp_path / "w").write_bytes(pickle.dumps(WEIGHTS))
    with pytest.raises(ValueError, match="plain pickle") as told:
        fastlstm.load(tmp_path / "w")
    assert "torch" not in str(told.value)


def test_data_of_tensorflow_checkpoints_by_name(tmp_path):
    path = tmp_path / "model.ckpt.data-00000-of-00001"
    path.write_bytes(np.ones(100, "f4").tobytes())
    with pytest.raises(ValueError, match="data of a TensorFlow checkpoint"):
        fastlstm.load(path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (["saved_model.pb", "variables"], r"SavedModel.*model\.save\('model\.keras'\)"),
        (["_METADATA", "d"], r"Orbax.*msgpack_serialize"),
        (["manifest.ocdbt"], "Orbax"),
        (["Manifest.json", "Data"], "Core ML"),
        (["checkpoint", "model.index"], "TensorFlow checkpoints"),
        (["data.pkl", "version"], "unpacked checkpoint of torch"),
        ([], "is a directory, not a file"),
        (["model.pt"], "is a directory, not a file"),
    ],
)
def test_directories(members, message, tmp_path):
    for name in members:
        (tmp_path / name).touch()
    for function in (fastlstm.load, fastlstm.inspect):
        with pytest.raises(IsADirectoryError, match=message):
            function(tmp_path)
    assert main(["inspect", str(tmp_path)]) == 1


def test_what_is_read_is_not_taken_for_something_else(tmp_path):
    """Every format that begins like a foreign one: an ONNX file of any version and producer."""
    onnx = pytest.importorskip("onnx", reason="pip install onnx")
    from fastlstm.onnx import export

    for producer in ("", "x", "pytorch", "\x0a", "a" * 200):
        for version in (4, 8, 10):
            model = export(fastlstm.LSTM(4, 3))
            model.producer_name, model.ir_version = producer, version
            onnx.save(model, tmp_path / "w")
            if producer != "\x0a":
                assert fastlstm.load(tmp_path / "w").hidden_size == 3
