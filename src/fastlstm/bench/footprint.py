"""What it costs to have fastlstm, and each rival: bytes on disk, time to import, memory, threads, CPU when idle."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from statistics import median
from typing import Any

from fastlstm.bench import processes
from fastlstm.bench.arena import CONTENDERS, products, told
from fastlstm.bench.options import ONEDNN, RIVALS
from fastlstm.bench.report import Row
from fastlstm.bench.results import FIGURES

IMPORTS = 3  # of which the median counts
#: What has to be imported for a first call.
MODULES = RIVALS | {"fastlstm": "fastlstm", "litert": "ai_edge_litert.interpreter"}


def measure(name: str, form: str, threads: int, hung: float = 120.0) -> dict[str, Any]:
    """Measure one contender; where it fails, the reason is under "problem"."""
    row: dict[str, Any] = {"of": name, "form": form or None} | dict.fromkeys(FIGURES) | {"problem": None}
    modules = [MODULES[name]] if name in MODULES else []
    environment = os.environ | processes.NO_GPU | products(name, threads)
    if name == "keras":
        environment["KERAS_BACKEND"] = form
        modules.append(form)
    row["installed_bytes"] = installed_bytes(modules or [ONEDNN[1]])
    imported = [] if name == "numpy" else modules
    try:
        found = _process(imported, environment, hung, f"{CONTENDERS}.{name}_", form, str(threads))
        more = [_process(imported, environment, hung)["import_seconds"] for _ in range(IMPORTS - 1)]
    except RuntimeError as error:
        return row | {"problem": str(error)}
    return row | found | {"import_seconds": median([found["import_seconds"], *more]) if imported else None}


def _process(modules: Iterable[str], environment: Mapping[str, str], hung: float, *work: str) -> dict[str, Any]:
    script = str(Path(__file__).with_name("footprint_process.py"))
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "found.json")
        try:
            done = subprocess.run(
                [sys.executable, "-P", script, str(result), ",".join(modules), *work],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                timeout=hung,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"no answer in {hung:g} s") from None
        if done.returncode:
            *_, last = done.stderr.decode(errors="replace").strip().splitlines() or [told(done.returncode)]
            raise RuntimeError(last)
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def installed_bytes(modules: Iterable[str]) -> int | None:
    """Count the bytes of modules' packages, and of what they require, but for NumPy and bytecode."""
    named = packages_distributions()
    todo = [name for module in modules for name in named.get(module.partition(".")[0], [module])]
    numpy_alone = todo == ["numpy"]
    seen, total = set() if numpy_alone else {"numpy"}, 0
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # required on other systems, or not at all
            continue
        if found.files is None:
            return None
        paths = {Path(str(file.locate())) for file in found.files if file.suffix != ".pyc"}
        total += sum(path.stat().st_size for path in paths if path.is_file())
        required = [text for text in found.requires or [] if not re.search(r"\bextra\s*==", text)]
        todo += [re.split(r"[^\w.-]", text, maxsplit=1)[0] for text in required]
    return total


def row(found: Mapping[str, Any], label: str) -> Row:
    """Make a row of the table."""

    def scaled(key: str, unit: float) -> float | None:
        return None if found[key] is None else found[key] * unit

    return {
        "": label,
        "installed MB": scaled("installed_bytes", 1e-6),
        "import ms": scaled("import_seconds", 1e3),
        "memory MB": scaled("rss_bytes", 1e-6),
        "threads left": None if found["threads_left"] is None else f"{found['threads_left']:.0f}",
        "CPU ms, idle for 1 s": scaled("idle_cpu_seconds", 1e3),
    }
