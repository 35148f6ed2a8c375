"""fastlstm.keras.LSTM against keras.layers.LSTM: every option of the constructor and of the call."""

import copy
import inspect
import pickle

import numpy as np
import pytest

from fastlstm import reference
from tests.cases import assert_close
from tests.keras.support import (
    BACKEND,
    MASKS,
    B,
    H,
    I,
    T,
    arrays,
    assert_alike,
    assert_same,
    c_0,
    fastkeras,
    h_0,
    keras,
    pair,
    quiet,
    rng,
    x,
)
from tests.support import assert_same_bits

pytestmark = quiet

OPTIONS = {
    "defaults": {},
    "no-bias": {"use_bias": False},
    "sequences": {"return_sequences": True},
    "state": {"return_state": True},
    "sequences-state": {"return_sequences": True, "return_state": True},
    "backwards": {"go_backwards": True, "return_sequences": True, "return_state": True},
    "unroll": {"unroll": True, "return_sequences": True},
    "no-cudnn": {"use_cudnn": False},
    "implementation-1": {"implementation": 1},
    "no-forget-bias": {"unit_forget_bias": False},
    "initializers": {"kernel_initializer": "ones", "recurrent_initializer": "zeros", "bias_initializer": "ones"},
    "regularizers": {"kernel_regularizer": "l1", "recurrent_regularizer": "l2", "bias_regularizer": "L1L2"},
    "activity-regularizer": {"activity_regularizer": "l2"},
    "constraints": {"kernel_constraint": "non_neg", "recurrent_constraint": "unit_norm", "bias_constraint": "max_norm"},
    "dropout-in-inference": {"dropout": 0.5, "recurrent_dropout": 0.5, "seed": 3},
    "named": {"name": "mine", "trainable": False},
}
each_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
each_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


@each_option
def test_options(options):
    ours, theirs = pair(**options)
    assert_alike(ours, theirs, x)
    assert_alike(ours, theirs, x, initial_state=[h_0, c_0])
    assert_same(ours.losses, theirs.losses)
    assert [v.path.split("/", 1)[1] for v in ours.weights] == [v.path.split("/", 1)[1] for v in theirs.weights]
    assert [v.trainable for v in ours.weights] == [v.trainable for v in theirs.weights]


def test_the_constructor_is_keras_own():
    assert inspect.signature(fastkeras.LSTM) == inspect.signature(keras.layers.LSTM)
    with pytest.raises(ValueError, match="units"):
        fastkeras.LSTM(0)
    with pytest.raises(ValueError, match="Could not interpret activation function identifier: nope"):
        fastkeras.LSTM(H, activation="nope")
    with pytest.raises(ValueError, match="use_cudnn"):
        fastkeras.LSTM(H, use_cudnn="perhaps")


@each_option
def test_config_round_trip(options):
    ours, theirs = fastkeras.LSTM(H, **options), keras.layers.LSTM(H, **options)
    config = ours.get_config()
    assert config | {"name": ""} == theirs.get_config() | {"name": ""}
    assert fastkeras.LSTM.from_config(config).get_config() == config
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(ours))
    assert type(again) is fastkeras.LSTM
    assert again.get_config() == config


@pytest.mark.parametrize("name", ["linear", "relu", "leaky_relu", "elu", "hard_sigmoid", "softplus", "softsign"])
def test_other_activations(name):
    for options in ({"activation": name}, {"recurrent_activation": name}):
        assert_alike(*pair(return_sequences=True, return_state=True, **options), x, initial_state=[h_0, c_0])
    assert_alike(*pair(activation=None, recurrent_activation=keras.activations.tanh), x)


@pytest.mark.skipif(BACKEND == "jax", reason="jax has float64 only if JAX_ENABLE_X64=1")
def test_float64():
    """Keras itself rounds to float32 on its way, so the exact result is the reference's."""
    ours, theirs = pair(dtype="float64", return_sequences=True)
    wide = x.astype("float64")
    assert_alike(ours, theirs, wide)
    kernel, recurrent, bias = (keras.ops.convert_to_numpy(variable) for variable in ours.weights)
    named = {"weight_ih_l0": kernel.T, "weight_hh_l0": recurrent.T, "bias_ih_l0": bias, "bias_hh_l0": 0 * bias}
    zeros = np.zeros((1, B, H))
    expected, _ = reference.lstm_forward(wide, (zeros, zeros), named, num_layers=1, batch_first=True)
    assert_close(arrays(ours(wide))[0], expected, "forward")


def test_one_row_of_state_serves_all():
    ours, theirs = pair(return_state=True)
    rows = [np.repeat(state[:1], B, axis=0) for state in (h_0, c_0)]
    assert_same(ours(x, initial_state=[h_0[:1], c_0[:1]]), theirs(x, initial_state=rows))
    assert ours.fallback is None


@each_mask
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zeros", [False, True])
def test_masks(mask, backwards, zeros):
    options = {"go_backwards": backwards, "zero_output_for_mask": zeros, "return_state": True}
    assert_alike(*pair(return_sequences=True, **options), x, mask=mask, initial_state=[h_0, c_0])
    assert_alike(*pair(**options), x, mask=mask)


def test_masks_of_other_kinds():
    mask = MASKS["holes"]
    ours, theirs = pair()
    expected = theirs(x, mask=mask)
    for same in (mask[..., None], keras.ops.convert_to_tensor(mask.astype("int32")), keras.ops.convert_to_tensor(mask)):
        assert_same(ours(x, mask=same), expected)
        assert ours.fallback is None


@each_mask
def test_what_is_masked_is_not_read(mask):
    ours, theirs = pair(return_sequences=True)
    spoilt = np.where(mask[..., None], x, np.nan).astype("float32")
    assert_same(ours(spoilt, mask=mask), theirs(x, mask=mask))


@pytest.mark.parametrize("merge_mode", ["concat", "sum", "ave", "mul", None])
@pytest.mark.parametrize("sequences", [False, True])
def test_bidirectional(merge_mode, sequences):
    ours, theirs = (
        keras.layers.Bidirectional(
            layer(H, return_sequences=sequences, return_state=True, name="lstm"), merge_mode=merge_mode, name="both"
        )
        for layer in (fastkeras.LSTM, keras.layers.LSTM)
    )
    ours.build((B, T, I))
    theirs.build((B, T, I))
    assert [v.path for v in ours.weights] == [v.path for v in theirs.weights]
    ours.set_weights([rng.uniform(-0.5, 0.5, v.shape) for v in ours.weights])
    theirs.set_weights(ours.get_weights())
    assert_same(ours(x), theirs(x))
    assert_same(ours(x, mask=MASKS["holes"]), theirs(x, mask=MASKS["holes"]))
    assert type(ours.backward_layer) is fastkeras.LSTM
    assert ours.forward_layer.fallback is ours.backward_layer.fallback is None


@pytest.mark.parametrize("mask", [None, MASKS["holes"]], ids=["no-mask", "holes"])
def test_stateful(mask):
    ours, theirs = pair(stateful=True, return_sequences=True, return_state=True)
    for _ in range(3):
        assert_alike(ours, theirs, x, mask=mask)
    first, *_ = arrays(ours(x))
    ours.reset_state()
    theirs.reset_states()
    assert np.any(arrays(ours(x))[0] != first)
    theirs(x)
    assert_alike(ours, theirs, x)
    with pytest.raises(ValueError, match="batch size of the input sequences must be the same"):
        ours(x[:2])


def test_functional_model():
    def model(layer):
        words = keras.Input((T,), dtype="int32")
        embedded = keras.layers.Embedding(11, I, mask_zero=True)(words)
        sequence, h, c = layer(H, return_sequences=True, return_state=True)(embedded)
        last = layer(H, go_backwards=True)(sequence, initial_state=[h, c])
        return keras.Model(words, keras.layers.Dense(3)(last))

    ours, theirs = model(fastkeras.LSTM), model(keras.layers.LSTM)
    ours.set_weights([rng.uniform(-0.5, 0.5, v.shape) for v in ours.weights])
    theirs.set_weights(ours.get_weights())
    words = rng.integers(0, 3, (B, T))
    assert_same(ours(words), theirs(words))
    assert [layer.fallback for layer in ours.layers if isinstance(layer, fastkeras.LSTM)] == [None, None]
    assert_same(ours.predict(words, verbose=0), theirs.predict(words, verbose=0))


def test_a_row_has_the_same_bits_in_every_batch():
    ours, _ = pair(return_sequences=True)
    whole = arrays(ours(x))[0]
    for row in range(B):
        assert_same_bits(arrays(ours(x[row : row + 1]))[0], whole[row : row + 1])


@pytest.mark.parametrize("dtype", ["float32", "float64"][: 1 if BACKEND == "jax" else 2])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_masked_row_has_the_bits_of_its_steps_alone(dtype, backwards):
    ours, _ = pair(dtype=dtype, return_state=True, go_backwards=backwards)
    mask, wide = MASKS["holes"], x.astype(dtype)
    last, h, c = arrays(ours(wide, mask=mask))
    for row in np.flatnonzero(mask.any(axis=1)):
        alone = arrays(ours(wide[row : row + 1, mask[row]]))
        assert_same_bits((last[row], h[row], c[row]), tuple(array[0] for array in alone))


def test_results_are_no_views_of_one_another():
    ours, _ = pair(return_state=True, stateful=True)
    results = [keras.ops.convert_to_numpy(tensor) for tensor in ours(x)]
    for k, a in enumerate(results):
        assert not any(np.shares_memory(a, b) for b in results[k + 1 :])
    before = [np.array(array) for array in results]
    ours(x)
    for array, as_it_was in zip(results, before, strict=True):
        assert_same_bits(array, as_it_was)


CHANGES = {
    "assign": lambda variable, value: variable.assign(value),
    "assign_add": lambda variable, value: variable.assign_add(value),
    "a NumPy view": lambda variable, value: np.copyto(_live(variable), value),
}
if BACKEND == "torch":
    import torch

    CHANGES |= {
        "data": lambda variable, value: variable.value.data.copy_(torch.as_tensor(value)),
        "no_grad": torch.no_grad()(lambda variable, value: variable.value.mul_(-1)),
    }
if BACKEND == "jax":
    del CHANGES["a NumPy view"]  # its arrays cannot be written to


def _live(variable):
    return variable.value if BACKEND == "numpy" else variable.value.detach().numpy()


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_weights_are_never_stale(change, which):
    ours, theirs = pair()
    before = arrays(ours(x))[0]
    packed = ours._plans.kept
    ours(x)
    assert ours._plans.kept is packed, "unchanged weights should not be packed again"
    value = np.full(ours.weights[which].shape, 0.25, "float32")
    change(ours.weights[which], value)
    after = arrays(ours(x))[0]
    assert np.any(after != before)
    theirs.set_weights([keras.ops.convert_to_numpy(variable) for variable in ours.weights])
    assert_close(after, arrays(theirs(x))[0], "keras")


def test_weights_that_are_nan():
    ours, _ = pair()
    ours.set_weights([np.full(v.shape, np.nan) for v in ours.weights])
    assert np.all(np.isnan(arrays(ours(x))[0]))
    packed = ours._plans.kept
    ours(x)
    assert ours._plans.kept is packed


@pytest.mark.skipif(BACKEND == "jax", reason="its arrays cannot be written to")
def test_weights_with_gaps_between_their_values():
    ours, theirs = pair()
    live = _live(ours.weights[0])
    apart = np.stack([live, live], -1)[..., 0]
    if BACKEND == "numpy":
        ours.weights[0]._value = apart
    else:
        ours.weights[0].value.data = torch.from_numpy(apart)
    for _ in range(2):
        theirs.set_weights([keras.ops.convert_to_numpy(variable) for variable in ours.weights])
        assert_close(arrays(ours(x))[0], arrays(theirs(x))[0], "keras")
        assert ours.fallback is None
        apart[1, 2] = 3


def test_a_layer_that_has_run_is_copied():
    ours, _ = pair()
    before = arrays(ours(x))[0]
    model = keras.Sequential([keras.Input((T, I)), ours])
    assert_same_bits(arrays(copy.deepcopy(model)(x))[0], before)
    assert_same_bits(arrays(pickle.loads(pickle.dumps(model))(x))[0], before)


FALLBACKS = {
    "dropout": ({"dropout": 0.5, "seed": 1}, {"training": True}, "dropout in training"),
    "recurrent-dropout": ({"recurrent_dropout": 0.5, "seed": 1}, {"training": True}, "dropout in training"),
    "activation": ({"activation": "gelu"}, {}, "activation='gelu' has no counterpart"),
    "gates": ({"recurrent_activation": "relu6"}, {}, "recurrent_activation='relu6' has no counterpart"),
    "mixed-precision": ({"dtype": "mixed_float16"}, {}, "float16: input, states and weights"),
    "unroll-mask": ({"unroll": True}, {"mask": MASKS["holes"]}, "a mask with unroll=True"),
}


@pytest.mark.parametrize(("options", "call", "reason"), FALLBACKS.values(), ids=FALLBACKS)
def test_what_keras_runs_itself(options, call, reason):
    ours, theirs = pair(**options)
    assert_same_bits(arrays(ours(x, **call))[0], arrays(theirs(x, **call))[0])
    assert reason in ours.fallback
    plain, _ = pair()
    plain(x)
    assert plain.fallback is None


def test_integers_go_to_keras():
    ours, theirs = pair()
    whole = rng.integers(-3, 3, (B, T, I)).astype("int32")
    assert_same_bits(arrays(ours(whole))[0], arrays(theirs(whole))[0])
    assert "int32" in ours.fallback


def test_use_cudnn_is_refused_as_keras_refuses_it():
    ours, _ = pair(use_cudnn=True)
    if BACKEND == "torch":  # where Keras has one implementation for CPUs and GPUs
        ours(x)
    else:
        with pytest.raises(ValueError, match="cuDNN is not supported"):
            ours(x)
    assert ours.fallback == "use_cudnn=True"


@pytest.mark.skipif(BACKEND != "jax", reason="KERAS_BACKEND=jax: see test_backends")
def test_jax_transformations_go_to_keras():
    import jax

    ours, theirs = pair()
    assert_same(jax.jit(lambda a: ours(a))(x), theirs(x))
    assert "traced" in ours.fallback
    assert_same(jax.grad(lambda a: ours(a).sum())(x), jax.grad(lambda a: theirs(a).sum())(x))
    assert "traced" in ours.fallback


BAD_CALLS = {
    "rank": ((x[0],), {}, r"expected ndim=3, found ndim=2"),
    "features": ((x[..., :3],), {}, r"input_size. Expected 5, got 3"),
    "state-rows": ((x,), {"initial_state": [h_0[:2], c_0]}, r"initial_state\[0\] size \(4, 7\).*got \(2, 7\)"),
    "state-units": ((x,), {"initial_state": [h_0, c_0[:, :3]]}, r"initial_state\[1\] size \(4, 7\).*got \(4, 3\)"),
    "one-state": ((x,), {"initial_state": [h_0]}, "pair"),
    "mask": ((x,), {"mask": np.ones((B, T - 1), bool)}, r"mask size \(4, 6\).*got \(4, 5\)"),
}


@pytest.mark.parametrize(("arguments", "options", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_calls(arguments, options, message):
    ours, _ = pair()
    with pytest.raises(ValueError, match=message):
        ours(*arguments, **options)


def test_no_rows():
    ours, _ = pair(return_sequences=True, return_state=True)
    for mask in (None, np.ones((0, T), bool)):
        assert [array.shape for array in arrays(ours(x[:0], mask=mask))] == [(0, T, H), (0, H), (0, H)]
