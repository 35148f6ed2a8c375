"""``fastlstm bench``: this machine's limits, fastlstm, and every rival that the environment has, by turns."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from fastlstm import __version__, files
from fastlstm._forms import Form
from fastlstm._isa import isa, isas
from fastlstm.bench import energy, families, pictures
from fastlstm.bench import footprint as footprints
from fastlstm.bench.arena import LIMITS, Arena, Entry, Result
from fastlstm.bench.compare import check_writable
from fastlstm.bench.contenders.limits_ import FLOPS, footprint
from fastlstm.bench.families import case_of
from fastlstm.bench.options import Options, installed
from fastlstm.bench.progress import Progress
from fastlstm.bench.report import Report, Row
from fastlstm.bench.results import FORMAT, label_of, taken
from fastlstm.bench.works import Array, Case, Work
from fastlstm.files._layer import printable

OURS = "fastlstm"
#: Who else has weights in fewer bytes, and their own words for them: what they begin with is the type.
FEWER = {
    "onnxruntime": ("int8", "int8-matmul"),
    "torch": ("int8", "int8-onednn", "bfloat16", "float16"),
    "onednn": ("int8", "bfloat16"),
}
BACKENDS = ("tensorflow", "jax", "torch")  # of Keras, as its package prefers them
#: Other ways of a rival's, for one step and for a sequence; float32 alone but for onnxruntime's.
FORMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "torch": (("LSTM", "compiled"), ("compiled",)),
    "onnxruntime": (("run",), ("run",)),
}
#: Variables of the environment that change what is measured; not all of TF_: Terraform's may be secrets.
TELLING = (
    *("FASTLSTM_", "ONEDNN_", "OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "ATEN_", "XLA_", "MALLOC_"),
    *("TF_ENABLE_", "TF_DISABLE_", "TF_XLA_", "TF_NUM_", "TF_USE_", "TF_CPU_", "TF_DETERMINISTIC_"),
)
#: What a disturbed round is recognised by.
DISTURBANCES = {"linux": "switches to other processes, and time stolen by the host", "win32": "nothing"}
#: Calls timed one by one tell of which shares of them: a share with fewer slower calls than `SLOWER` is left out.
QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999)
SHOWN = (0.5, 0.99, 0.9999)
SLOWER = 10
CALLS = 120_000
#: How many times farther off than in the tables of a checkout float32 may be: for shapes that nobody has measured.
SLACK = 20.0


def run(given: argparse.Namespace) -> None:
    """Measure, and print each table as soon as it is there; after Ctrl-C there is what was measured."""
    found = given.rivals if given.rivals is not None else installed()
    with tempfile.TemporaryDirectory() as folder:
        cases = chosen(given, folder)
        everything = not (given.quick or given.shape or given.family or given.model)
        options = Options(cases, found, given.weights, given.threads, given.quick, given.footprint or everything)
        Run(options, given.json, given.plot).play()


def chosen(given: argparse.Namespace, folder: str) -> list[Case]:
    """List the works that are asked for; `folder` is for the weights of a file."""
    if given.model:
        return model_cases(given.model, folder)
    if given.family:
        return families.cases(given.family)
    if given.shape:
        return list(given.shape)
    return families.quick() if given.quick else families.cases(list(families.PLAIN))


def model_cases(path: str, folder: str) -> list[Case]:
    """Take a file's LSTMs, with their weights in float32: a step of one row, if there is one direction, and 100 steps.

    The weights are written into `folder` for the processes of the contenders.
    """
    found = []
    for number, layer in enumerate(files.inspect(path)):
        if layer.problem or layer.proj_size or layer.form != Form():
            why = "" if layer.problem else ": others have no such form" if not layer.proj_size else ": a projection"
            print(f"fastlstm bench: left out: {layer}{why}", file=sys.stderr)
            continue
        target = str(Path(folder, f"{number}.npz"))
        np.savez(target, **_float32(path, layer.name))
        sizes = layer.input_size, layer.hidden_size, layer.num_layers, layer.directions
        title = printable(layer.name) or Path(path).name
        source = printable(Path(path).name)
        plain = [case_of(T, 1, *sizes) for T in ((1, 100) if layer.directions == 1 else (100,))]
        found += [replace(case, file=target, title=title, source=source) for case in plain]
    if not found:
        raise ValueError(f"{printable(path)} has no LSTM that could be timed")
    return found


def _float32(path: str, name: str) -> dict[str, Any]:
    """Load a layer's parameters under torch's names, zeros where it has no biases."""
    lstm = files.load(path, name, dtype="float32", weights="float32")
    given = lstm.state_dict()
    shapes = case_of(1, 1, lstm.input_size, lstm.hidden_size, lstm.num_layers, 1 + lstm.bidirectional).weight_shapes()
    return {name: np.asarray(given[name]) if name in given else np.zeros(shapes[name], np.float32) for name in shapes}


def entries(case: Case, options: Options) -> dict[str, Entry]:
    """Enter everyone for a case: ours first, then the rivals, then the machine."""
    step = case.T == case.B == case.directions == 1
    alone = step and case.num_layers == 1  # others' cells are of one layer; of more, theirs is a call of one step
    made: dict[str, Entry] = {}
    for name in options.weights:
        kind = "step_out" if step and options.threads == 1 else "sequence"
        made[label_of(OURS, name)] = OURS, Work(kind, case, options.threads, name)
    for rival in options.rivals:
        kind = "step_cell" if alone else "sequence"
        words = [word for word in FEWER.get(rival, ()) if word.partition("-")[0] in _types(options.weights)]
        forms = _forms(rival, kind)
        for form in forms[:1] if options.quick else forms:
            for word in ("float32", *(words if form in {"", "run"} else ())):
                made[label_of(rival, word, form)] = rival, Work(kind, case, options.threads, word, form)
        if options.threads > 1 and not options.quick:  # small sizes often prefer it, and ours may choose it
            made[label_of(rival, "float32", forms[0], one_thread=True)] = rival, Work(kind, case, form=forms[0])
    made["fma"] = LIMITS, Work("fma", case, options.threads)
    for name in _types(options.weights):
        made[f"read {name}"] = LIMITS, Work("read", case, options.threads, name)
    return made


def _forms(rival: str, kind: str) -> Sequence[str]:
    """Name a rival's ways to do it, the usual one first."""
    if rival == "keras":
        return [name for name in BACKENDS if find_spec(name) is not None] or BACKENDS[:1]
    return ["", *FORMS.get(rival, ((), ()))[kind == "sequence"]]


def _types(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.partition("-")[0] for name in names))


def limit(case: Case, peak: float, read: float) -> float:
    """Tell the seconds that a call needs in any case: for its products at the peak, and for what its steps read.

    Both can go on at the same time, so it is the longer of the two, not their sum. Each step waits for the one before:
    in each layer and direction it reads all of U; a step alone reads W as well.

    Parameters
    ----------
    case : Case
        What is computed.
    peak : float
        Floating point operations in a second; infinity where others than those of float32 multiply.
    read : float
        Seconds for the bytes that `footprint` counts.
    """
    ways, inputs = case.num_layers * case.directions, case.I + (case.num_layers - 1) * case.H * case.directions
    products = 2 * case.T * case.B * 4 * case.H * (case.directions * inputs + ways * case.H)
    return max(products / peak, read if case.T == 1 else case.T * ways * read)


class Run:
    """All works of a run, one after the other, and what came out."""

    def __init__(self, options: Options, path: str | None, plot: str | None = None) -> None:
        self._options, self._path, self._plot = options, path, plot
        self._progress = Progress(len(options.cases) + options.footprint)
        rounds, seconds, patience, hung = (5, 0.005, 3.0, 30.0) if options.quick else (15, 0.02, 12.0, 120.0)
        tell = self._progress.tell
        self._arena = Arena(rounds, seconds, patience, hung=hung, slack=SLACK, quiet=True, first=True, tell=tell)
        self._single = 0.2 if options.quick else 2.0
        self._found: list[dict[str, Any]] = []
        self._footprints: list[dict[str, Any]] | None = None
        self._complete = False
        self._start = time.time()

    def play(self) -> None:
        """Measure everything, or until Ctrl-C."""
        check_writable(self._path)
        if self._plot is not None:
            Path(self._plot).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._plot):  # or pictures could not be written later, after minutes
                pass
        python = f"Python {platform.python_version()}, NumPy {np.__version__}"
        self._say(f"fastlstm {__version__} ({isa()}), {processor()}, {_cpus()} CPUs, {python}")
        try:
            for case in self._options.cases:
                self._take(case, self._measured(case))
            if self._options.footprint:
                self._measure_footprints()
            self._complete = True
        finally:
            self._end()
        if not any(cell["seconds"] for work in self._found for cell in work["results"]):
            raise ValueError("nothing could be measured")

    def _measured(self, case: Case) -> Mapping[str, Result]:
        """Play a case; what there is of it at Ctrl-C is taken before that goes on."""
        self._arena.latest = {}  # of the case before
        try:
            with self._progress.of(_named(case)):
                entered = entries(case, self._options)
                results = self._arena.play(entered)
                if case.T == 1:
                    self._arena.play_singly(entered, results, self._single, CALLS)
        except KeyboardInterrupt:
            if self._arena.latest:
                self._take(case, self._arena.latest)
            raise
        return results

    def _take(self, case: Case, results: Mapping[str, Result]) -> None:
        work = figures(case, self._options, results)
        self._found.append(work)
        report = Report()
        for cell in work["results"]:
            report.add(_title(work), _row(cell))
        report.notes = [*_notes(work["results"]), *work["limit_problems"]]
        self._say(f"\n{report.text().strip()}")

    def _measure_footprints(self) -> None:
        """Tell what each costs to have; with two threads at least, since one leaves none behind."""
        threads, report = max(2, self._options.threads), Report()
        names = [(OURS, ""), *((rival, form) for rival in self._options.rivals for form in _forms(rival, "sequence"))]
        taken = [(name, form) for name, form in names if name == "keras" or not form]
        self._footprints = []
        with self._progress.of("footprints"):
            for name, form in taken:
                self._progress.tell(label_of(name, "float32", form), 0, 0)
                found = footprints.measure(name, form, threads)
                self._footprints.append(found)
                report.add(f"To have it; after T=100 B=1 I=128 H=128, {threads} threads", _footprint_row(found))
        failed = [found for found in self._footprints if found["problem"]]
        report.notes = [f"{_footprint_row(found)['']}: {found['problem']}" for found in failed]
        self._say(f"\n{report.text().strip()}")

    def _say(self, text: str) -> None:
        if self._path != "-":
            print(text, flush=True)

    def _end(self) -> None:
        """Write what there is, and end everyone: that takes longer, and who has said Ctrl-C twice wants the first."""
        try:
            versions = self._arena.versions
            found = self._told() | {"versions": versions}
            self._write(found)
            self._say("\n".join(["", *versions]))
            if self._plot is not None:
                pictures.write(self._plot, taken("this run", found))
        finally:
            self._arena.close()

    def _write(self, found: Mapping[str, Any]) -> None:
        if self._path is None:
            return
        told = json.dumps(found, indent=1, allow_nan=False)
        if self._path == "-":
            print(told, flush=True)
        else:
            Path(self._path).write_text(told + "\n", encoding="utf-8")

    def _told(self) -> dict[str, Any]:
        started = datetime.datetime.fromtimestamp(self._start, datetime.UTC)
        return {
            "format_version": FORMAT,
            "fastlstm": __version__,
            "isa": isa(),
            "isas": isas(),
            "date": started.isoformat(timespec="seconds"),
            "machine": {
                "processor": processor(),
                "cpus": _cpus(),
                "system": platform.platform(),
                "energy": energy.available()[1],
                "disturbances": DISTURBANCES.get(sys.platform, "switches to other processes"),
            },
            "python": platform.python_version(),
            "numpy": np.__version__,
            "complete": self._complete,
            "rounds_played": self._arena.played,
            "environment": {name: value for name, value in os.environ.items() if name.startswith(TELLING)},
            "rounds_disturbed": self._arena.disturbed,
            "footprint": self._footprints,
            "works": self._found,
        }


def figures(case: Case, options: Options, results: Mapping[str, Result]) -> dict[str, Any]:
    """Collect the figures of a work; None where something was not measured."""
    fma = results.get("fma", Result()).seconds
    peak = None if fma is None else FLOPS * options.threads / fma
    reads = {name: results.get(f"read {name}", Result()).seconds for name in _types(options.weights)}
    own = results.get(OURS, Result()).seconds
    read = reads["float32"]
    made: dict[str, Any] = {"T": case.T, "B": case.B, "I": case.I, "H": case.H, "layers": case.num_layers}
    made |= {"directions": case.directions, "threads": options.threads, "peak_flops": peak}
    made |= {"name": case.title or None, "family": case.family or None, "source": case.source or None}
    made |= {"read_bytes_per_second": None if read is None else footprint(case) / read, "results": []}
    made["limit_problems"] = []
    for label, (name, work) in entries(case, options).items():
        if label not in results:
            continue
        if name == LIMITS:
            made["limit_problems"] += [f"{label}, {error}"] if (error := results[label].error) else []
            continue
        seconds = reads[work.weights.partition("-")[0]]
        ours = name == OURS and not work.weights.startswith("int8")  # 16 bits are multiplied as float32
        most = peak if ours or work.weights == "float32" else math.inf
        least = None if most is None or seconds is None else limit(case, most, seconds)
        of: dict[str, Any] = {"of": name, "form": work.form or None, "weights": work.weights}
        of["one_thread"] = work.threads < options.threads
        made["results"].append(of | cell(results[label], own, least))
    return made


def cell(result: Result, own: float | None, least: float | None) -> dict[str, Any]:
    """Collect the figures of one contender: `own`, fastlstm's seconds in float32; `least`, the limit's."""
    time, off = result.seconds, result.off
    return {
        "seconds": time,
        "least_seconds": min(result.times, default=None),
        "of_fastlstm": None if time is None or own is None else time / own,
        "of_limit": None if time is None or least is None else least / time,
        "largest_error": None if off is None else off.largest,
        "rms_error": None if off is None else off.rms,
        "rounds": len(result.rounds),
        "disturbed": sum(turn.disturbed for turn in result.rounds),
        "round_seconds": [turn.seconds for turn in result.rounds],
        "round_disturbed": [turn.disturbed for turn in result.rounds],
        "prepare_seconds": result.prepared,
        "first_call_seconds": result.first,
        "joules": result.joules,
        "calls": singly(result.singly),
        "marked": result.is_disturbed,
        "problem": result.error,
    }


def singly(times: Array) -> dict[str, Any] | None:
    """Collect the quantiles of calls that were timed one by one; what too few calls tell is left out, with a reason."""
    if not len(times):
        return None
    told = [share for share in QUANTILES if share < 0.5 or len(times) * (1 - share) >= SLOWER]
    needed = round(SLOWER / (1 - QUANTILES[-1]))
    few = f"{len(times)} calls; {QUANTILES[-1]:.2%} needs {needed}" if len(times) < needed else None
    values = np.quantile(times, told)
    return {
        "count": len(times),
        "quantiles": [[share, float(value)] for share, value in zip(told, values, strict=True)],
        "problem": few,
    }


def _row(cell: Mapping[str, Any]) -> Row:
    time, share = cell["seconds"], cell["of_limit"]
    row: Row = {
        "": _named_cell(cell) + ("*" if cell["marked"] else ""),
        "us": _micro(time),
        "of fastlstm's time": cell["of_fastlstm"],
        "of the limit": None if share is None else f"{share:.0%}",
        "largest error": cell["largest_error"],
        "rms error": cell["rms_error"],
        "first call us": _micro(cell["first_call_seconds"]),
    }
    if cell["calls"] is not None:
        known = dict(cell["calls"]["quantiles"])
        row |= {f"{100 * share:g} % us": _micro(known.get(share)) for share in SHOWN}
    if cell["joules"] is not None:
        row["uJ"] = _micro(cell["joules"])
    return row


def _micro(value: float | None) -> float | None:
    return None if value is None else value * 1e6


def _notes(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say why something is missing."""
    notes = [f"{_named_cell(cell)}: {cell['problem']}" for cell in cells if cell["problem"]]
    few = [cell["calls"]["count"] for cell in cells if cell["calls"] and cell["calls"]["problem"]]
    if few:
        notes.append(f"-: too few calls in the time ({min(few)} to {max(few)}): {SLOWER} must be slower than a share")
    if any(cell["marked"] for cell in cells):
        notes.append("*: other processes took a CPU meanwhile, in so many rounds that all had to count")
    return notes


def _footprint_row(found: Mapping[str, Any]) -> Row:
    return footprints.row(found, label_of(found["of"], "float32", found["form"] or ""))


def _named_cell(cell: Mapping[str, Any]) -> str:
    return label_of(cell["of"], cell["weights"], cell["form"] or "", one_thread=cell["one_thread"])


def _named(case: Case) -> str:
    more = f", {case.num_layers} layers" if case.num_layers > 1 else ""
    ways = ", both directions" if case.bidirectional else ""
    return f"{case.title and f'{case.title}: '}T={case.T} B={case.B} I={case.I} H={case.H}{more}{ways}"


def _title(work: Mapping[str, Any]) -> str:
    case = case_of(*(work[name] for name in ("T", "B", "I", "H", "layers", "directions")))
    peak, read = work["peak_flops"], work["read_bytes_per_second"]
    limits = [f"{value * 1e-9:.0f} {unit}" for value, unit in ((peak, "GFLOP/s"), (read, "GB/s")) if value]
    told = f"; the machine: {', '.join(limits)}" if limits else ""
    of = f"{work['name']} ({work['source']}): " if work["name"] else ""
    return f"{of}{_named(case)}, {work['threads']} thread{'s' if work['threads'] > 1 else ''}{told}"


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Name the CPU."""
    return next(_models(), platform.processor() or platform.machine())


def _models() -> Iterator[str]:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                yield line.partition(":")[2].strip()
