"""One LSTM node: the operator's own tests, its text in float64, and onnxruntime."""

import itertools
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
import fastlstm.onnx
from fastlstm.onnx import Semantics, run_node
from tests.cases import TOLERANCES, Array, assert_close
from tests.onnx.support import ACTIVATIONS, Drawn, draw, onnx, operator, run_onnxruntime
from tests.support import DTYPES, assert_same_bits, each_dtype

DIRECTIONS = ("forward", "reverse", "bidirectional")
OPTIONS: list[dict[str, Any]] = [
    {"peepholes": peepholes, "lengths": lengths, "states": states, "bias": bias}
    | ({"input_forget": 1} if coupled else {})
    | ({"clip": 0.4} if clip else {})
    for peepholes, lengths, states, bias, coupled, clip in itertools.product((False, True), repeat=6)
]


def name_of(options: dict[str, Any]) -> str:
    return ",".join(name for name, value in options.items() if value) or "plain"


each_options = pytest.mark.parametrize("options", OPTIONS, ids=name_of)
each_direction = pytest.mark.parametrize("direction", DIRECTIONS)


def assert_all_close(actual: tuple[Array, ...], expected: list[Array], tolerance: str = "onnx") -> None:
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        assert_close(one, other, tolerance)


def published() -> list[Any]:
    """Return the operator's own tests, as the onnx package makes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tests of other operators divide by zero as they are made
        from onnx.backend.test.case.node import collect_testcases

        return [case for case in collect_testcases("LSTM") if case.name.startswith("test_lstm")]


def test_tests_of_the_operator_itself() -> None:
    cases = published()
    assert {case.name.removeprefix("test_lstm_") for case in cases} >= {
        *("defaults", "with_initial_bias", "with_peepholes", "batchwise"),  # of every onnx since 1.10
    }
    for case in cases:
        (node,) = case.model.graph.node
        for inputs, outputs in case.data_sets:
            present = iter(inputs)
            in_order = [next(present) if name else None for name in node.input]
            assert_all_close(run_node(node, in_order), outputs)


@each_dtype
@pytest.mark.parametrize("layout", [0, 1])
@each_direction
@each_options
def test_follows_the_text(options: dict[str, Any], direction: str, layout: int, dtype: str) -> None:
    drawn = draw(1, dtype=dtype, direction=direction, layout=layout, **options)
    assert_all_close(run_node(drawn.node(), drawn.inputs), operator(drawn))


@each_direction
@each_options
def test_agrees_with_onnxruntime(options: dict[str, Any], direction: str) -> None:
    drawn = draw(2, direction=direction, **options)
    actual = run_node(drawn.node(), drawn.inputs, semantics="onnxruntime")
    assert_all_close(actual, run_onnxruntime(drawn.model(), drawn.feeds()))


@pytest.mark.parametrize("opset", [7, 14, 22])
def test_versions_of_the_operator(opset: int) -> None:
    drawn = draw(3, direction="bidirectional", lengths=True, states=True, peepholes=True)
    model = drawn.model(opset, constant=("W", "R", "B", "P"))
    (node,) = fastlstm.onnx.load(model)
    assert node.opset == opset
    X, _, _, _, lengths, h, c, _ = drawn.inputs
    assert_all_close(node(X, lengths, h, c), run_onnxruntime(model, drawn.feeds(("W", "R", "B", "P"))))


@pytest.mark.parametrize("parameters", [{}, {"alpha": [0.3]}, {"beta": [0.7]}, {"alpha": [0.3, 9], "beta": [0.7, 9]}])
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, place: int, parameters: dict[str, list[float]]) -> None:
    activations = ["Sigmoid", "Tanh", "Tanh"]
    activations[place] = name.lower()  # names are read in any case
    attributes = {f"activation_{which}": values for which, values in parameters.items()}
    for dtype in DTYPES:
        drawn = draw(4, dtype=dtype, activations=activations, **attributes)
        assert_all_close(run_node(drawn.node(), drawn.inputs), operator(drawn), "onnx, activations")
    drawn = draw(4, activations=activations, **attributes)
    actual = run_node(drawn.node(), drawn.inputs, semantics="onnxruntime")
    assert_all_close(actual, operator(drawn, "gates", onnxruntime=True), "onnx, activations")
    assert_all_close(actual, run_onnxruntime(drawn.model(), drawn.feeds()), "onnx, activations")


@pytest.mark.parametrize("layout", [0, 1])
def test_directions_with_activations_of_their_own(layout: int) -> None:
    activations = ["HardSigmoid", "Elu", "Softsign", "Sigmoid", "LeakyRelu", "HardSigmoid"]
    drawn = draw(
        5,
        direction="bidirectional",
        lengths=True,
        states=True,
        peepholes=True,
        layout=layout,
        activations=activations,
        activation_alpha=[0.3, 0.5, 0.2, 0.4],
        activation_beta=[0.4, 0.6],
    )
    assert_all_close(run_node(drawn.node(), drawn.inputs), operator(drawn), "onnx, activations")
    if layout == 0:
        expected = run_onnxruntime(drawn.model(), drawn.feeds())
        assert_all_close(run_node(drawn.node(), drawn.inputs), expected, "onnx, activations")
    (node,) = fastlstm.onnx.load(drawn.model(constant=("W", "R", "B", "P")))
    assert len(node.lstms) == 2
    with pytest.raises(ValueError, match="two LSTMs"):
        node.lstm  # noqa: B018


def test_clip_where_the_text_has_it_and_where_onnxruntime_has_it() -> None:
    drawn = draw(6, states=True, clip=0.4)
    text, runtime, state = (
        run_node(drawn.node(), drawn.inputs, semantics=Semantics(clip_at=place))
        for place in ("activations", "gates", "state")
    )
    for actual, place in ((text, "activations"), (runtime, "gates"), (state, "state")):
        assert_all_close(actual, operator(drawn, place))
    assert_all_close(runtime, run_onnxruntime(drawn.model(), drawn.feeds()))
    bound = TOLERANCES["onnx"].float32
    for one, other in itertools.combinations((text, runtime, state), 2):
        assert np.abs(one[0] - other[0]).max() > 100 * bound  # else this node could not tell them apart


def test_clip_is_infinite() -> None:
    drawn = draw(6)
    clipped = Drawn(drawn.inputs, drawn.attributes | {"clip": float("inf")})
    assert_same_bits(run_node(clipped.node(), drawn.inputs), run_node(drawn.node(), drawn.inputs))


def test_rows_without_steps() -> None:
    drawn = draw(7, direction="bidirectional", lengths=True, states=True)
    X, W, R, B, lengths, h, c, P = drawn.inputs
    assert lengths is not None
    assert h is not None
    assert c is not None
    lengths = np.array([0, 5, 0], np.int32)
    drawn = Drawn((X, W, R, B, lengths, h, c, P), drawn.attributes)
    Y, Y_h, Y_c = run_node(drawn.node(), drawn.inputs)
    assert_all_close((Y, Y_h, Y_c), operator(drawn))
    assert_same_bits((Y_h[:, ::2], Y_c[:, ::2]), (h[:, ::2], c[:, ::2]))
    zeros = run_node(drawn.node(), drawn.inputs, semantics="onnxruntime")
    assert_all_close(zeros, run_onnxruntime(drawn.model(), drawn.feeds()))
    assert not zeros[1][:, ::2].any()
    assert not zeros[2][:, ::2].any()


def test_no_steps_at_all() -> None:
    drawn = draw(8, T=0, states=True)
    Y, Y_h, Y_c = run_node(drawn.node(), drawn.inputs)
    assert Y.shape == (0, 1, 3, 6)
    assert_same_bits((Y_h, Y_c), (drawn.inputs[5], drawn.inputs[6]))
    _, Y_h, Y_c = run_node(drawn.node(), drawn.inputs, semantics="onnxruntime")
    assert not Y_h.any()
    assert not Y_c.any()


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_standard_nodes_have_the_bits_of_an_lstm(direction: str) -> None:
    drawn = draw(9, direction=direction, lengths=True, states=True)
    X, _, _, _, lengths, h, c, _ = drawn.inputs
    (node,) = fastlstm.onnx.load(drawn.model(constant=("W", "R", "B")))
    Y, Y_h, Y_c = node(X, lengths, h, c)
    assert X is not None
    assert h is not None
    assert c is not None
    output, states = node.lstm(X, (h, c), lengths=lengths)
    assert_same_bits(Y.swapaxes(1, 2).reshape(output.shape), output)
    assert_same_bits((Y_h, Y_c), states)
    assert_same_bits(run_node(drawn.node(), drawn.inputs), (Y, Y_h, Y_c))
    assert_same_bits(run_node(drawn.node(), drawn.inputs, threads=2), (Y, Y_h, Y_c))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
@pytest.mark.parametrize("layout", [0, 1])
def test_half_types_are_rounded_once(name: str, layout: int) -> None:
    half = np.dtype(name) if name == "float16" else pytest.importorskip("ml_dtypes").bfloat16
    drawn = draw(10, dtype=half, direction="bidirectional", lengths=True, states=True, layout=layout)
    wide = [value if value is None or value.dtype == np.int32 else value.astype(np.float32) for value in drawn.inputs]
    expected = run_node(drawn.node(), wide)
    actual = run_node(drawn.node(), drawn.inputs)
    (node,) = fastlstm.onnx.load(drawn.model(constant=("W", "R", "B")))
    assert (node.dtype, node.lstm.dtype) == (half, np.float32)
    X, _, _, _, *states, _ = drawn.inputs
    for result in (actual, node(X, *states)):
        for one, other in zip(result, expected, strict=True):
            assert one.dtype == half
            assert_same_bits(one, other.astype(half))


def test_half_overflows_to_infinity() -> None:
    activations = ["Sigmoid", "Tanh", "Affine"]
    drawn = draw(10, dtype="float16", states=True, activations=activations, activation_alpha=[60000.0])
    drawn = Drawn((*drawn.inputs[:6], 100 + np.abs(drawn.inputs[6]), None), drawn.attributes)  # type: ignore[arg-type]
    Y, _, _ = run_node(drawn.node(), drawn.inputs)
    assert np.isinf(Y).any()


def test_outputs_are_those_that_the_node_names() -> None:
    drawn = draw(11)
    Y, Y_h, Y_c = run_node(drawn.node(), drawn.inputs)
    for names, expected in (
        (("Y",), (Y,)),
        (("", "Y_h"), (Y_h,)),
        (("", "", "Y_c"), (Y_c,)),
        (("Y", "", "Y_c"), (Y, Y_c)),
    ):
        assert_same_bits(run_node(drawn.node(names), drawn.inputs), expected)


def test_runs_built_nodes() -> None:
    drawn = draw(12, lengths=True, states=True, clip=0.4)
    expected = run_node(drawn.node(), drawn.inputs, semantics="onnxruntime")
    (node,) = fastlstm.onnx.load(drawn.model(constant=("W", "R", "B")), semantics="onnxruntime")
    X, _, _, _, *others = drawn.inputs
    assert_same_bits(run_node(node, [X, None, None, None, *others]), expected)


def test_hidden_size_may_be_left_to_the_weights() -> None:
    drawn = draw(13)
    bare = Drawn(drawn.inputs, {})
    assert_same_bits(run_node(bare.node(), bare.inputs), run_node(drawn.node(), drawn.inputs))


def test_inputs_stay_as_they_are() -> None:
    drawn = draw(14, direction="reverse", lengths=True, states=True, peepholes=True)
    before = [None if value is None else value.copy() for value in drawn.inputs]
    Y, _, _ = run_node(drawn.node(), drawn.inputs)
    for value, copy in zip(drawn.inputs, before, strict=True):
        assert (value is None and copy is None) or np.array_equal(value, copy)  # type: ignore[arg-type]
    assert Y.flags.c_contiguous
    assert Y.flags.writeable


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)),
    direction=st.sampled_from(DIRECTIONS),
    layout=st.integers(0, 1),
    options=st.sampled_from(OPTIONS),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 99),
)
def test_any_shape(
    sizes: tuple[int, ...], direction: str, layout: int, options: dict[str, Any], dtype: str, seed: int
) -> None:
    drawn = draw(seed, *sizes, dtype=dtype, direction=direction, layout=layout, **options)
    assert_all_close(run_node(drawn.node(), drawn.inputs), operator(drawn))


def test_one_node_of_the_checker() -> None:
    drawn = draw(15, direction="bidirectional", layout=1, peepholes=True)
    onnx.checker.check_model(drawn.model())  # what is drawn here is what the format allows
