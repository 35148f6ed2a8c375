"""torch's dynamically quantised LSTMs, switched: their own integers, with a small part of torch's error."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.support import assert_same_bits

torch: Any = pytest.importorskip("torch", reason="pip install torch")
fasttorch: Any = pytest.importorskip("fastlstm.torch")
AO = torch.ao.quantization
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:torch.*", "ignore:.*jit")

SIZES: tuple[dict[str, Any], ...] = (
    {"input_size": 5, "hidden_size": 7},
    {"input_size": 40, "hidden_size": 64, "num_layers": 2, "bidirectional": True},
    {"input_size": 80, "hidden_size": 256, "batch_first": True},
)
CONFIGS = {"per tensor": AO.default_dynamic_qconfig, "per row": AO.per_channel_dynamic_qconfig}
each_size = pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"H={sizes['hidden_size']}")
each_config = pytest.mark.parametrize("config", CONFIGS)


def quantized(module: Any, config: Any = AO.default_dynamic_qconfig, dtype: Any = None) -> Any:
    """Quantise a module inside a model, as most models have it."""
    model = torch.nn.Sequential(module).eval()
    try:
        if dtype is not None:
            return AO.quantize_dynamic(model, {type(module)}, dtype=dtype)
        return AO.quantize_dynamic(model, {type(module): config})
    except RuntimeError as error:
        pytest.skip(f"torch cannot quantize here: {error}")


def lstm_of(config: str = "per tensor", **sizes: Any) -> Any:
    torch.manual_seed(0)
    return quantized(torch.nn.LSTM(**sizes), CONFIGS[config])


def given(sizes: dict[str, Any], T: int = 30, B: int = 4) -> Any:
    torch.manual_seed(1)
    shape = (B, T) if sizes.get("batch_first") else (T, B)
    return torch.randn(*shape, sizes["input_size"])


def pairs_of(module: Any) -> list[tuple[Any, Any]]:
    """Return weight and bias of each packed product, of x and of h in turns, by torch's own unpacking."""
    packed = (
        [each for cell in module._all_weight_values for each in cell.param.__getstate__()[0][4]]
        if hasattr(module, "_all_weight_values")
        else [module._packed_weight_ih, module._packed_weight_hh]
    )
    return [each.__getstate__()[0] for each in packed]


def plain_of(module: Any, dtype: str = "float64", weights: str | None = None, **options: Any) -> Any:
    """Return a layer with what torch's integers stand for, or with the integers themselves."""
    cell = not hasattr(module, "num_layers")
    if cell:
        layer: Any = fastlstm.LSTMCell(module.input_size, module.hidden_size, dtype=dtype, weights=weights)
    else:
        names = ("input_size", "hidden_size", "num_layers", "batch_first", "bidirectional")
        layer = fastlstm.LSTM(**{name: getattr(module, name) for name in names}, dtype=dtype, weights=weights)
    state: dict[str, Any] = {}
    ends = (
        [""]
        if cell
        else [f"_l{k}{r}" for k in range(layer.num_layers) for r in ("", "_reverse")[: 1 + layer.bidirectional]]
    )
    for k, (weight, bias) in enumerate(pairs_of(module)):
        which, end = ("ih", "hh")[k % 2], ends[k // 2]
        name = f"weight_{which}{end}"
        if weights is None or not weight.is_quantized:
            state[name] = (weight.dequantize() if weight.is_quantized else weight).numpy().astype(dtype)
        else:
            state[name] = weight.int_repr().numpy()
            per_row = weight.qscheme() == torch.per_channel_affine
            state[f"{name}_scale"] = np.float32(weight.q_per_channel_scales() if per_row else weight.q_scale())
            state[f"{name}_zero_point"] = (
                weight.q_per_channel_zero_points().numpy() if per_row else weight.q_zero_point()
            )
        state[f"bias_{which}{end}"] = bias.detach().numpy().astype(dtype)
    layer.load_state_dict(state)
    return layer


def error(found: Any, exact: Any) -> float:
    return max(float(np.abs(one.detach().numpy() - other).max()) for one, other in zip(found, exact, strict=True))


def flat(result: Any) -> tuple[Any, ...]:
    return (result[0], *result[1])


@each_config
@each_size
def test_own_integers_and_a_small_part_of_torchs_error(sizes: dict[str, Any], config: str) -> None:
    model, x = lstm_of(config, **sizes), given(sizes)
    with torch.no_grad():
        theirs = flat(model(x))
        exact = flat(plain_of(model[0])(x.numpy().astype(np.float64)))
        assert fasttorch.accelerate(model) == fasttorch.Accelerated(["0"], {})
        ours = flat(model(x))
    assert model[0].fallback is None
    for one, other in zip(ours, flat(plain_of(model[0], "float32", "int8")(x.numpy())), strict=True):
        assert_same_bits(one.numpy(), other)
    assert 20 * error(ours, exact) < error(theirs, exact)
    assert error(ours, exact) < 1e-4


@each_config
def test_cells(config: str) -> None:
    torch.manual_seed(0)
    model = quantized(torch.nn.LSTMCell(40, 64), CONFIGS[config])
    x, state = torch.randn(3, 40), (torch.randn(3, 64), torch.randn(3, 64))
    with torch.no_grad():
        theirs = model[0](x, state)
        exact = plain_of(model[0])(x.numpy().astype(np.float64), tuple(s.numpy().astype(np.float64) for s in state))
        assert fasttorch.accelerate(model).swapped == ["0"]
        ours = model[0](x, state)
        for one, other in zip(ours, plain_of(model[0], "float32", "int8")(x.numpy(), state), strict=True):
            assert_same_bits(one.numpy(), np.asarray(other))
        assert 20 * error(ours, exact) < error(theirs, exact)
        assert model[0](x)[0].shape == (3, 64)
    assert model[0].fallback is None
    with pytest.raises((RuntimeError, IndexError)):  # torch's own
        model[0](x[0])


@each_size
def test_no_row_knows_its_company(sizes: dict[str, Any]) -> None:
    model, x = lstm_of("per row", **sizes), given(sizes)
    fasttorch.accelerate(model, threads=2)
    axis = 0 if sizes.get("batch_first") else 1
    with torch.no_grad():
        together = model(x)[0]
        for row in range(x.shape[axis]):
            alone = model(x.narrow(axis, row, 1))[0]
            assert_same_bits(alone.numpy(), together.narrow(axis, row, 1).numpy())


def test_packed_sequences_and_states() -> None:
    sizes = SIZES[1]
    model, x = lstm_of(**sizes), given(sizes)
    packed = torch.nn.utils.rnn.pack_padded_sequence(x, [30, 3, 12, 1], enforce_sorted=False)
    states = tuple(torch.randn(4, 4, 64) for _ in range(2))
    with torch.no_grad():
        theirs, their_states = model[0](packed, states)
        fasttorch.accelerate(model)
        ours, our_states = model[0](packed, states)
        output, lengths = torch.nn.utils.rnn.pad_packed_sequence(ours)
        assert model[0].fallback is None
        found = flat(plain_of(model[0], "float32", "int8")(x.numpy(), tuple(map(np.asarray, states)), lengths=lengths))
    for one, other in zip((output, *our_states), found, strict=True):
        assert_same_bits(one.numpy(), other)
    assert torch.allclose(ours.data, theirs.data, atol=0.05)
    assert torch.allclose(our_states[1], their_states[1], atol=0.1)


@pytest.mark.parametrize("cell", [False, True])
def test_float16_ones(cell: bool) -> None:
    torch.manual_seed(0)
    module = (torch.nn.LSTMCell if cell else torch.nn.LSTM)(5, 7)
    model = quantized(module, dtype=torch.float16)
    x = torch.randn(*((2,) if cell else (3, 2)), 5)
    with torch.no_grad():
        assert fasttorch.accelerate(model).swapped == ["0"]
        ours = model[0](x)
    assert model[0].fallback is None
    expected = plain_of(model[0], "float32", "float16")(x.numpy())
    for one, other in zip(*((ours, expected) if cell else (flat(ours), flat(expected))), strict=True):
        assert_same_bits(one.numpy(), other)


def test_there_and_back() -> None:
    model, x = lstm_of(**SIZES[0]), given(SIZES[0])
    module = model[0]
    with torch.no_grad():
        before = model(x)[0]
        keys = list(model.state_dict())
        fasttorch.accelerate(model)
        assert model[0] is module
        assert "fastlstm.DynamicQuantizedLSTM(5, 7" in repr(model)
        assert isinstance(module, torch.ao.nn.quantized.dynamic.LSTM)
        assert list(model.state_dict()) == keys
        assert fasttorch.accelerate(model) == fasttorch.Accelerated([], {})  # no warning: it ran here
        assert fasttorch.restore(model) == ["0"]
        assert type(module) is torch.ao.nn.quantized.dynamic.LSTM
        assert not {"fallback", "weights", "threads", "_plans", "_accelerated"} & module.__dict__.keys()
        assert_same_bits(model(x)[0].numpy(), before.numpy())
        with fasttorch.accelerated(model) as done:
            assert done.swapped == ["0"]
            assert not torch.equal(model(x)[0], before)
        assert_same_bits(model(x)[0].numpy(), before.numpy())


def test_new_weights_are_seen() -> None:
    model, x = lstm_of(**SIZES[0]), given(SIZES[0])
    torch.manual_seed(5)
    other = quantized(torch.nn.LSTM(5, 7))
    fasttorch.accelerate(model)
    with torch.no_grad():
        old = model(x)[0]
        model.load_state_dict(other.state_dict())
        assert not torch.equal(model(x)[0], old)
        fasttorch.accelerate(other)
        assert_same_bits(model(x)[0].numpy(), other(x)[0].numpy())


def test_copies_and_pickles() -> None:
    model, x = lstm_of(**SIZES[0]), given(SIZES[0])
    fasttorch.accelerate(model)
    with torch.no_grad():
        expected = model(x)[0].numpy()
        for made in copy.deepcopy(model), pickle.loads(pickle.dumps(model)):
            assert type(made[0]) is type(model[0])
            assert_same_bits(made(x)[0].numpy(), expected)
            assert made[0].fallback is None
            assert fasttorch.restore(made) == ["0"]


def test_weights_that_are_asked_for() -> None:
    model, x = lstm_of("per row", **SIZES[0]), given(SIZES[0])
    plain = plain_of(model[0], "float32")
    for weights in "int8", "int8-fast", "float16", "bfloat16", "float32":
        fasttorch.accelerate(model, weights=weights)
        expected = plain_of(model[0], "float32", weights) if "int8" in weights else plain.astype(weights=weights)
        with torch.no_grad():
            assert_same_bits(model(x)[0].numpy(), expected(x.numpy())[0])
    assert "weights='float32'" in repr(model)
    fasttorch.accelerate(model, weights="auto")
    assert model[0].weights is None
    with pytest.raises(ValueError, match="weights should be one of"):
        model[0].weights = "int4"


def test_where_torchs_own_code_runs() -> None:
    model, x = lstm_of(**SIZES[0]), given(SIZES[0])
    theirs = copy.deepcopy(model)
    fasttorch.accelerate(model)
    found = model(x.requires_grad_())[0]
    assert "gradient" in model[0].fallback
    assert torch.equal(found, theirs(x)[0])
    with torch.no_grad():
        model(x)
        assert model[0].fallback is None
        for wrong in (x[0], x[..., :3], x.double()):
            with pytest.raises(RuntimeError):
                model(wrong)
            assert model[0].fallback
        with pytest.raises(RuntimeError, match="Expected hidden"):
            model[0](x, (torch.zeros(1, 2, 7), torch.zeros(1, 2, 7)))
    with pytest.raises(RuntimeError, match=r"fastlstm\.torch\.restore"):
        torch.jit.script(model)


def test_dropout_in_training_is_torchs() -> None:
    torch.manual_seed(0)
    model = quantized(torch.nn.LSTM(5, 7, 2, dropout=0.5))
    fasttorch.accelerate(model)
    model.train()
    with torch.no_grad():
        model(given(SIZES[0]))
    assert model[0].fallback == "dropout in training"


def test_what_is_not_understood_stays_torchs() -> None:
    class Mine(torch.ao.nn.quantized.dynamic.LSTM):
        pass

    model = torch.nn.ModuleDict({"mine": Mine(5, 7), "odd": lstm_of(**SIZES[0])[0], "hooked": lstm_of(**SIZES[0])[0]})
    model["odd"]._all_weight_values[0].param = "nothing"
    model["hooked"].forward = lambda *_: None
    with pytest.warns(UserWarning, match="switched nothing"):
        done = fasttorch.accelerate(model)
    assert done.swapped == []
    assert "Mine may do more" in done.left["mine"]
    assert "its weights are not understood" in done.left["odd"]
    assert done.left["hooked"] == "its forward has been replaced on the object"
    assert type(model["odd"]) is torch.ao.nn.quantized.dynamic.LSTM
    with pytest.warns(UserWarning, match="switched nothing"):
        assert "GRU" not in str(fasttorch.accelerate(torch.nn.Sequential(torch.ao.nn.quantized.dynamic.GRU(4, 3))).left)


def test_under_dynamo() -> None:
    model, x = lstm_of(**SIZES[0]), given(SIZES[0])
    fasttorch.accelerate(model)
    with torch.no_grad():
        expected = model(x)[0]
        compiled = torch.compile(lambda given: model(given)[0] + 1, backend="eager")
        assert_same_bits(compiled(x).numpy(), (expected + 1).numpy())


@each_config
@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("sizes", SIZES[:2], ids=lambda sizes: f"H={sizes['hidden_size']}")
def test_traces_are_of_the_integers(sizes: dict[str, Any], config: str, accelerated: bool) -> None:
    model, x = lstm_of(config, **sizes), given(sizes)
    if accelerated:
        assert fasttorch.accelerate(model).swapped == ["0"]
    (trace,) = fasttorch.trace(model, x)["0"]
    fasttorch.accelerate(model)
    with torch.no_grad():
        output, (h_n, c_n) = model(x)
    assert model[0].fallback is None
    assert_same_bits((trace.output, trace.h_n, trace.c_n), (output.numpy(), h_n.numpy(), c_n.numpy()))
    assert not model[0]._forward_hooks


def test_traces_of_cells_and_of_16_bits() -> None:
    torch.manual_seed(0)
    cell, x = quantized(torch.nn.LSTMCell(5, 7)), torch.randn(3, 5)
    (trace,) = fasttorch.trace(cell, x)["0"]
    fasttorch.accelerate(cell)
    assert_same_bits(trace.h_n, cell(x)[0].detach().numpy())
    half, x = quantized(torch.nn.LSTM(5, 7), dtype=torch.float16), torch.randn(6, 3, 5)
    (trace,) = fasttorch.trace(half, x)["0"]
    fasttorch.accelerate(half)
    assert_same_bits(trace.output, half(x)[0].detach().numpy())
