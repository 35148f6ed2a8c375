"""What reading a file may take: one account for all of it, honest files within, and the caller may allow more."""

import os
import socket
import struct
import zipfile

import numpy as np
import pytest

import fastlstm
from fastlstm.files import _budget, _zip
from fastlstm.files._budget import FREE_BYTES, RATIO, TIMES, Budget

MIB = 2**20


def test_keep_and_hold():
    budget = Budget(1000)
    assert budget.limit == FREE_BYTES + TIMES * 1000
    budget.keep("an array", FREE_BYTES)
    with budget.hold("its bytes", 4000):
        assert budget.taken == budget.limit
        with pytest.raises(MemoryError, match=r"one more would take 1 bytes beside \d+: .*max_bytes="):
            budget.keep("one more", 1)
    assert budget.taken == FREE_BYTES
    budget.keep("one more", 4000)
    with pytest.raises(ValueError, match="negative"):
        budget.keep("less", -1)


def test_hold_gives_back_after_an_error():
    budget = Budget(0)

    def fail():
        with budget.hold("its bytes", 5):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert budget.taken == 0


def test_compressed_parts_count_by_what_they_unpack_to():
    budget = Budget(1000)
    budget.unpack(5000, 500)  # honest
    assert budget.limit == FREE_BYTES + TIMES * (500 + 5000)
    budget.unpack(10**9, 100)  # out of proportion
    assert budget.limit == FREE_BYTES + TIMES * (400 + 5000 + RATIO * 100)
    budget.unpack(10**9, 2**31)  # more than is left of the file
    assert budget.limit == FREE_BYTES + TIMES * (5000 + RATIO * 500)
    budget.unpack(10**9, 2**31)
    budget.unpack(10**9, -5)
    assert budget.limit == FREE_BYTES + TIMES * (5000 + RATIO * 500)


def test_the_caller_s_limit_stands():
    budget = Budget(10**9, 50)
    budget.unpack(10**6, 10**6)
    assert budget.limit == 50


def test_load_takes_max_bytes(tmp_path):
    lstm = fastlstm.LSTM(300, 300, seed=0)
    np.savez(tmp_path / "w", **lstm.state_dict())
    assert fastlstm.load(tmp_path / "w.npz").hidden_size == 300
    for function in (fastlstm.load, fastlstm.inspect):
        with pytest.raises(MemoryError, match=r"w\.npz cannot be read.*max_bytes="):
            function(tmp_path / "w.npz", max_bytes=1000)
        with pytest.raises(ValueError, match="max_bytes must be greater than zero"):
            function(tmp_path / "w.npz", max_bytes=0)
        with pytest.raises(TypeError, match="max_bytes should be of type int, got: str"):
            function(tmp_path / "w.npz", max_bytes="1G")


def test_sparse_weights_load_and_zeros_only_when_allowed(tmp_path):
    rng = np.random.default_rng(0)
    H = 1400
    arrays = {
        "weight_ih_l0": np.zeros((4 * H, H), np.float32),
        "weight_hh_l0": np.zeros((4 * H, H), np.float32),
    }
    np.savez_compressed(tmp_path / "zeros", **arrays)
    for array in arrays.values():
        places = rng.integers(0, array.size, array.size // 15)
        array.ravel()[places] = rng.standard_normal(places.size)
    np.savez_compressed(tmp_path / "pruned", **arrays)
    pruned = fastlstm.load(tmp_path / "pruned.npz", dtype="float32")
    assert np.array_equal(pruned.state_dict()["weight_hh_l0"], arrays["weight_hh_l0"])
    with pytest.raises(MemoryError, match="max_bytes="):
        fastlstm.load(tmp_path / "zeros.npz")
    assert fastlstm.load(tmp_path / "zeros.npz", max_bytes=2**30).hidden_size == H


# ------------------------------------------------------------------------------------------------------- zip archives


def members(path):
    return _zip.Archive(path, Budget(os.path.getsize(path)))


def edited(path, place, format, value, signature=b"PK\x01\x02"):
    """Change a field in every entry of the directory."""
    content = bytearray(path.read_bytes())
    start = -1
    while (start := content.find(signature, start + 1)) >= 0:
        struct.pack_into(format, content, start + place, value)
    path.write_bytes(content)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("size", [0, 1, 10, 2**18, 2**18 + 1, 10**6])
def test_members_are_read(method, size, tmp_path):
    content = np.random.default_rng(size).integers(0, 9, size, np.uint8).tobytes()
    with zipfile.ZipFile(tmp_path / "w", "w", method) as archive:
        archive.comment = b"a comment"
        archive.writestr("a", content)
        archive.writestr("b", b"other")
    archive = members(tmp_path / "w")
    assert archive.read("a") == content
    assert archive.head("a", 5) == content[:5]
    assert archive.read("b") == b"other"
    assert archive.is_stored("a") == (method == zipfile.ZIP_STORED)


def test_members_damaged_or_packed_otherwise(tmp_path):
    path = tmp_path / "w"

    def write(method=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.writestr("a", bytes(5000))
            archive.writestr("b", bytes(5000))

    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        write(method)
        with pytest.raises(ValueError, match="another method than deflate"):
            members(path).read("a")
    for place, format, value, message in (
        (16, "<I", 5, "damaged"),  # checksum
        (20, "<I", 2**31 - 1, "overlap"),  # packed size
        (24, "<I", 4999, "damaged"),  # size
        (24, "<I", 5001, "damaged"),
        (42, "<I", 0, "overlap"),  # place
        (8, "<H", 1, "encrypted"),
    ):
        write()
        edited(path, place, format, value)
        with pytest.raises(ValueError, match=message):
            members(path).read("a")
    write(zipfile.ZIP_STORED)
    edited(path, 24, "<I", 2**31)
    with pytest.raises(ValueError, match="claims 2147483648"):
        members(path).read("a")


def test_two_members_of_one_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    with pytest.raises(ValueError, match="one name"):
        members(tmp_path / "w")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_packed_size_that_the_file_claims_is_not_believed(method, tmp_path):
    with zipfile.ZipFile(tmp_path / "w.npz", "w", method) as archive:
        for name in ("weight_ih_l0", "weight_hh_l0"):
            with archive.open(f"{name}.npy", "w") as file:
                np.save(file, np.zeros((64, 16), np.float32))
    assert fastlstm.load(tmp_path / "w.npz").hidden_size == 16
    edited(tmp_path / "w.npz", 20, "<I", 2**31 - 1)
    with pytest.raises(ValueError, match="overlap"):
        fastlstm.load(tmp_path / "w.npz")


def test_many_arrays_share_one_account(tmp_path):
    """Each of them alone would be allowed."""
    weights = {}
    for k in range(12):
        weights[f"weight_ih_l{k}"] = weights[f"weight_hh_l{k}"] = np.zeros((4 * 512, 512), np.float32)
    np.savez_compressed(tmp_path / "w", **weights)
    with pytest.raises(MemoryError, match="max_bytes="):
        fastlstm.load(tmp_path / "w.npz")
    assert fastlstm.load(tmp_path / "w.npz", max_bytes=2**28).num_layers == 12


def test_many_small_arrays_fit(tmp_path):
    """Which honest files have, and whose descriptions take more memory than they do."""
    arrays = {f"layer{k}.bias": np.zeros(2, np.float32) for k in range(6000)} | fastlstm.LSTM(4, 3).state_dict()
    np.savez(tmp_path / "w", **arrays)
    assert fastlstm.load(tmp_path / "w.npz").hidden_size == 3
    torch = pytest.importorskip("torch", reason="pip install torch")
    torch.save({name: torch.tensor(array) for name, array in arrays.items()}, tmp_path / "w")
    assert fastlstm.load(tmp_path / "w").hidden_size == 3


def test_a_directory_larger_than_the_account(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        for k in range(2000):
            archive.writestr(f"{k}", b"")
    assert len(members(tmp_path / "w").members) == 2000
    monkeypatch.setattr(_budget, "FREE_BYTES", 2**16)
    with pytest.raises(MemoryError, match="the directory of the archive"):
        members(tmp_path / "w")


# ------------------------------------------------------------------------------------------------- no regular files


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("function", [fastlstm.load, fastlstm.inspect])
def test_what_is_no_regular_file(function, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="is a named pipe, not a regular file"):
            function(tmp_path / name)
    for path in ("/dev/zero", "/dev/null", "/dev/full"):
        if os.path.exists(path):
            with pytest.raises(OSError, match="is a device, not a regular file"):
                function(path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "loop", tmp_path / "none", "/proc/self/mem"):
        with pytest.raises((OSError, ValueError)):
            function(path)
    if hasattr(socket, "AF_UNIX") and len(str(tmp_path)) < 90:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "s"))
            with pytest.raises(OSError, match="s'"):
                function(tmp_path / "s")


def test_paths_of_every_type(tmp_path):
    np.savez(tmp_path / "w", **fastlstm.LSTM(4, 3).state_dict())

    class Pathlike:
        def __init__(self, path):
            self.path = path

        def __fspath__(self):
            return self.path

    text = str(tmp_path / "w.npz")
    (tmp_path / "link").symlink_to(text)
    for path in (text, tmp_path / "w.npz", Pathlike(text), Pathlike(os.fsencode(text)), tmp_path / "link"):
        assert fastlstm.load(path).hidden_size == 3
        assert len(fastlstm.inspect(path)) == 1
    for path in (os.fsencode(text), 3, None, ["w"]):
        with pytest.raises(TypeError, match=r"path should be a str or os\.PathLike"):
            fastlstm.inspect(path)
