"""What every wheel has to pass on the machine that it was built on: the contract, on each instruction set there.

python -P tests/wheel.py, with the wheel installed; what follows goes to pytest.
"""

import os
import subprocess
import sys
from pathlib import Path

import fastlstm

ROOT = Path(__file__).resolve().parents[1]
TESTS = [
    *(
        f"tests/core/test_{name}.py"
        for name in ("activations", "contract", "forward", "frozen_bits", "gates", "objects", "weights")
    ),
    *(f"tests/training/test_{name}.py" for name in ("backward", "contract")),
    "tests/live/test_snapshots.py",
    "tests/package/test_package.py",
]


def main() -> int:
    """Run the tests once per instruction set, and name those that failed."""
    print(f"{fastlstm.__file__}: {', '.join(fastlstm.isas())}", flush=True)
    failed = []
    for isa in fastlstm.isas():
        print(f"FASTLSTM_ISA={isa}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", *TESTS, *sys.argv[1:]]
        if subprocess.run(command, cwd=ROOT, env={**os.environ, "FASTLSTM_ISA": isa}, check=False).returncode:
            failed.append(isa)
    print(f"failed: {', '.join(failed)}" if failed else "the contract holds on each", flush=True)
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
