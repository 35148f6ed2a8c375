"""fastlstm compare: what it prints, writes and refuses."""

import json

import numpy as np
import pytest

import fastlstm
from fastlstm._cli import main

I, H = 4, 3
X = np.random.default_rng(0).standard_normal((30, 2, I)).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    made = tmp_path / "w.npz"
    fastlstm.save(fastlstm.LSTM(I, H, num_layers=2, seed=0), made)
    return made


@pytest.fixture
def data(tmp_path):
    made = tmp_path / "x.npy"
    np.save(made, X)
    return made


def test_table(path, data, capsys):
    for more, names in (([], None), (["--weights", "bfloat16,float16"], ["bfloat16", "float16"])):
        assert main(["compare", str(path), "--data", str(data), *more]) == 0
        assert capsys.readouterr() == (f"{fastlstm.compare(fastlstm.load(path), X, names)}\n", "")


def test_json(path, data, capsys):
    assert main(["compare", str(path), "--data", str(data), "--weights", "float16", "--json"]) == 0
    told = capsys.readouterr()
    expected = fastlstm.compare(fastlstm.load(path), X, "float16").as_dict() | {"data": str(data)}
    assert (json.loads(told.out), told.err) == (expected, "")


@pytest.mark.parametrize("batch_first", [False, True])
def test_random_inputs_are_the_same_each_time_and_it_says_so(batch_first, path, capsys):
    fastlstm.save(fastlstm.LSTM(I, H, batch_first=batch_first, seed=0), path)
    outs = []
    for _ in range(2):
        assert main(["compare", str(path)]) == 0
        told = capsys.readouterr()
        assert (
            told.err == "fastlstm compare: warning: the inputs are random numbers: how real ones fare, --data tells\n"
        )
        outs.append(told.out)
    assert outs[0] == outs[1]
    assert "100 steps, 8 rows" in outs[0]


def test_npz_with_all_arguments_of_a_call(path, tmp_path, capsys):
    rng = np.random.default_rng(1)
    hx = tuple(rng.standard_normal((2, 2, H)).astype(np.float32) for _ in range(2))
    lengths, resets = np.array([30, 7]), rng.random((30, 2)) < 0.2
    np.savez(tmp_path / "d.npz", x=X, h_0=hx[0], c_0=hx[1], lengths=lengths, resets=resets)
    assert main(["compare", str(path), "--data", str(tmp_path / "d.npz")]) == 0
    expected = fastlstm.compare(fastlstm.load(path), X, hx=hx, lengths=lengths, resets=resets)
    assert capsys.readouterr() == (f"{expected}\n", "")


def test_one_array_of_an_npz_may_have_any_name(path, tmp_path, capsys):
    np.savez(tmp_path / "d.npz", X)
    assert main(["compare", str(path), "--data", str(tmp_path / "d.npz")]) == 0
    assert capsys.readouterr().out == f"{fastlstm.compare(fastlstm.load(path), X)}\n"


@pytest.mark.parametrize("dtype", ["float64", "float16", "int16", ">f4"])
def test_other_numbers_are_converted_and_it_says_so(dtype, path, data, capsys):
    np.save(data, (X * 10).astype(dtype))
    assert main(["compare", str(path), "--data", str(data)]) == 0
    told = capsys.readouterr()
    assert told.out == f"{fastlstm.compare(fastlstm.load(path), (X * 10).astype(dtype).astype(np.float32))}\n"
    assert told.err == f"fastlstm compare: warning: x in {data} is {dtype}: converted to float32\n"


def test_weights_of_float64_are_compared_as_float32(path, data, capsys):
    lstm = fastlstm.LSTM(I, H, dtype="float64", seed=0)
    fastlstm.save(lstm, path)
    assert main(["compare", str(path), "--data", str(data)]) == 0
    assert capsys.readouterr().out == f"{fastlstm.compare(fastlstm.load(path, dtype='float32'), X)}\n"


def test_plot(path, data, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    assert main(["compare", str(path), "--data", str(data), "--plot", str(tmp_path / "p.png")]) == 0
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert main(["compare", str(path), "--data", str(data), "--plot", str(tmp_path / "none" / "p.png")]) == 1
    told = capsys.readouterr()
    assert told.out.count("bfloat16") == 6  # each with its table
    assert told.err.startswith("fastlstm compare: ")


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_other_files(suffix, tmp_path, data, capsys):
    if suffix == ".onnx":
        pytest.importorskip("onnx", reason="pip install onnx")
    fastlstm.save(fastlstm.LSTM(I, H, seed=0), tmp_path / f"w{suffix}")
    assert main(["compare", str(tmp_path / f"w{suffix}"), "--data", str(data)]) == 0
    assert capsys.readouterr().out == f"{fastlstm.compare(fastlstm.load(tmp_path / f'w{suffix}'), X)}\n"


def arrays(**given):
    def write(path):
        with path.open("wb") as file:  # under whatever name
            np.savez(file, **given)

    return write


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "could not be read as .npy or .npz: "),
        (lambda path: path.write_bytes(b"nonsense"), "could not be read as .npy or .npz: "),
        (lambda path: path.write_bytes(b"PK\3\4nonsense"), "could not be read as .npy or .npz: "),
        (lambda path: np.save(path, np.array([{}])), "could not be read as .npy or .npz: Object arrays"),
        (lambda path: None, "No such file"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: np.save(path, X[:, :, :3]), "Expected 4, got 3"),
        (lambda path: np.save(path, X[0, 0]), "Expected input to be 2D or 3D, got 1D"),
        (lambda path: np.save(path, X.astype(complex)), "input should have dtype float32"),
        (arrays(), "x and perhaps lengths, resets, and h_0 with c_0, got: nothing"),
        (arrays(x=X, y=X), "x and perhaps lengths, resets, and h_0 with c_0, got: x, y"),
        (arrays(x=X, h_0=X), "x and perhaps lengths, resets, and h_0 with c_0, got: h_0, x"),
        (arrays(x=X, lengths=[1.0, 2.0]), "lengths should be integers"),
    ],
)
def test_bad_data(write, message, path, tmp_path, capsys):
    bad = tmp_path / "bad.npy"
    write(bad)
    assert main(["compare", str(path), "--data", str(bad)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("fastlstm compare: ")
    assert message in told.err
    assert told.err.count("\n") == 1


def test_bad_model(tmp_path, data, capsys):
    assert main(["compare", str(tmp_path / "none"), "--data", str(data)]) == 1
    assert capsys.readouterr().err.startswith("fastlstm compare: ")
    layers = {"one": fastlstm.LSTM(I, H), "two": fastlstm.LSTM(I, H)}
    np.savez(tmp_path / "w.npz", **{f"{k}.{n}": a for k, lstm in layers.items() for n, a in lstm.state_dict().items()})
    assert main(["compare", str(tmp_path / "w.npz"), "--data", str(data)]) == 1
    assert "say which with prefix=" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "w.npz"), "--data", str(data), "--prefix", "two"]) == 0


@pytest.mark.parametrize(
    "more", [["--weights", "int3"], ["--weights", ""], ["--weights", "float16,float16"], ["--bits"]]
)
def test_wrong_usage_exits_with_2(more, path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(path), *more])
    assert ended.value.code == 2
    assert "usage: fastlstm" in capsys.readouterr().err
