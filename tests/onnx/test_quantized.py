"""onnxruntime's DynamicQuantizeLSTM, whose weights are integers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
import fastlstm.onnx
from fastlstm.onnx import load, run_node
from tests.cases import Array, assert_close
from tests.onnx.support import INPUTS, Drawn, draw, onnx, operator, run_onnxruntime
from tests.support import assert_same_bits

h = onnx.helper
NAMES = (*INPUTS, "W_scale", "W_zero_point", "R_scale", "R_zero_point")
TYPES = ("int8", "uint8")
WEIGHTS = tuple(name for name in NAMES if name not in ("X", "sequence_lens", "initial_h", "initial_c"))


class Quantized:
    """A node of `draw` with weights of 8 bits, and what they stand for."""

    def __init__(self, drawn: Drawn, dtype: str = "int8", rows: bool = False, zero: int = 0) -> None:
        self.drawn = drawn
        self.given: dict[str, Array] = {
            name: value for name, value in zip(INPUTS, drawn.inputs, strict=True) if value is not None
        }
        self.exact = dict(self.given)
        rng = np.random.default_rng(7)
        for name in ("W", "R"):
            D, H4, columns = self.given[name].shape
            shape = (D, H4) if rows else (D,)
            low = np.iinfo(dtype).min
            integers = rng.integers(low, low + 256, (D, columns, H4)).astype(dtype)
            scale = rng.uniform(0.002, 0.006, shape).astype(np.float32)
            point = np.full(shape, zero, dtype)
            self.given |= {name: integers, f"{name}_scale": scale, f"{name}_zero_point": point}
            wide = (integers.astype(np.float64) - zero).swapaxes(1, 2)
            self.exact[name] = wide * scale.astype(np.float64).reshape(D, -1, 1)

    def node(self) -> Any:
        """Return the NodeProto."""
        names = [name if name in self.given else "" for name in NAMES]
        return h.make_node(
            "DynamicQuantizeLSTM",
            names,
            ["Y", "Y_h", "Y_c"],
            name="eight",
            domain="com.microsoft",
            **self.drawn.attributes,
        )

    def inputs(self, **changes: Any) -> list[Any]:
        """Return the operator's inputs in order."""
        return [(self.given | changes).get(name) for name in NAMES]

    def model(self, **changes: Any) -> Any:
        """Return a model whose weights are initializers."""
        given = self.given | changes
        tensors = [onnx.numpy_helper.from_array(given[name], name) for name in WEIGHTS if given.get(name) is not None]
        feeds = [
            h.make_tensor_value_info(name, h.np_dtype_to_tensor_dtype(given[name].dtype), [None] * given[name].ndim)
            for name in given
            if name not in WEIGHTS
        ]
        ranks = {"Y": 4, "Y_h": 3, "Y_c": 3}
        results = [
            h.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * rank) for name, rank in ranks.items()
        ]
        node = self.node()
        for position, name in enumerate(NAMES):
            if given.get(name) is None:
                node.input[position] = ""
        graph = h.make_graph([node], "eight", feeds, results, tensors)
        imports = [h.make_opsetid("", 17), h.make_opsetid("com.microsoft", 1)]
        return h.make_model(graph, opset_imports=imports, ir_version=8)

    def plain(self) -> Drawn:
        """Return the node of the LSTM operator with the exact values, rounded to float32."""
        inputs = (self.exact.get(name) for name in INPUTS)
        return Drawn(
            tuple(v if v is None or v.dtype != np.float64 else v.astype(np.float32) for v in inputs),
            self.drawn.attributes,
        )

    def wide(self) -> Drawn:
        """Return the same with the exact values."""
        return Drawn(tuple(self.exact.get(name) for name in INPUTS), self.drawn.attributes)

    def states(self) -> list[Array | None]:
        """Return sequence_lens, initial_h and initial_c."""
        return [self.given.get(name) for name in ("sequence_lens", "initial_h", "initial_c")]


CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "per tensor": ({}, {}),
    "per row": ({}, {"rows": True}),
    "unsigned": ({}, {"dtype": "uint8", "zero": 128}),
    "unsigned, per row": ({}, {"dtype": "uint8", "zero": 121, "rows": True}),
    "a zero point of int8": ({}, {"zero": -17}),
    "bidirectional": ({"direction": "bidirectional"}, {}),
    "bidirectional, per row": ({"direction": "bidirectional"}, {"rows": True}),
    "reverse": ({"direction": "reverse"}, {"rows": True}),
    "no bias": ({"bias": False}, {}),
    "lengths and states": ({"lengths": True, "states": True}, {}),
    "peepholes": ({"peepholes": True}, {}),
    "clip": ({"clip": 0.3}, {}),
    "coupled": ({"input_forget": 1}, {"rows": True}),
    "one input": ({"I": 1}, {}),
    "relu": ({"activations": ["HardSigmoid", "Tanh", "Relu"], "activation_alpha": [0.3]}, {}),
}
each_case = pytest.mark.parametrize("case", CASES)


def quantized(case: str) -> Quantized:
    drawn, how = CASES[case]
    return Quantized(draw(3, **drawn), **how)


@each_case
def test_dequantised_it_has_the_weights_that_its_numbers_stand_for(case: str) -> None:
    made = quantized(case)
    (node,) = load(made.model(), weights="float32")
    assert node.reason is None, node.reason
    assert node.proto.op_type == "DynamicQuantizeLSTM"
    assert node.dtype == np.float32
    assert node.lstm.weights == "float32"
    X = made.given["X"]
    actual = node(X, *made.states())
    assert_same_bits(actual, run_node(made.node(), made.inputs(), weights="float32"))
    assert_same_bits(actual, run_node(made.plain().node(), made.plain().inputs, semantics="onnxruntime"))
    for one, other in zip(actual, operator(made.wide(), "gates", zeros=True), strict=True):
        assert_close(one, other, "onnx")


@each_case
@pytest.mark.parametrize("weights", [None, "auto", "int8", "int8-fast"])
def test_it_runs_on_its_own_integers(case: str, weights: str | None) -> None:
    made = quantized(case)
    (node,) = load(made.model(), weights=weights)
    assert node.lstm.weights == ("int8" if weights in (None, "auto") else weights)
    actual = node(made.given["X"], *made.states())
    assert_same_bits(actual, run_node(made.node(), made.inputs(), weights=weights))
    state = node.lstm.state_dict()
    for name, ours in ("W", "weight_ih"), ("R", "weight_hh"):
        for d, end in enumerate(("", "_reverse")[: made.given[name].shape[0]]):
            values, zeros = (state.get(f"{ours}_l0{end}{part}", np.int8(0)) for part in ("", "_zero_point"))
            found = np.int64(values) - np.int64(zeros).reshape(-1, 1)
            theirs = np.int64(made.given[name][d].T) - np.int64(made.given[f"{name}_zero_point"][d]).reshape(-1, 1)
            i, o, f, c = np.split(theirs, 4)
            assert (found == np.concatenate([i, f, c, o])).all()


@each_case
def test_its_error_is_a_small_part_of_onnxruntimes(case: str) -> None:
    """Of float64 with what the integers stand for: onnxruntime rounds inputs and states to 8 bits, we to 16."""
    made = quantized(case)
    exact = operator(made.wide(), "gates", zeros=True)
    feeds = {name: value for name, value in made.given.items() if name not in WEIGHTS}
    theirs = run_onnxruntime(made.model(), feeds)
    ours = run_node(made.node(), made.inputs())
    error, their_error = (
        max(np.abs(one - other).max() for one, other in zip(given, exact, strict=True)) for given in (ours, theirs)
    )
    assert error < 5e-5
    assert 50 * error < their_error < 0.02  # gates in another order would give 0.03 to 0.27


@each_case
def test_no_row_knows_its_company(case: str) -> None:
    made = quantized(case)
    (node,) = load(made.model())
    X, states = made.given["X"], made.states()
    together = node(X, *states)
    for row in range(X.shape[1]):
        lengths, *others = states
        own = [None if lengths is None else lengths[row : row + 1]]
        own += [None if state is None else state[:, row : row + 1] for state in others]
        alone = node(X[:, row : row + 1], *own)
        assert_same_bits(alone[0], together[0][:, :, row : row + 1])
        for one, other in zip(alone[1:], together[1:], strict=True):
            assert_same_bits(one, other[:, row : row + 1])


@pytest.mark.parametrize(("sizes", "directions"), [((40, 64), 2), ((80, 256), 1)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_its_error_at_sizes_that_are_used(
    sizes: tuple[int, int], directions: int, per_channel: bool, tmp_path: Path
) -> None:
    """What `quantize_dynamic` makes of an LSTM: against the same file, dequantised, in float64."""
    quantization = pytest.importorskip("onnxruntime.quantization", reason="pip install onnxruntime")
    lstm = fastlstm.LSTM(*sizes, bidirectional=directions == 2, seed=0)
    fastlstm.onnx.export(lstm, tmp_path / "float.onnx")
    path = tmp_path / "eight.onnx"
    quantization.quantize_dynamic(tmp_path / "float.onnx", path, per_channel=per_channel)
    x = np.random.default_rng(0).standard_normal((30, 4, sizes[0])).astype(np.float32)
    (node,), (plain,) = load(path), load(path, weights="float32")
    wide = fastlstm.LSTM(*sizes, bidirectional=directions == 2, dtype="float64")
    wide.load_state_dict({name: array.astype(np.float64) for name, array in plain.lstm.state_dict().items()})
    exact = wide(x.astype(np.float64))[0]
    ours, theirs = node.lstm(x)[0], run_onnxruntime(onnx.load(path), {"input": x}, ["output"])[0]
    assert 20 * np.abs(ours - exact).max() < np.abs(theirs - exact).max()
    assert fastlstm.load(path, weights="float32").weights == "float32"


def test_its_own_semantics() -> None:
    made = Quantized(draw(3, clip=0.3, lengths=True, states=True))
    made.given["sequence_lens"] = np.array([5, 0, 2], np.int32)
    (node,) = load(made.model())
    assert node.semantics.clip_at == "gates"
    _, Y_h, _ = node(made.given["X"], *made.states())
    assert not Y_h[:, 1].any()
    (asked,) = load(made.model(), semantics=fastlstm.onnx.Semantics())
    assert asked.semantics.clip_at == "activations"


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("directions", [1, 2])
def test_what_quantize_dynamic_makes(directions: int, per_channel: bool, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization", reason="pip install onnxruntime")
    lstm = fastlstm.LSTM(8, 16, num_layers=2, bidirectional=directions == 2, seed=0)
    fastlstm.onnx.export(lstm, tmp_path / "float.onnx")
    path = tmp_path / "eight.onnx"
    quantization.quantize_dynamic(tmp_path / "float.onnx", path, per_channel=per_channel)
    nodes = load(path, weights="float32")
    assert [node.reason for node in nodes] == [None, None]
    listed = fastlstm.inspect(path)
    assert [layer.kind for layer in listed] == ["DynamicQuantizeLSTM"] * 2
    assert all("dequantised" in layer.note and not layer.problem for layer in listed)
    for k, node in enumerate(nodes):
        loaded, wide = fastlstm.load(path, node.name), fastlstm.load(path, node.name, dtype="float64")
        assert loaded.note == "for matrices in int8: weights='auto' keeps them so"
        for asked in "auto", "int8":
            kept = fastlstm.load(path, node.name, weights=asked)
            assert kept.fingerprint() == load(path)[k].lstm.fingerprint()
        for end in ("", "_reverse")[:directions]:
            for name in ("weight_ih", "weight_hh"):
                ours = loaded.state_dict()[f"{name}_l0{end}"]
                assert_same_bits(ours, node.lstm.state_dict()[f"{name}_l0{end}"])
                assert_same_bits(wide.state_dict()[f"{name}_l0{end}"].astype(np.float32), ours)
                step = np.abs(ours - lstm.state_dict()[f"{name}_l{k}{end}"]).max()
                assert 0 < step < 0.0011  # half of the largest weight, 1/4, in 127 parts


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "scale missing": ({"W_scale": None}, "W_scale is missing"),
    "zero point missing": ({"R_zero_point": None}, "R_zero_point is missing"),
    "scale of zero": ({"W_scale": np.zeros(1, "f")}, "W_scale should be finite and greater than zero, got: 0.0"),
    "negative scale": ({"R_scale": -np.ones(1, "f")}, "R_scale should be finite and greater than zero, got: -1.0"),
    "scale of NaN": ({"W_scale": np.full(1, np.nan, "f")}, "W_scale should be finite and greater than zero, got: nan"),
    "infinite scale": (
        {"W_scale": np.full(1, np.inf, "f")},
        "W_scale should be finite and greater than zero, got: inf",
    ),
    "huge scale": ({"W_scale": np.full(1, 3e38, "f")}, "scales are too large"),
    "scale of float64": ({"W_scale": np.ones(1)}, "W_scale should have dtype float32, got: float64"),
    "scalar scale": ({"W_scale": np.array(1, "f")}, "W_scale should have shape (1,) = (D,) or (1, 24) = (D, 4H)"),
    "scales of other rows": ({"R_scale": np.ones((1, 23), "f")}, "R_scale should have shape (1,) = (D,) or (1, 24)"),
    "zero points of other rows": ({"R_zero_point": np.zeros((24,), "i1")}, "R_zero_point should have shape (1,)"),
    "zero point of another type": ({"W_zero_point": np.zeros(1, "u1")}, "W_zero_point should have dtype int8"),
    "wide weights": ({"W": np.zeros((1, 4, 24), "i2")}, "W should have dtype int8 or uint8, got: int16"),
    "float weights": ({"R": np.zeros((1, 6, 24), "f")}, "R should have dtype int8 or uint8, got: float32"),
    "flat weights": ({"W": np.zeros((4, 24), "i1")}, "W should have 3 dimensions, got shape (4, 24)"),
    "the layout of LSTM": (
        {"W": np.zeros((1, 24, 4), "i1")},
        "W should have shape (1, 24, 24) = (D, I, 4H), got: (1, 24, 4)",
    ),
    "B of float64": ({"B": np.zeros((1, 48))}, "B should have dtype float32"),
    "P of another size": ({"P": np.zeros((1, 17), "f")}, "P should have shape (1, 18)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_numbers(case: str) -> None:
    changes, message = WRONG[case]
    made = Quantized(draw(3, peepholes=True))
    (node,) = load(made.model(**changes))
    assert node.reason is not None
    assert message in node.reason
    with pytest.raises((ValueError, TypeError)) as raised:
        run_node(made.node(), made.inputs(**changes))
    assert message in str(raised.value)


def test_wrong_nodes() -> None:
    made = Quantized(draw(3))
    model = made.model()
    model.graph.node[0].attribute.append(h.make_attribute("layout", 0))
    (node,) = load(model)
    assert node.reason is not None
    assert "'layout' is not an attribute of the DynamicQuantizeLSTM operator" in node.reason
    with pytest.raises(ValueError, match="inputs should be at most 12"):
        run_node(made.node(), [*made.inputs(), None])
    (built,) = load(made.model())
    with pytest.raises(ValueError, match="W_scale should be None for a built node"):
        run_node(built, made.inputs(W=None, R=None, B=None, W_zero_point=None, R_scale=None, R_zero_point=None))
    other = made.node()
    other.domain = "com.example"
    model = made.model()
    model.graph.node[0].CopyFrom(other)
    assert load(model) == []


def test_repr_and_dtype() -> None:
    (node,) = load(Quantized(draw(3)).model())
    assert repr(node) == "Node('eight', 4, 6, weights='int8')"
    for weights, told in ("float32", "dequantised"), ("float16", "dequantised, weights='float16'"):
        (node,) = load(Quantized(draw(3)).model(), weights=weights)
        assert repr(node) == f"Node('eight', 4, 6, {told})"
