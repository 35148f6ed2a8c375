"""Ray Serve: POST 16-bit samples at 16 kHz, get a float32 for each 512 of them.

    python -m on_ray.serve                    (in examples/: two replicas on this machine)
    serve run on_ray.serve:app model=FILE     (on a cluster that runs)

A request is a whole clip, so any replica can answer it; the clips that wait at one go through the LSTM together, each
with its own length. Live sessions have their state in one process: they want examples/service, one for each machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import ray
from ray import serve
from service.fetch import fetch
from service.model import Model
from starlette.requests import Request
from starlette.responses import Response


@serve.deployment(num_replicas=2, max_ongoing_requests=64)
class VoiceActivity:
    """One replica with its copy of the model."""

    def __init__(self, onnx: bytes) -> None:
        self.model = Model(onnx)

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.002)
    async def answer(self, clips: list) -> list:
        """Answer all the clips that wait."""
        return self.model.clips(clips)

    async def __call__(self, request: Request) -> Response:
        """Answer one request."""
        body = await request.body()
        if len(body) % 2:
            return Response("expected whole 16-bit samples", 400)
        answer = await self.answer(np.frombuffer(body, "<i2"))
        return Response(answer.tobytes(), media_type="application/octet-stream")


def app(arguments: dict[str, str]) -> serve.Application:
    """Make the application; `model` is a file, without it the published one is fetched."""
    path = arguments.get("model")
    return VoiceActivity.bind(Path(path).read_bytes() if path else fetch())


def main() -> None:
    """Serve on this machine until stopped."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", default="", help="silero_vad_16k_op15.onnx; without it the published one is fetched")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at")
    options = parser.parse_args()
    ray.init(num_cpus=2, include_dashboard=False)
    serve.start(http_options={"port": options.port})
    serve.run(app({"model": options.model}), blocking=True)


if __name__ == "__main__":
    main()
