"""Hold sessions in real time against a service, check every answer, and say how long they took.

    python -m service.load --sessions 200 --seconds 20 [--kill-at 10]      (in examples/)

It starts a service of its own. With --kill-at that is killed (SIGKILL) after so many seconds and started again; every
client goes on with its session from the last snapshot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import websockets
from numpy.typing import NDArray

from .audio import read_wav
from .fetch import fetch
from .model import FRAME, RATE, Floats, Model
from .settings import SETTINGS

PERIOD = FRAME / RATE
SERVICE = Path(__file__).parent
CLOSE_ENOUGH = 1e-5  # the batches of a BLAS round differently


class Client:
    """One live session: a frame every 32 ms, the next when the last is answered."""

    def __init__(self, url: str, pcm: NDArray[np.int16], expected: Floats, *, draws: bool = False) -> None:
        self.url, self.pcm, self.expected = url, pcm, expected
        self.token, self.got, self.resumed = "", 0, 0
        self.draws, self.looks = draws, 0  # whether it asks for the cells, too; messages of them
        self.latencies: list[float] = []
        self.late = 0

    async def run(self) -> None:
        """Stream to the end, through whatever breaks the connection."""
        while self.got < len(self.expected):
            try:
                await self._stream()
            except (websockets.ConnectionClosed, OSError) as error:
                if getattr(error, "rcvd", None) and error.rcvd.code in (1013, 4404):
                    raise  # no room; or the session is lost
                await asyncio.sleep(0.2)

    async def _stream(self) -> None:
        url = f"{self.url}?token={self.token}&have={self.got}"
        async with websockets.connect(url, compression=None, ping_interval=None, open_timeout=60) as ws:
            hello = json.loads(await ws.recv())
            self.resumed += bool(self.token)
            self.token, frame = hello["token"], hello["frames"]
            if frame > self.got:
                self._check(self.got, await ws.recv())  # what was answered when nobody listened
            due = time.perf_counter()
            while frame < len(self.expected):
                wait = due - time.perf_counter()
                if wait > 0:
                    await asyncio.sleep(wait)
                self.late += wait < -PERIOD
                start = time.perf_counter()
                if self.draws and frame % 32 == 0:
                    await ws.send('{"cells": 64}')
                await ws.send(self.pcm[frame * FRAME : (frame + 1) * FRAME].tobytes())
                answer = await ws.recv()
                if isinstance(answer, str):
                    self.looks, answer = self.looks + 1, await ws.recv()
                self._check(frame, answer)
                self.latencies.append(time.perf_counter() - start)
                frame, due = frame + 1, due + PERIOD

    def _check(self, frame: int, answer: bytes) -> None:
        values = np.frombuffer(answer, np.float32)
        wanted = self.expected[frame : frame + len(values)]
        if not np.allclose(values, wanted, rtol=0, atol=CLOSE_ENOUGH):
            raise AssertionError(f"frame {frame}: expected {wanted}, got {values}")
        self.got = max(self.got, frame + len(values))


def start_service(port: int, *flags: str, first: Callable[[], None] | None = None) -> subprocess.Popen[bytes]:
    """Start a service and wait until it is healthy; `first` is called in its process before it is one."""
    process = subprocess.Popen([sys.executable, str(SERVICE), "--port", str(port), *flags], preexec_fn=first)
    for _ in range(300):
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with code {process.returncode}")
        try:
            with urlopen(f"http://127.0.0.1:{port}/health"):
                return process
        except OSError:
            time.sleep(0.1)
    process.kill()
    raise RuntimeError("the service did not start in 30 seconds")


def metric(port: int, name: str) -> float:
    """Read a number from the service's metrics; 0 where it is not there yet."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


async def load(clients: list[Client], port: int, seconds: float, kill_at: float, flags: list[str]) -> list[float]:
    """Run clients against a service; return its memory (MiB) over time."""
    process, memory = start_service(port, *flags), []
    running = [asyncio.ensure_future(_begin(client, n / len(clients) * PERIOD)) for n, client in enumerate(clients)]
    try:
        begin, busy = time.perf_counter(), 0.0
        while not all(task.done() for task in running):
            await asyncio.sleep(min(5.0, seconds / 10))
            if kill_at and time.perf_counter() - begin > kill_at:
                process.kill()
                process.wait()
                process, kill_at = await asyncio.to_thread(start_service, port, *flags), 0
            memory.append(await asyncio.to_thread(metric, port, "process_resident_memory_bytes") / 2**20)
            busy = await asyncio.to_thread(metric, port, "process_cpu_seconds_total")
        await asyncio.gather(*running)
        print(f"service: {busy:.1f} s of CPU")
    finally:
        process.terminate()
        process.wait()
    return memory


async def _begin(client: Client, delay: float) -> None:
    await asyncio.sleep(delay)
    await client.run()


def main() -> int:
    """Run a load test; return 0 if every session was held and every answer right."""
    parser = argparse.ArgumentParser(prog="load", formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--sessions", type=int, default=100, help="clients at once")
    parser.add_argument("--draw", type=int, default=0, help="how many of them draw the cells, too")
    parser.add_argument("--seconds", type=float, default=20, help="audio of each")
    parser.add_argument("--kill-at", type=float, default=0, help="kill the service after so many seconds; 0 for never")
    parser.add_argument("--port", type=int, default=8766, help="port of the service")
    parser.add_argument("--wav", default=SETTINGS["sample"][0], help="what all of them stream, again and again")
    options = parser.parse_args()
    frames = int(options.seconds / PERIOD)
    speech = read_wav(options.wav)
    pcm = np.tile(speech, frames * FRAME // len(speech) + 1)[: frames * FRAME]
    expected = Model(fetch()).clips([pcm])[0]
    url = f"ws://127.0.0.1:{options.port}/stream"
    clients = [Client(url, pcm, expected, draws=n < options.draw) for n in range(options.sessions)]
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--snapshot", os.path.join(folder, "sessions.npz"), "--max-sessions", str(options.sessions)]
        flags += ["--snapshot-seconds", "2"]
        start = time.perf_counter()
        memory = asyncio.run(load(clients, options.port, options.seconds, options.kill_at, flags))
    took = time.perf_counter() - start
    milliseconds = np.concatenate([client.latencies for client in clients]) * 1e3
    print(
        f"{options.sessions} sessions of {options.seconds:g} s in {took:.1f} s, {len(milliseconds)} frames, all right\n"
        f"a frame: p50 {np.quantile(milliseconds, 0.5):.1f} ms, p99 {np.quantile(milliseconds, 0.99):.1f} ms, "
        f"most {milliseconds.max():.1f} ms; sent late: {sum(client.late for client in clients)}\n"
        f"resumed: {sum(client.resumed for client in clients)} times; "
        f"memory of the service, MiB: {', '.join(f'{m:.0f}' for m in memory[:: max(1, len(memory) // 10)])}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
