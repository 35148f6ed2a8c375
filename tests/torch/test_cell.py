"""fastlstm.torch.LSTMCell: torch's values in every shape and layout, its gradients, and the layer's bits."""

import pytest

from tests.cases import CELLS, make_data
from tests.support import assert_same_bits, by_name, cell_of, each_dtype
from tests.torch.support import assert_equal_bits, assert_same_values, import_torch, twins

torch = import_torch()

import fastlstm.torch as fast  # noqa: E402  torch first


@each_dtype
@by_name(CELLS)
def test_a_step_gives_torchs_values_and_the_bits_of_fastlstm(case, dtype):
    data = make_data(case, dtype)
    theirs, ours = twins(torch, case.I, case.H, case.bias, cell=True, dtype=getattr(torch, dtype))
    state = {name.removesuffix("_l0"): torch.from_numpy(array) for name, array in data.state_dict.items()}
    theirs.load_state_dict(state)
    ours.load_state_dict(state)
    x, h, c = (torch.from_numpy(array[0]) for array in (data.input, data.h_0, data.c_0))
    expected = cell_of(case, data)(data.input[0], (data.h_0[0], data.c_0[0]))
    for call in ((x, (h, c)), (x, [h, c]), (x,), (x[0], (h[0], c[0])), (x[0],)):
        for grad in (False, True, False):  # without autograd the second call takes the shortest way
            with torch.set_grad_enabled(grad):
                got = ours(*call)
                assert_same_values(got, theirs(*call))
            assert ours.fallback is None
            if len(call) > 1 and call[0] is x:
                assert_same_bits(tuple(t.detach().numpy() for t in got), expected)


@pytest.mark.parametrize("grad", [False, True])
def test_layouts_do_not_change_a_bit(grad):
    _, ours = twins(torch, 4, 4, cell=True)
    x, h, c = torch.randn(3, 4, 4)
    with torch.set_grad_enabled(grad):
        expected = ours(x, (h, c))
        for layout in (lambda t: t.t().contiguous().t(), lambda t: torch.stack([t, t], -1)[..., 0]):
            assert not layout(x).is_contiguous()
            assert_equal_bits(ours(layout(x), (layout(h), layout(c))), expected)
        row = torch.randn(1, 4)
        assert_equal_bits(ours(row.expand(4, 4), (h, c)), ours(row.repeat(4, 1), (h, c)))


def test_no_rows():
    theirs, ours = twins(torch, 4, 3, cell=True)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            assert_same_values(ours(torch.zeros(0, 4)), theirs(torch.zeros(0, 4)))


def test_steps_have_the_bits_of_the_layer():
    cell, lstm = fast.LSTMCell(4, 3), fast.LSTM(4, 3)
    lstm.load_state_dict({f"{name}_l0": tensor for name, tensor in cell.state_dict().items()})
    x = torch.randn(9, 2, 4)
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            hx, outputs = None, []
            for step in x:
                hx = cell(step, hx)
                outputs.append(hx[0])
            output, final = lstm(x)
        assert_equal_bits(torch.stack(outputs), output)
        assert_equal_bits([t[None] for t in hx], final)


@each_dtype
@pytest.mark.parametrize("bias", [False, True])
def test_gradients_through_a_loop(bias, dtype):
    found = []
    for module in twins(torch, 4, 3, bias, cell=True, dtype=getattr(torch, dtype)):
        torch.manual_seed(2)
        x = torch.randn(6, 2, 4, dtype=module.weight_ih.dtype, requires_grad=True)
        start = tuple(torch.randn(2, 3, dtype=x.dtype, requires_grad=True) for _ in range(2))
        hx, loss = start, 0
        for step in x:
            hx = module(step, hx)
            loss = loss + (hx[0] * torch.randn_like(hx[0])).sum() + hx[1].square().sum()
        found.append(torch.autograd.grad(loss, [x, *start, *module.parameters()]))
    assert_same_values(*found[::-1], "gradients, torch")


def test_gradcheck():
    cell = fast.LSTMCell(3, 2, dtype=torch.float64)
    x, h, c = (torch.randn(2, n, dtype=torch.float64, requires_grad=True) for n in (3, 2, 2))
    names, weights = zip(*cell.named_parameters(), strict=True)

    def step(x, h, c, *weights):
        new = {name: weight.clone() for name, weight in zip(names, weights, strict=True)}
        return torch.func.functional_call(cell, new, (x, (h, c)))

    assert torch.autograd.gradcheck(step, (x, h, c, *weights))
    assert torch.autograd.gradgradcheck(step, (x, h, c, *weights))
    assert cell.fallback is None


def test_a_new_state_reads_what_was_written_in_place():
    theirs, ours = twins(torch, 4, 3, cell=True)
    x, h, c = torch.randn(2, 4), torch.zeros(2, 3), torch.zeros(2, 3)
    with torch.no_grad():
        for _ in range(3):
            assert_same_values(ours(x, (h, c)), theirs(x, (h, c)))
            x.add_(1)
            h.add_(0.5)
            c.sub_(0.5)
