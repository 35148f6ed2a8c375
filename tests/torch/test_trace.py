"""fastlstm.torch.trace: the gates of whole models, by the modules' names."""

import threading
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", minversion="2.4")

import fastlstm  # noqa: E402
import fastlstm.torch  # noqa: E402
from tests.support import assert_same_bits  # noqa: E402


class Model(torch.nn.Module):
    """Two LSTMs, one of them called twice, and a cell."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Sequential(torch.nn.LSTM(5, 9, num_layers=2, bidirectional=True, batch_first=True))
        self.decoder = torch.nn.LSTM(18, 7, proj_size=3)
        self.cell = torch.nn.LSTMCell(3, 4)
        self.idle = torch.nn.LSTM(1, 1)

    def forward(self, x: Any, scale: float = 1.0) -> Any:
        seen = self.encoder(x * scale)[0].transpose(0, 1)
        out, state = self.decoder(seen)
        out, _ = self.decoder(seen, state)
        state = None
        for step in out:
            state = self.cell(step, state)
        return state[0]


@pytest.fixture
def model() -> Model:
    torch.manual_seed(0)
    return Model().eval()


X = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))


def of(module: Any) -> fastlstm.LSTM:
    lstm = fastlstm.LSTM(
        module.input_size,
        module.hidden_size,
        module.num_layers,
        batch_first=module.batch_first,
        bidirectional=module.bidirectional,
        proj_size=module.proj_size,
    )
    lstm.load_state_dict({name: p.detach().numpy() for name, p in module.named_parameters()})
    return lstm


@pytest.mark.filterwarnings("ignore:LSTM with projections")  # torch on its own way
@pytest.mark.parametrize("accelerated", [False, True])
def test_every_lstm_that_is_called(model: Model, accelerated: bool) -> None:
    if accelerated:
        fastlstm.torch.accelerate(model, frozen=True)
    traces = fastlstm.torch.trace(model, X)
    assert {name: len(calls) for name, calls in traces.items()} == {"encoder.0": 1, "decoder": 2, "cell": 6}
    encoder = of(model.encoder[0]).trace(X.numpy())
    assert_same_bits(traces["encoder.0"][0].f, encoder.f)
    with torch.no_grad():
        out, states = model.encoder[0](X)
        seen = out.transpose(0, 1)
        first, state = model.decoder(seen)
        second, _ = model.decoder(seen, state)
    if accelerated:
        assert_same_bits(traces["encoder.0"][0].output, out.numpy())
        assert_same_bits(traces["encoder.0"][0].c_n, states[1].numpy())
    for call, output in zip(traces["decoder"], (first, second), strict=True):
        np.testing.assert_allclose(call.output, output.numpy(), atol=1e-6)
    assert_same_bits(traces["decoder"][1].h_prev[0, 0, 0], traces["decoder"][1]._first[0][0])
    np.testing.assert_allclose(traces["cell"][5].h_n, model(X).detach().numpy(), atol=1e-6)
    assert not any(module._forward_hooks for module in model.modules())


def test_options_and_arguments(model: Model) -> None:
    traces = fastlstm.torch.trace(model, {"x": X, "scale": 2.0}, every=4, units=[0])
    whole = fastlstm.torch.trace(model, (X, 2.0))
    assert_same_bits(traces["encoder.0"][0].c, whole["encoder.0"][0].c[:, :, ::4, :, :1])
    assert traces["cell"][0].c.shape == (1, 1, 1, 2, 1)
    with pytest.raises(MemoryError, match="max_bytes=100"):
        fastlstm.torch.trace(model, X, max_bytes=100)
    assert not any(module._forward_hooks for module in model.modules())


def test_packed_sequences() -> None:
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(5, 4, bidirectional=True)
    x, lengths = torch.randn(7, 3, 5), [3, 7, 1]
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=False)
    state = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    (got,) = fastlstm.torch.trace(lstm, (packed, state))[""]
    wanted = of(lstm).trace(x.numpy(), tuple(s.numpy() for s in state), lengths=lengths)
    assert_same_bits((got.f, got.h, got.c_prev), (wanted.f, wanted.h, wanted.c_prev))


def test_lengths_and_resets_of_ours() -> None:
    torch.manual_seed(0)
    lstm = fastlstm.torch.LSTM(5, 4, weights="int8")
    x, resets = torch.randn(7, 3, 5), torch.rand(7, 3) < 0.3
    (got,) = fastlstm.torch.trace(lstm, {"input": x, "lengths": torch.tensor([3, 7, 0]), "resets": resets})[""]
    wanted = of(lstm).astype(weights="int8").trace(x.numpy(), lengths=[3, 7, 0], resets=resets.numpy())
    assert_same_bits((got.f, got.h, got.c_prev), (wanted.f, wanted.h, wanted.c_prev))
    with torch.no_grad():
        assert_same_bits(got.output, lstm(x, lengths=[3, 7, 0], resets=resets)[0].numpy())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype: Any) -> None:
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(5, 4).to(dtype)
    x = torch.randn(7, 3, 5).to(dtype)
    (got,) = fastlstm.torch.trace(lstm, x)[""]
    assert got.f.dtype == ("float64" if dtype == torch.float64 else "float32")
    np.testing.assert_allclose(got.output, lstm(x)[0].detach().float(), atol=1e-2)


def test_parametrized_weights() -> None:
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(5, 4)
    torch.nn.utils.parametrizations.weight_norm(lstm, "weight_hh_l0")
    x = torch.randn(7, 3, 5)
    (got,) = fastlstm.torch.trace(lstm, x)[""]
    np.testing.assert_allclose(got.output, lstm(x)[0].detach(), atol=1e-6)


class Other(torch.nn.LSTM):
    def forward(self, x: Any, hx: Any = None) -> Any:
        output, state = super().forward(x, hx)
        return output * 2, state


class Renamed(torch.nn.LSTM):
    def forward(self, x: Any, hx: Any = None) -> Any:
        return super().forward(x, hx)


class Strange(torch.nn.LSTM):
    def forward(self, x: Any, hx: Any = None) -> Any:
        return super().forward(x, hx)[1]


def test_what_cannot_be_traced_is_named(model: Model) -> None:
    x = torch.zeros(3, 1, 4)
    for bad, inputs, error, message in (
        (3, x, TypeError, r"model should be a torch\.nn\.Module, got: int"),
        (torch.nn.Linear(4, 3), x, ValueError, r"the model has no torch\.nn\.LSTM or LSTMCell"),
        (torch.nn.LSTM(4, 3, num_layers=2, dropout=0.5), x, ValueError, r"the model is in training mode.*eval\(\)"),
        (Other(4, 3), torch.ones(3, 1, 4), ValueError, "the model computed something else"),
        (Renamed(4, 3), {"x": x}, ValueError, "the model was called without `input`"),
        (Strange(4, 3), x, ValueError, "the model did not return what an LSTM does"),
    ):
        with pytest.raises(error, match=message):
            fastlstm.torch.trace(bad, inputs)
    model.forward = lambda x: x  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"the model called none of its LSTMs: encoder\.0, decoder, cell, idle"):
        fastlstm.torch.trace(model, X)


def test_rounding_that_grows_is_told_from_another_layer() -> None:
    torch.manual_seed(0)
    lstm = torch.nn.LSTM(16, 64, 2)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.mul_(8)  # small differences grow
    x = torch.randn(40, 2, 16)
    with pytest.raises(ValueError, match=r"they differ by \d.*trace a copy in float32 or float64"):
        fastlstm.torch.trace(lstm.to(torch.bfloat16), x.to(torch.bfloat16))
    fastlstm.torch.trace(lstm.double(), x.double())


class Changing(torch.nn.Module):
    """An LSTM, and a cell, with other weights in every call, written and lent."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.cell = torch.nn.LSTM(4, 3), torch.nn.LSTMCell(4, 3)

    def forward(self, x: Any) -> Any:
        self.outputs = []
        for k in range(3):
            self.lstm.weight_hh_l0.data += 0.001 * k  # less than rounding may be
            lent = {name: parameter + k for name, parameter in self.cell.named_parameters()}
            self.outputs += [self.lstm(x)[0], torch.func.functional_call(self.cell, lent, (x[0],))[0]]
        return self.outputs[-1]


def test_weights_that_change_between_calls() -> None:
    torch.manual_seed(0)
    model = Changing()
    traces = fastlstm.torch.trace(model, torch.randn(5, 2, 4))
    for k in range(3):
        for name, wanted in zip(("lstm", "cell"), model.outputs[2 * k :], strict=False):
            np.testing.assert_allclose(traces[name][k].output, wanted.detach(), atol=1e-6)


class Waiting(torch.nn.Module):
    """An LSTM that says when it has been called, and waits before it ends."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(4, 3)
        self.was_called, self.goes_on = threading.Event(), threading.Event()
        self.lstm.register_forward_pre_hook(lambda *_: self.wait_here())

    def wait_here(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self.was_called.set()
            assert self.goes_on.wait(60)

    def forward(self, x: Any) -> Any:
        return self.lstm(x)[0]


def test_calls_of_other_threads_go_on_and_are_in_no_trace() -> None:
    model, answers = Waiting().eval(), []
    x, other = torch.ones(5, 2, 4), torch.zeros(6, 1, 4)

    class Meanwhile(torch.nn.Module):
        """Lets another thread's call, which began before the trace, end in the middle of it."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            model.goes_on.set()
            thread.join(60)
            return model(x)

    thread = threading.Thread(target=lambda: answers.append(model(other)), daemon=True)
    thread.start()
    assert model.was_called.wait(60)
    (got,) = fastlstm.torch.trace(Meanwhile(), x)["model.lstm"]
    assert got.output.shape == (5, 2, 3)
    np.testing.assert_allclose(answers[0].detach(), model.lstm(other)[0].detach())


def test_a_hook_that_goes_away_in_another_thread_disturbs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    recorders: list[Any] = []
    lstm = torch.nn.LSTM(4, 3)
    usual = lstm.register_forward_hook
    monkeypatch.setattr(lstm, "register_forward_hook", lambda hook, **o: (recorders.append(hook), usual(hook, **o))[1])
    x = torch.ones(5, 2, 4)
    fastlstm.torch.trace(lstm, x)
    failures: list[Exception] = []

    def call() -> None:
        try:
            recorders[0](lstm, (x,), lstm(x))  # as torch calls a hook that it finds without keywords
        except TypeError as error:
            failures.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert not failures


@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="torch 2.6")
@pytest.mark.parametrize("has_run", [False, True])
def test_compiled_models(has_run: bool) -> None:
    x = torch.ones(5, 2, 4)
    model = torch.compile(torch.nn.Sequential(torch.nn.LSTM(4, 3)), backend="eager")
    if has_run:
        model(x)
    (got,) = fastlstm.torch.trace(model, x)["_orig_mod.0"]
    np.testing.assert_allclose(got.output, model(x)[0].detach(), atol=1e-6)
    assert torch._dynamo.eval_frame._stance.stance == "default"
