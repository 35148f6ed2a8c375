"""Whatever changes the parameters, the next call sees it: the packed copies are never stale."""

import copy
import itertools
from collections import OrderedDict

import numpy as np
import pytest

from tests.torch.support import assert_equal_bits, assert_same_values, import_torch, twins

torch = import_torch()

import fastlstm  # noqa: E402  torch first
import fastlstm.torch as fast  # noqa: E402
from fastlstm import _core  # noqa: E402


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
    for step in range(1000):  # as long as it takes: the allocator may have much else to hand out first
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
        if step >= 29 and len(set(addresses)) < len(addresses):
            break
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


# ---- writes past the version: nothing but the values tells of them ---------------------------------------------------


def padded(module, x):
    with torch.no_grad():
        return module(x)


def in_inference_mode(module, x):
    with torch.inference_mode():
        return module(x)


def packed(module, x):
    with torch.no_grad():
        return module(torch.nn.utils.rnn.pack_padded_sequence(x, [6, 3, 1]))


def trained(module, x, parameters=None):
    leaf = x.clone().requires_grad_()
    output = module(leaf)[0]
    parameters = list(module.parameters()) if parameters is None else parameters
    return output, torch.autograd.grad(output.square().sum(), [leaf, *parameters])


def trained_packed(module, x):
    output = module(torch.nn.utils.rnn.pack_padded_sequence(x, [6, 3, 1]))[0].data
    return output, torch.autograd.grad(output.square().sum(), list(module.parameters()))


def operator(module, x):
    if not isinstance(module, fast.LSTM):
        return padded(module, x)
    with torch.no_grad():
        return module._in_graph(x, None, None, None)


def states(x, expand):
    wide = (x[1, :, :1], x[2, :, :1])
    return tuple(t.expand(3, 5) if expand else t.repeat(1, 5) for t in wide)


def step(module, x):
    with torch.no_grad():
        return module(x[0], states(x, expand=True))


def fast_step(module, x):
    with torch.no_grad():
        return module(x[0], states(x, expand=False))


def trained_step(module, x):
    return trained(lambda leaf: module(leaf, states(x, expand=False)), x[0], list(module.parameters()))


LAYER_CALLS = (padded, in_inference_mode, packed, trained, trained_packed, operator)
CELL_CALLS = (step, fast_step, trained_step)
CALLS = [(False, call) for call in LAYER_CALLS] + [(True, call) for call in CELL_CALLS]

each_call = pytest.mark.parametrize(
    ("cell", "call"), CALLS, ids=[f"{'LSTMCell' if cell else 'LSTM'}-{call.__name__}" for cell, call in CALLS]
)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def made(cell, dtype, **options):
    options = {} if cell else {"num_layers": 2, **options}
    theirs, ours = twins(torch, 4, 5, cell=cell, dtype=dtype, **options)
    torch.manual_seed(9)
    return theirs, ours, torch.randn(6, 3, 4, dtype=dtype)


def assert_seen(change, theirs, ours, call, x):
    """Raise AssertionError unless a change of both is in the next call of ours; `change` writes past the version."""
    before = call(ours, x)
    versions = [p._version for p in ours.parameters() if not p.is_inference()]
    for module in (theirs, ours):
        change(module)
    assert versions == [p._version for p in ours.parameters() if not p.is_inference()]
    got = call(ours, x)
    assert_same_values(got, call(theirs, x), "gradients, torch")
    assert ours.fallback is None
    return before, got


@each_call
@each_dtype
def test_every_single_value_is_looked_at(cell, call, dtype):
    theirs, ours, x = made(cell, dtype)
    expected = call(ours, x)
    for name, parameter in ours.named_parameters():
        for k in range(parameter.numel()):
            for module in (theirs, ours):
                module.get_parameter(name).data.view(-1)[k] += 0.5
            last, expected = expected, call(ours, x)
            assert not all(map(np.array_equal, *map(_numbers, (last, expected)))), (name, k)
    assert_same_values(expected, call(theirs, x), "gradients, torch")
    assert ours.fallback is None


def _numbers(found):
    return [t.detach().numpy() for t in torch.utils._pytree.tree_leaves(found) if isinstance(t, torch.Tensor)]


def one_value(parameter):
    parameter.data.view(-1)[parameter.numel() // 2] = 0.7


def column(parameter):
    parameter.data[..., 1] += 0.25


def row(parameter):
    parameter.detach().numpy()[7] += 1


def pruned(parameter):
    mask = torch.rand(parameter.shape, generator=torch.Generator().manual_seed(4)) < 0.1
    parameter.data.masked_fill_(mask, 0)


def values_exchanged(parameter):
    flat = parameter.data.view(-1)
    flat[[0, 3]] = flat[[3, 0]]


def rows_exchanged(parameter):
    parameter.data[[2, 11]] = parameter.data[[11, 2]]


def one_sign(parameter):
    parameter.data.view(-1)[4].neg_()


WRITES = {
    "one value": one_value,
    "a column": column,
    "a row, through NumPy": row,
    "pruning": pruned,
    "clipping": lambda p: p.data.clamp_(-0.2, 0.2),
    "two values exchanged": values_exchanged,
    "two rows exchanged": rows_exchanged,
    "one sign": one_sign,
    "all signs": lambda p: p.data.neg_(),
    "zeros": lambda p: p.data.zero_(),
    "reversed": lambda p: p.data.copy_(p.data.flip(0)),
    "foreach": lambda p: torch._foreach_add_([p.data], 0.1),
    "an alias": lambda p: torch.from_dlpack(p.detach()).mul_(2),
}


@each_call
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("whole", [True, False], ids=["all", "one"])
def test_a_write_past_the_version_is_seen(cell, call, write, whole):
    """To all parameters, or to the last one alone: a bias."""
    theirs, ours, x = made(cell, torch.float32)

    def change(module):
        for parameter in list(module.parameters())[0 if whole else -1 :]:
            write(parameter)

    before, got = assert_seen(change, theirs, ours, call, x)
    assert not np.array_equal(_numbers(before)[0], _numbers(got)[0])


def in_one_buffer(module):
    flat = torch.cat([torch.zeros(1), *(p.detach().reshape(-1) for p in module.parameters())])
    at = 1  # no parameter lies on a boundary of more than its dtype's
    for parameter in module.parameters():
        parameter.data = flat[at : at + parameter.numel()].view_as(parameter)
        at += parameter.numel()
    module.flat = flat


def transposed(module):
    for parameter in module.parameters():
        parameter.data = parameter.data.t().contiguous().t()


def with_gaps(module):
    for parameter in module.parameters():
        wide = torch.zeros(*parameter.shape[:-1], parameter.shape[-1] + 3)
        parameter.data = wide[..., 1:-2].copy_(parameter.data)


def every_other(module):
    for parameter in module.parameters():
        parameter.data = torch.zeros(*parameter.shape, 2)[..., 1].copy_(parameter.data)


def overlapping(module):
    for parameter in module.parameters():
        parameter.data = parameter.data[:1].clone().expand_as(parameter)


def windows_of_one_row(module):
    for parameter in module.parameters():
        parameter.data = torch.arange(60.0).mul_(0.01).as_strided(parameter.shape, (1,) * parameter.dim())


def made_in_inference_mode(module):
    with torch.inference_mode():
        for name, parameter in list(module.named_parameters()):
            setattr(module, name, torch.nn.Parameter(parameter.clone(), requires_grad=False))


def plain_attributes(module):
    for name, parameter in list(module.named_parameters()):
        delattr(module, name)
        setattr(module, name, parameter.detach())


def assigned_transposed(module):
    state = {name: t.t().contiguous().t() for name, t in module.state_dict().items()}
    module.load_state_dict(state, assign=True)


def weights(module):
    return [getattr(module, name) for name in NAMES[isinstance(module, torch.nn.LSTMCell)]]


NAMES = {
    False: [f"{kind}_l{k}" for k in range(2) for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")],
    True: ["weight_ih", "weight_hh", "bias_ih", "bias_hh"],
}
LAYOUTS = (in_one_buffer, transposed, with_gaps, every_other, overlapping, windows_of_one_row)
LAYOUTS += (made_in_inference_mode, plain_attributes, assigned_transposed)


def last_value(weight):
    weight[(-1,) * weight.dim()] = 0.8


def all_values(weight):
    weight[tuple(slice(None) if stride else slice(1) for stride in weight.stride())].mul_(0.5)


def write_past(module, position, write):
    """Write to a weight without its version; what was made in inference mode has none."""
    weight = weights(module)[position]
    with torch.inference_mode(weight.is_inference()):
        write(weight if weight.is_inference() else weight.data)


@pytest.mark.parametrize("kind", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("write", [last_value, all_values])
@pytest.mark.parametrize(
    ("cell", "call"), [(False, padded), (False, packed), (False, operator), (True, fast_step), (True, step)]
)
def test_wherever_the_parameters_lie(kind, write, cell, call):
    theirs, ours, x = made(cell, torch.float32)
    for module in (theirs, ours):
        kind(module)
    call(ours, x)
    for position in range(len(weights(ours))):
        for module in (theirs, ours):
            write_past(module, position, write)
        assert_same_values(call(ours, x), call(theirs, x))
        assert ours.fallback is None


def test_a_write_to_the_buffer_that_the_parameters_are_views_of():
    theirs, ours, x = made(False, torch.float32)
    for module in (theirs, ours):
        in_one_buffer(module)
    for k in range(1, ours.flat.numel(), 7):
        before, _ = assert_seen(lambda module, k=k: module.flat[k].add_(0.3), theirs, ours, padded, x)
        assert not torch.equal(before[0], padded(ours, x)[0])


@pytest.mark.parametrize("case", ["a view turned over", "the negative bit", "the other dtype and back"])
@pytest.mark.parametrize("cell", [False, True], ids=["LSTM", "LSTMCell"])
def test_another_view_of_the_same_memory(case, cell):
    theirs, ours = twins(torch, 5, 5, cell=cell, bias=False)
    x = torch.randn(*((3, 5) if cell else (6, 3, 5)))
    name = "weight_ih" if cell else "weight_ih_l0"

    def change(module):
        p = module.get_parameter(name)
        if case == "a view turned over":
            p.data = p.data.as_strided((20, 5), (1, 20))
        elif case == "the negative bit":
            p.data = torch._neg_view(p.data)
        else:
            p.data = p.data.double()
            p.data = p.data.mul(2).float()

    before = padded(ours, x)[0]
    for module in (theirs, ours):
        change(module)
    got = padded(ours, x)
    assert_same_values(got, padded(theirs, x))
    assert not torch.equal(got[0], before)


def test_parameters_larger_than_what_is_summed_at_once():
    """Values at the ends of every line and chunk of the digest, in a layer of 700 KB."""
    theirs, ours = twins(torch, 57, 130)
    x = torch.randn(2, 1, 57)
    for weight in ("weight_ih_l0", "weight_hh_l0"):
        n = ours.get_parameter(weight).numel()
        places = {k for chunk in range(0, n, 16384) for k in (chunk - 1, chunk, chunk + 63, chunk + 64) if 0 <= k < n}
        for k in sorted(places | {n - 1}):
            assert_seen(lambda m, k=k, w=weight: m.get_parameter(w).data.view(-1)[k].add_(0.1), theirs, ours, padded, x)


def test_the_same_values_again_are_not_packed_again():
    _, ours, x = made(False, torch.float32)
    padded(ours, x)
    before = ours._plans.kept
    for parameter in ours.parameters():
        parameter.data.add_(0)
    padded(ours, x)
    assert ours._plans.kept is before


@pytest.mark.parametrize("cell", [False, True], ids=["LSTM", "LSTMCell"])
@pytest.mark.parametrize("kind", LAYOUTS, ids=lambda f: f.__name__)
def test_a_torch_without_the_table(monkeypatch, cell, kind):
    monkeypatch.setattr(fast._plans, "TABLE", None)
    theirs, ours, x = made(cell, torch.float32)
    call = fast_step if cell else padded
    for module in (theirs, ours):
        kind(module)
    call(ours, x)
    assert ours._plans.kept.direct is None
    for module in (theirs, ours):
        for position in range(len(weights(module))):
            write_past(module, position, last_value)
    assert_same_values(call(ours, x), call(theirs, x))
    assert ours.fallback is None


def test_a_tied_parameter():
    found = []
    for make in (torch.nn.LSTM, fast.LSTM):
        torch.manual_seed(0)
        one, other = make(5, 5), make(5, 5)
        other.weight_hh_l0 = one.weight_ih_l0
        x = torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(1))
        results = [padded(one, x), padded(other, x)]
        one.weight_ih_l0.data[3, 2] = 1.5
        results += [padded(one, x), padded(other, x)]
        found.append(results)
    assert_same_values(*found[::-1])


@pytest.mark.parametrize("cell", [False, True], ids=["LSTM", "LSTMCell"])
def test_parameters_in_an_ordered_dict(cell):
    """Modules have one that were pickled by torch 2.4 or older."""
    theirs, ours, x = made(cell, torch.float32)
    call = step if cell else padded
    ours._parameters = OrderedDict(ours._parameters)
    with torch.no_grad():
        for value in (0.5, 2.0, 3.0):
            for module in (theirs, ours):
                next(module.parameters()).data[3, 1] = value
            for _ in range(2):
                assert_same_values(call(ours, x), call(theirs, x))
                assert ours.fallback is None


@pytest.mark.filterwarnings("ignore:.*DataParallel")
def test_data_parallel_replicas_and_functional_call():
    theirs, ours, x = made(False, torch.float32)
    for value in (0.5, 2.0):
        given = {name: p.detach() * value for name, p in theirs.named_parameters()}
        results = [torch.func.functional_call(module, given, (x,)) for module in (ours, theirs)]
        assert_same_values(*results)
        replicas = [module._replicate_for_data_parallel() for module in (ours, theirs)]
        for replica in replicas:
            for name, tensor in given.items():
                setattr(replica, name, tensor)
            replica._flat_weights = [given[name] for name in replica._flat_weights_names]
        assert_same_values(replicas[0](x), replicas[1](x))
        for module in (theirs, ours):
            module.bias_hh_l1.data[2] = value
        assert_same_values(padded(ours, x), padded(theirs, x))


# ---- memory that comes and goes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [False, True], ids=["LSTM", "LSTMCell"])
def test_a_storage_can_be_freed_and_filled_again(cell):
    """FSDP frees a gathered parameter so, and gathers it again: the version stays."""
    theirs, ours, x = made(cell, torch.float32)
    call = fast_step if cell else padded
    call(ours, x)
    for value in (0.5, 1.5):
        for module in (theirs, ours):
            for parameter in module.parameters():
                storage, size = parameter.untyped_storage(), parameter.untyped_storage().nbytes()
                storage.resize_(0)
                storage.resize_(size)
                with torch.autograd._unsafe_preserve_version_counter(parameter), torch.no_grad():
                    parameter.copy_(torch.full_like(parameter, value).cumsum(0).sin())
        assert_same_values(call(ours, x), call(theirs, x))
        assert ours.fallback is None


@pytest.mark.parametrize("left", [0, 8])
@pytest.mark.parametrize("cell", [False, True], ids=["LSTM", "LSTMCell"])
def test_memory_that_is_not_there_is_an_error(cell, left):
    _, ours, x = made(cell, torch.float32)
    call = fast_step if cell else padded
    call(ours, x)
    ours.get_parameter("weight_hh" if cell else "weight_hh_l1").untyped_storage().resize_(left)
    with pytest.raises(RuntimeError, match=rf"shape \(20, 5\) has a storage of {left} bytes, expected 400 or more"):
        call(ours, x)


def test_a_deleted_parameter_is_what_it_is_for_torch():
    theirs, ours, x = made(False, torch.float32)
    for module in (theirs, ours):
        padded(module, x)
        kept = module.weight_hh_l1
        del module.weight_hh_l1
        kept.data.mul_(2)
    assert_same_values(padded(ours, x), padded(theirs, x))
    theirs, ours, x = made(True, torch.float32)
    for module in (theirs, ours):
        fast_step(module, x)
        del module.weight_hh
        with pytest.raises(AttributeError, match="weight_hh"):
            fast_step(module, x)


# ---- frozen ----------------------------------------------------------------------------------------------------------

each_frozen = pytest.mark.parametrize(("cell", "call"), [(False, padded), (True, fast_step), (True, step)])


@each_frozen
def test_frozen_parameters_are_not_looked_at(cell, call):
    _, ours, x = made(cell, torch.float32)
    ours.frozen = True
    before = call(ours, x)[0]
    for parameter in ours.parameters():
        parameter.data.mul_(2)
    assert torch.equal(call(ours, x)[0], before)
    ours.frozen = False
    expected = call(copy.deepcopy(ours), x)[0]
    assert torch.equal(call(ours, x)[0], expected)
    assert not torch.equal(expected, before)


def written_by_torch(module):
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.5)


def data_replaced(module):
    """Twice: the second memory may lie where the first one did."""
    for value in (3, 0.4):
        for parameter in module.parameters():
            parameter.data = parameter.data * value


SEEN = {
    "in place": written_by_torch,
    "load_state_dict": loaded(assign=False),
    "load_state_dict, assign": loaded(assign=True),
    "new parameters": swapped,
    ".data =": data_replaced,
    "SGD": train(lambda p: torch.optim.SGD(p, 0.1)),
    "to and back": lambda module: (module.double(), written_by_torch(module), module.float()),
}


@each_frozen
@pytest.mark.parametrize("change", SEEN.values(), ids=SEEN)
def test_what_is_seen_of_frozen_parameters(change, cell, call):
    theirs, ours, x = made(cell, torch.float32)
    ours.frozen = True
    for _ in range(3):
        before = call(ours, x)[0]
        for module in (theirs, ours):
            change(module)
        got = call(ours, x)
        assert_same_values(got, call(theirs, x), "torch, trained")
        assert not torch.equal(got[0], before)


@each_frozen
def test_frozen_parameters_without_a_version_are_looked_at(cell, call):
    with torch.inference_mode():
        _, ours, x = made(cell, torch.float32)
        ours.frozen = True
        for _ in range(2):
            before = call(ours, x)[0]
            written_by_torch(ours)
            got = call(ours, x)[0]
            assert torch.equal(got, call(copy.deepcopy(ours), x)[0])
            assert not torch.equal(got, before)


def test_frozen_is_kept_by_copies_and_given_at_making(tmp_path):
    for make in (fast.LSTM, fast.LSTMCell):
        assert not make(4, 5).frozen
        module = make(4, 5, frozen=True)
        assert module.frozen
        assert copy.deepcopy(module).frozen
        torch.save(module, tmp_path / "module.pt")
        other = torch.load(tmp_path / "module.pt", weights_only=False)
        assert other.frozen
        assert "frozen" not in module.state_dict()


@pytest.fixture
def unadvised(monkeypatch):
    monkeypatch.setattr(fast._accelerate, "_advised", False)


def test_accelerate_frozen(unadvised):
    model = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(4, 5), "cell": torch.nn.LSTMCell(4, 5)}).eval()
    for frozen in (True, False):
        with fast.accelerated(model, frozen=frozen) as done:
            assert done.swapped == ["lstm", "cell"]
            assert model["lstm"].frozen is model["cell"].frozen is frozen
        assert not any("frozen" in module.__dict__ for module in model.modules())
    fast.accelerate(model, frozen=True)
    x = torch.randn(6, 3, 4)
    before = padded(model["lstm"], x)[0]
    model["lstm"].weight_hh_l0.data.mul_(2)
    assert torch.equal(padded(model["lstm"], x)[0], before)
    fast.accelerate(model, frozen=False)  # of those switched before too
    assert not torch.equal(padded(model["lstm"], x)[0], before)
    fast.accelerate(model)
    assert model["cell"].frozen is False


def test_accelerate_says_once_what_frozen_would_save(unadvised):
    def model(kind=torch.nn.LSTMCell):
        return torch.nn.ModuleList([kind(4, 5)])

    fast.accelerate(model())  # in training there is nothing to gain
    fast.accelerate(model(torch.nn.LSTM).eval())  # nor where a call is many steps
    with pytest.warns(fast.FrozenAdvice, match=r"each step of 0 looks at .* accelerate\(model, frozen=True\)") as found:
        fast.accelerate(model().eval())
    assert found[0].filename == __file__
    fast.accelerate(model().eval())


# ---- the digest itself -----------------------------------------------------------------------------------------------


def digest_of(*arrays, threads=None, isa=None):
    names = [a.ctypes.data for a in arrays]
    pool = None if threads is None else _core.Workers(threads)
    return _core.Digest(names, [a.nbytes for a in arrays], (isa or _core.isa_names()[0]).encode(), pool), pool


@pytest.mark.parametrize("isa", fastlstm.isas())
@pytest.mark.parametrize("offset", [0, 1, 4])
def test_every_bit_counts(isa, offset):
    memory = np.frombuffer(np.random.default_rng(0).bytes(1100), np.uint8).copy()
    for size in (1, 8, 255, 256, 257, 1024 - offset):
        part = memory[offset : offset + size]
        digest, _ = digest_of(part, isa=isa)
        for k, bit in itertools.product(range(size) if size < 300 else range(0, size, 3), range(8)):
            part[k] ^= 1 << bit
            assert not digest.same(None)
            part[k] ^= 1 << bit
        assert digest.same(None)
        memory[offset + size] ^= 255  # not its own
        assert digest.same(None)


@pytest.mark.parametrize("isa", fastlstm.isas())
def test_exchanges_and_regular_changes_are_seen(isa):
    words = np.random.default_rng(1).integers(0, 2**63, 3000, np.uint64)
    digest, _ = digest_of(words, isa=isa)
    for distance in (1, 2, 31, 32, 33, 64, 256, 320, 1024, 2048):
        words[[5, 5 + distance]] = words[[5 + distance, 5]]
        assert not digest.same(None)
        words[[5, 5 + distance]] = words[[5 + distance, 5]]
        for bit in (0, 31, 63):
            words[7::distance] ^= np.uint64(1 << bit)
            assert not digest.same(None)
            words[7::distance] ^= np.uint64(1 << bit)
    assert digest.same(None)


@pytest.mark.parametrize(("one", "other"), [(0.0, -0.0), (np.nan, -np.nan), (1e-45, 2e-45)])
def test_bits_and_not_numbers(one, other):
    for dtype in (np.float32, np.float64):
        values = np.full(50, one, dtype)
        digest, _ = digest_of(values)
        assert digest.same(None)
        if dtype(one).tobytes() != dtype(other).tobytes():
            values[17] = other
            assert not digest.same(None)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_see_what_one_sees(threads):
    arrays = [np.ones(n, np.float32) for n in (1, 700_001, 16384, 0, 3)]
    digest, pool = digest_of(*arrays, threads=threads)
    alone, _ = digest_of(*arrays)
    for array in arrays:
        for k in {0, array.size // 2, array.size - 1} if array.size else ():
            assert digest.same(pool)
            array[k] = -1
            assert not digest.same(pool)
            assert not digest.same(None)
            assert not alone.same(pool)
            array[k] = 1
    assert digest.same(None)


# ---- single steps of large layers, which read the parameters as they are ---------------------------------------------


def large(cell, dtype, threads=None, **options):
    """Return twins whose steps do not look at the parameters."""
    width = {torch.float32: 190, torch.float64: 135}[dtype]
    options = {} if cell else {"num_layers": 2, "threads": threads, **options}
    torch.manual_seed(3)
    make = fast.LSTMCell if cell else fast.LSTM
    ours = make(width - 3, width, dtype=dtype, **options)
    frozen = copy.deepcopy(ours)
    frozen.frozen = True
    return frozen, ours, width


def step_of(module, B, x, h, c):
    if isinstance(module, torch.nn.LSTMCell):
        return module(x[0], (h[0], c[0]))
    x = x.transpose(0, 1) if module.batch_first else x
    output, states = module(x, (h, c) if B != 2 else None)
    return output, *states


@pytest.mark.parametrize("B", [1, 2, 4, 5])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["LSTMCell", "LSTM", "batch_first", "no bias"])
@each_dtype
def test_steps_from_parameters_as_they_are(kind, dtype, B, threads):
    """The same bits as from the packed copy, and of the values of now."""
    options = {"batch_first": {"batch_first": True}, "no bias": {"bias": False}}.get(kind, {})
    frozen, ours, width = large(kind == "LSTMCell", dtype, threads, **options)
    x = torch.randn(1, B, width + 1, dtype=dtype)[..., 2:-2]  # rows with something between them
    h, c = torch.randn(2, 2, B, width, dtype=dtype)
    with torch.no_grad():
        for module in (frozen, ours):
            step_of(module, B, x, h, c)
        first = step_of(ours, B, x, h, c)
        assert ours._plans.kept.unpacked is not None
        assert all(map(torch.equal, first, step_of(frozen, B, x, h, c)))
        for name, k in itertools.product(dict(ours.named_parameters()), (0, 77, -1)):
            for module in (frozen, ours):
                module.get_parameter(name).data.view(-1)[k] += 1
        frozen.frozen = False
        with torch.enable_grad():
            step_of(frozen, B, x, h, c)  # looks
        frozen.frozen = True
        got = step_of(ours, B, x, h, c)
        assert all(map(torch.equal, got, step_of(frozen, B, x, h, c)))
        assert not torch.equal(got[0], first[0])
    assert ours.fallback is None


@pytest.mark.parametrize("batch_first", [False, True])
def test_an_unbatched_step_does_not_look(monkeypatch, batch_first):
    frozen, ours, width = large(False, torch.float32, batch_first=batch_first)
    x, h, c = torch.randn(1, width - 3), torch.randn(2, width), torch.randn(2, width)
    with torch.no_grad():
        for module in (frozen, ours):
            module(x)
        monkeypatch.setattr(fast._plans.Look, "same", None)
        for given in ((x,), (x, (h, c))):
            assert_equal_bits(ours(*given), frozen(*given))
        ours.weight_hh_l1.data.mul_(2)
        frozen.load_state_dict(ours.state_dict())
        assert_equal_bits(ours(x, (h, c)), frozen(x, (h, c)))


@pytest.mark.parametrize("isa", fastlstm.isas())
@each_dtype
@pytest.mark.parametrize("cell", [False, True], ids=["LSTM", "LSTMCell"])
def test_steps_as_they_are_on_every_instruction_set(monkeypatch, isa, dtype, cell):
    from fastlstm import _isa

    resolve = _isa.resolve
    monkeypatch.setattr(_isa, "resolve", lambda name, *rest: resolve(isa if name is None else name, *rest))
    frozen, ours, width = large(cell, dtype)
    x, h, c = torch.randn(1, 3, width - 3), torch.randn(2, 3, width), torch.randn(2, 3, width)
    given = [t.to(dtype) for t in (x, h, c)]
    with torch.no_grad():
        for _ in range(2):
            results = [step_of(module, 3, *given) for module in (ours, frozen)]
        assert all(map(torch.equal, *results))
    assert ours._plans.kept.plan.isa == isa


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("kind", ["bidirectional", "proj_size", "dropout", "transposed", "gradients"])
def test_steps_that_need_the_packed_copy_look(kind):
    options = {"bidirectional": {"bidirectional": True}, "proj_size": {"proj_size": 7}, "dropout": {"dropout": 0.5}}
    theirs, ours = twins(torch, 150, 200, num_layers=2, **options.get(kind, {}))
    x = torch.randn(1, 2, 150)
    for module in (theirs, ours):
        if kind == "transposed":
            transposed(module)
        if kind == "dropout":
            module.eval()
    call = trained if kind == "gradients" else padded
    call(ours, x)
    for module in (theirs, ours):
        module.weight_hh_l1.data.mul_(2)
        module.bias_ih_l0.data[5] += 1
    assert_same_values(call(ours, x), call(theirs, x), "gradients, torch")
    assert ours.fallback is None
    if kind == "dropout":
        ours.train()
        assert not torch.equal(padded(ours, x)[0], padded(ours, x)[0])
