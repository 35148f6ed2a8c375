"""Where only torch's own code can run, it runs, gives its own values, and the module says why."""

import contextlib
import gc
import weakref

import pytest

from tests.torch.support import assert_equal_bits, assert_refused_alike, assert_same_values, import_torch, twins

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
    theirs.to(dtype), ours.to(dtype)
    try:
        expected = theirs(x.to(dtype))
    except RuntimeError as error:  # oneDNN, on a CPU without them
        with pytest.raises(RuntimeError, match=str(error)[:40]):
            ours(x.to(dtype))
    else:
        assert torch.equal(ours(x.to(dtype))[0], expected[0])
    name = "weight_ih" if cell else "weight_ih_l0"
    assert ours.fallback == f"{name} has dtype {dtype}, expected torch.float32 or torch.float64"
    ours.float()(x)
    assert ours.fallback is None


@each_kind
def test_the_meta_device(cell):
    theirs, ours, x = both(cell)
    got, expected = ours.to("meta")(x.to("meta")), theirs.to("meta")(x.to("meta"))
    assert got[0].is_meta
    assert got[0].shape == expected[0].shape
    assert ours.fallback == f"{'weight_ih' if cell else 'weight_ih_l0'} is on meta with layout torch.strided"


# Under autocast torch's code runs, and where that cannot (oneDNN on a CPU without bfloat16 or float16), ours.


def results(given):
    """Return a module's results in a row."""
    first, second = given
    first = first.data if isinstance(first, torch.nn.utils.rnn.PackedSequence) else first
    return [first, *second] if isinstance(second, tuple) else [first, second]


AUTOCAST = {
    "LSTM": (False, {}, {}, "float32"),
    "two layers": (False, {"num_layers": 2, "bidirectional": True, "batch_first": True}, {}, "float32"),
    "without bias": (False, {"bias": False}, {}, "float32"),
    "projected": (False, {"proj_size": 2}, {}, "float32"),
    "float64": (False, {"dtype": torch.float64}, {}, "float64"),
    "LSTMCell": (True, {}, {}, "float32"),
}


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(("cell", "options", "more", "given"), AUTOCAST.values(), ids=AUTOCAST)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_autocast(cell, options, more, given, dtype, grad, half):
    theirs, ours, x = both(cell, **options)
    x = x.to(dtype) if half else x.to(getattr(torch, given))
    with torch.autocast("cpu", dtype=dtype), torch.set_grad_enabled(grad):
        try:
            expected = results(theirs(x))
        except RuntimeError as error:
            if "could not create a primitive" not in str(error):
                with pytest.raises(RuntimeError):
                    ours(x)
                return
            got = results(ours(x))
            assert [t.dtype for t in got] == [dtype] * 3  # as oneDNN gives them where it can
            assert ours.fallback is None
            with torch.autocast("cpu", enabled=False):
                plain = results(ours(x.float()))
            assert all(torch.equal(one, other.to(dtype)) for one, other in zip(got, plain, strict=True))
        else:
            got = results(ours(x))
            assert [t.dtype for t in got] == [t.dtype for t in expected]
            assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))
            assert ours.fallback == "autocast is on"
    with torch.autocast("cpu", enabled=False):
        ours(x.to(getattr(torch, given)))
    assert ours.fallback is None


def refuse(*args):
    raise RuntimeError("could not create a primitive descriptor for the LSTM forward propagation primitive")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", ["batch", "states", "unbatched", "packed", "half states"])
def test_autocast_where_torch_cannot(kind, dtype, monkeypatch):
    """Whatever the CPU: torch's LSTM fails as it does on one without these dtypes."""
    _, ours, x = both(cell=False)
    shape = (1, 5) if kind == "unbatched" else (1, 3, 5)
    hx = (torch.randn(shape), torch.randn(shape)) if "states" in kind or kind == "unbatched" else None
    if kind == "packed":
        x = torch.nn.utils.rnn.pack_padded_sequence(x, [6, 2, 4], enforce_sorted=False)
    x = x[:, 0] if kind == "unbatched" else x
    expected = results(ours(x, hx))
    monkeypatch.setattr(torch._VF, "lstm", refuse)
    with torch.autocast("cpu", dtype=dtype):
        given = tuple(h.to(dtype) for h in hx) if kind == "half states" else hx
        got = results(ours(x, given))
    assert ours.fallback is None
    assert [t.dtype for t in got] == [dtype] * 3
    if kind != "half states":
        assert all(torch.equal(one, other.to(dtype)) for one, other in zip(got, expected, strict=True))
    sum(t.float().sum() for t in got).backward()
    assert all(p.grad is not None and p.grad.dtype is torch.float32 for p in ours.parameters())


def test_another_error_under_autocast_stays(monkeypatch):
    _, ours, x = both(cell=False)

    def fail(*args):
        raise RuntimeError("something else")

    monkeypatch.setattr(torch._VF, "lstm", fail)
    with torch.autocast("cpu"), pytest.raises(RuntimeError, match="something else"):
        ours(x)
    monkeypatch.setattr(torch._VF, "lstm", refuse)
    with torch.autocast("cpu"), pytest.raises(RuntimeError, match="could not create a primitive"):
        ours(torch.ones(6, 3, 4, dtype=torch.int64))  # which ours refuses too


@pytest.mark.parametrize(
    "more", [{"lengths": [6, 2, 0]}, {"resets": torch.ones(6, 3, dtype=torch.bool)}], ids=["lengths", "resets"]
)
def test_lengths_and_resets_under_autocast(more):
    _, ours, x = both(cell=False)
    expected = results(ours(x, **more))
    with torch.autocast("cpu"):
        got = results(ours(x, **more))
    assert all(torch.equal(one, other.bfloat16()) for one, other in zip(got, expected, strict=True))
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


@each_kind
def test_a_call_on_torchs_code_keeps_nothing(cell):
    _, ours, x = both(cell)
    given = torch._neg_view(x)
    seen = weakref.ref(given)
    gc.disable()  # what only the collector would find is kept for a while
    try:
        ours(given)
        del given
        assert ours.fallback is not None
        assert seen() is None
    finally:
        gc.enable()


def under_autocast(module, x):
    with torch.autocast("cpu"):
        module(x.double(), lengths=[1] * x.shape[1])


REFUSED = {
    "input": lambda module, x: module(torch.cat([x, x], 2)),
    "hx": lambda module, x: module(x, (torch.zeros(7, 7, 7),) * 2),
    "dtype of hx": lambda module, x: module(x, (torch.zeros(1, 3, 5, dtype=torch.float16),) * 2),
    "lengths": lambda module, x: module(x, lengths=[99] * x.shape[1]),
    "lengths of another dtype": lambda module, x: module(x.half(), lengths=[1] * x.shape[1]),
    "lengths of another dtype, autocast": under_autocast,
}


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("grad", [False, True])
def test_a_call_that_is_refused_keeps_nothing(call, grad):
    _, ours, x = both(cell=False)
    seen = weakref.ref(x)
    gc.disable()
    try:
        with torch.set_grad_enabled(grad), contextlib.suppress(RuntimeError, ValueError):
            call(ours, x)
        del x
        assert seen() is None
    finally:
        gc.enable()


def test_subclasses_of_parameter():
    class Mine(torch.nn.Parameter):
        pass

    theirs, ours, x = both(cell=False)
    ours.weight_hh_l0 = Mine(ours.weight_hh_l0.detach())
    assert_same_values(ours(x), theirs(x))
    assert ours.fallback == "weight_hh_l0 is a Mine"


UNFIT = {
    "dtype": (lambda p: p.double(), "weight_hh_l0 has dtype torch.float64, weight_ih_l0 torch.float32"),
    "shape": (lambda p: torch.cat([p, p]), "weight_hh_l0 has shape (40, 5), expected (20, 5)"),
}


@pytest.mark.parametrize(("change", "words"), UNFIT.values(), ids=UNFIT)
def test_parameters_that_do_not_belong_together(change, words):
    _, ours, x = both(cell=False)
    ours.weight_hh_l0 = torch.nn.Parameter(change(ours.weight_hh_l0.detach()))
    with contextlib.suppress(RuntimeError):  # torch does not refuse them all
        ours(x)
    assert ours.fallback == words


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
    with torch.autograd.forward_ad.dual_level():
        ours(x)
    assert ours.fallback == "inside a dual level of forward-mode differentiation"
    ours(x)
    assert ours.fallback is None
