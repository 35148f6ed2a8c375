"""Keras: its LSTM layers and LSTMCell, compiled as its backend compiles: the form says which of them it runs on.

"tensorflow": a traced function; "jax": compiled by XLA; "torch": as it is, under no_grad. Rows come before steps, as
Keras has it.
"""

import importlib
import os
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from fastlstm.bench.contenders import NO_AVX512, Answer, Loop, transposed, untold
from fastlstm.bench.works import Array, Data, Work

label = "keras"
Run = Callable[..., Any]

if NO_AVX512:
    raise ImportError("not all of its backends can be told to do without AVX-512")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def version() -> str:
    """Say what is measured; Keras is imported with a work, which says on which backend."""
    from importlib.metadata import version as version_of

    return f"{version_of('keras')} ({untold()})"


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a sequence through layers and directions, or a step with states in and out."""
    if work.kind not in {"sequence", "step_cell"}:
        raise NotImplementedError(f"no {work.kind}")
    os.environ["KERAS_BACKEND"] = work.form
    _set_threads(work)
    keras = importlib.import_module("keras")
    return _step(keras, work, data) if work.kind == "step_cell" else _sequence(keras, work, data)


def _set_threads(work: Work) -> None:
    """Set the number of threads, of the whole process, as each backend wants it."""
    if work.form == "tensorflow":
        from fastlstm.bench.contenders.tensorflow_ import set_threads

        set_threads(work.threads)
    elif work.form == "jax":
        from fastlstm.bench.contenders.jax_ import set_threads

        set_threads(work.threads)
    else:
        import torch

        torch.set_num_threads(work.threads)


def _sequence(keras: Any, work: Work, data: Data) -> tuple[Loop, Answer]:
    case = work.case
    layers = []
    for suffixes in case.suffixes:
        layer = keras.layers.LSTM(case.H, return_sequences=True)
        layers.append(keras.layers.Bidirectional(layer) if len(suffixes) == 2 else layer)
    model = keras.Sequential(layers)
    model.build((case.B, case.T, case.I))
    for layer, suffixes in zip(layers, case.suffixes, strict=True):
        layer.set_weights([array for suffix in suffixes for array in transposed(data.weights, suffix)])
    run, wait = _compiled(work.form, model, lambda x: model(x, training=False))
    x = keras.ops.convert_to_tensor(np.ascontiguousarray(data.x.swapaxes(0, 1)))

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            wait(run(x))

    def answer() -> Array:
        output: Array = keras.ops.convert_to_numpy(run(x))
        return np.ascontiguousarray(output.swapaxes(0, 1))

    return loop, answer


def _step(keras: Any, work: Work, data: Data) -> tuple[Loop, Answer]:
    cell = keras.layers.LSTMCell(work.case.H)
    cell.build((1, work.case.I))
    cell.set_weights(transposed(data.weights, "_l0"))

    def one(x: Any, h: Any, c: Any) -> Any:
        _, (h, c) = cell(x, [h, c], training=False)
        return h, c

    run, wait = _compiled(work.form, cell, one)
    inputs = [keras.ops.convert_to_tensor(x) for x in data.x]
    zero, first = keras.ops.zeros((1, work.case.H)), inputs[0]

    def loop(n: int) -> None:
        state = zero, zero
        for _ in repeat(None, n):
            state = run(first, *state)
            wait(state)

    def answer() -> Array:
        state, outputs = (zero, zero), []
        for x in inputs:
            state = run(x, *state)
            outputs.append(keras.ops.convert_to_numpy(state[0]))
        return np.stack(outputs)

    return loop, answer


def _compiled(backend: str, layer: Any, call: Run) -> tuple[Run, Run]:
    """Compile a call, and say how its result is waited for."""
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(call), _done
    if backend == "jax":
        return _jitted(layer, call)
    import torch

    def run(*arguments: Any) -> Any:
        with torch.no_grad():
            return call(*arguments)

    return run, _done


def _jitted(layer: Any, call: Run) -> tuple[Run, Run]:
    import jax
    import keras

    variables = layer.variables

    @jax.jit  # type: ignore[untyped-decorator, unused-ignore]
    def pure(values: Sequence[Any], *arguments: Any) -> Any:
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return call(*arguments)

    values = [variable.value for variable in variables]
    return lambda *arguments: pure(values, *arguments), jax.block_until_ready


def _done(result: Any) -> Any:
    return result
