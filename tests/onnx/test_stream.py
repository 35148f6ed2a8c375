"""A node step by step: the bits of a call."""

from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm.onnx import Node, load
from tests.cases import Array
from tests.onnx.support import draw
from tests.support import assert_same_bits, each_dtype

WEIGHTS = ("W", "R", "B", "P")
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "layout 1": {"layout": 1},
    "peepholes and clip": {"peepholes": True, "clip": 0.4},
    "coupled": {"input_forget": 1, "bias": False},
    "activations": {"activations": ["HardSigmoid", "Relu", "Softsign"]},
}


def steps(node: Node, stream: fastlstm.Stream, X: Array) -> tuple[Array, Array, Array]:
    """Return what a call gives, by steps."""
    rows_first = node.attributes is not None and node.attributes.layout == 1
    x = X.swapaxes(0, 1) if rows_first else X
    Y = np.stack([stream.step(np.ascontiguousarray(row)) for row in x])[:, None]
    h, c = stream.state
    if rows_first:
        return Y.transpose(2, 0, 1, 3), h.swapaxes(0, 1), c.swapaxes(0, 1)
    return Y, h, c


@each_dtype
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_steps_have_the_bits_of_a_call(form: str, states: bool, dtype: str) -> None:
    drawn = draw(4, dtype=dtype, states=states, **FORMS[form])
    (node,) = load(drawn.model(constant=WEIGHTS))
    X, given = drawn.inputs[0], drawn.inputs[5:7]
    assert X is not None
    stream = node.stream(3, *given) if states else node.stream(3)
    assert_same_bits(steps(node, stream, X), node(X, None, *given) if states else node(X))
    if states:
        with pytest.raises(ValueError, match="initial_h should be given"):
            node.stream(3)
        with pytest.raises(ValueError, match="initial_h should have shape"):
            node.stream(2, *given)


def test_constant_states_are_where_a_stream_starts() -> None:
    drawn = draw(4, states=True)
    (node,) = load(drawn.model(constant=(*WEIGHTS, "initial_h", "initial_c")))
    X = drawn.inputs[0]
    assert X is not None
    assert_same_bits(steps(node, node.stream(3), X), node(X))


def test_nodes_that_have_no_steps() -> None:
    for attributes, error, message in (
        ({"direction": "reverse"}, ValueError, "reads a sequence from its end"),
        ({"direction": "bidirectional"}, ValueError, "reads a sequence from its end"),
        ({"lengths": True}, ValueError, "has constant sequence_lens"),
        ({"dtype": "float16"}, TypeError, "is of float16"),
    ):
        (node,) = load(draw(4, **attributes).model(constant=(*WEIGHTS, "sequence_lens")))  # type: ignore[arg-type]
        with pytest.raises(error, match=message):
            node.stream()
    (wrong,) = load(draw(4, activations=["Gelu"]).model(constant=WEIGHTS))
    with pytest.raises(ValueError, match="was not built"):
        wrong.stream()
