"""Lets `python examples/textgen` and `python -m textgen` (from examples/) run the same demo."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# NumPy's BLAS starts its threads when it is loaded, so one thread for everybody has to be said before that.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_variable] = "1"

if not __package__:  # started as a folder: make the folder importable as the package it is
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def _start() -> int:
    try:
        from textgen.demo import main
    except ModuleNotFoundError as error:  # fastlstm or NumPy: without them there is nothing to show
        print(f"demo: the Python package {error.name!r} is missing; `make demo` installs it.", file=sys.stderr)
        return 3
    return main()


if __name__ == "__main__":
    sys.exit(_start())
