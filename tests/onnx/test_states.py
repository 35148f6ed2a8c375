"""Initial states and lengths: those that a model computes, holds fixed, or writes as zeros."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
import fastlstm.onnx
from fastlstm.onnx import load, run_node
from tests.cases import Array
from tests.onnx.support import Drawn, draw, onnx
from tests.support import assert_same_bits

h = onnx.helper
WEIGHTS = ("W", "R", "B", "P")
STATES = ("sequence_lens", "initial_h", "initial_c")
#: What makes each state in a model, from the model's input "given" or from X; and what `computed` says of it.
COMPUTED: dict[str, tuple[list[Any], str]] = {
    "an input": ([], "'state' is an input of the graph"),
    "a computed one": ([h.make_node("Relu", ["given"], ["state"])], "'state' is computed by Relu"),
    "one through moves": (
        [h.make_node("Relu", ["given"], ["other"]), h.make_node("Transpose", ["other"], ["state"])],
        "'other' is computed by Relu",
    ),
    "an operator of others": (
        [h.make_node("Expand", ["zero", "shape"], ["state"], domain="com.example")],
        "'state' is computed by Expand",
    ),
    "one of several": (
        [h.make_node("Concat", ["zero", "given"], ["state"], axis=0)],
        "'given' is an input of the graph",
    ),
    "not zero": (
        [
            h.make_node("Shape", ["X"], ["shape"]),
            h.make_node("Expand", ["one", "shape"], ["state"]),
        ],
        "'state' is computed by Expand",
    ),
}
ZERO: dict[str, list[Any]] = {
    "Expand": [h.make_node("Shape", ["X"], ["size"]), h.make_node("Expand", ["zero", "size"], ["state"])],
    "ConstantOfShape": [h.make_node("Shape", ["X"], ["size"]), h.make_node("ConstantOfShape", ["size"], ["state"])],
    "ConstantOfShape with a value": [
        h.make_node("Shape", ["X"], ["size"]),
        h.make_node(
            "ConstantOfShape", ["size"], ["state"], value=onnx.numpy_helper.from_array(np.zeros(1, np.float32), "v")
        ),
    ],
    "joined and turned": [
        h.make_node("Shape", ["X"], ["size"]),
        h.make_node("ConstantOfShape", ["size"], ["a"]),
        h.make_node("Concat", ["a", "zero"], ["b"], axis=0),
        h.make_node("Slice", ["b", "size", "size"], ["c"]),
        h.make_node("Tile", ["c", "size"], ["d"]),
        h.make_node("Transpose", ["d"], ["state"]),
    ],
}


def model_of(drawn: Drawn, nodes: list[Any], name: str, inputs: tuple[str, ...] = ("given", "state")) -> Any:
    """Return a model of one node, whose state of that name comes from `nodes`."""
    node = drawn.node()
    node.input[["X", "W", "R", "B", *STATES].index(name)] = "state"
    for other in STATES:
        if other != name:
            node.input[["X", "W", "R", "B", *STATES].index(other)] = ""
    model = drawn.model(constant=WEIGHTS)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, node])
    made = {label for one in nodes for label in one.output}
    names = [label for label in ("X", *inputs) if label not in made]
    del model.graph.input[:]
    model.graph.input.extend(h.make_tensor_value_info(label, onnx.TensorProto.FLOAT, None) for label in names)
    for label, value in (("zero", 0.0), ("one", 1.0)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.full((1, 1, 1), value, np.float32), label))
    return model


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize("name", STATES)
def test_what_the_model_computes_has_no_default(name: str, kind: str) -> None:
    drawn = draw(1, lengths=True, states=True)
    nodes, source = COMPUTED[kind]
    (node,) = load(model_of(drawn, nodes, name))
    assert node.reason is None
    assert node.computed == {name: source}
    assert repr(node) == f"Node('drawn', 4, 6, needs {name})"
    X = drawn.inputs[0]
    with pytest.raises(ValueError, match=re.escape(f"{name} should be given, or None for")) as raised:
        node(X)
    assert source in str(raised.value)
    with pytest.raises(ValueError, match=f"{name} should be given"):
        run_node(node, [X])
    without = Drawn((*drawn.inputs[:4], None, None, None, None), drawn.attributes)
    assert_same_bits(node(X, **{name: None}), run_node(without.node(), without.inputs))
    value = drawn.inputs[4 + STATES.index(name)]
    inputs = [*drawn.inputs[:4], None, None, None, None]
    inputs[4 + STATES.index(name)] = value
    given = Drawn(tuple(inputs), drawn.attributes)
    expected = run_node(given.node(), given.inputs)
    assert_same_bits(node(X, **{name: value}), expected)
    assert_same_bits(run_node(node, [X, None, None, None, *inputs[4:7]]), expected)


@pytest.mark.parametrize("kind", ZERO)
@pytest.mark.parametrize("name", ["initial_h", "initial_c"])
def test_zeros_of_any_shape_are_the_default(name: str, kind: str) -> None:
    drawn = draw(1, lengths=True, states=True)
    (node,) = load(model_of(drawn, ZERO[kind], name, ()))
    assert (node.reason, node.computed, node.constants) == (None, {}, {})
    without = Drawn((*drawn.inputs[:4], None, None, None, None), drawn.attributes)
    assert_same_bits(node(drawn.inputs[0]), run_node(without.node(), without.inputs))


def test_zeros_do_not_say_how_long_rows_are() -> None:
    (node,) = load(model_of(draw(1, lengths=True, states=True), ZERO["ConstantOfShape"], "sequence_lens", ()))
    assert list(node.computed) == ["sequence_lens"]


def test_zeros_joined_with_themselves_again_and_again() -> None:
    nodes = [h.make_node("Shape", ["X"], ["size"]), h.make_node("ConstantOfShape", ["size"], ["z0"])]
    nodes += [h.make_node("Concat", [f"z{k}"] * 2, [f"z{k + 1}"], axis=1) for k in range(45)]
    nodes.append(h.make_node("Identity", ["z45"], ["state"]))
    model = model_of(draw(1, lengths=True, states=True), nodes, "initial_h", ())
    (node,) = load(model)
    assert (node.reason, node.computed) == (None, {})


def test_inside_a_loop() -> None:
    """The body's own inputs are what the loop carries."""
    drawn = draw(1, states=True)
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in drawn.feeds().items() if name in WEIGHTS]
    body = h.make_graph(
        [drawn.node()],
        "body",
        [h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ("initial_h", "initial_c")],
        [],
    )
    outer = h.make_graph([h.make_node("Loop", ["", "go"], ["Z"], name="loop", body=body)], "outer", [], [], tensors)
    (node,) = load(h.make_model(outer, opset_imports=[h.make_opsetid("", 17)]))
    assert list(node.computed) == ["initial_h", "initial_c"]
    assert "needs initial_h and initial_c" in repr(node)


def constant(drawn: Drawn, **states: Array) -> Any:
    names = ("X", "W", "R", "B", *STATES, "P")
    inputs = tuple(states.get(name, value) for name, value in zip(names, drawn.inputs, strict=True))
    return Drawn(inputs, drawn.attributes).model(constant=(*WEIGHTS, *STATES))


def test_constants_of_zeros_leave_the_batch_free() -> None:
    drawn = draw(1, states=True)
    zeros = np.zeros((1, 3, 6), np.float32)
    (node,) = load(constant(drawn, initial_h=zeros, initial_c=zeros))
    assert (node.constants, node.computed) == ({}, {})
    X = np.concatenate([drawn.inputs[0]] * 2, axis=1)
    assert_same_bits(node(X)[0][:, :, :3], node(drawn.inputs[0])[0])


@pytest.mark.parametrize(
    ("states", "layout", "message"),
    [
        ({"initial_c": np.zeros((1, 3, 4), "f")}, 0, "initial_c should have shape [D, B, H] with D = 1, H = 6, got"),
        ({"initial_h": np.ones((2, 3, 6), "f")}, 0, "initial_h should have shape [D, B, H] with D = 1, H = 6, got"),
        ({"initial_h": np.ones((3, 6), "f")}, 0, "initial_h should have shape [D, B, H]"),
        ({"initial_h": np.ones((1, 3, 6), "f")}, 1, "initial_h should have shape [B, D, H] with D = 1, H = 6, got"),
        ({"initial_c": np.ones((1, 3, 6))}, 0, "initial_c should have dtype float32"),
        ({"initial_c": np.ones((1, 4, 6), "f")}, 0, "no B fits all"),
        ({"sequence_lens": np.array([1, -1, 2], np.int32)}, 0, "no negative lengths"),
        ({"sequence_lens": np.ones(3, "f")}, 0, "sequence_lens should have dtype int32, got: float32"),
        ({"sequence_lens": np.ones((3, 1), np.int32)}, 0, "sequence_lens should have shape (B,)"),
    ],
)
def test_wrong_constants_are_a_reason(states: dict[str, Array], layout: int, message: str) -> None:
    drawn = draw(1, lengths=True, states=True, layout=layout)
    (node,) = load(constant(drawn, **states))
    assert node.reason is not None
    assert message in node.reason


def test_files_tell_and_warn(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    drawn = draw(1, states=True, lengths=True)
    models = {
        "initial_h comes from the model ('state' is computed by Relu): give it to each call": model_of(
            drawn, COMPUTED["a computed one"][0], "initial_h"
        ),
        "the model fixes sequence_lens, initial_h, initial_c, which the layer does not": constant(drawn),
        "the input and the output are to be reversed": draw(1, direction="reverse").model(constant=WEIGHTS),
    }
    for message, model in models.items():
        onnx.save_model(model, str(path))
        assert message in str(fastlstm.inspect(path))
        with pytest.warns(UserWarning, match=re.escape(message)):
            fastlstm.load(path)
    onnx.save_model(constant(drawn, initial_h=np.zeros((1, 3, 6), "f"), initial_c=np.zeros((1, 3, 6), "f")), str(path))
    assert "initial_h" not in str(fastlstm.inspect(path))
    onnx.save_model(draw(1).model(constant=WEIGHTS), str(path))
    fastlstm.load(path)  # without a warning, which would fail here
