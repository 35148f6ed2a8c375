"""Training with the torch backend: gradients and losses against keras.layers.LSTM."""

import numpy as np
import pytest

from tests.cases import assert_gradients_close
from tests.keras.support import (
    BACKEND,
    MASKS,
    H,
    I,
    T,
    assert_same,
    c_0,
    fastkeras,
    h_0,
    keras,
    pair,
    quiet,
    randomized,
    x,
)

pytestmark = [quiet, pytest.mark.skipif(BACKEND != "torch", reason="KERAS_BACKEND=torch: see test_backends")]
torch = pytest.importorskip("torch", reason="pip install torch")

from torch.autograd import forward_ad  # noqa: E402  torch first

NAMES = ["weight_kernel", "weight_recurrent", "bias"]


def gradients(layer, mask=None, dtype=torch.float32):
    """Return the gradients of a sum of all results, each weighted at random; by name."""
    tensors = {"input": x, "h_0": h_0, "c_0": c_0}
    tensors = {name: torch.tensor(array, dtype=dtype, requires_grad=True) for name, array in tensors.items()}
    named = tensors | dict(zip(NAMES, (variable.value for variable in layer.weights), strict=False))
    results = layer(tensors["input"], initial_state=[tensors["h_0"], tensors["c_0"]], mask=mask)
    draw = np.random.default_rng(7)
    loss = sum((result * torch.tensor(draw.standard_normal(result.shape), dtype=dtype)).sum() for result in results)
    found = torch.autograd.grad(loss, list(named.values()))
    return {name: gradient.numpy() for name, gradient in zip(named, found, strict=True)}


@pytest.mark.parametrize("mask", [None, *MASKS.values()], ids=["no-mask", *MASKS])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients(mask, sequences, dtype):
    for options in ({}, {"go_backwards": True, "zero_output_for_mask": True}, {"use_bias": False}):
        ours, theirs = pair(return_sequences=sequences, return_state=True, dtype=dtype, **options)
        kind = getattr(torch, dtype)
        assert_gradients_close(gradients(ours, mask, kind), gradients(theirs, mask, kind), "gradients, keras")
        assert ours.fallback is None


@pytest.mark.parametrize("name", ["linear", "relu", "leaky_relu", "elu", "hard_sigmoid", "softplus", "softsign"])
def test_gradients_of_other_activations(name):
    ours, theirs = pair(return_sequences=True, return_state=True, activation=name, recurrent_activation="hard_sigmoid")
    assert_gradients_close(gradients(ours), gradients(theirs), "gradients, keras")
    assert ours.fallback is None


def test_one_result_alone_has_a_gradient():
    ours, theirs = pair(return_sequences=True, return_state=True)
    for k in range(3):
        found = [torch.autograd.grad(layer(x)[k].sum(), layer.weights[1].value)[0] for layer in (ours, theirs)]
        assert_gradients_close({"weight": found[0].numpy()}, {"weight": found[1].numpy()}, "gradients, keras")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_fit_gives_the_same_losses(optimizer):
    def losses(layer):
        model = keras.Sequential(
            [
                keras.Input((T, I)),
                keras.layers.Masking(),
                keras.layers.Bidirectional(layer(H, return_sequences=True)),
                layer(H, kernel_regularizer="l2", recurrent_constraint="max_norm"),
                keras.layers.Dense(3),
            ]
        )
        randomized(model).compile(optimizer, "mse")
        draw = np.random.default_rng(3)
        inputs, targets = draw.standard_normal((32, T, I)), draw.standard_normal((32, 3))
        inputs[::3, 4:] = 0
        history = model.fit(inputs, targets, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"]
        assert model.layers[-2].__class__ is layer
        return np.array(history, np.float32), model.predict(inputs, verbose=0)

    ours, theirs = losses(fastkeras.LSTM), losses(keras.layers.LSTM)
    assert ours[0][-1] < ours[0][0]
    assert_same(ours, theirs, "keras, trained")


def test_a_frozen_layer_passes_gradients_on():
    ours, theirs = pair(trainable=False)
    found = []
    for layer in (ours, theirs):
        tensor = torch.tensor(x, requires_grad=True)
        layer(tensor).sum().backward()
        found.append({"input": tensor.grad.numpy()})
        assert all(variable.value.grad is None for variable in layer.weights)
    assert_gradients_close(*found, "gradients, keras")


def test_backward_twice():
    ours, _ = pair()
    tensor = torch.tensor(x, requires_grad=True)
    loss = ours(tensor).sum()
    loss.backward(retain_graph=True)
    once = tensor.grad.clone()
    loss.backward()
    assert torch.equal(tensor.grad, 2 * once)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


def test_weights_may_change_between_forward_and_backward():
    ours, theirs = pair()
    tensor = torch.tensor(x, requires_grad=True)
    result = ours(tensor).sum()
    kept = ours.get_weights()
    ours.set_weights([2 * array for array in kept])
    ours(x)
    found = torch.autograd.grad(result, tensor)[0].numpy()
    expected = torch.autograd.grad(theirs(tensor).sum(), tensor)[0].numpy()
    assert_gradients_close({"input": found}, {"input": expected}, "gradients, keras")


def test_no_second_derivatives():
    ours, _ = pair()
    tensor = torch.tensor(x, requires_grad=True)
    for source in (tensor, ours.weights[1].value):
        result = ours(tensor).sum()
        (gradient,) = torch.autograd.grad(result, source, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiated once"):
            (result + gradient.sum()).backward()


@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("trainable", [False, True])
@pytest.mark.parametrize("grad", [False, True])
def test_tangents_are_kerass(trainable, grad):
    found = []
    for layer in pair(return_sequences=True, return_state=True, trainable=trainable):
        with torch.set_grad_enabled(grad), forward_ad.dual_level():
            states = [forward_ad.make_dual(torch.tensor(s), torch.ones(s.shape)) for s in (h_0, c_0)]
            dual = forward_ad.make_dual(torch.tensor(x), torch.ones(x.shape))
            results = layer(dual, initial_state=states)
            found.append({str(k): forward_ad.unpack_dual(t).tangent.detach().numpy() for k, t in enumerate(results)})
    assert_gradients_close(*found, "gradients, keras")


def test_tangents_of_gradients_are_refused():
    ours, _ = pair()
    result = ours(torch.tensor(x, requires_grad=True))
    with forward_ad.dual_level(), pytest.raises(RuntimeError, match="tangents of gradients"):
        result.backward(forward_ad.make_dual(torch.ones_like(result), torch.ones_like(result)))


@pytest.mark.parametrize("mask", [None, *MASKS.values()], ids=["no-mask", *MASKS])
@pytest.mark.parametrize("way", ["is_grads_batched", "vmap"])
def test_gradients_by_the_batch_have_the_bits_of_each_alone(mask, way):
    ours, _ = pair(return_sequences=True)
    tensor = torch.tensor(x, requires_grad=True)
    result, into = ours(tensor, mask=mask), [tensor, *(variable.value for variable in ours.weights)]

    def grad(incoming, **more):
        return torch.autograd.grad(result, into, incoming, retain_graph=True, **more)

    several = torch.randn(3, *result.shape)
    got = grad(several, is_grads_batched=True) if way == "is_grads_batched" else torch.vmap(grad)(several)
    for one, column in zip(got, zip(*map(grad, several), strict=True), strict=True):
        assert torch.equal(one, torch.stack(column))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_a_jacobian_by_the_batch():
    found = []
    for layer in pair():
        made = torch.autograd.functional.jacobian(lambda t, layer=layer: layer(t), torch.tensor(x), vectorize=True)
        found.append({"jacobian": made.numpy()})
    assert_gradients_close(*found, "gradients, keras")


class Logged(torch.Tensor):
    """A subclass that changes nothing."""


INCOMING = {
    "zeros without memory": torch._efficientzerotensor,
    "negative bit": lambda shape: torch.ones(shape, dtype=torch.complex64).mul(1j).conj().imag,
    "subclass": lambda shape: torch.ones(shape).as_subclass(Logged),
}


@pytest.mark.parametrize("make", INCOMING.values(), ids=INCOMING)
def test_tensors_of_other_kinds(make):
    found = []
    for layer in pair():
        tensor = torch.tensor(x, requires_grad=True)
        result = layer(tensor)
        (gradient,) = torch.autograd.grad(result, tensor, make(result.shape))
        given = layer(make(x.shape))
        found.append({"gradient": gradient.numpy(), "result": given.detach().as_subclass(torch.Tensor).numpy()})
        assert type(given) is (Logged if make is INCOMING["subclass"] else torch.Tensor)
    assert_gradients_close(*found, "gradients, keras")


def test_autocast_gives_float32():
    ours, theirs = pair()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        result = ours(x)
        assert (result.dtype, theirs(x).dtype) == (torch.float32, torch.float32)
    assert ours.fallback is None
    assert torch.equal(result, ours(x))


def test_no_tape_without_gradients():
    ours, _ = pair()
    with torch.no_grad():
        assert ours(x).grad_fn is None
    assert ours(x).grad_fn is not None
    ours.trainable = False
    assert ours(x).grad_fn is None


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_what_torch_traces_runs_on_keras():
    ours, theirs = pair(trainable=False)  # the tracer keeps the weights as constants
    with torch.no_grad():
        traced = torch.jit.trace(lambda tensor: ours(tensor), torch.tensor(x), check_trace=False)
    assert "traced" in ours.fallback
    assert_same(traced(torch.tensor(-x)), theirs(-x))
    mapped = torch.vmap(lambda tensor: ours(tensor))(torch.tensor(x[None]))
    assert "traced" in ours.fallback
    assert_same(mapped[0], theirs(x))
    exported = torch.export.export(_Module(ours), (torch.tensor(x),)).module()
    assert_same(exported(torch.tensor(-x)), theirs(-x))


class _Module(torch.nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, tensor):
        return self.layer(tensor)
