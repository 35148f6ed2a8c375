"""silero-vad at 16 kHz: a short-time Fourier transform and four convolutions in NumPy, the LSTM in fastlstm.

A frame is 512 samples with the 64 before them. Its four spectra become one vector of 128, the LSTM's input.
"""

from __future__ import annotations

import hashlib

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import load_from_string, numpy_helper

import fastlstm

Floats = NDArray[np.float32]

RATE, FRAME, CONTEXT = 16000, 512, 64

ENCODER = (129, 128, 1), (128, 64, 2), (64, 64, 2), (64, 128, 1)  # channels in, channels out, stride
SHAPES = {
    "stft.forward_basis_buffer": (258, 1, 256),
    **{f"encoder.{n}.reparam_conv.weight": (channels, of, 3) for n, (of, channels, _) in enumerate(ENCODER)},
    **{f"encoder.{n}.reparam_conv.bias": (channels,) for n, (_, channels, _) in enumerate(ENCODER)},
    **dict.fromkeys(("decoder.rnn.weight_ih", "decoder.rnn.weight_hh"), (512, 128)),
    **dict.fromkeys(("decoder.rnn.bias_ih", "decoder.rnn.bias_hh"), (512,)),
    "decoder.decoder.2.weight": (1, 128, 1),
    "decoder.decoder.2.bias": (1,),
}


class DamagedError(Exception):
    """The weights are not silero-vad's; the message says what was expected and what came."""


class Model:
    """The weights, laid out for batches; B rows of a batch are frames of any sessions."""

    def __init__(self, onnx: bytes) -> None:
        try:
            graph = load_from_string(onnx).graph
        except DecodeError as error:
            raise DamagedError(f"The model is no ONNX file, or a damaged one: {error}.") from error
        weights = {tensor.name.removeprefix("model."): numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for name, shape in SHAPES.items():
            found = weights.get(name)
            if found is None or found.shape != shape or found.dtype != np.float32:
                came = "nothing" if found is None else f"{found.dtype} {found.shape}"
                raise DamagedError(f"The model's {name}: expected float32 {shape}, got {came}.")
        self.fingerprint = hashlib.sha256(onnx).hexdigest()
        self.basis = np.ascontiguousarray(weights["stft.forward_basis_buffer"][:, 0].T)
        self.convolutions = []
        for n, (_, _, stride) in enumerate(ENCODER):
            weight, bias = (weights[f"encoder.{n}.reparam_conv.{part}"] for part in ("weight", "bias"))
            by_tap = np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, len(weight)))  # [3 * in, out]
            self.convolutions.append((by_tap, bias, stride))
        self.final = weights["decoder.decoder.2.weight"].reshape(-1), weights["decoder.decoder.2.bias"]
        self.lstm = fastlstm.LSTM(128, 128)
        self.lstm.load_state_dict({key.split(".")[-1] + "_l0": weights[key] for key in SHAPES if "rnn" in key})

    def features(self, pcm: NDArray[np.int16]) -> Floats:
        """Turn frames int16 [B, 64 + 512] into the LSTM's inputs float32 [B, 128]."""
        rows = len(pcm)
        audio = np.empty((rows, CONTEXT + FRAME + 64), np.float32)
        np.multiply(pcm, np.float32(1 / 32768), out=audio[:, : CONTEXT + FRAME])
        audio[:, CONTEXT + FRAME :] = audio[:, CONTEXT + FRAME - 2 : FRAME - 2 : -1]  # its end, mirrored
        hops = audio.reshape(rows, 5, 128)
        spectrum = np.concatenate([hops[:, :-1], hops[:, 1:]], axis=2).reshape(-1, 256) @ self.basis
        real, imaginary = spectrum[:, :129], spectrum[:, 129:]
        x = np.sqrt(real * real + imaginary * imaginary).reshape(rows, 4, 129)
        for weight, bias, stride in self.convolutions:
            x = _convolve(x, weight, bias, stride)
        return x.reshape(rows, 128)

    def probabilities(self, h: Floats) -> Floats:
        """Turn the LSTM's outputs [..., 128] into speech probabilities [...]."""
        weight, bias = self.final
        return fastlstm.sigmoid(np.maximum(h, 0) @ weight + bias)

    def clips(self, clips: list[NDArray[np.int16]]) -> list[Floats]:
        """Return the probabilities of whole clips at once; samples that fill no frame are left out."""
        inputs = [self.features(frames(clip)) for clip in clips]
        lengths = [len(x) for x in inputs]
        x = np.zeros((max(lengths, default=0), len(clips), 128), np.float32)
        for row, values in enumerate(inputs):
            x[: len(values), row] = values
        output, _ = self.lstm(x, lengths=lengths)
        return [self.probabilities(output[:length, row]) for row, length in enumerate(lengths)]


def frames(clip: NDArray[np.int16]) -> NDArray[np.int16]:
    """Cut a clip [n] into frames with their context [n // 512, 64 + 512]."""
    padded = np.concatenate([np.zeros(CONTEXT, np.int16), clip])
    if len(clip) < FRAME:
        return np.empty((0, CONTEXT + FRAME), np.int16)
    return np.lib.stride_tricks.sliding_window_view(padded, CONTEXT + FRAME)[::FRAME]


def _convolve(x: Floats, weight: Floats, bias: Floats, stride: int) -> Floats:
    """Convolve x [B, T, in], zeros around it, and keep what is above zero."""
    rows, steps, channels = x.shape
    padded = np.zeros((rows, steps + 2, channels), np.float32)
    padded[:, 1:-1] = x
    taps = np.concatenate([padded[:, k : k + steps : stride] for k in range(3)], axis=2)
    y = taps.reshape(-1, taps.shape[2]) @ weight
    y += bias
    return np.maximum(y, 0, out=y).reshape(rows, taps.shape[1], len(bias))
