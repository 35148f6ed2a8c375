"""Who may come in, and how long they may take: what is settled before there is a session."""

from __future__ import annotations

import argparse
import asyncio
import hmac
import os
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from uvicorn.protocols.http.auto import AutoHTTPProtocol


class Doors:
    """The open connections, whatever they speak, and the rules for new ones.

    A connection that has become a WebSocket is looked after by its session (`idle_seconds`); any other is a request and
    its answer, and is closed `handshake_seconds` after it came: silence and half a request cost nobody else a place.
    """

    def __init__(self, settings: argparse.Namespace, refused: Callable[[str], None]) -> None:
        self.settings, self._refused = settings, refused
        self._open: set[asyncio.Transport] = set()
        self._origins = {origin.strip() for origin in settings.origins.split(",")} - {""}

    def __len__(self) -> int:
        """Count the connections that are open now."""
        self._open = {transport for transport in self._open if not transport.is_closing()}
        return len(self._open)

    def protocol(self) -> type[asyncio.Protocol]:
        """Return uvicorn's HTTP protocol with these doors before it."""
        doors = self

        class Guarded(AutoHTTPProtocol):
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                doors.enter(self, transport)

        return Guarded

    def enter(self, protocol: Any, transport: asyncio.Transport) -> None:
        """Let a connection in, or close it where there are too many."""
        per_address = Counter(_address(other) for other in self._open if not other.is_closing())
        if per_address[_address(transport)] >= self.settings.max_per_address:
            self._refused("address")
        elif len(self) >= self.settings.max_connections:
            self._refused("connections")
        else:
            self._open.add(transport)
            asyncio.get_running_loop().call_later(self.settings.handshake_seconds, self._late, protocol, transport)
            return
        transport.abort()

    def _late(self, protocol: Any, transport: Any, again: bool = True) -> None:
        if transport.is_closing() or transport.get_protocol() is not protocol:
            return  # gone, or a WebSocket by now
        cycle = protocol.cycle
        if cycle is None:
            self._refused("handshake")
        elif not cycle.response_complete and again:  # an answer is on its way: it gets as long once more
            asyncio.get_running_loop().call_later(
                self.settings.handshake_seconds, self._late, protocol, transport, False
            )
            return
        transport.abort()

    def may_stream(self, headers: Headers, key: str) -> str | None:
        """Say why a WebSocket may not be opened; None if it may."""
        origin = headers.get("origin")  # browsers say it, and a page cannot change what they say
        if origin is not None and not self._origins & {origin, "*"} and not _is_own(origin, headers.get("host", "")):
            return "origin"
        wanted = os.fsencode(self.settings.access_key)
        given = key.encode() or headers.get("authorization", "").removeprefix("Bearer ").encode("latin-1")
        if wanted and not hmac.compare_digest(given, wanted):
            return "key"
        return None


def _is_own(origin: str, host: str) -> bool:
    try:
        return bool(host) and urlsplit(origin).netloc == host
    except ValueError:  # no address at all
        return False


def _address(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""
