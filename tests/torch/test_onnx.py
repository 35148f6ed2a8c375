"""torch.onnx.export takes an accelerated model as it takes torch's own, by both exporters; torch.export goes on."""

import pytest

from tests.torch.support import arrays, assert_same_values, import_torch

torch = import_torch()
onnx = pytest.importorskip("onnx", reason="pip install onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install onnxruntime")
pytest.importorskip("onnxscript", reason="pip install onnxscript")

import fastlstm.torch as fast  # noqa: E402  torch first

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),  # torch's, about itself
    pytest.mark.filterwarnings("ignore:The tensor attributes self._flat_weights", "ignore:LSTM with projections"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch.onnx.*"),  # of a batch size that becomes a constant
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]
BIG = {"num_layers": 2, "bidirectional": True, "batch_first": True}


class Net(torch.nn.Module):
    """An LSTM or a cell as a part of a model."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn = rnn

    def forward(self, x, *hx):
        first, second = self.rnn(x, hx or None)
        return (first, *second) if isinstance(second, tuple) else (first, second)


def lstm(part, options, states):
    """Return a model, or a bare layer, and what to call it with."""
    rnn = torch.nn.LSTM(3, 4, **options)
    n = rnn.num_layers * (1 + rnn.bidirectional)
    hx = (torch.randn(n, 2, 4), torch.randn(n, 2, 4)) if states else ()
    x = torch.randn(2, 5, 3) if rnn.batch_first else torch.randn(5, 2, 3)
    return (Net(rnn), (x, *hx)) if part else (rnn, (x, hx) if hx else (x,))


def cell(part, states):
    """Return a model with a cell, or a bare one, and what to call it with."""
    rnn = torch.nn.LSTMCell(3, 4)
    hx = (torch.randn(2, 4), torch.randn(2, 4)) if states else ()
    x = torch.randn(2, 3)
    return (Net(rnn), (x, *hx)) if part else (rnn, (x, hx) if hx else (x,))


CASES = {
    "a part": (lambda: lstm(True, {}, False), 1),
    "bare": (lambda: lstm(False, {}, False), 1),
    "bare, states": (lambda: lstm(False, {}, True), 1),
    "a part, two layers, states": (lambda: lstm(True, BIG, True), 2),
    "cell, a part, states": (lambda: cell(True, True), 0),  # some products and sums, as torch's own cell
    "cell, bare": (lambda: cell(False, False), 0),
}


def run(path, call):
    """Return what onnxruntime makes of a file."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return session.run(None, dict(zip(names, arrays(call), strict=True)))


def lstms(path):
    """Count a file's LSTM nodes."""
    return sum(node.op_type == "LSTM" for node in onnx.load(str(path)).graph.node)


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize(("make", "nodes"), CASES.values(), ids=CASES)
def test_export(make, nodes, dynamo, tmp_path):
    model, call = make()
    expected = model.eval()(*call)
    fast.accelerate(model, frozen=False)
    model(*call)
    torch.onnx.export(model, call, tmp_path / "m.onnx", dynamo=dynamo, verbose=False)
    got = run(tmp_path / "m.onnx", call)
    assert_same_values([torch.from_numpy(array) for array in got], expected)
    assert lstms(tmp_path / "m.onnx") == nodes
    model(*call)
    module = getattr(model, "rnn", model)
    assert module.fallback is None


@pytest.mark.filterwarnings("error:The tensor attributes self._flat_weights")
def test_export_where_the_first_way_of_capturing_fails(tmp_path):
    """The exporter then captures strictly: dynamo reads our code, and takes torch's question for a constant."""
    model, call = fast.LSTM(3, 4).eval(), (torch.randn(5, 2, 3),)
    torch.onnx.export(model, call, tmp_path / "m.onnx", verbose=False)
    assert lstms(tmp_path / "m.onnx") == 1
    assert_same_values([torch.from_numpy(array) for array in run(tmp_path / "m.onnx", call)], model(*call))


def test_export_of_an_exported_program_that_holds_the_operator(tmp_path):
    model, call = lstm(True, BIG, True)
    fast.accelerate(model.eval())
    program = torch.export.export(model, call)
    assert "fastlstm.lstm.default" in str(program.graph)
    program = program.run_decompositions(fast.decompositions())
    torch.onnx.export(program, (), tmp_path / "m.onnx", verbose=False)
    assert lstms(tmp_path / "m.onnx") == 2
    assert_same_values([torch.from_numpy(array) for array in run(tmp_path / "m.onnx", call)], model(*call))


def test_what_torch_has_no_operator_for_is_refused():
    class WithLengths(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = fast.LSTM(3, 4)

        def forward(self, x, lengths):
            return self.rnn(x, lengths=lengths)[0]

    call = (torch.randn(5, 2, 3), torch.tensor([5, 2]))
    program = torch.export.export(WithLengths(), call)
    with pytest.raises(Exception, match="fastlstm::lstm with lengths, resets or dropout has no counterpart"):
        program.run_decompositions(fast.decompositions())


@pytest.mark.parametrize("options", [{}, BIG, {"proj_size": 2}, {"bias": False}], ids=str)
def test_decompositions(options):
    rnn = torch.nn.LSTM(3, 4, **options)
    model = Net(rnn).eval()
    x = torch.randn(2, 5, 3)
    expected = model(x)
    fast.accelerate(model)
    program = torch.export.export(model, (x,))
    for table, ours in ((None, True), ({}, True), (fast.decompositions(), False)):
        made = program.run_decompositions(table)
        assert ("fastlstm.lstm.default" in str(made.graph)) is ours
        assert_same_values(made.module()(x), expected)
