"""A WAV file as the service wants it: 16-bit samples, one channel, 16 kHz."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .model import RATE


def read_wav(path: str | Path) -> NDArray[np.int16]:
    """Read 16-bit PCM of 16, 32 or 48 kHz; channels are averaged, higher rates low-passed at 7.2 kHz and thinned out.

    The filter is a sinc of 48 zero crossings on either side under a Kaiser window (beta 8: stopband at -80 dB).
    """
    with wave.open(str(path), "rb") as file:
        rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
        if width != 2 or rate % RATE:
            raise ValueError(
                f"{path}: expected 16-bit samples at a multiple of 16 kHz, got {8 * width}-bit at {rate} Hz"
            )
        pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, channels)
    samples = pcm.mean(axis=1)
    factor = rate // RATE
    if factor > 1:
        cutoff = 0.9 / factor
        n = np.arange(-48 * factor, 48 * factor + 1)
        kernel = np.sinc(n * cutoff) * np.kaiser(len(n), 8)
        samples = np.convolve(samples, kernel / kernel.sum(), mode="same")[::factor]
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)
