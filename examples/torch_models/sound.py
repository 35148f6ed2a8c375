"""From a wave to what the voice encoder hears: frames of 40 mel bands, in windows of 1.6 seconds."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

RATE = 16_000  # samples a second
WINDOW, HOP, BANDS = 400, 160, 40  # 25 ms, 10 ms
FRAMES = 160  # that the encoder sees at once
LOUDNESS = 10 ** (-30 / 20)  # of a quiet recording, after it has been raised

# Debian's package alsa-utils brings the same voice saying where the loudspeakers stand.
SPEECH = Path("/usr/share/sounds/alsa")


def read(path: Path) -> Floats:
    """Read 16-bit mono at a multiple of 16 kHz, and bring it to 16 kHz."""
    with wave.open(str(path)) as file:
        if file.getnchannels() != 1 or file.getsampwidth() != 2 or file.getframerate() % RATE:
            raise ValueError(f"{path} should be 16-bit mono at a multiple of {RATE} Hz, got {file.getparams()}")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 2**15
        return _every(samples, file.getframerate() // RATE)


def _every(samples: Floats, step: int) -> Floats:
    """Keep every step-th sample, after a low-pass (a windowed sinc) has taken away what would fold over."""
    if step == 1:
        return samples
    n = np.arange(-16 * step, 16 * step + 1)
    taps = np.sinc(n / step) * np.hanning(len(n) + 2)[1:-1]
    return np.convolve(samples, taps / taps.sum(), "same")[::step]


def voice(seconds: float, pitch: float) -> Floats:
    """Make a sound with the harmonics, the vibrato and the syllables of a voice, where there is no recording."""
    t = np.arange(int(seconds * RATE)) / RATE
    phase = 2 * np.pi * pitch * (t + 0.004 * np.sin(2 * np.pi * 5 * t))
    harmonics = sum(np.sin(k * phase) / k for k in range(1, int(4000 / pitch)))
    return 0.1 * harmonics * (0.55 + 0.45 * np.sin(2 * np.pi * 3 * t))


def windows(samples: Floats, per_second: float = 1.3) -> Tensor:
    """Cut a wave into overlapping windows of mel frames [B, 160, 40]; the last is filled up with silence."""
    loudness = np.sqrt(np.mean(samples**2))
    samples = samples * max(1.0, LOUDNESS / loudness)
    step = round(RATE / per_second / HOP)
    starts = range(0, max(1, len(samples) // HOP - FRAMES + step), step)
    frames = mel_frames(np.pad(samples, (0, (starts[-1] + FRAMES) * HOP)))
    return torch.from_numpy(np.stack([frames[start : start + FRAMES] for start in starts]).astype(np.float32))


def mel_frames(samples: Floats) -> Floats:
    """Return the power in 40 mel bands, every 10 ms: [frames, 40]. Not its logarithm: so the encoder was trained."""
    padded = np.pad(samples, WINDOW // 2)
    cut = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    power = np.abs(np.fft.rfft(cut * np.hanning(WINDOW + 1)[:-1])) ** 2
    return power @ _mel_filters().T


def _mel_filters() -> Floats:
    """Return triangles of equal area, evenly spaced on Slaney's mel scale: even to 1 kHz, logarithmic above."""
    linear, ratio = 200 / 3, np.log(6.4) / 27
    knee = 1000 / linear
    top = knee + np.log(RATE / 2 / 1000) / ratio
    mels = np.linspace(0, top, BANDS + 2)
    edges = np.where(mels < knee, mels * linear, 1000 * np.exp(ratio * (mels - knee)))
    low, middle, high = (edges[k : k + BANDS, None] for k in range(3))
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    return np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
