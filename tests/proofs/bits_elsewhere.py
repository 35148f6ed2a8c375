"""The frozen bits on other machines: the C library alone, cross-compiled, under user-mode emulation.

Each machine needs its compiler, an emulator and a static C library; one that is not installed is skipped and named. On
Debian: gcc-aarch64-linux-gnu, gcc-arm-linux-gnueabihf, gcc-i686-linux-gnu, gcc-riscv64-linux-gnu, gcc-s390x-linux-gnu,
musl-tools, gcc-mingw-w64-x86-64 with wine, clang, and qemu-user.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "elsewhere"
PROGRAMS = ("frozen_bits", "check_kernels", "test_fma", "test_environment")
TESTS = "^(fma|environment|frozen_bits|frozen_bits_can_fail|check_kernels)$"


@dataclass
class Machine:
    """What the library is compiled for, and how that is run here."""

    name: str
    compiler: str
    emulator: str = ""  # and its options; none: it runs here
    flags: str = ""
    system: str = "Linux"
    isas: str | None = "scalar"  # what has to run there; None: whatever this CPU has
    proves: str = ""

    def missing(self) -> list[str]:
        """List the tools that it takes and that are not there."""
        tools = (self.compiler, *self.emulator.split()[:1])
        return [tool for tool in tools if not shutil.which(tool)]


NEON = "neondot neon scalar"
MACHINES = (
    Machine("aarch64", "aarch64-linux-gnu-gcc", "qemu-aarch64", isas=NEON, proves="NEON, fma by an instruction"),
    Machine(
        "aarch64-tiles",
        "aarch64-linux-gnu-gcc",
        "qemu-aarch64 -cpu cortex-a57",
        "-DTILE_ROWS=5 -DTILE_VECTORS=2",
        isas="neon scalar",
        proves="tiles of any shape, a CPU without the dot product",
    ),
    Machine(
        "aarch64-clang",
        "clang",
        "qemu-aarch64",
        "--target=aarch64-linux-gnu",
        isas=NEON,
        proves="another compiler's vectors, zeros with their signs",
    ),
    Machine("armhf", "arm-linux-gnueabihf-gcc", "qemu-arm", "-marm", proves="32 bits, FPSCR"),
    Machine("i686", "i686-linux-gnu-gcc", "qemu-i386", proves="32 bits, SSE2 instead of x87, MXCSR"),
    Machine("riscv64", "riscv64-linux-gnu-gcc", "qemu-riscv64", proves="other NaNs"),
    Machine("s390x", "s390x-linux-gnu-gcc", "qemu-s390x", proves="big-endian, float computed as double"),
    Machine(
        "s390x-software",
        "s390x-linux-gnu-gcc",
        "qemu-s390x",
        "-DWITHOUT_FMA_INSTRUCTION",
        proves="the exact fma, big-endian",
    ),
    Machine("musl", "musl-gcc", isas=None, proves="another C library"),
    Machine("clang", "clang", isas=None, proves="another compiler"),
    Machine("windows", "x86_64-w64-mingw32-gcc", "wine", system="Windows", isas=None, proves="another system"),
)


def run(*command: object) -> str | None:
    """Run a command and return what it says; None, and that is shown, if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-4000:] + done.stderr[-4000:], file=sys.stderr)
        return None
    return done.stdout


def proven(machine: Machine, tools: dict[str, str]) -> bool:
    """Build the C tests of the bits for a machine, and run them."""
    build = BUILD / machine.name
    options = [
        f"-DCMAKE_C_COMPILER={machine.compiler}",
        f"-DCMAKE_C_FLAGS={machine.flags} -Werror",
        f"-DCMAKE_EXE_LINKER_FLAGS={'-static' if machine.emulator or machine.compiler != 'clang' else ''}",
        "-DFASTLSTM_TESTS=ON",
    ]
    if machine.emulator:
        processor = machine.name.partition("-")[0]
        options += [f"-DCMAKE_SYSTEM_NAME={machine.system}", f"-DCMAKE_SYSTEM_PROCESSOR={processor}"]
        options += [f"-DCMAKE_CROSSCOMPILING_EMULATOR={';'.join(machine.emulator.split())}"]
    if "ninja" in tools:
        options += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools['ninja']}"]
    ready = run(tools["cmake"], "-S", ROOT, "-B", build, *options) is not None
    ready = ready and run(tools["cmake"], "--build", build, "--target", *PROGRAMS) is not None
    said = run(tools["ctest"], "--test-dir", build, "--verbose", "-R", TESTS) if ready else None
    if said is None:
        return False
    ran = re.findall(r": (?:kernels|frozen bits): .* on ([a-z0-9 ]+)[;:]", said)
    good = len(ran) == 3 and machine.isas in {None, *ran} and len(set(ran)) == 1  # frozen_bits runs twice
    if not good:
        print(f"{machine.name}: not {machine.isas} ran, but {ran}", file=sys.stderr)
    return good


def main() -> int:
    """Prove the bits on each machine that can be had here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "machines", nargs="*", help=f"of {', '.join(machine.name for machine in MACHINES)}; all if none"
    )
    parser.add_argument("--if-there", action="store_true", help="a machine that cannot be had is no failure")
    asked = parser.parse_args()
    wanted = asked.machines
    if unknown := set(wanted) - {machine.name for machine in MACHINES}:
        parser.error(f"unknown machines: {', '.join(sorted(unknown))}")
    searched = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    tools = {name: path for name in ("cmake", "ctest", "ninja") if (path := shutil.which(name, path=searched))}
    failed, skipped = [], []
    for machine in MACHINES:
        if wanted and machine.name not in wanted:
            continue
        if missing := machine.missing():
            skipped.append(machine.name)
            print(f"{machine.name:16} skipped: not installed: {', '.join(missing)}", flush=True)
            continue
        good = proven(machine, tools)
        print(f"{machine.name:16} {'the frozen bits' if good else 'FAILED'} ({machine.proves})", flush=True)
        failed += [] if good else [machine.name]
    return bool(failed) or bool(wanted and skipped and not asked.if_there)


if __name__ == "__main__":
    raise SystemExit(main())
