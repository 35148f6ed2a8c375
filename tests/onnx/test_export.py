"""Exported models: the format's checker, onnxruntime, and reading them back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
import fastlstm.onnx
from fastlstm import Form
from fastlstm.onnx import export, load
from tests.cases import LAYERS, Case, assert_close, make_data
from tests.onnx.support import onnx, run_onnxruntime
from tests.support import Data, assert_same_bits, by_name, each_dtype, expected_results, lstm_of

CASES = tuple(case for case in LAYERS if not case.P and not case.resets)
# without steps onnxruntime's states are whatever was in memory, without rows its process ends
RUN = tuple(case for case in CASES if case.T and case.B)
FORMS = (
    Form(gate="hard_sigmoid"),
    Form(gate=("hard_sigmoid", 1 / 6, 0.5), candidate=("leaky_relu", 0.25), cell=("scaled_tanh", 1.5, 0.75)),
    Form(candidate="softsign", cell=("elu", 0.5)),
    Form(peepholes=True),
    Form(coupled=True),
    Form(peepholes=True, coupled=True, clip=0.5, clip_at="gates"),
)


def feeds_of(data: Data) -> dict[str, Any]:
    feeds = {"input": data.input, "h_0": data.h_0, "c_0": data.c_0}
    if data.lengths is not None:
        feeds["lengths"] = data.lengths.astype(np.int32)
    return feeds


@by_name(RUN)
def test_onnxruntime_computes_the_same(case: Case) -> None:
    data = make_data(case, "float32")
    model = export(lstm_of(case, data), initial_state=True, lengths=case.ragged)
    output, h_n, c_n = run_onnxruntime(model, feeds_of(data))
    expected = expected_results(case, data)
    assert_close(output, expected[0], "onnx")
    stepped = slice(None) if data.lengths is None else data.lengths > 0  # of rows without steps it has zeros
    assert_close(h_n[:, stepped], expected[1][:, stepped], "onnx")
    assert_close(c_n[:, stepped], expected[2][:, stepped], "onnx")


@pytest.mark.parametrize("opset", [7, 13, 14, 17, 22])
@pytest.mark.parametrize("initial_state", [False, True])
def test_opsets_and_inputs(opset: int, initial_state: bool) -> None:
    lstm = fastlstm.LSTM(5, 9, num_layers=2, dropout=0.5, bidirectional=True, batch_first=True, seed=1)
    model = export(lstm, opset=opset, initial_state=initial_state)
    assert [entry.version for entry in model.opset_import] == [opset]
    rng = np.random.default_rng(0)
    for T, B in ((7, 3), (2, 1)):  # one model for all sizes
        x = rng.standard_normal((B, T, 5)).astype(np.float32)
        hx = tuple(rng.standard_normal((2, 4, B, 9)).astype(np.float32)) if initial_state else None
        feeds = {"input": x} | (dict(zip(("h_0", "c_0"), hx, strict=True)) if hx else {})
        output, (h_n, c_n) = lstm(x, hx)
        for one, other in zip(run_onnxruntime(model, feeds), (output, h_n, c_n), strict=True):
            assert_close(one, other, "onnx")


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("form", FORMS, ids=repr)
def test_forms(form: Form, bidirectional: bool) -> None:
    lstm = fastlstm.LSTM(5, 9, num_layers=2, bidirectional=bidirectional, seed=2, form=form)
    model = export(lstm, semantics="onnxruntime")
    x = np.random.default_rng(1).standard_normal((7, 3, 5)).astype(np.float32)
    output, (h_n, c_n) = lstm(x)
    for one, other in zip(run_onnxruntime(model, {"input": x}), (output, h_n, c_n), strict=True):
        assert_close(one, other, "onnx, activations")
    again = load(model, semantics="onnxruntime")
    for layer, node in enumerate(again):
        for name, array in node.lstm.state_dict().items():
            assert_same_bits(array, lstm.state_dict()[name.replace("_l0", f"_l{layer}")])
        Y, _, _ = node(x)
        x = Y.swapaxes(1, 2).reshape(7, 3, -1)
    assert_same_bits(x, output)


@each_dtype
@by_name(CASES)
def test_round_trip(case: Case, dtype: str, tmp_path: Path) -> None:
    data = make_data(case, dtype)
    lstm = lstm_of(case, data)
    path = tmp_path / "lstm.onnx"
    model = export(lstm, path, lengths=case.ragged, initial_state=True)
    assert onnx.load(str(path)) == model
    nodes = load(path)
    assert [node.name for node in nodes] == [f"lstm_l{layer}" for layer in range(case.num_layers)]
    x = data.input.swapaxes(0, 1) if case.batch_first else data.input
    D = case.directions
    for layer, node in enumerate(nodes):
        rows = slice(layer * D, (layer + 1) * D)
        Y, _, _ = node(x, data.lengths, data.h_0[rows], data.c_0[rows])
        x = Y.swapaxes(1, 2).reshape(*x.shape[:2], D * case.H)
    output, _ = lstm(data.input, data.hx, lengths=data.lengths)
    assert_same_bits(x.swapaxes(0, 1) if case.batch_first else x, output)


def test_a_clip_is_where_the_semantics_have_it() -> None:
    at = {place: fastlstm.LSTM(4, 3, form=Form(clip=1.0, clip_at=place)) for place in ("activations", "gates", "state")}
    assert load(export(at["activations"]))[0].lstm.form == at["activations"].form
    assert load(export(at["gates"], semantics="onnxruntime"), semantics="onnxruntime")[0].lstm.form == at["gates"].form
    for place, semantics in (("gates", "onnx"), ("state", "onnx"), ("activations", "onnxruntime")):
        with pytest.raises(ValueError, match=f"form has clip_at='{place}'"):
            export(at[place], semantics=semantics)


def test_what_cannot_be_exported() -> None:
    lstm = fastlstm.LSTM(4, 3)
    with pytest.raises(ValueError, match="the operator has no form with summed=True"):
        export(fastlstm.LSTM(4, 3, form=Form(summed=True)))
    with pytest.raises(ValueError, match="proj_size=2: ONNX's LSTM operator has no projection"):
        export(fastlstm.LSTM(4, 3, proj_size=2))
    with pytest.raises(TypeError, match=r"lstm should be a fastlstm.LSTM, got: LSTMCell"):
        export(fastlstm.LSTMCell(4, 3))  # type: ignore[arg-type]
    for opset in (6, 1000):
        with pytest.raises(ValueError, match=f"opset should be in .*, got: {opset}"):
            export(lstm, opset=opset)
    with pytest.raises(TypeError, match="initial_state should be of type bool, got: int"):
        export(lstm, initial_state=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="semantics should be one of onnx, onnxruntime"):
        export(lstm, semantics="tensorrt")


def test_integers_that_an_old_opset_cannot_tell_are_not_told_of() -> None:
    lstm = fastlstm.LSTM(4, 3, weights="int8", seed=0)
    own = {entry.key for entry in export(lstm, opset=12).metadata_props}
    state = dict(lstm.state_dict(), weight_ih_l0_zero_point=3, weight_hh_l0_zero_point=3)
    lstm.load_state_dict(state)
    assert own == {entry.key for entry in export(lstm, opset=13).metadata_props} == {"fastlstm.weights"}
    assert not export(lstm, opset=12).metadata_props
