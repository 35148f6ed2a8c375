"""accelerate, restore and accelerated: what they swap, what they leave and why, and that nothing else changes."""

import copy
import pickle

import pytest
from support_torch import assert_equal_bits, assert_same_values, import_torch

torch = import_torch()

import fastlstm.torch as fast  # noqa: E402  torch first


class Mine(torch.nn.LSTM):
    pass


class Tree(torch.nn.Module):
    """LSTMs in every place where one can be."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(10, 4)
        self.encoder = torch.nn.ModuleDict(
            {"rnn": torch.nn.LSTM(4, 5, batch_first=True), "head": torch.nn.Linear(5, 4)}
        )
        self.again = self.encoder["rnn"]
        self.cells = torch.nn.ModuleList([torch.nn.LSTMCell(4, 4), torch.nn.GRUCell(4, 4)])
        self.mine = Mine(4, 5)
        self.half = torch.nn.LSTM(4, 5).half()
        self.empty = torch.nn.LSTM(4, 5, device="meta")
        self.replaced = torch.nn.LSTM(4, 5)
        self.replaced.forward = lambda *args: None

    def forward(self, tokens):
        x = self.encoder["head"](self.encoder["rnn"](self.embedding(tokens))[0])
        h, c = self.cells[0](x[:, -1])
        return self.again(x)[0].sum() + self.cells[0](h, (h, c))[0].sum() + self.cells[1](h).sum()


def test_what_is_swapped_and_what_is_left():
    model = Tree()
    before = {name: (id(module), type(module)) for name, module in model.named_modules()}
    tensors = {name: (id(tensor), tensor.data_ptr()) for name, tensor in model.named_parameters()}
    names, text = list(model.state_dict()), repr(model)
    done = fast.accelerate(model)
    assert done.swapped == ["encoder.rnn", "cells.0"]
    assert done.left == {
        "mine": "Mine is a subclass of torch's: it may override anything",
        "half": "parameters have dtype torch.float16",
        "empty": "parameters are on meta",
        "replaced": "its forward has been replaced on the object",
    }
    assert type(model.encoder["rnn"]) is fast.LSTM
    assert type(model.cells[0]) is fast.LSTMCell
    assert model.again is model.encoder["rnn"]
    assert list(model.state_dict()) == names
    assert repr(model) == text
    assert {name: (id(tensor), tensor.data_ptr()) for name, tensor in model.named_parameters()} == tensors
    assert {name: id(module) for name, module in model.named_modules()} == {n: i for n, (i, _) in before.items()}
    assert fast.restore(model) == done.swapped
    assert {name: (id(module), type(module)) for name, module in model.named_modules()} == before
    assert "_accelerated" not in model.encoder["rnn"].__dict__


def test_the_model_gives_and_learns_the_same():
    model = Tree()
    other = copy.deepcopy(model)
    fast.accelerate(other)
    tokens = torch.randint(10, (3, 6))
    found = []
    for each in (model, other):
        loss = each(tokens)
        loss.backward()
        found.append([loss, *(p.grad for p in each.parameters() if p.grad is not None)])
    assert other.again.fallback is None
    assert other.cells[0].fallback is None
    assert_same_values(*found[::-1], "torch, trained")


def test_an_optimizer_made_before_goes_on():
    model = torch.nn.LSTM(4, 5)
    other = copy.deepcopy(model)
    found = []
    x = torch.randn(6, 3, 4)
    for each in (model, other):
        optimizer = torch.optim.Adam(each.parameters(), 0.01)
        losses = []
        for step in range(4):
            if step == 1 and each is other:
                fast.accelerate(each)
            if step == 3 and each is other:
                fast.restore(each)
            optimizer.zero_grad()
            loss = each(x)[0].square().sum()
            loss.backward()
            optimizer.step()
            losses.append(loss)
        found.append(losses)
    assert_same_values(*found[::-1], "torch, trained")


@pytest.mark.parametrize("make", [torch.nn.LSTM, torch.nn.LSTMCell])
def test_a_root(make):
    model = make(4, 5)
    assert fast.accelerate(model) == fast.Accelerated([""], {})
    assert type(model).__module__.startswith("fastlstm")
    assert fast.restore(model) == [""]
    assert type(model) is make


def test_twice_is_once():
    model = torch.nn.Sequential(torch.nn.LSTM(4, 5))
    assert fast.accelerate(model).swapped == ["0"]
    assert fast.accelerate(model) == fast.Accelerated([], {})
    assert fast.restore(model) == ["0"]
    assert fast.restore(model) == []


def test_what_was_made_here_is_neither_swapped_nor_restored():
    model = torch.nn.Sequential(fast.LSTM(4, 5))
    assert fast.accelerate(model) == fast.Accelerated([], {})
    assert fast.restore(model) == []
    assert type(model[0]) is fast.LSTM


def test_accelerated_restores_what_it_swapped_and_no_more():
    model = torch.nn.Sequential(torch.nn.LSTM(4, 5), torch.nn.LSTM(5, 5))
    fast.accelerate(model[0])
    with fast.accelerated(model) as done:
        assert done.swapped == ["1"]
        assert type(model[1]) is fast.LSTM
    assert [type(module) for module in model] == [fast.LSTM, torch.nn.LSTM]


def test_accelerated_restores_after_an_error():
    model = torch.nn.Sequential(torch.nn.LSTM(4, 5))
    with pytest.raises(RuntimeError, match="Expected 4, got 7"), fast.accelerated(model):
        model(torch.zeros(6, 3, 7))
    assert type(model[0]) is torch.nn.LSTM


def test_a_call_leaves_nothing_behind():
    model = torch.nn.LSTM(4, 5)
    keys = set(model.__dict__)
    with fast.accelerated(model, threads=2):
        assert model.threads == 2
        model(torch.randn(6, 3, 4))
        with torch.autocast("cpu"):
            model(torch.randn(6, 3, 4))
    assert set(model.__dict__) == keys
    cell = torch.nn.LSTMCell(4, 5)
    keys = set(cell.__dict__)
    with fast.accelerated(cell), torch.no_grad():
        cell(torch.randn(3, 4))
    assert set(cell.__dict__) == keys


class Scripted(torch.nn.Module):
    """What torch.jit.script can call."""

    def __init__(self):
        super().__init__()
        self.rnn = torch.nn.LSTM(4, 5)

    def forward(self, x: torch.Tensor):
        return self.rnn(x)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_a_scripted_module_is_left_alone():
    model = torch.nn.Sequential(torch.jit.script(Scripted()), torch.nn.LSTM(4, 5))
    x = torch.ones(6, 3, 4)
    expected = model[0](x)
    assert fast.accelerate(model) == fast.Accelerated(["1"], {"0.rnn": "it is scripted"})
    assert_equal_bits(model[0](x), expected)


def test_a_parametrized_module_is_left_and_one_parametrized_later_runs_here():
    model = torch.nn.Sequential(torch.nn.LSTM(4, 5), torch.nn.LSTM(4, 5))
    norm = torch.nn.utils.parametrizations.weight_norm
    norm(model[0], "weight_hh_l0")
    done = fast.accelerate(model)
    assert (done.swapped, list(done.left)) == (["1"], ["0"])
    assert "ParametrizedLSTM is a subclass" in done.left["0"]
    norm(model[1], "weight_hh_l0")
    theirs = torch.nn.LSTM(4, 5)
    norm(theirs, "weight_hh_l0")
    theirs.load_state_dict(model[1].state_dict())
    x = torch.randn(6, 3, 4)
    assert_same_values(model[1](x), theirs(x))
    assert model[1].fallback is None


def test_hooks_stay():
    model, seen = torch.nn.LSTM(4, 5), []
    model.register_forward_hook(lambda *args: seen.append(args))
    fast.accelerate(model)
    model(torch.randn(6, 3, 4))
    fast.restore(model)
    model(torch.randn(6, 3, 4))
    assert len(seen) == 2


@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_copy_can_be_restored(make):
    model = torch.nn.Sequential(torch.nn.LSTM(4, 5))
    fast.accelerate(model)
    other = make(model)
    assert type(other[0]) is fast.LSTM
    assert fast.restore(other) == ["0"]
    assert type(model[0]) is fast.LSTM


def test_bad_arguments():
    for work in (fast.accelerate, lambda model: fast.accelerated(model).__enter__()):
        with pytest.raises(TypeError, match=r"model should be a torch\.nn\.Module, got: dict"):
            work({})
    model = torch.nn.LSTM(4, 5)
    with pytest.raises(ValueError, match="threads"):
        fast.accelerate(model, threads=0)
    assert type(model) is torch.nn.LSTM


def test_eval_train_and_flatten_go_on():
    model = torch.nn.LSTM(4, 5, num_layers=2, dropout=0.5)
    fast.accelerate(model)
    model.flatten_parameters()
    assert model.eval()(torch.ones(6, 3, 4))[0].equal(model(torch.ones(6, 3, 4))[0])
    assert not model.train()(torch.ones(6, 3, 4))[0].equal(model(torch.ones(6, 3, 4))[0])
