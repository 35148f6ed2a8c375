"""Made like torch's, drawn like torch's, printed, copied and saved like torch's; refused like torch's."""

import copy
import io
import pickle

import pytest

from tests.torch.support import assert_equal_bits, assert_refused_alike, assert_same_values, import_torch, twins

torch = import_torch()

import fastlstm.torch as fast  # noqa: E402  torch first

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch's, about its own code

KINDS = {"LSTM": (torch.nn.LSTM, fast.LSTM), "LSTMCell": (torch.nn.LSTMCell, fast.LSTMCell)}
each_kind = pytest.mark.parametrize(("theirs", "ours"), KINDS.values(), ids=KINDS)
MADE = (
    ("LSTM", (4, 3), {}),
    ("LSTM", (4, 3, 2, False, True, 0.5, True, 2), {}),
    ("LSTM", (4, 3), {"num_layers": 2, "bidirectional": True, "proj_size": 2, "dtype": torch.float64}),
    ("LSTM", (4, 3), {"device": "meta"}),
    ("LSTM", (), {"input_size": 4, "hidden_size": 3, "bias": False}),
    ("LSTMCell", (4, 3), {}),
    ("LSTMCell", (4, 3, False), {"dtype": torch.float64}),
)


@pytest.mark.parametrize(("kind", "args", "options"), MADE)
def test_the_same_names_parameters_and_text(kind, args, options):
    made = []
    for make in KINDS[kind]:
        torch.manual_seed(7)
        made.append(make(*args, **options))
    theirs, ours = made
    assert isinstance(ours, type(theirs))
    assert repr(ours) == f"fastlstm.{theirs!r}"
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (one.dtype, one.device, one.shape) == (other.dtype, other.device, other.shape)
        assert other.is_meta or torch.equal(one, other)


def test_the_text_says_nothing_of_threads_and_the_state_dict_neither():
    assert repr(fast.LSTM(4, 3, threads=2)) == "fastlstm.LSTM(4, 3)"
    assert list(fast.LSTM(4, 3, threads=2).state_dict()) == list(torch.nn.LSTM(4, 3).state_dict())


BAD = (
    {"input_size": 0},
    {"input_size": 4.0},
    {"hidden_size": 0},
    {"hidden_size": 3.0},
    {"num_layers": 0},
    {"proj_size": 3},
    {"proj_size": -1},
    {"dropout": 1.5},
    {"dropout": -0.5},
    {"dropout": True},
    {"bias": 1},
    {"batch_first": 1},
    {"nonsense": 1},
)


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_bad_arguments_are_refused_alike(bad):
    options = {"input_size": 4, "hidden_size": 3} | bad
    assert_refused_alike(lambda: torch.nn.LSTM(**options), lambda: fast.LSTM(**options))


def test_dropout_with_one_layer_warns_alike():
    for make in KINDS["LSTM"]:
        with pytest.warns(UserWarning, match="non-zero dropout expects num_layers greater than 1"):
            make(4, 3, dropout=0.5)


@pytest.mark.parametrize(("threads", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_bad_threads(threads, error):
    with pytest.raises(error, match="threads"):
        fast.LSTM(4, 3, threads=threads)


def torch_save(module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda m: pickle.loads(pickle.dumps(m)), "torch.save": torch_save}


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_copies(make, used):
    lstm, cell = fast.LSTM(4, 3, num_layers=2, threads=2), fast.LSTMCell(4, 3)
    x = torch.randn(5, 2, 4)
    with torch.no_grad():
        if used:
            lstm(x), cell(x[0])
        for module, given in ((lstm, x), (cell, x[0])):
            other = make(module)
            assert type(other) is type(module)
            assert_equal_bits(other(given), module(given))
            assert other.fallback is None
            before = module(given)
            next(other.parameters()).mul_(2)
            assert_equal_bits(module(given), before)
            assert not torch.equal(other(given)[0], before[0])
    assert make(lstm).threads == 2


def test_a_state_dict_goes_both_ways_through_a_file():
    theirs, ours = torch.nn.LSTM(4, 3, num_layers=2), fast.LSTM(4, 3, num_layers=2)
    x = torch.randn(5, 2, 4)
    for source, target in ((theirs, ours), (ours, torch.nn.LSTM(4, 3, num_layers=2))):
        file = io.BytesIO()
        torch.save(source.state_dict(), file)
        file.seek(0)
        target.load_state_dict(torch.load(file, weights_only=True))
        assert_same_values(target(x), source(x))


def test_moving_to_another_dtype_and_back():
    theirs, ours = twins(torch, 4, 3)
    x = torch.randn(5, 2, 4)
    ours(x)
    for dtype in (torch.float64, torch.float32):
        theirs.to(dtype), ours.to(dtype)
        assert_same_values(ours(x.to(dtype)), theirs(x.to(dtype)))
        assert ours.fallback is None


@each_kind
def test_deferred_initialisation(theirs, ours):
    module = ours(4, 3, device="meta").to_empty(device="cpu")
    like = theirs(4, 3)
    for each in (module, like):
        torch.manual_seed(5)
        each.reset_parameters()
    x = torch.randn(2, 4) if ours is fast.LSTMCell else torch.randn(5, 2, 4)
    assert_same_values(module(x), like(x))
    assert module.fallback is None


def test_modules_share_parameters():
    one, other = fast.LSTM(4, 3), fast.LSTM(4, 3)
    for name, parameter in one.named_parameters():
        setattr(other, name, parameter)
    x = torch.randn(5, 2, 4)
    assert_equal_bits(other(x), one(x))
    with torch.no_grad():
        one.weight_ih_l0.mul_(2)
    assert_equal_bits(other(x), one(x))
    (one(x)[0].sum() + other(x)[0].sum()).backward()
    theirs = torch.nn.LSTM(4, 3)
    theirs.load_state_dict(one.state_dict())
    (2 * theirs(x)[0].sum()).backward()
    assert_same_values([p.grad for p in other.parameters()], [p.grad for p in theirs.parameters()], "gradients, torch")


@each_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_forget_bias(theirs, ours, dtype):
    options = {"num_layers": 2, "bidirectional": True} if theirs is torch.nn.LSTM else {}
    torch.manual_seed(7)
    plain = theirs(4, 3, dtype=dtype, **options)
    torch.manual_seed(7)
    made = ours(4, 3, dtype=dtype, forget_bias=2.5, **options)
    for _ in range(2):
        for (name, one), other in zip(made.named_parameters(), plain.parameters(), strict=True):
            assert one.requires_grad
            wanted = other.detach().clone()
            if name.startswith("bias"):
                wanted[3:6] = 2.5 if name.startswith("bias_ih") else 0
            assert torch.equal(one, wanted)
        for module in (plain, made):
            torch.manual_seed(8)
            module.reset_parameters()
    assert copy.deepcopy(made).forget_bias == 2.5
    assert list(made.state_dict()) == list(plain.state_dict())


@each_kind
def test_a_wrong_forget_bias(theirs, ours):
    for value, error, options in (
        ("1", TypeError, {}),
        (float("nan"), ValueError, {}),
        (1.0, ValueError, {"bias": False}),
        (1e5, ValueError, {"dtype": torch.float16}),
    ):
        with pytest.raises(error, match="forget_bias"):
            ours(4, 3, forget_bias=value, **options)
