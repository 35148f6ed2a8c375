"""Build the two programs, run them on drawn weights, and compare their outputs with Python's: `python examples/embed`.

Needs CMake and compilers for C and C++. What is made goes to build/embed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

import fastlstm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def run(*command: str | Path) -> None:
    """Run a command, and end with its exit code if it fails."""
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(code)


def cmake(source: Path, build: Path, *options: str) -> None:
    """Configure and build."""
    run("cmake", "-S", source, "-B", build, "-D", "CMAKE_BUILD_TYPE=Release", *options)
    run("cmake", "--build", build, "--parallel")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--installed", type=Path, help="where the C library is installed; else it is in --build")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "embed", help="the folder for what is made")
    options = parser.parse_args()
    build: Path = options.build
    if not options.installed:
        options.installed = build / "installed"
        cmake(ROOT, build / "library", "-D", "FASTLSTM_PYTHON=OFF")
        run("cmake", "--install", build / "library", "--prefix", options.installed)
    cmake(HERE, build / "programs", "-D", f"CMAKE_PREFIX_PATH={options.installed.resolve()}")

    lstm = fastlstm.LSTM(16, 32, num_layers=2, seed=0)
    x = np.random.default_rng(0).standard_normal((50, 16), np.float32)
    fastlstm.save(lstm, build / "weights.flw")
    x.tofile(build / "input.bin")
    output, states = lstm(x)
    expected = b"".join(array.tobytes() for array in (output, *states))  # what the programs write first
    wrong = 0
    for program in ("embed", "embed_cpp"):
        run(build / "programs" / program, build / "weights.flw", build / "input.bin", build / "output.bin")
        same = (build / "output.bin").read_bytes().startswith(expected)
        print(f"{program}: {'the bits' if same else 'NOT the bits'} that Python gives")
        wrong += not same
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
