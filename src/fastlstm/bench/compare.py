"""``fastlstm bench --compare A B``: row by row, how much slower B is, and whether that is more than noise."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from fastlstm.bench.arena import ENOUGH, counting
from fastlstm.bench.report import Report, Row
from fastlstm.bench.results import Cell, Measured, Results, read
from fastlstm.files._layer import printable

#: How sure intervals are, and of how many draws of the rounds they are made.
LEVEL = 0.95
DRAWS = 4000
#: By how much the machine may be faster in one file than in the other without a word.
STEADY = 1.05
#: The exit code for a row that is slower than was allowed.
SLOWER = 3


@dataclass(frozen=True)
class Ratio:
    """How many times as long B takes, and between what: None where too few rounds tell."""

    value: float
    low: float | None = None
    high: float | None = None

    def verdict(self, itself: Ratio | None = None) -> str:
        """Say what it means, in words; `itself` is what the same code gave against itself, in the same rounds."""
        if self.low is None or self.high is None:
            return "too few rounds to tell"
        if self.low <= 1 <= self.high:
            return "noise"
        if itself is not None and (itself.low is None or itself.high is None):
            return "too few rounds to tell"
        if itself is not None and _as_far(itself, self):
            return "noise: as far from itself"
        return "B is slower" if self.value > 1 else "B is faster"


def _as_far(itself: Ratio, other: Ratio) -> bool:
    """Tell whether a version differs from itself as much as from another one, either way."""
    assert itself.low is not None
    assert itself.high is not None
    assert other.low is not None
    assert other.high is not None
    swing = max(itself.high, 1 / itself.low)
    return other.low <= swing if other.value > 1 else other.high >= 1 / swing


def ratio(a: Sequence[float], b: Sequence[float], *, paired: bool = False) -> Ratio:
    """Compare rounds: the ratio of their medians, b over a, with an interval by drawing rounds again (bootstrap).

    Parameters
    ----------
    a, b : sequence of float
        Seconds.
    paired : bool
        Whether rounds of the same number were played one after the other: they are then drawn together.
    """
    value = median(b) / median(a)
    if min(len(a), len(b)) < ENOUGH:
        return Ratio(value)
    draw = np.random.default_rng(0)
    first = draw.integers(len(a), size=(DRAWS, len(a)))
    second = first if paired else draw.integers(len(b), size=(DRAWS, len(b)))
    ratios = np.median(np.asarray(b)[second], axis=1) / np.median(np.asarray(a)[first], axis=1)
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Ratio(value, float(low), float(high))


def undisturbed(cell: Cell) -> list[float]:
    """Take the rounds that count: those that were not disturbed, if there are enough of them."""
    return counting(cell.rounds, cell.disturbed)


@dataclass(frozen=True)
class Difference:
    """A row of a comparison."""

    work: str
    label: str
    seconds: tuple[float, float]
    ratio: Ratio
    marked: bool
    itself: Ratio | None = None

    @property
    def verdict(self) -> str:
        """What it means, in words."""
        return self.ratio.verdict(self.itself)

    def exceeds(self, percent: float) -> bool:
        """Tell whether B is slower by more than so many percent, by the interval's lower end, and no noise."""
        return self.verdict == "B is slower" and (self.ratio.low or 0) > 1 + percent / 100

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as JSON has them."""
        a, b = self.seconds
        made: dict[str, Any] = {"work": self.work, "of": self.label, "a_seconds": a, "b_seconds": b}
        made |= {"ratio": self.ratio.value, "low": self.ratio.low, "high": self.ratio.high}
        if self.itself is not None:
            made |= {"itself_low": self.itself.low, "itself_high": self.itself.high}
        return made | {"marked": self.marked, "verdict": self.verdict}

    def row(self) -> Row:
        """Return the row of a table."""
        a, b = self.seconds
        made: Row = {"": f"{self.label}{'*' if self.marked else ''}", "A us": 1e6 * a, "B us": 1e6 * b}
        made |= {"B / A": f"{self.ratio.value:.3f}", "interval": _interval(self.ratio)}
        if self.itself is not None:
            made["B / B"] = _interval(self.itself)
        return made | {"verdict": self.verdict}


def _interval(ratio: Ratio) -> str:
    return "-" if ratio.low is None or ratio.high is None else f"{ratio.low:.3f} to {ratio.high:.3f}"


def differences(a: Results, b: Results) -> Iterator[Difference]:
    """Compare the rows that both files have."""
    theirs = _by_sizes(b)
    for sizes, work in _by_sizes(a).items():
        other = theirs.get(sizes)
        for cell in work.cells if other is not None else ():
            also = other.cell(cell.label) if other is not None else None
            if cell.rounds and also is not None and also.rounds:
                rounds = undisturbed(cell), undisturbed(also)
                medians = median(rounds[0]), median(rounds[1])
                yield Difference(sizes, cell.label, medians, ratio(*rounds), cell.marked or also.marked)


def _by_sizes(results: Results) -> dict[str, Measured]:
    """Name works by their sizes, and those that are there again by a number as well."""
    made: dict[str, Measured] = {}
    for work in results.works:
        before = sum(each.sizes == work.sizes for each in made.values())
        made[f"{work.sizes} ({before + 1})" if before else str(work.sizes)] = work
    return made


def alone(a: Results, b: Results) -> Iterator[str]:
    """Name the rows with a time in only one of the two."""
    for letter, one, other in (("A", a, b), ("B", b, a)):
        theirs = _by_sizes(other)
        for sizes, work in _by_sizes(one).items():
            for cell in work.cells:
                there = theirs[sizes].cell(cell.label) if sizes in theirs else None
                if cell.rounds and (there is None or not there.rounds):
                    why = f" ({there.problem})" if there is not None and there.problem else ""
                    yield f"only in {letter}: {sizes}, {cell.label}{why}"


def _lost(a: Results, b: Results) -> list[str]:
    """Name the rows that failed in B and did not in A."""
    theirs = _by_sizes(b)
    return [
        f"{sizes}, {cell.label}: {cell.problem}"
        for sizes, work in _by_sizes(a).items()
        for cell in (theirs[sizes].cells if sizes in theirs else ())
        if cell.problem and (before := work.cell(cell.label)) is not None and before.rounds
    ]


def other_machine(a: Results, b: Results) -> list[str]:
    """Say what differs between two files so that their times are no measure of two versions."""
    names = "processor", "cpus", "isa"
    told = [f"{name} is {getattr(a, name)} in A, {getattr(b, name)} in B" for name in names if _differ(a, b, name)]
    threads = [sorted({work.sizes.threads for work in file.works}) for file in (a, b)]
    if threads[0] != threads[1]:
        return [*told, "threads are {} in A, {} in B".format(*(", ".join(map(str, each)) for each in threads))]
    peaks = [[work.peak for work in file.works if work.peak is not None] for file in (a, b)]
    if all(peaks) and max(faster := median(peaks[1]) / median(peaks[0]), 1 / faster) > STEADY:
        told.append(f"the machine itself multiplied {faster:.2f} times as fast in B as in A")
    return told


def other_software(a: Results, b: Results) -> list[str]:
    """Say what else differs that may be the reason for other times."""
    names = "system", "python", "numpy"
    told = [f"{name} is {getattr(a, name)} in A, {getattr(b, name)} in B" for name in names if _differ(a, b, name)]
    known = "fastlstm ", "limit "
    lines = [{*file.environment, *(v for v in file.versions if not v.startswith(known))} for file in (a, b)]
    for letter, only in (("A", lines[0] - lines[1]), ("B", lines[1] - lines[0])):
        told += [f"only {letter} has {line}" for line in sorted(only)]
    return told + [f"{letter} was interrupted" for letter, file in (("A", a), ("B", b)) if not file.complete]


def _differ(a: Results, b: Results, name: str) -> bool:
    return bool(getattr(a, name) != getattr(b, name))


def run(paths: Sequence[str], json_path: str | None, percent: float | None) -> int:
    """Compare two files, and print or write it; return the exit code."""
    if json_path not in (None, "-") and os.path.realpath(str(json_path)) in map(os.path.realpath, paths):
        raise ValueError(f"--json {printable(str(json_path))} is one of the two files that are compared")
    a, b = map(read, paths)
    rows, machine = list(differences(a, b)), other_machine(a, b)
    if not rows:
        raise ValueError("no row is in both files: other sizes, threads or contenders")
    if percent is not None and machine:
        raise ValueError(f"--fail-above needs two files of one machine at one speed, but {'; '.join(machine)}")
    warned = machine + other_software(a, b)
    header = [
        f"{letter}: {file.path}: fastlstm {file.version}, {file.machine}" for letter, file in (("A", a), ("B", b))
    ]
    for line in warned:
        print(f"fastlstm bench: warning: {line}", file=sys.stderr)
    notes = [
        *alone(a, b),
        "A and B were not measured side by side: how fast the machine was in each run is part of B / A",
    ]
    status = told(rows, header, notes, json_path, percent, cautions=warned)
    if percent is not None and (lost := _lost(a, b)):
        raise ValueError("; ".join(["B has no time where A has one", *lost]))
    return status


def told(
    rows: Sequence[Difference],
    header: Sequence[str],
    notes: Sequence[str],
    path: str | None,
    percent: float | None,
    *,
    cautions: Sequence[str] = (),
    complete: bool = True,
) -> int:
    """Print a comparison, or write it for programs; return the exit code."""
    slower = [row for row in rows if percent is not None and row.exceeds(percent)]
    summary = _summary(rows)
    if path is not None:
        whole = {"header": list(header), "cautions": list(cautions), "rows": [row.as_dict() for row in rows]}
        whole |= {"notes": list(notes), "summary": summary, "complete": complete, "fail_above_percent": percent}
        text = json.dumps(whole | {"failed": [f"{row.work}, {row.label}" for row in slower]}, indent=1, allow_nan=False)
        if path == "-":
            print(text)
        else:
            Path(path).write_text(text + "\n", encoding="utf-8")
    if path != "-":
        print("\n\n".join(["\n".join(header), *tables(rows), "\n".join([*summary, *notes])]))
    for row in slower:
        print(f"fastlstm bench: {row.work}, {row.label}: slower by more than {percent:g} %", file=sys.stderr)
    return SLOWER if slower else 0


def check_writable(path: str | None) -> None:
    """Raise OSError for a file that could not be written later, after minutes; leave none that was not there."""
    if path not in (None, "-"):
        there = os.path.exists(str(path))
        with open(str(path), "a", encoding="utf-8"):
            pass
        if not there:
            os.unlink(str(path))


def tables(rows: Iterable[Difference]) -> Iterator[str]:
    """Write a table for each work."""
    report = Report()
    for row in rows:
        report.add(row.work, row.row())
    yield report.text().strip()


def _summary(rows: Sequence[Difference]) -> list[str]:
    """Count the verdicts, and say what chance alone would give."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.verdict] = counts.get(row.verdict, 0) + 1
    lines = [f"{len(rows)} rows: " + "; ".join(f"{verdict}: {count}" for verdict, count in sorted(counts.items()))]
    lines.append(
        f"intervals are of {LEVEL:.0%}: of rows that are alike, one in {1 / (1 - LEVEL):.0f} differs by chance"
    )
    if any(row.marked for row in rows):
        lines.append("*: other processes took a CPU meanwhile, in so many rounds that all had to count")
    return lines
