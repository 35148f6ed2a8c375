"""The service: one WebSocket, a page, health and metrics."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from . import cells
from . import settings as settings_of
from .doors import Doors
from .engine import Engine, RefusedError, Session
from .fetch import MissingError, fetch
from .model import FRAME, RATE, DamagedError, Model

# Goodbye, and what would go wrong again: these end a session. After any other code its client may come back.
FINAL = {1000, 1007, 1009, 4408}
OTHER = {1005, 1006, 1011, 1012, 1013, 4404, 4409}

PAGE = {path.name: path for path in Path(__file__).with_name("page").iterdir()}
OTHER_FILES = 64  # beside the connections: the snapshot, the page, the libraries'

log = logging.getLogger("service")


class Service:
    """The application, and how it stops."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.limits = engine, engine.settings
        self.doors = Doors(engine.settings, lambda why: engine.refused.labels(why).inc())
        engine.connections.set_function(lambda: len(self.doors))
        self.listening: set[WebSocket] = set()
        self.app = FastAPI(title="Voice activity", lifespan=lambda _: engine.running(), openapi_url=None)
        self.app.websocket("/stream")(self.stream)
        sample = Path(self.limits.sample)

        @self.app.get("/")
        async def page() -> Response:
            return _page("index.html")

        @self.app.get("/page/{name}")
        async def part(name: str) -> Response:
            return _page(name)

        @self.app.get("/sample.wav")
        async def wav() -> Response:
            return FileResponse(sample) if sample.is_file() else Response(status_code=404)

        @self.app.get("/health")
        async def health() -> JSONResponse:
            status = "stopping" if engine.draining else "ok"
            return JSONResponse({"status": status, "sessions": len(engine.sessions)}, 503 if engine.draining else 200)

        @self.app.get("/ready")
        async def ready() -> JSONResponse:
            """Tell a load balancer whether a new session would be taken, and kept."""
            reasons = engine.not_ready()
            return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

        @self.app.get("/metrics")
        async def metrics() -> Response:
            return Response(generate_latest(engine.registry), media_type=CONTENT_TYPE_LATEST)

    async def stream(self, ws: WebSocket, token: str = "", have: str = "0", key: str = "") -> None:
        """Serve one client: 16-bit samples in, a float32 for each 512 of them out.

        The first message says the session's token and how many frames are done. With the token, and how many
        probabilities it has, a client that was cut off goes on: it gets what it missed, and sends from `frames` on.
        One that draws the cells, too, says how many frames of them it can take; what it does not ask for is left out.
        """
        why = self.doors.may_stream(ws.headers, key)
        if why is not None:
            self.engine.refused.labels(why).inc()
            await ws.close()  # before it is accepted: HTTP's 403
            return
        await ws.accept()
        if not (have.isdecimal() and len(have) < 16):
            self._count(await self._close(ws, 1007, "have should be the number of probabilities that you have"))
            return
        try:
            session = await self.engine.attach(token)
        except RefusedError as error:
            self._count(await self._close(ws, error.code, error.reason))
            return
        code = 1006
        try:
            about = {"frame": FRAME, "rate": RATE, "units": self.engine.model.lstm.hidden_size}
            await ws.send_json({"token": session.token, "frames": session.frames, **about})
            code = await self._talk(ws, session, session.since(int(have)))
        except (TimeoutError, WebSocketDisconnect):  # not reading, or gone
            pass
        finally:
            self._count(code)
            await self.engine.detach(session, for_good=code in FINAL)

    async def _talk(self, ws: WebSocket, session: Session, answer: bytes) -> int:
        """Answer message after message; return the code that it ended with."""
        loop = asyncio.get_running_loop()
        deadline, frames = loop.time() + self.limits.idle_seconds, session.frames
        while True:
            if answer:
                async with asyncio.timeout(self.limits.ping_seconds):
                    if session.looks:
                        await ws.send_json(_cells(session, session.frames - len(answer) // 4))
                    await ws.send_bytes(answer)
            if self.engine.draining:
                return await self._close(ws, 1012, "the service is stopping")
            if session.frames > frames:  # whole frames count: a sample now and then keeps no session
                deadline, frames = loop.time() + self.limits.idle_seconds, session.frames
            self.listening.add(ws)
            try:
                async with asyncio.timeout_at(deadline):
                    message = await ws.receive()
            except TimeoutError:
                return await self._close(ws, 4408, "no whole frame of audio came for too long")
            finally:
                self.listening.discard(ws)
            if message["type"] == "websocket.disconnect":
                return message["code"]
            try:
                answer = await self._answer(session, message)
            except cells.BadMessageError as error:
                return await self._close(ws, 1007, str(error))

    async def _answer(self, session: Session, message: dict[str, Any]) -> bytes:
        if message.get("text") is not None:
            session.cells = cells.asked(message["text"])
            return b""
        pcm = message["bytes"]
        if len(pcm) % 2:
            raise cells.BadMessageError("expected binary messages of whole 16-bit samples")
        # Nothing more is read until this is answered: who sends too fast waits, in its own socket.
        return await self.engine.advance(session, pcm)

    async def _close(self, ws: WebSocket, code: int, reason: str) -> int:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(self.limits.ping_seconds):
                await ws.close(code, reason)
        return code

    def _count(self, code: int) -> None:
        self.engine.closed.labels(str(code) if code in FINAL | OTHER else "other").inc()

    async def drain(self) -> None:
        """Answer the frames that have come, close all connections with 1012; their sessions stay."""
        self.engine.draining = True
        closing = [self._close(ws, 1012, "the service is stopping") for ws in self.listening]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.stop_seconds):
                await asyncio.gather(*closing)
                while any(session.connected for session in self.engine.sessions.values()):
                    await asyncio.sleep(0.01)


class Server(uvicorn.Server):
    """Lets the service come to an end before connections are cut."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; a second Ctrl-C changes nothing, as stopping has its limit and ends with a snapshot."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then stop as uvicorn does; the last snapshot comes at the very end."""
        await self.service.drain()
        await super().shutdown(sockets)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the service until SIGTERM or SIGINT; return the exit code."""
    settings = settings_of.read(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    try:
        model = Model(Path(settings.model).read_bytes() if settings.model else fetch())
    except (DamagedError, MissingError, OSError) as error:
        print(f"service: {error}", file=sys.stderr)
        return 1 if isinstance(error, DamagedError) else 3
    settings.max_connections = _allowed_connections(settings.max_connections)
    engine = Engine(model, settings)
    service = Service(engine)
    try:
        engine.restore()
        listener = _listen(settings.host, settings.port, settings.ping_seconds)
    except OSError as error:
        print(f"service: cannot start: {error}", file=sys.stderr)
        return 4
    server = Server(_config(service), service)
    # before and after uvicorn handles them: there is nothing to lose then, and 0 is the code
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    log.info("Listening at http://%s:%d", host, listener.getsockname()[1])
    server.run(sockets=[listener])
    return 5 if engine.broken else 0


def _page(name: str) -> Response:
    if name not in PAGE:
        return Response(status_code=404)
    return FileResponse(
        PAGE[name], headers={"Cache-Control": "no-cache"}
    )  # asked again, so that all are of one version


def _cells(session: Session, first: int) -> dict[str, Any]:
    """Say what the cells did in the frames from `first` on, of those that were asked for."""
    return {"first": first, "cells": base64.b64encode(b"".join(session.looks)).decode("ascii")}


def _config(service: Service) -> uvicorn.Config:
    settings = service.limits
    return uvicorn.Config(
        service.app,
        http=service.doors.protocol(),
        log_level="warning",  # its lines on connections would show tokens
        server_header=False,
        ws="websockets-sansio",  # reads one message ahead, no more
        ws_max_size=settings.max_message,
        ws_ping_interval=settings.ping_seconds,
        ws_ping_timeout=settings.ping_seconds,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=settings.stop_seconds,
    )


def _listen(host: str, port: int, ping_seconds: float) -> socket.socket:
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # the kernel lets go of a client that takes no bytes, pending ones or not
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(ping_seconds * 1000))
    return listener


def _allowed_connections(connections: int) -> int:
    """Raise the limit of open files to what the connections need; return how many the system lets us have."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no such limit
        return connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    if hard != resource.RLIM_INFINITY and hard < wanted:
        fewer = max(1, hard - OTHER_FILES)  # the rest is for snapshots and what is turned away
        log.warning("The system allows %d open files: %d connections at most, not %d", hard, fewer, connections)
        connections, wanted = fewer, hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return connections
