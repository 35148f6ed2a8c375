"""The same bits of gradients, however the work is cut (docs/contract.md, point 5). Everything here compares bits."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
from tests.cases import CELLS, DROPOUT, LAYERS, ODD_SIZES, Array, Case, Data, make_data, make_gradients
from tests.core.support import any_case
from tests.support import (
    DTYPES,
    assert_same_bits,
    by_name,
    each_dtype,
    each_isa,
    each_mode,
    floating_point,
    results,
    run_python,
    wild_data,
    wild_values,
)
from tests.training.support import OF_ROWS, Named, assert_same_gradients, forward, layer_of, named, train, train_rows

ISAS = fastlstm.isas()
SEED = 12345

# The ways in which threads share the work: by rows, units, directions, layers; and blocks of 192 rows, one and several.
SHARED = (
    Case("share-rows", T=20, B=13, I=9, H=33),
    Case("share-rows-projection", T=8, B=17, I=9, H=65, P=40, num_layers=2),
    Case("share-rows-ragged-resets", T=12, B=19, I=9, H=33, num_layers=2, ragged=True, resets=True, dropout=0.3),
    Case("share-units-one-row", T=30, B=1, I=33, H=257),
    Case("share-units", T=20, B=3, I=33, H=161),
    Case("share-layers", T=20, B=3, I=33, H=161, num_layers=2, dropout=0.5),
    Case("share-layers-ragged-resets", T=35, B=7, I=9, H=65, num_layers=4, ragged=True, resets=True, dropout=0.3),
    Case("share-layers-projection", T=33, B=1, I=9, H=161, P=65, num_layers=3),
    Case("share-units-projection", T=8, B=2, I=33, H=300, P=161),
    Case("share-units-resets", T=20, B=3, I=9, H=161, resets=True, ragged=True),
    Case("share-directions", T=30, B=1, I=9, H=33, bidirectional=True, num_layers=2, dropout=0.2),
    Case("share-directions-rows", T=12, B=19, I=9, H=65, bidirectional=True, ragged=True, num_layers=2),
    Case("share-directions-units", T=12, B=3, I=9, H=161, bidirectional=True, ragged=True),
    Case("share-batch-first", T=12, B=33, I=3, H=100, batch_first=True, ragged=True),
    Case("share-more-than-work", T=5, B=2, I=1, H=1),
    Case("share-no-steps", T=0, B=9, I=5, H=161),
    Case("share-no-rows", T=9, B=0, I=5, H=161),
    *(Case(f"blocks-{n}", T=n, B=1, I=3, H=9) for n in (191, 192, 193, 400)),
    *(Case(f"blocks-{T}x{B}", T=T, B=B, I=33, H=41, P=35) for T, B in ((64, 3), (193, 2), (97, 4))),
)

# As many rows as span every way of tiling them, on one panel of units, on several, and on an odd number of them.
ROWS = (
    Case("grad-rows", T=3, B=18, I=9, H=33),
    Case("grad-rows-one-panel", T=3, B=18, I=33, H=7),
    Case("grad-rows-projection", T=3, B=18, I=7, H=41, P=33),
    Case("grad-rows-stack", T=3, B=18, I=7, H=17, num_layers=2, bidirectional=True),
    Case("grad-rows-resets", T=5, B=18, I=7, H=17, num_layers=2, resets=True),
)


def gradients(case: Case, dtype: Any, **options: Any) -> Named:
    """Make the layer of a case and train it once."""
    data = make_data(case, dtype)
    return train(layer_of(case, data, **options), case, data, seed=SEED)


# Threads


@each_dtype
@pytest.mark.parametrize("threads", [2, 3])
@by_name(SHARED)
def test_threads_do_not_change_a_bit(case: Case, threads: int, dtype: str) -> None:
    data = make_data(case, dtype)
    expected = train(layer_of(case, data), case, data, seed=SEED)
    lstm = layer_of(case, data, threads=threads)
    for _ in range(4):  # who gets which block differs from call to call
        assert_same_gradients(train(lstm, case, data, seed=SEED), expected)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_a_bit_of_pieces(threads: int) -> None:
    case = Case("share-pieces", T=20, B=13, I=9, H=65, num_layers=2, ragged=True, dropout=0.3)
    data = make_data(case, "float32")
    expected = train(layer_of(case, data), case, data, seed=SEED, keep_every=6)
    for _ in range(4):
        got = train(layer_of(case, data, threads=threads), case, data, seed=SEED, keep_every=6)
        assert_same_gradients(got, expected)


def test_threads_on_sequences_of_changing_sizes() -> None:
    case = Case("share-sizes", T=12, B=24, I=9, H=161, num_layers=2)
    data = make_data(case, "float32")
    alone, shared = layer_of(case, data), layer_of(case, data, threads=2)
    rng = np.random.default_rng(0)
    for _ in range(25):
        T, B = int(rng.integers(0, 13)), int(rng.integers(0, 25))
        some, part, incoming = train_rows(case, data, slice(B))
        cut, incoming = replace(part, input=part.input[:T]), (incoming[0][:T], *incoming[1:])  # type: ignore[index]
        expected = train(alone, some, cut, incoming)
        assert_same_gradients(train(shared, some, cut, incoming), expected, f"T={T} B={B}")


# Instruction sets


@each_dtype
@by_name((*CELLS, *LAYERS, *DROPOUT, *SHARED, *ROWS))
def test_instruction_sets_agree(case: Case, dtype: str) -> None:
    expected = gradients(case, dtype, isa="scalar")
    for isa in ISAS[:-1]:
        assert_same_gradients(gradients(case, dtype, isa=isa), expected, isa)


@each_dtype
@pytest.mark.parametrize("H", ODD_SIZES)
def test_instruction_sets_agree_on_odd_sizes(H: int, dtype: str) -> None:
    for I, B in ((1, 5), (8, 1), (9, 2), (33, 3)):
        case = Case(f"agree-{I}-{H}-{B}", T=3, B=B, I=I, H=H, P=H // 2)
        expected = gradients(case, dtype, isa="scalar")
        for isa in ISAS[:-1]:
            assert_same_gradients(gradients(case, dtype, isa=isa), expected, f"{isa}, I={I}, B={B}")


@settings(max_examples=50, deadline=None)
@given(draw=st.data(), case=any_case(), dtype=st.sampled_from(DTYPES))
def test_nothing_but_the_numbers_matters(draw: st.DataObject, case: Case, dtype: str) -> None:
    if case.num_layers > 1:
        case = replace(case, dropout=draw.draw(st.sampled_from([0.0, 0.4])))
    expected = gradients(case, dtype, isa="scalar")
    for isa in ISAS[:-1]:
        assert_same_gradients(gradients(case, dtype, isa=isa, threads=draw.draw(st.integers(1, 3))), expected, isa)


# Training and inference


@each_isa
@each_dtype
@pytest.mark.parametrize("threads", [1, 2])
@by_name((*LAYERS, *SHARED))
def test_training_outputs_are_those_of_inference(case: Case, threads: int, dtype: str, isa: str) -> None:
    case = replace(case, dropout=0.0)
    data = make_data(case, dtype)
    lstm = layer_of(case, data, isa=isa, threads=threads)
    assert_same_bits(forward(lstm, data)[0], results(lstm, data))
    if not case.bidirectional:
        assert_same_bits(forward(lstm, data, keep_every=3)[0], results(lstm, data))


@each_dtype
def test_training_outputs_of_one_row_are_those_of_inference(dtype: str) -> None:
    # inference does the input product of one row in the shadow of the steps
    for isa in ISAS:
        case = Case("one-row-long", T=70, B=1, I=40, H=96)
        data = make_data(case, dtype)
        lstm = layer_of(case, data, isa=isa)
        assert_same_bits(forward(lstm, data)[0], results(lstm, data), isa)


# Rows


@each_isa
@each_dtype
@by_name(ROWS)
def test_a_row_s_gradients_do_not_see_its_batch(case: Case, dtype: str, isa: str) -> None:
    data = make_data(case, dtype)
    lstm = layer_of(case, data, isa=isa)
    alone = [train(lstm, *train_rows(case, data, [row])) for row in range(case.B)]
    for rows in range(2, case.B + 1):
        batch = train(lstm, *train_rows(case, data, slice(rows)))
        for name in OF_ROWS:
            for row in range(rows):
                assert_same_bits(batch[name][:, [row]], alone[row][name], f"{name}, row {row} of {rows}")


@each_isa
@settings(max_examples=20, deadline=None)
@given(order=st.permutations(range(12)), rows=st.integers(1, 12))
def test_a_row_s_gradients_do_not_see_its_position(isa: str, order: list[int], rows: int) -> None:
    case = Case("grad-positions", T=4, B=12, I=5, H=25, num_layers=2, ragged=True)
    data = make_data(case, "float32")
    lstm = layer_of(case, data, isa=isa)
    chosen = order[:rows]
    whole = train(lstm, case, data)
    part = train(lstm, *train_rows(case, data, chosen))
    for name in OF_ROWS:
        assert_same_bits(part[name], whole[name][:, chosen], name)


@each_dtype
@by_name(tuple(case for case in LAYERS if case.ragged and not case.batch_first))
def test_a_ragged_row_s_gradients_are_those_of_its_own_run(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    assert data.lengths is not None
    lstm = layer_of(case, data)
    whole = train(lstm, case, data)
    grad_output, grad_h_n, grad_c_n = make_gradients(case, dtype)
    for row, length in enumerate(data.lengths):
        *_, tape = lstm.forward(data.input[:length, row], (data.h_0[:, row], data.c_0[:, row]))
        incoming = grad_output[:length, row], grad_h_n[:, row], grad_c_n[:, row]
        alone = named(lstm.backward(tape, *incoming))  # type: ignore[arg-type]
        assert_same_bits(whole["input"][:length, row], alone["input"], f"row {row}")
        assert_same_bits((whole["h_0"][:, row], whole["c_0"][:, row]), (alone["h_0"], alone["c_0"]), f"row {row}")


def turned(array: Array) -> Array:
    """Swap rows and steps."""
    return np.ascontiguousarray(array.swapaxes(0, 1))


@each_dtype
@by_name((*(case for case in LAYERS if case.batch_first), *(case for case in DROPOUT if not case.batch_first)))
def test_batch_first_changes_the_axes_only(case: Case, dtype: str) -> None:
    # dropout included: the mask is the same
    data = make_data(case, dtype)
    expected = train(layer_of(case, data), case, data, seed=SEED)
    other = replace(case, batch_first=not case.batch_first)
    resets = None if data.resets is None else turned(data.resets)
    moved = replace(data, input=turned(data.input), resets=resets)
    grad_output, *others = make_gradients(case, dtype)
    got = train(layer_of(other, moved), other, moved, (turned(grad_output), *others), seed=SEED)  # type: ignore[arg-type]
    assert_same_gradients(got | {"input": got["input"].swapaxes(0, 1)}, expected)


# Dropout


@each_isa
@pytest.mark.parametrize("threads", [1, 2, 3])
@by_name(DROPOUT)
def test_a_seed_is_a_mask(case: Case, threads: int, isa: str) -> None:
    data = make_data(case, "float32")
    expected = forward(layer_of(case, data, isa="scalar"), data, seed=SEED)[0]
    lstm = layer_of(case, data, isa=isa, threads=threads)
    for _ in range(3):
        assert_same_bits(forward(lstm, data, seed=SEED)[0], expected)
    assert (forward(lstm, data, seed=SEED + 1)[0][0] != expected[0]).any()


# The caller's floating-point environment


ENVIRONMENT_CASE = Case("grad-environment", T=6, B=9, I=9, H=161, num_layers=2, dropout=0.3)


def environment_data(dtype: str, scale: str) -> tuple[Data, tuple[Array, Array, Array]]:
    """Return usual data and incoming gradients, or gradients that are denormal, so that flushing any of them shows."""
    data, incoming = make_data(ENVIRONMENT_CASE, dtype), make_gradients(ENVIRONMENT_CASE, dtype)
    if scale == "denormal":
        tiny = np.finfo(dtype).smallest_subnormal
        incoming = tuple(np.round(gradient * 999) * tiny for gradient in incoming)  # type: ignore[assignment]
    return data, incoming


@each_mode
@each_dtype
@pytest.mark.parametrize("scale", ["usual", "denormal"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_caller_s_environment_does_not_matter(threads: int, scale: str, dtype: str, mode: str) -> None:
    data, incoming = environment_data(dtype, scale)
    lstm = layer_of(ENVIRONMENT_CASE, data, threads=threads)
    expected = train(lstm, ENVIRONMENT_CASE, data, incoming, seed=SEED)
    assert expected["c_0"].any()
    with floating_point(mode):
        got = train(lstm, ENVIRONMENT_CASE, data, incoming, seed=SEED)
    assert_same_gradients(got, expected)


@each_mode
@pytest.mark.parametrize("scale", ["usual", "denormal"])
def test_the_caller_s_environment_does_not_matter_to_sums_over_pieces(scale: str, mode: str) -> None:
    data, (grad_output, *others) = environment_data("float32", scale)
    lstm = layer_of(ENVIRONMENT_CASE, data)

    def run() -> tuple[Named, Named]:
        sparse = train(lstm, ENVIRONMENT_CASE, data, (grad_output, *others), seed=SEED, keep_every=2)
        *_, state, one = lstm.forward(data.input[:3], data.hx, seed=SEED)
        *_, two = lstm.forward(data.input[3:], state, seed=SEED)
        made = lstm.backward_chunks([one, two], [grad_output[:3], grad_output[3:]], *others)  # type: ignore[list-item]
        return sparse, named(made._replace(input=np.concatenate(made.input)))

    expected = run()
    with floating_point(mode):
        got = run()
    for one, other in zip(got, expected, strict=True):
        assert_same_gradients(one, other)


# NaN and infinities


@each_isa
@each_dtype
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("B", [1, 2, 3, 7, 12])
def test_a_special_gradient_stays_in_its_row(B: int, value: float, threads: int, dtype: str, isa: str) -> None:
    case = Case(f"grad-special-{B}", T=4, B=B, I=5, H=17, P=9, num_layers=2)
    data = make_data(case, dtype)
    lstm = layer_of(case, data, isa=isa, threads=threads)
    clean = train(lstm, case, data)
    row = B // 2
    others = np.arange(B) != row
    for which in range(3):
        incoming = make_gradients(case, dtype)
        incoming[which][-1, row, 1] = value
        got = train(lstm, case, data, incoming)
        for name in OF_ROWS:
            assert_same_bits(got[name][:, others], clean[name][:, others], name)
            assert not np.isfinite(got[name][:, row]).all(), name
    # and nothing of it is left in the memory that the next call gets
    assert_same_gradients(train(lstm, case, data), clean)


@each_dtype
@by_name((*LAYERS, *DROPOUT))
def test_what_memory_held_before_does_not_matter(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    lstm = layer_of(case, data)
    expected = train(lstm, case, data, seed=SEED)
    nan = [np.full_like(array, np.nan) for array in (data.input, *data.hx)]
    poisoned = Data(*nan, data.state_dict, data.lengths, data.resets)
    incoming = tuple(np.full_like(array, np.nan) for array in make_gradients(case, dtype))
    for _ in range(3):
        train(lstm, case, poisoned, incoming, seed=SEED)  # type: ignore[arg-type]
        assert_same_gradients(train(lstm, case, data, seed=SEED), expected)


@each_isa
@each_dtype
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_value_is_too_much(dtype: str, isa: str, seed: int) -> None:
    case = Case("grad-wild", T=3, B=4, I=3, H=9)
    data = wild_data(case, dtype, seed)
    incoming = tuple(map(wild_values(dtype, seed + 1), make_gradients(case, dtype)))
    expected = train(layer_of(case, data, isa="scalar"), case, data, incoming)  # type: ignore[arg-type]
    got = train(layer_of(case, data, isa=isa), case, data, incoming)  # type: ignore[arg-type]
    assert_same_gradients(got, expected)


# Processes


def test_another_process_gets_the_same_bits() -> None:
    script = """
import hashlib, numpy as np, fastlstm
lstm = fastlstm.LSTM(5, 17, num_layers=2, dropout=0.25, bidirectional=True, seed=1)
x = np.random.default_rng(0).standard_normal((30, 9, 5)).astype(np.float32)
output, _, tape = lstm.forward(x, lengths=[30, 0, 7, 30, 1, 22, 3, 9, 29], seed=3)
made = lstm.backward(tape, output)
digest = hashlib.sha256()
for gradient in (made.input, made.h_0, made.c_0, *made.parameters.values()):
    digest.update(gradient.tobytes())
print(digest.hexdigest())
"""
    digests = {run_python(script, FASTLSTM_ISA=isa) for isa in ISAS}
    assert len(digests) == 1
