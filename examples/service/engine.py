"""Sessions, and the micro-batches that advance them.

Everything here runs in the event loop but the arithmetic, which has a thread of its own. A lock keeps the pool's uses
apart: a step, a snapshot's copy, the end of a session.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import secrets
import signal
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from . import cells, snapshots
from .model import CONTEXT, FRAME, Floats, Model

HEAD, SIZE = 2 * CONTEXT, 2 * FRAME  # bytes before a frame, and in it
RECENT = 256  # a session's last probabilities are kept, for a client that was cut off before it had them

log = logging.getLogger("service")


class RefusedError(Exception):
    """A session is not to be had; `code` and `reason` close the WebSocket."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(slots=True, eq=False)
class Session:
    """One sequence of frames, with a client or waiting for it to come back."""

    token: str
    id: int | None = None  # in the pool, once there was a frame
    frames: int = 0
    audio: bytes = bytes(HEAD)  # the context, then what came after it
    at: int = 0  # where in it the next frame's context begins
    recent: bytes = bytes(4 * RECENT)
    ready: asyncio.Future[None] | None = None  # done when all whole frames are
    cells: int = 0  # so many of the next frames are to come with their cells
    looks: list[bytes] = field(default_factory=list)  # those of the frames of the last message
    connected: bool = True
    left: float = 0.0

    def since(self, frame: int) -> bytes:
        """Return the probabilities from a frame on, as far back as they are kept."""
        count = max(0, min(self.frames - frame, self.frames, RECENT))
        return self.recent[len(self.recent) - 4 * count :]


class Engine:
    """All sessions of the service."""

    def __init__(self, model: Model, settings: argparse.Namespace) -> None:
        self.model, self.settings = model, settings
        self.pool = model.lstm.pool(settings.max_sessions)
        self.sessions: dict[str, Session] = {}
        self.draining = self.broken = False
        self._saved_at, self._save_failed = time.monotonic(), False
        self._path = Path(settings.snapshot) if settings.snapshot else None
        self._waiting: deque[Session] = deque()
        self._wake, self._pool_free = asyncio.Event(), asyncio.Lock()
        self._arithmetic, self._disk = (ThreadPoolExecutor(1, name) for name in ("arithmetic", "disk"))
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        of: Any = {"registry": self.registry}
        Gauge("vad_sessions", "Sessions, with those that may come back", **of).set_function(lambda: len(self.sessions))
        Gauge("vad_sessions_waiting", "Sessions whose client may come back", **of).set_function(self._waiting_count)
        Gauge("vad_snapshot_age_seconds", "Since the last snapshot", **of).set_function(
            lambda: time.monotonic() - self._saved_at
        )
        self.connections = Gauge("vad_connections", "Open connections, of any kind", **of)
        self.refused = Counter("vad_refused", "Connections that were not let in, by reason", ["reason"], **of)
        self.closed = Counter("vad_closed", "Connections that ended, by WebSocket code", ["code"], **of)
        self._frames = Counter("vad_frames", "Frames answered", **of)
        self._looks = Counter("vad_cells", "Frames answered with their cells", **of)
        self._batches = Histogram("vad_batch_sessions", "Sessions in a batch", buckets=[2**n for n in range(11)], **of)
        self._seconds = Histogram("vad_batch_seconds", "Time of a batch", buckets=[2**n / 8e3 for n in range(11)], **of)
        self._saved = Counter("vad_snapshots", "Snapshots written", **of)
        self._failed = Counter("vad_snapshots_failed", "Snapshots that could not be written or read", **of)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work; at the end write a last snapshot."""
        tasks = [asyncio.create_task(work()) for work in (self._work, self._save_often, self._expire)]
        for task in tasks:
            task.add_done_callback(self._stop_if_broken)
        yield
        async with self._pool_free:  # not in the middle of a step
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.save()

    def not_ready(self) -> list[str]:
        """Say why a new session would not be taken, or might not be kept."""
        connected = sum(session.connected for session in self.sessions.values())
        reasons = {
            "stopping": self.draining,
            "all sessions are taken": connected >= self.settings.max_sessions,
            "snapshots fail": self._save_failed,
        }
        return [reason for reason, true in reasons.items() if true]

    async def attach(self, token: str) -> Session:
        """Open a session, or go on with the one of this token."""
        if self.draining:
            raise RefusedError(1012, "the service is stopping")
        if token:
            session = self.sessions.get(token)
            if session is None:
                raise RefusedError(4404, "no such session: it has ended, or was never saved")
            if session.connected:
                raise RefusedError(4409, "another client has this session")
            session.connected = True
            return session
        if len(self.sessions) >= self.settings.max_sessions:
            # Who is gone makes room for who is here, the longest gone first.
            gone = min((s for s in self.sessions.values() if not s.connected), key=lambda s: s.left, default=None)
            if gone is None:
                raise RefusedError(1013, "all sessions are taken; try again later")
            await self._end(gone)
            return await self.attach(token)
        session = Session(secrets.token_urlsafe(16))
        self.sessions[session.token] = session
        return session

    async def detach(self, session: Session, *, for_good: bool) -> None:
        """Let the client go. Unless that is for good, its session waits for it, at the last whole frame."""
        async with self._pool_free:
            if session in self._waiting:
                self._waiting.remove(session)
            session.audio, session.at = session.audio[session.at : session.at + HEAD], 0
            session.cells, session.looks = 0, []
        if for_good or not session.frames:
            await self._end(session)
        session.connected, session.left = False, time.monotonic()

    async def advance(self, session: Session, pcm: bytes) -> bytes:
        """Add samples; return the probabilities, float32, of the frames that they complete."""
        session.audio += pcm
        session.looks = []
        count = (len(session.audio) - HEAD) // SIZE
        if not count:
            return b""
        before = session.frames
        session.ready = asyncio.get_running_loop().create_future()
        self._waiting.append(session)
        self._wake.set()
        await session.ready
        session.audio, session.at = session.audio[session.at :], 0
        return session.since(before)

    async def save(self) -> None:
        """Write a snapshot. When that fails, the old one stays, and the service goes on."""
        if self._path is None:
            return
        loop = asyncio.get_running_loop()
        async with self._pool_free:
            kept = [s for s in self.sessions.values() if s.id is not None]
            arrays = {
                "model": np.array(self.model.fingerprint),
                "tokens": np.array([s.token for s in kept], snapshots.TOKEN),
                "ids": np.array([s.id for s in kept], np.int64),
                "frames": np.array([s.frames for s in kept], np.int64),
                "contexts": _rows([s.audio[s.at : s.at + HEAD] for s in kept], HEAD),
                "recent": _rows([s.recent for s in kept], 4 * RECENT),
            }
            pool = await loop.run_in_executor(self._arithmetic, self.pool.snapshot, arrays["ids"])
        try:
            arrays["pool"] = np.frombuffer(pool, np.uint8)
            await loop.run_in_executor(self._disk, snapshots.write, self._path, arrays)
            self._saved.inc()
            self._saved_at, self._save_failed = time.monotonic(), False
        except OSError as error:
            self._failed.inc()
            self._save_failed = True
            log.error("No snapshot was written, the last one stays: %s", error)

    def restore(self) -> None:
        """Go on with the sessions of the last snapshot; one that does not fit whole is put aside."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            arrays = snapshots.read(self._path, {"contexts": HEAD, "recent": 4 * RECENT})
            if str(arrays["model"]) != self.model.fingerprint:
                raise ValueError(f"{self._path} is of another model")
            ids = self.pool.restore(arrays["pool"].tobytes())
            if sorted(ids) != sorted(arrays["ids"].tolist()):
                self.pool.close(list(ids.values()))
                raise ValueError(f"{self._path} has other sessions than its pool")
        except FileNotFoundError:
            return
        except (ValueError, RuntimeError) as error:
            self._failed.inc()
            aside = self._path.replace(self._path.with_name(f"{self._path.name}.refused"))
            log.error("Started without sessions; the snapshot was put aside as %s: %s", aside, error)
            return
        columns = (arrays[name] for name in ("tokens", "ids", "frames", "contexts", "recent"))
        for token, old, frames, context, recent in zip(*columns, strict=True):
            session = Session(str(token), ids[int(old)], int(frames), context.tobytes(), 0, recent.tobytes())
            session.connected, session.left = False, time.monotonic()
            self.sessions[session.token] = session
        log.info("Restored %d sessions", len(self.sessions))

    async def _work(self) -> None:
        """Batch after batch: who has a frame now, one frame of each."""
        loop, most = asyncio.get_running_loop(), self.settings.max_batch
        while True:
            await self._wake.wait()
            if len(self._waiting) < most:
                await asyncio.sleep(self.settings.window_ms / 1000)
            self._wake.clear()
            while self._waiting:
                async with self._pool_free:
                    batch = self._next_batch(most)
                    start = time.perf_counter()
                    try:
                        values, looks = await loop.run_in_executor(self._arithmetic, self._step, batch)
                    except Exception as error:  # nobody waits for ever for what went wrong
                        log.exception("A batch of %d sessions failed; their connections end", len(batch))
                        for session in batch:
                            if not session.ready.done():  # its client may be gone by now
                                session.ready.set_exception(error)
                        continue
                    self._answer(batch, values, looks)
                    self._seconds.observe(time.perf_counter() - start)
                    self._batches.observe(len(batch))
                    self._frames.inc(len(batch))
                    if not self._waiting and not looks:  # while the answers are sent
                        await loop.run_in_executor(self._arithmetic, self._advance, batch)

    def _next_batch(self, most: int) -> list[Session]:
        """Take sessions out of the line; those whose cells are looked at go by themselves, so that no other pays."""
        first = [self._waiting.popleft() for _ in range(min(len(self._waiting), most))]
        is_looked_at = first[0].cells > 0
        batch = [session for session in first if (session.cells > 0) == is_looked_at]
        self._waiting.extendleft(session for session in reversed(first) if (session.cells > 0) != is_looked_at)
        return batch

    def _step(self, batch: list[Session]) -> tuple[Floats, list[bytes]]:
        """Return the probabilities, and what the cells did, of those whose clients draw it."""
        for session in batch:
            if session.id is None:
                session.id = self.pool.open()
        pcm = b"".join([session.audio[session.at : session.at + HEAD + SIZE] for session in batch])
        x = self.model.features(np.frombuffer(pcm, "<i2").reshape(len(batch), -1))
        ids = np.array([session.id for session in batch], np.int64)
        if not batch[0].cells:
            return self.model.probabilities(self.pool.step(ids, x)), []
        trace = self.pool.trace(ids, x)  # the same bits
        return self.model.probabilities(trace.output), cells.told(trace)

    def _advance(self, batch: list[Session]) -> None:
        """Do what the next frames of these sessions need not wait for."""
        try:
            self.pool.advance([session.id for session in batch if session.id is not None])
        except MemoryError as error:  # of its first call; a step then does it all
            log.warning("Sessions are not advanced: %s", error)

    def _answer(self, batch: list[Session], values: Floats, looks: list[bytes]) -> None:
        data = values.tobytes()
        for session, look in zip(batch, looks, strict=False):  # none, or one for each
            session.looks.append(look)
            session.cells -= 1
        self._looks.inc(len(looks))
        for row, session in enumerate(batch):
            session.recent = session.recent[4:] + data[4 * row : 4 * row + 4]
            session.frames += 1
            session.at += SIZE
            if len(session.audio) - session.at >= HEAD + SIZE:
                self._waiting.append(session)  # behind everybody else
            elif not session.ready.done():
                session.ready.set_result(None)

    async def _end(self, session: Session) -> None:
        # Out of the list at once, so that nobody finds it any more; out of the pool when no step needs it.
        known = self.sessions.pop(session.token, None)
        async with self._pool_free:
            if known and session.id is not None:
                self.pool.close(session.id)

    async def _save_often(self) -> None:
        while True:
            await asyncio.sleep(self.settings.snapshot_seconds)
            await self.save()

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(min(1.0, self.settings.resume_seconds / 4))
            latest = time.monotonic() - self.settings.resume_seconds
            for session in list(self.sessions.values()):
                if not session.connected and session.left < latest:  # asked now: while one ends, others may come back
                    await self._end(session)

    def _waiting_count(self) -> int:
        return sum(not session.connected for session in self.sessions.values())

    def _stop_if_broken(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.broken = True
            log.critical("The service stops, as a part of it broke: %r", task.exception())
            signal.raise_signal(signal.SIGTERM)


def _rows(parts: list[bytes], size: int) -> np.ndarray[Any, Any]:
    return np.frombuffer(b"".join(parts), np.uint8).reshape(-1, size)
