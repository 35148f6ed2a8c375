"""More threads: what they bring, up to sixteen, against rivals with as many. NumPy is enough; no rival has to be there.

    python -m bench.scaling [--quick] [--threads 1,2,4] [--seconds 200] [--json FILE]

Every answer is checked against the float64 reference before it is timed; contenders run in processes of their own, in
interleaved rounds; figures are medians, in microseconds a call. Says which rows are slower with more threads than with
fewer. The status is 1 after a wrong answer, whatever the times are.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from bench.works import BATCHES, SEQUENCES, SESSIONS, TRAININGS, Case, Work
from fastlstm.bench.arena import Arena, Entry, Result
from fastlstm.bench.report import Report, Row

THREADS = (1, 2, 4, 8, 16)
OURS = "fastlstm"
# More than this over the best of fewer threads is slower.
SLACK = 1.03


@dataclass(frozen=True)
class Line:
    """One work at all numbers of threads, and what is wished for: microseconds at the best number, or a speed-up."""

    kind: str
    case: Case
    at_most: float | None = None
    gain: float | None = None

    @property
    def name(self) -> str:
        """Name the work in the table."""
        case = self.case
        if self.kind == "sessions":
            return f"{case.B} sessions, H={case.H}"
        layers = f"{case.num_layers} x " if case.num_layers > 1 else ""
        return f"{self.kind} T={case.T} B={case.B} H={layers}{case.H}"


LINES = (
    *(Line("sequence", case, at_most=2600 if case.H == 1024 else None) for case in SEQUENCES if case.H >= 512),
    *(Line("sequence", case, at_most=500 if case.H == 128 else None) for case in BATCHES if case.H in {128, 512}),
    *(Line("training", c, gain=9 if c.H == 256 else None) for c in TRAININGS if c.B == 32 and c.H in {128, 256}),
    Line("sequence", Case("scaling-3x256", T=100, B=1, I=256, H=256, num_layers=3)),
    Line("sequence", Case("scaling-6x320", T=100, B=1, I=320, H=320, num_layers=6), at_most=2500),
    *(Line("sessions", case) for case in SESSIONS if case.H == 128 and case.B >= 64),
)

Times = Mapping[int, float]


def main() -> int:
    """Measure, print the table, and write the numbers."""
    options = _options()
    lines = [line for line in LINES if not options.quick or line.case.H <= 128]
    arena = Arena(rounds=3, seconds=0.002) if options.quick else Arena(rounds=11)
    report, found, slower, failed = Report(), [], [], False
    end = time.perf_counter() + options.seconds
    for number, line in enumerate(lines):
        if time.perf_counter() > end:
            report.notes.append("no time left for: " + ", ".join(line.name for line in lines[number:]))
            break
        # Half of a line's time is for preparing it.
        arena.patience = max(0.0, end - time.perf_counter()) / (len(lines) - number) / 2
        results = arena.play(_entries(line, options.threads))
        failed |= any(result.error is not None and "not here" not in result.error for result in results.values())
        report.notes += sorted({result.error for result in results.values() if result.error} - set(report.notes))
        report.tables.setdefault("Microseconds a call, by threads", []).extend(_rows(line, results, options.threads))
        slower += [f"{line.name}: {text}" for text in _slower(_times(results, OURS))]
        found += _numbers(line, results)
        print(f"{number + 1} of {len(lines)}: {line.name}", file=sys.stderr, flush=True)
    report.header += [f"{platform.machine()}, {_cpus()} CPUs for this process, Python {platform.python_version()}"]
    report.header += [*arena.versions, f"{arena.disturbed} of {arena.played} rounds were disturbed by other processes"]
    arena.close()
    report.notes += [f"slower with more threads: {text}" for text in slower] or ["no row is slower with more threads"]
    print(report.text())
    if options.json is not None:
        written = {"header": report.header, "rows": found, "slower": slower, "notes": report.notes}
        options.json.write_text(json.dumps(written, indent=1) + "\n")
    return int(failed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few short rounds of small works: does it work at all?")
    parser.add_argument("--threads", type=_threads, help="e.g. 1,2,4; by default 1, 2, 4, 8, 16 as far as CPUs go")
    parser.add_argument("--seconds", type=float, default=200, help="how long it should take, about (200)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    options = parser.parse_args()
    options.threads = options.threads or [n for n in THREADS if n <= _cpus()]
    return options


def _threads(text: str) -> list[int]:
    numbers = sorted({int(part) for part in text.split(",")})
    if numbers[0] < 1:
        raise argparse.ArgumentTypeError(f"numbers of threads are 1 or more, not {numbers[0]}")
    return numbers


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _entries(line: Line, threads: Sequence[int]) -> dict[str, Entry]:
    names = ("torch",) if line.kind == "training" else ("torch", "onnxruntime")
    names = (OURS, *(name for name in names if find_spec(name) is not None))
    return {f"{name} {n}": (name, Work(line.kind, line.case, n)) for name in names for n in threads}


def _times(results: Mapping[str, Result], name: str) -> dict[int, float]:
    """Return microseconds a call by number of threads."""
    mine = {label.split()[1]: result for label, result in results.items() if label.split()[0] == name}
    return {int(n): result.seconds * 1e6 for n, result in mine.items() if result.seconds is not None}


def _rows(line: Line, results: Mapping[str, Result], threads: Sequence[int]) -> list[Row]:
    rows: list[Row] = []
    best: dict[str, float] = {}
    for name in dict.fromkeys(label.split()[0] for label in results):
        times = _times(results, name)
        best[name] = min(times.values(), default=float("inf"))
        row: Row = {"work": line.name, "of": name} | {str(n): times.get(n) for n in threads}
        row["1 / best"] = times[1] / best[name] if 1 in times else None
        rows.append(row | dict.fromkeys(("best rival / best", "goal", "met")))
    rivals = [time for name, time in best.items() if name != OURS]
    rows[0] |= {"best rival / best": min(rivals) / best[OURS] if rivals else None}
    if max(threads) < max(THREADS):  # what is wished for is of sixteen
        return rows
    if line.at_most is not None:
        rows[0] |= {"goal": f"<= {line.at_most:.0f} us", "met": best[OURS] <= line.at_most}
    if line.gain is not None:
        gain = rows[0]["1 / best"]
        rows[0] |= {"goal": f">= {line.gain:g}x", "met": isinstance(gain, float) and gain >= line.gain}
    return rows


def _slower(times: Times) -> list[str]:
    texts = []
    for n, taken in sorted(times.items()):
        fewer = {m: time for m, time in times.items() if m < n}
        if fewer and taken > SLACK * min(fewer.values()):
            m = min(fewer, key=fewer.__getitem__)
            texts.append(f"{n} threads {taken:.0f} us, {m} {fewer[m]:.0f} us, {taken / fewer[m] - 1:.0%} more")
    return texts


def _numbers(line: Line, results: Mapping[str, Result]) -> list[dict[str, object]]:
    case = {name: value for name, value in asdict(line.case).items() if name in {"T", "B", "I", "H", "num_layers"}}
    numbers: list[dict[str, object]] = []
    for label, result in results.items():
        name, threads = label.split()
        row: dict[str, object] = {"work": line.name, "kind": line.kind, **case, "of": name, "threads": int(threads)}
        times = result.times
        row |= (
            {"median": median(times), "least": min(times), "rounds": len(times)} if times else {"error": result.error}
        )
        numbers.append(row)
    return numbers


if __name__ == "__main__":
    raise SystemExit(main())
