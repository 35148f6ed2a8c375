"""Gradients through the fused backward pass: torch's, in every configuration and every way that autograd is used."""

import copy
import itertools

import pytest

from tests.cases import CELLS, LAYERS, SATURATED, assert_gradients_close, make_data, make_gradients
from tests.support import by_name, each_dtype
from tests.torch.support import (
    arrays,
    assert_equal_bits,
    assert_same_values,
    fast_lstm,
    import_torch,
    torch_gradients,
    twins,
)

torch = import_torch()

from torch.func import functional_call  # noqa: E402  torch first
from torch.nn.utils.rnn import pack_padded_sequence  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import fastlstm.torch as fast  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's, about its own code

HAVE_STEPS = tuple(case for case in (*CELLS, *LAYERS) if case.T)
BIG = {"num_layers": 2, "bidirectional": True, "proj_size": 2, "batch_first": True}


def gradients(case, data):
    """Return what `torch_gradients` does, through fastlstm."""
    lstm = fast_lstm(torch, case, data)
    x, *hx = (torch.tensor(array, requires_grad=True) for array in (data.input, data.h_0, data.c_0))
    output, final = lstm(x, tuple(hx), lengths=data.lengths, resets=data.resets)
    assert lstm.fallback is None
    inputs = {"input": x, "h_0": hx[0], "c_0": hx[1], **dict(lstm.named_parameters())}
    incoming = [torch.from_numpy(g) for g in make_gradients(case, data.input.dtype)]
    found = torch.autograd.grad([output, *final], list(inputs.values()), incoming)
    return {name: gradient.numpy() for name, gradient in zip(inputs, found, strict=True)}


@each_dtype
@by_name(HAVE_STEPS)
def test_gradients_are_torchs(case, dtype):
    data = make_data(case, dtype)
    expected = torch_gradients(torch, case, data, make_gradients(case, dtype))
    assert_gradients_close(gradients(case, data), expected, "gradients, torch")


@by_name(SATURATED)
def test_gradients_of_saturated_gates_are_torchs(case):
    data = make_data(case, "float32")
    expected = torch_gradients(torch, case, data, make_gradients(case, "float32"))
    assert_gradients_close(gradients(case, data), expected, "gradients, torch, saturated")


CONFIGURATIONS = [
    dict(zip(("num_layers", "bias", "batch_first", "bidirectional", "proj_size"), values, strict=True))
    for values in itertools.product((1, 2), (True, False), (True, False), (True, False), (0, 1))
]


def leaves(lstm, batched=True, states=True):
    """Return double inputs that autograd follows, and a function of them and of the module's parameters."""
    names, weights = zip(*lstm.named_parameters(), strict=True)
    n, rows = lstm.num_layers * (1 + lstm.bidirectional), (2,) * batched
    x = torch.randn(*((2, 3) if batched and lstm.batch_first else (3, *rows)), 2, dtype=torch.float64)
    hx = [torch.randn(n, *rows, size, dtype=torch.float64) for size in (lstm.proj_size or 3, 3)] if states else []

    def run(x, *rest):
        # gradcheck writes single elements of .data, which no version shows: new tensors at every call
        new = {name: weight.clone() for name, weight in zip(names, rest[len(hx) :], strict=True)}
        output, final = functional_call(lstm, new, (x, tuple(rest[: len(hx)]) or None))
        assert lstm.fallback is None
        return output, *final

    return run, [t.requires_grad_() for t in (x, *hx)] + list(weights)


@pytest.mark.parametrize("options", CONFIGURATIONS, ids=lambda o: "-".join(f"{k}={v:d}" for k, v in o.items()))
def test_gradcheck(options):
    torch.manual_seed(1)
    lstm = fast.LSTM(2, 3, dtype=torch.float64, **options)
    run, inputs = leaves(lstm)
    assert torch.autograd.gradcheck(run, inputs, fast_mode=options["num_layers"] > 1)


@pytest.mark.parametrize("options", [{}, BIG], ids=str)
@pytest.mark.parametrize(("batched", "states"), [(False, True), (True, False), (False, False)])
def test_gradcheck_unbatched_and_without_states(options, batched, states):
    torch.manual_seed(1)
    run, inputs = leaves(fast.LSTM(2, 3, dtype=torch.float64, **options), batched, states)
    assert torch.autograd.gradcheck(run, inputs, fast_mode=True)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"batch_first": True}, {"proj_size": 2}, BIG], ids=str)
@pytest.mark.parametrize("states", [False, True])
def test_gradgradcheck(options, states):
    torch.manual_seed(1)
    run, inputs = leaves(fast.LSTM(2, 3, dtype=torch.float64, **options), states=states)
    assert torch.autograd.gradgradcheck(run, inputs, fast_mode=True)


def test_second_gradients_are_torchs():
    found = []
    for module in twins(torch, 4, 5, num_layers=2, dtype=torch.float64):
        torch.manual_seed(2)
        x = torch.randn(6, 3, 4, dtype=torch.float64, requires_grad=True)
        (first,) = torch.autograd.grad(module(x)[0].square().sum(), x, create_graph=True)
        found.append([first, *torch.autograd.grad(first.norm(), [x, *module.parameters()], allow_unused=True)])
    assert_same_values(*found[::-1], "gradients, torch")


@pytest.mark.parametrize("extra", ["dropout", "packed", "lengths", "resets"])
def test_second_gradients_that_are_not_there(extra):
    lstm = fast.LSTM(4, 5, num_layers=2, dropout=0.5 if extra == "dropout" else 0)
    x = torch.randn(6, 3, 4, requires_grad=True)
    more = {"lengths": {"lengths": [6, 2, 1]}, "resets": {"resets": torch.zeros(6, 3, dtype=torch.bool)}}.get(extra, {})
    output, _ = lstm(pack_padded_sequence(x, [6, 2, 1]) if extra == "packed" else x, **more)
    loss = output.data.sum() if extra == "packed" else output.sum()
    with pytest.raises(
        NotImplementedError, match="needs a layer without dropout, and no packed input, lengths= or resets="
    ):
        torch.autograd.grad(loss, x, create_graph=True)


# A part of the gradients


def all_gradients(lstm, x, hx, wanted):
    """Return the gradients by name with only `wanted` of input, h_0, c_0 and parameters followed."""
    tensors = {"input": x.clone(), "h_0": hx[0].clone(), "c_0": hx[1].clone(), **dict(lstm.named_parameters())}
    for name, tensor in tensors.items():
        tensor.requires_grad_(name in wanted)
        tensor.grad = None
    torch.manual_seed(4)
    output, (h_n, c_n) = lstm(tensors["input"], (tensors["h_0"], tensors["c_0"]))
    ((output * torch.randn_like(output)).sum() + h_n.square().sum() + c_n.sum()).backward()
    assert all(tensors[name].grad is None for name in tensors if name not in wanted)
    return {name: tensors[name].grad for name in wanted}


@pytest.mark.parametrize(
    "options", [{}, {"proj_size": 2}, {"bias": False}, {"num_layers": 2, "dropout": 0.3}, BIG], ids=str
)
def test_frozen_parameters_leave_the_other_gradients_their_bits(options):
    lstm = fast.LSTM(4, 5, **options)
    n = lstm.num_layers * (1 + lstm.bidirectional)
    x, hx = torch.randn(3, 3, 4), (torch.randn(n, 3, lstm.proj_size or 5), torch.randn(n, 3, 5))
    names = ["input", "h_0", "c_0", *(name for name, _ in lstm.named_parameters())]
    full = all_gradients(lstm, x, hx, names)
    kinds = {name.rsplit("_l", 1)[0] for name in names[3:]}
    layers = {name[name.rindex("_l") :] for name in names[3:]}
    some = [[name] for name in names] + [[n for n in names if n != name] for name in names]
    some += [[n for n in names if n.startswith(kind)] for kind in kinds]
    some += [[n for n in names if n.endswith(layer)] for layer in layers]
    some += [names[:3], names[3:], names[::2], names[1::2]]
    for wanted in some:
        got = all_gradients(lstm, x, hx, wanted)
        for name in wanted:
            assert_equal_bits(got[name], full[name])


def test_gradients_of_some_results_alone():
    for used in ([0], [1], [2], [0, 2], [1, 2]):
        found = []
        for module in twins(torch, 4, 5, num_layers=2):
            torch.manual_seed(3)
            output, final = module(torch.randn(6, 3, 4))
            results = output, *final
            loss = sum(results[k].square().sum() for k in used)
            found.append(torch.autograd.grad(loss, list(module.parameters()), materialize_grads=True))
        assert_same_values(*found[::-1], "gradients, torch")


def test_a_gradient_that_is_not_contiguous_or_expanded():
    for options in ({}, {"batch_first": True}):
        theirs, ours = twins(torch, 4, 5, **options)
        x = torch.randn(6, 3, 4)
        for make in (lambda y: y.sum(), lambda y: (y.transpose(0, 2) * torch.ones(5, y.size(1), y.size(0))).sum()):
            found = [torch.autograd.grad(make(m(x)[0]), list(m.parameters())) for m in (theirs, ours)]
            assert_same_values(*found[::-1], "gradients, torch")


# The ways of autograd


def small():
    torch.manual_seed(5)
    return fast.LSTM(4, 5, num_layers=2, dropout=0.4), torch.randn(6, 3, 4, requires_grad=True)


def test_retain_graph_gives_the_same_bits_again():
    lstm, x = small()
    loss = lstm(x)[0].square().sum()
    inputs = [x, *lstm.parameters()]
    first, second, third = (torch.autograd.grad(loss, inputs, retain_graph=True) for _ in range(3))
    assert_equal_bits(second, first)
    assert_equal_bits(third, first)


def test_a_graph_that_was_freed_is_refused():
    lstm, x = small()
    loss = lstm(x)[0].sum()
    loss.backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_gradients_accumulate():
    theirs, ours = twins(torch, 4, 5)
    x = torch.randn(6, 3, 4)
    for module in (theirs, ours):
        for scale in (1, 2):
            module(x * scale)[0].sum().backward()
    assert_same_values([p.grad for p in ours.parameters()], [p.grad for p in theirs.parameters()], "gradients, torch")


def test_states_carried_through_truncated_pieces():
    found = []
    for module in twins(torch, 4, 5):
        torch.manual_seed(2)
        hx = None
        for piece in torch.randn(3, 4, 2, 4):
            output, hx = module(piece, hx)
            output.sum().backward()
            hx = tuple(t.detach() for t in hx)
        found.append([p.grad for p in module.parameters()])
    assert_same_values(*found[::-1], "gradients, torch")


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_modes_without_autograd(mode):
    lstm, x = small()
    lstm.eval()
    expected = lstm(x)
    with mode():
        got = lstm(x)
        cell = fast.LSTMCell(4, 5)
        hx = cell(x[0])
        hx = cell(x[1], hx)
    assert_equal_bits(got, expected)
    assert not any(t.requires_grad for t in (got[0], *got[1], *hx))
    assert got[0].is_inference() == (mode is torch.inference_mode)
    lstm(x)[0].sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("cell", [False, True])
def test_parameters_made_in_inference_mode(cell):
    with torch.inference_mode():
        theirs, ours = twins(torch, 4, 5, cell=cell)
        x = torch.randn(6, 4)
        assert_same_values(ours(x), theirs(x))
        assert ours.fallback is None
        for module in (theirs, ours):
            next(module.parameters())[0] *= 2
        assert_same_values(ours(x), theirs(x))


def test_inputs_made_in_inference_mode():
    theirs, ours = twins(torch, 4, 5)
    ours.requires_grad_(False)
    theirs.requires_grad_(False)
    with torch.inference_mode():
        x = torch.randn(6, 3, 4)
    assert_same_values(ours(x), theirs(x))
    assert ours.fallback is None


def test_functional_call_takes_other_parameters():
    theirs, ours = twins(torch, 4, 5, num_layers=2)
    x = torch.randn(6, 3, 4)
    before = ours(x)
    other = {name: (p.detach() * 1.5).requires_grad_() for name, p in ours.named_parameters()}
    found = []
    for module in (theirs, ours):
        output, final = functional_call(module, other, (x,))
        found.append([output, *final, *torch.autograd.grad(output.sum(), list(other.values()))])
    assert ours.fallback is None
    assert_same_values(*found[::-1], "gradients, torch")
    assert_equal_bits(ours(x), before)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint(reentrant):
    lstm, x = small()
    found = []
    for run in (lstm, lambda x: checkpoint(lstm, x, use_reentrant=reentrant)):
        torch.manual_seed(3)
        lstm.zero_grad()
        x.grad = None
        output, _ = run(x)
        output.sum().backward()
        found.append([output, x.grad, *(p.grad for p in lstm.parameters())])
    assert_equal_bits(found[1], found[0])


@pytest.mark.skipif(not hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks"), reason="torch does not tell")
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_checkpoint_keeps_no_tape(dropout):
    lstm = fast.LSTM(4, 5, num_layers=2, dropout=dropout)
    x, found = torch.randn(6, 3, 4, requires_grad=True), []
    for run in (lstm, lambda x: checkpoint(lstm, x, use_reentrant=False)):
        torch.manual_seed(3)
        output, _ = run(x)
        found.append((output, *torch.autograd.grad(output.sum(), [x, *lstm.parameters()])))
        assert (output.grad_fn.tape is None) is (run is not lstm)
    assert_equal_bits(found[1], found[0])


def test_hooks_see_what_they_see_on_torchs_modules():
    seen = []
    for module in twins(torch, 4, 5):
        torch.manual_seed(2)
        calls = []
        module.register_forward_pre_hook(lambda m, args, calls=calls: calls.append(args[0]))
        module.register_forward_hook(lambda m, args, out, calls=calls: (out[0] * 2, out[1]))
        module.register_full_backward_hook(lambda m, into, of, calls=calls: calls.extend([*into, *of]))
        module.weight_hh_l0.register_hook(lambda g, calls=calls: calls.append(g))
        x = torch.randn(6, 3, 4, requires_grad=True)
        output, _ = module(x)
        output.sum().backward()
        seen.append([output, x.grad, *calls])
    assert len(arrays(seen[0])) == 6
    assert_same_values(*seen[::-1], "gradients, torch")


CHANGED = {
    "input": lambda lstm, x, hx: x,
    "h_0": lambda lstm, x, hx: hx[0],
    "c_0": lambda lstm, x, hx: hx[1],
    "weight_ih": lambda lstm, x, hx: lstm.weight_ih_l0,
    "weight_hh": lambda lstm, x, hx: lstm.weight_hh_l0,
}


@pytest.mark.parametrize("which", CHANGED.values(), ids=CHANGED)
def test_a_change_in_place_before_the_backward_pass_raises_as_in_torch(which):
    for module in twins(torch, 4, 5):
        x, hx = torch.randn(6, 3, 4), (torch.randn(1, 3, 5), torch.randn(1, 3, 5))
        loss = module(x, hx)[0].sum()
        with torch.no_grad():
            which(module, x, hx).mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_results_may_be_changed_in_place():
    lstm, x = small()
    lstm.eval()
    expected = torch.autograd.grad((lstm(x)[0] * 2).sum(), [x, *lstm.parameters()])
    output, _ = lstm(x)
    assert_equal_bits(torch.autograd.grad(output.mul_(2).sum(), [x, *lstm.parameters()]), expected)


def test_several_calls_in_one_graph_and_backward_in_another_order():
    found = []
    for module in twins(torch, 4, 5):
        torch.manual_seed(2)
        first, second = (module(torch.randn(n, 3, 4))[0] for n in (6, 2))
        (first.sum() * second.square().sum()).backward()
        found.append([p.grad for p in module.parameters()])
    assert_same_values(*found[::-1], "gradients, torch")


def test_dropout_is_the_same_on_the_way_back():
    torch.manual_seed(1)
    lstm = fast.LSTM(3, 4, num_layers=2, dropout=0.5, dtype=torch.float64)
    x = torch.randn(4, 2, 3, dtype=torch.float64, requires_grad=True)

    def run(x):
        torch.manual_seed(9)  # the same masks at every call
        return lstm(x)[0]

    assert torch.autograd.gradcheck(run, x)


def test_a_copy_has_gradients_of_its_own():
    lstm, x = small()
    lstm(x)[0].sum().backward()
    other = copy.deepcopy(lstm)
    other.zero_grad()
    kept = [p.grad.clone() for p in lstm.parameters()]
    other(x)[0].sum().backward()
    assert_equal_bits([p.grad for p in lstm.parameters()], kept)
    assert all(p.grad is not None for p in other.parameters())
