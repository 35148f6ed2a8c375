"""What a layer takes of memory, by how its weights are stored: bytes that no other process shares (Linux).

    python -m bench.memory [--hidden 1024] [--layers 2]

Each in a process of its own: a state dict is made and loaded into a layer, the state dict let go, a sequence run. What
the process has then is compared with what it had before there was any of it. What is free, but kept by glibc for what
may come, is given back before: how much that is depends on what was made and let go in which order.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

WEIGHTS = ("float32", "float16", "bfloat16", "int8", "int8-fast")
STEPS = 20
CHILD = """
import ctypes, gc, sys
from pathlib import Path
import numpy as np
import fastlstm

def private():
    gc.collect()
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    kibibytes = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return 1024 * sum(kibibytes)

def weights(hidden, layers):
    lstm = fastlstm.LSTM(hidden, hidden, layers, seed=0)
    return {name: array.copy() for name, array in lstm.state_dict().items()}

kind, hidden, layers, steps = sys.argv[1], *map(int, sys.argv[2:])
fastlstm.LSTM(8, 8, weights=kind)(np.ones((1, 1, 8), np.float32))  # what a first layer and a first call bring along
x = np.ones((steps, 1, hidden), np.float32)
before = private()
state = weights(hidden, layers)
lstm = fastlstm.LSTM(hidden, hidden, layers, weights=kind)
lstm.load_state_dict(state)
del state
made = private()
lstm(x)
print(made - before, private() - before)
"""


class Taken(NamedTuple):
    """Bytes, once a layer has its weights, and after its first run."""

    made: int
    run: int


def taken(weights: str, hidden: int, layers: int = 1) -> Taken:
    """Measure a layer of as many inputs as units, in a new process."""
    command = [sys.executable, "-c", CHILD, weights, str(hidden), str(layers), str(STEPS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return Taken(*map(int, done.stdout.split()))


def supported() -> bool:
    """Tell whether the system says which bytes a process has for itself."""
    return Path("/proc/self/smaps_rollup").exists()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--layers", type=int, default=2)
    options = parser.parse_args(arguments)
    print("| weights | MiB of weights | MiB of the layer | after a first run | of float32's |")
    print("| --- | ---: | ---: | ---: | ---: |")
    numbers = options.layers * 8 * options.hidden**2
    plain = None
    for weights in WEIGHTS:
        found = taken(weights, options.hidden, options.layers)
        plain = plain or found
        each = 4 if weights == "float32" else 1 if weights.startswith("int8") else 2
        sizes = [f"{count / 2**20:.1f}" for count in (numbers * each, *found)]
        print(f'| `"{weights}"` | ' + " | ".join([*sizes, f"{found.run / plain.run:.2f}"]) + " |")


if __name__ == "__main__":
    main()
