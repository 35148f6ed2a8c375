"""Lets `python examples/service` and `python -m service` (from examples/) run the same service."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# The batches run on one thread; a BLAS with more would take the cores that the event loop and other services need.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_variable] = "1"

if not __package__:  # started as a folder: make the folder importable as the package it is
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def _start() -> int:
    try:
        from service.app import main
    except ModuleNotFoundError as error:
        print(f"service: the Python package {error.name!r} is missing; `make service` installs it.", file=sys.stderr)
        return 3
    return main()


if __name__ == "__main__":
    sys.exit(_start())
