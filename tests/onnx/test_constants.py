"""Weights that a model computes from its constants: moved, joined, dequantised; within a budget, in linear time."""

import contextlib
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
import fastlstm.onnx
from fastlstm.onnx import load, run_node
from fastlstm.onnx._tensors import Source
from tests.cases import Array
from tests.onnx.support import draw, onnx, run_onnxruntime
from tests.support import assert_same_bits

h = onnx.helper
WEIGHTS = ("W", "R", "B", "P")
FLOAT = onnx.TensorProto.FLOAT


def tensor(name: str, array: Array) -> Any:
    return onnx.numpy_helper.from_array(np.asarray(array), name)


def model_with(nodes: list[Any], tensors: list[Any], opset: int = 22, label: str = "made") -> Any:
    """Return the model of `draw(3)` whose W is `label`, made by nodes."""
    model = draw(3).model(opset, constant=WEIGHTS)
    node = model.graph.node[0]
    node.input[1] = label
    del model.graph.node[:]
    model.graph.node.extend([*nodes, node])
    model.graph.initializer.extend(tensors)
    return model


def value_of(nodes: list[Any], tensors: list[Any], opset: int = 22) -> Array:
    """Return what a node's W is, by the LSTM that was built."""
    (node,) = load(model_with(nodes, tensors, opset))
    assert node.reason is None, node.reason
    i, f, g, o = np.split(node.lstm.state_dict()["weight_ih_l0"], 4)
    return np.concatenate([i, o, f, g])[None]


def by_onnx(nodes: list[Any], tensors: list[Any], opset: int) -> Array:
    """Return the same, computed by the onnx package."""
    from onnx.reference import ReferenceEvaluator

    result = h.make_tensor_value_info("made", FLOAT, None)
    graph = h.make_graph(nodes, "g", [], [result], tensors)
    if any(node.op_type == "DequantizeLinear" for node in nodes):
        opset = max(opset, 19)  # it has no older one
    (made,) = ReferenceEvaluator(h.make_model(graph, opset_imports=[h.make_opsetid("", opset)])).run(None, {})
    return np.asarray(made)


RNG = np.random.default_rng(5)
BASE = RNG.standard_normal((24, 4)).astype(np.float32)
INT = RNG.integers(-128, 128, (1, 24, 4)).astype(np.int8)

#: Nodes that make W [1, 24, 4], their constants, and the operator sets that have them.
MOVES: dict[str, tuple[list[Any], dict[str, Array], tuple[int, ...]]] = {
    "Unsqueeze, an attribute": ([h.make_node("Unsqueeze", ["x"], ["made"], axes=[0])], {"x": BASE}, (7, 11, 12)),
    "Unsqueeze, an input": (
        [h.make_node("Unsqueeze", ["x", "a"], ["made"])],
        {"x": BASE, "a": np.array([-3])},
        (13, 21),
    ),
    "Squeeze, an attribute": (
        [h.make_node("Squeeze", ["x"], ["made"], axes=[0, 2])],
        {"x": BASE[None, None, None]},
        (7, 11),
    ),
    "Squeeze, an input": (
        [h.make_node("Squeeze", ["x", "a"], ["made"])],
        {"x": BASE[None, None], "a": np.array([-4])},
        (13, 21),
    ),
    "Slice, attributes": (
        [h.make_node("Slice", ["x"], ["made"], axes=[2, 1], starts=[-5, 0], ends=[-1, 24])],
        {"x": RNG.standard_normal((1, 30, 5)).astype(np.float32)},
        (7, 9),
    ),
    "Slice, backwards": (
        [h.make_node("Slice", ["x", "s", "e", "a", "t"], ["made"])],
        {
            "x": RNG.standard_normal((1, 24, 9)).astype(np.float32),
            "s": np.array([10**9, -2]),
            "e": np.array([-(2**63), 0]),
            "a": np.array([1, -1]),
            "t": np.array([-1, -2]),
        },
        (10, 13),
    ),
    "Transpose": ([h.make_node("Transpose", ["x"], ["made"])], {"x": BASE.T[..., None].copy()}, (7, 13)),
    "Reshape, as it was and the rest": (
        [h.make_node("Reshape", ["x", "n"], ["made"])],
        {"x": BASE[None].reshape(1, 12, 8), "n": np.array([0, 24, -1])},
        (7, 14, 21),
    ),
    "Concat": (
        [h.make_node("Concat", ["x", "y"], ["made"], axis=-2)],
        {"x": BASE[None, :10], "y": BASE[None, 10:]},
        (7, 13),
    ),
    "Cast": ([h.make_node("Cast", ["x"], ["made"], to=FLOAT)], {"x": BASE[None].astype(np.float64)}, (7, 13, 21)),
    "DequantizeLinear, per tensor": (
        [h.make_node("DequantizeLinear", ["q", "s", "z"], ["made"])],
        {"q": INT, "s": np.float32(0.01), "z": np.int8(-3)},
        (10, 13, 19, 21),
    ),
    "DequantizeLinear, without a zero point": (
        [h.make_node("DequantizeLinear", ["q", "s"], ["made"])],
        {"q": INT.astype(np.int32), "s": np.float32(0.01)},
        (10, 13, 21),
    ),
    "DequantizeLinear, along an axis": (
        [h.make_node("DequantizeLinear", ["q", "s", "z"], ["made"], axis=-1)],
        {
            "q": INT.view(np.uint8),
            "s": np.float32([0.01, 0.02, 0.03, 0.04]),
            "z": np.uint8([1, 2, 128, 255]),
        },
        (13, 19, 21),
    ),
    "DequantizeLinear, the default axis": (
        [h.make_node("DequantizeLinear", ["q", "s"], ["made"])],
        {"q": INT, "s": np.linspace(0.01, 0.03, 24, dtype=np.float32)},
        (13, 21),
    ),
    "DequantizeLinear, int16": (
        [h.make_node("DequantizeLinear", ["q", "s", "z"], ["made"])],
        {"q": RNG.integers(-32768, 32768, (1, 24, 4)).astype(np.int16), "s": np.float32(1e-5), "z": np.int16(-32768)},
        (21, 23),
    ),
    "DequantizeLinear, blocks": (
        [h.make_node("DequantizeLinear", ["q", "s", "z"], ["made"], axis=1, block_size=8)],
        {
            "q": INT,
            "s": RNG.uniform(0.01, 0.02, (1, 3, 4)).astype(np.float32),
            "z": RNG.integers(-9, 9, (1, 3, 4)).astype(np.int8),
        },
        (21, 23),
    ),
    "DequantizeLinear, then moved": (
        [
            h.make_node("DequantizeLinear", ["q", "s"], ["a"], axis=0),
            h.make_node("Transpose", ["a"], ["made"], perm=[2, 0, 1]),
        ],
        {"q": INT[0][..., None].copy(), "s": np.linspace(0.01, 0.03, 24, dtype=np.float32)},
        (13, 21),
    ),
}


@pytest.mark.parametrize(
    ("case", "opset"), [(case, opset) for case, (_, _, opsets) in MOVES.items() for opset in opsets]
)
def test_moves_are_those_of_the_onnx_package(case: str, opset: int) -> None:
    nodes, constants, _ = MOVES[case]
    tensors = [tensor(name, array) for name, array in constants.items()]
    assert_same_bits(value_of(nodes, tensors, opset), by_onnx(nodes, tensors, opset))


@pytest.mark.parametrize("case", [case for case in MOVES if case.startswith("Dequantize")])
def test_dequantising_is_that_of_onnxruntime(case: str) -> None:
    nodes, constants, _ = MOVES[case]
    tensors = [tensor(name, array) for name, array in constants.items()]
    result = h.make_tensor_value_info("made", FLOAT, None)
    graph = h.make_graph(nodes, "g", [], [result], tensors)
    (made,) = run_onnxruntime(h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10), {})
    assert_same_bits(value_of(nodes, tensors, 21), made)


@settings(max_examples=200, deadline=None)
@given(
    size=st.integers(1, 6),
    start=st.integers(-9, 9),
    end=st.integers(-9, 9),
    step=st.integers(-3, 3).filter(bool),
)
def test_slices(size: int, start: int, end: int, step: int) -> None:
    from fastlstm.onnx._fold import fold

    x = np.arange(size)
    node = h.make_node("Slice", ["x", "s", "e", "a", "t"], ["made"])
    inputs = [x, *(np.array([number]) for number in (start, end, 0, step))]
    made = fold(node, inputs, lambda size: None)
    tensors = [tensor(name, array) for name, array in zip("xseat", inputs, strict=True)]
    if step < 0 and start < -size:  # the text moves it to the first element, as onnxruntime does; the package does not
        assert made.tolist() == ([0] if end < -size else [])
    else:
        assert made.tolist() == by_onnx([node], tensors, 13).tolist()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_scales_of_half_types_round_once(dtype: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")  # onnx needs it
    kind = np.dtype(dtype) if dtype == "float16" else np.dtype(ml_dtypes.bfloat16)
    scale = np.array(0.0123, kind)
    nodes = [h.make_node("DequantizeLinear", ["q", "s"], ["a"]), h.make_node("Cast", ["a"], ["made"], to=FLOAT)]
    made = value_of(nodes, [tensor("q", INT), tensor("s", scale)])
    expected = (INT.astype(np.float64) * float(scale)).astype(kind).astype(np.float32)
    assert_same_bits(made, expected)


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("kind", ["INT4", "UINT4"])
def test_four_bits(kind: str, typed: bool) -> None:
    numbers = np.arange(96).reshape(1, 24, 4) % 16 - (8 if kind == "INT4" else 0)
    data_type = getattr(onnx.TensorProto, kind)
    q = h.make_tensor("q", data_type, numbers.shape, numbers.ravel())
    if not typed:
        q = tensor("q", onnx.numpy_helper.to_array(q))
    nodes = [h.make_node("DequantizeLinear", ["q", "s"], ["made"])]
    assert_same_bits(value_of(nodes, [q, tensor("s", np.float32(0.5))]), (numbers * 0.5).astype(np.float32))


@pytest.mark.parametrize("opset", [10, 13, 19, 21])
@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16"])
def test_quantising_is_that_of_the_onnx_package(kind: str, opset: int) -> None:
    """With ties, and numbers that are too large."""
    if opset < 21 and "16" in kind:
        pytest.skip("the operator has it from opset 21 on")
    x = np.concatenate([np.arange(-12, 12, 0.5, dtype=np.float32), RNG.normal(0, 9, 48).astype(np.float32)])
    x[-4:] = 1e8, -1e8, 1e5, -1e5
    constants = {"x": x.reshape(1, 24, 4), "s": np.float32(0.5), "z": np.array(3, kind)}
    nodes = [
        h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        h.make_node("DequantizeLinear", ["q", "s", "z"], ["made"]),
    ]
    tensors = [tensor(name, array) for name, array in constants.items()]
    assert_same_bits(value_of(nodes, tensors, opset), by_onnx(nodes, tensors, opset))


@pytest.mark.parametrize(
    ("changes", "attributes", "message"),
    [
        ({"x": np.full((1, 24, 4), np.nan, "f")}, {}, "x should be finite"),
        ({"x": np.zeros((1, 24, 4))}, {}, "x should have dtype float32, got: float64"),
        ({"s": np.float32(0)}, {}, "y_scale should be finite and greater than zero, got: 0.0"),
        ({"s": np.ones(23, "f"), "z": np.zeros(23, "i1")}, {}, "y_scale should have shape () or (24,)"),
        ({"z": np.float32(0)}, {}, "the result should have dtype int8, uint8, int16, uint16, got: float32"),
        ({}, {"output_dtype": onnx.TensorProto.UINT8}, "the result should have dtype"),
        ({}, {"block_size": 4}, "blocks, and sums in other types than float32, are not computed"),
    ],
)
def test_wrong_numbers_to_be_quantised(changes: dict[str, Array], attributes: dict[str, Any], message: str) -> None:
    constants = {"x": np.ones((1, 24, 4), "f"), "s": np.float32(0.01), "z": np.int8(0)} | changes
    nodes = [
        h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], **attributes),
        h.make_node("DequantizeLinear", ["q", "t", "u"], ["made"]),
    ]
    tensors = [tensor(name, array) for name, array in constants.items()]
    (node,) = load(model_with(nodes, [*tensors, tensor("t", np.float32(0.01)), tensor("u", np.int8(0))]))
    assert node.reason is not None
    assert "computed by QuantizeLinear: " in node.reason
    assert message in node.reason


WRONG: dict[str, tuple[dict[str, Array], dict[str, Any], str]] = {
    "scale of zero": ({"s": np.float32(0)}, {}, "x_scale should be finite and greater than zero, got: 0.0"),
    "negative scale": ({"s": np.float32(-1)}, {}, "x_scale should be finite and greater than zero, got: -1.0"),
    "scale of NaN": ({"s": np.float32(np.nan)}, {}, "x_scale should be finite and greater than zero, got: nan"),
    "huge scale": ({"s": np.float32(3e38)}, {}, "scales are too large"),
    "scale of integers": ({"s": np.int32(1)}, {}, "x_scale should have dtype float32"),
    "scales of another number": (
        {"s": np.ones(23, "f"), "z": np.zeros(23, "i1")},
        {},
        "x_scale should have shape () or (24,)",
    ),
    "an axis that is not there": (
        {"s": np.ones(24, "f"), "z": np.zeros(24, "i1")},
        {"axis": 3},
        "axis should be in -3..2, got: 3",
    ),
    "zero point of another type": ({"z": np.uint8(0)}, {}, "x_zero_point should have dtype int8"),
    "zero points of another number": (
        {"s": np.ones(24, "f"), "z": np.zeros(23, "i1")},
        {},
        "x_zero_point should have shape (24,), that of x_scale, got: (23,)",
    ),
    "blocks that do not fit": (
        {"s": np.ones((1, 4, 4), "f"), "z": np.zeros((1, 4, 4), "i1")},
        {"block_size": 8},
        "x_scale should have shape (1, 3, 4) for blocks of 8 along axis 1, got: (1, 4, 4)",
    ),
    "a negative block": ({}, {"block_size": -1}, "block_size should be 0 or more, got: -1"),
    "a zero point of int32": (
        {"q": INT.astype(np.int32), "z": np.int32(5)},
        {},
        "x_zero_point should be zero for int32, got: 5",
    ),
    "floats": (
        {"q": BASE[None]},
        {},
        "x should have dtype int8, uint8, int16, uint16, int32, int4 or uint4, got: float",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_numbers_before_the_weights(case: str) -> None:
    changes, attributes, message = WRONG[case]
    constants = {"q": INT, "s": np.float32(0.01), "z": np.int8(0)} | changes
    nodes = [h.make_node("DequantizeLinear", ["q", "s", "z"], ["made"], **attributes)]
    (node,) = load(model_with(nodes, [tensor(name, array) for name, array in constants.items()]))
    assert node.reason is not None
    assert node.reason.startswith("W: 'made', computed by DequantizeLinear: ")
    assert message in node.reason


def test_element_types_that_are_not_read() -> None:
    for kind in ("FLOAT8E4M3FN", "FLOAT8E5M2"):
        q = h.make_tensor("q", getattr(onnx.TensorProto, kind), (1, 24, 4), np.ones(96))
        nodes = [h.make_node("DequantizeLinear", ["q", "s"], ["made"])]
        (node,) = load(model_with(nodes, [q, tensor("s", np.float32(1))]))
        assert node.reason is not None
        assert "x should have dtype int8, uint8, int16, uint16, int32, int4 or uint4, got: float8" in node.reason


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"int32_data": [300] * 96}, "int32_data has numbers that int8 does not have"),
        ({"int32_data": [1] * 95}, "96 numbers expected in int32_data, got 95"),
        ({"int32_data": [1] * 97}, "96 numbers expected in int32_data, got 97"),
        ({"raw_data": bytes(95)}, "96 bytes expected, got 95"),
        ({}, "96 numbers expected in int32_data, got 0"),
        ({"raw_data": bytes(96), "segment": {"begin": 0}}, "one of several segments"),
    ],
)
def test_data_that_is_not_what_is_claimed(numbers: dict[str, Any], message: str) -> None:
    q = onnx.TensorProto(name="q", data_type=onnx.TensorProto.INT8, dims=(1, 24, 4), **numbers)
    nodes = [h.make_node("DequantizeLinear", ["q", "s"], ["made"])]
    (node,) = load(model_with(nodes, [q, tensor("s", np.float32(1))]))
    assert node.reason is not None
    assert message in node.reason


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("raw", [False, True])
def test_typed_and_raw_data_are_the_same(raw: bool, dtype: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")  # onnx needs it
    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    W = BASE[None].astype(kind)
    made = tensor("x", W) if raw else h.make_tensor("x", h.np_dtype_to_tensor_dtype(kind), W.shape, W.ravel().tolist())
    nodes = [h.make_node("Cast", ["x"], ["made"], to=FLOAT)]
    assert made.HasField("raw_data") == raw
    assert_same_bits(value_of(nodes, [made]), W.astype(np.float32))


BIG = np.zeros((1, 2400, 100), np.float32)  # 960 KB


def bombs() -> dict[str, tuple[list[Any], list[Any]]]:
    joined = [h.make_node("Concat", ["big"] * 8, [f"c{k}"], axis=0) for k in range(400)]
    doubled = [h.make_node("Concat", [f"d{k}"] * 2, [f"d{k + 1}"], axis=0) for k in range(45)]
    cast = [h.make_node("Cast", ["big"], [f"c{k}"], to=onnx.TensorProto.DOUBLE) for k in range(400)]
    spread = [h.make_node("DequantizeLinear", ["small", "one"], [f"c{k}"]) for k in range(4000)]
    turned = [
        node
        for k in range(400)
        for node in (
            h.make_node("Transpose", ["big"], [f"t{k}"]),
            h.make_node("Reshape", [f"t{k}", "flat"], [f"c{k}"]),
        )
    ]
    ends = {
        "joined": h.make_node("Concat", [f"c{k}" for k in range(400)], ["made"], axis=0),
        "spread": h.make_node("Concat", [f"c{k}" for k in range(4000)], ["made"], axis=0),
    }
    big, small = tensor("big", BIG), tensor("small", np.zeros(200_000, np.int8))
    extra = [tensor("flat", np.array([-1])), tensor("one", np.float32(1))]
    return {
        "joined": ([*joined, ends["joined"]], [big]),
        "doubled": ([*doubled, h.make_node("Identity", ["d45"], ["made"])], [tensor("d0", BIG)]),
        "cast": ([*cast, ends["joined"]], [big]),
        "copied": ([*turned, ends["joined"]], [big, *extra]),
        "dequantised": ([*spread, ends["spread"]], [small, *extra]),
    }


@pytest.mark.parametrize("case", bombs())
@pytest.mark.parametrize("max_bytes", [None, 2**24])
def test_constants_have_a_budget(case: str, max_bytes: int | None) -> None:
    model = model_with(*bombs()[case])
    limit = max_bytes or 2**26 + 24 * model.ByteSize()
    tracemalloc.start()
    try:
        (node,) = load(model, max_bytes=max_bytes)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert node.reason is not None
    assert "would take" in node.reason
    assert "max_bytes=" in node.reason
    assert peak < limit + 2**21


@pytest.mark.parametrize("kind", ["Tile", "Expand", "ConstantOfShape"])
def test_what_makes_tensors_of_any_size_is_not_computed(kind: str) -> None:
    inputs = ["sizes"] if kind == "ConstantOfShape" else ["x", "sizes"]
    nodes = [h.make_node(kind, inputs, ["made"])]
    tensors = [tensor("x", np.zeros((1, 1, 1), np.float32)), tensor("sizes", np.array([2**20, 2**20, 2**20]))]
    (node,) = load(model_with(nodes, tensors))
    assert node.reason == f"W is not constant: 'made' is computed by {kind}"
    model = draw(3, states=True).model(constant=WEIGHTS)
    model.graph.initializer.extend(tensors)
    model.graph.node.insert(0, h.make_node(kind, inputs, ["initial_h"]))
    del model.graph.input[1]
    (node,) = load(model)  # a state of zeros: of no size until it is needed
    assert list(node.computed) == ["initial_c"]


def test_many_nodes_on_the_same_weights() -> None:
    """Every layer that is built has weights of its own, however few bytes of the file it took."""
    tensors = [tensor("W", np.zeros((1, 1024, 256), "f")), tensor("R", np.zeros((1, 1024, 256), "f"))]
    nodes = [h.make_node("LSTM", ["X", "W", "R"], [f"Y{k}"], hidden_size=256) for k in range(300)]
    graph = h.make_graph(nodes, "many", [h.make_tensor_value_info("X", FLOAT, None)], [], tensors)
    found = load(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)]))
    built = [node for node in found if node.reason is None]
    assert 30 < len(built) < 50  # 64 MiB and 4 times 2 MiB, in layers of 2 MiB
    assert all("would take" in (node.reason or "would take") for node in found)


def test_inputs_of_constants_are_counted() -> None:
    wide = h.make_node("Concat", ["x"] * 100_000 + ["nothing"], ["made"], axis=0)
    model = model_with([wide], [tensor("x", np.zeros((0, 24, 4), np.float32))])
    model.graph.node.extend([model.graph.node[-1]] * 30)
    reasons = {node.reason for node in load(model)}
    assert reasons == {"W is not constant: nothing makes 'nothing'"}  # found out once
    del model.graph.node[0].input[-1]
    found = load(model)
    assert "W should have shape" in (found[0].reason or "")
    assert "computed from more than 1000000 inputs" in (found[-1].reason or "")


def test_why_a_weight_is_not_constant_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many nodes may name one tensor that is costly to refuse."""
    looked = []

    def read(source: Source, wanted: Any) -> Array:
        looked.append(wanted.name)
        raise ValueError("damaged")

    monkeypatch.setattr(Source, "read", read)
    model = model_with([], [tensor("made", np.float32(1))])
    model.graph.node.extend([model.graph.node[-1]] * 30)
    assert {node.reason for node in load(model)} == {"W: damaged"}
    assert looked == ["made"]


N = 400
LONG = "n" * 300_000


def many(**options: Any) -> list[Any]:
    """Return nodes that take few bytes each: all name the same things."""
    return [h.make_node("LSTM", options.get("inputs", ["X", "W", "R"]), ["Y"]) for _ in range(N)]


def crowds() -> dict[str, Any]:
    """Make models in which many nodes share what is long: a message, a path, a state."""
    weights = [tensor("W", np.ones((1, 4, 1), "f")), tensor("R", np.ones((1, 4, 1), "f"))]
    imports = [h.make_opsetid("", 17)]

    def model(nodes: list[Any], tensors: list[Any], **options: Any) -> Any:
        graph = h.make_graph(nodes, "crowd", [h.make_tensor_value_info("X", FLOAT, None)], [], [*weights, *tensors])
        return h.make_model(graph, opset_imports=imports, **options)

    body, nothing = h.make_graph(many(), "body", [], []), h.make_graph([], "nothing", [], [])
    function = h.make_function("here", LONG, ["X"], ["Y"], many(), imports)
    sparse = h.make_node("Identity", [LONG], ["S"])
    return {
        "path": model([h.make_node("If", ["X"], ["Y"], name=LONG, then_branch=body, else_branch=nothing)], []),
        "function": model([], [], functions=[function]),
        "reason": model([sparse, *many(inputs=["X", "S", "R"])], []),
        "operator": model([h.make_node(LONG, ["X"], ["S"]), *many(inputs=["X", "S", "R"])], []),
        "computed": model([sparse, *many(inputs=["X", "W", "R", "", "S", "S", "S"])], []),
        "sizes": model(many(inputs=["X", "S", "R"]), [onnx.TensorProto(name="S", data_type=1, dims=[1] * 100_000)]),
        "states": model(many(inputs=["X", "W", "R", "", "", "S"]), [tensor("S", np.ones((1, 2**17, 1), "f"))]),
        "lengths": model(many(inputs=["X", "W", "R", "", "S"]), [tensor("S", np.ones(2**17, np.int32))]),
    }


@pytest.mark.parametrize("case", crowds())
def test_what_many_nodes_share_has_a_budget(case: str, tmp_path: Path) -> None:
    model = crowds()[case]
    path = tmp_path / "crowd.onnx"
    path.write_bytes(model.SerializeToString())
    tracemalloc.start()
    try:
        with contextlib.suppress(MemoryError):
            kept = load(path)
            assert len(kept) == N
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**26 + 4 * path.stat().st_size


def test_names_seen_twice_and_empty_lists() -> None:
    for nodes, message in (
        ([h.make_node("Concat", [], ["made"], axis=0)], "input 0 is missing"),
        ([h.make_node("Concat", ["W"], ["made"])], "axis is missing"),
        ([h.make_node("Unsqueeze", ["W"], ["made"])], "axes is missing"),
        ([h.make_node("Reshape", ["W"], ["made"])], "shape is missing"),
        ([h.make_node("Cast", ["W"], ["made"], to=999)], "to should be an element type, got: 999"),
        ([h.make_node("Cast", ["W"], ["made"], to=onnx.TensorProto.STRING)], "to should be a plain number type"),
        ([h.make_node("Slice", ["W"], ["made"], starts=[0], ends=[1, 2])], "do not fit together"),
        ([h.make_node("DequantizeLinear", ["W"], ["made"])], "input x_scale is missing"),
    ):
        (node,) = load(model_with(nodes, []))
        assert node.reason is not None
        assert message in node.reason


# --- data in other files ---------------------------------------------------------------------------------------------


def external(folder: Path, location: str, **entries: str) -> fastlstm.onnx.Node:
    """Load a model in a folder whose W is in another file."""
    model = draw(3).model(constant=WEIGHTS)
    W = next(one for one in model.graph.initializer if one.name == "W")
    W.ClearField("raw_data")
    W.data_location = onnx.TensorProto.EXTERNAL
    for key, value in ({"location": location} | entries).items():
        W.external_data.add(key=key, value=value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (node,) = load(folder / "model.onnx")
    return node


def weights() -> bytes:
    return draw(3).inputs[1].astype("<f4").tobytes()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "entries", [{}, {"length": "384"}, {"offset": "0"}, {"offset": "16", "length": "384", "checksum": "0"}]
)
def test_data_beside_the_model(entries: dict[str, str], tmp_path: Path) -> None:
    drawn = draw(3)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "data.bin").write_bytes(bytes(int(entries.get("offset", 0))) + weights())
    node = external(tmp_path, "in/data.bin", **entries)
    assert node.reason is None, node.reason
    assert_same_bits(node(drawn.inputs[0]), run_node(drawn.node(), drawn.inputs))


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"length": "383"}, "384 bytes expected"),
        ({"length": str(2**62)}, "384 bytes expected"),
        ({"offset": "1"}, "has 384 bytes, fewer than 1 + 384"),
        ({"offset": str(2**63)}, "has 384 bytes, fewer than"),
        ({"offset": "-1"}, "384 bytes expected, but offset -1"),
        ({"offset": "x"}, "invalid literal"),
    ],
)
def test_sizes_of_data_beside_the_model(entries: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(weights())
    node = external(tmp_path, "data.bin", **entries)
    assert node.reason is not None
    assert message in node.reason


@pytest.mark.parametrize(
    "location",
    [
        "",
        ".",
        "..",
        "../data.bin",
        "in/../data.bin",
        "/etc/passwd",
        "C:\\data.bin",
        "..\\data.bin",
        "\\\\host\\a",
        "a\0b",
    ],
)
def test_places_outside_of_the_folder(location: str, tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(weights())
    folder = tmp_path / "model"
    (folder / "in").mkdir(parents=True)
    node = external(folder, location)
    assert node.reason is not None
    assert "cannot be read" in node.reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_links_pipes_and_folders(tmp_path: Path) -> None:
    (tmp_path / "data.bin").write_bytes(weights())
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "inside.bin").write_bytes(weights())
    (folder / "link.bin").symlink_to(tmp_path / "data.bin")
    (folder / "near.bin").symlink_to(folder / "inside.bin")
    (folder / "away").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    for location, message in (
        ("link.bin", "is a link, or behind one"),
        ("near.bin", "is a link, or behind one"),
        ("away/data.bin", "is a link, or behind one"),
        ("pipe", "is not a regular file"),
        ("folder", "is not a regular file"),
        ("none.bin", "none.bin"),
    ):
        node = external(folder, location)
        assert node.reason is not None
        assert message in node.reason
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ValueError, match="is not a regular file"):
        load(tmp_path / "pipe.onnx")


def test_a_budget_of_the_callers_own(tmp_path: Path) -> None:
    lstm = fastlstm.LSTM(64, 64, seed=0)
    path = tmp_path / "model.onnx"
    fastlstm.onnx.export(lstm, path)
    size = path.stat().st_size
    with pytest.raises(MemoryError, match="max_bytes="):
        load(path, max_bytes=size - 1)
    with pytest.raises(MemoryError, match="the parts of the model would take"):
        load(path, max_bytes=2 * size)
    (node,) = load(path, max_bytes=2 * size + 20_000)
    assert "would take" in (node.reason or "")
    (node,) = load(path, max_bytes=4 * size)
    assert node.reason is None
    with pytest.raises(TypeError, match="max_bytes should be"):
        load(path, max_bytes=1.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_bytes must be"):
        load(path, max_bytes=-1)


@pytest.mark.parametrize("quantised", [False, True])
def test_honest_large_models_fit(quantised: bool, tmp_path: Path) -> None:
    """One layer that needs more than what any file may take, with the moves of torch's exporter."""
    H = 1100
    rng = np.random.default_rng(0)
    rows = rng.integers(-99, 99, (4 * H, H)).astype(np.int8)
    if not quantised:
        rows = rows.astype(np.float32)
    bounds = [tensor(f"n{k}", np.array([k * H])) for k in range(5)]
    nodes, tensors = [], [*bounds, tensor("zero", np.array([0])), tensor("scale", np.float32(0.01))]
    for name in "WR":
        source = f"{name}_all"
        tensors.append(tensor(f"{name}_q" if quantised else source, rows))
        if quantised:
            nodes.append(h.make_node("DequantizeLinear", [f"{name}_q", "scale"], [source]))
        nodes += [h.make_node("Slice", [source, f"n{k}", f"n{k + 1}", "zero"], [f"{name}_{k}"]) for k in (0, 3, 1, 2)]
        nodes.append(h.make_node("Concat", [f"{name}_{k}" for k in (0, 3, 1, 2)], [f"{name}_joined"], axis=0))
        nodes.append(h.make_node("Unsqueeze", [f"{name}_joined", "zero"], [name]))
    nodes.append(h.make_node("LSTM", ["X", "W", "R"], ["Y"], hidden_size=H))
    graph = h.make_graph(nodes, "large", [h.make_tensor_value_info("X", FLOAT, None)], [], tensors)
    path = tmp_path / "large.onnx"
    path.write_bytes(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)]).SerializeToString())
    (node,) = load(path)
    assert node.reason is None, node.reason
    assert not fastlstm.inspect(path)[0].problem
    fastlstm.load(path)
