"""The programs of examples/embed on other machines, cross-compiled and emulated: each must give Python's bits.

Once on the installed library (find_package), once on its sources (FetchContent); in C, in C++ and as the service with
its weights inside. A machine whose compilers or emulator are missing is skipped and named. On Debian: mingw-w64 with
wine64; g++-aarch64-linux-gnu and g++-s390x-linux-gnu with qemu-user.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import fastlstm
from fastlstm.files._save import write_layers

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "embed-elsewhere"
SEARCHED = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


class Machine(NamedTuple):
    """What the programs are compiled for, and how they are run here."""

    name: str
    compilers: str  # what comes before gcc and g++
    emulator: str
    system: str = "Linux"
    byte_order: str = "little"

    def missing(self) -> list[str]:
        """List the tools that it takes and that are not there."""
        tools = (f"{self.compilers}gcc", f"{self.compilers}g++", self.emulator, "cmake")
        return [tool for tool in tools if not shutil.which(tool, path=SEARCHED)]


MACHINES = (
    Machine("windows", "x86_64-w64-mingw32-", "wine", system="Windows"),
    Machine("aarch64", "aarch64-linux-gnu-", "qemu-aarch64"),
    Machine("s390x", "s390x-linux-gnu-", "qemu-s390x", byte_order="big"),
)


def run(*command: object, **options: object) -> bytes:
    """Run a command and return what it says; what it says is shown if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode:
        print((done.stdout + done.stderr).decode(errors="replace")[-4000:], file=sys.stderr)
        raise SystemExit(f"{command[0]} failed")
    said: bytes = done.stdout
    return said


def cmake(machine: Machine, source: Path, build: Path, *options: str) -> None:
    """Configure and build for a machine."""
    cross = [
        f"-DCMAKE_SYSTEM_NAME={machine.system}",
        f"-DCMAKE_SYSTEM_PROCESSOR={machine.name if machine.system == 'Linux' else 'x86_64'}",
        f"-DCMAKE_C_COMPILER={machine.compilers}gcc",
        f"-DCMAKE_CXX_COMPILER={machine.compilers}g++",
        "-DCMAKE_EXE_LINKER_FLAGS=-static",
        "-DCMAKE_BUILD_TYPE=Release",
    ]
    if ninja := shutil.which("ninja", path=SEARCHED):
        cross += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    tool = shutil.which("cmake", path=SEARCHED)
    run(tool, "-S", source, "-B", build, *cross, *options)
    run(tool, "--build", build, "--parallel")


def expected_output(lstm: fastlstm.LSTM, x: np.ndarray) -> bytes:
    """Compute here what the programs write."""
    output, states = lstm(x)
    stream, pool, ids = lstm.stream(), lstm.pool(20), []
    parts = [output, *states, *(stream.step(row) for row in x)]
    for t in range(len(x)):
        if len(ids) < 20:
            ids.append(pool.open())
        parts.append(pool.step(ids, x[t::-1][: len(ids)]))
    return b"".join(part.tobytes() for part in parts)


def wrong(machine: Machine, programs: Path, lstm: fastlstm.LSTM, x: np.ndarray) -> Iterator[str]:
    """Run the programs, and name those whose answers are not Python's."""
    dtype = x.dtype.newbyteorder("<" if machine.byte_order == "little" else ">")
    write_layers({"": lstm}, programs / "weights.flw", "c", machine.byte_order)  # type: ignore[arg-type]
    x.astype(dtype).tofile(programs / "input.bin")
    suffix = ".exe" if machine.system == "Windows" else ""
    for name in ("embed", "embed_cpp"):
        for threads in (1, 2):
            program = programs / f"{name}{suffix}"
            run(machine.emulator, program, "weights.flw", "input.bin", "output.bin", threads, cwd=programs)
            got = np.fromfile(programs / "output.bin", dtype).astype(x.dtype).tobytes()
            if got != expected_output(lstm, x):
                yield f"{name} with {threads} threads"
    lines = "".join(" ".join(repr(float(number)) for number in row) + "\n" for row in x)
    said = run(machine.emulator, programs / f"service{suffix}", input=lines.encode()).decode().splitlines()
    if np.array([line.split() for line in said]).astype(x.dtype).tobytes() != lstm(x)[0].tobytes():
        yield "service"


def proven(machine: Machine) -> bool:
    """Build the programs in both ways, and compare what they say."""
    build = BUILD / machine.name
    installed = build / "installed"
    cmake(machine, ROOT, build / "library", "-DFASTLSTM_PYTHON=OFF")
    run(shutil.which("cmake", path=SEARCHED), "--install", build / "library", "--prefix", installed)
    good = True
    for dtype in ("float32", "float64"):
        lstm = fastlstm.LSTM(5, 33, num_layers=2, proj_size=9, dtype=dtype, seed=0)
        x = np.random.default_rng(0).standard_normal((40, 5)).astype(dtype)
        write_layers({"": lstm}, build / "model.h", "c-header")
        for way in (f"-DCMAKE_PREFIX_PATH={installed}", f"-DEMBED_FASTLSTM={ROOT}"):
            programs = build / way.partition("=")[0].removeprefix("-D")
            cmake(machine, ROOT / "examples" / "embed", programs, way, f"-DEMBED_MODEL={build / 'model.h'}")
            for program in wrong(machine, programs, lstm, x):
                print(f"{machine.name}: {way}, {dtype}: {program}: NOT the bits of Python", file=sys.stderr)
                good = False
    return good


def main() -> int:
    """Prove the programs on each machine that can be had here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [machine.name for machine in MACHINES]
    parser.add_argument("machines", nargs="*", help=f"of {', '.join(names)}; all if none")
    wanted = parser.parse_args().machines
    if unknown := set(wanted) - set(names):
        parser.error(f"unknown machines: {', '.join(sorted(unknown))}")
    failed = False
    for machine in MACHINES:
        if wanted and machine.name not in wanted:
            continue
        if missing := machine.missing():
            print(f"{machine.name:10} skipped: not installed: {', '.join(missing)}", flush=True)
            failed |= bool(wanted)
            continue
        good = proven(machine)
        print(f"{machine.name:10} {'the bits of Python' if good else 'FAILED'}", flush=True)
        failed |= not good
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
