"""Whether this tree has become slower: `make regress`, which is `fastlstm bench --against` the last tag.

A row fails that is more than 3 % slower by its interval's lower end, in two runs, and by more than this tree differs
from itself. A row that differs from itself by more than is allowed says nothing: on a machine that is too busy for all
of them nothing fails, and the last line says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.building import ROOT
from fastlstm import _cli

ALLOWED = 3.0


def revision(root: Path) -> tuple[str, str]:
    """Choose what to compare with: the last tag; without one, what the working tree was before; and say why."""
    if tag := _git(root, "describe", "--tags", "--abbrev=0", "HEAD"):
        at_it = _git(root, "rev-parse", f"{tag}^{{commit}}") == _git(root, "rev-parse", "HEAD")
        older = _git(root, "describe", "--tags", "--abbrev=0", "HEAD~1") if at_it and not _changed(root) else ""
        return (older, "the tag before this one") if older else (tag, "the last tag")
    if _changed(root):
        return "HEAD", "there is no tag, and there are changes that are not committed: without them"
    return "HEAD~1", "there is no tag: the commit before"


def _changed(root: Path) -> bool:
    return bool(_git(root, "status", "--porcelain", "--untracked-files=no"))


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
    ).stdout.strip()


def unsteady(told: dict[str, Any], percent: float) -> int:
    """Count the rows that say nothing: the same code differs by more than is allowed, or too few rounds tell."""
    allowed = 1 + percent / 100
    return sum(
        row["itself_low"] is None or row["itself_low"] < 1 / allowed or row["itself_high"] > allowed
        for row in told["rows"]
    )


def main() -> int:
    """Race, and say what the outcome is worth; 3 if a row has become slower."""
    parser = argparse.ArgumentParser(prog="make regress", description=__doc__)
    parser.add_argument("--against", metavar="REV", help="the last tag if not given")
    parser.add_argument(
        "--fail-above", type=float, default=ALLOWED, metavar="PERCENT", help=f"{ALLOWED:g} if not given"
    )
    given, more = parser.parse_known_args()  # what fastlstm bench takes, such as --quick
    asked, why = (given.against, "as asked") if given.against else revision(ROOT)
    print(f"against {asked}: {why}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "told.json"
        status = _cli.main(
            ["bench", "--against", asked, "--fail-above", str(given.fail_above), "--json", str(path), *more]
        )
        told = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if told is None:
        return status
    lost = unsteady(told, given.fail_above)
    if lost:
        print(f"{lost} of {len(told['rows'])} rows say nothing: this tree differs from itself by more than is allowed")
    if status == 0 and lost == len(told["rows"]):
        print(f"This machine is too busy to tell {given.fail_above:g} %: nothing was found out, and nothing fails.")
    return status


if __name__ == "__main__":
    sys.exit(main())
