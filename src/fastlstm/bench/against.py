"""``fastlstm bench --against``: another version of fastlstm, built where nobody else sees it, and both in one arena."""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

from fastlstm import __version__
from fastlstm._isa import isa
from fastlstm.bench import compare
from fastlstm.bench.arena import ENOUGH, Arena, Entry, Result, counting
from fastlstm.bench.command import OURS, SLACK, chosen, entries, processor
from fastlstm.bench.options import Options
from fastlstm.bench.progress import Progress
from fastlstm.bench.results import Sizes
from fastlstm.bench.works import Case
from fastlstm.files._layer import printable, short

_VERSION = re.compile(r"\d+\.\d[a-z0-9.+-]*")
#: Ours a second time: what its times differ by is noise.
AGAIN, BEFORE = "again", "before"
VARIABLE = "FASTLSTM_BEFORE"
_UNREACHED = ("connection", "name resolution", "timed out", "unreachable", "proxy")


class Build(NamedTuple):
    """Another version: where it is installed, and what it is called."""

    folder: Path
    name: str


def run(given: argparse.Namespace) -> int:
    """Build the other version if that was not done yet, play both, and print or write the comparison."""
    compare.check_writable(given.json)
    other = build(given.against)
    rows: list[compare.Difference] = []
    header = [f"A: {other.name}", f"B: fastlstm {__version__} ({isa()}), this one", processor()]
    with tempfile.TemporaryDirectory() as folder, _before(other.folder):
        race = Race(Options(chosen(given, folder), [], given.weights, given.threads, given.quick))
        try:
            for row in race.rows(given.fail_above):
                rows.append(row)  # noqa: PERF402  as far as it came
        except KeyboardInterrupt:
            notes = [*race.problems, "interrupted: this is what was measured until then"]
            compare.told(rows, header, notes, given.json, given.fail_above, complete=False)
            raise
        finally:
            race.close()
    if not rows:
        raise ValueError("; ".join(["nothing could be compared", *race.problems]))
    status = compare.told(rows, header, race.problems, given.json, given.fail_above)
    if race.failures:
        raise ValueError("; ".join(["this version failed", *race.failures]))
    return status


class Race:
    """Play this version, the same again, and another one, in turns."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._progress = Progress(len(options.cases))
        rounds, seconds, patience = (ENOUGH + 2, 0.005, 4.0) if options.quick else (21, 0.02, 15.0)
        ours = "fastlstm.bench.contenders.fastlstm_"
        modules = {AGAIN: ours, BEFORE: "fastlstm.bench.contenders.before_"}
        tell = self._progress.tell
        self._arena = Arena(rounds, seconds, patience, modules=modules, hung=120, slack=SLACK, quiet=True, tell=tell)
        self.problems: list[str] = []
        self.failures: list[str] = []  # those of this version

    def rows(self, percent: float | None) -> Iterator[compare.Difference]:
        """Play everything; a row that is slower by more than so many percent once more, in new processes."""
        for case in self._options.cases:
            sizes = self._sizes(case)
            with self._progress.of(str(sizes)):
                made = self._played(case, sizes)
                if percent is not None and any(row.exceeds(percent) for row in made):
                    self._arena.close()
                    made = self._played(case, sizes)
            yield from made

    def close(self) -> None:
        """End all processes."""
        self._arena.close()

    def _sizes(self, case: Case) -> Sizes:
        numbers = case.T, case.B, case.I, case.H, case.num_layers, case.directions, self._options.threads
        return Sizes(*numbers, case.title, case.family)

    def _played(self, case: Case, sizes: Sizes) -> list[compare.Difference]:
        ours = {label: entry for label, entry in entries(case, self._options).items() if entry[0] == OURS}
        everyone: dict[str, Entry] = {}
        for label, (_, work) in ours.items():
            everyone |= {f"{label} {name}": (name, work) for name in (OURS, AGAIN, BEFORE)}
        results = self._arena.play(everyone)
        return [made for label in ours if (made := self._row(sizes, label, results)) is not None]

    def _row(self, sizes: Sizes, label: str, results: Mapping[str, Result]) -> compare.Difference | None:
        three = [results[f"{label} {name}"] for name in (BEFORE, OURS, AGAIN)]
        problems = [f"{sizes}, {label}: {result.error}" for result in three if result.error]
        if problems:
            self.problems = list(dict.fromkeys(self.problems + problems))  # a row is perhaps played again
            failures = [f"{sizes}, {label}: {result.error}" for result in three[1:2] if result.error]
            self.failures = list(dict.fromkeys(self.failures + failures))
            return None
        turns = list(zip(*(result.rounds for result in three), strict=True))
        disturbed = [any(round.disturbed for round in turn) for turn in turns]
        marked = disturbed.count(False) < ENOUGH
        before, now, again = ([turn[k].seconds for turn in counting(turns, disturbed)] for k in range(3))
        ratio, itself = compare.ratio(before, now, paired=True), compare.ratio(now, again, paired=True)
        return compare.Difference(str(sizes), label, (median(before), median(now)), ratio, marked, itself)


@contextmanager
def _before(folder: Path) -> Iterator[None]:
    """Tell the contender `before_` where it is."""
    kept = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(folder)
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if kept is not None:
            os.environ[VARIABLE] = kept


def build(asked: str) -> Build:
    """Install a version, or build a revision of the checkout around the current folder, if it is not there yet.

    It goes to a folder of its own in the user's cache, for this Python, whose NumPy it runs on: two versions of
    fastlstm are compared, and nothing else.

    Raises
    ------
    ValueError
        For what is neither a version that pip finds nor a revision of a checkout; when it cannot be built.
    """
    if _VERSION.fullmatch(asked):
        return Build(_installed(asked, lambda folder: _pip(folder, f"fastlstm=={asked}", asked)), f"fastlstm {asked}")
    top, commit = _commit(asked)

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as tree:
            _take_out(top, commit, Path(tree))
            _pip(folder, tree, asked)

    return Build(_installed(commit, make), f"fastlstm at {asked} ({commit[:9]})")


def cache() -> Path:
    """Name the folder that holds other versions; it may be removed at any time."""
    root = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(root) if os.path.isabs(root) else Path.home() / ".cache") / "fastlstm" / "versions"
    except RuntimeError:  # a user without a home, as in containers
        told = "--against keeps what it builds in XDG_CACHE_HOME or in the user's home, and there is neither"
        raise ValueError(f"{told}: set XDG_CACHE_HOME to a folder") from None


def _installed(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder of a build, made at once or not at all."""
    settings = "\0".join(f"{each}={os.environ.get(each, '')}" for each in ("CC", "CFLAGS", "CMAKE_ARGS", "LDFLAGS"))
    key = hashlib.sha256(f"{settings}\0{sysconfig.get_platform()}\0{sys.version}".encode()).hexdigest()[:12]
    folder = cache() / f"{name}-{sys.implementation.cache_tag}-{key}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    print(f"fastlstm bench: building {name}, once", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        make(Path(made) / "site")
        with suppress(OSError):  # whoever was faster has made the same
            (Path(made) / "site").rename(folder)
    return folder


def _pip(folder: Path, what: str, asked: str) -> None:
    """Install into a folder alone, without what it needs, which is here already."""
    if find_spec("pip") is None:
        raise ValueError("--against needs pip in this environment, and there is none: python -m ensurepip")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--no-deps"]
    command += ["--target", str(folder), what]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PIP_USER": "0"})
    if done.returncode:
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if line.lower().startswith("error: ")), lines[-1])
        away = any(word in done.stderr.lower() for word in _UNREACHED)
        network = " (the package index cannot be reached)" if away else ""
        raise ValueError(f"{asked} cannot be installed: {short(printable(reason), 300)}{network}")
    if not (folder / "fastlstm" / "__init__.py").is_file():
        raise ValueError(f"{asked} cannot be installed: there is no fastlstm in it")


def _commit(asked: str) -> tuple[Path, str]:
    """Find a revision in the checkout of fastlstm around the current folder."""
    told = f"{asked!r} is no version number such as 0.1.0"
    try:
        top = Path(_git("rev-parse", "--show-toplevel").decode().strip())
    except FileNotFoundError:
        raise ValueError(f"{told}, and for a revision git has to be installed") from None
    except subprocess.CalledProcessError as error:  # outside of one, or in one of another user's
        why, *_ = error.stderr.decode(errors="replace").strip().splitlines() or [""]
        where = f"{os.getcwd()} is no checkout in which it could be a revision"
        raise ValueError(f"{told}, and {where}: git says: {short(printable(why), 300)}") from None
    if not (top / "src" / "fastlstm").is_dir():
        raise ValueError(f"{told}, and {top} is no checkout of fastlstm in which it could be a revision")
    try:
        found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{asked}^{{commit}}")
    except subprocess.CalledProcessError:
        raise ValueError(f"{told}, nor a revision of {top}") from None
    return top, found.decode().strip()


def _take_out(top: Path, commit: str, folder: Path) -> None:
    """Write the files of a revision, past the checkout, which stays as it is."""
    with tarfile.open(fileobj=io.BytesIO(_git("-C", str(top), "archive", commit))) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:  # Python before 3.11.4; whose code will run anyway can be trusted with its names, too
            archive.extractall(folder)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], capture_output=True, check=True).stdout
