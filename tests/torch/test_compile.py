"""torch.compile and torch.export: the LSTM is one operator of the graph, with its gradient."""

import gc
import os
import shutil
import weakref

import pytest

from tests.support import run_python
from tests.torch.support import assert_equal_bits, assert_same_values, import_torch, twins

torch = import_torch()

import fastlstm.torch as fast  # noqa: E402  torch first

BIG = {"num_layers": 2, "bidirectional": True, "proj_size": 2, "batch_first": True}
each_backend = pytest.mark.parametrize("backend", ["eager", "aot_eager"])
pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections"),  # torch's, about its own code
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # what the compiler imports
]


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Tagger(torch.nn.Module):
    """Embedding, LSTM, linear head."""

    def __init__(self, make=torch.nn.LSTM, **options):
        super().__init__()
        self.embedding = torch.nn.Embedding(20, 8)
        self.rnn = make(8, 6, **options)
        width = (options.get("proj_size") or 6) * (1 + options.get("bidirectional", False))
        self.head = torch.nn.Linear(width, 3)

    def forward(self, tokens):
        output, (h_n, _) = self.rnn(self.embedding(tokens))
        return self.head(output), h_n


def tagger(**options):
    """Return the model as torch runs it, with fastlstm in it, and tokens."""
    theirs = Tagger(**options)
    ours = Tagger(fast.LSTM, **options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours, torch.randint(20, (7, 3))


def trained(run, model, *args):
    model.zero_grad()
    logits, h_n = run(*args)
    (logits.square().sum() + h_n.sum()).backward()
    return [logits, h_n, *(p.grad for p in model.parameters())]


class Counted:
    """A backend of torch.compile that keeps the graphs it was given."""

    def __init__(self):
        self.graphs = []

    def __call__(self, graph, inputs):
        self.graphs.append(graph)
        return graph.forward

    def operators(self):
        """Return the names of all that the graphs call."""
        return [str(node.target) for graph in self.graphs for node in graph.graph.nodes if node.op == "call_function"]


@each_backend
@pytest.mark.parametrize("options", [{}, BIG], ids=str)
def test_one_graph_with_the_same_values_and_gradients(options, backend):
    theirs, ours, tokens = tagger(**options)
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(ours, fullgraph=True, backend=backend)
        found = trained(compiled, ours, tokens)
        with torch.no_grad():
            assert_equal_bits(compiled(tokens), ours(tokens))
    assert_equal_bits(found[:2], trained(ours, ours, tokens)[:2])
    assert_same_values(found, trained(theirs, theirs, tokens), "torch, trained")


def test_the_operator_is_in_the_graph_once():
    _, ours, tokens = tagger()
    backend = Counted()
    with torch._dynamo.config.patch(allow_rnn=True):
        torch.compile(ours, fullgraph=True, backend=backend)(tokens)
    assert len(backend.graphs) == 1
    assert sum("fastlstm.lstm" in name for name in backend.operators()) == 1


@pytest.mark.filterwarnings("ignore::UserWarning")  # what the compiler says of code that it then leaves alone
def test_without_allow_rnn_the_module_runs_outside_the_graph():
    theirs, ours, tokens = tagger()
    backend = Counted()
    with torch._dynamo.config.patch(allow_rnn=False):
        found = trained(torch.compile(ours, backend=backend), ours, tokens)
    assert not any("fastlstm" in name for name in backend.operators())
    assert_same_values(found, trained(theirs, theirs, tokens), "torch, trained")
    assert ours.rnn.fallback is None


def test_changed_parameters_are_seen_by_what_was_compiled():
    theirs, ours, tokens = tagger()
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
        found = []
        for model, run in ((theirs, theirs), (ours, compiled)):
            optimizer = torch.optim.SGD(model.parameters(), 0.01)
            steps = []
            for _ in range(3):
                optimizer.zero_grad()
                loss = run(tokens)[0].square().sum()
                loss.backward()
                optimizer.step()
                steps.append(loss)
            found.append(steps)
    assert_same_values(*found[::-1], "torch, trained")


class Passing(torch.utils._python_dispatch.TorchDispatchMode):
    """A dispatch mode that changes nothing."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("grad", [False, True])
def test_the_operator_lets_go_of_a_module(grad):
    module, x = fast.LSTM(3, 4), torch.randn(5, 2, 3)
    expected = module(x)[0]
    with torch.set_grad_enabled(grad), Passing():
        assert_equal_bits(module(x)[0], expected)
    seen = weakref.ref(module.weight_ih_l0)
    del module, expected
    gc.collect()
    assert seen() is None


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="inductor needs a C++ compiler")
@pytest.mark.skipif(
    "ATEN_CPU_CAPABILITY" in os.environ,
    reason="torch 2.13's inductor, told of another CPU, leaves zeros unwritten that it hands on",
)
def test_inductor():
    """In a process of its own: inductor imports setuptools, which another test's distutils would be in the way of."""
    run_python(
        """
import torch
from tests.torch.support import assert_same_values
from tests.torch.test_compile import tagger, trained

theirs, ours, tokens = tagger()
with torch._dynamo.config.patch(allow_rnn=True):
    found = trained(torch.compile(ours, fullgraph=True), ours, tokens)
assert_same_values(found, trained(theirs, theirs, tokens), "torch, trained")
"""
    )


@each_backend
def test_lengths_resets_states_and_a_batch_alone(backend):
    lstm = fast.LSTM(4, 5, num_layers=2)
    x, hx = torch.randn(6, 3, 4), (torch.randn(2, 3, 5), torch.randn(2, 3, 5))
    calls = (
        ((x, hx), {}),
        ((x,), {"lengths": torch.tensor([6, 2, 0])}),
        ((x, hx), {"resets": torch.rand(6, 3) < 0.3}),
        ((x[:, 0],), {}),
        ((x[:, 0], tuple(t[:, 0] for t in hx)), {}),
    )
    with torch._dynamo.config.patch(allow_rnn=True):
        for args, extra in calls:
            torch._dynamo.reset()
            run = torch.compile(lambda *a, e=extra: lstm(*a, **e), fullgraph=True, backend=backend)
            got = run(*args)
            expected = lstm(*args, **extra)
            assert_equal_bits(got, expected)
            of = list(lstm.parameters())
            assert_same_values(
                torch.autograd.grad(got[0].sum(), of), torch.autograd.grad(expected[0].sum(), of), "gradients, torch"
            )


def test_dropout_follows_torchs_seed():
    lstm = fast.LSTM(4, 5, num_layers=2, dropout=0.5)
    x = torch.randn(6, 3, 4)
    found = []
    with torch._dynamo.config.patch(allow_rnn=True):
        run = torch.compile(lstm, fullgraph=True, backend="aot_eager")
        for seed in (1, 2, 1):
            torch.manual_seed(seed)
            output, _ = run(x)
            found.append([output, *torch.autograd.grad(output.sum(), list(lstm.parameters()))])
    assert_equal_bits(found[2], found[0])
    assert not torch.equal(found[1][0], found[0][0])


def test_a_cell_in_a_graph():
    theirs, ours = twins(torch, 4, 5, cell=True)
    x = torch.randn(6, 3, 4)

    def loop(cell, x):
        hx = None
        for step in x.unbind():
            hx = cell(step, hx)
        return hx

    with torch._dynamo.config.patch(allow_rnn=True):
        got = torch.compile(lambda x: loop(ours, x), backend="aot_eager")(x)
    assert_same_values(got, loop(theirs, x))


def test_what_cannot_be_in_the_graph_says_so():
    lstm = fast.LSTM(4, 5).half()
    with torch._dynamo.config.patch(allow_rnn=True):
        run = torch.compile(lambda x: lstm(x, lengths=[1, 2, 3]), backend="eager")
        with pytest.raises(RuntimeError, match="lengths= and resets= need fastlstm's own code"):
            run(torch.randn(6, 3, 4).half())


zeros = torch.zeros
REFUSED = {
    "states of other rows": (
        (zeros(5, 9, 4), (zeros(1, 2, 3), zeros(1, 2, 3))),
        r"Expected hidden\[0\] size \(1, 9, 3\)",
    ),
    "c_0 of other units": (
        (zeros(5, 2, 4), (zeros(1, 2, 3), zeros(1, 2, 1))),
        r"Expected hidden\[1\] size \(1, 2, 3\)",
    ),
    "3-D states, unbatched": (
        (zeros(5, 4), (zeros(1, 1, 3), zeros(1, 1, 3))),
        r"Expected hidden\[0\] size \(1, 1, 3\)",
    ),
    "no steps": ((zeros(0, 2, 4),), "Expected sequence length to be larger than 0"),
}


@each_backend
@pytest.mark.parametrize(("call", "words"), REFUSED.values(), ids=REFUSED)
def test_a_graph_refuses_what_the_module_refuses(call, words, backend):
    lstm = fast.LSTM(4, 3)
    with torch._dynamo.config.patch(allow_rnn=True), pytest.raises(RuntimeError, match=words):
        torch.compile(lstm, backend=backend)(*call)


# Export


@pytest.mark.parametrize("options", [{"batch_first": True}, BIG], ids=str)
def test_export_with_free_steps_and_rows(options):
    theirs, ours, _ = tagger(**options)
    theirs.eval()
    T, B = torch.export.Dim("T", min=1), torch.export.Dim("B", min=1)
    program = torch.export.export(ours.eval(), (torch.randint(20, (4, 9)),), dynamic_shapes=({0: B, 1: T},))
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert targets.count("fastlstm.lstm.default") == 1
    for shape in ((4, 9), (2, 30), (11, 3)):
        tokens = torch.randint(20, shape)
        assert_same_values(program.module()(tokens), theirs(tokens))


def test_export_of_an_accelerated_model():
    model = Tagger().eval()
    tokens = torch.randint(20, (7, 3))
    expected = model(tokens)
    with fast.accelerated(model):
        program = torch.export.export(model, (tokens,))
    assert "fastlstm.lstm.default" in str(program.graph)
    assert_same_values(program.module()(tokens), expected)


# The operator


def arguments(lstm, x, hx=(None, None), lengths=None, resets=None, seed=None, dropout=0.0):
    return (
        x,
        *hx,
        list(lstm.parameters()),
        lengths,
        resets,
        seed,
        lstm.num_layers,
        lstm.bidirectional,
        lstm.bias,
        lstm.batch_first,
        dropout,
        0,
    )


@pytest.mark.parametrize("options", [{}, {"bias": False}, BIG], ids=str)
@pytest.mark.parametrize("states", [False, True])
def test_opcheck(options, states):
    lstm = fast.LSTM(4, 5, **options)
    n = lstm.num_layers * (1 + lstm.bidirectional)
    hx = (torch.randn(n, 3, lstm.proj_size or 5), torch.randn(n, 3, 5)) if states else (None, None)
    x = torch.randn(3, 3, 4, requires_grad=True)
    torch.library.opcheck(torch.ops.fastlstm.lstm.default, arguments(lstm, x, hx))


def test_opcheck_with_lengths_and_dropout():
    lstm = fast.LSTM(4, 5, num_layers=2)
    x = torch.randn(6, 3, 4, requires_grad=True)
    lengths, seed = torch.tensor([6, 2, 0]), torch.tensor(3)
    torch.library.opcheck(torch.ops.fastlstm.lstm.default, arguments(lstm, x, lengths=lengths, seed=seed, dropout=0.5))


def test_the_operator_refuses_what_it_cannot_run():
    half, lstm = fast.LSTM(4, 5, dtype=torch.float16), fast.LSTM(4, 5)
    run = torch.ops.fastlstm.lstm
    with pytest.raises(ValueError, match=r"fastlstm::lstm cannot run: weight_ih_l0 has dtype torch\.float16"):
        run(*arguments(half, zeros(6, 3, 4, dtype=torch.float16)))
    with pytest.raises(ValueError, match=r"input has dtype torch\.float64, the parameters torch\.float32"):
        run(*arguments(lstm, zeros(6, 3, 4, dtype=torch.float64)))
    with pytest.raises(ValueError, match="Expected input to be 3D, got 2D"):
        run(*arguments(lstm, zeros(6, 4)))
    with pytest.raises(RuntimeError, match="Expected 4, got 2"):
        run(*arguments(lstm, zeros(6, 3, 2)))


def test_fake_tensors_have_the_shapes_of_real_ones():
    for options in ({}, BIG, {"batch_first": True}):
        lstm = fast.LSTM(4, 5, **options)
        x = torch.randn(6, 3, 4)
        real = lstm(x)
        with torch._subclasses.FakeTensorMode(allow_non_fake_inputs=True) as mode:
            made = lstm(mode.from_tensor(x))
        for fake, like in zip((made[0], *made[1]), (real[0], *real[1]), strict=True):
            assert (fake.shape, fake.stride(), fake.dtype) == (like.shape, like.stride(), like.dtype)
