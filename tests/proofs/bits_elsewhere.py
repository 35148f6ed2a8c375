"""The frozen bits on other machines: the C library alone, cross-compiled, under user-mode emulation.

Each machine needs its compiler, an emulator and a static C library; one that is not installed is skipped and named. On
Debian: gcc-aarch64-linux-gnu, gcc-arm-linux-gnueabihf, gcc-i686-linux-gnu, gcc-riscv64-linux-gnu, gcc-s390x-linux-gnu,
musl-tools, gcc-mingw-w64-x86-64 with wine, clang, and qemu-user.
"""

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "elsewhere"
PROGRAMS = ("frozen_bits", "test_fma", "test_environment")


@dataclass
class Machine:
    """What the library is compiled for, and how that is run here."""

    name: str
    compiler: str
    emulator: str = ""  # none: it runs here
    flags: str = ""
    system: str = "Linux"
    proves: str = ""

    def missing(self) -> list[str]:
        """List the tools that it takes and that are not there."""
        return [tool for tool in (self.compiler, self.emulator) if tool and not shutil.which(tool)]


MACHINES = (
    Machine("aarch64", "aarch64-linux-gnu-gcc", "qemu-aarch64", proves="fma by an instruction"),
    Machine(
        "aarch64-tiles",
        "aarch64-linux-gnu-gcc",
        "qemu-aarch64",
        "-DTILE_ROWS=5 -DTILE_VECTORS=2",
        proves="tiles of any shape",
    ),
    Machine(
        "aarch64-clang",
        "clang",
        "qemu-aarch64",
        "--target=aarch64-linux-gnu",
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
    Machine("musl", "musl-gcc", proves="another C library"),
    Machine("clang", "clang", proves="another compiler"),
    Machine("windows", "x86_64-w64-mingw32-gcc", "wine", system="Windows", proves="another system"),
)


def run(*command: object) -> bool:
    """Run a command, show what it says if it fails, and tell whether it succeeded."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stdout[-4000:] + done.stderr[-4000:], file=sys.stderr)
    return done.returncode == 0


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
        options += [f"-DCMAKE_CROSSCOMPILING_EMULATOR={machine.emulator}"]
    if "ninja" in tools:
        options += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools['ninja']}"]
    return (
        run(tools["cmake"], "-S", ROOT, "-B", build, *options)
        and run(tools["cmake"], "--build", build, "--target", *PROGRAMS)
        and run(tools["ctest"], "--test-dir", build, "--output-on-failure", "-R", "^(fma|environment|frozen_bits)$")
    )


def main() -> int:
    """Prove the bits on each machine that can be had here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "machines", nargs="*", help=f"of {', '.join(machine.name for machine in MACHINES)}; all if none"
    )
    wanted = parser.parse_args().machines
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
    return bool(failed) or bool(wanted and skipped)


if __name__ == "__main__":
    raise SystemExit(main())
