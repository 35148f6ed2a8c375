"""Forms of the cell against onnxruntime's LSTM operator: activations, input_forget, P, clip."""

from typing import Any

import numpy as np
import pytest

from fastlstm import Form
from fastlstm._forms import parameters
from tests.cases import Array, Case, assert_close, make_data
from tests.onnx.support import ACTIVATIONS, NAMES, Drawn, run_onnxruntime
from tests.support import lstm_of, results

FORMS = {
    **{f"candidate-{name}": Form(candidate=name) for name in NAMES},
    **{f"cell-{name}": Form(cell=name) for name in NAMES},
    **{f"gate-{name}": Form(gate=name) for name in ("hard_sigmoid", "softsign", "softplus", "relu", "tanh")},
    "parameters": Form(("hard_sigmoid", 0.3, 0.4), ("scaled_tanh", 1.7, 0.6), ("elu", 0.7)),
    "more-parameters": Form(("affine", 0.4, 0.3), ("leaky_relu", 0.2), ("thresholded_relu", 0.2)),
    "input-forget": Form(coupled=True),
    "peepholes": Form(peepholes=True),
    "clip": Form(clip=0.3, clip_at="gates"),
    "everything": Form("hard_sigmoid", "softsign", "elu", peepholes=True, coupled=True, clip=0.4, clip_at="gates"),
}


def to_iofc(array: Array) -> Array:
    """Blocks i, f, g, o in the operator's order."""
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, o, f, g])[np.newaxis]


def run(form: Form, weights: dict[str, Array], x: Array, h_0: Array, c_0: Array) -> list[Array]:
    """Return output, h_n, c_n of an LSTM node, one layer in one direction."""
    three = [parameters(activation) for activation in (form.gate, form.candidate, form.cell)]
    attributes: dict[str, Any] = {
        "hidden_size": h_0.shape[-1],
        "input_forget": int(form.coupled),
        "activations": [NAMES[name] for name, _, _ in three],
        "activation_alpha": [alpha for name, alpha, _ in three if ACTIVATIONS[NAMES[name]][1]],
        "activation_beta": [beta for name, _, beta in three if len(ACTIVATIONS[NAMES[name]][1]) == 2],
    }
    if form.clip is not None:
        attributes["clip"] = form.clip
    weighed = [to_iofc(weights[f"weight_{name}_l0"]) for name in ("ih", "hh")]
    bias = np.concatenate([to_iofc(weights["bias_ih_l0"]), to_iofc(weights["bias_hh_l0"])], axis=1)
    peepholes = None
    if form.peepholes:
        i, f, o = np.split(weights["weight_ph_l0"], 3)
        peepholes = np.concatenate([i, o, f])[np.newaxis]
    attributes = {name: value for name, value in attributes.items() if value != []}
    drawn = Drawn((x, *weighed, bias, None, h_0, c_0, peepholes), attributes)
    y, h_n, c_n = run_onnxruntime(drawn.model(opset=14), drawn.feeds())
    return [y[:, 0], h_n, c_n]


@pytest.mark.parametrize("form", FORMS)
def test_results_are_those_of_onnxruntime(form: str) -> None:
    case = Case(f"onnxruntime-{form}", T=5, B=3, I=4, H=7, form=FORMS[form])
    data = make_data(case, "float32")
    expected = run(FORMS[form], data.state_dict, data.input, *data.hx)
    for got, other in zip(results(lstm_of(case, data), data), expected, strict=True):
        assert_close(got, other, "forms, onnxruntime")
