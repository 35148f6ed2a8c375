"""accelerate, restore and accelerated: what they swap, what they leave and why, and that nothing else changes."""

import copy
import pickle

import pytest

from tests.torch.support import assert_equal_bits, assert_same_values, import_torch

torch = import_torch()

import fastlstm.torch as fast  # noqa: E402  torch first


class Mine(torch.nn.LSTM):
    """What most subclasses are."""

    def __init__(self, *args, name="", **kwargs):
        super().__init__(*args, **kwargs)
        self.name = name

    def reset_parameters(self):
        for parameter in self.parameters():
            torch.nn.init.uniform_(parameter, -0.2, 0.2)

    def count(self):
        return sum(p.numel() for p in self.parameters())


class MyCell(torch.nn.LSTMCell):
    """A cell of one's own name."""

    def extra_repr(self):
        return "mine"


class Doubled(Mine):
    """What overrides something that matters."""

    def forward(self, input, hx=None):
        output, states = super().forward(input, hx)
        return output * 2, states


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
        self.doubled = Doubled(4, 5)
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
    assert done.swapped == ["encoder.rnn", "cells.0", "mine"]
    assert done.left == {
        "doubled": "Doubled overrides forward: accelerate(model, subclasses=True) takes it too",
        "half": "parameters have dtype torch.float16",
        "empty": "parameters are on meta",
        "replaced": "its forward has been replaced on the object",
    }
    assert type(model.encoder["rnn"]) is fast.LSTM
    assert type(model.cells[0]) is fast.LSTMCell
    assert model.again is model.encoder["rnn"]
    assert list(model.state_dict()) == names
    assert repr(model) == text.replace("(rnn): LSTM(", "(rnn): fastlstm.LSTM(").replace(
        "(again): LSTM(", "(again): fastlstm.LSTM("
    ).replace("(0): LSTMCell(", "(0): fastlstm.LSTMCell(").replace("(mine): Mine(", "(mine): fastlstm.Mine(")
    assert {name: (id(tensor), tensor.data_ptr()) for name, tensor in model.named_parameters()} == tensors
    assert {name: id(module) for name, module in model.named_modules()} == {n: i for n, (i, _) in before.items()}
    assert fast.restore(model) == done.swapped
    assert {name: (id(module), type(module)) for name, module in model.named_modules()} == before
    assert "_accelerated" not in model.encoder["rnn"].__dict__
    assert repr(model) == text


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


def test_settings_reach_what_was_switched_before():
    model = torch.nn.Sequential(torch.nn.LSTM(4, 5), torch.nn.LSTM(5, 5))
    fast.accelerate(model[0], threads=1)
    with fast.accelerated(model, threads=2, frozen=True):
        assert [module.threads for module in model] == [2, 2]
        assert [module.frozen for module in model] == [True, True]
    assert model[0].threads == 1
    assert "frozen" not in model[0].__dict__
    fast.accelerate(model, threads=3)
    fast.accelerate(model)
    assert [module.threads for module in model] == [3, 3]


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
    assert done.left["0"] == "it is parametrized: accelerate it before, and it runs here all the same"
    norm(model[1], "weight_hh_l0")
    theirs = torch.nn.LSTM(4, 5)
    norm(theirs, "weight_hh_l0")
    theirs.load_state_dict(model[1].state_dict())
    x = torch.randn(6, 3, 4)
    assert_same_values(model[1](x), theirs(x))
    assert model[1].fallback is None
    with pytest.warns(UserWarning, match="leaves 1 as it is: its class became ParametrizedLSTM after accelerate"):
        assert fast.restore(model) == []
    torch.nn.utils.parametrize.remove_parametrizations(model[1], "weight_hh_l0")
    assert fast.restore(model) == ["1"]
    assert type(model[1]) is torch.nn.LSTM


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
    for work in (fast.accelerate, fast.restore, lambda model: fast.accelerated(model).__enter__()):
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


# Subclasses

SUBCLASSES = {
    "LSTM": (lambda: Mine(4, 5, num_layers=2, name="a"), (6, 3, 4), fast.LSTM),
    "LSTMCell": (lambda: MyCell(4, 5), (3, 4), fast.LSTMCell),
}
each_subclass = pytest.mark.parametrize(("make", "shape", "ours"), SUBCLASSES.values(), ids=SUBCLASSES)


@each_subclass
def test_a_subclass_runs_here_and_stays_one(make, shape, ours):
    model = torch.nn.Sequential(make(), make())
    kind, x = type(model[0]), torch.randn(shape)
    expected, names = model[0](x), list(model.state_dict())
    assert fast.accelerate(model) == fast.Accelerated(["0", "1"], {})
    switched = model[0]
    assert isinstance(switched, kind)
    assert isinstance(switched, ours)
    assert type(switched) is type(model[1])
    assert (type(switched).__name__, type(switched).__module__) == (kind.__name__, kind.__module__)
    assert repr(switched).startswith(f"fastlstm.{kind.__name__}(")
    assert_same_values(switched(x), expected)
    assert switched.fallback is None
    assert list(model.state_dict()) == names
    assert getattr(switched, "name", "a") == "a"
    assert fast.accelerate(model) == fast.Accelerated([], {})
    assert fast.restore(model) == ["0", "1"]
    assert type(model[0]) is kind
    assert_equal_bits(model[0](x), expected)


@each_subclass
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), copy.copy])
def test_copies_of_an_accelerated_subclass(make, shape, ours, copied):
    model, x = make(), torch.randn(shape)
    kind = type(model)
    fast.accelerate(model)
    expected = model(x)
    other = copied(model)
    assert type(other) is type(model)
    assert_equal_bits(other(x), expected)
    assert other.fallback is None
    assert fast.restore(other) == [""]
    assert type(other) is kind


def test_a_pickle_names_the_users_class():
    model = Mine(4, 5)
    fast.accelerate(model)
    assert b"tests.torch.test_accelerate" in pickle.dumps(model)
    del model
    import gc

    gc.collect()
    plain = pickle.loads(pickle.dumps(Mine(4, 5)))
    assert type(plain) is Mine


class Moved:
    """Mixed in before torch's class, as FSDP does."""

    def __new__(cls, *args, **kwargs):
        return object.__new__(cls)

    def _apply(self, *args, **kwargs):
        return super()._apply(*args, **kwargs)


class MovedLSTM(Moved, torch.nn.LSTM):
    pass


def test_what_is_mixed_in_to_move_parameters_does_not_matter():
    model, x = MovedLSTM(4, 5), torch.randn(6, 3, 4)
    expected = model(x)
    assert fast.accelerate(model) == fast.Accelerated([""], {})
    assert_same_values(model(x), expected)
    assert model.fallback is None
    assert_same_values(model.double()(x.double())[0].float(), expected[0])
    assert fast.restore(model) == [""]
    assert type(model) is MovedLSTM


@pytest.mark.parametrize("through", ["argument", "accelerated"])
def test_subclasses_that_override_something_are_taken_where_that_is_asked_for(through):
    model, x = Doubled(4, 5), torch.randn(6, 3, 4)
    expected = model(x)
    if through == "argument":
        assert fast.accelerate(model, subclasses=True) == fast.Accelerated([""], {})
        got = model(x)
        assert model.fallback is None
        assert fast.restore(model) == [""]
    else:
        with fast.accelerated(model, subclasses=True) as done:
            assert done.swapped == [""]
            got = model(x)
    assert_same_values(got, expected)
    assert type(model) is Doubled


class Shifted(torch.nn.LSTM):
    def permute_hidden(self, hx, permutation):
        return tuple(t + 1 for t in hx)


class WithProperty(torch.nn.LSTM):
    @property
    def weight_hh_l0(self):
        return self.weight_ih_l0[:, :1]


class Called(torch.nn.LSTM):
    def __call__(self, *args):
        return super().__call__(*args)[0]


class OtherCell(torch.nn.LSTMCell):
    def forward(self, input, hx=None):
        return super().forward(input * 2, hx)


class Internal(torch.nn.LSTM):
    """A name that ours has by chance."""

    def _run(self, x):
        return x


class Mixed(Called, Mine):
    pass


MATTERS = {
    Shifted: "permute_hidden",
    Called: "__call__",
    OtherCell: "forward",
    Internal: "_run",
    Mixed: "__call__",
}


@pytest.mark.parametrize("kind", MATTERS)
def test_what_a_subclass_overrides_is_named(kind):
    model = torch.nn.ModuleList([kind(4, 5), torch.nn.LSTM(4, 5)])
    words = f"{kind.__name__} overrides {MATTERS[kind]}: accelerate(model, subclasses=True) takes it too"
    assert fast.accelerate(model) == fast.Accelerated(["1"], {"0": words})


@pytest.mark.parametrize("kind", [Shifted, Called, OtherCell, Mixed])
def test_what_overrides_something_gives_its_own_results(kind):
    model = kind(4, 5)
    x = torch.randn(3, 4) if kind is OtherCell else torch.randn(6, 3, 4)
    expected = model(x)
    fast.accelerate(model, subclasses=True)
    assert_same_values(model(x), expected)
    assert model.fallback == ("Shifted overrides permute_hidden" if kind is Shifted else None)


def test_a_class_that_cannot_be_made_stays():
    class Strict(torch.nn.LSTM):
        def __init_subclass__(cls, *, needed, **kwargs):
            super().__init_subclass__(**kwargs)

    model = torch.nn.ModuleList([Strict(4, 5), torch.nn.LSTM(4, 5)])
    done = fast.accelerate(model)
    assert done.swapped == ["1"]
    assert done.left["0"].startswith("its class cannot be changed: ")
    assert type(model[0]) is Strict


def test_classes_made_at_run_time_go_with_the_users_class():
    import gc
    import weakref

    class Local(torch.nn.LSTM):
        pass

    model = Local(4, 5)
    fast.accelerate(model)
    kinds = [weakref.ref(Local), weakref.ref(type(model))]
    del Local, model
    gc.collect()
    assert [kind() for kind in kinds] == [None, None]


# Nothing to switch


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.nn.Linear(2, 3), r"switched nothing: the model has no torch\.nn\.LSTM or LSTMCell"),
        (lambda: torch.nn.Sequential(torch.nn.LSTM(4, 5).half()), "switched nothing: what it has is left: {'0': 'para"),
    ],
)
def test_nothing_switched_is_a_warning(make, words):
    with pytest.warns(UserWarning, match=words) as seen:
        fast.accelerate(make())
    assert seen[0].filename == __file__
    with pytest.warns(UserWarning, match=words) as seen, fast.accelerated(make()):
        pass
    assert seen[0].filename == __file__


# torch.ao.quantization, which looks modules up by their exact type

quantization = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:torch.*", "ignore:.*jit")
AO = torch.ao.quantization
KINDS = {"LSTM": (torch.nn.LSTM, fast.LSTM, (6, 3, 4)), "LSTMCell": (torch.nn.LSTMCell, fast.LSTMCell, (3, 4))}
each_kind = pytest.mark.parametrize(("theirs", "ours", "shape"), KINDS.values(), ids=KINDS)


def quantized(model, **options):
    return AO.quantize_dynamic(model, **options)


@each_kind
@quantization
@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("spec", [None, "theirs"])
def test_quantizing_past_our_modules_is_said(theirs, ours, shape, accelerated, spec):
    model = torch.nn.Sequential((theirs if accelerated else ours)(4, 5))
    if accelerated:
        fast.accelerate(model)
    with pytest.warns(UserWarning, match=r"this LSTM(Cell)? is not quantized.*restore\(model\) before quantizing"):
        made = quantized(model, qconfig_spec={theirs} if spec else None)
    assert type(made[0]) is ours


@each_kind
@quantization
@pytest.mark.parametrize("accelerated", [False, True])
def test_quantizing_our_modules_by_name(theirs, ours, shape, accelerated):
    torch.manual_seed(0)
    plain = torch.nn.Sequential(theirs(4, 5))
    model = torch.nn.Sequential((theirs if accelerated else ours)(4, 5))
    model.load_state_dict(plain.state_dict())
    if accelerated:
        fast.accelerate(model)
    expected, made = quantized(plain, qconfig_spec={theirs}), quantized(model, qconfig_spec={ours})
    assert type(made[0]) is type(expected[0])
    assert type(model[0]) is ours
    x = torch.randn(shape)
    assert_equal_bits(made(x), expected(x))
    done = fast.accelerate(torch.nn.ModuleList([made, torch.nn.LSTM(4, 5)]))
    assert done == fast.Accelerated(["0.0", "1"], {})


@each_kind
@quantization
def test_restored_models_are_quantized_as_ever(theirs, ours, shape):
    model = torch.nn.Sequential(theirs(4, 5))
    fast.accelerate(model)
    fast.restore(model)
    assert type(quantized(model)[0]).__module__.startswith("torch.ao.nn.quantized.dynamic")


@quantization
def test_graph_mode_quantization_finds_what_it_knows():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = torch.nn.LSTM(4, 5)

        def forward(self, x):
            return self.rnn(x)[0]

    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    x, found = torch.randn(6, 3, 4), []
    plain = Net().eval()
    ours = copy.deepcopy(plain)
    fast.accelerate(ours)
    again = copy.deepcopy(ours)
    mapping = AO.QConfigMapping().set_global(AO.default_dynamic_qconfig)
    for model in (plain, ours):
        made = convert_fx(prepare_fx(model, mapping, (x,)))
        assert type(made.rnn).__module__.startswith("torch.ao.nn.quantized")
        found.append(made(x))
    assert_equal_bits(found[1], found[0])
    with pytest.warns(UserWarning, match="not quantized"):
        prepare_fx(again, AO.QConfigMapping().set_object_type(torch.nn.LSTM, AO.default_dynamic_qconfig), (x,))


@quantization
def test_quantizable_modules_are_left_as_one():
    rnn = torch.ao.nn.quantizable.LSTM(4, 5)
    assert fast.accelerate(torch.nn.ModuleList([rnn, torch.nn.LSTM(4, 5)])).left == {
        "0": "it is quantized: torch.ao.nn.quantizable.LSTM"
    }


# torch.jit


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("make", [torch.nn.LSTM, torch.nn.LSTMCell, Mine])
def test_scripting_is_refused_by_name_and_with_the_remedy(make):
    model = torch.nn.Sequential(make(4, 5))
    fast.accelerate(model)
    for scripted in (model, model[0]):
        with pytest.raises(RuntimeError, match=r"torch\.jit\.script cannot compile.*fastlstm\.torch\.restore\(model\)"):
            torch.jit.script(scripted)
    fast.restore(model)
    if make is torch.nn.LSTMCell:
        torch.jit.script(model[0])


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("make", [fast.LSTM, fast.LSTMCell])
def test_scripting_what_was_made_here_is_refused(make):
    with pytest.raises(RuntimeError, match=rf"take torch\.nn\.{make.__name__} with the same state_dict"):
        torch.jit.script(make(4, 5))
