"""Compare published models with weights of fewer bytes, and print a table in Markdown: `python examples/precision`.

y is the last layer's output; drift the rms of its difference over the last tenth of the steps by that over the second.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import warnings
from pathlib import Path

if not __package__:  # started as a folder: make the folder importable as the package it is
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from textgen.fetch import FetchError

import fastlstm
from precision.cases import CASES, Case


def rows(case: Case, weights: list[str] | None) -> list[str]:
    """Return a line for each type of weights."""
    found = fastlstm.compare(case.lstm, case.x, weights, lengths=case.lengths)
    lines = []
    for name, each in found.items():
        figures = each.y.largest[-1].max(), (each.y.rms[-1] ** 2).mean() ** 0.5, max(each.weight_errors.values())
        largest, rms, weight = (f"{number:.1e}" for number in figures)
        says = case.says(case.lstm.astype(weights=name))
        lines.append(f"| {case.title} | {name} | {weight} | {largest} | {rms} | {each.drift[-1].max():.2f} | {says} |")
    return lines


def main() -> int:
    """Run the cases; 1 if one could not be had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"all if not given: {', '.join(CASES)}")
    parser.add_argument("--weights", metavar="NAMES", help="such as float16,bfloat16; all that there are if not given")
    given = parser.parse_args()
    unknown = set(given.cases) - set(CASES)
    if unknown:
        parser.error(f"CASE should be one of {', '.join(CASES)}, got: {', '.join(sorted(unknown))}")
    weights = given.weights.split(",") if given.weights else None
    missing = 0
    print(f"fastlstm {fastlstm.__version__}, {datetime.date.today()}\n")
    print("| model | weights | error of a weight | largest of y | rms of y | drift | what it says |")
    print("| --- | --- | ---: | ---: | ---: | ---: | --- |")
    for name in given.cases or CASES:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", fastlstm.files.AssumptionWarning)
                print(*rows(CASES[name](), weights), sep="\n", flush=True)
        except ModuleNotFoundError as error:
            missing = 1
            print(f"precision: {name}: {error.name} is missing; `make precision` installs it", file=sys.stderr)
        except FetchError as error:
            missing = 1
            print(f"precision: {name}: {error}", file=sys.stderr)
    return missing


if __name__ == "__main__":
    sys.exit(main())
