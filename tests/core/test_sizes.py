"""What follows from a layer's sizes, and the cache of packed weights that adapters keep."""

import threading
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm._plans import PlanCache
from fastlstm._sizes import Sizes
from tests.cases import LAYERS, Array, Case, make_data
from tests.support import assert_same_bits, by_name, lstm_of

CASE = Case("sizes", T=3, B=2, I=4, H=6, num_layers=2)
STEP = np.ones((1, 1, 4), np.float32)


def sizes_of(case: Case, **options: Any) -> Sizes:
    """Say a case's sizes."""
    return Sizes(case.I, case.H, case.P, case.num_layers, case.directions, case.bias, **options)


@by_name(LAYERS)
def test_sizes_are_those_of_the_layer(case: Case) -> None:
    data = make_data(case, "float32")
    lstm, sizes = lstm_of(case, data), sizes_of(case)
    assert lstm._sizes == sizes
    assert list(sizes.shapes.items()) == list(case.weight_shapes().items())
    _, (h_n, c_n) = lstm(data.input)
    assert (h_n.shape, c_n.shape) == sizes.states(case.B)
    assert sizes.states() == ((sizes.LD, sizes.R), (sizes.LD, case.H))
    assert sizes.states(case.B)[0] == (sizes.LD, case.B, sizes.R)


def test_sizes_of_a_cell_have_no_suffix() -> None:
    cell = fastlstm.LSTMCell(4, 3, form=fastlstm.Form(peepholes=True))
    assert cell._sizes == Sizes(4, 3, peepholes=True, cell=True)
    assert list(cell._sizes.shapes) == list(cell.state_dict())
    assert list(cell._sizes.shapes) == ["weight_ih", "weight_hh", "weight_ph", "bias_ih", "bias_hh"]


@pytest.mark.parametrize("peepholes", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("P", [0, 2])
def test_rows_have_every_parameter_in_its_place(P: int, bias: bool, peepholes: bool) -> None:
    sizes = Sizes(4, 6, P, L=2, D=2, bias=bias, peepholes=peepholes)
    numbered = sizes.named(range(len(sizes.shapes)))
    rows, gradients = sizes.rows(numbered), sizes.gradient_rows(numbered)
    assert len(rows) == len(gradients) == sizes.LD
    names = {number: name for name, number in numbered.items()}
    for suffix, row, gradient in zip(("_l0", "_l0_reverse", "_l1", "_l1_reverse"), rows, gradients, strict=True):
        ih, hh, bias_ih, bias_hh, hr, ph = (None if number is None else names[number] for number in row)
        assert (ih, hh) == (f"weight_ih{suffix}", f"weight_hh{suffix}")
        assert (bias_ih, bias_hh) == ((f"bias_ih{suffix}", f"bias_hh{suffix}") if bias else (None, None))
        assert hr == (f"weight_hr{suffix}" if P else None)
        assert ph == (f"weight_ph{suffix}" if peepholes else None)
        assert gradient == (*row[:3], *row[4:])
    assert sum(number is not None for row in rows for number in row) == len(numbered)


def test_names_and_parameters_have_to_be_as_many() -> None:
    sizes = Sizes(4, 6)
    for count in (3, 5):
        with pytest.raises(ValueError, match="argument"):
            sizes.named(range(count))


@pytest.mark.parametrize("name", ["I", "H", "P", "L", "D", "bias", "R", "LD"])
def test_sizes_stay_as_they_are(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Sizes(4, 6), name, 1)


# The cache


class Weights:
    """Parameters of someone who does not tell of changes."""

    def __init__(self) -> None:
        self.lstm = fastlstm.LSTM(4, 6, seed=0)
        self.parameters = {name: array.copy() for name, array in self.lstm.state_dict().items()}
        self.plans: PlanCache[tuple[Any, dict[str, Array]]] = PlanCache(self.lstm._sizes)
        self.packed = 0

    def output(self) -> Array:
        """Run with the parameters as they are."""
        plan, _ = self.plans.current(self._holds, self._make)
        made = plan.call(STEP, None, None, False, None)
        assert made is not None
        return made[0]

    def expected(self) -> Array:
        """Run a layer that is told."""
        self.lstm.load_state_dict(self.parameters)
        return self.lstm(STEP)[0]

    def _holds(self, kept: tuple[Any, dict[str, Array]]) -> bool:
        return all(np.array_equal(array, self.parameters[name]) for name, array in kept[1].items())

    def _make(self) -> tuple[Any, dict[str, Array]]:
        copies = {name: array.copy() for name, array in self.parameters.items()}
        made = self.plans.pack(copies)
        self.packed += 1
        return made, copies


def test_weights_are_packed_once_and_when_they_have_changed() -> None:
    weights = Weights()
    for count in (1, 2, 3):
        for _ in range(3):
            assert_same_bits(weights.output(), weights.expected())
        assert weights.packed == count
        weights.parameters["weight_ih_l0"] *= 2


def test_nothing_is_kept_where_packing_fails() -> None:
    weights = Weights()
    weights.output()
    good = weights.parameters["weight_ih_l0"]
    weights.parameters["weight_ih_l0"] = np.zeros((24, 5), np.float32)
    for _ in range(2):
        with pytest.raises(ValueError, match="sizes"):
            weights.output()
        assert weights.plans.kept is None
    weights.parameters["weight_ih_l0"] = good
    assert_same_bits(weights.output(), weights.expected())


def test_threads_may_find_weights_stale_at_once() -> None:
    weights = Weights()
    start, found = threading.Barrier(4), []

    def run() -> None:
        start.wait()
        found.append(weights.output())

    for _ in range(20):
        weights.parameters["bias_ih_l0"] += 1
        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        expected = weights.expected()
        for output in found:
            assert_same_bits(output, expected)
        found.clear()


def test_another_layer_of_other_weights_leaves_the_first_as_it_is() -> None:
    lstm, other = (fastlstm.LSTM(4, 6, 2, threads=2, seed=seed) for seed in (0, 1))
    first = lstm(STEP)[0]
    output, _, tape = lstm.forward(STEP)
    made = lstm._replaced(other.state_dict())
    assert type(made) is fastlstm.LSTM
    assert repr(made) == repr(lstm)
    assert made._workers is lstm._workers
    assert_same_bits(made(STEP)[0], other(STEP)[0])
    assert_same_bits(lstm(STEP)[0], first)
    assert lstm.backward(tape, output).input.shape == STEP.shape  # the first one's tape is still good
    with pytest.raises(ValueError, match="missing: weight_ih_l0"):
        lstm._replaced({})
