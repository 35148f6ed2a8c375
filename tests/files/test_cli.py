"""The command line: what it prints, what it writes, how it fails."""

import dataclasses
import json
import os
import subprocess
import sys
import tarfile
import warnings

import numpy as np
import pytest

import fastlstm
from fastlstm._cli import main
from fastlstm._contract import CONTRACT
from fastlstm.files._save import write_layers
from tests.support import DATA, assert_same_bits


@pytest.fixture
def path(tmp_path):
    """Two layers in one file."""
    made = tmp_path / "w.npz"
    layers = {"one": fastlstm.LSTM(4, 3, seed=0), "two": fastlstm.LSTM(3, 2, num_layers=2, seed=1)}
    np.savez(made, **{f"{k}.{name}": array for k, lstm in layers.items() for name, array in lstm.state_dict().items()})
    return made


def test_info(capsys):
    assert main(["info"]) == 0
    assert capsys.readouterr().out.startswith(f"fastlstm {fastlstm.__version__}")


def test_inspect(path, capsys):
    assert main(["inspect", str(path)]) == 0
    assert capsys.readouterr().out == f"{fastlstm.inspect(path)}\n"


@pytest.mark.parametrize("dtype", [None, "float64"])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_convert(dtype, suffix, path, capsys):
    out = path.with_name(f"out{suffix}")
    assert main(["convert", str(path), str(out), "--prefix", "two", *(["--dtype", dtype] if dtype else [])]) == 0
    expected = fastlstm.load(path, "two", dtype=dtype)
    assert capsys.readouterr().out == f"{out}: {expected}\n"
    for name, array in fastlstm.load(out).state_dict().items():
        assert_same_bits(array, expected.state_dict()[name], name)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_convert_all(suffix, path, tmp_path, capsys):
    """With what a single file tells of each, and what cannot be loaded left out by name."""
    out = tmp_path / f"all{suffix}"
    arrays = dict(np.load(path)) | {"bad.weight_ih_l0": np.zeros((4, 1), np.float32)}
    arrays["fastlstm.two"] = np.array(
        '{"form": {"peepholes": false, "clip": 3.0}, "batch_first": true, "dropout": 0.5}'
    )
    np.savez(path, **arrays)
    assert main(["convert", str(path), str(out), "--all", "--dtype", "float64"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("fastlstm convert: left out: bad: ")
    assert [layer.name for layer in fastlstm.inspect(out)] == ["one", "two"]
    assert fastlstm.load(out, "two").form == fastlstm.Form(clip=3.0)
    assert (fastlstm.load(out, "two").batch_first, fastlstm.load(out, "one").batch_first) == (True, False)
    for name in ("one", "two"):
        expected = fastlstm.load(path, name, dtype="float64")
        assert f"{out}: {name}: {expected}\n" in told.out
        for parameter, array in fastlstm.load(out, name).state_dict().items():
            assert_same_bits(array, expected.state_dict()[parameter], parameter)
    np.savez(path, **{"bad.weight_ih_l0": np.zeros((4, 1), np.float32)})
    assert main(["convert", str(path), str(out), "--all"]) == 1
    assert "has no LSTM that can be loaded" in capsys.readouterr().err


def test_names_that_a_terminal_would_obey(path, capsys):
    name = "\x1b[2J\n"
    np.savez(path, **{f"{name}.{k}": array for k, array in fastlstm.LSTM(4, 3).state_dict().items()})
    out = path.with_name("out.npz")
    assert main(["convert", str(path), str(out), "--all"]) == 0
    assert capsys.readouterr().out.rstrip("\n").isprintable()
    assert fastlstm.inspect(out)[0].name == name


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_names_that_cannot_be_written(suffix, path):
    """NumPy's archives end a name at a NUL."""
    out = path.with_name(f"out{suffix}")
    with pytest.raises(ValueError, match="names with NUL"):
        write_layers({"a\0": fastlstm.LSTM(4, 3), "a": fastlstm.LSTM(4, 3)}, out)
    assert not out.exists()


def test_convert_to_onnx(path):
    pytest.importorskip("onnx", reason="pip install onnx")
    out = path.with_name("out.onnx")
    assert main(["convert", str(path), str(out), "--prefix", "two"]) == 0
    expected = fastlstm.load(path, "two").state_dict()
    first, second = fastlstm.inspect(out)
    for layer, k in ((first, 0), (second, 1)):
        for name, array in fastlstm.load(out, layer.name).state_dict().items():
            assert_same_bits(array, expected[name.replace("_l0", f"_l{k}")], name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "none"], "No such file"),
        (["convert", "IN", "out.npz"], "more than one LSTM: say which with prefix=; the file has:\n  one: LSTM of npz"),
        (["convert", "IN", "out.safetensors", "--prefix", "three"], "prefix='three' has no LSTM"),
        (
            ["convert", "IN", "out.pt", "--prefix", "one"],
            "OUT should end in .npz, .safetensors, .onnx or .flw, got: out.pt",
        ),
        (["convert", "IN", "out.onnx", "--all"], "an ONNX model is written of one LSTM"),
        (["inspect", "IN", "--max-bytes", "10"], "more than the 10 that this file may take"),
        (["inspect", "IN", "--json", "--health", "--data", "IN"], "--json goes without --health"),
        (["convert", "IN", "out.npz", "--prefix", "one", "--max-bytes", "10"], "more than the 10 that this file may"),
        (["convert", "IN", "out.npz", "--all", "--max-bytes", "10"], "more than the 10 that this file may take"),
        (["inspect", "IN", "--max-bytes", "0"], "max_bytes must be greater than zero, got: 0"),
        (["inspect", "IN", "--config", "{}"], "config= is for Keras's files"),
    ],
)
def test_errors_and_exit_code_1(arguments, message, path, capsys, monkeypatch):
    monkeypatch.chdir(path.parent)
    assert main([str(path) if argument == "IN" else argument for argument in arguments]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"fastlstm {arguments[0]}: ")
    assert message in told.err
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_warnings_are_told_in_a_line(path, capsys, monkeypatch):
    made = fastlstm.LSTM(4, 3)

    def load(*arguments, **options):
        warnings.warn("a default is assumed", fastlstm.files.AssumptionWarning, stacklevel=2)
        return made

    monkeypatch.setattr(fastlstm.files, "load", load)
    for _ in range(2):  # each time
        assert main(["convert", str(path), str(path.with_name("out.npz"))]) == 0
        assert capsys.readouterr().err == "fastlstm convert: warning: a default is assumed\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["inspect"],
        ["convert", "a", "b", "--dtype", "int8"],
        ["inspect", "a", "--max-bytes", "1e6"],
        ["convert", "a", "b.npz", "--all", "--prefix", "x"],
    ],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: fastlstm" in capsys.readouterr().err


def test_without_a_command_the_help_is_shown(capsys):
    assert main([]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert all(f"\n    {command} " in told.out for command in ("info", "inspect", "convert", "compare", "bench"))


def test_info_for_programs_tells_what_is_printed(capsys):
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    assert main(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "fastlstm": fastlstm.__version__,
        "contract": CONTRACT,
        "numpy": np.__version__,
        "cpus": told["cpus"],
        "isa": fastlstm.isa(),
        "isa_int8": told["isa_int8"],
        "isas": told["isas"],
    }
    assert type(told["cpus"]) is int
    assert [each["name"] for each in told["isas"]] == fastlstm.isas(weights="int8")
    assert told["isa_int8"] in fastlstm.isas(weights="int8")
    assert f"  {told['cpus']} CPUs" in printed
    assert all(f"{each['name']:10} {each['description']}" in printed for each in told["isas"])


def test_inspect_for_programs_tells_what_is_printed(tmp_path, capsys):
    form = fastlstm.Form(gate=("hard_sigmoid", 0.25), peepholes=True, clip=3.0)
    plain = fastlstm.LSTM(4, 3, num_layers=2, bidirectional=True)
    path = tmp_path / "w.npz"
    write_layers({"plain\x1b[31m": plain, "formed": fastlstm.LSTM(2, 5, form=form)}, path, "npz")
    assert main(["inspect", str(path), "--json"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text  # names of files do not steer terminals
    told = json.loads(text)
    found = {layer["name"].rstrip("."): layer for layer in told["layers"]}
    assert told["ignored"] == []
    assert found["plain\x1b[31m"] | {"name": ""} == {
        "name": "",
        "kind": "LSTM",
        "format": "npz",
        "input_size": 4,
        "hidden_size": 3,
        "num_layers": 2,
        "directions": 2,
        "proj_size": 0,
        "bias": True,
        "dtype": "float32",
        "options": {},
        "note": "",
        "problem": "",
        "assumed": "",
        "caution": "",
        "weights": "",
        "form": dataclasses.asdict(fastlstm.Form()),
    }
    assert found["formed"]["form"]["gate"] == ["hard_sigmoid", 0.25, 0.5]
    assert (found["formed"]["form"]["peepholes"], found["formed"]["form"]["clip"]) == (True, 3.0)


def test_inspect_for_programs_of_a_form_that_the_file_does_not_tell(tmp_path, capsys):
    with tarfile.open(DATA / "keras/keras-3.15.1.tar.xz") as archive:
        (tmp_path / "plain.weights.h5").write_bytes(archive.extractfile("plain.weights.h5").read())
    assert main(["inspect", str(tmp_path / "plain.weights.h5"), "--json"]) == 0
    layer = json.loads(capsys.readouterr().out)["layers"][0]
    assert layer["form"] is None or layer["assumed"]


def test_a_warning_is_one_line_and_a_configuration_answers_it(tmp_path, capsys):
    with tarfile.open(DATA / "keras/keras-3.15.1.tar.xz") as archive:
        for name in ("plain.weights.h5", "plain.json"):
            (tmp_path / name).write_bytes(archive.extractfile(name).read())
    weights, config, out = (str(tmp_path / name) for name in ("plain.weights.h5", "plain.json", "out.npz"))
    name = fastlstm.inspect(weights)[0].name
    assert main(["convert", weights, out, "--prefix", name]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"fastlstm convert: warning: '{name}' in {weights}: activations are not in the file")
    assert main(["convert", weights, out, "--prefix", name, "--config", config]) == 0
    assert capsys.readouterr().err == ""
    assert main(["inspect", weights, "--config", config]) == 0
    assert "activations are not in the file" not in capsys.readouterr().out


def run_with_output_to(output, *arguments):
    """Run the command line in a process whose output is buffered, as from a shell."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "fastlstm", *map(str, arguments)]
    return subprocess.run(
        command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=environment
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_output_that_cannot_be_written_is_an_error(path):
    with open("/dev/full", "w") as full:
        done = run_with_output_to(full, "inspect", path)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("fastlstm inspect: ")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_reader_that_has_enough_is_no_error_to_tell(path):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        done = run_with_output_to(closed, "inspect", path)
    assert (done.returncode, done.stderr) == (1, "")


def test_ctrl_c_ends_with_the_shell_s_code(path, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(fastlstm.files, "inspect", interrupted)
    assert main(["inspect", str(path)]) == 130
    assert capsys.readouterr() == ("", "")


def test_python_dash_m():
    command = [sys.executable, "-m", "fastlstm", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, f"fastlstm {fastlstm.__version__}\n")
    command[-1] = "nonsense"
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 2


def test_letters_that_an_encoding_lacks_cost_nothing_else(tmp_path):
    state = fastlstm.LSTM(3, 4).state_dict()
    np.savez(tmp_path / "w.npz", **{f"\u6a21.{name}": array for name, array in state.items()})
    command = [sys.executable, "-m", "fastlstm", "inspect", str(tmp_path / "w.npz")]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("\\u6a21: LSTM of npz, I=3 H=4")
