"""What the right answer is: the float64 reference, within the tolerance that the tests use."""

import numpy as np

from bench.works import GRADIENTS, Array, Case, Work, make
from fastlstm import reference
from tests.cases import TOLERANCES

TRAINING = {"training", "repack"}


def expected(work: Work) -> Array:
    """Compute what a contender has to answer.

    Parameters
    ----------
    work : Work
        Any kind but the limits.

    Returns
    -------
    ndarray of float64
        The output of every step, 0 beyond a row's length; for an activation its values; for training all gradients.
    """
    data = make(work)
    x = data.x.astype(np.float64)
    if work.kind == "sigmoid":
        return reference.sigmoid(x)
    if work.kind == "tanh":
        return np.tanh(x)
    weights = reference.to_float64(data.weights)
    if work.kind in TRAINING:
        _, _, tape = reference.lstm_forward_train(x, None, weights, num_layers=1)
        gradients = reference.lstm_backward(tape, data.grad_output.astype(np.float64))
        named = {"input": gradients.input} | gradients.parameters
        return np.concatenate([named[name].ravel() for name in GRADIENTS])
    lengths = data.lengths if work.kind == "lengths" else None
    output, _ = reference.lstm_forward(x, None, weights, num_layers=1, lengths=lengths)
    return output


def complaint(work: Work, answer: Array, right: Array) -> str | None:
    """Say what is wrong with an answer.

    Parameters
    ----------
    work : Work
        What was asked.
    answer : ndarray
        What a contender computed.
    right : ndarray of float64
        What `expected` says.

    Returns
    -------
    str or None
        None if the answer is right.
    """
    if answer.dtype != np.float32 or answer.shape != right.shape:
        return f"{work}: wrong answer: {answer.dtype} {answer.shape}, expected float32 {right.shape}"
    if work.kind in TRAINING:
        unit = _units(work.case, right)
        answer, right = answer / unit, right / unit
    allowed = TOLERANCES[_tolerance(work.kind)].float32
    error = float((np.abs(answer - right) / (1 + np.abs(right))).max())
    if not error <= allowed:  # so that NaN is wrong too
        return f"{work}: wrong answer: off by {error:.1e}, allowed is {allowed:.1e}"
    return None


def _tolerance(kind: str) -> str:
    if kind in TRAINING:
        return "gradients, wide"
    return "sigmoid" if kind in {"sigmoid", "tanh"} else "forward, wide"


def _units(case: Case, right: Array) -> Array:
    """Measure a parameter's gradients in units of the largest: as sums over steps and rows they round like that."""
    shapes = {"input": (case.T, case.B, case.I)} | case.weight_shapes()
    sizes = [int(np.prod(shapes[name])) for name in GRADIENTS]
    parts = np.split(right, np.cumsum(sizes)[:-1])
    units = [1.0, *(max(1.0, float(np.abs(part).max())) for part in parts[1:])]
    return np.repeat(units, sizes)
