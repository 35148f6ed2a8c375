"""The arena: contenders take turns, each in a process of its own, after each has given the right answer.

Speeds of a shared machine drift within seconds, so what is compared must be measured side by side: one round of each,
then the next round, in another order, and only medians are compared. Meanwhile all others are stopped.
"""

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from queue import Empty, SimpleQueue
from statistics import median
from threading import Thread
from typing import Any, BinaryIO, NoReturn, TypeVar

import numpy as np

from fastlstm.bench import processes
from fastlstm.bench.truth import Error, complaint, distance, expected
from fastlstm.bench.worker import Round
from fastlstm.bench.works import Array, Work

Entry = tuple[str, Work]
"""A contender's name, and what it shall run."""

LIMITS = "limits"
CONTENDERS = "fastlstm.bench.contenders"
# Fewer rounds than this are not thinned out, and no slow row gets fewer unless fewer were asked for.
ENOUGH = 5

T = TypeVar("T")


def counting(rounds: Sequence[T], disturbed: Sequence[bool]) -> list[T]:
    """Take the rounds that count: those that were not disturbed, if there are enough of them."""
    clean = [each for each, flag in zip(rounds, disturbed, strict=True) if not flag]
    return clean if len(clean) >= ENOUGH else list(rounds)


class ContenderError(Exception):
    """A contender is not here, or failed, or gave a wrong answer; the message says which."""


@dataclass
class Result:
    """What an entry gave: a round for each turn it had, or the error that kept it from any; how exact its answer is."""

    rounds: list[Round] = field(default_factory=list)
    error: str | None = None
    off: Error | None = None
    prepared: float | None = None
    """Seconds to make and pack all that can be done once; where the arena was asked for it, as the next."""
    first: float | None = None
    """Seconds of the first call after that."""
    singly: Array = field(default_factory=lambda: np.zeros(0))
    """Seconds of calls that were timed one by one, if they were."""

    @property
    def times(self) -> list[float]:
        """Seconds per call of the rounds in which no other process took a CPU away, if enough were clean."""
        return counting([turn.seconds for turn in self.rounds], [turn.disturbed for turn in self.rounds])

    @property
    def is_disturbed(self) -> bool:
        """Whether too few rounds were left to it alone: all count, and should be repeated."""
        return sum(not turn.disturbed for turn in self.rounds) < min(ENOUGH, len(self.rounds))

    @property
    def seconds(self) -> float | None:
        """Median seconds per call."""
        return median(self.times) if self.rounds else None

    @property
    def joules(self) -> float | None:
        """Median energy per call, where something tells it."""
        used = [turn.joules for turn in self.rounds if turn.joules is not None]
        return median(used) if used else None


class Arena:
    """Workers, started when they are first needed, and the rounds that they play.

    Parameters
    ----------
    rounds : int
        How many turns everyone gets; up to twice as many if others take CPUs away meanwhile.
    seconds : float
        How long one turn takes, unless a single call takes longer.
    patience : float
        After so many seconds a row ends, with `ENOUGH` rounds at least.
    modules : mapping of str to str
        Contenders that are not among the package's own: their names, and the modules that they are.
    hung : float
        Who does not answer for so many seconds is stopped, and loses the work at hand.
    slack : float
        How many times farther off than `truth.ALLOWED` an answer in float32 may be.
    quiet : bool
        Whether what contenders write to standard error is left out.
    first : bool
        Whether first calls are timed, before answers are checked.
    tell : callable
        Is told what happens next: the label of an entry, which round, of how many (0: it prepares itself).

    Attributes
    ----------
    patience : float
        The same, for the rows to come.
    latest : dict of str to Result
        Of the works that were asked for last: what there is of them, if Ctrl-C came in between.
    played, disturbed : int
        How many rounds there were, and in how many of them another process took a CPU away.
    """

    def __init__(
        self,
        rounds: int = 15,
        seconds: float = 0.02,
        patience: float = 12.0,
        *,
        modules: Mapping[str, str] | None = None,
        hung: float = 300.0,
        slack: float = 1.0,
        quiet: bool = False,
        first: bool = False,
        tell: Callable[[str, int, int], None] = lambda label, turn, rounds: None,
    ) -> None:
        self._rounds, self._seconds, self.patience = rounds, seconds, patience
        self._modules, self._hung, self._tell = modules or {}, hung, tell
        self._slack, self._quiet, self._first = slack, quiet, first
        self._workers: dict[tuple[str, int, str, str], _Process] = {}
        self.latest: dict[str, Result] = {}
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
        self.latest = results
        right: dict[Work, Array] = {}
        bits: dict[str, bytes] = {}
        for label, (name, work) in entries.items():
            self._tell(label, 0, self._rounds)
            results[label] = Result()
            try:
                if self._first:
                    results[label].prepared, results[label].first = self._worker(name, work).ask("first", work)
                answer = self._worker(name, work).ask("answer", work)
                if name != LIMITS:
                    question = Work(work.kind, work.case)  # the same for all threads, weights and ways
                    if question not in right:
                        right[question] = expected(question)
                    if (wrong := complaint(work, answer, right[question], self._slack)) is not None:
                        raise ContenderError(wrong)
                    results[label].off = distance(answer, right[question])
                if label in alike:
                    bits[label] = answer.tobytes()
                    first = next(iter(bits))
                    if bits[label] != bits[first]:
                        raise ContenderError(f"{work}: wrong answer: other bits than those of {first!r}")
            except (ContenderError, MemoryError) as error:  # the right answer may need too much, too
                results[label] = Result(error=f"{name}: {error}")
        return results

    def play(self, entries: Mapping[str, Entry], alike: Collection[str] = ()) -> dict[str, Result]:
        """Check every entry's answer, then time those that were right, in turn; `alike`: see `prepare`."""
        results = self.prepare(entries, alike)
        self._play(entries, results)
        played = [turn for result in results.values() for turn in result.rounds]
        self.played += len(played)
        self.disturbed += sum(turn.disturbed for turn in played)
        return results

    def _play(self, entries: Mapping[str, Entry], results: Mapping[str, Result]) -> None:
        calls: dict[str, int] = {}
        for label in _ready(results):
            keep = partial(calls.__setitem__, label)
            self._ask(results[label], entries[label], "calls", self._seconds, keep)
        start = time.perf_counter()
        for turn in range(2 * self._rounds):
            if turn >= ENOUGH and time.perf_counter() - start > self.patience:
                break
            if turn >= self._rounds and not any(result.is_disturbed for result in results.values()):
                break
            for label in in_order(_ready(results), turn):
                self._tell(label, turn + 1, self._rounds if turn < self._rounds else 2 * self._rounds)
                self._ask(results[label], entries[label], "round", calls[label], results[label].rounds.append)

    def _ask(self, result: Result, entry: Entry, command: str, argument: object, keep: Callable[[Any], object]) -> None:
        """Ask an entry for something, and keep it; one that fails loses all that it had."""
        self._ask_for(result, *entry, keep, command, argument)

    def _ask_for(self, result: Result, name: str, work: Work, keep: Callable[[Any], object], *command: object) -> None:
        try:
            what, *arguments = command
            keep(self._worker(name, work).ask(str(what), work, *arguments))
        except ContenderError as error:
            result.rounds.clear()
            result.singly = np.zeros(0)
            result.error = f"{name}: {error}"

    def play_singly(
        self, entries: Mapping[str, Entry], results: Mapping[str, Result], seconds: float, most: int
    ) -> None:
        """After `play`, time its calls one by one, too: for so many seconds each, or as many calls."""
        for turn, label in product(range(ENOUGH), _ready(results)):
            result = results[label]
            if result.error is not None or len(result.singly) >= most:
                continue

            def keep(times: Array, result: Result = result) -> None:
                result.singly = np.concatenate([result.singly, times])

            self._tell(label, turn + 1, ENOUGH)
            name, work = entries[label]
            self._ask_for(result, name, work, keep, "singly", seconds / ENOUGH, most - len(result.singly))

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
        for _, label in product(range(min(self._rounds, ENOUGH)), _ready(results)):
            if results[label].error is None:
                self._ask(results[label], entries[label], command, seconds, results[label].rounds.extend)
        return results

    def close(self) -> None:
        """End all workers, however impatient whoever waits for it is."""
        workers = self._workers.values()
        try:
            for worker in workers:
                worker.leave()
            for worker in workers:
                worker.wait()
        finally:
            for worker in workers:
                worker.kill()
            self._workers.clear()

    def _worker(self, name: str, work: Work) -> "_Process":
        # jax fixes its number of threads when it starts, and whoever crashes takes nothing else along: a contender has
        # a process for each number of threads, each type of weights and each way to do it.
        key = name, work.threads, work.weights, work.form
        worker = self._workers.get(key)
        if worker is None or worker.ended:
            module = self._modules.get(name, f"{CONTENDERS}.{name}_")
            # what lies in the current folder is for contenders that are there, and for no other
            options = ["-P"] if module.startswith(f"{CONTENDERS}.") else []
            environment = os.environ | processes.NO_GPU | products(name, work.threads)
            worker = self._workers[key] = _Process(module, self._hung, options, environment, quiet=self._quiet)
        return worker


def in_order(labels: Sequence[str], turn: int) -> list[str]:
    """Say who comes after whom in a round: everyone begins as often, and comes as often before a neighbour as after."""
    first = turn // 2 % len(labels) if labels else 0
    order = [*labels[first:], *labels[:first]]
    return order[::-1] if turn % 2 else order


def _ready(results: Mapping[str, Result]) -> list[str]:
    return [label for label, result in results.items() if result.error is None]


class _Process:
    """Our end of a worker: commands go to its standard input, answers come from its standard output, pickled.

    Ctrl-C is for us alone: what a worker has measured until then is not lost with it.
    """

    def __init__(
        self, module: str, hung: float, options: Sequence[str], environment: Mapping[str, str], *, quiet: bool
    ) -> None:
        start = "from fastlstm.bench.worker import main; main()"
        self._process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, *options, "-c", start, module],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if quiet else None,
            **processes.OWN_GROUP,
        )
        self._answers: SimpleQueue[Any] = SimpleQueue()
        # a thread of its own waits for them, since not every system can wait for a pipe and a clock at once
        Thread(target=_listen, args=(self._process.stdout, self._answers), daemon=True).start()
        self._hung, self.ended = hung, False
        self.version, self._problem = "", ""
        try:
            self.version = self._receive()
        except ContenderError as error:
            self._problem = str(error)
        processes.stop(self._process)

    def ask(self, command: str, *arguments: object) -> Any:
        if self._problem:
            raise ContenderError(self._problem)
        processes.go(self._process)
        try:
            self._send(command, *arguments)
            return self._receive()
        finally:
            processes.stop(self._process)

    def _send(self, *message: object) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()
        except OSError:
            self._end(None)

    def forget(self) -> None:
        if not self._problem:
            with suppress(ContenderError):
                self.ask("clear")

    def leave(self) -> None:
        """Let it end by itself."""
        self._hang_up()
        processes.go(self._process)

    def wait(self) -> None:
        """Give it a second for that."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1)

    def kill(self) -> None:
        """End it, and what it has started."""
        processes.kill(self._process)
        self._process.wait()

    def _hang_up(self) -> None:
        assert self._process.stdin is not None
        with suppress(OSError):  # what was not sent yet, to someone who has ended
            self._process.stdin.close()

    def _receive(self) -> Any:
        end = time.monotonic() + self._hung
        while (answer := self._next()) is _NOTHING:
            if time.monotonic() > end:
                self._end(f"no answer in {self._hung:g} s")
        if answer is None:
            self._end(None)
        fine, result = answer
        if not fine:
            raise ContenderError(result)
        return result

    def _next(self) -> Any:
        """Wait a moment for an answer: on Windows, Ctrl-C has to wait as long."""
        try:
            return self._answers.get(timeout=min(0.25, self._hung))
        except Empty:
            return _NOTHING

    def _end(self, reason: str | None) -> NoReturn:
        """End a process that does not answer, or learn why one has ended by itself; what it has started ends, too."""
        if reason is None:
            try:
                reason = f"the process ended: {told(self._process.wait(timeout=self._hung))}"
            except subprocess.TimeoutExpired:
                reason = f"the process has not ended in {self._hung:g} s, but gives no answers any more"
        self.kill()
        self._hang_up()
        self.ended, self._problem = True, reason
        raise ContenderError(self._problem)


def products(name: str, threads: int) -> dict[str, str]:
    """Set how many threads NumPy's products take in a contender's process: one, unless it is them that are measured.

    Everyone else's number of threads is set by its contender.
    """
    libraries = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    return dict.fromkeys(libraries, str(threads)) if name == "numpy" else {libraries[0]: "1"}


_NOTHING = object()  # no answer yet


def _listen(pipe: BinaryIO, answers: "SimpleQueue[Any]") -> None:
    """Take answers as they come; the last one is None."""
    with pipe:
        while True:
            try:
                answers.put(pickle.load(pipe))
            except Exception:  # there are no more, or what came is none
                answers.put(None)
                return


def told(status: int) -> str:
    """Say how a process has ended."""
    if status >= 0:
        return f"status {status}"
    with suppress(ValueError):  # those of real time have no names
        return signal.Signals(-status).name
    return f"signal {-status}"
