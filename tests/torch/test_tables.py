"""accelerate(tables=...): an LSTM that reads what an Embedding has looked up takes it from a table; same bits."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import fastlstm
from tests.torch.support import import_torch

torch = import_torch()

import fastlstm.torch  # noqa: E402  torch first

V, E, H = 17, 6, 9
MOST = 2**20


class Model(torch.nn.Module):
    """Tokens through an embedding and an LSTM; `between` may do something to what was looked up."""

    def __init__(self, dtype: Any = torch.float32, embedding: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = torch.nn.Embedding(V, E, dtype=dtype, **(embedding or {}))
        self.lstm = torch.nn.LSTM(E, H, dtype=dtype, **options)
        self.between: Callable[[Any], Any] = lambda x: x

    def forward(self, tokens: Any, *arguments: Any, **options: Any) -> Any:
        return self.lstm(self.between(self.embedding(tokens)), *arguments, **options)


def pair(**options: Any) -> tuple[Any, Any]:
    """Return a model with tables, and the same without."""
    model = Model(**options).eval()
    plain = copy.deepcopy(model)
    fastlstm.torch.accelerate(plain, frozen=True)
    done = fastlstm.torch.accelerate(model, frozen=True, tables=MOST)
    assert sorted(done.swapped) == ["embedding", "lstm"]
    assert not done.left
    return model, plain


def tokens(*shape: int) -> Any:
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(len(shape)))


def assert_same(actual: Any, expected: Any) -> None:
    for one, other in zip((actual[0], *actual[1]), (expected[0], *expected[1]), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "options",
    [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}, {"proj_size": 4}, {"bias": False}],
    ids=str,
)
def test_the_same_bits(off: Any, dtype: Any, options: dict[str, Any]) -> None:
    model, plain = pair(dtype=dtype, **options)
    with off():
        for shape in ((5, 3), (1, 1), (4,), (30, 7)):
            ids = tokens(*shape)
            expected = plain(ids)
            assert_same(model(ids), expected)
            assert model.lstm.no_table is None
            assert model.lstm.fallback is None
            assert_same(model(ids.int()), expected)
            assert_same(model(ids, expected[1]), plain(ids, expected[1]))
        ids = tokens(6, 4)
        if not options.get("bidirectional"):
            resets = torch.rand(6, 4) < 0.3
            assert_same(model(ids, resets=resets), plain(ids, resets=resets))
        B = 6 if options.get("batch_first") else 4
        lengths = list(range(1, B + 1)) if B == 4 else [1, 4, 2, 3, 0, 4]
        assert_same(model(ids, lengths=lengths), plain(ids, lengths=lengths))
        assert model.lstm.no_table is None


def test_padding_idx_is_fine() -> None:
    model, plain = pair(embedding={"padding_idx": 3})
    ids = tokens(5, 4)
    ids[0] = 3
    with torch.no_grad():
        assert_same(model(ids), plain(ids))
    assert model.lstm.no_table is None


def test_changed_parameters_are_seen() -> None:
    model, plain = pair()
    ids = tokens(5, 3)
    with torch.no_grad():
        for parameter in ("embedding.weight", "lstm.weight_ih_l0", "lstm.bias_hh_l0", "embedding.weight"):
            model(ids)
            for one in (model, plain):
                one.get_parameter(parameter).mul_(1.5)
            assert_same(model(ids), plain(ids))
            assert model.lstm.no_table is None
        for one in (model, plain):
            one.embedding.weight = torch.nn.Parameter(torch.ones(V, E))
        assert_same(model(ids), plain(ids))
        for one in (model, plain):
            one.embedding.weight.data = torch.full((V, E), 0.5)
        assert_same(model(ids), plain(ids))
        assert model.lstm.no_table is None


def test_training_goes_on_as_before() -> None:
    model, plain = pair(num_layers=2)
    ids = tokens(5, 3)
    for one in (model, plain):
        one.train()
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        for _ in range(2):
            optimizer.zero_grad()
            one(ids)[0].square().sum().backward()
            optimizer.step()
    assert "for inference" in model.lstm.no_table
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.equal(one, other)
    with torch.no_grad():
        assert_same(model.eval()(ids), plain.eval()(ids))
    assert model.lstm.no_table is None


CHANGES: list[tuple[str, Callable[[Any], Any], str | None]] = [
    ("in place", lambda x: x.mul_(2), "changed since"),
    ("in place, of a view", lambda x: (x[0].zero_(), x)[1], "changed since"),
    ("past its version", lambda x: (x.data.mul_(2), x)[1], "changed since"),
    ("by NumPy", lambda x: (x.numpy().fill(2), x)[1], "changed since"),
    ("to other memory", lambda x: (x.set_(x.repeat(2, 1, 1)), x)[1], "changed since"),
    ("to other memory, past its version", lambda x: (setattr(x, "data", x.repeat(2, 1, 1)), x)[1], "changed since"),
    ("another tensor", lambda x: x * 2, "not just what"),
    ("a view", lambda x: x.flip(0), "not just what"),
    ("dropout that does nothing", torch.nn.Dropout(0.5).eval(), None),
]


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(("between", "why"), [change[1:] for change in CHANGES], ids=[name for name, *_ in CHANGES])
def test_what_is_done_in_between_is_seen(off: Any, between: Callable[[Any], Any], why: str | None) -> None:
    model, plain = pair()
    ids = tokens(5, 3)
    with off():
        model(ids)
        model.between = plain.between = between
        assert_same(model(ids), plain(ids))
    if why is None:
        assert model.lstm.no_table is None
    else:
        assert why in model.lstm.no_table


def test_what_was_looked_up_is_copied_and_saved_as_any_tensor() -> None:
    model, plain = pair()
    with torch.no_grad():
        made = model.embedding(tokens(5, 3))
        file = io.BytesIO()
        torch.save(made, file)
        file.seek(0)
        for other in (torch.load(file, weights_only=True), copy.copy(made), copy.deepcopy(made)):
            assert not other.__dict__
            made.data.zero_()
            assert_same(model.lstm(other), plain.lstm(other.clone()))


def test_tokens_may_be_written_to_after_the_lookup() -> None:
    model, plain = pair()
    ids = tokens(5, 3)
    with torch.no_grad():
        expected = plain(ids)
        model.between = lambda x: (ids.zero_(), x)[1]
        assert_same(model(ids), expected)


def test_no_more_bytes_than_asked_for() -> None:
    model = Model().eval()
    bytes = fastlstm.LSTM(E, H).table_nbytes(V)
    fastlstm.torch.accelerate(model, frozen=True, tables=bytes - 1)
    ids = tokens(5, 3)
    with torch.no_grad():
        model(ids)
        assert model.lstm.no_table == f"a table of {V} tokens takes {bytes} bytes, more than tables={bytes - 1}"
        fastlstm.torch.accelerate(model, frozen=True, tables=bytes)
        model(ids)
        assert model.lstm.no_table is None
        model.lstm.frozen = False
        model(ids)
        assert "frozen=True" in model.lstm.no_table


def test_only_when_asked_for() -> None:
    model = Model().eval()
    assert fastlstm.torch.accelerate(model, frozen=True).swapped == ["lstm"]
    assert type(model.embedding) is torch.nn.Embedding
    with torch.no_grad():
        model(tokens(5, 3))
    assert (model.lstm.tables, model.lstm.no_table) == (0, None)


def test_arguments() -> None:
    for frozen in (None, False):
        model = Model().eval()
        with pytest.raises(ValueError, match="tables needs frozen=True"):
            fastlstm.torch.accelerate(model, tables=MOST, frozen=frozen)
        assert type(model.lstm) is torch.nn.LSTM
    with pytest.raises(ValueError, match="0 or more, got: -1"):
        fastlstm.torch.accelerate(Model(), tables=-1, frozen=True)
    with pytest.raises(TypeError, match="tables should be of type int, got: bool"):
        fastlstm.torch.accelerate(Model(), tables=True, frozen=True)


class Scaled(torch.nn.Embedding):
    """Does more than to look up."""

    def forward(self, input: Any) -> Any:
        return super().forward(input) * 2


def test_embeddings_that_cannot_be_had_are_left() -> None:
    model = torch.nn.ModuleDict(
        {
            "renormed": torch.nn.Embedding(V, E, max_norm=1.0),
            "scaled": Scaled(V, E),
            "short": torch.nn.Embedding(V, E, dtype=torch.float16),
            "lstm": torch.nn.LSTM(E, H),
            "fine": torch.nn.Embedding(V, E, padding_idx=0, sparse=True, scale_grad_by_freq=True),
        }
    )
    done = fastlstm.torch.accelerate(model, frozen=True, tables=MOST)
    assert sorted(done.swapped) == ["fine", "lstm"]
    assert sorted(done.left) == ["renormed", "scaled", "short"]
    assert "max_norm" in done.left["renormed"]
    with torch.no_grad():
        model["lstm"](model["renormed"](tokens(5, 3)))
    assert "not just what an accelerated Embedding" in model["lstm"].no_table


def test_another_width_is_refused_as_before() -> None:
    model = Model().eval()
    model.embedding = torch.nn.Embedding(V, E + 1)
    fastlstm.torch.accelerate(model, frozen=True, tables=MOST)
    with torch.no_grad(), pytest.raises(RuntimeError, match=r"input.size\(-1\)"):
        model(tokens(5, 3))


def test_restore_copies_and_pickles() -> None:
    model, plain = pair()
    ids = tokens(5, 3)
    with torch.no_grad():
        expected = plain(ids)
        model(ids)
        model.between = plain.between = torch.nn.Identity()
        twin, loaded = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
        for other in (twin, loaded):
            assert "_tabled" not in other.lstm.__dict__
            assert_same(other(ids), expected)
            assert other.lstm.no_table is None
    assert sorted(fastlstm.torch.restore(model)) == ["embedding", "lstm"]
    assert (type(model.embedding), type(model.lstm)) == (torch.nn.Embedding, torch.nn.LSTM)
    assert not {"tables", "no_table", "_tabled"} & model.lstm.__dict__.keys()
    with torch.no_grad(), fastlstm.torch.accelerated(model, frozen=True, tables=MOST):
        assert_same(model(ids), expected)
        assert model.lstm.no_table is None
    assert (type(model.embedding), type(model.lstm)) == (torch.nn.Embedding, torch.nn.LSTM)


def test_sequential() -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(V, E), torch.nn.LSTM(E, H)).eval()
    ids = tokens(8, 2)
    with torch.no_grad():
        expected = fastlstm.torch.LSTM(E, H)
        expected.load_state_dict(model[1].state_dict())
        wanted = expected(model[0](ids))
        assert fastlstm.torch.accelerate(model, frozen=True, tables=MOST).swapped == ["1", "0"]
        assert_same(model(ids), wanted)
    assert model[1].no_table is None


def test_compiled_and_traced_models_run_as_before() -> None:
    model, plain = pair()
    ids = tokens(5, 3)
    with torch.no_grad():
        graph = torch.fx.symbolic_trace(torch.nn.Sequential(model.embedding, torch.nn.Identity()))
        assert torch.equal(graph(ids), plain.embedding(ids))
        exported = torch.export.export(model, (ids,)).module()
        assert_same(exported(ids), plain(ids))
