"""TensorFlow: its own operation for a layer of whole sequences, BlockLSTMV2, in a traced function.

What Keras makes of a layer, with TensorFlow below it, is in `keras_`.
"""

import os
from itertools import repeat

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from fastlstm.bench.contenders import NO_AVX512, Answer, Loop, transposed, untold
from fastlstm.bench.works import Array, Data, Work

label = "tensorflow"

if NO_AVX512:
    raise ImportError("tensorflow cannot be told to do without AVX-512")


def version() -> str:
    """Say what is measured."""
    return f"{tf.__version__} ({untold()})"


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a sequence through layers and directions, or a step with states in and out."""
    if work.kind not in {"sequence", "step_cell"}:
        raise NotImplementedError(f"no {work.kind}")
    set_threads(work.threads)
    layers = [[_weights(data, suffix) for suffix in ways] for ways in work.case.suffixes]
    return _step(work, data, layers[0][0]) if work.kind == "step_cell" else _sequence(work, data, layers)


def set_threads(threads: int) -> None:
    """Set the number of threads, of the whole process, before anything has run; later there is nothing to set."""
    if tf.config.threading.get_intra_op_parallelism_threads() != threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)


Weights = tuple[tf.Tensor, tf.Tensor]


def _weights(data: Data, suffix: str) -> Weights:
    w, u, b = transposed(data.weights, suffix)
    return tf.constant(np.concatenate([w, u])), tf.constant(b)


def _layer(x: tf.Tensor, h: tf.Tensor, c: tf.Tensor, weights: Weights) -> tuple[tf.Tensor, tf.Tensor]:
    """Run a layer in one direction: all h, and all c."""
    (matrix, bias), none = weights, tf.zeros(h.shape[1])
    made = tf.raw_ops.BlockLSTMV2(
        seq_len_max=x.shape[0], x=x, cs_prev=c, h_prev=h, w=matrix, wci=none, wcf=none, wco=none, b=bias
    )
    return made.h, made.cs


def _sequence(work: Work, data: Data, layers: list[list[Weights]]) -> tuple[Loop, Answer]:
    case, x = work.case, tf.constant(data.x)
    zero = tf.zeros((case.B, case.H))

    def stack(x: tf.Tensor) -> tf.Tensor:
        for ways in layers:
            outputs = [_layer(x, zero, zero, ways[0])[0]]
            if len(ways) == 2:
                back, _ = _layer(tf.reverse(x, [0]), zero, zero, ways[1])
                outputs.append(tf.reverse(back, [0]))
            x = tf.concat(outputs, 2) if len(ways) == 2 else outputs[0]
        return x

    run = tf.function(stack)

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            run(x)

    def answer() -> Array:
        result: Array = run(x).numpy()
        return result

    return loop, answer


def _step(work: Work, data: Data, weights: Weights) -> tuple[Loop, Answer]:
    inputs, zero = tf.constant(data.x), tf.zeros((1, work.case.H))
    first = inputs[:1]

    def step(x: tf.Tensor, h: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        hs, cs = _layer(x, h, c, weights)
        return hs[0], cs[0]

    run = tf.function(step)

    def loop(n: int) -> None:
        h = c = zero
        for _ in repeat(None, n):
            h, c = run(first, h, c)

    def answer() -> Array:
        h, c, outputs = zero, zero, []
        for t in range(len(inputs)):
            h, c = run(inputs[t : t + 1], h, c)
            outputs.append(h.numpy())
        return np.stack(outputs)

    return loop, answer
