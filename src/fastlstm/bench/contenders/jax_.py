"""JAX: the LSTM as its users write it, a scan over the steps, compiled by XLA together with its gradient.

W x of all steps is one product before the scan. Compiled when it is prepared; the arrays are on the device already.
"""

import os
from itertools import repeat

from fastlstm.bench.contenders import NO_AVX512, Answer, Loop, untold

if NO_AVX512:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_max_isa=AVX2"

import jax
import jax.numpy as jnp
import numpy as np

from fastlstm.bench.works import GRADIENTS, Array, Data, Work

label = "jax"

Weights = dict[str, jax.Array]
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
    weights, x, grad_output = jax.device_put((data.weights, data.x, data.grad_output), jax.devices("cpu")[0])
    if work.kind == "sequence":
        return _sequence(work, weights, x)
    if work.kind == "step_cell":
        return _step(work, weights, x)
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


def _sequence(work: Work, weights: Weights, x: jax.Array) -> tuple[Loop, Answer]:
    def stack(weights: Weights, x: jax.Array) -> jax.Array:
        for suffixes in work.case.suffixes:
            outputs = [_lstm(weights, x, suffixes[0])]
            outputs += [_lstm(weights, x[::-1], suffix)[::-1] for suffix in suffixes[1:]]
            x = jnp.concatenate(outputs, axis=2)
        return x

    run = jax.jit(stack).lower(weights, x).compile()

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            jax.block_until_ready(run(weights, x))

    return loop, lambda: np.asarray(run(weights, x))


def _step(work: Work, weights: Weights, inputs: jax.Array) -> tuple[Loop, Answer]:
    def step(weights: Weights, x: jax.Array, state: State) -> State:
        z = x @ weights["weight_ih_l0"].T + (weights["bias_ih_l0"] + weights["bias_hh_l0"])
        return _cell(state, z, weights["weight_hh_l0"].T)

    first, zero = inputs[0], jnp.zeros((1, work.case.H), inputs.dtype)
    run = jax.jit(step).lower(weights, first, (zero, zero)).compile()

    def loop(n: int) -> None:
        state = zero, zero
        for _ in repeat(None, n):
            state = run(weights, first, state)
            jax.block_until_ready(state)

    def answer() -> Array:
        state, outputs = (zero, zero), []
        for x in inputs:
            state = run(weights, x, state)
            outputs.append(np.asarray(state[0]))
        return np.stack(outputs)

    return loop, answer


def _gradients(weights: Weights, x: jax.Array, grad_output: jax.Array) -> tuple[jax.Array, Weights, jax.Array]:
    output, backward = jax.vjp(_lstm, weights, x)
    of_weights, of_input = backward(grad_output)
    return output, of_weights, of_input


def _lstm(weights: Weights, x: jax.Array, suffix: str = "_l0") -> jax.Array:
    w, u, b_ih, b_hh = (weights[f"{name}{suffix}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    projected, recurrent = x @ w.T + (b_ih + b_hh), u.T

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
