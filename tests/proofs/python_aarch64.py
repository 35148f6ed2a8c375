"""The Python package on AArch64, without the hardware: tests under user-mode emulation, with Debian's Python.

The extension is cross-compiled. On Debian: gcc-aarch64-linux-gnu, qemu-user, mmdebstrap. Debian's Python for AArch64 is
unpacked, not installed, its packages beside it; all of it is in build/python-aarch64, and stays there.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "python-aarch64"
SYSTEM, SITE, PYTHON = BUILD / "system", BUILD / "site", BUILD / "python"
RELEASE, VERSION = "bookworm", "3.11"  # of Debian, and of its Python
PACKAGES = ("numpy>=2.0", "pytest>=8.2", "hypothesis>=6.100")
TESTS = ("core/test_frozen_bits.py", "core/test_contract.py", "core/test_objects.py", "training/test_contract.py")


def run(*command: object) -> None:
    """Run a command; the end, if it fails."""
    if subprocess.run([str(part) for part in command], cwd=ROOT, check=False).returncode:
        raise SystemExit(f"{command[0]} failed")


def python() -> None:
    """Have a Python for AArch64, and as a command what runs it here."""
    if not SYSTEM.exists():
        include = "--include=python3,libpython3-dev,libstdc++6"
        run("mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract", include, RELEASE, f"{SYSTEM}.new")
        Path(f"{SYSTEM}.new").rename(SYSTEM)
    interpreter = SYSTEM / "usr" / "bin" / f"python{VERSION}"
    PYTHON.write_text(
        f'#!/bin/sh\nexec qemu-aarch64 -L "{SYSTEM}" -E PYTHONPATH="{SITE}:$PYTHONPATH" "{interpreter}" "$@"\n'
    )
    PYTHON.chmod(0o755)
    if not SITE.exists():
        platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (17, 27, 28)]
        options = [*platforms, f"--python-version={VERSION}", "--only-binary=:all:", f"--target={SITE}.new"]
        run(sys.executable, "-m", "pip", "install", "--quiet", *options, *PACKAGES)
        Path(f"{SITE}.new").rename(SITE)
    # tests start Python again: by the command, since the system cannot run the program by itself
    (SITE / "sitecustomize.py").write_text(f"import sys\n\nsys.executable = {str(PYTHON)!r}\n")


def package(cmake: str, cython: str) -> None:
    """Compile the package for it."""
    import cython_cmake  # beside this Python

    headers = SYSTEM / "usr" / "include"
    values = {
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "CMAKE_C_COMPILER": "aarch64-linux-gnu-gcc",
        "CMAKE_C_FLAGS": f"-idirafter {headers}",  # a header of Debian's Python looks for another
        "CMAKE_MODULE_PATH": Path(cython_cmake.__file__).parent / "cmake",
        "CYTHON_EXECUTABLE": cython,
        "FASTLSTM_PYTHON": "ON",
        "Python_EXECUTABLE": PYTHON,
        "Python_INCLUDE_DIR": headers / f"python{VERSION}",
        "CMAKE_INSTALL_PREFIX": SITE,
    }
    run(cmake, "-S", ROOT, "-B", BUILD / "package", *(f"-D{name}={value}" for name, value in values.items()))
    run(cmake, "--build", BUILD / "package", "--parallel", os.cpu_count())
    shutil.copytree(
        ROOT / "src" / "fastlstm", SITE / "fastlstm", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
    )
    run(cmake, "--install", BUILD / "package")


def main() -> int:
    """Run tests on it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("options", nargs="*", help="for pytest, after --; if none: what the numerical contract says")
    options = parser.parse_args().options or [f"tests/{name}" for name in TESTS]
    searched = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    names = ("mmdebstrap", "qemu-aarch64", "aarch64-linux-gnu-gcc", "cmake", "cython")
    tools = {name: path for name in names if (path := shutil.which(name, path=searched))}
    if missing := [name for name in names if name not in tools]:
        raise SystemExit(f"not installed: {', '.join(missing)}")
    BUILD.mkdir(parents=True, exist_ok=True)
    python()
    package(tools["cmake"], tools["cython"])
    script = (
        "import fastlstm; fastlstm.show_config(); assert fastlstm.isas(weights='int8') == ['neondot', 'neon', 'scalar']"
    )
    run(PYTHON, "-c", script)
    command = [str(PYTHON), "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
