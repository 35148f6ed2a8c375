"""fastlstm's own classes, on NumPy's arrays, against torch.nn: results, gradients, weights, what is printed."""

from typing import Any

import pytest

import fastlstm
from tests.cases import (
    CELLS,
    DROPOUT,
    LAYERS,
    TOLERANCES,
    Case,
    assert_close,
    assert_gradients_close,
    make_data,
    make_gradients,
)
from tests.support import by_name, each_dtype, lstm_of, results
from tests.torch.support import import_torch, run_torch, torch_gradients
from tests.training.support import WEIGHED, expected_train, layer_of, relative_errors, train, with_masks

torch = import_torch()
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's, about its own code

SEED = 2**64 - 3


@each_dtype
@by_name(tuple(case for case in CELLS + LAYERS if case.T > 0))
def test_results(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    for got, expected in zip(results(lstm_of(case, data), data), run_torch(torch, case, data), strict=True):
        assert_close(got, expected, "torch")


@each_dtype
@by_name(tuple(case for case in (*CELLS, *LAYERS, *DROPOUT) if case.T > 0 and case.B > 0))  # torch takes no others
def test_gradients(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    data = with_masks(case, data, SEED) if case.dropout else data
    expected = torch_gradients(torch, case, data, make_gradients(case, dtype))
    assert_gradients_close(train(layer_of(case, data), case, data, seed=SEED), expected, "gradients, torch")


@by_name(WEIGHED)
def test_weight_gradients_are_as_exact_as_torch_s(case: Case, record_property: Any) -> None:
    """Our bits are the same on every CPU; the order of torch's sums, and with it their errors, depends on the CPU."""
    most = 1.0 if torch.backends.cpu.get_cpu_capability() == "AVX512" else TOLERANCES["times torch's"].float32
    data = make_data(case, "float32")
    exact = expected_train(case, data)
    ours = relative_errors(train(layer_of(case, data), case, data), exact)
    theirs = relative_errors(torch_gradients(torch, case, data, make_gradients(case, "float32")), exact)
    record_property("relative errors", {name: (ours[name], theirs[name]) for name in ours})
    for name in ours:
        assert ours[name] <= most * theirs[name], f"{name}: ours {ours[name]:.2e}, torch's {theirs[name]:.2e}"


def test_weights_of_a_torch_module_load_as_they_are() -> None:
    theirs = torch.nn.LSTM(5, 9, num_layers=2, bidirectional=True, proj_size=4)
    ours = fastlstm.LSTM(5, 9, num_layers=2, bidirectional=True, proj_size=4)
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())


def test_repr() -> None:
    for options in (
        {},
        {"num_layers": 2, "dropout": 0.5, "bias": False},
        {"proj_size": 2, "num_layers": 3, "batch_first": True, "bidirectional": True},
    ):
        assert repr(fastlstm.LSTM(4, 3, **options)) == repr(torch.nn.LSTM(4, 3, **options))
    assert repr(fastlstm.LSTMCell(4, 3, bias=False)) == repr(torch.nn.LSTMCell(4, 3, bias=False))


def test_tensors_that_require_grad_are_named_with_what_helps() -> None:
    module, lstm = torch.nn.LSTM(5, 9), fastlstm.LSTM(5, 9)
    before = lstm.state_dict()
    x = torch.zeros(2, 5, requires_grad=True)
    for call, name in (
        (lambda: lstm.load_state_dict(dict(module.named_parameters())), r"state_dict\['weight_ih_l0'\]"),
        (lambda: lstm(x), "input"),
        (lambda: lstm.stream().step(x[0]), "x"),
        (lambda: fastlstm.LSTMCell(5, 9)(x[0]), "input"),
    ):
        with pytest.raises(ValueError, match=rf"{name} could not be read as an array.*tensor\.detach\(\)"):
            call()
    assert all(lstm.state_dict()[name] is array for name, array in before.items())
