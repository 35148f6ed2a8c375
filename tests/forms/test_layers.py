"""Forms of the cell: the compiled layers against the float64 reference, the numerical contract, objects, bad input."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
from fastlstm import Form
from fastlstm._forms import ACTIVATIONS
from tests.cases import Case, Data, assert_close, assert_gradients_close, make_data, make_gradients
from tests.forms.support import FORMS, TRAINABLE, each_case, each_form, each_trainable, few_forms, formed, tolerance
from tests.support import (
    ROOT,
    assert_same_bits,
    cell_of,
    each_dtype,
    each_isa,
    each_mode,
    expected_results,
    floating_point,
    lstm_of,
    results,
    rows_of,
    wild_data,
)
from tests.training.support import OF_ROWS, assert_same_gradients, expected_train, forward, layer_of, train, train_rows

# Against the reference


@each_isa
@each_dtype
@each_case
@each_form
def test_outputs_are_those_of_the_reference(form: str, case: Case, dtype: str, isa: str) -> None:
    case, bound = formed(case, form), tolerance(form)
    data = make_data(case, dtype)
    for got, expected in zip(results(lstm_of(case, data, isa=isa), data), expected_results(case, data), strict=True):
        assert got.dtype == dtype
        assert_close(got, expected, bound)


@each_isa
@each_dtype
@each_case
@each_trainable
def test_gradients_are_those_of_the_reference(form: str, case: Case, dtype: str, isa: str) -> None:
    case = formed(case, form)
    data = make_data(case, dtype)
    got = train(layer_of(case, data, isa=isa), case, data)
    assert_gradients_close(got, expected_train(case, data), tolerance(form, gradients=True))


@each_dtype
def test_the_standard_form_is_the_standard_cell(dtype: str) -> None:
    case = Case("form-standard", T=5, B=3, I=5, H=17, num_layers=2)
    data = make_data(case, dtype)
    for form in (None, Form(), Form("sigmoid", ("tanh",), "tanh", clip_at="gates")):
        lstm = lstm_of(case, data, form=form)
        assert_same_bits(results(lstm, data), results(lstm_of(case, data), data))
        assert_same_gradients(train(lstm, case, data), train(layer_of(case, data), case, data))


def test_a_coupled_forget_gate_s_weights_are_ignored() -> None:
    case = formed(Case("form-ignored", T=4, B=3, I=5, H=9, num_layers=2), "coupled-peepholes")
    data = make_data(case, "float32")
    poisoned = {name: array.copy() for name, array in data.state_dict.items()}
    for name, array in poisoned.items():
        np.split(array, 3 if "ph" in name else 4)[1][...] = np.nan
    other = Data(data.input, *data.hx, poisoned, None, None)
    assert_same_bits(results(lstm_of(case, other), other), results(lstm_of(case, data), data))
    got = train(layer_of(case, other), case, other)
    assert_same_gradients(got, train(layer_of(case, data), case, data))
    # nor does an input that is not finite reach their gradients
    data.input[1, 1] = np.inf
    got = train(layer_of(case, data), case, data)
    for name in case.weight_shapes():
        assert not np.split(got[name], 3 if "ph" in name else 4)[1].any(), name
    assert np.isnan(got["weight_ih_l0"]).any()


# The contract


@each_dtype
@each_form
def test_instruction_sets_and_threads_do_not_change_a_bit(form: str, dtype: str) -> None:
    for case in (
        Case("form-threads-rows", T=9, B=13, I=9, H=33),
        Case("form-threads-units", T=5, B=2, I=3, H=161, num_layers=2),
        Case("form-threads-directions", T=5, B=9, I=3, H=41, P=7, bidirectional=True, ragged=True),
        Case("form-threads-one-row", T=60, B=1, I=9, H=129),
    ):
        case = formed(case, form)
        data = make_data(case, dtype)
        expected = results(lstm_of(case, data, isa="scalar"), data)
        for isa in fastlstm.isas():
            for threads in (1, 2, 3):
                lstm = lstm_of(case, data, isa=isa, threads=threads)
                assert_same_bits(results(lstm, data), expected, f"{case.name}, {isa}, {threads}")


@each_dtype
@each_trainable
def test_instruction_sets_and_threads_do_not_change_a_gradient(form: str, dtype: str) -> None:
    for case in (
        Case("form-grad-rows", T=15, B=14, I=3, H=33, num_layers=2),  # sums of more than two blocks
        Case("form-grad-units", T=5, B=2, I=3, H=161),
        Case("form-grad-directions", T=5, B=9, I=3, H=41, P=7, bidirectional=True, ragged=True),
    ):
        case = formed(case, form)
        data = make_data(case, dtype)
        expected = train(layer_of(case, data, isa="scalar"), case, data)
        for isa in fastlstm.isas():
            for threads in (1, 2, 3):
                got = train(layer_of(case, data, isa=isa, threads=threads), case, data)
                assert_same_gradients(got, expected, f"{case.name}, {isa}, {threads}")


@each_isa
@each_dtype
@few_forms
def test_a_row_does_not_see_its_batch(form: str, dtype: str, isa: str) -> None:
    case = formed(Case("form-rows", T=3, B=18, I=9, H=33), form)
    data = make_data(case, dtype)
    lstm = lstm_of(case, data, isa=isa)
    alone = [results(lstm, rows_of(data, [row])) for row in range(case.B)]
    for rows in range(2, case.B + 1):
        batch = results(lstm, rows_of(data, slice(rows)))
        for row in range(rows):
            assert_same_bits(tuple(array[:, [row]] for array in batch), alone[row], f"row {row} of {rows}")


@each_isa
@each_dtype
@each_trainable
def test_a_row_s_gradients_do_not_see_its_batch(form: str, dtype: str, isa: str) -> None:
    case = formed(Case("form-grad-row", T=3, B=7, I=9, H=33), form)
    data = make_data(case, dtype)
    lstm = layer_of(case, data, isa=isa)
    whole = train(lstm, case, data)
    for row in range(case.B):
        part, part_data, incoming = train_rows(case, data, [row])
        got = train(lstm, part, part_data, incoming)
        for name in OF_ROWS:
            assert_same_bits(got[name], whole[name][:, [row]], f"{name} of row {row}")


@each_isa
@each_dtype
@each_form
def test_streams_and_chunks_are_the_whole(form: str, dtype: str, isa: str) -> None:
    case = formed(Case("form-stream", T=6, B=3, I=9, H=41, num_layers=2), form)
    data = make_data(case, dtype)
    lstm = lstm_of(case, data, isa=isa)
    output, h_n, c_n = results(lstm, data)
    stream = lstm.stream(case.B)
    stream.state = data.hx
    for t in range(2):
        assert_same_bits(stream.step(data.input[t]), output[t])
    assert_same_bits(stream.feed(data.input[2:5]), output[2:5])
    last, states = lstm(data.input[5:], stream.state)
    assert_same_bits((last, *states), (output[5:], h_n, c_n))
    if FORMS[form].clip is None:
        trained, tape = forward(lstm, data)
        assert_same_bits(trained, (output, h_n, c_n))
        assert tape.nbytes > 0


@each_dtype
@each_form
def test_sessions_and_windows_are_the_whole(form: str, dtype: str) -> None:
    case = formed(Case("form-sessions", T=4, B=3, I=9, H=41, P=7, num_layers=2), form)
    data = make_data(case, dtype)
    lstm = lstm_of(case, data)
    output, _ = lstm(data.input)
    pool = lstm.pool(case.B)
    ids = [pool.open() for _ in range(case.B)]
    for t in range(case.T):
        assert_same_bits(pool.step(ids, data.input[t]), output[t])
    window = lstm.window(2)
    for t in range(case.T):
        got = window.push(data.input[t, 0])
    assert_same_bits(got, lstm(data.input[-2:, 0])[0][-1])


@each_isa
@each_dtype
@each_form
def test_a_cell_is_a_layer(form: str, dtype: str, isa: str) -> None:
    case = formed(Case("form-cell", T=3, B=3, I=5, H=41), form)
    data = make_data(case, dtype)
    output, h_n, c_n = results(lstm_of(case, data, isa=isa), data)
    cell = cell_of(case, data, isa=isa)
    h, c = data.h_0[0].copy(), data.c_0[0].copy()
    for t in range(case.T):
        spare = np.empty_like(h)
        cell(data.input[t], (h, c), out=(spare, c))  # c' over c
        h = spare
        assert_same_bits(h, output[t])
    assert_same_bits((h, c), (h_n[0], c_n[0]))


@each_dtype
@each_form
def test_lengths_and_resets_are_separate_runs(form: str, dtype: str) -> None:
    case = formed(Case("form-ragged", T=6, B=9, I=5, H=17, num_layers=2, ragged=True), form)
    data = make_data(case, dtype)
    assert data.lengths is not None
    lstm = lstm_of(case, data)
    output, h_n, c_n = results(lstm, data)
    for row, length in enumerate(data.lengths):
        alone = lstm(data.input[:length, row], (data.h_0[:, row], data.c_0[:, row]))
        assert_same_bits((output[:length, row], (h_n[:, row], c_n[:, row])), alone, f"row {row}")
        assert not output[length:, row].any()
    resets = np.zeros((case.T, case.B), bool)
    resets[2, 1] = True
    got, _ = lstm(data.input, resets=resets)
    first, second = lstm(data.input[:2, 1])[0], lstm(data.input[2:, 1])[0]
    assert_same_bits(got[:, 1], np.concatenate([first, second]))


@each_dtype
@each_mode
@few_forms
def test_the_caller_s_environment_does_not_matter(form: str, mode: str, dtype: str) -> None:
    case = formed(Case("form-mode", T=4, B=3, I=5, H=17), form)
    data = make_data(case, dtype)
    lstm = lstm_of(case, data)
    expected = results(lstm, data)
    with floating_point(mode):
        got = results(lstm, data)
    assert_same_bits(got, expected)


@each_isa
@each_dtype
@each_form
def test_nan_stays_in_its_row_and_reaches_it(form: str, dtype: str, isa: str) -> None:
    case = formed(Case("form-nan", T=3, B=5, I=5, H=17), form)
    data = make_data(case, dtype)
    lstm = lstm_of(case, data, isa=isa)
    clean = results(lstm, data)
    others = np.arange(case.B) != 2
    for which in range(3):
        arrays = [data.input.copy(), data.h_0.copy(), data.c_0.copy()]
        arrays[which][0, 2, 1] = np.nan
        got = results(lstm, Data(*arrays, data.state_dict, None, None))  # type: ignore[arg-type]
        assert_same_bits(tuple(a[:, others] for a in got), tuple(a[:, others] for a in clean))
        if which < 2:  # an input or a hidden state reaches every unit, at once
            assert np.isnan(got[0][:, 2]).all()
        else:  # a cell reaches itself, then by way of h all others
            assert np.isnan(got[0][0, 2, 1])
            assert np.isnan(got[0][1:, 2]).all()


@each_isa
@each_dtype
@each_trainable
def test_nan_gradients_stay_in_their_row(form: str, dtype: str, isa: str) -> None:
    case = formed(Case("form-grad-nan", T=3, B=5, I=5, H=17), form)
    data = make_data(case, dtype)
    lstm = layer_of(case, data, isa=isa)
    clean = train(lstm, case, data)
    incoming = make_gradients(case, dtype)
    incoming[0][-1, 2, :] = np.nan
    got = train(lstm, case, data, incoming)
    others = np.arange(case.B) != 2
    for name in OF_ROWS:
        assert_same_bits(got[name][:, others], clean[name][:, others], name)
    assert np.isnan(got["c_0"][0, 2]).all()


@each_isa
@each_dtype
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), form=st.sampled_from(sorted(FORMS)))
def test_no_value_is_too_much(dtype: str, isa: str, seed: int, form: str) -> None:
    case = formed(Case("form-wild", T=3, B=4, I=3, H=9), form)
    data = wild_data(case, dtype, seed)
    assert_same_bits(
        results(lstm_of(case, data, isa=isa), data), results(lstm_of(case, data, isa="scalar"), data), form
    )
    if form in TRAINABLE:
        scalar, got = (train(layer_of(case, data, isa=which), case, data) for which in ("scalar", isa))
        assert_same_gradients(got, scalar, form)


# Training


@each_trainable
def test_pieces_give_the_gradients_of_the_whole(form: str) -> None:
    case = formed(Case("form-pieces", T=7, B=3, I=5, H=9, num_layers=2), form)
    data = make_data(case, "float64")
    lstm = layer_of(case, data)
    whole = train(lstm, case, data)
    assert_gradients_close(train(lstm, case, data, keep_every=3), whole, tolerance(form, gradients=True))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (Form(clip=2), "clip=2.0 is for inference only"),
        (Form(clip=2, clip_at="state"), "clip=2.0 is for inference only"),
        (Form("leaky_relu", ("elu", -0.5)), "candidate=elu with alpha=-0.5 is for inference only"),
        (Form(cell=("leaky_relu", -1)), "cell=leaky_relu with alpha=-1.0 is for inference only"),
    ],
    ids=str,
)
@pytest.mark.parametrize("keep_every", [None, 2])
def test_forms_for_inference_say_so(form: Form, message: str, keep_every: int | None) -> None:
    lstm = fastlstm.LSTM(4, 3, form=form)
    x = np.ones((5, 2, 4), np.float32)
    with pytest.raises(ValueError, match=message):
        lstm.forward(x, keep_every=keep_every)
    output, _, tape = lstm.forward(x, train=False)
    assert_same_bits(output, lstm(x)[0])
    assert tape is None


# Objects


def test_a_form_fills_in_what_is_not_given() -> None:
    assert Form("hard_sigmoid").gate == ("hard_sigmoid", 0.2, 0.5)
    assert Form(("hard_sigmoid", 0.25)).gate == ("hard_sigmoid", 0.25, 0.5)
    assert Form(candidate=("tanh",)).candidate == "tanh"
    assert Form(cell=["elu", np.float32(2)]).cell == ("elu", 2.0)  # type: ignore[arg-type]
    assert Form("elu") == Form(("elu", 1))
    assert Form("elu") != Form(("elu", 2))
    assert Form(clip_at="state") == Form()
    assert hash(Form("elu")) == hash(Form(("elu", 1)))


@each_form
def test_forms_copy_pickle_and_print(form: str) -> None:
    value = FORMS[form]
    assert pickle.loads(pickle.dumps(value)) == value
    assert copy.deepcopy(value) == value
    assert eval(repr(value), {"Form": Form}) == value
    with pytest.raises(AttributeError):
        value.clip = 1.0  # type: ignore[misc]


@each_form
def test_layers_in_a_form_copy_pickle_and_print(form: str) -> None:
    case = formed(Case("form-object", T=3, B=2, I=4, H=3), form)
    data = make_data(case, "float32")
    lstm, cell = lstm_of(case, data), cell_of(case, data)
    assert lstm.form == cell.form == FORMS[form]
    expected = results(lstm, data)
    for other in (pickle.loads(pickle.dumps(lstm)), copy.deepcopy(lstm)):
        assert other.form == lstm.form
        assert_same_bits(results(other, data), expected)
    names = {"LSTM": fastlstm.LSTM, "LSTMCell": fastlstm.LSTMCell, "Form": Form}
    for thing in (lstm, cell, pickle.loads(pickle.dumps(cell))):
        assert f"form={FORMS[form]!r}" in repr(thing)
        assert repr(eval(repr(thing), names)) == repr(thing)


def test_pickles_from_before_there_were_forms() -> None:
    lstm = fastlstm.LSTM(4, 3, seed=0)
    state = lstm.__getstate__()
    old = fastlstm.LSTM.__new__(fastlstm.LSTM)
    old.__setstate__(state | {"settings": state["settings"][:11]})
    assert old.form == Form()
    assert repr(old) == repr(lstm) == "LSTM(4, 3)"


def test_names_and_shapes_of_peepholes() -> None:
    form = Form(peepholes=True)
    lstm = fastlstm.LSTM(4, 3, num_layers=2, bidirectional=True, proj_size=2, form=form, seed=0)
    kinds = ("weight_ih", "weight_hh", "weight_ph", "bias_ih", "bias_hh", "weight_hr")
    suffixes = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    weights = lstm.state_dict()
    assert list(weights) == [kind + suffix for suffix in suffixes for kind in kinds]
    assert {weights[f"weight_ph{suffix}"].shape for suffix in suffixes} == {(9,)}
    assert lstm.weight_ph_l1_reverse is weights["weight_ph_l1_reverse"]
    other = fastlstm.LSTM(4, 3, num_layers=2, bidirectional=True, proj_size=2, form=form, seed=1)
    other.load_state_dict(weights)
    x = np.ones((3, 2, 4), np.float32)
    assert_same_bits(other(x), lstm(x))
    assert list(fastlstm.LSTMCell(4, 3, form=form).state_dict())[:3] == ["weight_ih", "weight_hh", "weight_ph"]


# The page


@pytest.mark.skipif(not (ROOT / "docs").exists(), reason="not in a source tree")
def test_the_page_names_every_activation() -> None:
    page = ROOT / "docs" / "forms.md"
    table = [line.split("`")[1] for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    assert table[: len(ACTIVATIONS)] == list(ACTIVATIONS)


# Bad input


@pytest.mark.filterwarnings("error")
def test_numbers_of_16_bits() -> None:
    small = np.float16(0.5)
    assert fastlstm.Form(("elu", small), clip=small) == fastlstm.Form(("elu", 0.5), clip=0.5)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (("Sigmoid",), {}, ValueError, "gate should be one of sigmoid, tanh, .*, got: 'Sigmoid'"),
        (("tanh", "gelu"), {}, ValueError, "candidate should be one of .*, got: 'gelu'"),
        (("tanh", "tanh", ""), {}, TypeError, r"cell should be a name or a tuple \(name, alpha, beta\), got: ''"),
        ((None,), {}, TypeError, "gate should be a name or a tuple .*, got: None"),
        (((),), {}, TypeError, r"gate should be a name or a tuple .*, got: \(\)"),
        (((0.2, 0.5),), {}, TypeError, r"gate should be a name or a tuple .*, got: \(0.2, 0.5\)"),
        ((("tanh", 1.0),), {}, ValueError, r"gate: tanh has no parameters, got: \(1.0,\)"),
        ((("elu", 1.0, 2.0),), {}, ValueError, "gate: elu has one parameter, alpha, got"),
        ((("affine", 1, 2, 3),), {}, ValueError, "gate: affine has two parameters, alpha and beta, got"),
        ((("elu", "1"),), {}, TypeError, "gate: parameters of elu should be numbers, got: '1'"),
        ((("elu", True),), {}, TypeError, "gate: parameters of elu should be numbers, got: True"),
        ((("elu", None),), {}, TypeError, "gate: parameters of elu should be numbers, got: None"),
        ((("elu", float("nan")),), {}, ValueError, "gate: parameters of elu should be finite in float32, got: nan"),
        ((("elu", float("inf")),), {}, ValueError, "gate: parameters of elu should be finite in float32, got: inf"),
        ((("elu", -1e39),), {}, ValueError, "gate: parameters of elu should be finite in float32"),
        ((("elu", 10**400),), {}, ValueError, "gate: parameters of elu should be finite in float32"),
        ((), {"peepholes": 1}, TypeError, "peepholes should be of type bool, got: int"),
        ((), {"coupled": None}, TypeError, "coupled should be of type bool, got: NoneType"),
        ((), {"summed": 1}, TypeError, "summed should be of type bool, got: int"),
        ((), {"clip": 0}, ValueError, "clip should be a finite number greater than zero, got: 0"),
        ((), {"clip": -1.5}, ValueError, "clip should be a finite number greater than zero, got: -1.5"),
        ((), {"clip": float("nan")}, ValueError, "clip should be a finite number greater than zero, got: nan"),
        ((), {"clip": float("inf")}, ValueError, "clip should be a finite number greater than zero, got: inf"),
        ((), {"clip": 10**400}, ValueError, "clip should be a finite number greater than zero"),
        ((), {"clip": True}, TypeError, "clip should be a number, got: bool"),
        ((), {"clip": "3"}, TypeError, "clip should be a number, got: str"),
        ((), {"clip": 1, "clip_at": "cell"}, ValueError, "clip_at should be one of activations, gates, state.*'cell'"),
        ((), {"clip_at": ["state"]}, ValueError, "clip_at should be one of activations, gates, state"),
    ],
)
def test_arguments_are_checked(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Form(*arguments, **options)


@pytest.mark.parametrize("kind", [fastlstm.LSTM, fastlstm.LSTMCell])
def test_layers_take_forms_only(kind: Any) -> None:
    for form in ("tanh", {"peepholes": True}, Form):
        with pytest.raises(TypeError, match=r"form should be a fastlstm\.Form, got: (str|dict|type)"):
            kind(4, 3, form=form)


def test_peepholes_that_do_not_fit_are_named() -> None:
    plain, form = fastlstm.LSTM(4, 3), fastlstm.LSTM(4, 3, form=Form(peepholes=True))
    with pytest.raises(ValueError, match="state_dict does not fit; missing: weight_ph_l0"):
        form.load_state_dict(plain.state_dict())
    with pytest.raises(ValueError, match="state_dict does not fit; unexpected: weight_ph_l0"):
        plain.load_state_dict(form.state_dict())
    wrong = form.state_dict() | {"weight_ph_l0": np.zeros(12, np.float32)}
    with pytest.raises(ValueError, match=r"Expected state_dict\['weight_ph_l0'\] size \(9,\)"):
        form.load_state_dict(wrong)
