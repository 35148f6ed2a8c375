"""JAX: the LSTM as its users write it, a scan over the steps, compiled by XLA together with its gradient.

W x of all steps is one product before the scan. Compiled when it is prepared; the arrays are on the device already, for
inference with the matrices transposed and the biases added, as its users have them.
"""

import os
from itertools import repeat

from fastlstm.bench.contenders import NO_AVX512, Answer, Loop, transposed, untold

if NO_AVX512:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_max_isa=AVX2"

import jax
import jax.numpy as jnp
import numpy as np

from fastlstm.bench.works import GRADIENTS, Array, Data, Work

label = "jax"

Weights = dict[str, jax.Array]
Packed = tuple[jax.Array, jax.Array, jax.Array]  # W and U transposed, and both biases in one
State = tuple[jax.Array, jax.Array]


def version() -> str:
    """Say what is measured."""
    return f"{jax.__version__} ({'AVX2' if NO_AVX512 else untold()})"


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a sequence, a step with states in and out, or training of one layer."""
    if work.kind not in {"training", "sequence", "step_cell"}:
        raise NotImplementedError(f"no {work.kind}")
    if work.kind == "training" and work.case.num_layers * work.case.directions > 1:
        raise NotImplementedError("training of one layer in one direction alone")
    set_threads(work.threads)
    device = jax.devices("cpu")[0]
    if work.kind != "training":
        packed = [[transposed(data.weights, suffix) for suffix in ways] for ways in work.case.suffixes]
        layers, inputs = jax.device_put((packed, data.x), device)
        return _sequence(layers, inputs) if work.kind == "sequence" else _step(work, layers[0][0], inputs)
    weights, x, grad_output = jax.device_put((data.weights, data.x, data.grad_output), device)
    gradients = jax.jit(_gradients).lower(weights, x, grad_output).compile()

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            jax.block_until_ready(gradients(weights, x, grad_output))

    def answer() -> Array:
        _, of_weights, of_input = gradients(weights, x, grad_output)
        named = {"input": of_input} | of_weights
        return np.concatenate([np.asarray(named[name]).ravel() for name in GRADIENTS])

    return loop, answer


def set_threads(threads: int) -> None:
    """Set the number of threads: XLA makes them at the first use of the device, and never again."""
    if os.environ.setdefault("NPROC", str(threads)) != str(threads):
        raise RuntimeError("this process has started with another number of threads")


def _sequence(layers: list[list[Packed]], x: jax.Array) -> tuple[Loop, Answer]:
    def stack(layers: list[list[Packed]], x: jax.Array) -> jax.Array:
        for ways in layers:
            outputs = [_scan(ways[0], x)]
            outputs += [_scan(packed, x[::-1])[::-1] for packed in ways[1:]]
            x = jnp.concatenate(outputs, axis=2)
        return x

    run = jax.jit(stack).lower(layers, x).compile()

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            jax.block_until_ready(run(layers, x))

    return loop, lambda: np.asarray(run(layers, x))


def _step(work: Work, packed: Packed, inputs: jax.Array) -> tuple[Loop, Answer]:
    def step(packed: Packed, x: jax.Array, state: State) -> State:
        w, u, b = packed
        return _cell(state, x @ w + b, u)

    first, zero = inputs[0], jnp.zeros((1, work.case.H), inputs.dtype)
    run = jax.jit(step).lower(packed, first, (zero, zero)).compile()

    def loop(n: int) -> None:
        state = zero, zero
        for _ in repeat(None, n):
            state = run(packed, first, state)
            jax.block_until_ready(state)

    def answer() -> Array:
        state, outputs = (zero, zero), []
        for x in inputs:
            state = run(packed, x, state)
            outputs.append(np.asarray(state[0]))
        return np.stack(outputs)

    return loop, answer


def _gradients(weights: Weights, x: jax.Array, grad_output: jax.Array) -> tuple[jax.Array, Weights, jax.Array]:
    output, backward = jax.vjp(_lstm, weights, x)
    of_weights, of_input = backward(grad_output)
    return output, of_weights, of_input


def _lstm(weights: Weights, x: jax.Array) -> jax.Array:
    w, u, b_ih, b_hh = (weights[f"{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    return _scan((w.T, u.T, b_ih + b_hh), x)


def _scan(packed: Packed, x: jax.Array) -> jax.Array:
    w, recurrent, b = packed
    projected = x @ w + b

    def step(state: State, z: jax.Array) -> tuple[State, jax.Array]:
        state = _cell(state, z, recurrent)
        return state, state[0]

    zeros = jnp.zeros((x.shape[1], recurrent.shape[0]), x.dtype)
    _, output = jax.lax.scan(step, (zeros, zeros), projected)
    return output


def _cell(state: State, z: jax.Array, recurrent: jax.Array) -> State:
    h, c = state
    i, f, g, o = jnp.split(z + h @ recurrent, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c
