"""Our reader of HDF5 against h5py, which writes the files here; and files that no library should have to open."""

import os
import struct

import numpy as np
import pytest

import fastlstm
from fastlstm.files._budget import Budget
from fastlstm.files._h5 import Tree
from tests.files.support import keras_2
from tests.support import DATA, assert_same_bits, run_python

h5py = pytest.importorskip("h5py", reason="pip install h5py")

SHAPE = (7, 12)


def tree(path):
    """Read a file."""
    return Tree(path, Budget(path.stat().st_size))


# -------------------------------------------------------------------------------------------------------- as h5py reads

ARRAYS = {
    "row": {},
    "scalar": {"shape": ()},
    "nothing": {"shape": (0, 4)},
    "chunks": {"chunks": (3, 5)},
    "gzip": {"chunks": (3, 5), "compression": "gzip"},
    "every filter": {"chunks": (4, 12), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "shuffle": {"chunks": (7, 3), "shuffle": True},
    "fletcher32": {"chunks": (7, 3), "fletcher32": True},
    "many chunks": {"shape": (40, 40), "chunks": (1, 1)},
    "growing": {"chunks": (3, 5), "maxshape": (None, 12)},
    "five dimensions": {"shape": (2, 3, 2, 3, 2), "chunks": (1, 2, 2, 2, 1), "compression": "gzip"},
}


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8", "<f2", "<i4", ">u2", "i1"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays(kind, dtype, libver, tmp_path):
    options = dict(ARRAYS[kind])
    shape = options.pop("shape", SHAPE)
    array = np.random.default_rng(0).integers(-50, 50, shape).astype(dtype)
    with h5py.File(tmp_path / "w", "w", libver=libver) as file:
        file.create_dataset("a/b", data=array, **options)
    if libver == "latest" and options:
        with pytest.raises(ValueError, match="write it with h5py's defaults"):
            tree(tmp_path / "w").datasets["a/b"].read()
        return
    stored = tree(tmp_path / "w").datasets["a/b"]
    assert (stored.shape, stored.dtype) == (shape, array.dtype.newbyteorder("=").name)
    read = stored.read()
    assert read.dtype == array.dtype.newbyteorder("=")
    np.testing.assert_array_equal(read, array)


def test_a_compact_array(tmp_path):
    array = np.arange(12, dtype="float32").reshape(3, 4)
    with h5py.File(tmp_path / "w", "w") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_layout(h5py.h5d.COMPACT)
        made = h5py.h5d.create(file.id, b"c", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple(array.shape), plan)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, array)
    assert_same_bits(tree(tmp_path / "w").datasets["c"].read(), array)


@pytest.mark.parametrize("count", [0, 1, 8, 9, 700])
@pytest.mark.parametrize("libver", ["earliest", "v108"])
def test_groups_and_texts(count, libver, tmp_path):
    with h5py.File(tmp_path / "w", "w", libver=libver) as file:
        file.attrs["keras_version"] = b"2.3.1"
        for k in range(count):
            group = file.create_group(f"äöü {k}/deeper")
            group["x"] = np.full(2, k, "float32")
            group.attrs["name"] = f"layer {k} ∂"
            group.attrs["weight_names"] = [b"one", b"two"]
            group.attrs["other"] = 3.5
    if libver != "earliest" and count > 8:
        with pytest.raises(ValueError, match="a group of many links in HDF5's newer layout"):
            tree(tmp_path / "w")
        return
    found = tree(tmp_path / "w")
    assert found.attributes.pop("") == {"keras_version": "2.3.1"}
    assert found.attributes == {f"äöü {k}/deeper": {"name": f"layer {k} ∂"} for k in range(count)}
    assert {path: list(stored.read()) for path, stored in found.datasets.items()} == {
        f"äöü {k}/deeper/x": [k, k] for k in range(count)
    }


@pytest.mark.parametrize("text", ["", "a", "x" * 7, "x" * 8, "é" * 40000, b"fixed"], ids=len)
@pytest.mark.parametrize("fixed", [False, True])
def test_lengths_of_texts(text, fixed, tmp_path):
    raw = text if isinstance(text, bytes) else text.encode()
    if fixed and not 0 < len(raw) < 60000:
        pytest.skip("not a text of a fixed length")
    with h5py.File(tmp_path / "w", "w") as file:
        file.attrs["keras_version"] = np.bytes_(raw) if fixed else text
    assert tree(tmp_path / "w").attributes[""]["keras_version"] == raw.decode()


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_files_that_are_cut(version, tmp_path):
    """Nothing but slack is missing of them, or arrays that nobody asks for."""
    with h5py.File(tmp_path / "w", "w", libver=version) as file:
        file["a"] = np.zeros(3)
    content = (tmp_path / "w").read_bytes()
    (tmp_path / "w").write_bytes(content[:-1])
    with pytest.raises(ValueError, match=f"it ends after {len(content) - 1} of {len(content)} bytes"):
        fastlstm.inspect(tmp_path / "w")
    (tmp_path / "w").write_bytes(content + b"more")
    assert fastlstm.inspect(tmp_path / "w") == []


def test_links(tmp_path):
    with h5py.File(tmp_path / "w", "w") as file:
        file["a/x"] = np.zeros(3)
        file["b"] = file["a"]  # a second name
        file["a/back"] = file["/"]  # a circle
        file["soft"] = h5py.SoftLink("/a/x")
        file["round"] = h5py.SoftLink("/round")
        file["out"] = h5py.ExternalLink("elsewhere", "/x")
    assert list(tree(tmp_path / "w").datasets) == ["a/x"]


@pytest.mark.parametrize("compression", ["lzf", "scaleoffset", 32004])
def test_other_filters_are_refused_and_no_plugin_is_looked_for(compression, tmp_path, monkeypatch):
    array = np.zeros((8, 8), "int32" if compression == "scaleoffset" else "float32")
    options = {"scaleoffset": 4} if compression == "scaleoffset" else {"compression": "lzf"}
    with h5py.File(tmp_path / "w", "w") as file:
        file.create_dataset("x", data=array, chunks=(8, 8), **options)
    if isinstance(compression, int):
        content = (tmp_path / "w").read_bytes().replace(struct.pack("<H", 32000), struct.pack("<H", compression))
        (tmp_path / "w").write_bytes(content)
    monkeypatch.setenv("HDF5_PLUGIN_PATH", os.fspath(tmp_path))
    with pytest.raises(
        ValueError, match=rf"x is packed by {compression}: only deflate, shuffle and fletcher32 are read"
    ):
        tree(tmp_path / "w").datasets["x"].read()


def test_numbers_that_were_never_written(tmp_path):
    with h5py.File(tmp_path / "w", "w") as file:
        file.create_dataset("row", (2000, 8000), "float32")
        file.create_dataset("chunks", (2000, 8000), "float32", chunks=(1000, 1000))
        file.create_dataset("some", (4, 4), "float32", chunks=(2, 2))[:2] = 1
    datasets = tree(tmp_path / "w").datasets
    for name, message in (
        ("row", "the numbers of row were never written"),
        ("chunks", "16 of 16 chunks of chunks were never written"),
        ("some", "2 of 4 chunks of some were never written"),
    ):
        with pytest.raises(ValueError, match=message):
            datasets[name].read()


def test_numbers_that_lie_elsewhere(tmp_path):
    with h5py.File(tmp_path / "external", "w") as file:
        file.create_dataset("x", (3, 12), "float32", external=[(__file__, 0, 144)])
    layout = h5py.VirtualLayout((3, 12), "float32")
    layout[:] = h5py.VirtualSource(tmp_path / "external", "x", (3, 12))
    with h5py.File(tmp_path / "virtual", "w", libver="latest") as file:
        file.create_virtual_dataset("x", layout)
    for name in ("external", "virtual"):
        with pytest.raises(ValueError, match="x lies in another file: refused"):
            tree(tmp_path / name)


# ------------------------------------------------------------------------------------------------------- hostile files


def test_more_than_is_there(tmp_path):
    H = 2**20
    with h5py.File(tmp_path / "w", "w") as file:
        for name, shape in (("kernel", (4, 4 * H)), ("recurrent_kernel", (H, 4 * H)), ("bias", (4 * H,))):
            file.create_dataset(f"lstm/{name}:0", shape, "float32", chunks=True)
    assert fastlstm.inspect(tmp_path / "w")[0].hidden_size == H
    with pytest.raises(MemoryError, match="allow more with max_bytes="):
        fastlstm.load(tmp_path / "w", form=fastlstm.Form())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda heap, text: (text + 3, b"\xff"), "claims 4278190085 bytes and has 5"),
        (lambda heap, text: (text, struct.pack("<IQ", 2**32 - 1, heap + 1)), "there are no texts at"),
        (lambda heap, text: (text, struct.pack("<IQ", 2**32 - 1, 2**40)), "beyond the end"),
        (lambda heap, text: (heap + 16, bytes(16)), "claims 5 bytes and has 0"),  # index 0: free space
        (lambda heap, text: (heap + 24, b"\xff" * 8), "which does not fit"),
        (lambda heap, text: (heap + 8, b"\xff" * 8), "beyond the end"),
        (lambda heap, text: (14, b"\x04"), "numbers of eight bytes"),
    ],
)
def test_texts_with_false_claims(change, message, tmp_path):
    keras_2(tmp_path / "w", "2.3.1", "sigmoid")
    content = bytearray((tmp_path / "w").read_bytes())
    heap = content.index(b"GCOL")
    text = content.index(struct.pack("<IQ", 5, heap))
    place, changed = change(heap, text)
    content[place : place + len(changed)] = changed
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        fastlstm.load(tmp_path / "w")


def test_deep_groups(tmp_path):
    with h5py.File(tmp_path / "w", "w") as file:
        group = file
        for _ in range(1500):
            group = group.create_group("g")
    with pytest.raises(ValueError, match="more than 64 deep"):
        fastlstm.inspect(tmp_path / "w")


def test_long_names_over_many_arrays(tmp_path):
    with h5py.File(tmp_path / "w", "w") as file:
        group = file.create_group("n" * 5000)
        for k in range(20):
            group[str(k)] = 0.0
    with pytest.raises(ValueError, match="more than 4096 letters"):
        fastlstm.inspect(tmp_path / "w")


# Counted, not timed: how many bytes of structures are read.
HEAPS = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + bytes(48)


@pytest.mark.parametrize("count", [1, 1000, 65536])
def test_many_heaps_are_not_searched_for(count, tmp_path):
    (tmp_path / "w").write_bytes(HEAPS + (b"GCOL\1\0\0\0" + struct.pack("<Q", 16)) * count)
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        fastlstm.inspect(tmp_path / "w")


def many_headers(count, size):
    """Write a file in which many objects continue in one block."""
    block = struct.pack("<HHB3x", 0, 0, 0) * (size // 8)
    at = 4096 + 64 * count
    header = struct.pack("<BBHIII", 1, 0, 2, 1, 24, 0) + struct.pack("<HHB3xQQ", 16, 16, 0, at, len(block))
    names = b"".join(b"%08d\0" % k for k in range(count))
    symbols = b"".join(struct.pack("<QQI20x", 9 * k, 4096 + 64 * k, 0) for k in range(count))
    end = at + len(block)
    places = {"heap": end, "names": end + 32, "node": end + 32 + len(names)}
    places["symbols"] = places["node"] + 24 + 16
    root = struct.pack("<BBHIII", 1, 0, 1, 1, 24, 0) + struct.pack(
        "<HHB3xQQ", 17, 16, 0, places["node"], places["heap"]
    )
    head = b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + bytes(40) + struct.pack("<QQ", 0, 1024)
    content = head.ljust(1024, b"\0") + root
    content = content.ljust(4096, b"\0") + b"".join(header.ljust(64, b"\0") for _ in range(count)) + block
    content += b"HEAP" + bytes(4) + struct.pack("<QQQ", len(names), 0, places["names"]) + names
    content += b"TREE" + struct.pack("<BBHQQ", 0, 0, 1, 2**64 - 1, 2**64 - 1) + struct.pack("<QQ", 0, places["symbols"])
    return content + b"SNOD" + struct.pack("<BBH", 1, 0, count) + symbols


def test_objects_that_share_their_header(tmp_path):
    (tmp_path / "few").write_bytes(many_headers(3, 1000))
    assert fastlstm.inspect(tmp_path / "few") == []
    (tmp_path / "many").write_bytes(many_headers(2000, 400_000))
    with pytest.raises(ValueError, match="larger together than the file"):
        fastlstm.inspect(tmp_path / "many")


# In a process of its own, with the memory that it may take: any other error than these is a failure.
_MUTATE = """
import sys, random, resource, zipfile, warnings
import numpy as np
import fastlstm

warnings.simplefilter("ignore")
fastlstm.inspect(sys.argv[1])
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**28,) * 2)
content, path, count = open(sys.argv[1], "rb").read(), sys.argv[2], int(sys.argv[3])
draw = random.Random(len(content))
marks = [b"TREE", b"SNOD", b"HEAP", b"GCOL", b"OHDR", b"PK\\x01\\x02", b"FRHP"]
places = [k for mark in marks for k in range(len(content)) if content.startswith(mark, k)]
refused = loaded = 0
for k in range(count):
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        near = draw.choice(places) + draw.randrange(48) if k % 2 and places else draw.randrange(len(changed))
        width = draw.choice((1, 1, 2, 4, 8))
        value = draw.choice((0, 2**64 - 1, 1, 2**31, draw.getrandbits(64), draw.choice(places or [0]), near))
        near = min(near, len(changed) - width)
        changed[near : near + width] = (value & (2 ** (8 * width) - 1)).to_bytes(width, "little")
    if k % 10 == 0:
        del changed[draw.randrange(len(changed)) :]
    with open(path, "wb") as file:
        file.write(changed)
    try:
        for layer in fastlstm.inspect(path):
            if not layer.problem:
                fastlstm.load(path, layer.name, form=fastlstm.Form())
        loaded += 1
    except ValueError as error:
        assert str(error)
        refused += 1
    except MemoryError as error:
        assert "max_bytes=" in str(error)
        refused += 1
print(refused, loaded)
"""


@pytest.mark.parametrize("kind", ["keras", "h5", "chunks"])
def test_mutated_files(kind, tmp_path):
    if kind == "keras":
        import tarfile

        with tarfile.open(DATA / "keras" / "keras-3.6.0.tar.xz") as archive:
            (tmp_path / "w").write_bytes(archive.extractfile("plain.keras").read())
    else:
        keras_2(tmp_path / "w", "2.3.1", "sigmoid", group="model_weights/")
    if kind == "chunks":
        with h5py.File(tmp_path / "w", "a") as file:
            for name in ("kernel", "recurrent_kernel"):
                array = file[f"model_weights/lstm_1/lstm_1/{name}:0"][()]
                del file[f"model_weights/lstm_1/lstm_1/{name}:0"]
                file.create_dataset(
                    f"model_weights/lstm_1/lstm_1/{name}:0", data=array, chunks=(1, 5), compression="gzip", shuffle=True
                )
    count = int(os.environ.get("FASTLSTM_MUTATIONS", "300"))
    arguments = [os.fspath(tmp_path / "w"), os.fspath(tmp_path / "broken"), str(count)]
    refused, loaded = map(int, run_python(f"import sys; sys.argv[1:] = {arguments!r}\n" + _MUTATE).split())
    assert refused + loaded == count
    assert refused > count // 10
