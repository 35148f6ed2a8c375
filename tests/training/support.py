"""What the tests of training share: forward and backward of a case, gradients by name, the dropout masks of a seed."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

import fastlstm
from fastlstm import reference
from tests.cases import Array, Case, Data, make_gradients
from tests.support import assert_same_bits, lstm_of

Incoming = tuple[Array | None, Array | None, Array | None]
Named = dict[str, Array]
OF_ROWS = ("input", "h_0", "c_0")  # gradients that belong to a row; those of parameters are sums over rows


def layer_of(case: Case, data: Data, **options: Any) -> fastlstm.LSTM:
    """Return the LSTM of a case, with its weights and its dropout."""
    return lstm_of(case, data, dropout=case.dropout, **options)


def named(gradients: Any) -> Named:
    """Return all gradients of an LSTM, or of the reference, by name."""
    return {"input": gradients.input, "h_0": gradients.h_0, "c_0": gradients.c_0, **gradients.parameters}


def forward(lstm: fastlstm.LSTM, data: Data, **options: Any) -> tuple[tuple[Array, Array, Array], Any]:
    """Run an LSTM forward on everything that a case has: (output, h_n, c_n), and the tape."""
    arguments = {"lengths": data.lengths, "resets": data.resets} | options
    output, states, tape = lstm.forward(data.input, data.hx, **arguments)
    return (output, *states), tape


def train(lstm: fastlstm.LSTM, case: Case, data: Data, incoming: Incoming | None = None, **options: Any) -> Named:
    """Run an LSTM forward and backward on a case: all gradients by name."""
    _, tape = forward(lstm, data, **options)
    return named(lstm.backward(tape, *(incoming or make_gradients(case, data.input.dtype))))


def expected_train(case: Case, data: Data, incoming: Incoming | None = None) -> Named:
    """Return what `train` should, by the reference in float64, with the masks that `data` holds."""
    wide = data.astype("float64")
    if incoming is None:
        incoming = make_gradients(case, data.input.dtype)
    grads = [None if gradient is None else gradient.astype("float64") for gradient in incoming]
    options = case.config | {"lengths": data.lengths, "resets": data.resets, "dropout_masks": wide.dropout_masks}
    _, _, tape = reference.lstm_forward_train(wide.input, wide.hx, wide.state_dict, **options)
    return named(reference.lstm_backward(tape, *grads))


def train_rows(case: Case, data: Data, rows: Any) -> tuple[Case, Data, Incoming]:
    """Return some rows of a case that is not batch-first, with their incoming gradients."""
    resets = None if data.resets is None else data.resets[:, rows]
    lengths = None if data.lengths is None else data.lengths[rows]
    part = Data(data.input[:, rows], data.h_0[:, rows], data.c_0[:, rows], data.state_dict, lengths, resets)
    grad_output, grad_h_n, grad_c_n = make_gradients(case, data.input.dtype)
    incoming = grad_output[:, rows], grad_h_n[:, rows], grad_c_n[:, rows]
    return replace(case, B=part.input.shape[1]), part, incoming


def assert_same_gradients(
    actual: Mapping[str, Array], expected: Mapping[str, Array], message: str = "", names: Iterable[str] | None = None
) -> None:
    """Raise AssertionError unless gradients, all or these, are equal to the bit."""
    assert set(actual) == set(expected)
    for name in actual if names is None else names:
        assert_same_bits(actual[name], expected[name], f"{message} gradient of {name}")


# Dropout: the mask as csrc/passes/dropout.h documents it, written a second time


def keep_masks(case: Case, seed: int, dtype: Any, time: int = 0) -> list[Array]:
    """Return what a seed multiplies the output of each layer but the last with, in the layout of `Data`."""
    t, b, u = (np.arange(n, dtype=np.uint64) for n in (case.T, case.B, case.R * case.directions))
    masks = []
    for layer in range(case.num_layers - 1):
        of_layer = _mix(np.array([seed], np.uint64) + _GOLDEN * np.array([layer + 1], np.uint64))
        of_step = _mix(of_layer + _GOLDEN * (t + np.array([time + 1], np.uint64)))
        of_row = _mix(of_step[:, np.newaxis] + _GOLDEN * (b + np.array([1], np.uint64)))
        share = _mix(of_row[:, :, np.newaxis] + _GOLDEN * u) >> np.uint64(32)
        scale = 1 / (1 - case.dropout) if case.dropout < 1 else 0.0
        mask = np.where(share >= np.uint64(int(case.dropout * 2**32)), np.dtype(dtype).type(scale), 0).astype(dtype)
        masks.append(np.ascontiguousarray(mask.swapaxes(0, 1)) if case.batch_first else mask)
    return masks


def with_masks(case: Case, data: Data, seed: int) -> Data:
    """Return the data of a case with the masks that a seed gives."""
    return replace(data, dropout_masks=keep_masks(case, seed, data.input.dtype))


_GOLDEN = np.array([0x9E3779B97F4A7C15], np.uint64)  # arrays wrap around without a warning, scalars do not


def _mix(z: Array) -> Array:
    """Apply the finalizer of SplitMix64; products wrap around."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


# Long sums

WEIGHED = (
    Case("weigh-batch", T=50, B=32, I=64, H=64),
    Case("weigh-row", T=400, B=1, I=33, H=65),
    Case("weigh-long", T=200, B=16, I=16, H=32),
)


def relative_errors(got: dict[str, Array], exact: dict[str, Array]) -> dict[str, float]:
    """Return the norm of each weight gradient's error, relative to the gradient's."""
    names = [name for name in got if name.startswith(("weight", "bias"))]
    return {n: float(np.linalg.norm(got[n] - exact[n]) / np.linalg.norm(exact[n])) for n in names}
