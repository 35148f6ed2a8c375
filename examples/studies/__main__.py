"""Compute the studies of docs/gates.md into docs/studies/, and draw them: `python examples/studies`.

Without arguments all of them, which takes half an hour, for the trainings; `--check` compares what it computes with
what is there, and `--draw` draws what is there, for which Python alone is enough.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

if not __package__:  # started as a folder: make the folder importable as the package it is
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from studies import pictures, record

STUDIES = ("unit", "drift", "distance", "published", "sentence", "ablations", "units", "deaf", "gallery")


def study(name: str, is_check: bool) -> list[str]:
    """Compute a study and keep it, or return which of its cells are not as they were kept."""
    cells = {}
    for cell, made in importlib.import_module(f"studies.{name}").STUDY.items():
        cells[cell] = record.computed(made)
        print(f"{name}, {cell}: {cells[cell]['sha256'][:16]}", flush=True)
    if not is_check:
        record.write(name, cells)
        return []
    kept = record.read(name)
    return [f"{name}, {cell}" for cell in {*kept, *cells} if kept.get(cell) != cells.get(cell)]


def main() -> int:
    """Compute, check or draw; 1 if something differs, 3 if something is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=f"all if not given: {', '.join(STUDIES)}")
    parser.add_argument("--check", action="store_true", help="compare with docs/studies/ instead of writing there")
    parser.add_argument("--draw", action="store_true", help="draw what is in docs/studies/, and compute nothing")
    given = parser.parse_args()
    unknown = set(given.studies) - set(STUDIES)
    if unknown:
        parser.error(f"STUDY should be one of {', '.join(STUDIES)}, got: {', '.join(sorted(unknown))}")
    if given.draw:
        pictures.draw_all()
        return 0
    from textgen.fetch import FetchError

    from studies.trained import TextError

    try:
        differing = [each for name in given.studies or STUDIES for each in study(name, given.check)]
    except ModuleNotFoundError as error:
        print(f"studies: {error.name} is missing; `make studies` installs it", file=sys.stderr)
        return 3
    except (FetchError, TextError) as error:
        print(f"studies: {error}", file=sys.stderr)
        return 3
    if differing:
        print("studies: not as in docs/studies/: " + "; ".join(sorted(differing)), file=sys.stderr)
        return 1
    if not given.check and not given.studies:
        pictures.draw_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
