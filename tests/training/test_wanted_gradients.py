"""Gradients that are not wanted are not computed, and leave the others their bits."""

import itertools

import numpy as np
import pytest

from tests.cases import DROPOUT, LAYERS, Case, make_data, make_gradients
from tests.support import assert_same_bits, by_name, each_dtype, lstm_of

KINDS = ("input", "h_0", "c_0", "weight_ih", "weight_hh", "bias_ih", "weight_hr")
CASES = tuple(case for case in (*LAYERS, *DROPOUT) if case.name != "many-units")


def gradients(case: Case, dtype: str, wanted, incoming=(True, True, True), threads: int = 1):
    """Return the gradients whose names `wanted` takes, computed without the others; from some of the incoming ones."""
    data = make_data(case, dtype)
    lstm = lstm_of(case, data, threads=threads, dropout=case.dropout)
    _, _, tape = lstm.forward(data.input, data.hx, lengths=data.lengths, resets=data.resets, seed=1)
    output, h_n, c_n = (g if there else None for g, there in zip(make_gradients(case, dtype), incoming, strict=True))
    if output is not None and case.batch_first:
        output = np.ascontiguousarray(output.swapaxes(0, 1))
    shapes = {"input": (case.T, case.B, case.I), "h_0": data.h_0.shape, "c_0": data.c_0.shape} | case.weight_shapes()
    made = {name: np.full(shape, np.nan, dtype) for name, shape in shapes.items() if wanted(name)}
    weights = [
        tuple(made.get(f"{kind}{suffix}") for kind in ("weight_ih", "weight_hh", "bias_ih", "weight_hr", "weight_ph"))
        for k in range(case.num_layers)
        for suffix in (f"_l{k}", f"_l{k}_reverse")[: case.directions]
    ]
    into = (made.get(name) for name in ("input", "h_0", "c_0"))
    tape._core.run_backward(tape._plan, output, h_n, c_n, *into, weights, lstm._workers)
    return made


def everything(name: str) -> bool:
    """All but the second bias, which has the gradient of the first."""
    return not name.startswith("bias_hh")


def assert_part_of(got, full) -> None:
    for name, gradient in got.items():
        assert_same_bits(gradient, full[name], name)


@each_dtype
@by_name(CASES)
def test_each_kind_alone_and_each_left_out(case: Case, dtype: str) -> None:
    full = gradients(case, dtype, everything)
    assert not any(np.isnan(gradient).any() for gradient in full.values())
    for kind in KINDS:
        assert_part_of(gradients(case, dtype, lambda name, kind=kind: name.startswith(kind)), full)
        rest = gradients(case, dtype, lambda name, kind=kind: everything(name) and not name.startswith(kind))
        assert_part_of(rest, full)


@pytest.mark.parametrize("threads", [1, 2])
@by_name(tuple(case for case in CASES if case.num_layers > 1 or case.directions > 1))
def test_one_layer_or_direction_and_all_but_one(case: Case, threads: int) -> None:
    full = gradients(case, "float32", everything, threads=threads)
    for suffix in {name[name.rindex("_l") :] for name in full if "_l" in name}:
        some = gradients(case, "float32", lambda n, s=suffix: everything(n) and n.endswith(s), threads=threads)
        assert {name[name.rindex("_l") :] for name in some} == {suffix}
        assert_part_of(some, full)
        rest = gradients(case, "float32", lambda n, s=suffix: everything(n) and not n.endswith(s), threads=threads)
        assert_part_of(rest, full)


def test_every_subset_of_one_layer() -> None:
    case = next(case for case in LAYERS if case.name == "projection")
    full = gradients(case, "float64", everything)
    for number in range(len(KINDS) + 1):
        for kinds in itertools.combinations(KINDS, number):
            got = gradients(case, "float64", lambda name, kinds=kinds: name.startswith(kinds) and bool(kinds))
            assert len(got) == number
            assert_part_of(got, full)


@by_name(tuple(case for case in CASES if case.name in ("plain", "everything", "dropout-bidirectional-projection")))
def test_incoming_gradients_left_out_are_zeros(case: Case) -> None:
    for incoming in itertools.product((True, False), repeat=3):
        full = gradients(case, "float32", everything, incoming)
        assert any(gradient.any() for gradient in full.values()) == any(incoming)
        assert_part_of(gradients(case, "float32", lambda name: name.startswith("weight"), incoming), full)
