"""Matrices in 16 and in 8 bits through torch's modules: the bits of fastlstm's own layer with the same."""

import copy
import io
import warnings
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.support import assert_same_bits
from tests.torch.support import arrays, import_torch

torch = import_torch()
fast = pytest.importorskip("fastlstm.torch")

WEIGHTS = ("float16", "bfloat16", "int8", "int8-fast")
KINDS = (
    {"num_layers": 2},
    {"bidirectional": True, "num_layers": 2},
    {"proj_size": 5},
    {"bias": False, "batch_first": True},
)
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def own(module: Any, weights: str | None) -> Any:
    """Make fastlstm's layer of a module's parameters, in float32."""
    parameters = {name: p.detach().float().numpy() for name, p in module.state_dict().items()}
    if isinstance(module, torch.nn.LSTMCell):
        made: Any = fastlstm.LSTMCell(module.input_size, module.hidden_size, bool(module.bias), weights=weights)
    else:
        names = ("num_layers", "bias", "batch_first", "bidirectional", "proj_size")
        options = {name: getattr(module, name) for name in names}
        made = fastlstm.LSTM(module.input_size, module.hidden_size, weights=weights, **options)
    made.load_state_dict(parameters)
    return made


def same(found: Any, expected: Any) -> None:
    for one, other in zip(arrays(found), _flat(expected), strict=True):
        assert_same_bits(one, other)


def _flat(results: Any) -> list[Any]:
    return [a for r in results for a in _flat(r)] if isinstance(results, tuple) else [results]


def tensors(results: Any) -> list[Any]:
    return [t for r in results for t in tensors(r)] if isinstance(results, tuple) else [results]


def input_of(module: Any, T: int = 3) -> Any:
    """Make an input of two rows, of the module's dtype."""
    shape = (2, module.input_size) if isinstance(module, torch.nn.LSTMCell) else (T, 2, module.input_size)
    return torch.randn(shape).to(next(module.parameters()).dtype)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("frozen", [False, True])
@torch.no_grad()
def test_an_accelerated_lstm(weights: str, kind: dict[str, Any], frozen: bool) -> None:
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"rnn": torch.nn.LSTM(7, 19, **kind)}).eval()
    before = {name: p.clone() for name, p in model.state_dict().items()}
    done = fast.accelerate(model, weights=weights, frozen=frozen)
    assert done == fast.Accelerated(["rnn"], {})
    lstm, x = model["rnn"], torch.randn(9, 5, 7)
    assert f"weights={weights!r}" in repr(model)
    for _ in range(2):  # packed, then by the short way
        same(lstm(x), own(lstm, weights)(x.numpy()))
    R, D = lstm.proj_size or 19, 2 if lstm.bidirectional else 1
    rows = 9 if lstm.batch_first else 5
    hx = torch.randn(lstm.num_layers * D, rows, R), torch.randn(lstm.num_layers * D, rows, 19)
    same(lstm(x, hx), own(lstm, weights)(x.numpy(), tuple(h.numpy() for h in hx)))
    lengths = np.arange(rows) % 5
    same(lstm(x, lengths=lengths), own(lstm, weights)(x.numpy(), lengths=lengths))
    steps = torch.nn.utils.rnn.pack_sequence([x[:4, 0], x[:2, 1]])
    found = torch.nn.utils.rnn.pad_packed_sequence(lstm(steps)[0], batch_first=lstm.batch_first)[0]
    expected = own(lstm, weights)(
        (x[:4, :2].transpose(0, 1) if lstm.batch_first else x[:4, :2]).numpy(), lengths=[4, 2]
    )
    assert_same_bits(found.numpy(), expected[0])
    same(lstm(x[0][:1]), own(lstm, weights)(x[0][:1].numpy()))  # unbatched, one step
    assert lstm.fallback is None
    with torch.no_grad():
        lstm.weight_hh_l0 += 0.125  # noticed
    same(lstm(x), own(lstm, weights)(x.numpy()))
    if not frozen:
        lstm.weight_ih_l0.data.numpy()[0] = 0.1
        same(lstm(x), own(lstm, weights)(x.numpy()))
    lstm.weights = None  # as is this
    same(lstm(x), own(lstm, None)(x.numpy()))
    lstm.weights = weights
    assert fast.restore(model) == ["rnn"]
    assert type(lstm) is torch.nn.LSTM
    assert "weights" not in repr(model)
    assert "weights" not in vars(lstm)
    assert before.keys() == model.state_dict().keys()


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_a_cell(weights: str, bias: bool) -> None:
    cell = torch.nn.LSTMCell(5, 11, bias=bias)
    fast.accelerate(cell, weights=weights, frozen=True)
    hx = torch.randn(3, 11), torch.randn(3, 11)
    for _ in range(2):
        same(cell(torch.ones(3, 5), hx), own(cell, weights)(np.ones((3, 5), np.float32), tuple(h.numpy() for h in hx)))
        same(cell(torch.ones(5)), own(cell, weights)(np.ones(5, np.float32)))
    cell.weights = None
    same(cell(torch.ones(5)), own(cell, None)(np.ones(5, np.float32)))
    assert fast.LSTMCell(2, 3, weights=weights).weights == weights


@pytest.mark.parametrize("weights", WEIGHTS)
@torch.no_grad()
def test_large_layers_are_not_read_as_they_are(weights: str) -> None:
    """A step of few rows reads large layers' parameters, which are not rounded."""
    lstm, cell = fast.LSTM(256, 512, weights=weights), fast.LSTMCell(256, 512, weights=weights)
    x = torch.randn(1, 1, 256)
    for _ in range(2):
        same(lstm(x), own(lstm, weights)(x.numpy()))
        same(cell(x[0]), own(cell, weights)(x[0].numpy()))


@pytest.mark.parametrize("asked", ["auto", *WEIGHTS])
@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("make", [torch.nn.LSTM, torch.nn.LSTMCell])
@torch.no_grad()
def test_parameters_of_16_bits(asked: str, half: str, make: Any) -> None:
    """Their values are computed with in float32, and each result is rounded once."""
    module = make(4, 6).to(HALVES[half])
    assert fast.accelerate(module, weights=asked).swapped == [""]
    assert module.weights == (half if asked == "auto" else asked)
    x = input_of(module)
    expected = own(module, module.weights)(x.float().numpy())
    for _ in range(2):
        found = module(x)
        for one, other in zip(tensors(found), _flat(expected), strict=True):
            assert one.dtype == HALVES[half]
            assert torch.equal(one, torch.from_numpy(other).to(HALVES[half]))
    if module.weights == half:  # nothing was lost
        for one, other in zip(_flat(expected), _flat(own(module, None)(x.float().numpy())), strict=True):
            assert_same_bits(one, other)
    with torch.no_grad():
        next(module.parameters())[0] += 0.25
    for one, other in zip(tensors(module(x)), _flat(own(module, module.weights)(x.float().numpy())), strict=True):
        assert torch.equal(one, torch.from_numpy(other).to(HALVES[half]))
    with pytest.raises((RuntimeError, ValueError)):  # torch's own words
        module(x.float())
    fast.restore(module)
    assert type(module) is make


def test_auto_leaves_float32_and_float64_as_they_are() -> None:
    model = torch.nn.ModuleList([torch.nn.LSTM(2, 3), torch.nn.LSTM(2, 3).double(), torch.nn.LSTM(2, 3).half()])
    assert fast.accelerate(model, weights="auto").swapped == ["0", "1", "2"]
    assert [m.weights for m in model] == [None, None, "float16"]
    output, _ = model[0](torch.ones(1, 1, 2))
    output.sum().backward()  # float32 trains


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("make", [fast.LSTM, fast.LSTMCell])
def test_for_inference(make: Any, weights: str) -> None:
    module = make(2, 3, weights=weights)
    x = input_of(module)
    with pytest.raises(
        RuntimeError, match=rf"weights='{weights}' is for inference, but a gradient is wanted: .*no_grad"
    ):
        module(x)
    module.requires_grad_(False)
    module(x)
    with pytest.raises(RuntimeError, match="a gradient is wanted"):
        module(x.clone().requires_grad_())
    module.weights = None
    module.requires_grad_()
    sum(map(torch.sum, tensors(module(x)))).backward()


@torch.no_grad()
def test_dropout_is_not_for_inference() -> None:
    lstm = fast.LSTM(2, 3, num_layers=2, dropout=0.5, weights="float16")
    with pytest.raises(RuntimeError, match="dropout is on"):
        lstm(torch.ones(1, 1, 2))
    lstm.eval()(torch.ones(1, 1, 2))


@pytest.mark.parametrize("made", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("half", [False, True])
@torch.no_grad()
def test_autocast(made: Any, half: bool) -> None:
    """It runs in float32, and gives the results the dtype that torch gives them."""
    lstm, cell = fast.LSTM(4, 6, weights="float16"), fast.LSTMCell(4, 6, weights="float16")
    if half:
        lstm, cell = lstm.half(), cell.half()
    x = torch.randn(3, 2, 4).to(next(lstm.parameters()).dtype)
    with torch.autocast("cpu", dtype=made):
        found, stepped = lstm(x), cell(x[0], (torch.zeros(2, 6, dtype=made),) * 2)
    for results, expected in (
        (found, own(lstm, "float16")(x.float().numpy())),
        (stepped, own(cell, "float16")(x[0].float().numpy())),
    ):
        for one, other in zip(tensors(results), _flat(expected), strict=True):
            assert one.dtype == made
            assert torch.equal(one, torch.from_numpy(other).to(made))


@torch.no_grad()
def test_what_torch_would_run_is_refused() -> None:
    """Torch's own code would answer with weights that are not rounded."""

    class Own(fast.LSTM):
        def check_input(self, *given: Any) -> None:
            pass

    with pytest.raises(RuntimeError, match=r"weights='float16' needs fastlstm's own code, which cannot run here: Own"):
        Own(2, 3, weights="float16")(torch.ones(1, 1, 2))
    for make in fast.LSTM, fast.LSTMCell:
        module = make(2, 3, weights="float16")
        x = input_of(module)
        with pytest.raises(RuntimeError, match="needs fastlstm's own code"):
            torch.func.vmap(module)(x[None])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            with pytest.raises(RuntimeError, match="needs fastlstm's own code"):
                torch.jit.trace(module, x, check_trace=False)
        with pytest.raises(RuntimeError, match=r"(?i)input"):  # in torch's words
            module(torch.ones(*x.shape[:-1], 5))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_float64_is_left(weights: str) -> None:
    model = torch.nn.ModuleDict({"wide": torch.nn.LSTM(2, 3).double(), "rnn": torch.nn.LSTM(2, 3)})
    done = fast.accelerate(model, weights=weights)
    assert done.swapped == ["rnn"]
    assert done.left == {
        "wide": f"parameters have dtype torch.float64, and weights={weights!r} is for float32, float16 and bfloat16"
    }


@torch.no_grad()
def test_bad_names() -> None:
    model = torch.nn.ModuleDict({"wide": torch.nn.LSTM(2, 3).double(), "rnn": torch.nn.LSTM(2, 3)})
    fast.accelerate(model, weights="float16")
    fast.accelerate(model)
    with pytest.raises(ValueError, match=r"wide: parameters have dtype torch.float64"):
        fast.accelerate(model, weights="bfloat16")
    assert (model["wide"].weights, model["rnn"].weights) == (None, "float16")  # nothing was changed
    assert fast.accelerate(model, weights="float32") == ([], {})
    assert model["rnn"].weights is None
    for wrong, kind in ("int4", ValueError), (16, TypeError):
        for call in (lambda w: fast.accelerate(model, weights=w), lambda w: fast.LSTM(2, 3, weights=w)):
            with pytest.raises(kind, match="weights should be"):
                call(wrong)
    with pytest.raises(ValueError, match="layers of float32"):
        fast.LSTM(2, 3, dtype=torch.float64, weights="float16")(torch.ones(1, 1, 2, dtype=torch.float64))
    lstm = fast.LSTM(2, 3, weights="bfloat16")
    with pytest.raises(ValueError, match="weights should be one of"):
        lstm.weights = "int4"
    assert lstm.weights == "bfloat16"
    lstm.weights = "float32"
    assert lstm.weights is None


@pytest.mark.parametrize("make", [fast.LSTM, fast.LSTMCell])
@torch.no_grad()
def test_what_does_not_fit_is_an_error(make: Any) -> None:
    module = make(2, 3, weights="float16")
    x = input_of(module)
    module(x)
    next(module.parameters())[0, 0] = 70000
    with pytest.raises(ValueError, match=r"weight_ih.* has 70000.*does not fit in float16"):
        module(x)
    module.weights = "bfloat16"
    module(x)


@pytest.mark.parametrize("weights", WEIGHTS)
@torch.no_grad()
def test_copies_and_files_keep_it(weights: str) -> None:
    lstm = fast.LSTM(2, 3, weights=weights)
    file = io.BytesIO()
    torch.save(lstm, file)
    file.seek(0)
    x = torch.ones(2, 1, 2)
    for again in copy.deepcopy(lstm), torch.load(file, weights_only=False):
        assert again.weights == weights
        same(again(x), own(lstm, weights)(x.numpy()))
    plain = torch.nn.LSTM(2, 3)
    plain.load_state_dict(lstm.state_dict())


@torch.no_grad()
def test_for_a_time() -> None:
    model = torch.nn.ModuleList([torch.nn.LSTM(2, 3), fast.LSTM(2, 3, weights="float16"), fast.LSTM(2, 3)])
    with fast.accelerated(model, weights="bfloat16"):
        assert [m.weights for m in model] == ["bfloat16"] * 3
    assert [getattr(m, "weights", "") for m in model] == ["", "float16", None]


@pytest.mark.parametrize("weights", WEIGHTS)
@torch.no_grad()
def test_tables(weights: str) -> None:
    model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.LSTM(4, 6))
    fast.accelerate(model, weights=weights, frozen=True, tables=2**20)
    tokens = torch.tensor([[0, 3], [4, 1]])
    found = model(tokens)
    assert model[1].no_table is None
    same(found, own(model[1], weights)(model[0].weight.detach().numpy()[tokens.numpy()]))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("make", [fast.LSTM, fast.LSTMCell])
@torch.no_grad()
def test_in_a_graph(make: Any, weights: str) -> None:
    module = make(4, 6, weights=weights).eval()
    for x in input_of(module), input_of(module)[0]:
        exported = torch.export.export(module, (x,)).module()
        same(exported(x), own(module, weights)(x.numpy()))


def test_a_gradient_through_a_graph_is_refused() -> None:
    module = fast.LSTM(4, 6, weights="float16")
    output = torch.export.export(module, (torch.randn(3, 2, 4),)).module()(torch.randn(3, 2, 4))[0]
    with pytest.raises(RuntimeError, match="is for inference, but a gradient is wanted"):
        output.sum().backward()


def test_integers_of_torch_need_a_scale_as_others_do() -> None:
    given = fastlstm.LSTM(3, 4, weights="int8", seed=0)
    state = {name: torch.from_numpy(array.copy()) for name, array in given.state_dict().items()}
    lstm = fastlstm.LSTM(3, 4, weights="int8")
    lstm.load_state_dict(state)
    assert lstm.fingerprint() == given.fingerprint()
    del state["weight_hh_l0_scale"]
    with pytest.raises(ValueError, match="weight_hh_l0 is of int8, which needs weight_hh_l0_scale"):
        lstm.load_state_dict(state)


@pytest.mark.parametrize("kind", ["LSTM", "LSTMCell"])
def test_rows_that_are_too_long_are_left(kind: str) -> None:
    model = torch.nn.Sequential(getattr(torch.nn, kind)(16385, 1))
    with pytest.warns(UserWarning, match="switched nothing"):
        done = fast.accelerate(model, weights="int8")
    assert done.left == {"0": "weights='int8' is for at most 16384 inputs and units of a layer, got: 16385"}
    assert type(model[0]) is getattr(torch.nn, kind)
