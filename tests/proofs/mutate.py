"""Damage files of every format, a hundred thousand of them: `python -m tests.proofs.mutate`, or `make mutate`.

Each is inspected and loaded in a process with limits on memory and time. A file may load, or be refused with
ValueError, or with MemoryError at its budget; anything else (another error, a signal, a file that takes more than a
minute or the process's memory) is a fault: the file is kept, and the exit status is 1. A seed makes the same again.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.files.damage import try_all, write_seeds

BATCH = 500


def main() -> int:
    """Run the batches, format by format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="how many files, all formats together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path("mutate-faults"), help="where files that are faults are kept")
    given = parser.parse_args()
    faults = total = 0
    with tempfile.TemporaryDirectory() as folder:
        seeds = write_seeds(Path(folder))
        counts = {path.name: [0, 0, 0] for path in seeds}
        for batch in range(-(-given.count // (BATCH * len(seeds)))):
            for path in seeds:
                broken = Path(folder) / "broken" / path.name
                broken.parent.mkdir(exist_ok=True)
                size = min(BATCH, -(-given.count // len(seeds)) - batch * BATCH)
                try:
                    made = try_all(path, size, given.seed * 1_000_003 + batch, broken)
                except AssertionError as error:
                    faults += 1
                    given.keep.mkdir(exist_ok=True)
                    (given.keep / f"{batch}-{path.name}").write_bytes(broken.read_bytes())
                    print(f"FAULT {error}", flush=True)
                    continue
                total += size
                counts[path.name] = [a + b for a, b in zip(counts[path.name], made, strict=True)]
            print(f"{total} files, {faults} faults", flush=True)
    for name, (refused, memory, loaded) in counts.items():
        print(f"{name:20} {refused:8} refused {memory:6} over their budget {loaded:8} loaded")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
