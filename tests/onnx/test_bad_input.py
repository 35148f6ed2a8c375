"""Bad nodes, inputs and files: a clear error, quickly, and never a crash."""

import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastlstm.onnx
from fastlstm.onnx import Attributes, Semantics, load, run_node
from tests.cases import Array
from tests.onnx.support import INPUTS, Drawn, draw, onnx

h = onnx.helper
FULL = draw(1, lengths=True, states=True, peepholes=True)


def changed(**inputs: Any) -> list[Any]:
    """Return the inputs of FULL, some of them replaced."""
    return [inputs.get(name, value) for name, value in zip(INPUTS, FULL.inputs, strict=True)]


def zeros(*shape: int, dtype: str = "float32") -> Array:
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"X": zeros(5, 4)}, ValueError, "X should have shape [T, B, I] with I = 4, got: (5, 4)"),
        ({"X": zeros(5, 3, 7)}, ValueError, "X should have shape [T, B, I] with I = 4, got: (5, 3, 7)"),
        ({"X": zeros(5, 3, 4, dtype="float64")}, TypeError, "X should have dtype float32, that of the weights"),
        ({"X": zeros(5, 3, 4, dtype="int32")}, TypeError, "X should have dtype float32, that of the weights"),
        ({"X": [[1, 2], [3]]}, ValueError, "X could not be read as an array of float32"),
        ({"X": np.ma.masked_array(zeros(5, 3, 4))}, TypeError, "X is a masked array"),
        ({"X": None}, ValueError, "inputs: X is missing"),
        ({"W": zeros(1, 25, 4)}, ValueError, "W should have shape (1, 24, 4) = (D, 4H, I), got: (1, 25, 4)"),
        ({"W": zeros(24, 4)}, ValueError, "W should have 3 dimensions, got shape (24, 4)"),
        ({"W": zeros(2, 24, 4)}, ValueError, "W should have shape (1, 24, 4) = (D, 4H, I), got: (2, 24, 4)"),
        ({"W": zeros(1, 24, 0)}, ValueError, "W and R should have inputs and units"),
        ({"W": zeros(1, 24, 4, dtype="int8")}, TypeError, "W should have dtype float32, float64, float16 or bfloat16"),
        ({"W": None}, ValueError, "inputs: W is missing; the node names it 'W'"),
        ({"R": zeros(1, 24, 5)}, ValueError, "R should have shape (1, 24, 6) = (D, 4H, H), got: (1, 24, 5)"),
        ({"R": zeros(1, 24, 6, dtype="float64")}, TypeError, "R should have dtype float32, that of the weights"),
        ({"B": zeros(1, 24)}, ValueError, "B should have shape (1, 48) = (D, 8H), got: (1, 24)"),
        ({"B": None}, ValueError, "inputs: B is missing; the node names it 'B'"),
        ({"P": zeros(1, 24)}, ValueError, "P should have shape (1, 18) = (D, 3H), got: (1, 24)"),
        ({"sequence_lens": [6, 1, 1]}, ValueError, "sequence_lens should be in 0..5 (T), got 6 at row 0"),
        ({"sequence_lens": [1, -1, 1]}, ValueError, "sequence_lens should be in 0..5 (T), got -1 at row 1"),
        ({"sequence_lens": [1, 1]}, ValueError, "Expected sequence_lens size (3,) = (B,), got (2,)"),
        ({"sequence_lens": [1.0, 1, 1]}, TypeError, "sequence_lens should be integers, got dtype: float64"),
        ({"sequence_lens": np.ma.masked_array([1, 1, 1])}, TypeError, "sequence_lens is a masked array"),
        ({"sequence_lens": [[1], [1, 2]]}, ValueError, "sequence_lens could not be read"),
        ({"initial_h": zeros(1, 4, 6)}, ValueError, "initial_h should have shape (1, 3, 6) = [D, B, H], got"),
        ({"initial_c": zeros(3, 6)}, ValueError, "initial_c should have shape (1, 3, 6) = [D, B, H], got: (3, 6)"),
        ({"initial_c": zeros(1, 3, 6, dtype="float64")}, TypeError, "initial_c should have dtype float32, that of the"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_inputs(inputs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        run_node(FULL.node(), changed(**inputs))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"direction": "backward"}, "direction should be one of forward, reverse, bidirectional, got: 'backward'"),
        ({"hidden_size": 0}, "hidden_size should be greater than zero, got: 0"),
        ({"hidden_size": 7}, "W should have shape (1, 28, 4)"),
        ({"hidden_size": 2**62}, "W should have shape"),
        ({"hidden_size": "6"}, "hidden_size should be of type INT, got: STRING"),
        ({"activations": ["Sigmoid"]}, "activations should be 3, three per direction, got 1: Sigmoid"),
        ({"activations": ["Sigmoid", "Tanh", "Gelu"]}, "activations should be among Sigmoid, Tanh"),
        ({"activations": ["HardSigmoid", "Tanh", "Tanh"], "activation_alpha": [float("nan")]}, "finite"),
        ({"clip": 0.0}, "clip should be greater than zero, got: 0.0"),
        ({"clip": -1.0}, "clip should be greater than zero, got: -1.0"),
        ({"clip": float("nan")}, "clip should be greater than zero, got: nan"),
        ({"clip": 1}, "clip should be of type FLOAT, got: INT"),
        ({"layout": 2}, "layout should be 0 or 1, got: 2"),
        ({"input_forget": 3}, "input_forget should be 0 or 1, got: 3"),
        ({"linear_before_reset": 1}, "'linear_before_reset' is not an attribute of the LSTM operator"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_attributes(attributes: dict[str, Any], message: str) -> None:
    wrong = Drawn(FULL.inputs, FULL.attributes | attributes)
    with pytest.raises(ValueError, match=re.escape(message)):
        run_node(wrong.node(), wrong.inputs)
    names = ("W", "R", "B", "P")
    (node,) = load(wrong.model(constant=names))
    assert node.reason is not None
    assert message in node.reason


def test_arguments() -> None:
    node, inputs = FULL.node(), list(FULL.inputs)
    with pytest.raises(TypeError, match=r"node should be an onnx.NodeProto or a Node, got: str"):
        run_node("LSTM", inputs)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="inputs should be a sequence of arrays, got: ndarray"):
        run_node(node, zeros(8))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="inputs should be a sequence of arrays, got: dict"):
        run_node(node, {})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"inputs should be at most 8: .*; got 9"):
        run_node(node, [*inputs, None])
    with pytest.raises(ValueError, match="inputs: P is given, but the node does not name it"):
        run_node(draw(1).node(), [*inputs[:4], None, None, None, inputs[7]])
    with pytest.raises(ValueError, match=r"node should be ONNX's LSTM or com.microsoft's .*, got: 'GRU'"):
        run_node(h.make_node("GRU", ["X", "W", "R"], ["Y"]), inputs)
    with pytest.raises(ValueError, match="at most 3 outputs, got 4"):
        run_node(h.make_node("LSTM", ["X", "W", "R"], ["Y", "Y_h", "Y_c", "Z"]), inputs)
    with pytest.raises(ValueError, match="semantics should be one of onnx, onnxruntime, or a Semantics, got: 'keras'"):
        run_node(node, inputs, semantics="keras")
    with pytest.raises(TypeError, match="semantics should be a name or a Semantics, got: NoneType"):
        run_node(node, inputs, semantics=None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="clip_at should be one of activations, gates, state, got: 'cell'"):
        Semantics(clip_at="cell")
    with pytest.raises(ValueError, match="direction should be one of"):
        Attributes(direction="up")
    (built,) = load(FULL.model(constant=("W", "R", "B", "P")))
    with pytest.raises(ValueError, match="W, R should be None for a built node"):
        run_node(built, inputs[:3])
    with pytest.raises(TypeError, match=r"model should be a path or an onnx.ModelProto, got: bytes"):
        load(b"")  # type: ignore[arg-type]


CONSTANT = ("W", "R", "B", "P")


def stored(tensor: Callable[[Any], None]) -> fastlstm.onnx.Node:
    """Load FULL's model with its W changed."""
    model = FULL.model(constant=CONSTANT)
    tensor(model.graph.initializer[0])
    (node,) = load(model)
    return node


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([1, 2**40, 2**20], "cannot be read"),
        ([2**62, 2**62, 2**62], "cannot be read"),
        ([1, -24, -4], "negative sizes"),
        ([1, 24, 5], "cannot be read"),
        ([0, 2**40, 4], "cannot be read"),
    ],
)
def test_declared_sizes_that_the_data_does_not_have(sizes: list[int], message: str) -> None:
    def change(tensor: Any) -> None:
        tensor.dims[:] = sizes

    node = stored(change)
    assert node.reason is not None
    assert message in node.reason


def test_elements_that_are_not_floats() -> None:
    def change(tensor: Any) -> None:
        tensor.CopyFrom(onnx.numpy_helper.from_array(zeros(1, 24, 4, dtype="int64"), "W"))

    assert stored(change).reason == "W should have dtype float32, float64, float16 or bfloat16, got: int64"

    def unknown(tensor: Any) -> None:
        tensor.data_type = 999

    reason = stored(unknown).reason
    assert reason is not None
    assert "cannot be read" in reason


def test_constants_that_grow_or_go_round() -> None:
    drawn = draw(2)
    doubling = [h.make_node("Concat", [f"W{k}", f"W{k}"], [f"W{k + 1}"], axis=0) for k in range(45)]
    circle = [h.make_node("Identity", ["a"], ["b"]), h.make_node("Identity", ["b"], ["a"])]
    chain = [h.make_node("Identity", [f"c{k}"], [f"c{k + 1}"]) for k in range(5000)]
    for nodes, label, message in (
        (doubling, "W45", "would take"),
        (circle, "a", "more than 50 nodes"),
        (chain, "c5000", "more than 50 nodes"),
    ):
        node = drawn.node()
        node.input[1] = label
        model = drawn.model(constant=("W", "R", "B"))
        big = onnx.numpy_helper.from_array(zeros(2**16), "W0")
        model.graph.initializer.append(big)
        del model.graph.node[:]
        model.graph.node.extend([*nodes, node])
        (found,) = load(model)
        assert found.reason is not None
        assert message in found.reason


def test_wrong_nodes_before_the_weights() -> None:
    drawn = draw(3)
    model = drawn.model(constant=("W", "R", "B"))
    node = drawn.node()
    node.input[1] = "turned"
    del model.graph.node[:]
    model.graph.node.extend([h.make_node("Transpose", ["W"], ["turned"], perm=[5, 6]), node])
    (found,) = load(model)
    assert found.reason is not None
    assert "computed by Transpose" in found.reason


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(FileNotFoundError):
        load(path)
    content = FULL.model(constant=CONSTANT).SerializeToString()
    for wrong in (
        b"",
        b"\x00",
        b"GIF89a" * 100,
        b"PK\x03\x04" + bytes(100),
        content[: len(content) // 2],
        content[:-1],
    ):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="is not an ONNX file, or not all of one"):
            load(path)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    content = FULL.model(constant=CONSTANT).SerializeToString()
    for name in (b"drawn", b"hidden_size", b"sequence_lens"):
        path.write_bytes(content.replace(name, b"\xff" * len(name)))
        (node,) = load(path)
        assert (node.reason is None) == (name != b"hidden_size")
        assert "xff" in (node.name if name == b"drawn" else node.reason or "xff")


@pytest.mark.parametrize("location", ["../outside.bin", "/etc/hostname", "folder/../../outside.bin"])
def test_external_data_stays_beside_the_model(location: str, tmp_path: Path) -> None:
    (tmp_path / "outside.bin").write_bytes(bytes(1 * 24 * 4 * 4))
    folder = tmp_path / "model"
    folder.mkdir()
    model = FULL.model(constant=CONSTANT)
    W = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(W, location)
    W.ClearField("raw_data")
    onnx.save_model(model, str(folder / "model.onnx"))
    (node,) = load(folder / "model.onnx")
    assert node.reason is not None
    assert "cannot be read" in node.reason


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes(data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(FULL.model(constant=CONSTANT).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([None, len(content) // 3, -1]))
    path = tmp_path / "model.onnx"
    path.write_bytes(bytes(content[:cut]))
    try:
        nodes = load(path)
    except ValueError as error:
        if "is not an ONNX file" not in str(error):
            raise
        return
    for node in nodes:
        with contextlib.suppress(ValueError, TypeError):  # any other error fails the test
            node(np.zeros((2, 1, 4), np.float32), [1])
