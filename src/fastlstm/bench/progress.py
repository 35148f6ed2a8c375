"""What is running, and for how long yet: on a terminal, with rich where it is installed."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any


class Progress:
    """Shows one line on standard error; nothing where that is no terminal.

    Parameters
    ----------
    total : int
        How many works there are.
    """

    def __init__(self, total: int) -> None:
        self._total, self._done, self._work = total, 0, ""
        self._start = time.monotonic()
        self._status = _status()

    @contextlib.contextmanager
    def of(self, work: str) -> Iterator[None]:
        """Show that a work is being measured."""
        self._work = work
        self._status.start()
        try:
            yield
            self._done += 1
        finally:
            self._status.stop()

    def tell(self, label: str, turn: int, rounds: int) -> None:
        """Show who is at it."""
        what = f"round {turn} of at most {rounds}" if turn else "preparing"
        self._status.update(f"{self._done + 1} of {self._total}: {self._work}: {label}, {what}{self._left()}")

    def _left(self) -> str:
        if not self._done:
            return ""
        seconds = (time.monotonic() - self._start) / self._done * (self._total - self._done)
        return f", about {seconds:.0f} s left"


class _Nothing:
    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def update(self, text: str) -> None:
        pass


class _Line(_Nothing):
    """One line, written over."""

    def stop(self) -> None:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()

    def update(self, text: str) -> None:
        columns = shutil.get_terminal_size().columns - 1  # a line that is broken could not be written over
        sys.stderr.write(f"\r\x1b[K{text[:columns]}")
        sys.stderr.flush()


class _Rich:
    """What rich shows: texts as they are, since names in files may look like its markup."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.text import Text

        self._text, status = Text, Console(stderr=True).status("")
        self.start, self.stop, self._update = status.start, status.stop, status.update

    def update(self, text: str) -> None:
        self._update(self._text(text))


def _status() -> Any:
    if not sys.stderr.isatty():
        return _Nothing()
    try:
        return _Rich()
    except ImportError:
        return _Line()
