"""Where only torch's own code can run, it runs, gives its own values, and the module says why."""

import pytest
from support_torch import assert_equal_bits, assert_refused_alike, assert_same_values, import_torch, twins

torch = import_torch()

import fastlstm.torch as fast  # noqa: E402  torch first


def both(cell, **options):
    """Return torch's module, ours, and an input."""
    theirs, ours = twins(torch, 4, 5, cell=cell, **options)
    return theirs, ours, torch.randn(*((3, 4) if cell else (6, 3, 4)))


each_kind = pytest.mark.parametrize("cell", [False, True], ids=["LSTM", "LSTMCell"])


@each_kind
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_dtypes(cell, dtype):
    theirs, ours, x = both(cell)
    got, expected = ours.to(dtype)(x.to(dtype)), theirs.to(dtype)(x.to(dtype))
    assert torch.equal(got[0], expected[0])
    assert ours.fallback == f"a parameter has dtype {dtype}"
    ours.float()(x)
    assert ours.fallback is None


@each_kind
def test_the_meta_device(cell):
    theirs, ours, x = both(cell)
    got, expected = ours.to("meta")(x.to("meta")), theirs.to("meta")(x.to("meta"))
    assert got[0].is_meta
    assert got[0].shape == expected[0].shape
    assert ours.fallback == "parameters are on meta"


@each_kind
def test_autocast(cell):
    theirs, ours, x = both(cell)
    with torch.autocast("cpu"), torch.no_grad():
        got, expected = ours(x), theirs(x)
    assert got[0].dtype is expected[0].dtype
    assert torch.equal(got[0], expected[0])
    assert ours.fallback == "autocast is on"
    with torch.autocast("cpu", enabled=False):
        ours(x)
    assert ours.fallback is None


@each_kind
def test_vmap_is_refused_as_torch_refuses_it(cell):
    theirs, ours, x = both(cell)
    several = torch.stack([x, x * 2])
    assert_refused_alike(lambda: torch.vmap(theirs)(several), lambda: torch.vmap(ours)(several))
    assert ours.fallback == "inside a torch.func transform"


@each_kind
def test_func_grad(cell):
    found = []
    theirs, ours, x = both(cell)
    for module in (theirs, ours):
        parameters = {name: p.detach() for name, p in module.named_parameters()}

        def loss(parameters, module=module):
            return torch.func.functional_call(module, parameters, (x,))[0].sum()

        found.append(list(torch.func.grad(loss)(parameters).values()))
    assert_same_values(*found[::-1], "gradients, torch")
    assert ours.fallback == "inside a torch.func transform"


@each_kind
@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore::torch.jit.TracerWarning")
def test_a_trace(cell):
    theirs, ours, x = both(cell)
    ours(x)
    with torch.no_grad():
        traced = torch.jit.trace(ours, (x,), check_trace=False)
    assert ours.fallback == "torch.jit is tracing"
    other = torch.randn_like(x)
    assert_same_values(traced(other), theirs(other))


@each_kind
def test_subclasses_of_tensor(cell):
    class Mine(torch.Tensor):
        pass

    theirs, ours, x = both(cell)
    got, expected = ours(x.as_subclass(Mine)), theirs(x.as_subclass(Mine))
    assert type(got[0]) is type(expected[0])
    assert torch.equal(got[0].as_subclass(torch.Tensor), expected[0].as_subclass(torch.Tensor))
    assert ours.fallback == "input is a Mine"


def test_subclasses_of_parameter():
    class Mine(torch.nn.Parameter):
        pass

    theirs, ours, x = both(cell=False)
    ours.weight_hh_l0 = Mine(ours.weight_hh_l0.detach())
    assert_same_values(ours(x), theirs(x))
    assert ours.fallback == "a parameter is a Mine"


class Shifted:
    """What a subclass may do around the arithmetic."""

    def permute_hidden(self, hx, permutation):
        return tuple(t + 1 for t in hx)


class Theirs(Shifted, torch.nn.LSTM):
    pass


class Mine(Shifted, fast.LSTM):
    pass


class Deeper(Mine):
    pass


@pytest.mark.parametrize("make", [Mine, Deeper])
def test_a_subclass_that_overrides_what_happens_around_the_arithmetic(make):
    x, hx = torch.randn(6, 3, 4), (torch.zeros(1, 3, 5), torch.zeros(1, 3, 5))
    theirs, ours = Theirs(4, 5), make(4, 5)
    ours.load_state_dict(theirs.state_dict())
    assert_equal_bits(ours(x, hx), theirs(x, hx))
    assert ours.fallback == f"{make.__name__} overrides permute_hidden"


def test_a_subclass_that_overrides_nothing_of_that_runs_here():
    class Mine(fast.LSTM):
        def forward(self, input):
            return super().forward(input)[0]

    ours = Mine(4, 5)
    assert ours(torch.randn(6, 3, 4)).shape == (6, 3, 5)
    assert ours.fallback is None


@each_kind
def test_forward_hooks_do_not_fall_back(cell):
    theirs, ours, x = both(cell)
    expected = ours(x)
    for module in (theirs, ours):
        module.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
        module.register_forward_hook(lambda m, args, out: out[0] + 1)
    assert_same_values(ours(x), theirs(x))
    assert not torch.equal(ours(x), expected[0] + 1)
    assert ours.fallback is None


@pytest.mark.parametrize("kind", ["sparse", "other device"])
def test_input_of_another_kind_is_refused_alike(kind):
    theirs, ours, x = both(cell=False)
    other = x.to_sparse() if kind == "sparse" else x.to("meta")
    for module in (theirs, ours):
        with pytest.raises((RuntimeError, NotImplementedError)):
            module(other)[0].numpy()


def test_negative_views():
    theirs, ours, _ = both(cell=False)
    x = torch.randn(6, 3, 4, dtype=torch.complex64).conj().imag
    assert x.is_neg()
    assert_same_values(ours(x), theirs(x))
    cell_theirs, cell_ours, _ = both(cell=True)
    for grad in (True, False, False):
        with torch.set_grad_enabled(grad):
            assert_same_values(cell_ours(x[0]), cell_theirs(x[0]))


def test_the_reason_is_gone_after_a_call_that_runs_here():
    _, ours, x = both(cell=False)
    with torch.autocast("cpu"):
        ours(x)
    assert ours.fallback == "autocast is on"
    ours(x)
    assert ours.fallback is None
