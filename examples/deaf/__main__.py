"""Play steady noise to a published voice detector, then speech, and let `fastlstm.health` find what makes it deaf.

The detector is silero-vad 6.2.3 (from PyPI, 16 kHz), the speech that of Debian's package pocketsphinx-testdata.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

if not __package__:  # started as a folder: make the folder importable as the package it is
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from textgen.fetch import FetchError

MARKS = (0, 1, 2, 5, 10, 20, 30, 45)  # minutes


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print columns, the first one to the left."""
    lines = [list(heads), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        print("  " + "  ".join([first.strip().ljust(widths[0]), *others]))
    print()


def shares(heard: list[int], said: list[int]) -> list[str]:
    """Write counts as shares."""
    return [f"{a / b:.3f}" for a, b in zip(heard, said, strict=True)]


def tell(kind: str, minutes: int, quieter: int) -> None:
    """Run it all, and print it."""
    from deaf import experiment

    print(f"{minutes} minutes of {kind} noise at {experiment.LEVEL} dBFS, then speech, {quieter} dB quieter.")
    print("Of the frames of speech, heard in the first seconds:\n")
    edges = experiment.WINDOWS
    windows = [f"{a}-{b} s" for a, b in itertools.pairwise(edges)] + ["all"]
    marks = [mark for mark in MARKS if mark < minutes] + [minutes]
    told = experiment.over_time(kind, marks, quieter)
    cells = told["cells"]
    rows = (
        [str(mark), *shares(heard, told["said"]), *(f"{cells[unit][k]:.2f}" for unit in cells)]
        for k, (mark, heard) in enumerate(zip(marks, told["heard"], strict=True))
    )
    table(["after minutes", *windows, *(f"cell {unit}" for unit in cells)], rows)
    print("What fastlstm.health says of the noise, with that speech as its probe:\n")
    print("  " + str(experiment.health_after(experiment.Noise(kind, minutes), quieter)[0]).replace("\n", "\n  "), "\n")
    effect = experiment.health_after(experiment.Noise(kind, minutes), quieter)[0].effect
    if effect is not None and effect.steps is not None:
        print(f"The answers agree after {effect.steps} of {len(effect.difference)} steps.\n")
    knocked = experiment.knock_outs(kind, minutes, quieter)
    print(
        f"The cause is {knocked['cause'] or 'not found'}, the largest cell {knocked['largest']}. Heard by the state:\n"
    )
    table(["state", *windows], ([name, *shares(each, knocked["said"])] for name, each in knocked["heard"].items()))
    policies = experiment.policies(kind, minutes, [quieter], 5)
    print("Zeroed every five seconds, the speech alone and after the noise:\n")
    rows = (
        [f"{name}, {place}", *shares(policies[place][name][0], policies["said"])]
        for place in ("quiet", "noise")
        for name in policies[place]
    )
    table(["what", *windows], rows)


def main() -> int:
    """Read the command line; 3 if something is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", choices=("white", "pink"), default="white", help="which noise (default: white)")
    parser.add_argument("--minutes", type=int, default=60, help="of noise (default: 60)")
    parser.add_argument("--quieter", type=int, default=18, metavar="DB", help="how much the speech is turned down (18)")
    given = parser.parse_args()
    if given.minutes < 1:
        parser.error(f"--minutes should be 1 or more, got: {given.minutes}")
    try:
        tell(given.noise, given.minutes, given.quieter)
    except ModuleNotFoundError as error:
        print(f"deaf: {error.name} is missing; `make deaf` installs it", file=sys.stderr)
        return 3
    except FetchError as error:
        print(f"deaf: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
