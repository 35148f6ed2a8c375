"""Hostile, damaged and enormous files: a clear error, soon; nothing in them is ever run."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastlstm
from fastlstm import files
from tests.cases import LAYERS, make_data
from tests.files.damage import try_all, write_seeds
from tests.files.support import legacy_checkpoint, zip_checkpoint
from tests.support import run_python
from tests.torch.support import import_torch

CASE = next(case for case in LAYERS if case.name == "two-layers-bidirectional")


def state_dict(dtype="float32"):
    return make_data(CASE, dtype).state_dict


# ------------------------------------------------------------------------------------------------------------ pickles


class Payload:
    """Pickles to a call that makes a folder."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("place", ["alone", "among the weights", "as a weight", "as a key's state"])
@pytest.mark.parametrize("around", ["zip", "legacy", "plain", "npz"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_payloads_are_not_run(place, around, protocol, tmp_path):
    marker = tmp_path / "marker"
    payload = Payload(marker)
    tree = {
        "alone": payload,
        "among the weights": {"lstm.weight_ih_l0": [1.0], "extra": [payload]},
        "as a weight": {"weight_ih_l0": payload, "weight_hh_l0": payload},
        "as a key's state": [{"x": (payload,)}],
    }[place]
    pickled = pickle.dumps(tree, protocol)
    path = tmp_path / "w"
    if around == "zip":
        zip_checkpoint(path, pickled)
    elif around == "legacy":
        legacy_checkpoint(path, pickled)
    elif around == "npz":
        np.savez(tmp_path / "w", weight_ih_l0=np.array([tree], dtype=object))
        path = tmp_path / "w.npz"
    else:
        path.write_bytes(pickled)
    refused = {"plain": "plain pickle", "npz": "Python objects"}.get(around)
    if refused:
        with pytest.raises(ValueError, match=refused):
            fastlstm.load(path)
        with pytest.raises(ValueError, match=refused):
            fastlstm.inspect(path)
    else:
        found = fastlstm.inspect(path)
        assert found == []
        assert found.ignored in (("posix.mkdir",), ("nt.mkdir",))
        assert "ignored, neither imported nor run: " in str(found)
        with pytest.raises(ValueError, match="no LSTM"):
            fastlstm.load(path)
    assert not marker.exists()
    pickle.loads(pickled)  # which shows that it would have
    assert marker.exists()


def test_payload_beside_weights_that_torch_wrote(tmp_path):
    torch = import_torch()
    module = torch.nn.LSTM(4, 3)
    torch.save({"lstm": module.state_dict(), "x": Payload(tmp_path / "marker")}, tmp_path / "w.pt")
    assert fastlstm.inspect(tmp_path / "w.pt").ignored in (("posix.mkdir",), ("nt.mkdir",))
    assert np.array_equal(fastlstm.load(tmp_path / "w.pt").state_dict()["weight_ih_l0"], module.weight_ih_l0.detach())
    assert not (tmp_path / "marker").exists()


def tuple_key():
    """Return a pickle of a dictionary whose key is a tuple of tuples, 60 deep: hashing it takes 2^60 steps."""
    deep = b"".join(b"h" + bytes([k]) + b"h" + bytes([k]) + b"\x86q" + bytes([k + 1]) + b"0" for k in range(60))
    return b"\x80\x02)q\x000" + deep + b"}h\x3cNs."


@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(b"\x80\x02}r\xff\xff\xff\xff.", id="memo at 2^32"),
        pytest.param(tuple_key(), id="key that cannot be hashed"),
        pytest.param(b"\x80\x02}(.", id="mark left"),
        pytest.param(b"\x80\x02ttt.", id="no mark"),
        pytest.param(b"\x80\x02h\x05.", id="no such memo"),
        pytest.param(b"\x80\x02]}s.", id="items for a list"),
        pytest.param(b"\x80\x02K\x01K\x02a.", id="append to a number"),
        pytest.param(b"\x80\x02K\x01)R.", id="calls a number"),
        pytest.param(b"\x80\x02K\x01}b.", id="state for a number"),
        pytest.param(b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"abc.", id="bytes beyond the end"),
        pytest.param(b"\x80\x02X" + struct.pack("<I", 2**31) + b"abc.", id="text beyond the end"),
        pytest.param(b"\x80\x02(lp0\n.", id="protocol 0"),
        pytest.param(b"\x80\x02ccollections\nOrderedDict\nK\x05\x85R.", id="dictionary of a number"),
        pytest.param(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.", id="tensor of nothing"),
        pytest.param(b"\x80\x02", id="no end"),
        pytest.param(b"", id="nothing"),
    ],
)
@pytest.mark.parametrize("around", [zip_checkpoint, legacy_checkpoint])
def test_malformed_pickles(pickled, around, tmp_path):
    around(tmp_path / "w", pickled)
    with pytest.raises(ValueError, match=r"cannot be read as torch|more than one|no LSTM"):
        fastlstm.load(tmp_path / "w")


def test_tree_that_contains_itself(tmp_path):
    rings = b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s."
    zip_checkpoint(tmp_path / "w", rings)
    assert fastlstm.inspect(tmp_path / "w") == []
    wide = {}
    for _ in range(60):
        wide = {"a": wide, "b": wide}
    zip_checkpoint(tmp_path / "w", pickle.dumps(wide, 2))
    assert fastlstm.inspect(tmp_path / "w") == []


def tensor_pickle(count, offset, size, stride, kind="FloatStorage"):
    """Return the pickle of a state dict of one tensor, as torch writes it."""

    def part(value):
        return pickle.dumps(value, 2)[2:-1]  # without its head and its end

    storage = b"(" + part("storage") + f"ctorch\n{kind}\n".encode() + part("0") + part("cpu") + part(count) + b"tQ"
    tensor = storage + b"".join(map(part, (offset, size, stride, False, {})))
    return b"\x80\x02}" + part("weight_ih_l0") + b"ctorch._utils\n_rebuild_tensor_v2\n(" + tensor + b"tRs."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((48, 0, (12, 4), (4, 1)), "missing: weight_hh_l0"),
        ((48, 1, (12, 4), (4, 1)), "goes beyond its storage"),
        ((48, 0, (12, 4), (5, 1)), "goes beyond its storage"),
        ((48, -1, (12, 4), (4, 1)), "place, sizes or strides"),
        ((48, 0, (12, 4), (4, -1)), "strides"),
        ((48, 0, (12, 4), (4,)), "strides"),
        ((48, 0, (2**31, 2**31), (0, 0)), "goes beyond its storage"),
        ((2**60, 0, (12, 4), (4, 1)), "more than the file holds"),
        ((-5, 0, (12, 4), (4, 1)), "more than the file holds"),
        ((48, 0, (12, 4), (4, 1), "UnknownStorage"), "missing: weight_hh_l0"),  # listed, not read
    ],
)
def test_tensors_stay_inside_their_storage(arguments, message, tmp_path):
    zip_checkpoint(tmp_path / "w", tensor_pickle(*arguments), [bytes(192)])
    with pytest.raises(ValueError, match=message):
        fastlstm.load(tmp_path / "w")


# ------------------------------------------------------------------------------------------------- out of proportion


def npy(shape, dtype="<f4", body=b""):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": dtype, "fortran_order": False, "shape": shape})
    return stream.getvalue() + body


def test_zip_bombs_are_not_inflated(tmp_path):
    def write(archive, name, head=b""):
        with archive.open(name, "w") as file:
            file.write(head)
            for _ in range(256):
                file.write(bytes(2**20))

    with zipfile.ZipFile(tmp_path / "w.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        write(archive, "weight_ih_l0.npy", npy((4, 2**24)))
        archive.writestr("weight_hh_l0.npy", npy((4, 1), body=bytes(16)))
    assert os.path.getsize(tmp_path / "w.npz") < 2**19
    with pytest.raises(
        MemoryError, match=r"weight_ih_l0(\.npy)? would take 2684\d+ bytes .* allow more with max_bytes="
    ):
        fastlstm.load(tmp_path / "w.npz")
    with zipfile.ZipFile(tmp_path / "w.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("model.weights.h5", b"")
        write(archive, "config.json")
    with pytest.raises(MemoryError, match=r"config\.json would take 268435456 bytes"):
        fastlstm.inspect(tmp_path / "w.keras")
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(["a"] * 10**6, 2))
    with pytest.raises(ValueError, match=r"data\.pkl is compressed"):
        fastlstm.inspect(tmp_path / "w.pt")


@pytest.mark.parametrize("shape", [(2**40, 2**40), (2**62,), (10**30,), (2**31, 4)])
def test_npz_that_claims_more_than_it_has(shape, tmp_path):
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        archive.writestr("weight_ih_l0.npy", npy(shape, body=bytes(64)))
    with pytest.raises(ValueError, match="should hold"):
        fastlstm.load(tmp_path / "w")


def test_npz_of_negative_sizes(tmp_path):
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        archive.writestr("weight_ih_l0.npy", npy((-8, -3), body=bytes(96)))
    with pytest.raises(ValueError, match=r"weight_ih_l0\.npy has a negative size: \(-8, -3\)"):
        fastlstm.inspect(tmp_path / "w")


def test_names_of_members_that_a_terminal_would_obey(tmp_path):
    for name in ("\x1b[2J", "\x1b[2J.npy"):
        with zipfile.ZipFile(tmp_path / "w", "w") as archive:
            archive.writestr(name, b"\x93NUMPY" + b"x" * 20)
        with pytest.raises(ValueError, match=r"\\x1b\[2J") as caught:
            fastlstm.inspect(tmp_path / "w")
        assert "\x1b" not in str(caught.value)


def test_npz_cut_inside_an_array(tmp_path):
    arrays = state_dict()
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        for name, array in arrays.items():
            body = array.tobytes()
            archive.writestr(f"{name}.npy", npy(array.shape, body=body[:-4] if name == "bias_hh_l1" else body))
    with pytest.raises(ValueError, match=r"bias_hh_l1\.npy should hold 144 bytes, got: 140"):
        fastlstm.load(tmp_path / "w")


# ---------------------------------------------------------------------------------------------------- what is missing


def without(name):
    return {key: array for key, array in state_dict().items() if key != name}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (without("weight_ih_l0"), "missing: weight_ih_l0"),
        (without("weight_hh_l1_reverse"), "missing: weight_hh_l1_reverse"),
        (without("bias_ih_l1"), "missing: bias_ih_l1"),
        (state_dict() | {"weight_hr_l1": np.zeros((3, 9), "float32")}, "unexpected: weight_hr_l1"),
        (state_dict() | {"weight_ih_l3": np.zeros((36, 9), "float32")}, "missing: .*weight_ih_l2"),
        (state_dict() | {"weight_ih_l99999999999": np.zeros((36, 9), "float32")}, "not all layers before it"),
        (state_dict() | {"bias_hh_l0": np.zeros(35, "float32")}, r"bias_hh_l0 should have shape \(36,\), got: \(35,\)"),
        (state_dict() | {"weight_hh_l0": np.zeros((36, 8), "float32")}, r"should have shape \(4H, H\), got: \(36, 8\)"),
        (state_dict() | {"weight_hh_l0": np.zeros((36,), "float32")}, "two dimensions"),
        (state_dict() | {"weight_hh_l0": np.zeros((0, 0), "float32")}, "two dimensions"),
        (state_dict() | {"bias_hh_l0": np.zeros(36, "int32")}, "bias_hh_l0 should be floating point, got: int32"),
        (state_dict() | {"bias_hh_l0": np.zeros(36, "complex64")}, "should be floating point, got: complex64"),
        (state_dict() | {"bias_hh_l0": np.full(36, np.nan, "float32")}, "36 of 36 values of bias_hh_l0 are NaN"),
        (state_dict() | {"bias_hh_l0": np.full(36, -np.inf, "float32")}, "are NaN or infinite in float32"),
        ({"weight": np.zeros(3)}, "no LSTM was found in it"),
        ({"ii/kernel": np.zeros((4, 3)), "hi/kernel": np.zeros((3, 3))}, "missing: if/kernel, hf/kernel"),
        ({"dense_i/kernel": np.zeros((4, 12)), "dense_h/kernel": np.zeros((3, 13))}, "weight_hh_l0 should have"),
        (
            {f"{side}{gate}/kernel": np.zeros((3, 3 + (gate == "g"))) for side in "ih" for gate in "ifgo"},
            "gates differ",
        ),
    ],
)
def test_what_does_not_fit(arrays, message, tmp_path):
    np.savez(tmp_path / "w", **arrays)
    with pytest.raises(ValueError, match=message):
        fastlstm.load(tmp_path / "w.npz")


def test_float64_that_float32_cannot_hold(tmp_path):
    arrays = state_dict("float64")
    arrays["bias_hh_l0"] = np.full(36, 1e300)
    np.savez(tmp_path / "w", **arrays)
    with pytest.raises(ValueError, match="36 of 36 values of bias_hh_l0 are NaN or infinite in float32"):
        fastlstm.load(tmp_path / "w.npz", dtype="float32")


def test_arguments(tmp_path):
    np.savez(tmp_path / "w", **state_dict())
    path = tmp_path / "w.npz"
    for arguments, kind, message in (
        ((3,), TypeError, r"path should be a str or os\.PathLike, got: int"),
        ((path, 3), TypeError, "prefix should be a str, got: int"),
        ((path, "other"), ValueError, r"prefix='other' has no LSTM; the file has:\s+\(no prefix\)"),
        ((tmp_path / "none",), FileNotFoundError, "none"),
        ((tmp_path,), OSError, "."),
    ):
        with pytest.raises(kind, match=message):
            fastlstm.load(*arguments)
    for options, kind, message in (
        ({"dtype": "int8"}, ValueError, "dtype should be 'float32' or 'float64'"),
        ({"batch_first": 1}, TypeError, "batch_first should be of type bool"),
        ({"form": "relu"}, TypeError, r"form should be a fastlstm\.Form"),
        ({"threads": 0}, ValueError, "threads"),
    ):
        with pytest.raises(kind, match=message):
            fastlstm.load(path, **options)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it has 0 bytes"),
        (b"nothing known", "none of safetensors"),
        (b"PK\x03\x04 and no more", "damaged zip archive"),
        (b"\x89HDF\r\n\x1a\n and no more", "cannot be read as HDF5"),
        (b"\x05" + bytes(7) + b"{} no json", "cannot be read as safetensors"),
        (b"\x81\xa1a\xc1", "cannot be read as Flax msgpack"),
        (b"\x81" * 5000, "cannot be read as Flax msgpack"),
        (b"\x08\x0a\xff\xff\xff", "cannot be read as ONNX"),
    ],
)
def test_files_of_no_format(content, message, tmp_path):
    for module in ("h5py", "safetensors", "msgpack", "onnx"):
        pytest.importorskip(module, reason=f"pip install {module}")
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        fastlstm.load(tmp_path / "w")


# -------------------------------------------------------------------------------------------------------- at random


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    return {path.name: path for path in write_seeds(tmp_path_factory.mktemp("seeds"))}


SEEDS = (
    *("plain.npz", "compressed.npz", "saved.npz", "saved.safetensors", "flax.msgpack", "zip2.pt", "legacy4.pt"),
    *("integers.npz", "integers.safetensors", "integers.flw"),
    *("normed.pt", "script.pt", "frozen.pt", "quantized.pt", "keras2.h5", "gzip.h5", "keras3.keras", "model.onnx"),
)


@pytest.mark.parametrize("name", SEEDS)
def test_damaged_files(name, seeds, tmp_path):
    """In a process of its own, with limits; tests/proofs/mutate.py is the long version."""
    if name not in seeds:
        pytest.skip("its library is not installed, or torch does not quantize here")
    assert [layer for layer in fastlstm.inspect(seeds[name]) if not layer.problem]
    refused, memory, loaded = try_all(seeds[name], 80, 0, tmp_path / "broken")
    assert refused >= 10
    assert refused + memory + loaded == 80


@pytest.mark.parametrize("name", SEEDS)
def test_truncated_files(name, seeds, tmp_path):
    """Refused, wherever the end is missing."""
    if name not in seeds:
        pytest.skip("its library is not installed, or torch does not quantize here")
    options = {"prefix": fastlstm.inspect(seeds[name])[0].name, "dtype": "float32", "form": fastlstm.Form()}
    content = seeds[name].read_bytes()
    for k in range(20):
        (tmp_path / "w").write_bytes(content[: len(content) * k // 20])
        with pytest.raises(ValueError, match="w"):
            fastlstm.load(tmp_path / "w", **options)


HEADS = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x80\x02", b"\x10" + bytes(7) + b"{", b"\x81\xa1a", b"\x08\x07:", b"")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=st.sampled_from(HEADS), body=st.binary(max_size=200))
def test_any_bytes_are_refused(head, body, tmp_path):
    for module in ("h5py", "safetensors", "msgpack", "onnx"):
        pytest.importorskip(module, reason=f"pip install {module}")
    (tmp_path / "w").write_bytes(head + body)
    with pytest.raises(ValueError, match="w"):
        fastlstm.load(tmp_path / "w")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
        lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
        max_leaves=20,
    ),
    st.sampled_from([2, 3, 4, 5]),
)
def test_plain_data_is_read_as_pickle_reads_it(value, protocol):
    machine = files._pickle.Machine(files._budget.Budget(0))
    pickled = pickle.dumps(value, protocol)
    assert machine.load(io.BytesIO(pickled), len(pickled)) == value


def test_importing_the_package_imports_no_reader():
    modules = ["h5py", "onnx", "safetensors", "msgpack", "torch", "keras", "pickle"]
    script = "import numpy, sys; before = set(sys.modules); import fastlstm; new = set(sys.modules) - before\n"
    script += f"print(sorted(new & set({modules})))"
    assert run_python(script).strip() == "[]"
