"""Our own readers of safetensors and msgpack: what the formats' own libraries write, and what they would not."""

import json
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
from fastlstm.files import _msgpack, _safetensors
from fastlstm.files._budget import Budget
from tests.support import assert_same_bits, run_python

WEIGHTS = fastlstm.LSTM(4, 3, seed=0).state_dict()


def write(path, header, body=b"", length=None):
    """Write a file of safetensors around any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)
    return path


def entry(start=0, end=48, shape=(12,), dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


# ------------------------------------------------------------------------------------------------------- safetensors


@pytest.mark.parametrize(
    ("header", "size", "message"),
    [
        ({"a": entry()}, 47, "its tensors have 48 bytes, the file has 47"),
        ({"a": entry()}, 49, "its tensors have 48 bytes, the file has 49"),
        ({"a": entry(), "b": entry()}, 96, "begins at 0, where 48 is expected"),
        ({"a": entry(), "b": entry(24, 72)}, 72, "begins at 24, where 48"),
        ({"a": entry(), "b": entry(52, 100)}, 100, "begins at 52, where 48"),
        ({"a": entry(shape=(13,))}, 48, "has 48 bytes"),
        ({"a": entry(shape=(2**62, 2**62))}, 48, "has 48 bytes"),
        ({"a": entry(shape=(-1, -12))}, 48, "does not describe"),
        ({"a": entry(shape=(12.0,))}, 48, "does not describe"),
        ({"a": entry(shape=(True,))}, 48, "does not describe"),
        ({"a": entry(shape=12)}, 48, "does not describe"),
        ({"a": entry(dtype=3)}, 48, "does not describe"),
        ({"a": entry(48, 0)}, 48, "bytes"),
        ({"a": entry(2**64, 2**64 + 48)}, 48, "does not describe"),
        ({"a": entry() | {"data_offsets": [0]}}, 48, "does not describe"),
        ({"a": [1]}, 48, "does not describe"),
        ({"a": None}, 48, "does not describe"),
        ({"a": {}}, 48, "does not describe"),
        ({"__metadata__": {"x": 1}}, 0, "texts by names"),
        ({"__metadata__": "x"}, 0, "texts by names"),
        ({"__metadata__": None}, 0, "texts by names"),
        (b'{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"F32"}}', 0, "a name twice"),
        (b"{}}", 0, "Extra data"),
        (b"{", 0, "cannot be read"),
        (b"{\xff", 0, "cannot be read"),
        (b'{"a":' * 100_000, 0, "cannot be read"),
    ],
)
def test_headers_of_safetensors_that_are_none(header, size, message, tmp_path):
    path = write(tmp_path / "w", header, bytes(size))
    with pytest.raises(ValueError, match=message):
        fastlstm.load(path)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100, 3])
def test_a_header_of_another_length(length, tmp_path):
    path = write(tmp_path / "w", {"a": entry()}, bytes(48), length)
    with pytest.raises(ValueError, match=r"none of safetensors|cannot be read as safetensors"):
        fastlstm.load(path)


def test_a_header_larger_than_the_account(tmp_path):
    header = b'{"__metadata__":{' + b",".join(b'"%d":""' % k for k in range(400_000)) + b"}}"
    with pytest.raises(MemoryError, match="its header would take"):
        fastlstm.load(write(tmp_path / "w", header))


def test_types_of_safetensors_that_are_not_read(tmp_path):
    for dtype, size in (("F8_E4M3", 1), ("U64", 8), ("BOOL", 1), ("F4", 0.5), ("new", 3)):
        header, place = {}, 0
        for name, array in WEIGHTS.items():
            end = place + int(array.size * size)
            header[name] = entry(place, end, array.shape, dtype)
            place = end
        (layer,) = fastlstm.inspect(write(tmp_path / "w", header, bytes(place)))
        assert f"got: {dtype}" in layer.problem


def test_types_that_a_terminal_would_obey(tmp_path):
    write(
        tmp_path / "w",
        {"weight_ih_l0": entry(0, 48, (4, 3), "\x1b[2J\n"), "weight_hh_l0": entry(48, 64, (4, 1))},
        bytes(64),
    )
    (layer,) = fastlstm.inspect(tmp_path / "w")
    assert str(layer).isprintable()
    with pytest.raises(ValueError, match=r"\\x1b\[2J") as caught:
        fastlstm.load(tmp_path / "w")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("kind", ["BF16", "F16", "F32", "F64"])
def test_only_the_tensors_that_are_wanted_are_read(kind, tmp_path):
    """A large file around small weights: each is sought, nothing else is touched."""
    numbers = np.random.default_rng(0).integers(1, 2**11, 4000).astype(np.uint16)
    size = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}[kind]
    header, parts, place, start = {}, [], 0, 0
    for name, array in WEIGHTS.items():
        whole = numbers[start : start + array.size]
        start += array.size
        body = {
            "BF16": whole,
            "F16": whole.astype(np.float16),
            "F32": whole.astype(np.float32),
            "F64": whole.astype(np.float64),
        }[kind].tobytes()
        header[f"lstm.{name}"] = entry(place, place + len(body), array.shape, kind)
        parts.append(body)
        place += len(body)
    large = 64 * 2**20
    header["other"] = entry(place, place + large, [large // size], kind)
    path = write(tmp_path / "w", header, b"".join(parts))
    with path.open("r+b") as file:  # a hole
        file.truncate(path.stat().st_size + large)
    tracemalloc.start()
    lstm = fastlstm.load(path, "lstm", dtype="float64")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**22
    first = numbers[: WEIGHTS["weight_ih_l0"].size]
    expected = (first.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else first.astype(np.float64)
    assert_same_bits(lstm.state_dict()["weight_ih_l0"].ravel(), expected.astype(np.float64))


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(["float32", "float64"]), st.lists(st.integers(0, 3), max_size=3)),
        max_size=5,
    )
)
def test_what_is_written_is_what_the_library_reads(tmp_path_factory, shapes):
    library = pytest.importorskip("safetensors.numpy", reason="pip install safetensors")
    rng = np.random.default_rng(0)
    arrays = {name: rng.standard_normal(shape).astype(dtype) for name, (dtype, shape) in shapes.items()}
    content = _safetensors.content(arrays, {"note": "é"})
    loaded = library.load(content)
    assert set(loaded) == set(arrays)
    for name, array in arrays.items():
        assert_same_bits(loaded[name], array, name)
    path = tmp_path_factory.mktemp("own") / "w"
    path.write_bytes(content)
    for layer in _safetensors.layers(path, Budget(len(content))):
        assert layer.problem


# ------------------------------------------------------------------------------------------------------------ msgpack


def read(content, path):
    path.write_bytes(content)
    with path.open("rb") as file:
        reader = _msgpack._Reader(path, file, Budget(len(content)), 0, len(content))
        value = reader.value()
        assert reader.place == len(content)
    return value


@settings(max_examples=200, deadline=None)
@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False, width=32)
        | st.text()
        | st.binary(),
        lambda children: st.lists(children, max_size=20) | st.dictionaries(st.text(), children, max_size=20),
        max_leaves=40,
    ),
    single=st.booleans(),
)
def test_plain_data_is_read_as_msgpack_reads_it(value, single, tmp_path_factory):
    msgpack = pytest.importorskip("msgpack", reason="pip install msgpack")
    content = msgpack.packb(value, use_single_float=single)
    assert read(content, tmp_path_factory.getbasetemp() / "m") == msgpack.unpackb(content, strict_map_key=False)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536])
def test_lengths_of_msgpack(size, tmp_path):
    msgpack = pytest.importorskip("msgpack", reason="pip install msgpack")
    for value in ("x" * size, b"x" * size, [0] * size, {str(k): k for k in range(size)}):
        assert read(msgpack.packb(value), tmp_path / "m") == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x81\xa1a\xc1", "a code that msgpack does not have: 193"),
        (b"\x81" * 5000, "keys should be texts or numbers|levels deep"),
        (b"\x81\xa1a" * 5000, "levels deep"),
        (b"\x91" * 5000, "none of"),
        (b"\xdf\xff\xff\xff\xff", "8589934590 bytes, where 0 are left"),
        (b"\x81\xa1a\xdd\xff\xff\xff\xff", "4294967295 bytes, where 0"),
        (b"\x81\xa1a\xdb\xff\xff\xff\xff", "4294967295 bytes, where 0"),
        (b"\x81\xa1a\xc6\xff\xff\xff\xff", "4294967295 bytes, where 0"),
        (b"\x81\xa1a\xc9\xff\xff\xff\xff\x01", "4294967295 bytes, where 0"),
        (b"\x81\xa1a\xcb\x00", "8 bytes, where 1"),
        (b"\x81\xa1a", "1 bytes, where 0"),
        (b"\x81\xa1\xff\x01", "cannot be read as Flax msgpack"),
        (b"\x81\x91\x01\x01", "keys should be texts or numbers, got: list"),
        (b"\x81\xa1a\x01\x01", "its tree ends after 4 of 5 bytes"),
        (b"\x81\xa1a\xd4\x01\x01", "an invalid array"),
        (b"\x81\xa1a\xd6\x01\x93\x90\xa1f", "an invalid array|bytes, where"),
        (b"\x81\xa1a\xc7\x0d\x01\x93\x91\x05\xa7float32\xc4\x00", "should take 20 bytes, got: 0"),
        (b"\x81\xa1a\xc7\x0d\x01\x93\x91\xff\xa7float32\xc4\x00", "with an invalid shape"),
        (b"\x81\xa1a\xc7\x0d\x01\x93\x91\x05\xa7float32\xc4\x14" + bytes(20), "20 bytes, where 0 are left"),
        (b"\x81\xa1a\x82\xb9__msgpack_chunked_array__\xc3\xa5shape\x80", "without a shape or without pieces"),
    ],
)
def test_msgpack_that_is_none(content, message, tmp_path):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        fastlstm.load(tmp_path / "w")


def test_trees_that_grow(tmp_path):
    for content in (b"\xdd\x00\x10\x00\x00" + b"\x80" * 2**20, b"\xdd\x00\x10\x00\x00" + b"\x90" * 2**20):
        (tmp_path / "w").write_bytes(b"\x81\xa1a" + content)
        with pytest.raises(MemoryError, match="its tree would take"):
            fastlstm.inspect(tmp_path / "w")


def test_a_file_that_becomes_shorter_while_it_is_read(tmp_path):
    (tmp_path / "w").write_bytes(b"\x82\xa1a\x01\xa1b\xc4\xff" + bytes(255))
    script = f"""
import os, fastlstm
from fastlstm.files._budget import Budget

def cut(self, what, size, keep=Budget.keep):
    keep(self, what, size)
    os.truncate({str(tmp_path / "w")!r}, 0)

Budget.keep = cut
try:
    fastlstm.inspect({str(tmp_path / "w")!r})
except ValueError:
    pass
print("alive")
"""
    assert run_python(script) == "alive\n"


def test_names_that_multiply(tmp_path):
    msgpack = pytest.importorskip("msgpack", reason="pip install msgpack")
    array = msgpack.ExtType(1, msgpack.packb([[1], "float32", bytes(4)]))
    tree = {str(k): array for k in range(8000)}
    for _ in range(3):
        tree = {"x" * 1000: tree}
    (tmp_path / "w").write_bytes(msgpack.packb(tree))
    assert fastlstm.inspect(tmp_path / "w", max_bytes=2**30) == []
    for _ in range(60):
        tree = {"x" * 1000: tree}
    (tmp_path / "w").write_bytes(msgpack.packb(tree))
    with pytest.raises(ValueError, match=r"a name of \d+ letters"):
        fastlstm.inspect(tmp_path / "w")
