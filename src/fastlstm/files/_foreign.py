"""Formats that are not read here, told by how they begin, and what to do with such a file."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

#: How many bytes of a file `told` wants to see.
HEAD: Final = 4096

_SAVE_ARRAYS = "write its arrays where they can be read, with numpy.savez(path, **arrays) or safetensors"
_KERAS = "load it where TensorFlow is, and save it as Keras's: model.save('model.keras')"
_UNPACK = "unpack it first"
_ONNX = "convert it to ONNX"
_JSON_WEIGHTS = "write its weights with numpy.savez, under the names weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0"

#: Where they begin, what with, what that is, what to do.
_MAGIC: Final = (
    (4, b"TFL3", "TensorFlow Lite", "take the Keras or SavedModel file that it was made of"),
    (0, b"GGUF", "GGUF", "take the checkpoint that it was made of"),
    *((0, magic, "ggml", "take the checkpoint that it was made of") for magic in (b"lmgg", b"fmgg", b"tjgg")),
    (0, b"\x93NUMPY", "a single array of NumPy (.npy)", "write all arrays of the LSTM with numpy.savez"),
    (0, b"\x1f\x8b", "gzip", _UNPACK),
    (0, b"BZh", "bzip2", _UNPACK),
    (0, b"\xfd7zXZ\x00", "xz", _UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "7z", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file", "fetch the file with: git lfs pull"),
    (0, b"MATLAB 5.0 MAT", "a MATLAB file", "read it with scipy.io.loadmat and write it with numpy.savez"),
    (0, b"\x12\x01\x00\x00\x00\x00\x00\x00", "MXNet's parameters", _SAVE_ARRAYS),
    (0, b"7767517", "ncnn's description of a model", _ONNX),
    (0, b"model_checkpoint_path:", "the list of a folder of TensorFlow checkpoints", _KERAS),
    (0, b"\x00\x00\x01\x08\x01\x12", "the index of a TensorFlow checkpoint", _KERAS),
)  # fmt: skip

#: What texts have in them: all of these words.
_TEXTS: Final = (
    (('"weight_map"',), "the index of several safetensors files", "give the one that has the LSTM"),
    (('"weightsManifest"',), "TensorFlow.js", "take the Keras file that it was made of"),
    (('"architecture"', '"config"'), "a model of NAM", _JSON_WEIGHTS),
    (('"in_shape"', '"layers"'), "a model of RTNeural", _JSON_WEIGHTS),
    (('"state_dict"', '"model_data"'), "a model of GuitarML", _JSON_WEIGHTS),
    (('"class_name"',), "a configuration of Keras without weights", "give the file of the weights"),
    (("<!doctype html",), "a web page: a download that failed", "fetch the file once more"),
    (("<html",), "a web page: a download that failed", "fetch the file once more"),
    (("<?xml", "<net"), "a model of OpenVINO", _ONNX),
    (("{",), "JSON", _JSON_WEIGHTS),
)

#: Protobuf of Core ML and of TensorFlow: a version, then a message that begins with a message. ONNX has a text there.
_VERSION_AND_MESSAGE: Final = re.compile(rb"\x08(?P<version>[\x01-\x1f])\x12[\x80-\xff]*[\x00-\x7f](?:\n|\xa2\x06)")
_TENSORFLOW_GRAPH: Final = re.compile(rb"\n[\x80-\xff]*[\x00-\x7f]\n.[\w./-]+\x12.[A-Z]\w+", re.DOTALL)

_FOLDERS: Final = (
    (("saved_model.pb",), "TensorFlow's SavedModel", _KERAS),
    (("_CHECKPOINT_METADATA", "_METADATA", "manifest.ocdbt"), "Orbax", "restore it and write its tree with "
     "flax.serialization.msgpack_serialize, or flattened with numpy.savez"),
    (("Manifest.json",), "Core ML (.mlpackage)", _ONNX),
    (("checkpoint",), "TensorFlow checkpoints", _KERAS),
    (("data.pkl",), "an unpacked checkpoint of torch", "pack it again: a zip archive, not compressed"),
)  # fmt: skip

_ARCHIVES: Final = (
    (("archive_format", "serialized_exported_program.json", "models/model.json"), "a program of torch.export (.pt2)",
     "save the weights where torch is: torch.save(torch.export.load(path).state_dict, 'weights.pt')"),
    (("extern_modules",), "a torch.package", "save the weights where torch is, with torch.save"),
    (("data.json",), "a model of Stable-Baselines3", "take policy.pth out of it: that is a torch file"),
    (("Manifest.json",), "Core ML (.mlpackage)", _ONNX),
)  # fmt: skip


def told(head: bytes, path: Path) -> str:
    """Say what a file is that no reader takes, and what to do; empty if that is unknown."""
    for place, magic, what, advice in _MAGIC:
        if head.startswith(magic, place):
            return _text(what, advice)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return f"it is a plain pickle, which may run anything, so it is refused: in a place you trust, {_SAVE_ARRAYS}"
    if found := _VERSION_AND_MESSAGE.match(head):
        if found["version"] == b"\x01" and b"\x0a" in head:
            return _text("a SavedModel of TensorFlow, or Core ML", f"{_KERAS}; or {_ONNX}")
        return _text("Core ML", _ONNX)
    if _TENSORFLOW_GRAPH.match(head):
        return _text("a graph of TensorFlow", _ONNX)
    if re.search(r"\.data-\d+-of-\d+$", path.name):
        return _text("the data of a TensorFlow checkpoint", _KERAS)
    return _told_of_text(head)


def folder(path: Path) -> str:
    """Say what a directory is."""
    names = {each.name for each in path.iterdir()}
    return _among(names, _FOLDERS) or "is a directory, not a file"


def archive(names: Collection[str]) -> str:
    """Say what a zip archive is, by its members' names; empty if that is unknown."""
    return _among(names, _ARCHIVES) or _among({name.rpartition("/")[2] for name in names}, _ARCHIVES)


def _among(names: Collection[str], table: tuple[tuple[tuple[str, ...], str, str], ...]) -> str:
    for members, what, advice in table:
        if any(member in names for member in members):
            return _text(what, advice)
    return ""


def _told_of_text(head: bytes) -> str:
    text = head.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if not text.startswith(("{", "[", "<")):
        return ""
    for words, what, advice in _TEXTS:
        if all(word.lower() in text.lower() for word in words):
            return _text(what, advice)
    return ""


def _text(what: str, advice: str) -> str:
    return f"it is {what}, which is not read here: {advice}"
