"""The examples on Ray, with two workers on this machine: requests and a data set get what the model alone gives."""

import importlib.util
import os
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest

from tests.cases import assert_close
from tests.service.support import as_onnx, made_audio, made_weights, model, write_wav
from tests.support import EXAMPLES

# Not imported here: its warnings are its own. The examples run in processes of their own.
pytestmark = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="pip install --group ray")

ENVIRONMENT = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture
def made(tmp_path):
    """Write a model of made weights; return the model and its path."""
    data = as_onnx(made_weights())
    (tmp_path / "made.onnx").write_bytes(data)
    return model.Model(data), tmp_path / "made.onnx"


def test_data(made, tmp_path):
    vad, path = made
    clips = {f"{seed}.wav": made_audio(20 + seed, seed) for seed in range(5)} | {"short.wav": made_audio(1)[:500]}
    for name, clip in clips.items():
        write_wav(tmp_path / name, clip)
    command = [sys.executable, "-m", "on_ray.data", tmp_path, "--model", path, "--workers", "2"]
    done = subprocess.run(
        command, cwd=EXAMPLES, env=ENVIRONMENT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"([\d.]+) s +([\d.]+)% speech +\S+/(\S+)", done.stdout)
    shares = [np.mean(answer > 0.5) if len(answer) else 0 for answer in vad.clips(list(clips.values()))]
    assert len(set(map(float, shares))) > 2
    expected = [
        (f"{len(clip) / 16000:.2f}", f"{100 * share:.1f}", name)
        for (name, clip), share in zip(clips.items(), shares, strict=True)
    ]
    assert found == expected


def test_serve(made):
    vad, path = made
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "on_ray.serve", "--model", path, "--port", str(port)]
    process = subprocess.Popen(command, cwd=EXAMPLES, env=ENVIRONMENT)

    def post(data):
        with urlopen(f"http://127.0.0.1:{port}/", data, timeout=60) as answer:
            return np.frombuffer(answer.read(), np.float32)

    try:
        latest = time.monotonic() + 240
        while True:
            try:
                assert len(post(made_audio(1).tobytes())) == 1
                break
            except OSError:  # not listening yet, or no route yet
                if process.poll() is not None or time.monotonic() > latest:
                    raise
                time.sleep(0.5)
        clips = [made_audio(5 + seed, seed) for seed in range(24)]
        with ThreadPoolExecutor(12) as threads:
            answers = list(threads.map(post, [clip.tobytes() for clip in clips]))
        for answer, expected in zip(answers, vad.clips(clips), strict=True):
            assert_close(answer, expected, "service")
        with pytest.raises(HTTPError, match="400"):
            post(b"odd")
    finally:
        process.terminate()
        process.wait(60)
