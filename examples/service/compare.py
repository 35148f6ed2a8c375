"""The model here against the published one in onnxruntime, one thread each: `python -m service.compare` (in examples/).

N sessions send a frame each. The original is called as its package calls it, session by session, and as its file also
allows, with all N as one batch. Answers are compared before anything is timed; then rounds take turns.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import statistics
import time

import numpy as np
import onnxruntime

from .audio import read_wav
from .fetch import fetch
from .model import FRAME, RATE, Floats, Model, frames
from .settings import SETTINGS

ORIGINAL = "silero_vad/data/silero_vad.onnx"
BOUND = 1e-5
ROUNDS, STEPS = 15, 20


class Original:
    """The published model for N sessions, in batches of `rows`."""

    def __init__(self, sessions: int, rows: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.model = onnxruntime.InferenceSession(fetch(ORIGINAL), options)
        self.states = [np.zeros((2, rows, 128), np.float32) for _ in range(0, sessions, rows)]
        self.rows = rows

    def __call__(self, pcm: np.ndarray) -> Floats:
        """Answer a frame of every session, int16 [N, 64 + 512]."""
        audio, answers = pcm * np.float32(1 / 32768), []
        for n, state in enumerate(self.states):
            rows = audio[n * self.rows : (n + 1) * self.rows]
            answer, self.states[n] = self.model.run(None, {"input": rows, "state": state, "sr": np.array(RATE)})
            answers.append(answer[:, 0])
        return np.concatenate(answers)


class Ours:
    """The model of this example for N sessions."""

    def __init__(self, sessions: int) -> None:
        self.model = Model(fetch())
        self.pool = self.model.lstm.pool(sessions)
        self.ids = np.array([self.pool.open() for _ in range(sessions)])

    def __call__(self, pcm: np.ndarray) -> Floats:
        """Answer a frame of every session."""
        return self.model.probabilities(self.pool.step(self.ids, self.model.features(pcm)))


def main() -> None:
    """Print a table."""
    speech = frames(read_wav(SETTINGS["sample"][0]))
    print("sessions  engine                          us a frame  sessions in real time per core")
    for sessions in (1, 16, 128):
        engines = {
            "onnxruntime, one by one": Original(sessions, 1),
            "onnxruntime, one batch": Original(sessions, sessions),
            "fastlstm": Ours(sessions),
        }
        seconds: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(ROUNDS):
            # Session n began n frames into the speech, which goes round and round.
            now = np.arange(sessions)[:, None] + np.arange(turn * STEPS, (turn + 1) * STEPS)
            pcm = speech[now % len(speech)]
            expected = None
            for name, engine in engines.items():
                start = time.perf_counter()
                answers = np.array([engine(pcm[:, t]) for t in range(STEPS)])
                seconds[name].append((time.perf_counter() - start) / STEPS / sessions)
                expected = answers if expected is None else expected
                if not np.abs(answers - expected).max() <= BOUND:
                    raise SystemExit(f"{name}, round {turn}: off by {np.abs(answers - expected).max():.1e}")
        for name, each in seconds.items():
            median = statistics.median(each)
            print(f"{sessions:8}  {name:30}  {median * 1e6:10.1f}  {FRAME / RATE / median:10.0f}")


if __name__ == "__main__":
    main()
