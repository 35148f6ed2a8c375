"""What the right answer is: the float64 reference, within the tolerance that the tests use."""

import numpy as np

from bench.works import Array, Work, make
from fastlstm import reference
from tests.cases import TOLERANCES


def expected(work: Work) -> Array:
    """Compute what a contender has to answer.

    Parameters
    ----------
    work : Work
        Any kind but the limits.

    Returns
    -------
    ndarray of float64
        The output of every step, 0 beyond a row's length; for an activation its values.
    """
    data = make(work)
    x = data.x.astype(np.float64)
    if work.kind == "sigmoid":
        return reference.sigmoid(x)
    if work.kind == "tanh":
        return np.tanh(x)
    weights = reference.to_float64(data.weights)
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
    allowed = TOLERANCES["sigmoid" if work.kind in {"sigmoid", "tanh"} else "forward, wide"].float32
    error = float((np.abs(answer - right) / (1 + np.abs(right))).max())
    if not error <= allowed:  # so that NaN is wrong too
        return f"{work}: wrong answer: off by {error:.1e}, allowed is {allowed:.1e}"
    return None
