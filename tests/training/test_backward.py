"""Gradients of the compiled layers: against the float64 reference, and differences of their own outputs."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastlstm
from tests.cases import (
    CELLS,
    DROPOUT,
    LAYERS,
    SATURATED,
    TOLERANCES,
    Array,
    Case,
    Data,
    assert_close,
    assert_gradients_close,
    find,
    make_data,
    make_gradients,
)
from tests.support import DTYPES, assert_same_bits, by_name, each_dtype, each_isa, each_layout
from tests.training.support import (
    OF_ROWS,
    WEIGHED,
    assert_same_gradients,
    expected_train,
    forward,
    keep_masks,
    layer_of,
    named,
    relative_errors,
    train,
    train_rows,
    with_masks,
)

# Where the sums of weight gradients are cut, at 192 rows, and sizes around panels of 8 and of 32.
SUMS = (
    *(Case(f"sum-{n}", T=n, B=1, I=3, H=9) for n in (191, 192, 193, 400)),
    Case("sum-rows", T=12, B=33, I=33, H=31),
    Case("sum-ragged", T=40, B=12, I=7, H=17, P=5, ragged=True, num_layers=2),
    *(Case(f"odd-{n}", T=4, B=3, I=n + 1, H=n) for n in (7, 8, 15, 16, 17, 31, 32, 33, 64, 65)),
    *(Case(f"odd-projection-{n}", T=4, B=2, I=3, H=n + 9, P=n) for n in (7, 8, 9, 31, 32, 33, 65)),
)
ONE_WAY = tuple(case for case in (*LAYERS, *DROPOUT) if not case.bidirectional and case.T < 100)
SEED = 2**64 - 3


# Against the reference


@each_dtype
@by_name((*CELLS, *LAYERS, *SUMS))
def test_gradients_are_those_of_the_reference(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    got = train(layer_of(case, data), case, data)
    for name, gradient in got.items():
        assert gradient.dtype == dtype, name
    assert_gradients_close(got, expected_train(case, data), "gradients")


@each_dtype
@by_name(SATURATED)
def test_gradients_through_saturated_gates(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    assert_gradients_close(train(layer_of(case, data), case, data), expected_train(case, data), "gradients, saturated")


@each_isa
@each_dtype
@by_name(DROPOUT)
def test_gradients_with_dropout(case: Case, dtype: str, isa: str) -> None:
    data = with_masks(case, make_data(case, dtype), SEED)
    got = train(layer_of(case, data, isa=isa), case, data, seed=SEED)
    assert_gradients_close(got, expected_train(case, data), "gradients")


def test_each_gradient_has_the_shape_of_what_it_belongs_to() -> None:
    for case in LAYERS:
        data = make_data(case, "float32")
        lstm = layer_of(case, data)
        got = train(lstm, case, data)
        belong = {"input": data.input, "h_0": data.h_0, "c_0": data.c_0, **lstm.state_dict()}
        assert {name: array.shape for name, array in got.items()} == {n: a.shape for n, a in belong.items()}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_gradients_of_any_configuration(draw: st.DataObject) -> None:
    sizes, few = st.integers(1, 40), st.integers(1, 3)
    H = draw.draw(sizes)
    bidirectional = draw.draw(st.booleans())
    case = Case(
        f"any-{draw.draw(st.integers(0, 1000))}",
        T=draw.draw(st.integers(0, 9)),
        B=draw.draw(st.integers(0, 9)),
        I=draw.draw(sizes),
        H=H,
        P=draw.draw(st.integers(0, H - 1)),
        num_layers=draw.draw(few),
        bidirectional=bidirectional,
        bias=draw.draw(st.booleans()),
        batch_first=draw.draw(st.booleans()),
        ragged=draw.draw(st.booleans()),
    )
    if case.num_layers > 1:
        case = replace(case, dropout=draw.draw(st.sampled_from([0.0, 0.3, 1.0])))
    if not bidirectional and case.T and case.B:
        case = replace(case, resets=draw.draw(st.booleans()))
    data = make_data(replace(case, dropout=0.0), draw.draw(st.sampled_from(DTYPES)))
    data = with_masks(case, data, SEED) if case.dropout else data
    incoming = tuple(draw.draw(st.sampled_from([None, g])) for g in make_gradients(case, data.input.dtype))
    lstm = layer_of(case, data, threads=draw.draw(few), isa=draw.draw(st.sampled_from(fastlstm.isas())))
    got = train(lstm, case, data, incoming, seed=SEED)  # type: ignore[arg-type]
    assert_gradients_close(got, expected_train(case, data, incoming), "gradients")  # type: ignore[arg-type]


# Against differences of the compiled outputs


@by_name((find("everything"), find("resets-two-layers-projection"), find("dropout-three-layers-batch-first")))
def test_gradients_predict_what_the_outputs_do(case: Case) -> None:
    data = make_data(case, "float64")
    incoming = make_gradients(case, "float64")
    arguments = {"input": data.input, "h_0": data.h_0, "c_0": data.c_0, **data.state_dict}
    rng = np.random.default_rng(0)
    lstm = layer_of(case, data)
    gradients = train(lstm, case, data, seed=SEED)

    def loss(changed: dict[str, Array]) -> float:
        weights = {name: changed[name] for name in data.state_dict}
        moved = Data(*(changed[name] for name in OF_ROWS), weights, data.lengths, data.resets)
        lstm.load_state_dict(weights)
        outputs, _ = forward(lstm, moved, seed=SEED)
        return sum(float((y * gradient).sum()) for y, gradient in zip(outputs, incoming, strict=True))

    for name, array in arguments.items():
        direction = rng.standard_normal(array.shape)
        direction /= np.linalg.norm(direction)
        at = [loss(arguments | {name: array + k * 5e-4 * direction}) for k in (-2, -1, 1, 2)]
        slope = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * 5e-4)
        assert_close((gradients[name] * direction).sum(), slope, "gradients, differences")


# What goes in


@each_dtype
@by_name((find("everything"), find("resets-two-layers-projection"), find("ragged-two-layers-bidirectional")))
def test_a_gradient_that_is_not_given_is_zero(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    lstm = layer_of(case, data)
    given_ = make_gradients(case, dtype)
    for k in range(8):
        some = tuple(gradient if k >> n & 1 else None for n, gradient in enumerate(given_))
        zeros = tuple(gradient if k >> n & 1 else np.zeros_like(gradient) for n, gradient in enumerate(given_))
        got = train(lstm, case, data, some)  # type: ignore[arg-type]
        assert_same_gradients(got, train(lstm, case, data, zeros), f"given: {k:03b}")  # type: ignore[arg-type]
        assert any(gradient.any() for gradient in got.values()) == (k > 0)


@each_dtype
def test_states_that_are_not_given_are_zeros(dtype: str) -> None:
    case = find("two-layers-projection")
    data = make_data(case, dtype)
    lstm = layer_of(case, data)
    zeros = replace(data, h_0=np.zeros_like(data.h_0), c_0=np.zeros_like(data.c_0))
    _, _, tape = lstm.forward(data.input)
    got = named(lstm.backward(tape, *make_gradients(case, dtype)))
    assert_same_gradients(got, train(lstm, case, zeros))


@each_dtype
@by_name((find("everything"), find("resets-two-layers-projection"), find("plain")))
def test_unbatched_is_a_batch_of_one(case: Case, dtype: str) -> None:
    case = replace(case, batch_first=False, ragged=False)
    one, part, incoming = train_rows(case, make_data(case, dtype), [0])
    lstm = layer_of(one, part)
    expected = train(lstm, one, part, incoming)
    resets = None if part.resets is None else part.resets[:, 0]
    *_, tape = lstm.forward(part.input[:, 0], (part.h_0[:, 0], part.c_0[:, 0]), lengths=case.T - 1, resets=resets)
    *_, other = lstm.forward(part.input, part.hx, lengths=[case.T - 1], resets=part.resets)
    assert named(lstm.backward(other))["input"].shape == (case.T, 1, case.I)
    assert named(lstm.backward(tape))["input"].shape == (case.T, case.I)
    *_, tape = lstm.forward(part.input[:, 0], (part.h_0[:, 0], part.c_0[:, 0]), resets=resets)
    got = named(lstm.backward(tape, *(gradient[:, 0] for gradient in incoming if gradient is not None)))
    for name in OF_ROWS:
        expected[name] = expected[name][:, 0]
    assert_same_gradients(got, expected)


@each_layout
@by_name((find("plain"), find("everything")))
def test_the_layout_of_incoming_gradients_is_free(case: Case, layout: Any) -> None:
    data = make_data(case, "float32")
    lstm = layer_of(case, data)
    incoming = tuple(layout(gradient) for gradient in make_gradients(case, "float32"))
    kept = [gradient.copy() for gradient in incoming]
    assert_same_gradients(train(lstm, case, data, incoming), train(lstm, case, data))  # type: ignore[arg-type]
    for gradient, before in zip(incoming, kept, strict=True):
        assert_same_bits(np.ascontiguousarray(gradient), np.ascontiguousarray(before))


def test_lists_are_taken_as_gradients() -> None:
    case = find("plain")
    data = make_data(case, "float32")
    incoming = tuple(np.round(gradient, 1) for gradient in make_gradients(case, "float32"))
    lists = tuple(gradient.tolist() for gradient in incoming)
    lstm = layer_of(case, data)
    assert_same_gradients(train(lstm, case, data, lists), train(lstm, case, data, incoming))  # type: ignore[arg-type]


@each_dtype
@by_name(tuple(case for case in (*LAYERS, *SUMS, *DROPOUT) if case.ragged))
def test_past_a_row_s_length_nothing_is_read_and_the_gradient_is_zero(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    assert data.lengths is not None
    lstm = layer_of(case, data, threads=2)
    expected = train(lstm, case, data, seed=SEED)
    grad_output, *others = make_gradients(case, dtype)
    x = data.input.copy()
    for array in (grad_output, x):
        by_row = array if case.batch_first else array.swapaxes(0, 1)
        for row, length in enumerate(data.lengths):
            by_row[row, length:] = np.nan
    got = train(lstm, case, replace(data, input=x), (grad_output, *others), seed=SEED)  # type: ignore[arg-type]
    assert_same_gradients(got, expected)
    by_row = got["input"] if case.batch_first else got["input"].swapaxes(0, 1)
    for row, length in enumerate(data.lengths):
        assert not by_row[row, length:].any()


@each_dtype
def test_a_row_of_no_steps_hands_its_gradients_through(dtype: str) -> None:
    case = find("ragged-two-layers-bidirectional")
    data = replace(make_data(case, dtype), lengths=np.zeros(case.B, int))
    incoming = make_gradients(case, dtype)
    got = train(layer_of(case, data), case, data, incoming)
    assert_same_bits((got["h_0"], got["c_0"]), incoming[1:])
    for name in set(got) - {"h_0", "c_0"}:
        assert not got[name].any(), name


@each_dtype
@by_name((find("resets"), find("resets-two-layers-projection")))
def test_no_gradient_passes_a_reset(case: Case, dtype: str) -> None:
    data = make_data(case, dtype)
    at = case.T // 2  # row 0 is reset here and, as every row has been made to be, at the start
    resets = np.zeros((case.T, case.B), bool)
    resets[at] = True
    data = replace(data, resets=resets)
    grad_output, grad_h_n, grad_c_n = make_gradients(case, dtype)
    grad_output[:at] = 0
    got = train(layer_of(case, data), case, data, (grad_output, grad_h_n, grad_c_n))
    assert not got["input"][:at].any()
    assert not got["h_0"].any()
    assert not got["c_0"].any()
    assert got["input"][at:].any()


# Pieces


@each_dtype
@pytest.mark.parametrize("keep_every", [1, 2, 5, 100])
@by_name(ONE_WAY)
def test_states_kept_every_few_steps_give_the_same_gradients(case: Case, keep_every: int, dtype: str) -> None:
    data = make_data(case, dtype)
    lstm = layer_of(case, data)
    dense, tape = forward(lstm, data, seed=SEED)
    sparse, sparse_tape = forward(lstm, data, seed=SEED, keep_every=keep_every)
    assert_same_bits(sparse, dense)
    incoming = make_gradients(case, dtype)
    got = named(lstm.backward(sparse_tape, *incoming))
    masked = with_masks(case, data, SEED) if case.dropout else data
    assert_gradients_close(got, expected_train(case, masked, incoming), "gradients")
    if keep_every >= case.T:
        assert_same_gradients(got, named(lstm.backward(tape, *incoming)))


@each_dtype
@pytest.mark.parametrize("keep_every", [None, 2])
@by_name((find("plain"), find("two-layers-projection"), find("batch-first"), Case("long", T=30, B=3, I=5, H=17)))
def test_chunks_give_the_gradients_of_the_whole(case: Case, keep_every: int | None, dtype: str) -> None:
    data = make_data(case, dtype)
    lstm = layer_of(case, data)
    axis = 1 if case.batch_first else 0
    incoming = make_gradients(case, dtype)
    expected = {name: array.astype(float) for name, array in train(lstm, case, data).items()}
    for cuts in ([], [1], [3, 3], [2, 5, 6]):
        state, tapes = data.hx, []
        for x in np.split(data.input, cuts, axis):
            _, state, tape = lstm.forward(x, state, keep_every=keep_every)
            tapes.append(tape)
        made = lstm.backward_chunks(tapes, np.split(incoming[0], cuts, axis), *incoming[1:])  # type: ignore[arg-type]
        assert [x.shape for x in made.input] == [x.shape for x in np.split(data.input, cuts, axis)]
        got = named(made._replace(input=np.concatenate(made.input, axis)))
        assert_gradients_close(got, expected, "gradients, regrouped")
        assert all(tape is not None and tape.used for tape in tapes)


def test_one_chunk_is_plain_truncation() -> None:
    case = find("two-layers-projection")
    data = make_data(case, "float32")
    lstm = layer_of(case, data)
    _, tape = forward(lstm, data)
    grad_output, *others = make_gradients(case, "float32")
    (of_input,), *rest = lstm.backward_chunks([tape], [grad_output], *others)  # type: ignore[list-item]
    got = named(fastlstm.Gradients(of_input, *rest))
    assert_same_gradients(got, train(lstm, case, data))


# Dropout


@each_dtype
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_mask_is_the_documented_hash(share: float, dtype: str) -> None:
    # Layer 1 shows what it reads: i = o = 1, f = 0, so that h = tanh(tanh(x / 8)), which is 0 only for x = 0.
    H = 6
    case = Case("mask", T=9, B=5, I=4, H=H, num_layers=2, dropout=share)
    data = make_data(case, dtype)
    weights = data.state_dict | {
        name: np.zeros_like(data.state_dict[name]) for name in data.state_dict if "_l1" in name
    }
    weights["weight_ih_l1"][2 * H : 3 * H] = np.eye(H) / 8
    weights["bias_ih_l1"][:] = np.repeat([1000, -1000, 0, 1000], H)
    lstm = layer_of(case, replace(data, state_dict=weights))
    for seed in (0, 1, SEED):
        (output, *_), tape = forward(lstm, data, seed=seed)
        assert tape.seed == seed
        (mask,) = keep_masks(case, seed, dtype)
        np.testing.assert_array_equal(output != 0, mask != 0)
        assert set(np.unique(mask)) == {0, np.dtype(dtype).type(1 / (1 - share))}


def test_masks_have_the_share_asked_for_and_are_independent() -> None:
    # Both counts are binomial: six standard deviations would be met once in 5e8 masks.
    for share in (0.1, 0.5, 0.75):
        case = Case("share", T=40, B=30, I=1, H=50, num_layers=3, dropout=share)
        first, second = (mask == 0 for mask in keep_masks(case, 7, "float32"))
        (other, _) = (mask == 0 for mask in keep_masks(case, 8, "float32"))
        assert abs(first.mean() - share) < 6 * np.sqrt(share * (1 - share) / first.size)
        both = share**2
        for one, two in (
            (first, second),
            (first, other),
            (first[1:], first[:-1]),
            (first[:, 1:], first[:, :-1]),
            (first[..., 1:], first[..., :-1]),
        ):
            assert abs((one & two).mean() - both) < 6 * np.sqrt(both * (1 - both) / one.size)


def test_a_seed_that_is_not_given_is_fresh_and_told() -> None:
    case = find("dropout")
    data = make_data(case, "float32")
    lstm = layer_of(case, data)
    tapes = [forward(lstm, data)[1] for _ in range(3)]
    assert len({tape.seed for tape in tapes}) == 3
    incoming = make_gradients(case, "float32")
    for tape in tapes:
        expected = expected_train(case, with_masks(case, data, tape.seed))
        assert_gradients_close(named(lstm.backward(tape, *incoming)), expected, "gradients")


def test_dropout_of_everything_cuts_the_layers() -> None:
    case = replace(find("dropout"), dropout=1.0)
    data = make_data(replace(case, dropout=0.0), "float32")
    lstm = layer_of(case, data)
    incoming = make_gradients(case, "float32")
    incoming[1][0] = incoming[2][0] = 0  # nothing comes in but above
    got = train(lstm, case, data, incoming)
    for name, gradient in got.items():
        below = name == "input" or name.endswith("_l0") or name == "weight_ih_l1"
        assert gradient.any() != below, name
    assert not got["h_0"][0].any()


def test_dropout_is_for_training_only() -> None:
    case = find("dropout")
    data = make_data(case, "float32")
    lstm = layer_of(case, data)
    plain = lstm(data.input, data.hx)
    output, states, tape = lstm.forward(data.input, data.hx, train=False)
    assert tape is None
    assert_same_bits((output, *states), (plain[0], *plain[1]))
    assert (forward(lstm, data, seed=0)[0][0] != plain[0]).any()


@by_name(DROPOUT)
def test_pieces_of_a_sequence_have_its_mask(case: Case) -> None:
    if case.bidirectional:
        case = replace(case, bidirectional=False)
    data = make_data(case, "float32")
    lstm = layer_of(case, data)
    expected = forward(lstm, data, seed=SEED)[0]
    for keep_every in (1, 3):
        assert_same_bits(forward(lstm, data, seed=SEED, keep_every=keep_every)[0], expected)


@by_name(WEIGHED)
def test_weight_gradients_of_long_sums_are_exact(case: Case) -> None:
    data = make_data(case, "float32")
    errors = relative_errors(train(layer_of(case, data), case, data), expected_train(case, data))
    assert max(errors.values()) <= TOLERANCES["gradients, sums"].float32, errors
