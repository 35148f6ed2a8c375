"""fastlstm.keras.trace: the gates of whole models, by the layers' names."""

import threading
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import Array, assert_close
from tests.keras.support import BACKEND, MASKS, B, H, I, T, arrays, c_0, fastkeras, h_0, keras, quiet, randomized, x
from tests.support import assert_same_bits

pytestmark = quiet
layers = keras.layers


def of(cell: Any, dtype: str = "float32", **options: Any) -> fastlstm.LSTM:
    """Return fastlstm's layer with the weights of a cell."""
    kernel, recurrent, bias = (np.asarray(w, dtype) for w in cell.get_weights())
    lstm = fastlstm.LSTM(len(kernel), len(recurrent), batch_first=True, dtype=dtype, **options)
    named = {
        "weight_ih_l0": kernel.T,
        "weight_hh_l0": recurrent.T,
        "bias_ih_l0": bias,
        "bias_hh_l0": np.zeros_like(bias),
    }
    lstm.load_state_dict(named)
    return lstm


def same_gates(got: Any, wanted: Any) -> None:
    for name in ("i", "f", "g", "o", "c", "tanh_c", "h", "c_prev", "h_prev", "c_n"):
        assert_same_bits(getattr(got, name), getattr(wanted, name), name)


def untouched(model: Any) -> bool:
    return not any({"inner_loop", "call"} & set(vars(layer)) for layer in model._flatten_layers())


class Subclassed(keras.Model):
    """A cell in a loop of its own, and a layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = layers.LSTMCell(3)
        self.rnn = layers.LSTM(2, return_sequences=True)
        self.idle = layers.LSTM(1)

    def build(self, shape: Any) -> None:
        for layer, features in ((self.cell, shape[-1]), (self.rnn, 3), (self.idle, 1)):
            layer.build((*shape[:-1], features))
        self.built = True

    def call(self, x: Any) -> Any:
        state = [keras.ops.zeros((len(x), 3), x.dtype)] * 2
        outputs = []
        for t in range(x.shape[1]):
            y, state = self.cell(x[:, t], state)
            outputs.append(y)
        seen = keras.ops.stack(outputs, axis=1)
        return self.rnn(seen) + self.rnn(2 * seen)


def sequential(lstm: Any) -> Any:
    model = keras.Sequential(
        [
            keras.Input((T, I)),
            layers.Masking(name="masking"),
            layers.Bidirectional(lstm(H, return_sequences=True, name="rnn"), name="both"),
            layers.RNN([layers.LSTMCell(4, name="low"), layers.LSTMCell(3, name="high")], name="stack"),
            layers.Dense(1),
        ]
    )
    return randomized(model)


@pytest.mark.parametrize("lstm", [layers.LSTM, fastkeras.LSTM])
def test_bidirectional_layers_and_stacked_cells_under_a_mask(lstm: Any) -> None:
    model = sequential(lstm)
    masked = np.where(MASKS["holes"][..., None], x, np.float32(0))
    before = arrays(model(masked))
    traces = fastkeras.trace(model, masked)
    assert list(traces) == ["both/forward_rnn", "both/backward_rnn", "stack/low", "stack/high"]
    both, stack = model.layers[1:3]
    seen, _ = _in_order(masked, MASKS["holes"])
    back, order = _in_order(masked[:, ::-1], MASKS["holes"][:, ::-1])
    lengths = MASKS["holes"].sum(axis=1)
    same_gates(traces["both/forward_rnn"][0], of(both.forward_layer).trace(seen, lengths=lengths))
    same_gates(traces["both/backward_rnn"][0], of(both.backward_layer).trace(back, lengths=lengths))
    assert (traces["both/backward_rnn"][0].times == T - 1 - order.T).all()
    shown, _ = _in_order(arrays(both(masked, mask=MASKS["holes"]))[0], MASKS["holes"])
    low = of(stack.cell.cells[0]).trace(shown, lengths=lengths)
    assert_close(traces["stack/low"][0].c, low.c, "keras")
    high = of(stack.cell.cells[1]).trace(traces["stack/low"][0].output, lengths=lengths)
    same_gates(traces["stack/high"][0], high)
    assert_same_bits(tuple(arrays(model(masked))), tuple(before))
    assert untouched(model)


def _in_order(x: Array, valid: Array) -> tuple[Array, Array]:
    order = np.argsort(~valid, axis=1, kind="stable")
    return np.take_along_axis(x, order[..., None], axis=1), order


@pytest.mark.parametrize("mask", ["left-padded", "holes"])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_bits_of_our_layer(mask: str, backwards: bool) -> None:
    layer = fastkeras.LSTM(H, return_sequences=True, return_state=True, go_backwards=backwards)
    layer.build((B, T, I))
    randomized(layer)
    call = {"mask": MASKS[mask], "initial_state": [h_0, c_0]}
    outputs, h_n, c_n = arrays(layer(x, **call))
    assert layer.fallback is None
    (got,) = fastkeras.trace(layer, x, **call)[""]
    assert_same_bits((got.h_n[0], got.c_n[0]), (h_n, c_n))
    valid = MASKS[mask][:, ::-1] if backwards else MASKS[mask]
    shown, _ = _in_order(outputs, valid)
    for row, n in enumerate(got.lengths):
        assert_same_bits(got.h[0, 0, :n, row], shown[row, :n])
        read = x[row, got.times[:n, row]]
        assert_same_bits(read, got._x[:n, row])


def test_our_layer_with_other_activations_and_weights() -> None:
    layer = fastkeras.LSTM(H, return_sequences=True, recurrent_activation="hard_sigmoid", weights="int8")
    layer.build((B, T, I))
    randomized(layer)
    if BACKEND == "torch":
        layer.trainable = False  # weights= is for inference
    (got,) = fastkeras.trace(layer, x)[""]
    if BACKEND != "torch":
        assert_same_bits(got.output, arrays(layer(x))[0])
    form = fastlstm.Form(gate=("hard_sigmoid", 1 / 6, 0.5))
    same_gates(got, of(layer, form=form).astype(weights="int8").trace(x))


def test_models_of_a_class_and_cells_by_themselves() -> None:
    model = Subclassed()
    model.build((B, T, I))
    randomized(model)
    traces = fastkeras.trace(model, x, every=2, units=[1])
    assert {name: len(calls) for name, calls in traces.items()} == {model.cell.name: T, model.rnn.name: 2}
    whole = of(model.cell).trace(x)
    steps = [each.c[0, 0, 0] for each in traces[model.cell.name]]
    assert_close(np.stack(steps), whole.c[0, 0, :, :, 1:2], "keras")
    assert traces[model.rnn.name][0].c.shape == (1, 1, T // 2, B, 1)
    assert (traces[model.rnn.name][1].times == np.arange(0, T, 2)[:, None]).all()
    assert untouched(model)


def test_functional_models_with_states_and_shared_layers() -> None:
    first, second = keras.Input((T, I), name="first"), keras.Input((T, I), name="second")
    shared = layers.LSTM(H, return_state=True, name="shared")
    _, h, c = shared(first)
    inner = keras.Sequential([keras.Input((T, I)), layers.RNN(layers.LSTMCell(2), name="cell")], name="inner")
    model = keras.Model({"first": first, "second": second}, [shared(second, initial_state=[h, c])[0], inner(second)])
    randomized(model)
    traces = fastkeras.trace(model, {"first": x, "second": x[::-1].copy()})
    assert {name: len(calls) for name, calls in traces.items()} == {"shared": 2, "inner/cell": 1}
    one, two = traces["shared"]
    wanted = of(shared).trace(x)
    same_gates(one, wanted)
    assert_close(two.h_prev[0, 0, 0], wanted.h_n[0], "keras")
    same_gates(traces["inner/cell"][0], of(inner.layers[0]).trace(x[::-1].copy()))


@pytest.mark.parametrize("lstm", [layers.LSTM, fastkeras.LSTM])
def test_stateful_layers_go_on_from_their_state_and_stay_in_it(lstm: Any) -> None:
    layer = lstm(H, stateful=True)
    layer.build((B, T, I))
    randomized(layer)
    layer(x)
    states = tuple(np.array(each) for each in arrays(layer.states))
    (got,) = fastkeras.trace(layer, x)[""]
    assert_same_bits((got.h_prev[0, 0, 0], got.c_prev[0, 0, 0]), states)
    assert_same_bits(tuple(arrays(layer.states)), states)
    with pytest.raises(MemoryError, match="max_bytes=10"):
        fastkeras.trace(layer, x, max_bytes=10)
    assert_same_bits(tuple(arrays(layer.states)), states)
    assert untouched(layer)


@pytest.mark.parametrize("dtype", ["float64", "mixed_float16", "mixed_bfloat16", "float16"])
def test_other_dtypes(dtype: str) -> None:
    if dtype == "float64" and BACKEND == "jax":
        pytest.skip("jax has float64 only if JAX_ENABLE_X64=1")
    layer = layers.LSTM(H, return_sequences=True, dtype=dtype, recurrent_initializer="glorot_uniform")
    layer.build((B, T, I))
    randomized(layer)
    (got,) = fastkeras.trace(layer, x.astype("float64") if dtype == "float64" else x)[""]
    assert got.f.dtype == ("float64" if dtype == "float64" else "float32")
    np.testing.assert_allclose(got.output, arrays(layer(x))[0].astype("float64"), atol=1e-2)


class Doubling(layers.LSTM):
    def inner_loop(self, *args: Any, **kwargs: Any) -> Any:
        last, outputs, states = super().inner_loop(*args, **kwargs)
        return last, outputs, [2 * state for state in states]


class Dropping(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = layers.LSTM(2, dropout=0.5)

    def call(self, x: Any) -> Any:
        return self.rnn(x, training=True)


def built(layer: Any) -> Any:
    model = keras.Sequential([keras.Input((T, I)), layer])
    return randomized(model)


def test_what_cannot_be_traced_is_named() -> None:
    dropping = Dropping()
    dropping(x)
    mixed = layers.RNN([layers.LSTMCell(3), layers.GRUCell(3)], name="mixed")
    for bad, error, message in (
        (3, TypeError, r"model should be a keras\.Model or keras\.Layer, got: int"),
        (layers.LSTM(3), ValueError, "is not built: call it once"),
        (built(layers.GRU(3)), ValueError, r"the model has no keras\.layers\.LSTM"),
        (built(layers.LSTM(3, activation="gelu", name="odd")), ValueError, "odd cannot be traced: activation='gelu'"),
        (built(mixed), ValueError, "mixed cannot be traced: it stacks LSTMCells with GRUCell"),
        (built(Doubling(3, name="twice")), ValueError, "twice computed something else"),
        (dropping, ValueError, f"{dropping.rnn.name} cannot be traced: it drops out"),
    ):
        with pytest.raises(error, match=message):
            fastkeras.trace(bad, x)
    with pytest.raises(ValueError, match=r"units should be in 0\.\.2"):
        fastkeras.trace(built(layers.LSTM(3)), x, units=[3])


def test_a_model_that_fails_is_left_as_it_was() -> None:
    failing = Subclassed()
    failing.build((B, T, I))

    def fail(x: Any) -> Any:
        failing.cell(x[:, 0], [keras.ops.zeros((len(x), 3))] * 2)
        raise OSError("no such thing")

    object.__setattr__(failing, "call", fail)
    with pytest.raises(OSError, match="no such thing"):
        fastkeras.trace(failing, x)
    object.__delattr__(failing, "call")
    assert untouched(failing)


def test_a_call_of_another_thread_is_not_in_it() -> None:
    layer = layers.LSTM(H, name="rnn")
    layer.build((B, T, I))

    class Both(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = layer

        def call(self, x: Any) -> Any:
            other = threading.Thread(target=layer, args=(x,))
            other.start()
            other.join()
            return self.rnn(x)

    model = Both()
    model(x)
    assert len(fastkeras.trace(model, x)["rnn"]) == 1


@pytest.mark.skipif(BACKEND != "jax", reason="KERAS_BACKEND=jax: see test_backends")
def test_compiled_functions_are_told() -> None:
    import jax

    layer = layers.LSTM(H, name="rnn")
    layer.build((B, T, I))

    class Compiled(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = layer

        def call(self, x: Any) -> Any:
            return jax.jit(lambda x: self.rnn(x))(x)

    model = Compiled()
    model(x)
    with pytest.raises(ValueError, match="rnn cannot be traced: it runs in a compiled or traced function"):
        fastkeras.trace(model, x)
