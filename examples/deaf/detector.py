"""The published detector (silero-vad, 16 kHz): convolutions with the same numbers everywhere, the LSTM in fastlstm."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from service import fetch
from service.model import CONTEXT, FRAME, Model, frames
from textgen.fetch import FetchError

import fastlstm

from .sound import Samples

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
State = tuple[Floats, Floats]

PIECE = 1875  # frames at a time: a minute
BITS = 12  # of an input of the LSTM


class Heard(NamedTuple):
    """What the detector says of each frame: frames [T], or of rows side by side [T, B]."""

    speech: NDArray[np.bool_]
    state: State


@functools.cache
def model() -> Model:
    """Return the detector as the service has it; fetched if need be.

    Raises
    ------
    FetchError
        If it is not in the cache and could not be fetched.
    """
    try:
        return Model(fetch.fetch())
    except fetch.MissingError as error:
        raise FetchError(str(error)) from error


def features(clip: Samples) -> Floats:
    """Turn a clip into the LSTM's inputs [T, 128]: in double precision, then 12 bits of each number.

    Other machines sum products of matrices in another order, so that their last bits differ. These inputs are so much
    coarser than that difference that they are the same.
    """
    cut = frames(clip)
    pieces = [_features(cut[start : start + PIECE]) for start in range(0, len(cut), PIECE)]
    return np.concatenate(pieces) if pieces else np.empty((0, 128), np.float32)


def _features(pcm: Samples) -> Floats:
    """Do what Model.features does, in double precision."""
    found, rows = model(), len(pcm)
    audio = np.empty((rows, CONTEXT + FRAME + 64))
    np.multiply(pcm, 1 / 32768, out=audio[:, : CONTEXT + FRAME])
    audio[:, CONTEXT + FRAME :] = audio[:, CONTEXT + FRAME - 2 : FRAME - 2 : -1]
    hops = audio.reshape(rows, 5, 128)
    spectrum = np.concatenate([hops[:, :-1], hops[:, 1:]], axis=2).reshape(-1, 256) @ found.basis.astype(np.float64)
    x = np.sqrt(spectrum[:, :129] ** 2 + spectrum[:, 129:] ** 2).reshape(rows, 4, 129)
    for weight, bias, stride in found.convolutions:
        padded = np.pad(x, ((0, 0), (1, 1), (0, 0)))
        taps = np.concatenate([padded[:, k : k + x.shape[1] : stride] for k in range(3)], axis=2)
        x = np.maximum(taps @ weight.astype(np.float64) + bias, 0)
    return coarse(x.reshape(rows, 128))


def coarse(x: Doubles) -> Floats:
    """Keep 12 bits of each number."""
    fraction, exponent = np.frexp(x)
    return np.ldexp(np.rint(fraction * 2**BITS), exponent - BITS).astype(np.float32)


def joined(clips: Iterable[Samples]) -> Floats:
    """Return the inputs of clips one after the other, of which each is of whole frames."""
    made, before = [], np.zeros(CONTEXT, np.int16)
    for clip in clips:
        cut = np.lib.stride_tricks.sliding_window_view(np.concatenate([before, clip]), CONTEXT + FRAME)[::FRAME]
        made.append(_features(cut))
        before = clip[-CONTEXT:]
    return np.concatenate(made)


def listen(x: Floats, state: State | None = None) -> Heard:
    """Run the LSTM over inputs [T, B, 128] from a state of one row or of each, and decide."""
    shape = 1, x.shape[1], 128
    start = None if state is None else (np.broadcast_to(state[0], shape), np.broadcast_to(state[1], shape))
    output, (h, c) = model().lstm(x, start)
    return Heard(probability(output) >= 0.5, (h, c))


def without(state: State, units: Sequence[int]) -> State:
    """Zero the state of units."""
    h, c = (part.copy() for part in state)
    h[..., list(units)] = c[..., list(units)] = 0
    return h, c


def traced(x: Floats, every: int) -> fastlstm.GateTrace[Any]:
    """Trace the LSTM over inputs [T, 128] from a fresh state."""
    return model().lstm.trace(x[:, np.newaxis], every=every)


def probability(outputs: Floats) -> Doubles:
    """Turn outputs [..., 128] of the LSTM into probabilities of speech [...]."""
    weight, bias = (part.astype(np.float64) for part in model().final)
    made: Doubles = 1 / (1 + np.exp(-(np.maximum(outputs, 0) @ weight + bias[0])))
    return made
