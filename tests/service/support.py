"""What the tests of examples/service share: made weights and audio, and a service in a process of its own."""

import contextlib
import signal
import socket
import time
import wave
from pathlib import Path

import numpy as np
import pytest

from tests.support import END_WITH_PARENT

GROUP = "pip install --group service"
onnx = pytest.importorskip("onnx", reason=GROUP)
websockets = pytest.importorskip("websockets", reason=GROUP)
for name in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(name, reason=GROUP)

from service import audio, cells, engine, fetch, load, model, settings, snapshots  # noqa: E402

# Tests take these from here, where what may be missing was asked for first.
__all__ = ["audio", "cells", "engine", "fetch", "load", "model", "settings", "snapshots", "websockets"]

SPEECH = Path("/usr/share/sounds/alsa")


def made_weights(seed=0):
    """Draw weights of silero-vad's names and shapes, large enough that probabilities differ from frame to frame."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in model.SHAPES.items():
        size = 1 if len(shape) == 1 else np.prod(shape[1:])
        scale = {"decoder.decoder.2.weight": 24.0, "decoder.rnn.weight_ih": 8.0}.get(name, 2.0)
        made[name] = (rng.uniform(-scale, scale, shape) / np.sqrt(size) / (10 if len(shape) == 1 else 1)).astype("f4")
    return made


def as_onnx(weights):
    """Write weights as the published file has them."""
    tensors = [onnx.numpy_helper.from_array(array, f"model.{name}") for name, array in weights.items()]
    return onnx.helper.make_model(onnx.helper.make_graph([], "made", [], [], tensors)).SerializeToString()


def made_audio(frames, seed=0):
    """Make bursts of noise between silence, int16, 16 kHz."""
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.uniform(0, 1, frames + 1) ** 2, model.FRAME)[: frames * model.FRAME]
    return (rng.uniform(-20000, 20000, len(loud)) * loud).astype(np.int16)


def write_wav(path, pcm, rate=16000, channels=1, width=2):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(pcm.tobytes())


class Service:
    """A running service with made weights; its settings by keyword."""

    def __init__(self, folder, **settings):
        self.folder = Path(folder)
        self.model_path, self.snapshot = self.folder / "made.onnx", self.folder / "sessions.npz"
        self.model_path.write_bytes(as_onnx(made_weights()))
        self.model = model.Model(self.model_path.read_bytes())
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        settings = {"model": self.model_path, "snapshot": self.snapshot, "snapshot_seconds": 0.2, **settings}
        self.flags = [text for key, value in settings.items() for text in (f"--{key.replace('_', '-')}", str(value))]
        self.url = f"ws://127.0.0.1:{self.port}/stream"
        self.process = None

    def start(self):
        self.process = load.start_service(self.port, *self.flags, first=END_WITH_PARENT)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(30)

    def metric(self, name):
        return load.metric(self.port, name)

    def until(self, name, enough):
        """Wait until a metric is enough; a failure says what it was."""
        latest, value = time.monotonic() + 20, None
        while value is None or not enough(value):
            assert time.monotonic() < latest, f"{name} is still {value} after 20 seconds"
            time.sleep(0.05)
            with contextlib.suppress(ConnectionError):  # all places may be taken still
                value = self.metric(name)

    def clients(self, count, frames):
        """Make clients that stream made audio and check every answer."""
        pcm = made_audio(frames)
        return [load.Client(self.url, pcm, self.model.clips([pcm])[0]) for _ in range(count)]


@contextlib.contextmanager
def service(folder, **settings):
    running = Service(folder, **settings)
    running.start()
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait()
