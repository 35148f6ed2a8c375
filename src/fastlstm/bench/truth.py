"""What the right answer is: the float64 reference, and how far from it an answer may be.

Weights in fewer bytes have the same right answer, that of the float32 weights, and are as far from it as the table
shows. `BOUNDS` says how far that may be, for a time to be shown at all.
"""

from typing import NamedTuple

import numpy as np

from fastlstm import reference
from fastlstm.bench.works import CHECKED_STEPS, GRADIENTS, LEARNING_RATE, TRAINED_STEPS, Array, Data, Work, make

TRAINING = {"training", "repack", "model_training"}

# Of an answer in float32, by its difference over 1 + |right|: what the package's own tests allow.
ALLOWED = {"forward": 1.2e-6, "gradients": 3.5e-6, "activation": 2.4e-7}

# By how matrices are stored, up to a dash: the largest rms error, in units of the rms of the right answer. An LSTM of
# random weights without its recurrent matrix is off by 0.17, with two gates exchanged by 0.35, without one of two
# biases by 0.076 to 0.16 (H = 512 to 128), all by rows of zeros 1; 8 bits, by anyone's arithmetic, by 0.004 to 0.042.
BOUNDS = {"float16": 1e-3, "bfloat16": 1e-2, "int8": 0.05}
# And the least: float16 is off by 0.0002, float32 by 0.0000006 at most.
LEAST = 1e-5


class Error(NamedTuple):
    """How far an answer is from the right one: the largest difference of a number, and the rms of all."""

    largest: float
    rms: float


def distance(answer: Array, right: Array) -> Error:
    """Measure the error of an answer."""
    off = np.abs(answer - right)
    return Error(float(off.max()), float(np.sqrt(np.mean(off**2))))


def expected(work: Work) -> Array:
    """Compute what a contender has to answer.

    The output of every step, 0 beyond a row's length; for a window the answers of the last ones; for an activation its
    values; for training all gradients, those of one step after those of another.
    """
    data = make(work)
    x = data.x.astype(np.float64)
    if work.kind == "sigmoid":
        return reference.sigmoid(x)
    if work.kind == "tanh":
        return np.tanh(x)
    if work.kind == "model_training":
        return _train(work, data)
    weights = reference.to_float64(data.weights)
    if work.kind in TRAINING:
        _, _, tape = reference.lstm_forward_train(x, None, weights, num_layers=1)
        gradients = reference.lstm_backward(tape, data.grad_output.astype(np.float64))
        named = {"input": gradients.input} | gradients.parameters
        return np.concatenate([named[name].ravel() for name in GRADIENTS])
    if work.kind.startswith("window"):
        windows = np.concatenate([x[k : k + work.case.T] for k in range(CHECKED_STEPS)], axis=1)
        output, _ = reference.lstm_forward(windows, None, weights, num_layers=work.case.num_layers)
        last: Array = output[-1]
        return last
    lengths = data.lengths if work.kind == "lengths" or work.case.ragged else None
    output, _ = reference.lstm_forward(x, None, weights, lengths=lengths, **work.case.config)
    return output


def _train(work: Work, data: Data) -> Array:
    """Take the steps of an optimizer."""
    weights = reference.to_float64(data.weights)
    x, target = data.x.astype(np.float64), data.grad_output.astype(np.float64)
    taken = []
    for _ in range(TRAINED_STEPS):
        output, _, tape = reference.lstm_forward_train(
            x, None, weights, num_layers=work.case.num_layers, lengths=data.lengths
        )
        gradients = reference.lstm_backward(tape, 2 * (output - target)).parameters
        weights = {name: array - LEARNING_RATE * gradients[name] for name, array in weights.items()}
        taken += [gradients[name].ravel() for name in weights]
    return np.concatenate(taken)


def complaint(work: Work, answer: Array, right: Array, slack: float = 1.0) -> str | None:
    """Say what is wrong with an answer, of which `expected` says what is right; None if it is right.

    In float32 it may be `slack` times as far off as `ALLOWED` has it.
    """
    if answer.dtype != np.float32 or answer.shape != right.shape:
        return f"{work}: wrong answer: {answer.dtype} {answer.shape}, expected float32 {right.shape}"
    if work.kind in TRAINING:
        unit = _units(work, right)
        answer, right = answer / unit, right / unit
    if work.weights != "float32":
        return _far(work, answer, right)
    allowed = slack * ALLOWED[_kind(work.kind)]
    error = float((np.abs(answer - right) / (1 + np.abs(right))).max())
    if not error <= allowed:  # so that NaN is wrong too
        return f"{work}: wrong answer: off by {error:.1e}, allowed is {allowed:.1e}"
    return None


def _far(work: Work, answer: Array, right: Array) -> str | None:
    off, size = distance(answer, right).rms, float(np.sqrt(np.mean(right**2)))
    error = off / size if size else off  # all zeros, of an LSTM that has learned nothing, are answered so
    allowed = BOUNDS[work.weights.partition("-")[0]]
    if error < LEAST and not work.case.file:  # a file's weights may have lost nothing, or all of it before
        return f"{work}: wrong answer: as exact as float32, which has been computed instead"
    if not error <= allowed:
        return f"{work}: wrong answer: the rms error is {error:.1e} of the answer's rms, allowed is {allowed:.1e}"
    return None


def _kind(kind: str) -> str:
    if kind in TRAINING:
        return "gradients"
    return "activation" if kind in {"sigmoid", "tanh"} else "forward"


def _units(work: Work, right: Array) -> Array:
    """Measure a parameter's gradients in units of the largest: as sums over steps and rows they round like that."""
    shapes = work.case.weight_shapes()
    if work.kind == "model_training":
        names = list(shapes) * TRAINED_STEPS
    else:
        shapes, names = shapes | {"input": (work.case.T, work.case.B, work.case.I)}, list(GRADIENTS)
    sizes = [int(np.prod(shapes[name])) for name in names]
    parts = np.split(right, np.cumsum(sizes)[:-1])
    units = [1.0 if n == "input" else max(1.0, float(np.abs(p).max())) for n, p in zip(names, parts, strict=True)]
    return np.repeat(units, sizes)
