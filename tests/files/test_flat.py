"""The flat file for C, and the header with weights inside: what is written, read and refused."""

import re
import shutil
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from fastlstm._cli import main
from fastlstm.files import _c_header, _flat
from tests.support import assert_same_bits

CSRC = Path(__file__).parents[2] / "csrc"
FORMS = [
    fastlstm.Form(),
    fastlstm.Form(("hard_sigmoid", 0.3), "softsign", ("scaled_tanh", 1.5, 0.5), peepholes=True, coupled=True),
    fastlstm.Form(summed=True),
    *(fastlstm.Form(clip=0.75, clip_at=at) for at in ("activations", "gates", "state")),
]
OPTIONS = [
    {},
    {"num_layers": 3, "bidirectional": True, "proj_size": 2, "batch_first": True, "dropout": 0.25},
    {"bias": False, "num_layers": 2},
]


def assert_same_layer(got, expected):
    assert repr(got) == repr(expected)
    assert got.form == expected.form
    assert (got.batch_first, got.dropout) == (expected.batch_first, expected.dropout)
    weights = expected.state_dict()
    assert list(got.state_dict()) == list(weights)
    for name, array in got.state_dict().items():
        assert_same_bits(array, weights[name], name)


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_load_gives_the_same_layer_back(form, options, dtype, order, tmp_path):
    lstm = fastlstm.LSTM(3, 5, seed=0, dtype=dtype, form=form, **options)
    (tmp_path / "w").write_bytes(_flat.content(lstm, order))
    assert_same_layer(fastlstm.load(tmp_path / "w"), lstm)


def test_save_writes_for_this_machine(tmp_path):
    lstm = fastlstm.LSTM(3, 5, seed=0)
    fastlstm.save(lstm, tmp_path / "w.FLW")
    assert (tmp_path / "w.FLW").read_bytes() == _flat.content(lstm, _flat.native_order())
    assert str(fastlstm.inspect(tmp_path / "w.FLW")) == (
        "(no prefix): LSTM of the flat file for C, I=3 H=5 L=1 D=1 P=0, float32"
    )


def test_the_bytes_are_those_that_the_page_tells():
    """Read with nothing but docs/embedding.md in hand."""
    form = fastlstm.Form("sigmoid", ("affine", 2.0, 0.5), "tanh", peepholes=True, clip=3.0, clip_at="state")
    lstm = fastlstm.LSTM(3, 5, proj_size=2, seed=0, form=form, batch_first=True, dtype="float64")
    data = _flat.content(lstm, "big")
    assert data[:8] == bytes.fromhex("89464c570d0a1a0a")
    assert struct.unpack_from(">IIQI", data, 8) == (0x01020304, 1, len(data), zlib.crc32(data[28:]))
    assert struct.unpack_from(">I4QII", data, 28) == (64, 3, 5, 2, 1, 1, 1 + 2 + 8)
    assert struct.unpack_from(">IIdd", data, 72) == (0, 0, 0.0, 0.0)
    assert struct.unpack_from(">IIdd", data, 96) == (4, 0, 2.0, 0.5)
    assert struct.unpack_from(">IIdd", data, 120) == (1, 0, 0.0, 0.0)
    assert struct.unpack_from(">IIdd", data, 144) == (3, 0, 3.0, 0.0)
    assert data[168:192] == bytes(24)
    place, weights = 192, lstm.state_dict()
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ph"):
        expected = weights[f"{name}_l0"]
        got = np.frombuffer(data, ">f8", expected.size, place).reshape(expected.shape).astype(float)
        assert_same_bits(got, expected, name)
        end = place + expected.nbytes
        place = -(-end // 64) * 64
        assert data[end:place] == bytes(place - end)
    assert place == len(data)


@pytest.mark.parametrize("order", ["little", "big"])
def test_every_length_and_every_byte_is_looked_at(order, tmp_path):
    path = tmp_path / "w.flw"
    data = _flat.content(fastlstm.LSTM(1, 1, seed=0), order)
    wrong = [data[:size] for size in range(8, len(data), 7)] + [data + b"\0"]
    wrong += [data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :] for at in range(8, len(data))]
    for damaged in wrong:
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"w\.flw cannot be read as the flat file for C"):
            fastlstm.load(path)


@pytest.mark.parametrize(
    ("at", "field", "value", "message"),
    [
        (28, "I", 16, "does not describe an LSTM"),
        (32, "Q", 0, "its arrays end at"),
        (32, "Q", 2**63, "its arrays end at"),
        (40, "Q", 2**60, "its arrays end at"),
        (48, "Q", 5, "its arrays end at"),
        (56, "Q", 0, "it should have a layer, and no more than fit, got: 0"),
        (56, "Q", 2**60, "no more than fit"),
        (64, "I", 3, "does not describe an LSTM"),
        (68, "I", 16, "does not describe an LSTM"),
        (72, "I", 99, "an activation of an unknown kind: 99"),
        (76, "I", 1, "does not describe an LSTM"),
        (144, "I", 4, "an unknown clip: 4"),
        (144, "I", 1, "clip should be a finite number greater than zero"),
        (148, "I", 5, "matrices of type 5 beside 32 bits are unknown"),
        (160, "d", 2.0, "dropout should be from 0 to 1"),
        (160, "d", np.nan, "dropout should be from 0 to 1"),
        (168, "Q", 1, "does not describe an LSTM"),
        (192, "f", np.nan, "NaN or infinite"),
    ],
)
def test_what_no_writer_made_is_refused(at, field, value, message, tmp_path):
    data = bytearray(_flat.content(fastlstm.LSTM(3, 5, seed=0), "little"))
    struct.pack_into(f"<{field}", data, at, value)
    struct.pack_into("<I", data, 24, zlib.crc32(data[28:]))
    (tmp_path / "w.flw").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        fastlstm.load(tmp_path / "w.flw")


@pytest.mark.parametrize(("weights", "number"), [("float16", 1), ("bfloat16", 2)])
def test_matrices_in_16_bits_are_so_in_c(weights, number, tmp_path, capsys):
    lstm = fastlstm.LSTM(3, 5, seed=0)
    fastlstm.save(lstm, tmp_path / "in.npz")
    out = tmp_path / "out.flw"
    assert main(["convert", str(tmp_path / "in.npz"), str(out), "--weights", weights]) == 0
    expected = lstm.astype(weights=weights)
    data = out.read_bytes()
    assert data == _flat.content(expected, _flat.native_order())
    assert np.frombuffer(data, np.uint32, 1, 148)[0] == number
    assert f"for matrices in {weights}" in str(fastlstm.inspect(out))
    for weight, array in fastlstm.load(out).state_dict().items():
        assert_same_bits(array, expected.state_dict()[weight], weight)
    assert fastlstm.load(out, dtype="float64").dtype == np.float64
    damaged = bytearray(_flat.content(fastlstm.LSTM(3, 5, dtype="float64"), "little"))
    struct.pack_into("<I", damaged, 148, number)
    struct.pack_into("<I", damaged, 24, zlib.crc32(damaged[28:]))
    out.write_bytes(damaged)
    with pytest.raises(ValueError, match=f"matrices of type {number} beside 64 bits are unknown"):
        fastlstm.load(out)


def of_integers(zeros=True, **options):
    """Return a layer of integers with scales that are none of the package's."""
    rng, lstm = np.random.default_rng(0), fastlstm.LSTM(3, 5, seed=0, weights="int8", **options)
    state = dict(lstm.state_dict())
    for name in [name for name in state if name.endswith("_scale")]:
        state[name] = rng.uniform(1e-3, 1e-2, state[name].shape).astype(np.float32)
        if zeros and "weight_hh" in name:
            state[name.replace("_scale", "_zero_point")] = rng.integers(-128, 128, state[name].shape, np.int8)
    lstm.load_state_dict(state)
    return lstm


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("options", OPTIONS, ids=repr)
@pytest.mark.parametrize("zeros", [False, True])
def test_integers_come_back(order, options, zeros, tmp_path):
    lstm = of_integers(zeros, **options)
    (tmp_path / "w").write_bytes(_flat.content(lstm, order))
    for weights in ("int8", "int8-fast"):
        assert (
            fastlstm.load(tmp_path / "w", weights=weights).fingerprint() == lstm.astype(weights=weights).fingerprint()
        )
    assert fastlstm.load(tmp_path / "w", weights="auto").fingerprint() == lstm.fingerprint()
    assert fastlstm.load(tmp_path / "w").fingerprint() == lstm.astype(weights="float32").fingerprint()


@pytest.mark.parametrize("zeros", [False, True])
def test_the_bytes_of_integers_are_those_that_the_page_tells(zeros):
    lstm = of_integers(zeros, proj_size=2)
    data, state = _flat.content(lstm, "big"), lstm.state_dict()
    assert struct.unpack_from(">IIQI", data, 8) == (0x01020304, 2, len(data), zlib.crc32(data[28:]))
    assert struct.unpack_from(">I", data, 28) == (32,)
    assert struct.unpack_from(">I", data, 68) == (1 + 16 * zeros,)
    assert struct.unpack_from(">I", data, 148) == (3,)
    place = 192
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"):
        parts = [(state[f"{name}_l0"], ">f4")]
        if name.startswith("weight"):
            parts = [(state[f"{name}_l0"], "i1"), (state[f"{name}_l0_scale"], ">f4")]
            none = np.zeros(len(parts[0][0]), np.int8)
            parts += [(state.get(f"{name}_l0_zero_point", none), "i1")] if zeros else []
        for expected, kind in parts:
            got = np.frombuffer(data, kind, expected.size, place).reshape(expected.shape)
            np.testing.assert_array_equal(got, expected)
            end = place + expected.nbytes
            place = -(-end // 64) * 64
            assert data[end:place] == bytes(place - end)
    assert place == len(data)


@pytest.mark.parametrize(
    ("at", "field", "value", "message"),
    [
        (12, "I", 1, "does not describe an LSTM"),  # offsets are of version 2
        (12, "I", 3, "versions 1 and 2 of the flat file are read, got: 3"),
        (28, "I", 64, "matrices of type 3 beside 64 bits are unknown"),
        (32, "Q", 90, "its arrays end at"),
        (68, "I", 1, "its arrays end at"),
        (68, "I", 65, "does not describe an LSTM"),
        (148, "I", 0, "matrices of integers are for int8 and int8-fast, got: None"),
        (148, "I", 1, "matrices of integers are for int8 and int8-fast, got: float16"),
        (256, "f", 0, "weight_ih_l0_scale should be finite and greater than zero"),
        (256, "f", -1, "weight_ih_l0_scale should be finite and greater than zero"),
        (256, "f", np.nan, "1 of 20 values of weight_ih_l0_scale are NaN or infinite"),
    ],
)
def test_integers_that_no_writer_made_are_refused(at, field, value, message, tmp_path):
    data = bytearray(_flat.content(of_integers(), "little"))
    struct.pack_into(f"<{field}", data, at, value)
    struct.pack_into("<I", data, 24, zlib.crc32(data[28:]))
    (tmp_path / "w.flw").write_bytes(data)
    for options in ({}, {"weights": "auto"}):
        with pytest.raises(ValueError, match=message):
            fastlstm.load(tmp_path / "w.flw", **options)


def test_integers_in_float32_that_were_written_before_are_read(tmp_path):
    """Version 1, with the type beside float32 matrices."""
    lstm = fastlstm.LSTM(3, 5, seed=0, weights="int8")
    data = bytearray(_flat.content(lstm.astype(weights="float32"), "little"))
    struct.pack_into("<I", data, 148, 3)
    struct.pack_into("<I", data, 24, zlib.crc32(data[28:]))
    (tmp_path / "w.flw").write_bytes(data)
    assert fastlstm.load(tmp_path / "w.flw", weights="auto").fingerprint() == lstm.fingerprint()


# ---- the command line


def test_convert(tmp_path, capsys):
    lstm = fastlstm.LSTM(3, 5, seed=0, num_layers=2)
    source, target = str(tmp_path / "model.npz"), str(tmp_path / "any name")
    fastlstm.save(lstm, source)
    for order in ("little", "big"):
        assert main(["convert", source, target, "--to", "c", "--byte-order", order]) == 0
        assert (tmp_path / "any name").read_bytes() == _flat.content(lstm, order)
        foreign = f"(for {order}-endian machines, which C here refuses)"
        assert (foreign in str(fastlstm.inspect(target))) == (order != _flat.native_order())
    assert main(["convert", source, target, "--to", "c", "--dtype", "float64"]) == 0
    assert fastlstm.load(target).dtype == np.float64
    assert main(["convert", source, target, "--to", "npz"]) == 0
    assert_same_layer(fastlstm.load(target), lstm)
    assert capsys.readouterr().out.count(f"{target}: LSTM(3, 5") == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["out.flw", "--all"], "a flat file is written of one LSTM"),
        (["out", "--to", "c-header", "--all"], "a header is written of one LSTM"),
        (["out.npz", "--byte-order", "big"], "--byte-order is for --to c: npz files are the same for every machine"),
        (["out", "--to", "c-header", "--byte-order", "big"], "--byte-order is for --to c"),
        (["out.h"], "OUT should end in .npz, .safetensors, .onnx or .flw, got: out.h"),
    ],
)
def test_errors_of_convert(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lstm = fastlstm.LSTM(3, 5, seed=0)
    np.savez("in.npz", **{f"{k}.{name}": array for k in "ab" for name, array in lstm.state_dict().items()})
    which = [] if "--all" in arguments else ["--prefix", "a"]
    assert main(["convert", "in.npz", *arguments, *which]) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.npz"]


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    lstm = fastlstm.LSTM(3, 5, seed=0)
    lstm.load_state_dict(lstm.state_dict() | {"bias_ih_l0": np.full(20, np.inf, np.float32)})
    with pytest.raises(ValueError, match="NaN or infinite"):
        fastlstm.save(lstm, tmp_path / "w.flw")
    assert not list(tmp_path.iterdir())


# ---- the header; tests/package/test_c_library.py compiles it


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("decoder.h", "decoder"),
        ("my model-2.h", "my_model_2"),
        ("2.h", "lstm_2"),
        ("__x__y.h", "x_y"),
        ("fl.h", "lstm_fl"),
        ("FL_x.h", "lstm_FL_x"),
        ("flow.h", "flow"),
        ("\u00e4.h", "lstm"),
        ("folder.d/decoder", "decoder"),
    ],
)
def test_names_in_a_header_are_made_of_the_file_s(name, expected):
    assert _c_header.prefix(name) == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_in_a_header_are_exact(dtype):
    info = np.finfo(dtype)
    lstm = fastlstm.LSTM(2, 1, bias=False, dtype=dtype)
    hard = np.array([[0, -0.0], [1, info.max], [-info.tiny, info.smallest_subnormal], [1 / 3, info.eps]], dtype)
    lstm.load_state_dict(lstm.state_dict() | {"weight_ih_l0": hard})
    text = _c_header.content(lstm, "w.h").decode("ascii")
    (numbers,) = re.findall(r"w_weight_ih_l0\[\] = \{([^}]*)\}", text)
    got = [float.fromhex(number.rstrip("f")) for number in numbers.replace("\n", "").split(",") if number]
    assert_same_bits(np.array(got, dtype).reshape(4, 2), hard, "weight_ih_l0")
    assert ("f," in numbers) == (dtype == "float32")
    assert max(map(len, text.splitlines())) <= 120


def test_integers_in_a_header_are_whole_numbers():
    lstm = of_integers(proj_size=2)
    text = _c_header.content(lstm, "w.h").decode("ascii")
    for name, array in lstm.state_dict().items():
        if array.dtype == np.int8:
            kind = "offsets" if name.endswith("_zero_point") else "values"
            (numbers,) = re.findall(rf"int8_t w_{name.removesuffix('_zero_point')}_{kind}\[\] = \{{([^}}]*)\}}", text)
            got = [int(number) for number in numbers.replace("\n", "").split(",") if number]
            np.testing.assert_array_equal(got, array.ravel())
    assert "w_weight_hh_l0 = {w_weight_hh_l0_values, w_weight_hh_l0_scales, w_weight_hh_l0_offsets, 1};" in text
    assert "w_weight_ih_l0 = {w_weight_ih_l0_values, w_weight_ih_l0_scales, NULL, 1};" in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("standard", ["c11", "c++17"])
@pytest.mark.parametrize("options", OPTIONS, ids=repr)
def test_compilers_warn_of_nothing_in_a_header(standard, options, tmp_path):
    compiler = shutil.which("g++" if "+" in standard else "gcc")
    if compiler is None or not (CSRC / "fastlstm.h").exists():
        pytest.skip("no GCC, or not in a tree with sources")
    form = fastlstm.Form(peepholes=True)
    for name, lstm in ("plain", fastlstm.LSTM(3, 5, form=form, **options)), ("small", of_integers(**options)):
        (tmp_path / f"{name}.h").write_bytes(_c_header.content(lstm, f"{name}.h"))
    source = tmp_path / ("main.cpp" if "+" in standard else "main.c")
    source.write_text(
        '#include "plain.h"\n#include "small.h"\n'
        "int main(void) { return !plain_weights[0].weight_ih + !small_weights[0].integers_ih + "
        "(plain_config.weights == small_config.weights); }\n"
    )
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wmissing-field-initializers", "-Werror"]
    command = [compiler, f"-std={standard}", *warnings, "-fsyntax-only", "-I", str(CSRC), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
