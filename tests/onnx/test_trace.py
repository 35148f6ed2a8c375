"""fastlstm.onnx.trace: the gates of whole models, by the nodes' names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
import fastlstm.onnx
from fastlstm.onnx import load, run_node, trace
from tests.cases import assert_close
from tests.onnx.support import draw, onnx, run_onnxruntime
from tests.onnx.test_quantized import Quantized
from tests.support import assert_same_bits

h = onnx.helper
FLOAT = onnx.TensorProto.FLOAT
WEIGHTS = ("W", "R", "B", "P")
I = H = 4
rng = np.random.default_rng(3)
X = rng.standard_normal((6, 2, I)).astype("f4")
W, R = (0.5 * rng.standard_normal((1, 4 * H, n)).astype("f4") for n in (I, H))
lstm = fastlstm.LSTM(I, H, bias=False)
lstm.load_state_dict(
    {f"weight_{n}_l0": m[0].reshape(4, H, -1)[[0, 2, 3, 1]].reshape(4 * H, -1) for n, m in (("ih", W), ("hh", R))}
)


def value(name: str, rank: int = 3, kind: int = FLOAT) -> Any:
    return h.make_tensor_value_info(name, kind, [None] * rank)


def model_of(nodes: list[Any], *, inputs: tuple[str, ...] = ("X",), functions: Any = (), result: str = "Z") -> Any:
    """Make a model of nodes around W and R."""
    held = [onnx.numpy_helper.from_array(array, name) for array, name in ((W, "W"), (R, "R"))]
    graph = h.make_graph(nodes, "made", [value(name) for name in inputs], [value(result)], held)
    imports = [h.make_opsetid(domain, version) for domain, version in (("", 18), ("own", 1), ("com.microsoft", 1))]
    return h.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8)


def node(x: str, *outputs: str, name: str = "rnn", **attributes: Any) -> Any:
    return h.make_node("LSTM", [x, "W", "R"], list(outputs), name=name, hidden_size=H, **attributes)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("layout", [0, 1])
@pytest.mark.parametrize("constant", [WEIGHTS, ()])
def test_every_direction_with_lengths_and_states(direction: str, layout: int, constant: tuple[str, ...]) -> None:
    drawn = draw(1, direction=direction, layout=layout, lengths=True, states=True, peepholes=True)
    model = drawn.model(constant=constant)
    before = model.SerializeToString()
    (got,) = trace(model, drawn.feeds(constant))["drawn"]
    assert model.SerializeToString() == before
    (built,) = load(drawn.model(constant=WEIGHTS))
    x, lengths, h_0, c_0 = (drawn.inputs[k] for k in (0, 4, 5, 6))
    Y, Y_h, Y_c = built(x, lengths, h_0, c_0)
    if layout:
        x, Y, Y_h, Y_c = (each.swapaxes(0, 1) for each in (x, Y, Y_h, Y_c))
    else:
        Y = Y.swapaxes(1, 2)
    assert_same_bits((got.h_n, got.c_n), (Y_h, Y_c))
    for row, n in enumerate(lengths):
        times = got.times[:n, row]
        assert times.tolist() == list(range(n))[:: -1 if direction == "reverse" else 1]
        assert_same_bits(got.h[0, :, :n, row], Y[times, row].swapaxes(0, 1))
        assert_same_bits(got._x[:n, row], x[times, row])


def test_directions_with_other_activations_have_a_trace_each() -> None:
    activations = ["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Softsign", "Relu"]
    drawn = draw(2, direction="bidirectional", activations=activations, layout=1)
    traces = trace(drawn.model(constant=WEIGHTS), drawn.feeds(WEIGHTS), every=2, units=[1])
    assert list(traces) == ["drawn/forward", "drawn/reverse"]
    one, two = (calls[0] for calls in traces.values())
    assert one.times[:, 0].tolist() == [0, 2, 4]
    assert two.times[:, 0].tolist() == [4, 2, 0]
    (built,) = load(drawn.model(constant=WEIGHTS))
    assert_same_bits(two.c_n[0], built(drawn.inputs[0])[2][:, 1])


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_other_dtypes(dtype: str) -> None:
    drawn = draw(3, dtype=dtype)
    (got,) = trace(drawn.model(constant=WEIGHTS), drawn.inputs[0])["drawn"]
    assert got.f.dtype == ("float64" if dtype == "float64" else "float32")
    (built,) = load(drawn.model(constant=WEIGHTS))
    assert_same_bits(got.h[0, 0].astype(dtype), built(drawn.inputs[0])[0][:, 0])


@pytest.mark.parametrize("weights", [None, "float32", "int8-fast"])
def test_integers(weights: str | None) -> None:
    quantized = Quantized(draw(4, lengths=True, direction="bidirectional"), rows=True)
    feeds = {name: quantized.given[name] for name in ("X", "sequence_lens")}
    (got,) = trace(quantized.model(), feeds, weights=weights)["eight"]
    Y, Y_h, Y_c = run_node(quantized.node(), quantized.inputs(), weights=weights)
    assert_same_bits((got.h[0].swapaxes(0, 1), got.h_n, got.c_n), (Y, Y_h, Y_c))


def test_nodes_one_after_the_other_and_outputs_without_a_name() -> None:
    nodes = [
        node("X", "", "low", name=""),
        h.make_node("Add", ["X", "low"], ["sum"]),
        node("sum", "", "Z", name="high", direction="reverse"),
    ]
    traces = trace(model_of(nodes), [X])
    assert list(traces) == ["LSTM", "high"]
    low = lstm.trace(X)
    assert_same_bits(traces["LSTM"][0].f, low.f)
    high = lstm.trace((X + low.h_n)[::-1].copy())
    for name in ("i", "f", "g", "o", "c", "h", "c_prev", "h_prev"):  # from zeros: not from the first one's output
        assert_same_bits(getattr(traces["high"][0], name), getattr(high, name), name)


@pytest.mark.parametrize("condition", ["", "yes"])
def test_each_round_of_a_loop(condition: str) -> None:
    body = h.make_graph(
        [node("state", "", "next"), h.make_node("Identity", ["going"], ["goes"])],
        "body",
        [value("round", 0, onnx.TensorProto.INT64), value("going", 0, onnx.TensorProto.BOOL), value("state")],
        [value("goes", 0, onnx.TensorProto.BOOL), value("next")],
    )
    constants = [
        h.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(np.array(what)))
        for name, what in (("three", 3), ("yes", True))
    ]
    loop = h.make_node("Loop", ["three", condition, "X"], ["Z"], body=body, name="loop")
    model = model_of([*constants, loop])
    x, wanted = X, []
    for _ in range(3):
        wanted.append(lstm.trace(x))
        x = wanted[-1].h_n
    got = trace(model, X)["loop.body/rnn"]
    assert_same_bits(tuple(each.c for each in got), tuple(each.c for each in wanted))
    assert_close(x, run_onnxruntime(model, {"X": X})[0], "onnx")


def test_branches_that_are_taken_and_functions() -> None:
    branches = {
        f"{name}_branch": h.make_graph([node("X", "", name, name=f"in_{name}")], name, [], [value(name)])
        for name in ("then", "else")
    }
    yes = h.make_node("Constant", [], ["yes"], value=onnx.numpy_helper.from_array(np.array(False)))
    choice = h.make_node("If", ["yes"], ["Z"], name="choice", **branches)
    assert list(trace(model_of([yes, choice]), X)) == ["choice.else_branch/in_else"]

    encode = h.make_function("own", "Encode", ["X", "W", "R"], ["Yh"], [node("X", "", "Yh")], [h.make_opsetid("", 18)])
    calls = [h.make_node("Encode", [x, "W", "R"], [z], domain="own") for x, z in (("X", "seen"), ("seen", "Z"))]
    one, two = trace(model_of(calls, functions=[encode]), X)["Encode/rnn"]
    first = lstm.trace(X)
    assert_same_bits((one.f, two.f), (first.f, lstm.trace(first.h_n).f))


def test_files_with_external_data(tmp_path: Path) -> None:
    path = str(tmp_path / "model.onnx")
    onnx.save(model_of([node("X", "", "Z")]), path, save_as_external_data=True, size_threshold=0, location="data")
    assert_same_bits(trace(path, {"X": X})["rnn"][0].c, lstm.trace(X).c)


def test_what_cannot_be_traced_is_named() -> None:
    good = model_of([node("X", "", "Z")])
    fused = model_of([h.make_node("FusedMatMul", ["X", "X"], ["x"], domain="com.microsoft"), node("x", "", "Z")])
    unfit = model_of([h.make_node("MatMul", ["X", "X"], ["x"]), node("x", "", "Z")])
    odd = model_of([node("X", "", "Z", direction="sideways")])
    narrow = draw(0, lengths=True).model(constant=WEIGHTS)
    for bad, inputs, error, message in (
        (3, X, TypeError, "model should be a path or an onnx.ModelProto, got: int"),
        (model_of([h.make_node("Identity", ["X"], ["Z"])]), X, ValueError, "the model has no LSTM node"),
        (fused, X, ValueError, "cannot be evaluated by onnx's reference: .*FusedMatMul"),
        (odd, X, ValueError, "rnn cannot be traced: direction should be one of"),
        (good, {"Y": X}, ValueError, "inputs should be those of the model .X.: X missing; no input is called 'Y'"),
        (good, {"X": X, "W": W}, ValueError, "no input is called 'W'"),
        (good, [X, X], ValueError, "inputs should be 1 arrays, of X, got: 2"),
        (good, X.astype("f8"), TypeError, "input 'X' should have dtype float32, got: float64"),
        (good, X[0], ValueError, r"rnn cannot be traced: X should have shape \[T, B, I\]"),
        (unfit, X, ValueError, "onnx's reference cannot evaluate the model with these inputs: TypeError: .*MatMul"),
        (narrow, draw(0).inputs[0], ValueError, "inputs should be 2 arrays, of X, sequence_lens, got: 1"),
    ):
        with pytest.raises(error, match=message):
            trace(bad, inputs)
    with pytest.raises(MemoryError, match=r"rnn cannot be traced: the trace takes .* max_bytes=10"):
        trace(good, X, max_bytes=10)
    with pytest.raises(ValueError, match="semantics should be"):
        trace(good, X, semantics="other")
    skipped = h.make_graph([node("X", "", "a")], "a", [], [value("a")])
    plain = h.make_graph([h.make_node("Identity", ["X"], ["b"])], "b", [], [value("b")])
    no = h.make_node("Constant", [], ["no"], value=onnx.numpy_helper.from_array(np.array(False)))
    choice = h.make_node("If", ["no"], ["Z"], name="if", then_branch=skipped, else_branch=plain)
    with pytest.raises(ValueError, match=r"the model ran none of its LSTM nodes: if\.then_branch/rnn"):
        trace(model_of([no, choice]), X)
