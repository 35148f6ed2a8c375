"""Dropout between the layers: which share of what is zeroed, what the rest becomes, and torch.manual_seed."""

import math

import pytest

from tests.torch.support import assert_equal_bits, assert_same_values, import_torch, twins

torch = import_torch()

import fastlstm.torch as fast  # noqa: E402  torch first

H = 8


def open_gates(module):
    """Set two layers' parameters: the first's output is constant, the second's cell sees each input alone.

    Unit u of the second is tanh(tanh(2 x_u)), and keeps nothing from step to step.
    """
    big = 1e4
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        i, f, g, o = (slice(k * H, (k + 1) * H) for k in range(4))
        for bias in (module.bias_ih_l0, module.bias_ih_l1):
            bias[i], bias[f], bias[o] = big, -big, big
        module.bias_ih_l0[g] = 0.5
        module.weight_ih_l1[g] = 2 * torch.eye(H)
    return module


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_the_share_of_zeros_and_the_scale_of_the_rest(share):
    theirs, ours = (open_gates(m) for m in twins(torch, 2, H, num_layers=2, dropout=share, dtype=torch.float64))
    x = torch.zeros(64, 32, 2, dtype=torch.float64)
    torch.manual_seed(1)
    n = x.shape[0] * x.shape[1] * H
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            got, expected = ours(x)[0], theirs(x)[0]
        zeros = int((got == 0).sum())
        # a binomial count: six standard deviations would be met once in 5e8 draws
        assert abs(zeros - share * n) < 6 * math.sqrt(n * share * (1 - share))
        assert_same_values(got[got != 0].unique(), expected[expected != 0].unique()[:1])


def test_masks_differ_from_step_to_step_row_to_row_and_unit_to_unit():
    ours = open_gates(fast.LSTM(2, H, num_layers=2, dropout=0.5))
    kept = ours(torch.zeros(64, 32, 2))[0] != 0
    for axis in range(3):
        assert kept.unique(dim=axis).size(axis) == kept.size(axis)


def test_torchs_seed_decides():
    ours = fast.LSTM(4, 5, num_layers=3, dropout=0.5)
    x = torch.randn(6, 3, 4)
    torch.manual_seed(1)
    first, second = ours(x), ours(x)
    torch.manual_seed(1)
    with torch.no_grad():
        assert_equal_bits(ours(x), first)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    other = ours(x)
    torch.set_rng_state(state)
    assert_equal_bits(ours(x), second)
    assert not torch.equal(first[0], second[0])
    assert not torch.equal(first[0], other[0])


def test_the_default_device_does_not_matter():
    ours = fast.LSTM(4, 5, num_layers=2, dropout=0.5)
    x, found = torch.randn(6, 3, 4), []
    for device in ("cpu", "meta"):
        torch.manual_seed(2)
        with torch.device(device):
            found.append(ours(x))
    assert_equal_bits(*found)


@pytest.mark.parametrize("off", ["eval", "one layer", "zero"])
def test_no_dropout_where_torch_has_none(off):
    options = {
        "eval": {"num_layers": 2, "dropout": 0.5},
        "one layer": {"num_layers": 1},
        "zero": {"num_layers": 2, "dropout": 0.0},
    }[off]
    theirs, ours = twins(torch, 4, 5, **options)
    if off == "one layer":
        theirs.dropout = ours.dropout = 0.5
    for module in (theirs, ours):
        module.train(off != "eval")
    x = torch.randn(6, 3, 4)
    state = torch.get_rng_state()
    got = ours(x)
    assert torch.equal(torch.get_rng_state(), state), "a number was drawn"
    assert_same_values(got, theirs(x))


def test_everything_dropped():
    theirs, ours = twins(torch, 4, 5, num_layers=2, dropout=1.0)
    x = torch.randn(6, 3, 4, requires_grad=True)
    got = ours(x)
    assert_same_values(got, theirs(x))
    assert not torch.autograd.grad(got[0].sum(), x)[0].any()


@pytest.mark.parametrize("batch_first", [False, True])
def test_the_masks_do_not_depend_on_threads(batch_first):
    lstm = fast.LSTM(4, 40, num_layers=2, dropout=0.5, batch_first=batch_first)
    x = torch.randn(8, 8, 4)
    found = []
    for threads in (1, 2, 3):
        lstm.threads = threads
        torch.manual_seed(1)
        output, final = lstm(x)
        found.append([output, *final, *torch.autograd.grad(output.sum(), list(lstm.parameters()))])
    assert_equal_bits(found[1], found[0])
    assert_equal_bits(found[2], found[0])
