"""The arena: contenders take turns, each in a process of its own, after each has given the right answer.

Speeds of a shared machine drift within seconds, so what is compared must be measured side by side: one round of each,
then the next round, in an order that rotates, and only medians are compared.
"""

import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import product
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from bench.truth import Error, complaint, distance, expected
from bench.worker import Round
from bench.works import Array, Work

Entry = tuple[str, Work]
"""A contender's name, and what it shall run."""

LIMITS = "limits"
# Fewer rounds than this are not thinned out, and no slow row gets fewer unless fewer were asked for.
ENOUGH = 5


class ContenderError(Exception):
    """A contender is not here, or failed, or gave a wrong answer; the message says which."""


@dataclass
class Result:
    """What an entry gave: a round for each turn it had, or the error that kept it from any; how exact its answer is."""

    rounds: list[Round] = field(default_factory=list)
    error: str | None = None
    off: Error | None = None

    @property
    def times(self) -> list[float]:
        """Seconds per call of the rounds in which no other process took a CPU away, if enough were clean."""
        clean = [turn.seconds for turn in self.rounds if not turn.disturbed]
        return clean if len(clean) >= ENOUGH else [turn.seconds for turn in self.rounds]

    @property
    def seconds(self) -> float | None:
        """Median seconds per call."""
        return median(self.times) if self.rounds else None


class Arena:
    """Workers, started when they are first needed, and the rounds that they play.

    Parameters
    ----------
    rounds : int
        How many turns everyone gets.
    seconds : float
        How long one turn takes, unless a single call takes longer.
    patience : float
        After so many seconds a row ends, with `ENOUGH` rounds at least.

    Attributes
    ----------
    patience : float
        The same, for the rows to come.
    played, disturbed : int
        How many rounds there were, and in how many of them another process took a CPU away.
    """

    def __init__(self, rounds: int = 15, seconds: float = 0.02, patience: float = 12.0) -> None:
        self._rounds, self._seconds, self.patience = rounds, seconds, patience
        self._workers: dict[tuple[str, int], _Process] = {}
        self.played = self.disturbed = 0

    @property
    def versions(self) -> list[str]:
        """What was measured: one line for each contender that took part."""
        return list(dict.fromkeys(worker.version for worker in self._workers.values() if worker.version))

    def prepare(self, entries: Mapping[str, Entry], alike: Collection[str] = ()) -> dict[str, Result]:
        """Let every entry prepare itself and check its answer; those that cannot take part get their error.

        The answers of those that are `alike` must have the same bits, too.
        """
        for worker in self._workers.values():
            worker.forget()
        results: dict[str, Result] = {}
        right: dict[Work, Array] = {}
        bits: dict[str, bytes] = {}
        for label, (name, work) in entries.items():
            results[label] = Result()
            try:
                answer = self._worker(name, work).ask("answer", work)
                if name != LIMITS:
                    question = Work(work.kind, work.case)  # the same for all threads and weights
                    if question not in right:
                        right[question] = expected(question)
                    if (wrong := complaint(work, answer, right[question])) is not None:
                        raise ContenderError(wrong)
                    results[label].off = distance(answer, right[question])
                if label in alike:
                    bits[label] = answer.tobytes()
                    first = next(iter(bits))
                    if bits[label] != bits[first]:
                        raise ContenderError(f"{work}: wrong answer: other bits than those of {first!r}")
            except ContenderError as error:
                results[label].error = f"{name}: {error}"
        return results

    def play(self, entries: Mapping[str, Entry], alike: Collection[str] = ()) -> dict[str, Result]:
        """Check every entry's answer, then time those that were right, in turn; `alike`: see `prepare`."""
        results = self.prepare(entries, alike)
        ready = [(label, *entries[label]) for label, result in results.items() if result.error is None]
        calls = {label: self._worker(name, work).ask("calls", work, self._seconds) for label, name, work in ready}
        start = time.perf_counter()
        for turn in range(self._rounds):
            if turn >= ENOUGH and time.perf_counter() - start > self.patience:
                break
            first = turn % len(ready) if ready else 0
            for label, name, work in ready[first:] + ready[:first]:
                result: Round = self._worker(name, work).ask("round", work, calls[label])
                results[label].rounds.append(result)
                self.played += 1
                self.disturbed += result.disturbed
        return results

    def play_single(
        self, entries: Mapping[str, Entry], seconds: float, alike: Collection[str] = ()
    ) -> dict[str, Result]:
        """Check every entry's answer, then time its calls one by one for `seconds`, to see the worst of them, too."""
        return self._watch(entries, "single", seconds / ENOUGH, alike)

    def idle(self, entries: Mapping[str, Entry], seconds: float) -> dict[str, Result]:
        """Check every entry's answer, then see what it costs when it has nothing more to do: seconds of CPU.

        What is in one process is there all the time.
        """
        return self._watch(entries, "idle", seconds)

    def _watch(
        self, entries: Mapping[str, Entry], command: str, seconds: float, alike: Collection[str] = ()
    ) -> dict[str, Result]:
        results = self.prepare(entries, alike)
        ready = [label for label, result in results.items() if result.error is None]
        for _, label in product(range(min(self._rounds, ENOUGH)), ready):
            name, work = entries[label]
            results[label].rounds += self._worker(name, work).ask(command, work, seconds)
        return results

    def close(self) -> None:
        """End all workers."""
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()

    def _worker(self, name: str, work: Work) -> "_Process":
        # jax fixes its number of threads when it starts, so a contender has one process for each number.
        key = name, work.threads
        if key not in self._workers:
            self._workers[key] = _Process(name)
        return self._workers[key]


class _Process:
    """Our end of a worker."""

    def __init__(self, name: str) -> None:
        self._connection: Connection
        self._connection, theirs = Pipe()
        # NumPy's own BLAS threads have no part in this; everyone's thread count is set by its contender.
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", "from bench.worker import main; main()", name, str(theirs.fileno())]
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environment, cwd=root)
        theirs.close()
        self.version, self._problem = "", ""
        try:
            self.version = self._receive()
        except ContenderError as error:
            self._problem = str(error)

    def ask(self, command: str, *arguments: object) -> Any:
        if self._problem:
            raise ContenderError(self._problem)
        self._connection.send((command, *arguments))
        return self._receive()

    def forget(self) -> None:
        if not self._problem:
            self.ask("clear")

    def close(self) -> None:
        self._connection.close()
        self._process.wait()

    def _receive(self) -> Any:
        try:
            fine, result = self._connection.recv()
        except EOFError:
            self._problem = f"the process ended with status {self._process.wait()}"
            raise ContenderError(self._problem) from None
        if not fine:
            raise ContenderError(result)
        return result
