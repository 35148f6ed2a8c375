"""JAX: the LSTM as its users write it, a scan over the steps, compiled by XLA together with its gradient.

W x of all steps is one product before the scan. Compiled when it is prepared; the arrays are on the device already.
"""

import os
from itertools import repeat

from fastlstm.bench.contenders import NO_AVX512, Answer, Loop

if NO_AVX512:
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_max_isa=AVX2"

import jax
import jax.numpy as jnp
import numpy as np

from fastlstm.bench.works import GRADIENTS, Array, Data, Work

label = "jax"

Weights = dict[str, jax.Array]


def version() -> str:
    """Say what is measured."""
    return str(jax.__version__)


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare training, or a sequence through one layer."""
    if work.kind not in {"training", "sequence"} or work.case.num_layers * work.case.directions > 1:
        raise NotImplementedError(f"{work.kind}: only a sequence or training of one layer in one direction")
    # XLA makes its threads at the first use of the device, which is below, and never again.
    threads = str(work.threads)
    if os.environ.setdefault("NPROC", threads) != threads:
        raise RuntimeError("this process has started with another number of threads")
    weights, x, grad_output = jax.device_put((data.weights, data.x, data.grad_output), jax.devices("cpu")[0])
    if work.kind == "sequence":
        return _sequence(weights, x)
    gradients = jax.jit(_gradients).lower(weights, x, grad_output).compile()

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            jax.block_until_ready(gradients(weights, x, grad_output))

    def answer() -> Array:
        _, of_weights, of_input = gradients(weights, x, grad_output)
        named = {"input": of_input} | of_weights
        return np.concatenate([np.asarray(named[name]).ravel() for name in GRADIENTS])

    return loop, answer


def _sequence(weights: Weights, x: jax.Array) -> tuple[Loop, Answer]:
    run = jax.jit(_lstm).lower(weights, x).compile()

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            jax.block_until_ready(run(weights, x))

    return loop, lambda: np.asarray(run(weights, x))


def _gradients(weights: Weights, x: jax.Array, grad_output: jax.Array) -> tuple[jax.Array, Weights, jax.Array]:
    output, backward = jax.vjp(_lstm, weights, x)
    of_weights, of_input = backward(grad_output)
    return output, of_weights, of_input


def _lstm(weights: Weights, x: jax.Array) -> jax.Array:
    projected = x @ weights["weight_ih_l0"].T + (weights["bias_ih_l0"] + weights["bias_hh_l0"])
    recurrent = weights["weight_hh_l0"].T

    def step(state: tuple[jax.Array, jax.Array], z: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        h, c = state
        i, f, g, o = jnp.split(z + h @ recurrent, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[1], recurrent.shape[0]), x.dtype)
    _, output = jax.lax.scan(step, (zeros, zeros), projected)
    return output
