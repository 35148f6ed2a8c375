"""Noise out of whole numbers, the same on every machine, and recorded speech."""

from __future__ import annotations

import hashlib
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from textgen.fetch import FetchError

Samples = NDArray[np.int16]

RATE, FRAME = 16000, 512  # of the detector
MINUTE = 60 * RATE
STAIRS = 16  # of pink noise: values that are held for 1, 2, 4... samples
LOUD = -45  # dBFS: a frame of a recording as loud as that is speech

# Debian's package pocketsphinx-testdata: a reader of LibriVox, and others who say cards, numbers and commands.
FOLDER = Path("/usr/share/pocketsphinx/test/data")
FILES = (
    *(f"librivox/sense_and_sensibility_01_austen_64kb-0{part}.wav" for part in (870, 880, 890, 920, 930)),
    *(f"cards/00{card}.wav" for card in range(1, 6)),
    *(f"{name}.raw" for name in ("goforward", "numbers", "something")),
)
SHA256 = "f33146d2f1f9e3247c33fbd9ad8c8588ec4991b184b24ed7836a8c3ea55fdde4"


def noise(kind: str, minutes: int, level: float, seed: int) -> Iterator[Samples]:
    """Make white or pink noise of so many dBFS, a minute at a time."""
    rms = 32768 * 10 ** (level / 20)
    for minute in range(minutes):
        rng = np.random.default_rng([seed, minute])
        holds = [1] * 4 if kind == "white" else [1 << stair for stair in range(STAIRS)]
        most = round(rms * np.sqrt(3 / len(holds)))  # of -most..most the square is most^2 / 3 on average
        total = np.zeros(MINUTE, np.int64)
        for hold in holds:
            total += np.repeat(rng.integers(-most, most + 1, -(-MINUTE // hold)), hold)[:MINUTE]
        yield np.clip(total, -32768, 32767).astype(np.int16)


def recordings() -> list[Samples]:
    """Return the speech, a clip a file.

    Raises
    ------
    FetchError
        If it is not installed, or is other speech than it was.
    """
    try:
        clips = [_read(FOLDER / name) for name in FILES]
    except FileNotFoundError as error:
        said = f"there is no {error.filename}: apt-get install pocketsphinx-testdata (Debian)"
        raise FetchError(said) from None
    found = hashlib.sha256(b"".join(clip.astype("<i2").tobytes() for clip in clips)).hexdigest()
    if found != SHA256:
        raise FetchError(f"the speech in {FOLDER} is other than it was: its samples have the hash {found}")
    return clips


def _read(path: Path) -> Samples:
    if path.suffix == ".raw":
        return np.frombuffer(path.read_bytes(), "<i2")
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            raise FetchError(f"{path} should be 16-bit mono at {RATE} Hz, got: {file.getparams()}")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def turns(clips: list[Samples]) -> list[Samples]:
    """Join the clips, once from each of them on: [clip 0, 1, 2...], [1, 2... 0]..."""
    return [np.concatenate(clips[first:] + clips[:first]) for first in range(len(clips))]


def quieter(samples: Samples, decibels: float) -> Samples:
    """Turn the volume down."""
    return np.rint(samples * 10 ** (-decibels / 20)).astype(np.int16)


def is_loud(samples: Samples) -> NDArray[np.bool_]:
    """Tell which frames are speech, by their energy alone: the detector is not asked."""
    frames = samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.int64)
    return np.square(frames).sum(axis=1) >= int(FRAME * (32768 * 10 ** (LOUD / 20)) ** 2)
