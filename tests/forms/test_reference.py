"""Forms of the cell in the reference: activations by hand, a step by hand, gradients by differences, errors."""

import math
from typing import Any

import numpy as np
import pytest

from fastlstm import Form, reference
from fastlstm.reference._cell import standard_cell, standard_gradient
from fastlstm.reference._form import STANDARD
from fastlstm.reference._forms import general_cell, general_gradient
from fastlstm.reference._records import Weights
from tests.cases import Array, Case, assert_close, make_data, make_gradients
from tests.forms.support import TRAINABLE, each_trainable, formed
from tests.training.support import named

INF = math.inf
STEP = 5e-4

# (activation, {x: y}), worked out from the operators' definitions
VALUES: list[tuple[Any, dict[float, float]]] = [
    ("sigmoid", {0.0: 0.5, -INF: 0.0, INF: 1.0}),
    ("tanh", {0.0: 0.0, -INF: -1.0, INF: 1.0}),
    ("relu", {-2.0: 0.0, 0.0: 0.0, 3.0: 3.0, INF: INF}),
    ("hard_sigmoid", {-3.0: 0.0, -2.5: 0.0, 0.0: 0.5, 1.0: 0.7, 2.5: 1.0, INF: 1.0}),
    (("hard_sigmoid", 1 / 6), {-3.0: 0.0, 0.0: 0.5, 1.0: 2 / 3, 3.0: 1.0}),
    ("affine", {-2.0: -2.0, 3.0: 3.0}),
    (("affine", 0.5, 0.25), {-2.0: -0.75, 3.0: 1.75}),
    ("leaky_relu", {-2.0: -0.02, 3.0: 3.0}),
    (("leaky_relu", -0.5), {-2.0: 1.0, 3.0: 3.0}),
    ("thresholded_relu", {-2.0: 0.0, 1.0: 0.0, 1.5: 1.5, -INF: 0.0}),
    (("thresholded_relu", -1), {-2.0: 0.0, -0.5: -0.5}),
    ("scaled_tanh", {0.0: 0.0, INF: 1.0}),
    (("scaled_tanh", 2.0, 0.5), {1.0: 2 * math.tanh(0.5), -INF: -2.0}),
    ("elu", {-INF: -1.0, -1.0: 1 / math.e - 1, 0.0: 0.0, 3.0: 3.0}),
    (("elu", 0.5), {-1.0: 0.5 / math.e - 0.5}),
    ("softsign", {-1.0: -0.5, 0.0: 0.0, 3.0: 0.75}),
    ("softplus", {-INF: 0.0, 0.0: math.log(2), 1.0: math.log(1 + math.e), INF: INF}),
]


@pytest.mark.parametrize(("activation", "pairs"), VALUES, ids=lambda value: str(value) if "{" not in str(value) else "")
def test_activations_by_hand(activation: Any, pairs: dict[float, float]) -> None:
    held = Form(gate=activation).gate
    x = np.array(list(pairs))
    assert_close(reference.activate(held, x), list(pairs.values()), "hand-computed")
    assert np.isnan(reference.activate(held, np.array([np.nan]))).all()


@pytest.mark.parametrize("form", TRAINABLE)
def test_slopes_of_activations_by_differences(form: str) -> None:
    x = np.linspace(-4, 4, 64)  # no kink within two steps of a point
    for activation in (TRAINABLE[form].gate, TRAINABLE[form].candidate, TRAINABLE[form].cell):
        ahead, behind, far, back = (reference.activate(activation, x + k * STEP) for k in (1, -1, 2, -2))
        expected = (8 * (ahead - behind) - (far - back)) / (12 * STEP)
        assert_close(reference.slope(activation, reference.activate(activation, x)), expected, "gradients, differences")


@pytest.mark.parametrize("projected", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_general_cell_is_the_standard_cell_to_the_bit(dtype: str, projected: bool) -> None:
    rng = np.random.default_rng(0)
    x, h, c, dm, dc = (rng.normal(size=(7, n)).astype(dtype) for n in (5, 3 if projected else 6, 6, 6, 6))
    weights = Weights(
        *(rng.normal(size=shape).astype(dtype) for shape in ((24, 5), (24, h.shape[1]), (24,))),
        weight_hr=rng.normal(size=(3, 6)).astype(dtype) if projected else None,
        weight_ph=None,
    )
    standard, general = standard_cell(x, h, c, weights), general_cell(x, h, c, weights, STANDARD)
    for one, other in zip((*standard[:2], *standard[2]), (*general[:2], *general[2]), strict=True):
        assert one.tobytes() == other.tobytes()
    back = standard_gradient(standard[2], c, dm, dc), general_gradient(standard[2], c, dm, dc, None, STANDARD)
    assert [array.tobytes() for array in back[0]] == [array.tobytes() for array in back[1]]


def test_a_step_by_hand() -> None:
    # z = 0 but for what the peepholes add; i = f = o = x/2 + 1/4, g = cell = x
    form = Form(("affine", 0.5, 0.25), "affine", "affine", peepholes=True)
    weights = {"weight_ih": np.array([[0.0], [0], [1], [0]]), "weight_hh": np.zeros((4, 1))}
    p = np.array([0.5, -0.25, 1.0])
    x, h, c = np.array([3.0]), np.zeros(1), np.array([2.0])
    # i = 1/2 * (0.5*2) + 1/4 = 3/4; f = 1/2 * (-0.25*2) + 1/4 = 0; g = 3; c' = 9/4; o = 1/2 * 9/4 + 1/4 = 11/8
    h_next, c_next = reference.cell_forward(x, h, c, **weights, weight_ph=p, form=form)
    assert (h_next, c_next) == (99 / 32, 9 / 4)

    coupled = Form(("affine", 0.5, 0.25), "affine", "affine", peepholes=True, coupled=True)
    # f = 1 - 3/4; c' = 1/4 * 2 + 9/4 = 11/4; o = 1/2 * 11/4 + 1/4 = 13/8
    h_next, c_next = reference.cell_forward(x, h, c, **weights, weight_ph=p, form=coupled)
    assert (h_next, c_next) == (143 / 32, 11 / 4)

    summed = Form(("affine", 0.5, 0.25), "affine", "affine", peepholes=True, summed=True)
    # c' = 0 * 2 + (3/4 + 3) = 15/4; o = 1/2 * 15/4 + 1/4 = 17/8
    h_next, c_next = reference.cell_forward(x, h, c, **weights, weight_ph=p, form=summed)
    assert (h_next, c_next) == (255 / 32, 15 / 4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # i = f = 3/4, g = 3, so c' = 15/4; o sees it and is 17/8
        ({}, (255 / 32, 15 / 4)),
        # z_g and z_o become 1, so g = 1 and o = 3/4; with "activations" c' counts as 1 for h'
        ({"clip": 1, "clip_at": "gates"}, (27 / 16, 9 / 4)),
        ({"clip": 1, "clip_at": "activations"}, (3 / 4, 9 / 4)),
        # c' becomes 1, before o sees it
        ({"clip": 1, "clip_at": "state"}, (3 / 4, 1.0)),
    ],
    ids=str,
)
def test_a_clipped_step_by_hand(options: dict[str, Any], expected: tuple[float, float]) -> None:
    form = Form(("affine", 0.5, 0.25), "affine", "affine", peepholes=True, **options)
    weights = np.zeros((4, 1)), np.zeros((4, 1)), np.array([0.0, 1.0, 3.0, 0.0])
    p = np.array([0.5, 0.0, 1.0])
    h_next, c_next = reference.cell_forward(np.zeros(1), np.zeros(1), np.array([2.0]), *weights, weight_ph=p, form=form)
    assert (float(h_next[0]), float(c_next[0])) == expected


def parts(case: Case) -> dict[str, Array]:
    """Return all that a case's loss depends on, by name."""
    data = make_data(case, "float64")
    return {"input": data.input, "h_0": data.h_0, "c_0": data.c_0, **data.state_dict}


@each_trainable
@pytest.mark.parametrize("P", [0, 1])
def test_gradients_by_differences(form: str, P: int) -> None:
    case = formed(Case("form-differences", T=3, B=2, I=2, H=3, P=P, num_layers=2, ragged=True), form)
    data = make_data(case, "float64")
    incoming = make_gradients(case, "float64")

    def loss(at: dict[str, Array]) -> tuple[float, Any]:
        state_dict = {name: array for name, array in at.items() if name not in ("input", "h_0", "c_0")}
        output, states, tape = reference.lstm_forward_train(
            at["input"], (at["h_0"], at["c_0"]), state_dict, **case.config, lengths=data.lengths
        )
        return sum(float(np.vdot(g, r)) for g, r in zip(incoming, (output, *states), strict=True)), tape

    at = parts(case)
    gradients = named(reference.lstm_backward(loss(at)[1], *incoming))
    assert set(gradients) == set(at)
    rng = np.random.default_rng(1)
    for name, array in at.items():
        v = rng.standard_normal(array.shape)
        v /= np.linalg.norm(v)
        ahead, behind, far, back = (loss(at | {name: array + k * STEP * v})[0] for k in (1, -1, 2, -2))
        slope = (8 * (ahead - behind) - (far - back)) / (12 * STEP)
        assert_close(np.vdot(gradients[name], v), slope, "gradients, differences")


def test_a_coupled_forget_gate_has_no_gradients() -> None:
    case = formed(Case("form-coupled", T=3, B=2, I=2, H=3), "coupled-peepholes")
    data = make_data(case, "float64")
    *_, tape = reference.lstm_forward_train(data.input, data.hx, data.state_dict, **case.config)
    gradients = reference.lstm_backward(tape, *make_gradients(case, "float64")).parameters
    for name, gradient in gradients.items():
        blocks = np.split(gradient, 3 if "ph" in name else 4)
        assert not blocks[1].any(), name
        assert all(block.any() for k, block in enumerate(blocks) if k != 1), name


def test_what_does_not_fit_is_named() -> None:
    x, h, c = np.ones(1), np.zeros(1), np.zeros(1)
    weights, p = (np.zeros((4, 1)), np.zeros((4, 1))), np.zeros(3)
    with pytest.raises(ValueError, match=r"weight_ph: expected shape \(3,\) for a form with peepholes, got None"):
        reference.cell_forward(x, h, c, *weights, form=Form(peepholes=True))
    with pytest.raises(ValueError, match="weight_ph: expected None for a form without peepholes"):
        reference.cell_forward(x, h, c, *weights, weight_ph=p)
    with pytest.raises(ValueError, match=r"weight_ph: expected shape \(3,\), got \(4,\)"):
        reference.cell_forward(x, h, c, *weights, weight_ph=np.zeros(4), form=Form(peepholes=True))
    gates = reference.Gates(c, c, c, c)
    with pytest.raises(ValueError, match="form: expected one without a clip to go back through"):
        reference.gates_backward(gates, c, c, form=Form(clip=2))
    with pytest.raises(ValueError, match="form: expected elu with alpha >= 0 to go back through"):
        reference.gates_backward(gates, c, c, form=Form(cell=("elu", -1)))
    stack = {f"weight_{kind}_l{k}": np.zeros((4, 1)) for k in (0, 1) for kind in ("ih", "hh")} | {"weight_ph_l0": p}
    with pytest.raises(ValueError, match=r"state_dict: missing \['weight_ph_l1'\]"):
        reference.lstm_forward(np.ones((1, 1)), None, stack, num_layers=2, form=Form(peepholes=True))
