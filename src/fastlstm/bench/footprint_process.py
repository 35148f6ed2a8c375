"""What it costs to have a package: a process of its own, run as a script, so that nothing of ours is there before.

    footprint_process.py RESULT MODULES [CONTENDER FORM THREADS]

imports NumPy, then the modules, separated by commas, and writes how long they took to a JSON file; then lets a
contender run a work once, and adds what is left of it.
"""

import importlib
import json
import os
import sys
import time

import numpy  # noqa: F401  all have it, and it is in nobody's time


def _status(name: str) -> int | None:
    """Read a number of Linux's from /proc; None where there is no such thing."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))
    except (OSError, StopIteration):
        return None


def _resident() -> int | None:
    """Tell the bytes of memory in use."""
    kilobytes = _status("VmRSS")
    if kilobytes is None and os.name == "posix":  # macOS
        import subprocess

        command = ["ps", "-o", "rss=", "-p", str(os.getpid())]
        kilobytes = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    return None if kilobytes is None else 1024 * kilobytes


def _run(contender: str, form: str, threads: str) -> dict[str, float | int | None]:
    before = _status("Threads")
    from fastlstm.bench.families import case_of
    from fastlstm.bench.works import Work, make

    work = Work("sequence", case_of(100, 1, 128, 128), int(threads), form=form)
    loop, *_ = importlib.import_module(contender).prepare(work, make(work))
    loop(1)
    resident, after = _resident(), _status("Threads")
    taken = time.process_time()
    time.sleep(1.0)
    return {
        "rss_bytes": resident,
        "threads_left": None if before is None or after is None else after - before,
        "idle_cpu_seconds": time.process_time() - taken,
    }


def main() -> None:
    """Measure, and write down what was found."""
    result, modules, *work = sys.argv[1:]
    start, threads = time.perf_counter(), _status("Threads")
    for module in filter(None, modules.split(",")):
        importlib.import_module(module)
    found: dict[str, float | int | None] = {"import_seconds": time.perf_counter() - start}
    imported = _status("Threads")
    if work:
        found |= _run(*work)
        if threads is not None and imported is not None and found["threads_left"] is not None:
            found["threads_left"] += imported - threads
    with open(result, "w", encoding="utf-8") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()
