"""Lets `python examples/train_text` and `python -m train_text` (from examples/) run the same program."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# A BLAS with several threads may cut its sums elsewhere when the machine has another number of CPUs. One thread has one
# order of adding. It has to be said before NumPy is loaded. fastlstm's threads are its own (--threads).
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_variable] = "1"

if not __package__:  # started as a folder: make the folder importable as the package it is
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def _start() -> int:
    try:
        from train_text.command import main
    except ModuleNotFoundError as error:
        print(f"train_text: the Python package {error.name!r} is missing; `make train` installs it.", file=sys.stderr)
        return 3
    return main()


if __name__ == "__main__":
    sys.exit(_start())
