"""Tensors that are not plain memory, in every place where a tensor goes in: torch's values, or torch's error."""

import pytest

from tests.support import run_python
from tests.torch.support import assert_same_values, import_torch, twins

torch = import_torch()

from torch.func import functional_call  # noqa: E402  torch first
from torch.nn.utils.rnn import PackedSequence  # noqa: E402

import fastlstm.torch as fast  # noqa: E402

each_kind = pytest.mark.parametrize("cell", [False, True], ids=["LSTM", "LSTMCell"])


class Logged(torch.Tensor):
    """A subclass that changes nothing."""


class Wrapper(torch.Tensor):
    """A subclass without memory of its own, as distributed and quantized tensors are."""

    @staticmethod
    def __new__(cls, held):
        made = torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype, device=held.device)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        def bare(t):
            return t.held if isinstance(t, Wrapper) else t

        return function(*torch.utils._pytree.tree_map(bare, args), **torch.utils._pytree.tree_map(bare, kwargs or {}))


def negative(shape):
    made = torch.randn(shape, dtype=torch.complex64).conj().imag
    assert made.is_neg()
    return made


KINDS = {
    "subclass": (lambda shape: torch.randn(shape).as_subclass(Logged), "is a Logged"),
    "negative bit": (negative, "has the negative bit"),
    "negative bit, contiguous": (lambda shape: torch._neg_view(torch.randn(shape)), "has the negative bit"),
    "no memory": (torch._efficientzerotensor, None),  # torch's own float32 LSTM reads whatever is there
    "no memory, view": (lambda shape: torch._efficientzerotensor((shape[0] + 2, *shape[1:]))[2:], None),
    "functional": (lambda shape: torch._to_functional_tensor(torch.randn(shape)), "wraps another tensor"),
}
each_tensor = pytest.mark.parametrize(("make", "words"), KINDS.values(), ids=KINDS)
PLACES = {"input": "input", "hx[0]": "h_0", "hx[1]": "c_0"}


def call(cell, place, make):
    """Return a call with a tensor of a kind in one place."""
    torch.manual_seed(4)
    shapes = {"input": (2, 3) if cell else (5, 2, 3)} | dict.fromkeys(("hx[0]", "hx[1]"), (2, 4) if cell else (1, 2, 4))
    x, h, c = ((make if name == place else torch.randn)(shape) for name, shape in shapes.items())
    return x, (h, c)


def memory(given):
    """Give zeros without memory theirs."""
    if isinstance(given, PackedSequence):
        return PackedSequence(memory(given.data), *given[1:])
    if isinstance(given, tuple):
        return tuple(map(memory, given))
    return given.clone() if given._is_zerotensor() else given


def assert_told(module, place, words):
    """Raise AssertionError unless the module says why torch's own code ran, or that it did not."""
    assert module.fallback is None if words is None else module.fallback.startswith(f"{place} {words}")


def plain(results):
    """Return results as plain tensors."""
    flat = [results[0], *(results[1] if isinstance(results[1], tuple) else results[1:])]
    flat = [t.data if isinstance(t, PackedSequence) else t for t in flat]
    return [torch._from_functional_tensor(t) if torch._is_functional_tensor(t) else t for t in flat]


@each_kind
@each_tensor
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("grad", [False, True])
def test_where_a_tensor_goes_in(cell, make, words, place, grad):
    theirs, ours = twins(torch, 3, 4, cell=cell)
    with torch.set_grad_enabled(grad):
        for _ in range(2):
            ours(*call(cell, None, None))  # the cell's shortest way is open
        try:
            expected = plain(theirs(*memory(call(cell, place, make))))
        except RuntimeError as error:
            with pytest.raises(type(error)):
                ours(*call(cell, place, make))
        else:
            got = plain(ours(*call(cell, place, make)))
            assert [type(t) for t in got] == [type(t) for t in expected]
            assert_same_values([t.as_subclass(torch.Tensor) for t in got], expected)
    assert_told(ours, place, words)


@each_kind
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_is_refused_as_by_torch(cell, place):
    def make(shape):
        return torch.nested.nested_tensor(list(torch.randn(shape)))

    theirs, ours = twins(torch, 3, 4, cell=cell)
    with torch.no_grad():
        for _ in range(2):
            ours(*call(cell, None, None))
        errors = []
        for module in (theirs, ours):
            with pytest.raises((RuntimeError, NotImplementedError)) as error:
                module(*call(cell, place, make))
            errors.append((error.type, str(error.value)))
    assert errors[0] == errors[1]
    assert ours.fallback == f"{place} is a nested tensor"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "functional"])  # which torch refuses to pack
@pytest.mark.parametrize("grad", [False, True])
def test_packed_data(kind, grad):
    found, (make, words) = [], KINDS[kind]
    theirs, ours = twins(torch, 3, 4)
    for module in (theirs, ours):
        torch.manual_seed(4)
        with torch.set_grad_enabled(grad):
            packed = PackedSequence(make((7, 3)), torch.tensor([2, 2, 1, 1, 1]))
            found.append(plain(module(packed if module is ours else memory(packed))))
    assert_same_values(*found[::-1])
    assert_told(ours, "input.data", words)


GRADS = {name: make for name, (make, _) in KINDS.items() if name != "functional"}
GRADS |= {"expanded": lambda shape: torch.randn(1).expand(shape)}


@each_kind
@pytest.mark.parametrize("make", GRADS.values(), ids=GRADS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_that_come_in(cell, make, create_graph):
    found = []
    for module in twins(torch, 3, 4, cell=cell, dtype=torch.float32):
        torch.manual_seed(4)
        x = torch.randn(*((2, 3) if cell else (5, 2, 3)), requires_grad=True)
        output = module(x)[0]
        torch.manual_seed(5)
        incoming = make(output.shape)
        incoming = memory(incoming) if type(module) is torch.nn.LSTM else incoming
        found.append(torch.autograd.grad(output, [x, *module.parameters()], incoming, create_graph=create_graph))
    assert_same_values(*found[::-1], "gradients, torch")


@each_kind
def test_a_gradient_that_wraps_another_tensor(cell):
    found = []
    for module in twins(torch, 3, 4, cell=cell, dtype=torch.float64):
        torch.manual_seed(4)
        x = torch.randn(*((2, 3) if cell else (5, 2, 3)), dtype=torch.float64, requires_grad=True)
        output = module(x)[0]
        found.append(torch.autograd.grad(output, x, Wrapper(torch.ones_like(output))))
    assert_same_values(*found[::-1], "gradients, torch")


PARAMETERS = {
    "subclass": (lambda p: p.detach().as_subclass(Logged), "is a Logged"),
    "negative bit": (lambda p: torch.complex(p.detach(), p.detach()).conj().imag, "has the negative bit"),
    "no memory": (lambda p: torch._efficientzerotensor(p.shape), "is zeros without memory"),
    "functional": (lambda p: torch._to_functional_tensor(p.detach()), "wraps another tensor"),
}


@each_kind
@pytest.mark.parametrize(("make", "words"), PARAMETERS.values(), ids=PARAMETERS)
@pytest.mark.parametrize("grad", [False, True])
def test_parameters(cell, make, words, grad):
    theirs, ours = twins(torch, 3, 4, cell=cell)
    x, _ = call(cell, None, None)
    name = "weight_ih" if cell else "weight_ih_l0"

    def run(module):
        with torch.set_grad_enabled(grad):
            return plain(functional_call(module, {name: make(getattr(module, name))}, (x,)))

    for _ in range(2):
        ours(x)
    try:
        expected = run(theirs)
    except RuntimeError as error:
        with pytest.raises(type(error)):
            run(ours)
    else:
        assert_same_values([t.as_subclass(torch.Tensor) for t in run(ours)], expected)
    assert ours.fallback.startswith(f"{name} {words}")
    ours(x)
    assert ours.fallback is None


# torch's own code crashes on a tensor whose storage was resized to nothing: ours says so.


@each_kind
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("offset", [0, 2])
def test_a_storage_resized_to_nothing_is_an_error(cell, place, grad, offset):
    def make(shape):
        made = torch.randn(shape[0] + offset, *shape[1:])[offset:]
        made.untyped_storage().resize_(0)
        return made

    _, ours = twins(torch, 3, 4, cell=cell)
    with torch.set_grad_enabled(grad):
        for _ in range(2):
            ours(*call(cell, None, None))
        with pytest.raises(RuntimeError, match=rf"{place.replace('[', '.').replace(']', '.')} has no memory"):
            ours(*call(cell, place, make))


def test_a_fresh_process_survives_tensors_of_zeros_without_memory():
    script = """
import torch, fastlstm.torch as ft
for module, shape in ((ft.LSTM(3, 4), (5, 2, 3)), (ft.LSTMCell(3, 4), (2, 3))):
    with torch.no_grad():
        for _ in range(3):
            result = module(torch._efficientzerotensor(shape))
    print(*result[0].shape)
"""
    assert run_python(script).split("\n")[:2] == ["5 2 4", "2 4"]


# Where torch takes tensors of several dtypes, so does the fallback; where it does not, the error says what to do.


def test_a_cell_state_of_another_dtype_that_torch_takes():
    theirs, ours = twins(torch, 3, 4, dtype=torch.float64)
    x, (h, c) = torch.randn(5, 2, 3, dtype=torch.float64), torch.randn(2, 1, 2, 4)
    assert_same_values(ours(x, (h.double(), c)), theirs(x, (h.double(), c)))
    assert ours.fallback == "hx[1] has dtype torch.float32, the parameters torch.float64"


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.uint8], ids=str)
@pytest.mark.parametrize("place", ["layer", "unbatched", "operator"])
def test_resets_that_are_no_flags_are_refused_with_the_remedy(dtype, place):
    lstm = fast.LSTM(3, 4)
    x, resets = torch.randn(5, 2, 3), torch.zeros(5, 2, dtype=dtype)
    parameters = list(lstm.parameters())
    run = {
        "layer": lambda: lstm(x, resets=resets),
        "unbatched": lambda: lstm(x[:, 0], resets=resets[:, 0]),
        "operator": lambda: torch.ops.fastlstm.lstm(
            x, None, None, parameters, None, resets, None, 1, False, True, False, 0.0, 0
        ),
    }[place]
    words = rf"resets should have dtype torch\.bool, got: {dtype}. Convert it: resets\.bool\(\)"
    with pytest.raises(TypeError, match=words):
        run()


@pytest.mark.parametrize("lengths", [torch.tensor([3.0, 1.0]), torch.tensor([True, False])], ids=lambda t: str(t.dtype))
def test_lengths_that_are_no_integers_are_refused_in_torchs_words(lengths):
    lstm = fast.LSTM(4, 5)
    with pytest.raises(TypeError, match=rf"lengths should be integers, got dtype: {lengths.dtype}.*lengths\.long\(\)"):
        lstm(torch.zeros(3, 2, 4), lengths=lengths)
    lstm(torch.zeros(3, 0, 4), lengths=torch.tensor([]))
