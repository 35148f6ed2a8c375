"""PackedSequence in and out, and lengths= and resets=, against torch's own and against the pieces run alone."""

import numpy as np
import pytest

from tests.support import each_dtype
from tests.torch.support import assert_equal_bits, assert_refused_alike, assert_same_values, import_torch, twins

torch = import_torch()

from torch.nn.utils.rnn import (  # noqa: E402
    PackedSequence,
    pack_padded_sequence,
    pack_sequence,
    pad_packed_sequence,
)

import fastlstm.torch  # noqa: E402  torch first

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's, about its own code

UNSORTED = [3, 7, 1, 5, 7]
SORTED = sorted(UNSORTED, reverse=True)
T, B, I, H = 7, 5, 4, 6
CONFIGURATIONS = (
    {},
    {"batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "bidirectional": True, "proj_size": 3, "bias": False, "batch_first": True},
)
each_configuration = pytest.mark.parametrize("options", CONFIGURATIONS, ids=str)


def states(options, dtype):
    n = options.get("num_layers", 1) * (1 + options.get("bidirectional", False))
    return torch.randn(n, B, options.get("proj_size") or H, dtype=dtype), torch.randn(n, B, H, dtype=dtype)


def padded(options, dtype=torch.float32):
    return torch.randn((B, T, I) if options.get("batch_first") else (T, B, I), dtype=dtype)


@each_dtype
@each_configuration
@pytest.mark.parametrize(("lengths", "enforce_sorted"), [(SORTED, True), (SORTED, False), (UNSORTED, False)])
def test_packed_sequences(options, dtype, lengths, enforce_sorted):
    theirs, ours = twins(torch, I, H, dtype=getattr(torch, dtype), **options)
    x = padded(options, theirs.weight_ih_l0.dtype)
    first = options.get("batch_first", False)
    packed = pack_padded_sequence(x, torch.tensor(lengths), first, enforce_sorted)
    for hx in (None, states(options, x.dtype)):
        expected, got = theirs(packed, hx), ours(packed, hx)
        assert ours.fallback is None
        assert isinstance(got[0], PackedSequence)
        assert_same_values(got, expected)
        assert_same_values(pad_packed_sequence(got[0], first), pad_packed_sequence(expected[0], first))
        assert_equal_bits(got[1], ours(x, hx, lengths=lengths)[1])


def test_packed_sequences_of_unequal_tensors():
    theirs, ours = twins(torch, I, H)
    packed = pack_sequence([torch.randn(n, I) for n in UNSORTED], enforce_sorted=False)
    assert_same_values(ours(packed), theirs(packed))


def test_gradients_through_packed_sequences():
    found = []
    for module in twins(torch, I, H, num_layers=2, bidirectional=True):
        torch.manual_seed(3)
        x = torch.randn(T, B, I, requires_grad=True)
        hx = tuple(torch.randn(4, B, H, requires_grad=True) for _ in range(2))
        output, (h_n, c_n) = module(pack_padded_sequence(x, torch.tensor(UNSORTED), enforce_sorted=False), hx)
        loss = (output.data * torch.randn_like(output.data)).sum() + (h_n * torch.randn_like(h_n)).sum() + c_n.sum()
        found.append(torch.autograd.grad(loss, [x, *hx, *module.parameters()]))
    assert_same_values(*found[::-1], "gradients, torch")


def test_a_packed_sequence_longer_than_its_data_is_refused():
    _, ours = twins(torch, I, H)
    packed = pack_padded_sequence(torch.randn(3, 2, I), torch.tensor([5, 3]))
    with pytest.raises(ValueError, match="lengths longer than the padded data"):
        ours(packed)


def test_what_torch_refuses_of_packed_input_is_refused_alike():
    theirs, ours = twins(torch, I, H)
    packed = pack_padded_sequence(torch.randn(T, B, I + 1), torch.tensor(SORTED))
    assert_refused_alike(lambda: theirs(packed), lambda: ours(packed))
    packed = pack_padded_sequence(torch.randn(T, B, I), torch.tensor(SORTED))
    short = torch.zeros(1, B - 1, H), torch.zeros(1, B - 1, H)
    assert_refused_alike(lambda: theirs(packed, short), lambda: ours(packed, short))


@pytest.mark.parametrize("gradients", [False, True])
def test_states_of_a_larger_batch_are_refused(gradients):
    """Of rows of one length torch's own code returns rows of h_n that nobody has written."""
    lstm = fastlstm.torch.LSTM(3, 4)
    packed = pack_padded_sequence(torch.randn(5, 2, 3), [5, 5])
    with torch.set_grad_enabled(gradients), pytest.raises(RuntimeError, match="batch size 2, got 3"):
        lstm(packed, (torch.zeros(1, 3, 4), torch.zeros(1, 3, 4)))


def test_lengths_and_resets_are_not_for_packed_input():
    _, ours = twins(torch, I, H)
    packed = pack_padded_sequence(torch.randn(T, B, I), torch.tensor(SORTED))
    for extra in ({"lengths": SORTED}, {"resets": np.zeros((T, B), bool)}):
        with pytest.raises(ValueError, match="PackedSequence has lengths of its own"):
            ours(packed, **extra)


# lengths= and resets=


@each_configuration
@pytest.mark.parametrize("of", [list, np.array, lambda n: torch.tensor(n, dtype=torch.int32), torch.tensor])
def test_lengths_give_each_row_as_it_is_alone(options, of):
    _, ours = twins(torch, I, H, **options)
    lengths = [3, 7, 0, 5, 1]
    x, hx = padded(options), states(options, torch.float32)
    first = options.get("batch_first", False)
    output, final = ours(x, hx, lengths=of(lengths))
    for row, length in enumerate(lengths):
        at, state = (x[row] if first else x[:, row]), tuple(t[:, row] for t in hx)
        y = output[row] if first else output[:, row]
        assert not y[length:].any()
        if length:
            alone, state = ours(at[:length], state)
            assert_equal_bits(y[:length], alone)
        assert_equal_bits(tuple(t[:, row] for t in final), state)


@pytest.mark.parametrize("batch_first", [False, True])
def test_resets_start_a_row_anew(batch_first):
    _, ours = twins(torch, I, H, num_layers=2, batch_first=batch_first)
    x, hx = torch.randn(T, B, I), (torch.randn(2, B, H), torch.randn(2, B, H))
    resets = torch.rand(T, B) < 0.3
    resets[0, 0] = resets[3, 1] = True
    turn = (lambda t: t.transpose(0, 1)) if batch_first else (lambda t: t)
    for given in (turn(resets), turn(resets).numpy()):
        output, final = ours(turn(x), hx, resets=given)
        for row in range(B):
            state, steps = tuple(t[:, row] for t in hx), []
            for t in range(T):
                if resets[t, row]:
                    state = tuple(torch.zeros_like(s) for s in state)
                y, state = ours(x[t : t + 1, row], state)
                steps.append(y)
            assert_equal_bits(turn(output)[:, row], torch.cat(steps))
            assert_equal_bits(tuple(t[:, row] for t in final), state)


def test_lengths_and_resets_of_unbatched_input():
    _, ours = twins(torch, I, H)
    x = torch.randn(T, I)
    resets = torch.zeros(T, dtype=torch.bool)
    resets[3] = True
    output, _ = ours(x, resets=resets)
    assert_equal_bits(output[3:], ours(x[3:])[0])


@pytest.mark.parametrize(
    ("extra", "error", "words"),
    [
        ({"lengths": [8, 1, 1, 1, 1]}, ValueError, "lengths"),
        ({"lengths": [-1, 1, 1, 1, 1]}, ValueError, "lengths"),
        ({"lengths": [1, 1]}, ValueError, "lengths"),
        ({"lengths": [1.0] * B}, TypeError, "lengths"),
        ({"resets": np.zeros((B, T), bool)}, ValueError, "resets"),
        ({"resets": np.zeros((T, B), np.int64)}, TypeError, "resets"),
    ],
)
def test_bad_lengths_and_resets(extra, error, words):
    _, ours = twins(torch, I, H)
    with pytest.raises(error, match=words):
        ours(torch.randn(T, B, I), **extra)


def test_resets_need_one_direction():
    _, ours = twins(torch, I, H, bidirectional=True)
    with pytest.raises(ValueError, match="resets need a unidirectional layer"):
        ours(torch.randn(T, B, I), resets=np.zeros((T, B), bool))


def test_lengths_never_fall_back():
    _, ours = twins(torch, I, H)
    with torch.autograd.forward_ad.dual_level(), pytest.raises(RuntimeError, match="cannot run here: inside a dual"):
        ours(torch.randn(T, B, I), lengths=[1] * B)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 3}], ids=str)
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_read_where_they_are_give_the_bits_of_padded_ones(options, batch_first, threads):
    """Without gradients packed rows are not padded; with gradients they are."""
    lstm = fastlstm.torch.LSTM(5, 40, batch_first=batch_first, threads=threads, **options)
    lengths = torch.tensor([3, 11, 1, 11, 7, 2, 2, 5, 9])
    x = torch.randn(9, 11, 5)
    packed = pack_padded_sequence(
        x if batch_first else x.transpose(0, 1), lengths, batch_first=batch_first, enforce_sorted=False
    )
    padded, states = lstm(packed)
    with torch.no_grad():
        in_place, states_in_place = lstm(packed)
    assert torch.equal(in_place.data, padded.data)
    assert all(torch.equal(a, b) for a, b in zip(states_in_place, states, strict=True))


@pytest.mark.parametrize("batch_sizes", [[2, 3], [6, -1]])
def test_batch_sizes_that_cannot_be_are_refused(batch_sizes):
    packed = PackedSequence(torch.randn(sum(batch_sizes), 5), torch.tensor(batch_sizes))
    with torch.no_grad(), pytest.raises(RuntimeError):
        fastlstm.torch.LSTM(5, 7)(packed)
