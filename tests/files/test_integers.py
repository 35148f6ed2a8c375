"""Matrices of integers in files: as `save` writes them, and as compressed checkpoints have them."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm._cli import main
from fastlstm._weights import is_stored
from fastlstm.files import _safetensors
from fastlstm.files._save import write_layers
from tests.support import assert_same_bits

INTEGERS = ("int8", "int8-fast")
I, H = 3, 5
NOTE = "for matrices in int8: weights='auto' keeps them so"
Array = np.ndarray[Any, Any]
State = dict[str, Any]


def given(kind: type = np.int8, *, zeros: bool = True, seed: int = 0, **options: Any) -> State:
    """Return a state dict of integers that are nothing the package would have rounded to."""
    rng, limits = np.random.default_rng(seed), np.iinfo(kind)
    state: State = dict(fastlstm.LSTM(I, H, seed=seed, **options).state_dict())
    for name, array in list(state.items()):
        if is_stored(name):
            rows = len(array)
            state[name] = rng.integers(limits.min, limits.max, array.shape, kind, endpoint=True)
            state[f"{name}_scale"] = rng.uniform(1e-3, 1e-2, rows).astype(np.float32)
            if zeros:
                state[f"{name}_zero_point"] = rng.integers(limits.min, limits.max, rows, kind, endpoint=True)
    return state


def layer_of(state: State, weights: str | None = "int8", **options: Any) -> Any:
    lstm = fastlstm.LSTM(I, H, weights=weights, **options)
    lstm.load_state_dict(state)
    return lstm


def write(state: State, path: Path) -> None:
    """Write a file as anybody would."""
    if path.suffix == ".npz":
        np.savez(path, **state)
    else:
        path.write_bytes(_safetensors.content({name: np.asarray(array) for name, array in state.items()}, {}))


def same_array(found: Array, expected: Array) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


def assert_same_layer(found: Any, expected: Any) -> None:
    assert repr(found) == repr(expected)
    assert found.fingerprint() == expected.fingerprint()
    x = np.random.default_rng(0).standard_normal((4, 3, I)).astype(np.float32)
    assert_same_bits(found(x)[0], expected(x)[0])
    assert found.state_dict().keys() == expected.state_dict().keys()
    for name, array in expected.state_dict().items():
        same_array(found.state_dict()[name], array)


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".flw"])
@pytest.mark.parametrize("weights", INTEGERS)
@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize(
    "kind", [{}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 2, "bias": False}], ids=str
)
def test_integers_of_others_come_back(ending: str, weights: str, zeros: bool, kind: Any, tmp_path: Path) -> None:
    """Which float32 matrices would not give: their scales are none of the package's."""
    lstm, path = layer_of(given(zeros=zeros, **kind), weights, **kind), tmp_path / f"lstm{ending}"
    fastlstm.save(lstm, path)
    (layer,) = fastlstm.inspect(path)
    assert (layer.weights, layer.dtype) == (weights, "float32")
    assert_same_layer(fastlstm.load(path, weights="auto"), lstm)
    plain = fastlstm.load(path)
    assert_same_layer(plain, lstm.astype(weights="float32"))
    assert plain.note == NOTE.replace("int8", weights)
    for other in INTEGERS:
        assert_same_layer(fastlstm.load(path, weights=other), lstm.astype(weights=other))


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("shape", ["rows", "column", "scalar", "one"])
def test_what_others_have_written(ending: str, kind: type, shape: str, tmp_path: Path) -> None:
    """Scales and zero points of each row, as a vector or as a column, and one for a whole matrix."""
    state, path = given(kind), tmp_path / f"model{ending}"
    for name, array in state.items():
        if name.endswith(("_scale", "_zero_point")):
            state[name] = {"rows": array, "column": array[:, None], "scalar": array[0], "one": array[:1]}[shape]
    write({f"encoder.lstm.{name}": array for name, array in state.items()} | {"head.weight": np.zeros(3)}, path)
    lstm = layer_of(state)
    (layer,) = fastlstm.inspect(path)
    assert str(layer).endswith(f"I={I} H={H} L=1 D=1 P=0, float32 ({NOTE})")
    for prefix in None, "encoder.lstm", "lstm", "encoder":
        assert_same_layer(fastlstm.load(path, prefix, weights="auto"), lstm)
    assert_same_layer(fastlstm.load(path, weights="int8-fast"), lstm.astype(weights="int8-fast"))
    assert_same_layer(fastlstm.load(path), lstm.astype(weights="float32"))


def test_zero_points_of_other_integers(tmp_path: Path) -> None:
    state, path = given(np.uint8), tmp_path / "model.safetensors"
    lstm = layer_of(state)
    for dtype in np.int16, np.int32, np.int64:
        write({name: a.astype(dtype) if name.endswith("_zero_point") else a for name, a in state.items()}, path)
        assert_same_layer(fastlstm.load(path, weights="auto"), lstm)


def test_cells_and_several_layers_in_a_file(tmp_path: Path) -> None:
    a, b, path = given(), given(np.uint8, zeros=False, seed=1), tmp_path / "model.npz"
    cell = {name.replace("_l0", ""): array for name, array in b.items()}
    plain = fastlstm.LSTM(I, H, seed=0).state_dict()
    named = {"a": a, "decoder.cell": cell, "plain": plain}
    np.savez(path, **{f"{name}.{key}": array for name, state in named.items() for key, array in state.items()})
    assert {layer.name: (layer.kind, layer.weights) for layer in fastlstm.inspect(path)} == {
        "a": ("LSTM", "int8"), "decoder.cell": ("LSTMCell", "int8"), "plain": ("LSTM", "")
    }  # fmt: skip
    assert_same_layer(fastlstm.load(path, "a", weights="auto"), layer_of(a))
    assert_same_layer(fastlstm.load(path, "cell", weights="auto"), layer_of(b))
    assert fastlstm.load(path, "plain", weights="auto").weights == "float32"


def test_a_checkpoint_of_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="pip install torch")
    for kind in np.int8, np.uint8:
        state = given(kind)
        torch.save({name: torch.tensor(array) for name, array in state.items()}, tmp_path / "model.pt")
        assert_same_layer(fastlstm.load(tmp_path / "model.pt", weights="auto"), layer_of(state))


def test_scales_in_16_bits(tmp_path: Path) -> None:
    """They are read exactly; that the file has several types has to be said, as ever."""
    state, path = given(), tmp_path / "model.safetensors"
    halves = {name: a.astype(np.float16) if a.dtype == np.float32 else a for name, a in state.items()}
    write(halves, path)
    expected = layer_of({name: a.astype(np.float32) if a.dtype == np.float16 else a for name, a in halves.items()})
    assert fastlstm.inspect(path)[0].dtype == "float16, int8"
    with pytest.raises(TypeError, match=r"is stored as float16, int8: say what.*weights='auto', which keeps int8"):
        fastlstm.load(path)
    assert_same_layer(fastlstm.load(path, weights="auto"), expected)
    assert_same_layer(fastlstm.load(path, dtype="float32"), expected.astype(weights="float32"))


def test_some_matrices_of_integers(tmp_path: Path) -> None:
    """They stay what they are in a layer of integers; for float32 it has to be asked."""
    state, path = given(), tmp_path / "model.npz"
    state["weight_hh_l0"] = np.random.default_rng(0).standard_normal((4 * H, H)).astype(np.float32)
    del state["weight_hh_l0_scale"], state["weight_hh_l0_zero_point"]
    np.savez(path, **state)
    assert fastlstm.inspect(path)[0].dtype == "float32, int8"
    with pytest.raises(TypeError, match="is stored as float32, int8: say what to convert it to"):
        fastlstm.load(path)
    assert_same_layer(fastlstm.load(path, weights="int8"), layer_of(state))
    assert_same_layer(fastlstm.load(path, dtype="float32"), layer_of(state, None))
    assert fastlstm.load(path, weights="auto", dtype="float32").weights == "float32"


def test_in_float64_they_are_exact(tmp_path: Path) -> None:
    for ending in ".npz", ".safetensors":
        for scale in np.float32, np.float64:
            state, path = given(np.uint8), tmp_path / f"model{ending}"
            state["weight_ih_l0_scale"] = (state["weight_ih_l0_scale"] * np.float64(1.1)).astype(scale)[:, None]
            write(state, path)
            found = fastlstm.load(path, dtype="float64").state_dict()["weight_ih_l0"]
            distances = state["weight_ih_l0"].astype(int) - state["weight_ih_l0_zero_point"].astype(int)[:, None]
            assert_same_bits(found, distances * state["weight_ih_l0_scale"].astype(float))


def test_a_quarter_of_the_bytes(tmp_path: Path) -> None:
    lstm = fastlstm.LSTM(256, 256)
    for ending in ".npz", ".safetensors", ".flw":
        for name, layer in ("all", lstm), ("small", lstm.astype(weights="int8")):
            fastlstm.save(layer, tmp_path / f"{name}{ending}")
        assert (tmp_path / f"small{ending}").stat().st_size < 0.27 * (tmp_path / f"all{ending}").stat().st_size


def test_the_library_of_safetensors_reads_and_writes_them(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy", reason="pip install safetensors")
    lstm = layer_of(given())
    fastlstm.save(lstm, tmp_path / "lstm.safetensors")
    found = numpy.load_file(tmp_path / "lstm.safetensors")
    assert found.keys() == lstm.state_dict().keys()
    for name, array in lstm.state_dict().items():
        same_array(found[name], array)
    numpy.save_file({name: np.ascontiguousarray(array) for name, array in given(np.uint8).items()}, tmp_path / "theirs")
    assert_same_layer(fastlstm.load(tmp_path / "theirs", weights="auto"), layer_of(given(np.uint8)))


def test_several_of_different_types_are_written(tmp_path: Path) -> None:
    layers = {"a": layer_of(given()), "b": layer_of(given(zeros=False), "int8-fast"), "c": fastlstm.LSTM(I, H)}
    for ending in ".npz", ".safetensors":
        write_layers(layers, tmp_path / f"all{ending}")
        for name, lstm in layers.items():
            assert_same_layer(fastlstm.load(tmp_path / f"all{ending}", name, weights="auto"), lstm)


def test_convert_keeps_them(tmp_path: Path, capsys: Any) -> None:
    source, target = tmp_path / "in.npz", tmp_path / "out.safetensors"
    np.savez(source, **given(np.uint8))
    assert main(["convert", str(source), str(target), "--weights", "auto"]) == 0
    assert_same_layer(fastlstm.load(target, weights="auto"), layer_of(given(np.uint8)))
    assert main(["inspect", str(target)]) == 0
    assert NOTE in capsys.readouterr().out
    assert main(["convert", str(source), str(target)]) == 0
    assert capsys.readouterr().err == f"fastlstm convert: note: {NOTE.replace('weights=', '--weights ')}\n"
    assert fastlstm.inspect(target)[0].weights == ""


WRONG: Any = {
    "no scale": ({"weight_ih_l0_scale": None, "weight_ih_l0_zero_point": None}, "int8, which needs weight_ih_l0_scale"),
    "a zero point alone": ({"weight_ih_l0_scale": None}, "unexpected: weight_ih_l0_zero_point"),
    "no integers": ({"weight_ih_l0": None}, "missing: weight_ih_l0"),
    "no matrix": ({"weight_hr_l0_scale": np.float32(1)}, "unexpected: weight_hr_l0_scale"),
    "of a bias": ({"bias_ih_l0_scale": np.float32(1)}, "unexpected: bias_ih_l0_scale"),
    "floats": (
        {"weight_ih_l0": np.zeros((20, 3), np.float32)},
        "weight_ih_l0 should be int8 or uint8, since it has weight_ih_l0_scale, got: float32",
    ),
    "int16": ({"weight_ih_l0": np.zeros((20, 3), np.int16)}, "weight_ih_l0 should be int8 or uint8, .* got: int16"),
    "a bias of integers": ({"bias_ih_l0": np.zeros(20, np.int8)}, "bias_ih_l0 should be floating point, got: int8"),
    "scales of integers": (
        {"weight_ih_l0_scale": np.ones(20, np.int32)},
        "weight_ih_l0_scale should be floating point, got: int32",
    ),
    "zero points of floats": (
        {"weight_ih_l0_zero_point": np.ones(20, np.float32)},
        "weight_ih_l0_zero_point should be of integers, got: float32",
    ),
    "too few rows": ({"weight_ih_l0": np.zeros((19, 3), np.int8)}, r"weight_ih_l0 should have shape \(20, 3\)"),
    "too few scales": (
        {"weight_ih_l0_scale": np.ones(19, np.float32)},
        r"weight_ih_l0_scale should have shape \(\) or \(20,\), one for each row, got: \(19,\)",
    ),
    "groups": (
        {"weight_ih_l0_scale": np.ones((20, 2), np.float32)},
        r"weight_ih_l0_scale should have shape \(\) or \(20,\), one for each row, got: \(20, 2\)",
    ),
    "a row of scales": ({"weight_hh_l0_scale": np.ones((1, 20), np.float32)}, r"weight_hh_l0_scale should have shape"),
    "too few zero points": (
        {"weight_ih_l0_zero_point": np.ones(2, np.int8)},
        "weight_ih_l0_zero_point should have shape",
    ),
}
#: What only the numbers tell.
UNUSABLE: Any = {
    "zero": (
        {"weight_ih_l0_scale": np.float32(0)},
        "weight_ih_l0_scale should be finite and greater than zero, got: 0",
    ),
    "negative": ({"weight_hh_l0_scale": np.float32(-1)}, "weight_hh_l0_scale should be finite and greater than zero"),
    "nan": ({"weight_ih_l0_scale": np.float32("nan")}, "1 of 1 values of weight_ih_l0_scale are NaN or infinite"),
    "inf": ({"weight_ih_l0_scale": np.full(20, np.inf, np.float32)}, "20 of 20 values of weight_ih_l0_scale are NaN"),
    "too large": ({"weight_ih_l0_scale": np.float32(3e38)}, "weight_ih_l0_scale is too large"),
    "too large for float32": ({"weight_ih_l0_scale": np.float64(1e39)}, "values of weight_ih_l0_scale are NaN or inf"),
    "zero point": ({"weight_ih_l0_zero_point": np.int32(128)}, r"weight_ih_l0_zero_point should be in -128\.\.127"),
}


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
@pytest.mark.parametrize("case", [*WRONG, *UNUSABLE])
def test_what_cannot_be(ending: str, case: str, tmp_path: Path) -> None:
    changes, message = (WRONG | UNUSABLE)[case]
    path = tmp_path / f"model{ending}"
    write({name: array for name, array in (given() | changes).items() if array is not None}, path)
    if case in WRONG:
        assert fastlstm.inspect(path)[0].problem
    for options in {"weights": "auto", "dtype": "float32"}, {"dtype": "float32"}, {"dtype": "float64"}:
        with pytest.raises(ValueError, match=rf"model.*{message}"):
            fastlstm.load(path, **options)  # type: ignore[call-overload]


def test_a_file_that_names_another_type_than_it_has(tmp_path: Path) -> None:
    lstm, path = layer_of(given()), tmp_path / "lstm.npz"
    fastlstm.save(lstm, path)
    with np.load(path) as file:
        content: State = dict(file)
    told = json.loads(str(content.pop("fastlstm")))
    for weights in "float16", "bfloat16", "":
        np.savez(path, **content, fastlstm=np.array(json.dumps(told | {"weights": weights})))
        assert_same_layer(fastlstm.load(path, weights="auto"), lstm)


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".flw"])
def test_no_matrix_is_copied_in_float32(ending: str, tmp_path: Path) -> None:
    """Neither of the numbers in the file nor of others that are drawn before: three times as much would do."""
    path, size = tmp_path / f"lstm{ending}", 4 * 512 * 512
    fastlstm.save(fastlstm.LSTM(512, 512, weights="int8"), path)
    fastlstm.load(path, weights="auto")
    for weights, least, most in ("auto", 2, 5.5), ("float32", 8, np.inf):  # in bytes for a number of one matrix, of two
        tracemalloc.start()
        lstm = fastlstm.load(path, weights=weights)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert least * size < peak < most * size
        assert lstm.hidden_size == 512


def test_rows_that_are_too_long_are_float32_by_auto(tmp_path: Path) -> None:
    state: State = {"weight_ih_l0": np.ones((4, 16385), np.int8), "weight_hh_l0": np.ones((4, 1), np.int8)}
    state |= {f"{name}_scale": np.float32(0.01) for name in list(state)}
    write(state, tmp_path / "long.npz")
    assert fastlstm.load(tmp_path / "long.npz", weights="auto").weights == "float32"
    with pytest.raises(ValueError, match="weights='int8' is for at most 16384 inputs and units of a layer, got: 16385"):
        fastlstm.load(tmp_path / "long.npz", weights="int8")


def test_compare_takes_the_integers_of_a_file(tmp_path: Path, capsys: Any) -> None:
    lstm = layer_of(given(np.uint8))
    fastlstm.save(lstm, tmp_path / "model.npz")
    x = np.random.default_rng(0).standard_normal((20, 2, lstm.input_size)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x)
    files = [str(tmp_path / "model.npz"), "--data", str(tmp_path / "data.npz")]
    assert main(["compare", *files, "--weights", "int8", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(json.dumps(fastlstm.compare(lstm, x, "int8").as_dict() | {"data": files[2]}))
