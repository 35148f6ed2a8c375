"""The LSTM nodes of a model: where they are found, which constants they see, and a published model's."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm.onnx
from fastlstm.onnx import load, run_node
from tests.cases import Array, assert_close
from tests.onnx.support import INPUTS, Drawn, draw, onnx, run_onnxruntime
from tests.support import assert_same_bits

h = onnx.helper
WEIGHTS = ("W", "R", "B", "P")


def renamed(drawn: Drawn, name: str = "drawn", prefix: str = "") -> Any:
    """Return a node whose inputs but X, and whose outputs, have a prefix."""
    node = drawn.node()
    node.name = name
    node.input[1:] = [prefix + label if label else "" for label in node.input[1:]]
    node.output[:] = [prefix + label for label in node.output]
    return node


def tensors(drawn: Drawn, prefix: str = "") -> list[Any]:
    """Return the weights of a node as initializers."""
    pairs = zip(INPUTS, drawn.inputs, strict=True)
    given = {name: value for name, value in pairs if value is not None and name in WEIGHTS}
    return [onnx.numpy_helper.from_array(value, prefix + name) for name, value in given.items()]


def value_info(name: str, *shape: int | None) -> Any:
    return h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)


def model_of(nodes: list[Any], initializers: list[Any], inputs: tuple[str, ...] = ("X",), **options: Any) -> Any:
    graph = h.make_graph(
        nodes, "graph", [value_info(name, None, None, None) for name in inputs], [value_info("Y")], initializers
    )
    return h.make_model(graph, **({"opset_imports": [h.make_opsetid("", 17)], "ir_version": 8} | options))


def assert_runs(node: fastlstm.onnx.Node, drawn: Drawn) -> None:
    """Raise AssertionError unless a node has the bits that its NodeProto has with its weights."""
    assert node.reason is None, node.reason
    assert_same_bits(node(drawn.inputs[0]), run_node(drawn.node(), drawn.inputs))


def test_initializers_and_what_a_node_tells(tmp_path: Path) -> None:
    drawn = draw(1, direction="reverse", layout=1)
    model = drawn.model(constant=WEIGHTS)
    onnx.save_model(model, str(tmp_path / "model.onnx"))
    for source in (model, tmp_path / "model.onnx", str(tmp_path / "model.onnx")):
        (node,) = load(source)
        assert_runs(node, drawn)
        assert (node.name, node.input_size, node.hidden_size, node.opset) == ("drawn", 4, 6, 22)
        assert (node.attributes.direction, node.attributes.layout) == ("reverse", 1)
        assert node.dtype == np.float32
        assert node.lstm.batch_first
        assert repr(node) == "Node('drawn', 4, 6, reverse)"


def test_initializers_that_are_inputs_too() -> None:
    drawn = draw(2)
    model = model_of([drawn.node()], tensors(drawn), inputs=("X", "W", "R", "B"), ir_version=3)
    (node,) = load(model)
    assert_runs(node, drawn)


def test_constant_nodes_and_what_exporters_make_of_them() -> None:
    drawn = draw(3)
    _, W, R, B, *_ = drawn.inputs
    assert W is not None
    assert R is not None
    assert B is not None
    torch_rows = W[0].reshape(4, 6, 4)[[0, 2, 3, 1]].reshape(24, 4)  # as torch has them: i, f, g, o

    def constant(name: str, array: Array) -> Any:
        return h.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(array, name))

    def sliced(name: str, start: int) -> list[Any]:
        bounds = [constant(f"{name}_{k}", np.array([n])) for k, n in enumerate((start, start + 6, 0))]
        return [*bounds, h.make_node("Slice", ["torch", *(f"{name}_{k}" for k in range(3))], [name])]

    nodes = [
        constant("torch", torch_rows),
        *sliced("i", 0),
        *sliced("o", 18),
        *sliced("f", 6),
        *sliced("c", 12),
        h.make_node("Concat", ["i", "o", "f", "c"], ["iofc"], axis=0),
        constant("axis", np.array([0])),
        h.make_node("Unsqueeze", ["iofc", "axis"], ["W"]),
        constant("R_turned", R.transpose(0, 2, 1).astype(np.float64)),
        h.make_node("Transpose", ["R_turned"], ["R_wide"], perm=[0, 2, 1]),
        h.make_node("Cast", ["R_wide"], ["R"], to=onnx.TensorProto.FLOAT),
        constant("B_flat", B.reshape(-1)),
        h.make_node("Constant", [], ["B_shape"], value_ints=[1, -1]),
        h.make_node("Reshape", ["B_flat", "B_shape"], ["B_same"]),
        h.make_node("Identity", ["B_same"], ["B"]),
        drawn.node(),
    ]
    model = model_of(nodes, [])
    (node,) = load(model)
    assert_runs(node, drawn)
    for one, other in zip(node(drawn.inputs[0]), run_onnxruntime(model, {"X": drawn.inputs[0]}, ["Y"]), strict=False):
        assert_close(one, other, "onnx")


def test_subgraphs_see_what_is_around_them() -> None:
    outside, inside = draw(4), draw(5)
    held = tensors(inside, "inner_")
    branch = h.make_graph([renamed(inside, "inner", "inner_")], "then", [], [value_info("inner_Y")], held)
    other = h.make_graph([renamed(outside, "", "W_")], "else", [], [value_info("W_Y")])
    body = h.make_graph([renamed(outside, "", "W_")], "body", [], [value_info("W_Y")])
    nodes = [
        h.make_node("If", ["condition"], ["Y"], name="if", then_branch=branch, else_branch=other),
        h.make_node("Loop", ["", "condition"], ["Z"], name="loop", body=body),
        renamed(outside, "top", "W_"),
        renamed(outside, "top", "W_"),
    ]
    found = load(model_of(nodes, tensors(outside, "W_"), inputs=("X", "condition")))
    names = [node.name for node in found]
    assert sorted(names[:2]) == ["if.else_branch/LSTM", "if.then_branch/inner"]  # the helper sorts attributes
    assert names[2:] == ["loop.body/LSTM", "top", "top#2"]
    for node in found:
        assert_runs(node, inside if node.name.endswith("inner") else outside)


def test_a_subgraph_does_not_lend_its_constants() -> None:
    drawn = draw(6)
    branch = h.make_graph([], "then", [], [], tensors(drawn))
    nodes = [h.make_node("If", ["condition"], ["Z"], then_branch=branch, else_branch=branch), drawn.node()]
    (node,) = load(model_of(nodes, []))
    assert node.reason == "W is not constant: nothing makes 'W'"


def test_what_a_loop_gives_its_body_is_not_constant() -> None:
    """A tensor of the same name in the body is no default: the loop gives every input."""
    drawn = draw(6)
    inputs = [value_info(name) for name in ("i", "go", "W")]
    body = h.make_graph([drawn.node()], "body", inputs, [value_info("go")], tensors(drawn))
    (node,) = load(model_of([h.make_node("Loop", ["", "go", "first"], ["last"], body=body)], []))
    assert node.reason == "W is not constant: 'W' is an input of the graph"


def test_every_node_has_a_name_of_its_own() -> None:
    drawn = draw(6)
    given = ["a", "a", "a#2", "a#2", "", "", "LSTM", "LSTM#2"]
    found = load(model_of([renamed(drawn, name) for name in given], tensors(drawn)))
    names = [node.name for node in found]
    assert names[:3] == ["a", "a#2", "a#2#2"]
    assert len(set(names)) == len(given)


def test_functions() -> None:
    drawn = draw(7)
    function = h.make_function("own", "f", ["X", "W", "R", "B"], ["Y"], [drawn.node()], [h.make_opsetid("", 17)])
    call = h.make_node("f", ["X", "W", "R", "B"], ["Y"], domain="own")
    model = model_of([call], tensors(drawn), functions=[function])
    (node,) = load(model)
    assert node.name == "f/drawn"
    assert node.reason == "W is not constant: 'W' is an input of the function"


def test_nodes_that_are_not_built_say_why() -> None:
    drawn = draw(8)
    computed = h.make_node("Relu", ["X"], ["R"])
    nodes = [computed, renamed(drawn, "no W", "no_"), drawn.node()]
    found = load(model_of(nodes, [tensor for tensor in tensors(drawn) if tensor.name != "R"], inputs=("X", "no_W")))
    assert [node.reason for node in found] == [
        "W is not constant: 'no_W' is an input of the graph",
        "R is not constant: 'R' is computed by Relu",
    ]
    assert repr(found[1]) == "Node('drawn', not built: R is not constant: 'R' is computed by Relu)"
    assert found[1].attributes.hidden_size == 6
    assert found[1].lstms == ()
    for use in (lambda: found[1](drawn.inputs[0]), lambda: found[1].lstm, lambda: found[1].dtype):
        with pytest.raises(ValueError, match="drawn was not built: R is not constant"):
            use()
    assert_same_bits(run_node(found[1].proto, drawn.inputs), run_node(drawn.node(), drawn.inputs))


def test_one_wrong_node_leaves_the_others() -> None:
    good, wrong = draw(9), draw(10, direction="sideways")
    nodes = [renamed(wrong, "wrong", "wrong_"), good.node()]
    first, second = load(model_of(nodes, [*tensors(wrong, "wrong_"), *tensors(good)]))
    assert first.reason == "direction should be one of forward, reverse, bidirectional, got: 'sideways'"
    assert first.attributes is None
    assert_runs(second, good)


def test_states_that_the_model_holds_fixed() -> None:
    drawn = draw(11, lengths=True, states=True)
    fixed = (*WEIGHTS, "sequence_lens", "initial_h", "initial_c")
    (node,) = load(drawn.model(constant=fixed))
    assert sorted(node.constants) == ["initial_c", "initial_h", "sequence_lens"]
    assert_runs(node, drawn)
    X, W, R, B, lengths, h_0, c_0, P = drawn.inputs
    other = Drawn((X, W, R, B, lengths, c_0, h_0, P), drawn.attributes)
    assert_same_bits(node(X, None, c_0, h_0), run_node(other.node(), other.inputs))


@pytest.mark.parametrize("layout", [0, 1])
def test_layout_is_no_attribute_before_opset_14(layout: int) -> None:
    drawn = draw(13, layout=layout)
    for opset in (7, 13):
        (node,) = load(drawn.model(opset, WEIGHTS))
        assert node.reason is not None
        assert node.reason.startswith(
            f"'layout' is not an attribute of the LSTM operator of opset {opset}: direction, "
        )
    (node,) = load(drawn.model(14, WEIGHTS))
    assert_runs(node, drawn)


@pytest.mark.parametrize("opset", [1, 6])
def test_too_old(opset: int) -> None:
    model = model_of([draw(12).node()], tensors(draw(12)), opset_imports=[h.make_opsetid("", opset)])
    (node,) = load(model)
    assert node.reason is not None
    assert f"opset {opset}" in node.reason


def test_weights_in_another_file(tmp_path: Path) -> None:
    drawn = draw(13, 5, 3, 40, 30)
    path = tmp_path / "model.onnx"
    model = drawn.model(constant=WEIGHTS)
    onnx.save_model(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    (node,) = load(path)
    assert_runs(node, drawn)
    (node,) = load(onnx.load(str(path), load_external_data=False))
    assert node.reason is not None
    assert "load the model by its path" in node.reason
    (tmp_path / "weights.bin").write_bytes(b"short")
    (node,) = load(path)
    assert node.reason is not None
    assert "in another file cannot be read" in node.reason
    (tmp_path / "weights.bin").unlink()
    (node,) = load(path)
    assert node.reason is not None
    assert "weights.bin" in node.reason


def test_a_model_without_lstms() -> None:
    assert load(model_of([h.make_node("Relu", ["X"], ["Y"])], [])) == []


@pytest.fixture(scope="module")
def silero(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fetch the ONNX files of a published voice detector."""
    folder = tmp_path_factory.mktemp("silero")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(folder), "silero-vad"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip("needs the package silero-vad from PyPI (pip download silero-vad)")
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder / "silero_vad" / "data"


@pytest.mark.parametrize("name", ["silero_vad.onnx", "silero_vad_16k_op15.onnx"])
def test_published_model(silero: Path, name: str) -> None:
    model = onnx.load(str(silero / name))
    nodes = load(silero / name)
    assert len(nodes) >= 2
    rng = np.random.default_rng(0)
    for node in nodes:
        assert node.reason is None
        assert (node.input_size, node.hidden_size, node.dtype.name) == (128, 128, "float32")
        X, h_0, c_0 = (rng.standard_normal((n, 2, 128)).astype(np.float32) for n in (20, 1, 1))
        weights = _weights_by_onnxruntime(model, list(node.proto.input[1:4]))
        alone = Drawn((X, *weights, None, h_0, c_0, None), {"hidden_size": 128})
        for one, other in zip(node(X, None, h_0, c_0), run_onnxruntime(alone.model(), alone.feeds()), strict=True):
            assert_close(one, other, "onnx, wide")


def _weights_by_onnxruntime(model: Any, names: list[str]) -> list[Array]:
    """Let onnxruntime compute W, R and B from the constants that the model makes them of."""
    graphs = _graphs(model.graph)
    nodes = [node for graph in graphs for node in graph.node]
    held = {tensor.name: tensor for graph in graphs for tensor in graph.initializer}
    producers = {label: position for position, node in enumerate(nodes) for label in node.output}
    needed, wanted = set(), list(names)
    while wanted:
        position = producers.get(wanted.pop())
        if position is not None and position not in needed:
            needed.add(position)
            wanted += nodes[position].input
    used = [nodes[position] for position in sorted(needed)]
    tensors = [held[label] for label in {label for node in used for label in node.input} if label in held]
    outputs = [h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
    part = h.make_graph(used, "weights", [], outputs, tensors)
    return run_onnxruntime(h.make_model(part, opset_imports=list(model.opset_import), ir_version=8), {})


def _graphs(graph: Any) -> list[Any]:
    """List a graph and those inside it."""
    found = [graph]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += _graphs(attribute.g)
    return found
