"""What can be set, by flags (--max-sessions 100) or environment variables (VAD_MAX_SESSIONS=100)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import Any

from .fetch import cache_folder

SETTINGS: dict[str, tuple[Any, str]] = {
    "host": ("127.0.0.1", "address to listen at"),
    "port": (8765, "port to listen at"),
    "model": ("", "silero_vad_16k_op15.onnx; without it the published package is fetched"),
    "snapshot": (str(cache_folder() / "sessions.npz"), "file that sessions are kept in; '' for none"),
    "snapshot_seconds": (5.0, "time between snapshots"),
    "max_sessions": (1000, "sessions at once, with those that may still come back"),
    "max_connections": (1200, "connections at once, of any kind"),
    "max_per_address": (1200, "connections at once from one address; behind a proxy all have its address"),
    "access_key": (
        "",
        "who streams must say this key, as ?key= or 'Authorization: Bearer'; better set by the environment",
    ),
    "origins": ("", "web pages that may stream beside our own: https://a.example,https://b.example; '*' for any"),
    "handshake_seconds": (10.0, "a connection that is no WebSocket is closed after so long"),
    "max_batch": (128, "sessions in one micro-batch"),
    "window_ms": (1.0, "how long a frame may wait for others"),
    "max_message": (65536, "bytes in one message of a client, 262144 at most"),
    "idle_seconds": (60.0, "a client that sends no whole frame for so long is closed"),
    "resume_seconds": (60.0, "how long a session waits for a client that was cut off"),
    "ping_seconds": (20.0, "time between pings, and for their answer and for a client to read"),
    "stop_seconds": (10.0, "what is under way has so long to finish when the service stops"),
    "sample": ("/usr/share/sounds/alsa/Front_Center.wav", "WAV file that the page offers"),
}

#: The largest numbers, where a million would not do. A message is answered from the 256 probabilities that are kept.
MOST = {"port": 65535, "max_message": 262144}


def read(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; what it does not say, the environment does."""
    parser = argparse.ArgumentParser(
        prog="service",
        description="Stream voice activity of many live sessions.",
        epilog="exit codes: 0 stopped; 1 the model is damaged; 2 a setting is wrong; 3 the model or a package is "
        "missing; 4 address in use, or no folder for snapshots; 5 a part of it broke",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for name, (default, help) in SETTINGS.items():
        value = os.environ.get(f"VAD_{name.upper()}", str(default))
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=value, help=help)
    settings = parser.parse_args(arguments)
    for name, value in vars(settings).items():
        most = MOST.get(name, 1e6)
        if not isinstance(value, str) and not 0 < value <= most:
            parser.error(f"{name.replace('_', '-')}: expected a number above 0, {most:g} at most, got {value}")
    return settings
