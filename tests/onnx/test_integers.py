"""LSTM nodes behind DequantizeLinear: on the integers that the model has, wherever they are moved; and where not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
import fastlstm.onnx
from fastlstm.onnx import load
from tests.cases import Array
from tests.onnx.support import draw, onnx, operator, run_onnxruntime
from tests.support import assert_same_bits

h = onnx.helper
FLOAT = onnx.TensorProto.FLOAT
I, H = 5, 6
SIZES = {"W": I, "R": H}
#: How each type of integers is drawn.
RANGES = {"int8": (-128, 128), "uint8": (0, 256), "int4": (-8, 8), "uint4": (0, 16), "int16": (-32768, 32768)}

Made = tuple[list[Any], list[Any]]  # nodes that make W or R, of the name given, and their constants


class Matrix:
    """W or R of a model as integers [D, 4H, columns], with scales and zero points [D, 4H, 1]."""

    def __init__(self, name: str, kind: str, D: int = 1, rows: bool = True) -> None:
        rng = np.random.default_rng([ord(name), D])
        self.name, self.kind = name, kind
        low, high = RANGES[kind]
        shape = (D, 4 * H, 1) if rows else (1, 1, 1)
        self.values = rng.integers(low, high, (D, 4 * H, SIZES[name]))
        self.scale = (rng.uniform(0.5, 1.5, shape) / (high - low)).astype(np.float32)
        self.zeros = rng.integers(low, high, shape)

    @property
    def exact(self) -> Array:
        """What it stands for, in float64."""
        return (self.values - self.zeros) * self.scale.astype(np.float64)

    def tensor(self, label: str, values: Array) -> Any:
        """Return a constant of its type of integers."""
        return h.make_tensor(label, getattr(onnx.TensorProto, self.kind.upper()), values.shape, values.ravel().tolist())

    def constants(self, change: Callable[[Array], Array], spread: Callable[[Array], Array], end: str = "") -> list[Any]:
        """Return the constants q, s and z, each as it is to lie in the file."""
        scale = onnx.numpy_helper.from_array(spread(self.scale), f"{self.name}s{end}")
        zeros = self.tensor(f"{self.name}z{end}", spread(self.zeros))
        return [self.tensor(f"{self.name}q{end}", change(self.values)), scale, zeros]

    def node(self, made: str, end: str = "", domain: str = "", **attributes: Any) -> Any:
        """Return the node that dequantises them."""
        labels = [f"{self.name}{part}{end}" for part in "qsz"]
        return h.make_node("DequantizeLinear", labels, [made], domain=domain, **attributes)


def ints(name: str, *values: int) -> Any:
    return onnx.numpy_helper.from_array(np.array(values), name)


def as_it_is(m: Matrix) -> Made:
    return [m.node(m.name, axis=1)], m.constants(np.asarray, lambda a: a[0, :, 0])


def per_tensor(m: Matrix) -> Made:
    return [m.node(m.name)], m.constants(np.asarray, lambda a: a.reshape(()))


def of_onnxruntime(m: Matrix) -> Made:
    return [m.node(m.name, domain="com.microsoft")], m.constants(np.asarray, lambda a: a.reshape(1))


def unsqueezed(m: Matrix) -> Made:
    nodes = [m.node(f"{m.name}2", axis=0), h.make_node("Unsqueeze", [f"{m.name}2", f"{m.name}a"], [m.name])]
    return nodes, [*m.constants(lambda a: a[0], lambda a: a[0, :, 0]), ints(f"{m.name}a", 0)]


def transposed(m: Matrix) -> Made:
    """Keras's way to lie: [columns, 4H, 1]."""
    nodes = [m.node(f"{m.name}t", axis=-2), h.make_node("Transpose", [f"{m.name}t"], [m.name], perm=[2, 1, 0])]
    return nodes, m.constants(np.transpose, lambda a: a[0, :, 0])


def reshaped(m: Matrix) -> Made:
    nodes = [m.node(f"{m.name}f", axis=0), h.make_node("Reshape", [f"{m.name}f", f"{m.name}n"], [m.name])]
    return nodes, [*m.constants(lambda a: a[0], lambda a: a[0, :, 0]), ints(f"{m.name}n", -1, 4 * H, SIZES[m.name])]


def gates_moved(m: Matrix) -> Made:
    """As torch's exporter puts gates i, f, g, o, in another order: dequantised first, then cut and joined."""
    nodes, constants = (
        [m.node(f"{m.name}0", axis=1)],
        m.constants(
            lambda a: a.reshape(1, 4, H, -1)[:, [0, 2, 3, 1]].reshape(a.shape),
            lambda a: a.reshape(1, 4, H)[:, [0, 2, 3, 1]].reshape(-1),
        ),
    )
    constants += [ints(f"{m.name}b{k}", k * H) for k in range(5)] + [ints(f"{m.name}x", 1)]
    parts = [f"{m.name}p{k}" for k in range(4)]
    for k, part in enumerate(parts):
        labels = [f"{m.name}0", f"{m.name}b{k}", f"{m.name}b{k + 1}", f"{m.name}x"]
        nodes.append(h.make_node("Slice", labels, [part]))
    nodes.append(h.make_node("Concat", [parts[k] for k in (0, 3, 1, 2)], [m.name], axis=1))
    return nodes, constants


def joined(m: Matrix) -> Made:
    """Two directions, each with its own scales."""
    nodes, constants = [], []
    for d in range(2):
        nodes.append(m.node(f"{m.name}{d}", f"{d}", axis=1))
        constants += m.constants(lambda a, d=d: a[d : d + 1], lambda a, d=d: a[d, :, 0], f"{d}")  # type: ignore[misc]
    return [*nodes, h.make_node("Concat", [f"{m.name}0", f"{m.name}1"], [m.name], axis=0)], constants


def cast(m: Matrix) -> Made:
    nodes, constants = as_it_is(m)
    nodes[0].output[0] = f"{m.name}f"
    moves = [h.make_node("Cast", [f"{m.name}f"], [f"{m.name}c"], to=FLOAT)]
    return [*nodes, *moves, h.make_node("Identity", [f"{m.name}c"], [m.name])], constants


def quantised_by_the_model(m: Matrix) -> Made:
    """Float weights, that a QuantizeLinear of the model rounds: each is near what the integers stand for."""
    nodes, constants = as_it_is(m)
    floats = onnx.numpy_helper.from_array((m.exact + 0.4 * m.scale).astype(np.float32), f"{m.name}f")
    labels = [f"{m.name}f", f"{m.name}s", f"{m.name}z"]
    return [h.make_node("QuantizeLinear", labels, [f"{m.name}q"], axis=1), *nodes], [floats, *constants[1:]]


#: How W and R come about, their types, and the arguments of Matrix.
KEPT: dict[str, tuple[Callable[[Matrix], Made], str, dict[str, Any]]] = {
    "rows": (as_it_is, "int8", {}),
    "rows, unsigned": (as_it_is, "uint8", {}),
    "rows of 4 bits": (as_it_is, "int4", {}),
    "unsigned rows of 4 bits": (as_it_is, "uint4", {}),
    "per tensor": (per_tensor, "int8", {"rows": False}),
    "per tensor, unsigned": (per_tensor, "uint8", {"rows": False}),
    "per tensor, two directions": (per_tensor, "uint8", {"rows": False, "D": 2}),
    "onnxruntime's own": (of_onnxruntime, "uint8", {"rows": False}),
    "Unsqueeze": (unsqueezed, "int8", {}),
    "Transpose": (transposed, "uint8", {}),
    "Reshape": (reshaped, "int8", {}),
    "Slice and Concat": (gates_moved, "uint8", {}),
    "two directions": (joined, "int8", {"D": 2}),
    "Cast and Identity": (cast, "int8", {}),
    "QuantizeLinear": (quantised_by_the_model, "int8", {}),
    "QuantizeLinear, unsigned": (quantised_by_the_model, "uint8", {}),
}


def of_columns(m: Matrix) -> Made:
    return [m.node(m.name, axis=2)], m.constants(np.asarray, lambda a: a[0, : SIZES[m.name], 0])


def in_blocks(m: Matrix) -> Made:
    """Two along each row, with different scales."""
    blocks = -(-SIZES[m.name] // 3)
    spread: Callable[[Array], Array] = lambda a: np.concatenate([np.roll(a, k, 1) for k in range(blocks)], 2)  # noqa: E731
    return [m.node(m.name, axis=2, block_size=3)], m.constants(np.asarray, spread)


def of_half_scales(m: Matrix) -> Made:
    nodes, constants = as_it_is(m)
    constants[1] = onnx.numpy_helper.from_array(m.scale[0, :, 0].astype(np.float16), constants[1].name)
    nodes[0].output[0] = f"{m.name}f"
    return [*nodes, h.make_node("Cast", [f"{m.name}f"], [m.name], to=FLOAT)], constants


def rounded(m: Matrix) -> Made:
    """Through float16: no longer what the integers stand for."""
    nodes, constants = as_it_is(m)
    nodes[0].output[0] = f"{m.name}f"
    moves = [h.make_node("Cast", [f"{m.name}f"], [f"{m.name}c"], to=onnx.TensorProto.FLOAT16)]
    return [*nodes, *moves, h.make_node("Cast", [f"{m.name}c"], [m.name], to=FLOAT)], constants


def plain(m: Matrix) -> Made:
    return [], [onnx.numpy_helper.from_array(m.exact.astype(np.float32), m.name)]


def of_mixed_types(m: Matrix) -> Made:
    """Join int8 and uint8."""
    first, second = Matrix(m.name, "int8"), Matrix(m.name, "uint8")
    nodes = [each.node(f"{m.name}{k}", f"{k}", axis=1) for k, each in enumerate((first, second))]
    constants = [*first.constants(lambda a: a[:, :12], lambda a: a[0, :12, 0], "0")]
    constants += second.constants(lambda a: a[:, 12:], lambda a: a[0, 12:, 0], "1")
    return [*nodes, h.make_node("Concat", [f"{m.name}0", f"{m.name}1"], [m.name], axis=1)], constants


DEQUANTISED: dict[str, tuple[Callable[[Matrix], Made], Callable[[Matrix], Made], str]] = {
    "columns": (of_columns, of_columns, "int8"),
    "blocks": (in_blocks, in_blocks, "int8"),
    "int16": (as_it_is, as_it_is, "int16"),
    "scales of float16": (of_half_scales, of_half_scales, "int8"),
    "rounded on the way": (rounded, rounded, "int8"),
    "W alone": (as_it_is, plain, "int8"),
    "R alone": (plain, as_it_is, "int8"),
    "two types": (of_mixed_types, of_mixed_types, "int8"),
}


def model_of(W: Made, R: Made, D: int = 1, **attributes: Any) -> Any:
    """Return a model of one LSTM whose matrices are made by nodes."""
    nodes, constants = W[0] + R[0], W[1] + R[1]
    B = np.random.default_rng(3).standard_normal((D, 8 * H)).astype(np.float32)
    constants = [*constants, onnx.numpy_helper.from_array(B, "B")]
    if D == 2:
        attributes["direction"] = "bidirectional"
    node = h.make_node("LSTM", ["X", "W", "R", "B"], ["Y", "Y_h", "Y_c"], name="eight", hidden_size=H, **attributes)
    given = [h.make_tensor_value_info("X", FLOAT, ["T", "B", I])]
    results = [h.make_tensor_value_info(name, FLOAT, None) for name in ("Y", "Y_h", "Y_c")]
    graph = h.make_graph([*nodes, node], "g", given, results, constants)
    imports = [h.make_opsetid("", 21), h.make_opsetid("com.microsoft", 1)]
    return h.make_model(graph, opset_imports=imports, ir_version=10)


def both(how: Callable[[Matrix], Made], kind: str, **options: Any) -> tuple[Any, dict[str, Matrix]]:
    matrices = {name: Matrix(name, kind, **options) for name in "WR"}
    return model_of(*(how(m) for m in matrices.values()), options.get("D", 1)), matrices


def expected(matrices: dict[str, Matrix], weights: str) -> fastlstm.LSTM:
    """Return the layer that has the integers, under torch's names and in its order of gates."""
    D = len(matrices["W"].values)
    made = fastlstm.LSTM(I, H, bidirectional=D == 2, weights=weights)
    state: dict[str, Any] = {}
    order = np.arange(4 * H).reshape(4, H)[[0, 2, 3, 1]].ravel()
    B = np.random.default_rng(3).standard_normal((D, 8 * H)).astype(np.float32)
    for d, end in enumerate(("", "_reverse")[:D]):
        for (name, m), half in zip(matrices.items(), np.split(B[d], 2), strict=True):
            ours = {"W": "ih", "R": "hh"}[name]
            spread = {"scale": m.scale, "zero_point": m.zeros}
            signed = m.kind.startswith("int")
            state[f"weight_{ours}_l0{end}"] = m.values[d][order].astype("int8" if signed else "uint8")
            for part, array in spread.items():
                state[f"weight_{ours}_l0{end}_{part}"] = np.broadcast_to(array, (D, 4 * H, 1))[d, order, 0]
            state[f"bias_{ours}_l0{end}"] = half[order]
    made.load_state_dict(state)
    return made


x = np.random.default_rng(0).standard_normal((7, 3, I)).astype(np.float32)


@pytest.mark.parametrize("weights", [None, "auto", "int8", "int8-fast"])
@pytest.mark.parametrize("case", KEPT)
def test_integers_stay_as_they_are(case: str, weights: str | None) -> None:
    how, kind, options = KEPT[case]
    model, matrices = both(how, kind, **options)
    (node,) = load(model, weights=weights)
    assert node.reason is None, node.reason
    layer = expected(matrices, weights if weights == "int8-fast" else "int8")
    assert node.lstm.weights == layer.weights
    assert node.lstm.fingerprint() == layer.fingerprint()
    Y = node(x)[0]
    assert_same_bits(Y.swapaxes(1, 2).reshape(*x.shape[:2], -1), layer(x)[0])
    for row in range(x.shape[1]):
        assert_same_bits(node(x[:, row : row + 1])[0], Y[:, :, row : row + 1])


@pytest.mark.parametrize("case", KEPT)
def test_dequantised_where_that_is_asked_for(case: str) -> None:
    how, kind, options = KEPT[case]
    model, matrices = both(how, kind, **options)
    (node,) = load(model, weights="float32")
    assert node.lstm.weights == "float32"
    layer = expected(matrices, "float32")
    assert node.lstm.fingerprint() == layer.fingerprint()
    for weights in "float16", "bfloat16":
        (node,) = load(model, weights=weights)
        assert node.lstm.fingerprint() == layer.astype(weights=weights).fingerprint()


@pytest.mark.parametrize("case", [case for case in KEPT if "two" not in case])
def test_the_error_is_a_small_part_of_onnxruntimes_own(case: str) -> None:
    """It computes these nodes in float32: so we are near its answer, and both near float64's."""
    how, kind, options = KEPT[case]
    model, matrices = both(how, kind, **options)
    drawn = draw(3, I=I, H=H)
    B = np.random.default_rng(3).standard_normal((1, 8 * H)).astype(np.float32)
    wide = type(drawn)((x, matrices["W"].exact, matrices["R"].exact, B, *(None,) * 4), drawn.attributes)
    (node,) = load(model)
    theirs = run_onnxruntime(model, {"X": x})
    for one, exact, other in zip(node(x), operator(wide), theirs, strict=True):
        assert np.abs(one - exact).max() < 2e-4
        assert np.abs(one - other).max() < 2e-4


@pytest.mark.parametrize("case", DEQUANTISED)
def test_what_no_layer_of_integers_can_have_is_dequantised(case: str) -> None:
    of_W, of_R, kind = DEQUANTISED[case]
    model = model_of(of_W(Matrix("W", kind)), of_R(Matrix("R", kind)))
    (node,), (asked,) = load(model), load(model, weights="float32")
    assert node.reason is None, node.reason
    assert (node.lstm.weights, asked.lstm.weights) == ("float32", "float32")
    assert node.lstm.fingerprint() == asked.lstm.fingerprint()
    for one, other in zip(node(x), run_onnxruntime(model, {"X": x}), strict=True):
        assert np.abs(one - other).max() < 2e-5
    (again,) = load(model, weights="int8")  # then its numbers are rounded
    assert again.lstm.fingerprint() == asked.lstm.astype(weights="int8").fingerprint()


def test_in_a_branch_that_sees_the_graph_around_it() -> None:
    model, matrices = both(as_it_is, "int8")
    graph = model.graph
    *moves, node = graph.node
    body = h.make_graph([node], "then", [], [h.make_tensor_value_info("Y", FLOAT, None)])
    branch = h.make_node("If", ["c"], ["out"], name="if", then_branch=body, else_branch=body)
    del graph.node[:]
    graph.node.extend([*moves, branch])
    nodes = load(model)
    assert len(nodes) == 2
    assert {node.lstm.fingerprint() for node in nodes} == {expected(matrices, "int8").fingerprint()}


def test_forms_layouts_and_directions() -> None:
    W, R = (as_it_is(Matrix(name, "uint8")) for name in "WR")
    for attributes in (
        {"direction": "reverse"},
        {"layout": 1},
        {"clip": 0.4},
        {"input_forget": 1},
        {"activations": ["HardSigmoid", "Tanh", "Relu"]},
    ):
        model = model_of(W, R, **attributes)
        (node,), (plain,) = load(model), load(model, weights="float32")
        assert node.lstm.weights == "int8"
        for one, other in zip(node(x), plain(x), strict=True):
            assert 0 < np.abs(one - other).max() < 2e-4


def test_a_stream_has_the_same_bits() -> None:
    model, _ = both(as_it_is, "uint8")
    (node,) = load(model)
    stream = node.stream(3)
    assert_same_bits(np.stack([stream.step(step) for step in x]), node(x)[0][:, 0])


@pytest.mark.parametrize("weights", ["int8", "int8-fast"])
@pytest.mark.parametrize("case", ["rows", "rows, unsigned", "per tensor", "two directions"])
def test_export_keeps_them(case: str, weights: str, tmp_path: Path) -> None:
    how, kind, options = KEPT[case]
    _, matrices = both(how, kind, **options)
    layer = expected(matrices, weights)
    again = fastlstm.onnx.export(layer, tmp_path / "again.onnx")
    (node,) = load(again, weights="auto")
    assert node.lstm.weights == weights
    assert node.lstm.fingerprint() == layer.fingerprint()
    assert fastlstm.load(tmp_path / "again.onnx", weights="auto").fingerprint() == layer.fingerprint()
    (theirs,) = run_onnxruntime(again, {"input": x}, ["output"])
    assert np.abs(theirs - expected(matrices, "float32")(x)[0]).max() < 2e-5
    (old,) = load(fastlstm.onnx.export(layer, opset=11))  # no scales of rows there: what they stand for
    assert old.lstm.fingerprint() == expected(matrices, "float32").fingerprint()
    own = fastlstm.LSTM(I, H, weights=weights, seed=0)
    assert "DequantizeLinear" not in {each.op_type for each in fastlstm.onnx.export(own).graph.node}


def test_rows_that_are_too_long_for_integers() -> None:
    """Which a layer of integers refuses: by default they are dequantised, asked for they are a reason."""
    rng = np.random.default_rng(0)
    constants = [onnx.numpy_helper.from_array(np.float32(0.01), "s")]
    nodes = []
    for name, columns in ("W", 16385), ("R", 1):
        values = rng.integers(-9, 9, (1, 4, columns)).astype(np.int8)
        constants.append(onnx.numpy_helper.from_array(values, f"{name}q"))
        nodes.append(h.make_node("DequantizeLinear", [f"{name}q", "s"], [name]))
    nodes.append(h.make_node("LSTM", ["X", "W", "R"], ["Y"], hidden_size=1))
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("X", FLOAT, None)], [], constants)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)])
    assert load(model)[0].lstm.weights == "float32"
    assert "at most 16384" in (load(model, weights="int8")[0].reason or "")


@pytest.mark.parametrize("cut", [False, True])
def test_no_float_matrix_is_made(cut: bool) -> None:
    """What loading takes for a moment, beside the file: less than the matrices in float32."""
    import tracemalloc

    size = 700
    rng = np.random.default_rng(0)
    scale, zeros = rng.uniform(0.001, 0.002, 4 * size).astype(np.float32), np.zeros(4 * size, np.int8)
    constants = [onnx.numpy_helper.from_array(scale, "s"), onnx.numpy_helper.from_array(zeros, "z")]
    nodes = []
    for name in "WR":
        values = rng.integers(-128, 128, (1, 4 * size, size)).astype(np.int8)
        constants.append(onnx.numpy_helper.from_array(values, f"{name}q"))
        made = f"{name}d" if cut else name
        nodes.append(h.make_node("DequantizeLinear", [f"{name}q", "s", "z"], [made], axis=1))
        if cut:  # and joined, with gates in another order
            constants += [ints(f"{name}{k}", k * size) for k in range(5)] + [ints(f"{name}x", 1)]
            for k in range(4):
                labels = [made, f"{name}{k}", f"{name}{k + 1}", f"{name}x"]
                nodes.append(h.make_node("Slice", labels, [f"{name}p{k}"]))
            nodes.append(h.make_node("Concat", [f"{name}p{k}" for k in (0, 3, 1, 2)], [name], axis=1))
    nodes.append(h.make_node("LSTM", ["X", "W", "R"], ["Y"], hidden_size=size))
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("X", FLOAT, None)], [], constants)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)])
    numbers = 8 * size * size

    def peak(weights: str | None) -> float:
        tracemalloc.start()
        try:
            (node,) = load(model, weights=weights)
            assert node.reason is None
            return tracemalloc.get_traced_memory()[1] / numbers
        finally:
            tracemalloc.stop()

    assert peak(None) < 4 < peak("float32")
