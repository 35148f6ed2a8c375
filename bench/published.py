"""Tables and drawings of README.md and docs/benchmarks.md, from bench/results/*.json: `make bench-pictures`.

They stand between two marks in the text; what is there is written over. A file of results is named by its date and the
kind of machine; the newest is the one that the README shows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from bench.building import ROOT
from fastlstm.bench import footprint, pictures
from fastlstm.bench.report import Report
from fastlstm.bench.results import Results, read

BEGIN, END = "<!-- bench/results: made by make bench-pictures -->", "<!-- bench/results: end -->"
FOLDER = Path("docs", "assets", "bench")
TEXTS = {
    "rivals": "The best rival's time over fastlstm's, work by work",
    "limit": "The share of the machine's limit that fastlstm and the best rival reach",
    "cost": "Time against H, B, T and threads",
    "latency": "How many steps take longer than what",
}


def made(root: Path) -> dict[str, str]:
    """Make everything: paths under the root, and what they should hold."""
    found = {path.stem: read(str(path)) for path in sorted((root / "bench" / "results").glob("*.json"), reverse=True)}
    files = {
        (FOLDER / f"{stem}-{name}").as_posix(): text
        for stem, results in found.items()
        for name, text in pictures.draw(results).items()
    }
    files["README.md"] = _between(root / "README.md", "".join(_readme(found)))
    files["docs/benchmarks.md"] = _between(root / "docs" / "benchmarks.md", "\n".join(_page(found)))
    return files


def _between(path: Path, content: str) -> str:
    """Put a text between the marks."""
    text = path.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{path} should have {BEGIN} and {END}, once each")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    return f"{before}{BEGIN}\n{content}{END}{after}"


def _readme(found: dict[str, Results]) -> Iterator[str]:
    for stem, results in list(found.items())[:1]:
        yield f"\n![{TEXTS['rivals']}]({(FOLDER / f'{stem}-rivals.svg').as_posix()})\n\n"
        found = pictures.pairs(results)
        told = pictures.outcomes(found)
        yield f"{results.machine}: of {len(found)} works fastlstm is faster than every rival in {told['won']}, slower "
        yield f"in {told['lost']}.{_even(found)}\n"
        yield "[Tables, other machines](docs/benchmarks.md#results)\n\n"


def _even(found: list[pictures.Pair]) -> str:
    ratios = [pair.ratio for pair in found if pair.outcome == "even"]
    if not ratios:
        return ""
    between = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return f"\nOf the other {len(ratios)}, with ratios of {between}, the rounds do not tell."


def _page(found: dict[str, Results]) -> Iterator[str]:
    for stem, results in found.items():
        yield f"\n### {results.machine}\n"
        played, disturbed = results.rounds
        yield f"`bench/results/{stem}.json`; {disturbed} of {played} rounds were disturbed.\n"
        yield f"- {results.system}, Python {results.python}, NumPy {results.numpy}"
        yield "".join(f"- {line}\n" for line in results.versions)
        report = Report()
        for pair in pictures.pairs(results):
            share = "-" if pair.ours.of_limit is None else f"{pair.ours.of_limit:.0%}"
            ours, best = (1e6 * (cell.seconds or 0) for cell in (pair.ours, pair.best))
            report.add(
                stem,
                {"work": str(pair.sizes), "fastlstm us": ours, "of the limit": share, "best rival": pair.best.label}
                | {"its us": best, "ratio": pair.ratio},
            )
        yield _table(report)
        yield _footprints(results)
        for name, told in TEXTS.items():
            yield f"![{told}](assets/bench/{stem}-{name}.svg)\n"


def _footprints(results: Results) -> str:
    """Write the table of what it costs to have each, if that was measured."""
    report = Report()
    for cell in results.footprint:
        report.add("", footprint.row(cell.figures, cell.label))
    return _table(report)


def _table(report: Report) -> str:
    """Write the one table of a report without its header and its title; nothing if there is none."""
    return report.markdown().partition("\n\n")[2].partition("\n\n")[2] if report.tables else ""


def outdated(root: Path) -> list[str]:
    """Name the files that are not what the results give, and those that no result gives."""
    files = made(root)
    there = {(FOLDER / path.name).as_posix() for path in (root / FOLDER).glob("*")}
    return sorted(
        {name for name, text in files.items() if not (root / name).exists() or _text(root / name) != text}
        | (there - set(files))
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def renew(root: Path) -> None:
    """Write everything, and remove drawings of results that are gone."""
    files = made(root)
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    for path in (root / FOLDER).glob("*"):
        path.unlink()
    for name, text in files.items():
        (root / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(outdated(ROOT)) or 0)
    renew(ROOT)
