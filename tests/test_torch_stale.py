"""Whatever changes the parameters, the next call sees it: the packed copies are never stale."""

import copy

import pytest
from support_torch import assert_same_values, import_torch, twins

torch = import_torch()

import fastlstm.torch as fast  # noqa: E402  torch first


def train(make):
    def change(module):
        optimizer = make(module.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            torch.manual_seed(3)
            found = module(torch.randn(3, 4) if isinstance(module, torch.nn.LSTMCell) else torch.randn(6, 3, 4))
            found[0].square().sum().backward()
            optimizer.step()

    return change


def each(work):
    def change(module):
        for parameter in module.parameters():
            work(parameter)

    return change


def numpy_view(parameter):
    array = parameter.detach().numpy()
    array *= 1.5


def orthogonal(module):
    for parameter in module.parameters():
        if parameter.dim() > 1:
            torch.manual_seed(1)
            torch.nn.init.orthogonal_(parameter)


def data_is(parameter):
    parameter.data = parameter.data * 1.5


def swapped(module):
    for name, parameter in list(module.named_parameters()):
        setattr(module, name, torch.nn.Parameter(parameter.detach() * 1.5))


def loaded(assign):
    def change(module):
        module.load_state_dict({name: t * 1.5 for name, t in module.state_dict().items()}, assign=assign)

    return change


def from_vector(module):
    vector = torch.nn.utils.parameters_to_vector(module.parameters())
    torch.nn.utils.vector_to_parameters(vector.detach() * 1.5, module.parameters())


def no_grad(work):
    def change(parameter):
        with torch.no_grad():
            work(parameter)

    return change


CHANGES = {
    "SGD": train(lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    "SGD, fused": train(lambda p: torch.optim.SGD(p, 0.1, fused=True)),
    "Adam": train(lambda p: torch.optim.Adam(p, 0.1)),
    "Adam, foreach": train(lambda p: torch.optim.Adam(p, 0.1, foreach=True)),
    "Adam, fused": train(lambda p: torch.optim.Adam(p, 0.1, fused=True)),
    "AdamW, one at a time": train(lambda p: torch.optim.AdamW(p, 0.1, foreach=False)),
    "mul_": each(no_grad(lambda p: p.mul_(1.5))),
    "one element": each(no_grad(lambda p: p.view(-1)[3:4].add_(1))),
    ".data.mul_": each(lambda p: p.data.mul_(1.5)),
    ".data =": each(data_is),
    "NumPy": each(numpy_view),
    "set_": each(no_grad(lambda p: p.set_(p.detach() * 1.5))),
    "load_state_dict": loaded(assign=False),
    "load_state_dict, assign": loaded(assign=True),
    "new parameters": swapped,
    "vector_to_parameters": from_vector,
    "orthogonal_": orthogonal,
    "reset_parameters": lambda module: (torch.manual_seed(8), module.reset_parameters()),
    "foreach": lambda module: torch._foreach_mul_([p.data for p in module.parameters()], 1.5),
    "to and back": lambda module: (module.double(), each(numpy_view)(module), module.float()),
}


@pytest.mark.parametrize("cell", [False, True], ids=["LSTM", "LSTMCell"])
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_seen(change, grad, cell):
    theirs, ours = twins(torch, 4, 5, cell=cell, **({} if cell else {"num_layers": 2}))
    x = torch.randn(*((3, 4) if cell else (6, 3, 4)))
    call = (x, ours(x)) if cell else (x,)
    with torch.set_grad_enabled(grad):
        for _ in range(2):
            before = ours(*call)[0]
        for module in (theirs, ours):
            with torch.enable_grad():
                change(module)
        for _ in range(2):
            got = ours(*call)
            assert not torch.equal(got[0], before)
            assert_same_values(got, theirs(*call), "torch, trained")
    assert ours.fallback is None


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize("kind", ["old", "parametrize"])
def test_weight_norm(kind):
    norm = torch.nn.utils.weight_norm if kind == "old" else torch.nn.utils.parametrizations.weight_norm
    theirs, ours = twins(torch, 4, 5)
    x = torch.randn(6, 3, 4)
    ours(x)
    found = []
    for module in (theirs, ours):
        norm(module, "weight_hh_l0")
        steps = []
        optimizer = torch.optim.SGD(module.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            output, _ = module(x)
            output.square().sum().backward()
            optimizer.step()
            steps.append(output)
        found.append(steps)
    assert ours.fallback is None
    assert_same_values(*found[::-1], "torch, trained")


def test_an_average_of_models():
    found = []
    for module in twins(torch, 4, 5):
        x = torch.ones(6, 3, 4)
        average = torch.optim.swa_utils.AveragedModel(
            module, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.5)
        )
        steps = []
        for _ in range(3):
            steps.append(average(x)[0])
            each(no_grad(lambda p: p.mul_(1.5)))(module)
            average.update_parameters(module)
        steps.append(average(x)[0])
        found.append(steps)
    assert_same_values(*found[::-1])
    assert not torch.equal(found[1][-1], found[1][-2])


def test_an_address_that_is_used_again():
    ours = fast.LSTM(4, 5)
    theirs = torch.nn.LSTM(4, 5)
    x = torch.ones(6, 3, 4)
    addresses = []
    for step in range(30):
        for name, parameter in list(theirs.named_parameters()):
            torch.manual_seed(step)
            new = torch.randn_like(parameter)
            getattr(theirs, name).data = new.clone()
            if step % 2:
                getattr(ours, name).data = new
            else:
                setattr(ours, name, torch.nn.Parameter(new))
        del new, parameter
        addresses.append(ours.weight_ih_l0.data_ptr())
        assert_same_values(ours(x), theirs(x), "torch, trained")
    assert len(set(addresses)) < len(addresses), "no address came again: nothing was tested"


def test_a_module_made_where_another_one_was():
    x = torch.ones(6, 3, 4)
    for seed in range(20):
        theirs, ours = twins(torch, 4, 5, seed=seed)
        assert_same_values(ours(x), theirs(x))
        del theirs, ours


def test_a_change_between_forward_and_backward_of_a_copy_is_not_seen():
    ours = fast.LSTM(4, 5)
    x = torch.randn(6, 3, 4)
    expected = torch.autograd.grad(ours(x)[0].sum(), list(ours.parameters()))
    loss = ours(x)[0].sum()
    other = copy.deepcopy(ours)
    each(no_grad(lambda p: p.mul_(2)))(other)
    other(x)
    for one, wanted in zip(torch.autograd.grad(loss, list(ours.parameters())), expected, strict=True):
        assert torch.equal(one, wanted)
