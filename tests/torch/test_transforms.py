"""Tangents, many gradients at once and transforms: torch's values by torch's code or ours, never a lost term."""

import copy

import pytest

from tests.torch.support import arrays, assert_equal_bits, assert_same_values, import_torch, twins

torch = import_torch()

import torch.autograd.forward_ad as forward_ad  # noqa: E402  torch first
from torch.autograd.functional import hessian, jacobian  # noqa: E402
from torch.func import functional_call  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence  # noqa: E402

import fastlstm.torch as fast  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit"),  # torch's: it scripts its own decompositions
    pytest.mark.filterwarnings("ignore:There is a performance drop"),  # torch's vmap, about torch's LSTM
]
each_kind = pytest.mark.parametrize("cell", [False, True], ids=["LSTM", "LSTMCell"])
f64 = torch.float64


def pair(cell, *, accelerated=False, dtype=f64, **options):
    """Return torch's module and ours, constructed or accelerated."""
    theirs, ours = twins(torch, 3, 4, cell=cell, dtype=dtype, **options)
    if accelerated:
        ours = copy.deepcopy(theirs)
        assert fast.accelerate(ours).swapped == [""]
    return theirs, ours


def inputs(cell, dtype=f64):
    """Return input, h_0 and c_0."""
    torch.manual_seed(3)
    x = torch.randn(*((2, 3) if cell else (5, 2, 3)), dtype=dtype)
    return x, *(torch.randn(*((2, 4) if cell else (1, 2, 4)), dtype=dtype) for _ in range(2))


def flat(results):
    """Return the tensors among a module's results."""
    first, second = results
    first = first.data if isinstance(first, PackedSequence) else first
    return [first, *second] if isinstance(second, tuple) else [first, second]


# Forward mode

DUAL = ["input", "h_0", "c_0", "all", "parameters"]


def tangents(module, cell, which, dtype, packed=False):
    """Return the tangents of a module's results, with a tangent given to one argument, all, or the parameters."""
    names = ["input", "h_0", "c_0"]
    given = dict(zip(names, inputs(cell, dtype), strict=True))
    torch.manual_seed(5)
    with forward_ad.dual_level():
        for name in names if which == "all" else [which] if which in names else []:
            given[name] = forward_ad.make_dual(given[name], torch.randn_like(given[name]))
        x = (
            PackedSequence(given["input"].flatten(0, 1)[:8], torch.tensor([2, 2, 2, 1, 1]))
            if packed
            else given["input"]
        )
        call = (x, (given["h_0"], given["c_0"]))
        if which == "parameters":
            dual = {n: forward_ad.make_dual(p.detach(), torch.randn_like(p)) for n, p in module.named_parameters()}
            found = functional_call(module, dual, call)
        else:
            found = module(*call)
        return [forward_ad.unpack_dual(t).tangent for t in flat(found)]


@each_kind
@pytest.mark.parametrize("which", DUAL)
@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("how", ["no_grad", "frozen", "followed"])
def test_tangents_are_torchs(cell, which, accelerated, how):
    theirs, ours = pair(cell, accelerated=accelerated)
    with torch.no_grad():
        for _ in range(2):
            ours(inputs(cell)[0], inputs(cell)[1:])  # the shortest way is open
    found = []
    for module in (theirs, ours):
        module.requires_grad_(how == "followed")
        with torch.set_grad_enabled(how != "no_grad"):
            found.append(tangents(module, cell, which, f64))
    assert all(t is not None for t in found[1])
    assert_same_values(*found[::-1], "gradients, torch")
    assert ours.fallback == "inside a dual level of forward-mode differentiation"
    ours(inputs(cell)[0])
    assert ours.fallback is None


@pytest.mark.parametrize("which", DUAL)
def test_tangents_of_packed_sequences(which):
    found = [tangents(module, False, which, f64, packed=True) for module in pair(False)]
    assert_same_values(*found[::-1], "gradients, torch")


@pytest.mark.parametrize("which", DUAL)
def test_tangents_of_a_float32_cell(which):
    found = [tangents(module, True, which, torch.float32) for module in pair(True, dtype=torch.float32)]
    assert_same_values(*found[::-1], "gradients, torch")


def test_where_torch_has_no_tangent_there_is_an_error():
    for module in pair(False, dtype=torch.float32):
        with pytest.raises(NotImplementedError), torch.no_grad():
            tangents(module, False, "input", torch.float32)


@each_kind
def test_gradcheck_of_tangents_and_of_batched_gradients(cell):
    _, ours = pair(cell)
    given = [t.requires_grad_() for t in inputs(cell)]
    assert torch.autograd.gradcheck(
        lambda x, h, c: flat(ours(x, (h, c))),
        given,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=False,
    )


@each_kind
def test_a_tangent_in_a_loop_of_forward_gradients(cell):
    """A training by directional derivatives: parameters with a tangent, one step each."""
    losses = []
    for module in pair(cell):
        torch.manual_seed(1)
        x = inputs(cell)[0]
        parameters = {name: p.detach() for name, p in module.named_parameters()}
        for _ in range(3):
            direction = {name: torch.randn_like(p) for name, p in parameters.items()}
            with forward_ad.dual_level(), torch.no_grad():
                dual = {n: forward_ad.make_dual(p, direction[n]) for n, p in parameters.items()}
                loss = functional_call(module, dual, (x,))[0].square().sum()
                slope = forward_ad.unpack_dual(loss).tangent
            losses.append(slope)
            parameters = {n: p - 0.01 * slope * direction[n] for n, p in parameters.items()}
    assert_same_values(losses[3:], losses[:3], "gradients, torch")


@each_kind
def test_a_jacobian_by_forward_mode_is_torchs_error_and_not_zeros(cell):
    for module in pair(cell):
        module.requires_grad_(False)
        with pytest.raises(RuntimeError, match="Batching rule not implemented"):
            jacobian(lambda x, m=module: m(x)[0], inputs(cell)[0], strategy="forward-mode", vectorize=True)


@each_kind
def test_tangents_of_gradients(cell):
    """Forward over reverse: the graph was made outside the level, the gradient that comes in has a tangent."""
    found = []
    for module in pair(cell):
        x = inputs(cell)[0].requires_grad_()
        output = module(x)[0]
        torch.manual_seed(2)
        with forward_ad.dual_level():
            incoming = forward_ad.make_dual(torch.randn_like(output), torch.randn_like(output))
            made = torch.autograd.grad(output, [x, *module.parameters()], incoming)
            found.append([part for t in made for part in forward_ad.unpack_dual(t)])
    assert_same_values(*found[::-1], "gradients, torch")


def test_a_tangent_that_only_we_could_have_is_refused():
    lstm = fast.LSTM(3, 4, dtype=f64)
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="dual level"):
        lstm(inputs(False)[0], lengths=[5, 2])
    output, _ = lstm(inputs(False)[0], lengths=[5, 2])
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="dual level"):
        output.backward(forward_ad.make_dual(output.detach(), output.detach()))


def test_the_operator_in_a_graph_has_no_tangents_and_says_so():
    lstm = fast.LSTM(3, 4, dtype=f64).requires_grad_(False)
    x = inputs(False)[0]
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(lambda x: lstm(x)[0], backend="eager", fullgraph=True)
        expected = compiled(x)
        with forward_ad.dual_level():
            assert_equal_bits([compiled(x.clone())], [expected])  # nothing has a tangent
            with pytest.raises(NotImplementedError, match="no forward mode: call the module itself"):
                compiled(forward_ad.make_dual(x, torch.ones_like(x)))
            dual = [forward_ad.make_dual(p, torch.ones_like(p)) for p in lstm.parameters()]
            with pytest.raises(NotImplementedError, match="no forward mode"):
                torch.ops.fastlstm.lstm(x, None, None, dual, None, None, None, 1, False, True, False, 0.0, 0)


def test_gradients_by_the_batch_through_the_operator():
    lstm = fast.LSTM(3, 4, dtype=f64)
    x = inputs(False)[0].requires_grad_()
    several = torch.randn(3, 5, 2, 4, dtype=f64)
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(lambda x: lstm(x)[0], backend="eager", fullgraph=True)
        found = [
            torch.autograd.grad(run(x), [x, *lstm.parameters()], several, is_grads_batched=True)
            for run in (compiled, lambda x: lstm(x)[0])
        ]
    assert_equal_bits(*found)


# Gradients by the batch

CALLS = {
    "LSTM": (False, {}, {}),
    "LSTM, two layers": (False, {"num_layers": 2, "bidirectional": True}, {}),
    "LSTMCell": (True, {}, {}),
    "lengths": (False, {}, {"lengths": [5, 2]}),
    "resets": (False, {}, {"resets": torch.eye(5, 2, dtype=torch.bool)}),
    "dropout": (False, {"num_layers": 2, "dropout": 0.5}, {}),
}


@pytest.mark.parametrize(("cell", "options", "more"), CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("way", ["is_grads_batched", "vmap"])
def test_gradients_by_the_batch_have_the_bits_of_each_alone(cell, options, more, way):
    ours = pair(cell, **options)[1]
    x = inputs(cell)[0].requires_grad_()
    results, into = flat(ours(x, **more)), [x, *ours.parameters()]
    several = [torch.randn(3, *t.shape, dtype=f64) for t in results]

    def grad(*incoming, **more):
        return torch.autograd.grad(results, into, incoming, retain_graph=True, **more)

    got = grad(*several, is_grads_batched=True) if way == "is_grads_batched" else torch.vmap(grad)(*several)
    expected = [torch.stack(column) for column in zip(*(grad(*row) for row in zip(*several, strict=True)), strict=True)]
    assert_equal_bits(got, expected)


@each_kind
def test_gradients_by_the_batch_are_torchs(cell):
    found = []
    for module in pair(cell):
        x = inputs(cell)[0].requires_grad_()
        output = module(x)[0]
        torch.manual_seed(2)
        several = torch.randn(3, *output.shape, dtype=f64)
        into = [x, *module.parameters()]
        found.append(torch.autograd.grad(output, into, several, is_grads_batched=True))
    assert_same_values(*found[::-1], "gradients, torch")


def test_gradients_by_the_batch_of_packed_sequences():
    found = []
    for module in pair(False, num_layers=2):
        x = inputs(False)[0].requires_grad_()
        output = module(pack_padded_sequence(x, [3, 5], enforce_sorted=False))[0].data
        torch.manual_seed(2)
        several = torch.randn(3, *output.shape, dtype=f64)
        found.append(torch.autograd.grad(output, [x, *module.parameters()], several, is_grads_batched=True))
    assert_same_values(*found[::-1], "gradients, torch")


def test_a_batch_of_batches():
    found = []
    for module in pair(False):
        x = inputs(False)[0].requires_grad_()
        output = module(x)[0]
        torch.manual_seed(2)
        several = torch.randn(2, 3, *output.shape, dtype=f64)

        def grad(incoming, output=output, x=x):
            return torch.autograd.grad(output, x, incoming, retain_graph=True)[0]

        found.append(torch.vmap(torch.vmap(grad))(several))
    assert_same_values(*found[::-1], "gradients, torch")


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, f64])
def test_jacobian(cell, dtype):
    found = []
    for module in pair(cell, dtype=dtype):
        found += [jacobian(lambda x, m=module: m(x)[0], inputs(cell, dtype)[0], vectorize=v) for v in (True, False)]
    assert_same_values(found[2:], found[:2], "gradients, torch")


@each_kind
def test_hessian(cell):
    found = []
    for module in pair(cell):
        found += [
            hessian(lambda x, m=module: m(x)[0].square().sum(), inputs(cell)[0], vectorize=v) for v in (True, False)
        ]
    assert_same_values(found[2:], found[:2], "gradients, torch")


# torch.func

TRANSFORMS = {
    "grad": lambda f, x: torch.func.grad(lambda x: f(x).square().sum())(x),
    "jvp": lambda f, x: torch.func.jvp(f, (x,), (torch.ones_like(x),)),
    "vjp": lambda f, x: torch.func.vjp(f, x)[1](torch.ones_like(f(x)))[0],
    "jacrev": lambda f, x: torch.func.jacrev(f)(x),
    "jacfwd": lambda f, x: torch.func.jacfwd(f)(x),
    "vmap": lambda f, x: torch.func.vmap(f)(torch.stack([x, 2 * x])),
    "vmap of grad": lambda f, x: torch.vmap(torch.func.grad(lambda x: f(x).sum()))(torch.stack([x, 2 * x])),
    "hessian": lambda f, x: torch.func.hessian(lambda x: f(x).square().sum())(x),
    "linearize": lambda f, x: torch.func.linearize(f, x)[1](torch.ones_like(x)),
    "functionalize": lambda f, x: torch.func.functionalize(f)(x),
}


@each_kind
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_transforms_give_what_torchs_module_gives(cell, transform):
    found = []
    for module in pair(cell):
        try:
            found.append(("made", transform(lambda x, m=module: m(x)[0], inputs(cell)[0])))
        except Exception as error:  # whatever torch raises
            found.append(("refused", type(error)))
    assert found[0][0] == found[1][0], found
    if found[0][0] == "refused":
        assert found[0] == found[1]
    else:
        assert len(arrays(found[0][1])) > 0
        assert_same_values(found[1][1], found[0][1], "gradients, torch")


# torch.fx


class Net(torch.nn.Module):
    """What fx traces."""

    def __init__(self, cell, ours):
        super().__init__()
        kind = fast if ours else torch.nn
        self.rnn = (kind.LSTMCell if cell else kind.LSTM)(3, 4)

    def forward(self, x, h, c):
        return self.rnn(x, (h, c))


@each_kind
@pytest.mark.parametrize("accelerated", [False, True])
def test_fx_sees_a_leaf(cell, accelerated):
    theirs, ours = Net(cell, False), Net(cell, not accelerated)
    ours.load_state_dict(theirs.state_dict())
    if accelerated:
        fast.accelerate(ours)
    for net in (theirs, ours):
        net.rnn.register_forward_hook(lambda m, args, out: (out[0] * 2, out[1]))
    graphs = [torch.fx.symbolic_trace(net) for net in (theirs, ours)]
    nodes = [[(node.op, str(node.target)) for node in graph.graph.nodes] for graph in graphs]
    assert nodes[0] == nodes[1]
    given = inputs(cell, torch.float32)
    assert_same_values(graphs[1](*given), theirs(*given))
    assert_equal_bits(graphs[1](*given), ours(*given))
    assert graphs[1].rnn.fallback is None
    again = torch.fx.symbolic_trace(graphs[1])  # and once more: fx's own modules hold ours
    assert_equal_bits(again(*given), ours(*given))


def test_fx_reads_lengths_and_resets_as_arguments():
    class WithLengths(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = fast.LSTM(3, 4)

        def forward(self, x, lengths):
            return self.rnn(x, lengths=lengths)[0]

    net = WithLengths()
    x, lengths = torch.randn(5, 2, 3), torch.tensor([5, 2])
    assert_equal_bits(torch.fx.symbolic_trace(net)(x, lengths), net(x, lengths))
