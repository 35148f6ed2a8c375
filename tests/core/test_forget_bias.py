"""forget_bias: where forget gates start, and nothing else."""

import copy
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.support import assert_same_bits, each_dtype


@each_dtype
@pytest.mark.parametrize("value", [1.0, 0, -2.5, np.float32(3)])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "proj_size": 3}, {"weights": "int8"}])
def test_the_sum_of_both_biases_is_the_value(dtype: str, value: Any, options: dict[str, Any]) -> None:
    if "weights" in options and dtype == "float64":
        pytest.skip("of float32 only")
    plain = fastlstm.LSTM(5, 9, seed=0, dtype=dtype, **options).state_dict()
    made = fastlstm.LSTM(5, 9, seed=0, dtype=dtype, forget_bias=value, **options).state_dict()
    assert list(made) == list(plain)
    for name, array in made.items():
        if name.startswith("bias"):
            forget = slice(9, 18)
            assert (array[forget] == (value if name.startswith("bias_ih") else 0)).all()
            assert_same_bits(np.delete(array, forget), np.delete(plain[name], forget))
        else:
            assert (array == plain[name]).all()


def test_a_cell() -> None:
    cell = fastlstm.LSTMCell(5, 9, seed=0, forget_bias=1.0)
    lstm = fastlstm.LSTM(5, 9, seed=0, forget_bias=1.0)
    for name, array in cell.state_dict().items():
        assert_same_bits(array, lstm.state_dict()[f"{name}_l0"])


def test_forget_gates_start_there() -> None:
    lstm = fastlstm.LSTM(5, 9, seed=0, forget_bias=1.0)
    f = lstm.trace(np.zeros((1, 5), np.float32)).f
    assert_same_bits(f, np.full_like(f, fastlstm.sigmoid(np.ones(1, np.float32))[0]))


def test_it_is_not_kept_as_a_setting() -> None:
    lstm = fastlstm.LSTM(5, 9, seed=0, forget_bias=1.0)
    assert repr(lstm) == "LSTM(5, 9)"
    assert_same_bits(copy.copy(lstm).state_dict()["bias_ih_l0"], lstm.state_dict()["bias_ih_l0"])
    assert not lstm.state_dict()["bias_ih_l0"].flags.writeable


@pytest.mark.parametrize("make", [fastlstm.LSTM, fastlstm.LSTMCell])
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"forget_bias": "1"}, TypeError, "forget_bias should be a number, got: str"),
        ({"forget_bias": True}, TypeError, "forget_bias should be a number, got: bool"),
        ({"forget_bias": [1.0]}, TypeError, "forget_bias should be a number, got: list"),
        ({"forget_bias": np.nan}, ValueError, "forget_bias should be finite in float32, got: nan"),
        ({"forget_bias": 10**400}, ValueError, "forget_bias should be finite in float32"),
        ({"forget_bias": 1e39}, ValueError, "forget_bias should be finite in float32"),
        ({"forget_bias": 1.0, "bias": False}, ValueError, "needs a layer with biases, got: bias=False"),
        ({"forget_bias": 1.0, "form": fastlstm.Form(coupled=True)}, ValueError, "coupled gates"),
    ],
)
def test_bad_values_are_named(make: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(5, 9, **options)
