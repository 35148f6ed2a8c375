"""Forms of the cell against onnxruntime's LSTM operator: activations, input_forget, P, clip."""

from typing import Any

import numpy as np
import pytest

from fastlstm import Form
from fastlstm._forms import parameters
from tests.cases import Array, Case, assert_close, make_data
from tests.support import lstm_of, results

onnx = pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")

# onnxruntime's names; it clips the gates alone
NAMES = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "hard_sigmoid": "HardSigmoid",
    "affine": "Affine",
    "leaky_relu": "LeakyRelu",
    "thresholded_relu": "ThresholdedRelu",
    "scaled_tanh": "ScaledTanh",
    "elu": "Elu",
    "softsign": "Softsign",
    "softplus": "Softplus",
}
WITH_ALPHA = ("affine", "leaky_relu", "thresholded_relu", "scaled_tanh", "hard_sigmoid", "elu")
WITH_BETA = ("affine", "scaled_tanh", "hard_sigmoid")

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
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    three = [parameters(activation) for activation in (form.gate, form.candidate, form.cell)]
    attributes: dict[str, Any] = {
        "hidden_size": h_0.shape[-1],
        "input_forget": int(form.coupled),
        "activations": [NAMES[name] for name, _, _ in three],
        "activation_alpha": [alpha for name, alpha, _ in three if name in WITH_ALPHA],
        "activation_beta": [beta for name, _, beta in three if name in WITH_BETA],
    }
    if form.clip is not None:
        attributes["clip"] = form.clip
    inputs = {
        "X": x,
        "W": to_iofc(weights["weight_ih_l0"]),
        "R": to_iofc(weights["weight_hh_l0"]),
        "B": np.concatenate([to_iofc(weights["bias_ih_l0"]), to_iofc(weights["bias_hh_l0"])], axis=1),
        "lens": np.full(x.shape[1], x.shape[0], np.int32),
        "h": h_0,
        "c": c_0,
    }
    if form.peepholes:
        i, f, o = np.split(weights["weight_ph_l0"], 3)
        inputs["P"] = np.concatenate([i, o, f])[np.newaxis]
    given = {name: value for name, value in attributes.items() if value != []}
    node = helper.make_node("LSTM", list(inputs), ["Y", "Y_h", "Y_c"], **given)
    described = [
        helper.make_tensor_value_info(name, onnx.TensorProto.INT32 if name == "lens" else kind, array.shape)
        for name, array in inputs.items()
    ]
    results_of = [helper.make_tensor_value_info(name, kind, None) for name in ("Y", "Y_h", "Y_c")]
    graph = helper.make_graph([node], "lstm", described, results_of)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    y, h_n, c_n = session.run(None, inputs)
    return [y[:, 0], h_n, c_n]


@pytest.mark.parametrize("form", FORMS)
def test_results_are_those_of_onnxruntime(form: str) -> None:
    case = Case(f"onnxruntime-{form}", T=5, B=3, I=4, H=7, form=FORMS[form])
    data = make_data(case, "float32")
    expected = run(FORMS[form], data.state_dict, data.input, *data.hx)
    for got, other in zip(results(lstm_of(case, data), data), expected, strict=True):
        assert_close(got, other, "forms, onnxruntime")
