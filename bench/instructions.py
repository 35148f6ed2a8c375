"""Instructions that a work takes on another machine, counted in its emulation: no clock, so no quiet machine is needed.

`compiled.c` is a program here, which makes its own arrays and prints a hash of its answer: the same on every machine.
"""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.building import ROOT, build, tool
from bench.works import Work

TARGET = "aarch64-linux-gnu"
# Compilers for it: the command, options of CMake, flags.
COMPILERS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "gcc": (f"{TARGET}-gcc", (), ()),
    "clang": ("clang", (f"-DCMAKE_C_COMPILER_TARGET={TARGET}",), (f"--target={TARGET}",)),
}
TOOLS = ("qemu-aarch64", "cmake", "cc", *(compiler for compiler, *_ in COMPILERS.values()))
MACHINE = ("-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64")


def counts(folder: Path, works: Sequence[Work]) -> Mapping[str, dict[Work, int]]:
    """Count, for each compiler, the instructions of one call of every work; RuntimeError for a wrong answer.

    The right answer is the one that the same program gives on this machine.
    """
    here = build(folder / "here", "cc")
    counter = folder / "count.so"
    subprocess.run([tool("cc"), "-O2", "-shared", "-fPIC", ROOT / "bench" / "count.c", "-o", counter], check=True)
    emulated = [tool("qemu-aarch64"), "-plugin", str(counter)]
    found: dict[str, dict[Work, int]] = {}
    for name, (compiler, options, flags) in COMPILERS.items():
        program = build(folder / name, compiler, *MACHINE, *options, flags=("-static", *flags))
        found[name] = {}
        for work in works:
            right, _ = _run([], here, work, 1)
            answer, once = _run(emulated, program, work, 1)
            _, twice = _run(emulated, program, work, 2)
            if answer != right:
                raise RuntimeError(f"{work}: wrong answer: other bits on {TARGET}, by {name}, than here")
            found[name][work] = twice - once
    return found


def _run(prefix: Sequence[str], program: Path, work: Work, calls: int) -> tuple[str, int]:
    case = work.case
    numbers = int(work.kind == "training"), case.T, case.B, case.I, case.H, calls
    command = [*prefix, str(program), *map(str, numbers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.strip(), int(done.stderr or 0)
