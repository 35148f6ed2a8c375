"""A dated file of results in bench/results/: `make bench-results`, on a machine that does nothing else.

The plain families, and around T=50 B=32 H=256 and T=100 B=1 H=512 what tells the cost of rows, steps and threads: under
twelve minutes on two CPUs with all rivals. Runs of other numbers of threads are put into one file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.building import ROOT
from bench.published import renew
from fastlstm import isa
from fastlstm._core import cpus

FAMILIES = ["--family", "step,sequence,batch", "--footprint"]
ROWS = [f"T=50,B={B},H=128" for B in (1, 8, 128)]
STEPS = [f"T={T},B=1,H=128" for T in (10, 1000)]
THREADS = ["T=50,B=32,H=256", "T=100,B=1,H=512"]
#: Runnable tasks for each CPU before the start; beyond it somebody else is computing. They are a mean of the last
#: minute, in which a build or another run of this may have been: so long it is waited for.
QUIET = 0.25
PATIENCE = 300


def shapes(sizes: list[str]) -> list[str]:
    """Write sizes as the command takes them."""
    return [word for size in sizes for word in ("--shape", size)]


def measured(arguments: list[str], folder: str) -> dict[str, Any]:
    """Run the command, and take what it has found."""
    path = Path(folder, "found.json")
    path.unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "fastlstm", "bench", *arguments, "--json", str(path)], check=True)
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return told


def merged(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Put runs of one machine into one file; the first tells when and where."""
    whole = dict(runs[0])
    whole["works"] = [work for run in runs for work in run["works"]]
    whole["versions"] = list(dict.fromkeys(line for run in runs for line in run["versions"]))
    whole["complete"] = all(run["complete"] for run in runs)
    for count in ("rounds_played", "rounds_disturbed"):
        whole[count] = sum(run[count] for run in runs)
    return whole


def load_now(patience: float) -> float:
    """Tell how many tasks a CPU has, as soon as there are few or nobody wants to wait any longer."""
    end = time.monotonic() + patience
    while (load := os.getloadavg()[0] / cpus()) > QUIET and time.monotonic() < end:
        time.sleep(5)
    return load


def main() -> int:
    """Measure, write the file, and make tables and drawings of it."""
    parser = argparse.ArgumentParser(prog="make bench-results", description=__doc__)
    parser.add_argument("--kind", help="of machine, for the file's name; if not given, CPUs and the instruction set")
    parser.add_argument("--quick", action="store_true", help="whether it works at all: few works and rounds")
    parser.add_argument("--busy", action="store_true", help="even if the machine has something else to do")
    given = parser.parse_args()
    load = load_now(0 if given.busy else PATIENCE)
    if load > QUIET and not given.busy:
        print(f"make bench-results: {load:.2f} runnable tasks a CPU: wait until the machine is quiet", file=sys.stderr)
        return 1
    quick = ["--quick"] if given.quick else []
    more = [2**k for k in range(1, 7) if 2**k <= cpus()]
    with tempfile.TemporaryDirectory() as folder:
        runs = [measured(quick or FAMILIES, folder), measured([*quick, *shapes(ROWS + STEPS)], folder)]
        runs += [measured([*quick, *shapes(THREADS), "--threads", str(count)], folder) for count in more]
    whole = merged(runs) | {"load_before": load}
    kind = (given.kind or f"{cpus()}-cpus-{isa()}") + ("-busy" if load > QUIET else "") + ("-quick" if quick else "")
    path = ROOT / "bench" / "results" / f"{whole['date'][:10]}-{kind}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    renew(ROOT)
    print(f"{path.relative_to(ROOT)}: {len(whole['works'])} works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
