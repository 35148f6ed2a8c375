"""Matrices in 16 and in 8 bits of ONNX models: as asked for, or as the model has them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.support import assert_same_bits

onnx: Any = pytest.importorskip("onnx", reason="pip install onnx")
fastonnx: Any = pytest.importorskip("fastlstm.onnx")

WEIGHTS = ("float16", "bfloat16", "int8", "int8-fast")
HALVES = ("float16", "bfloat16")
KINDS = ({}, {"bidirectional": True, "num_layers": 2}, {"form": fastlstm.Form(peepholes=True)}, {"bias": False})
x = np.random.default_rng(0).standard_normal((5, 2, 4)).astype(np.float32)


def made(weights: str | None, **options: Any) -> Any:
    return fastlstm.LSTM(4, 3, seed=0, weights=weights, **options)


def run(nodes: Any, given: Any = x) -> Any:
    """Run layer after layer; [T, D, B, H] to [T, B, D * H]."""
    for node in nodes:
        given = np.ascontiguousarray(node(given)[0].swapaxes(1, 2)).reshape(*given.shape[:2], -1)
    return given


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_bits_of_the_rounded_layer(weights: str, kind: Any) -> None:
    plain, half = made(None, **kind), made(None, **kind).astype(weights=weights)
    for model, asked in (
        (fastonnx.export(plain), weights),
        (fastonnx.export(half), weights),
        (fastonnx.export(half), "auto"),
    ):
        nodes = fastonnx.load(model, weights=asked)
        assert [node.lstm.weights for node in nodes] == [weights] * len(nodes)
        assert f"weights={weights!r}" in repr(nodes[0])
        assert_same_bits(run(nodes), half(x)[0])
    nodes = fastonnx.load(fastonnx.export(half))  # the values are kept
    assert [node.lstm.weights for node in nodes] == ["float32"] * len(nodes)
    assert_same_bits(run(nodes), half.astype(weights="float32")(x)[0])


@pytest.mark.parametrize("weights", WEIGHTS)
def test_files(weights: str, tmp_path: Path) -> None:
    lstm = made(weights)
    fastlstm.save(lstm, tmp_path / "lstm.onnx")
    proto = onnx.load(tmp_path / "lstm.onnx")
    assert {each.key: each.value for each in proto.metadata_props} == {"fastlstm.weights": weights}
    assert fastlstm.inspect(tmp_path / "lstm.onnx")[0].weights == weights
    again = fastlstm.load(tmp_path / "lstm.onnx", weights="auto")
    assert (again.weights, again.fingerprint()) == (weights, lstm.fingerprint())
    assert fastlstm.load(tmp_path / "lstm.onnx").note
    assert not fastonnx.export(made(None)).metadata_props


def cast_model(weights: str, *, through: Any = ()) -> tuple[Any, dict[str, Any]]:
    """Make a model whose W and R are stored in 16 bits, and cast to float32."""
    kind = (
        onnx.helper.np_dtype_to_tensor_dtype(np.dtype(np.float16))
        if weights == "float16"
        else onnx.TensorProto.BFLOAT16
    )
    draw = np.random.default_rng(0)
    tensors, nodes, values = [], [], {}
    for name, width in ("W", 4), ("R", 3):
        array = made(weights).astype(weights="float32").state_dict()["weight_ih_l0" if name == "W" else "weight_hh_l0"]
        values[name] = array + 0 * draw.random(array.shape).astype(np.float32)
        tensors.append(onnx.helper.make_tensor(f"{name}16", kind, (1, 12, width), array.ravel()))
        nodes.append(onnx.helper.make_node("Cast", [f"{name}16"], [name], to=onnx.TensorProto.FLOAT))
    nodes.append(onnx.helper.make_node("LSTM", ["X", "W", "R"], ["Y"], hidden_size=3))
    inputs = [onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, ["T", "B", 4])]
    outputs = [onnx.helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, ["T", 1, "B", 3])]
    graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), values


@pytest.mark.parametrize("weights", HALVES)
def test_weights_that_are_cast(weights: str, tmp_path: Path) -> None:
    model, _ = cast_model(weights)
    (node,), (plain,) = fastonnx.load(model, weights="auto"), fastonnx.load(model)
    assert (node.lstm.weights, plain.lstm.weights) == (weights, "float32")
    assert_same_bits(node(x)[0], plain(x)[0])
    onnx.save_model(model, tmp_path / "model.onnx")
    assert fastlstm.load(tmp_path / "model.onnx", weights="auto").weights == weights


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("asked", ["auto", *WEIGHTS])
def test_nodes_of_16_bits(half: str, asked: str) -> None:
    """They are computed in float32, with each result rounded once, as without."""
    kind = {"float16": np.float16, "bfloat16": pytest.importorskip("ml_dtypes").bfloat16}[half]
    node = onnx.helper.make_node("LSTM", ["X", "W", "R"], ["Y", "Y_h", "Y_c"], hidden_size=3)
    W, R = (array[None].astype(kind) for array in list(made(None).state_dict().values())[:2])
    given = [x.astype(kind), W, R]
    found, plain = fastonnx.run_node(node, given, weights=asked), fastonnx.run_node(node, given)
    if asked in ("auto", half):
        for one, other in zip(found, plain, strict=True):
            assert one.dtype == kind
            assert_same_bits(one.astype(np.float32), other.astype(np.float32))
    else:
        wide = [a.astype(np.float32) for a in given]
        for one, other in zip(found, fastonnx.run_node(node, wide, weights=asked), strict=True):
            assert_same_bits(one.astype(np.float32), other.astype(kind).astype(np.float32))


def test_what_cannot_be() -> None:
    model = fastonnx.export(fastlstm.LSTM(4, 3, dtype="float64"))
    (node,) = fastonnx.load(model, weights="float16")
    assert "layers of float32" in node.reason
    assert fastonnx.load(model, weights="auto")[0].lstm.weights == "float64"
    large = made(None)
    large.load_state_dict({name: array + 70000 for name, array in large.state_dict().items()})
    (node,) = fastonnx.load(fastonnx.export(large), weights="float16")
    assert "does not fit in float16" in node.reason
    for wrong, kind in ("int4", ValueError), (16, TypeError):
        with pytest.raises(kind, match="weights should be"):
            fastonnx.load(model, weights=wrong)
        with pytest.raises(kind, match="weights should be"):
            fastonnx.run_node(model.graph.node[0], [], weights=wrong)
    (built,) = fastonnx.load(fastonnx.export(made(None)))
    with pytest.raises(ValueError, match="weights should be None for a built node"):
        fastonnx.run_node(built, [x], weights="float16")


def test_a_wrong_word_of_a_model_rounds_nothing() -> None:
    for word in *WEIGHTS, "int4":
        model = fastonnx.export(made(None))
        onnx.helper.set_model_props(model, {"fastlstm.weights": word})
        assert fastonnx.load(model, weights="auto")[0].lstm.weights == "float32"


@pytest.mark.parametrize("weights", WEIGHTS)
def test_convert(weights: str, tmp_path: Path) -> None:
    from fastlstm._cli import main

    fastlstm.save(made(None), tmp_path / "in.npz")
    out, back = tmp_path / "out.onnx", tmp_path / "back.safetensors"
    assert main(["convert", str(tmp_path / "in.npz"), str(out), "--weights", weights]) == 0
    assert main(["convert", str(out), str(back), "--weights", "auto"]) == 0
    expected = made(None).astype(weights=weights)
    assert fastlstm.load(back, weights="auto").fingerprint() == expected.fingerprint()
    header = tmp_path / "out.h"
    assert main(["convert", str(back), str(header), "--to", "c-header", "--weights", "auto"]) == 0
    assert re.search(rf"\bFL_WEIGHTS_{weights.upper().replace('-', '_')}\b", header.read_text())
