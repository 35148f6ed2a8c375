"""The numbers in docs/gates.md, from the files of the studies alone."""

from __future__ import annotations

import math
import statistics
from typing import Any

from . import record

DISTANCES = (10, 100, 1000)
RANGES = (3, 6, 12, 24, 48)

#: What the page says with them.
SENTENCES = (
    "The largest one is {cos_1} in the first layer and {cos_2} in the second.",
    "The median size is {median_1} and {median_2}.",
    "on {windows} windows of the Zen of Python, {steps} steps of units a layer",
    "They write less than 0.1 in {wrote_1} and {wrote_2} of all steps.",
    "Their candidates alone would have been so small in {alone_1} and {alone_2}.",
    "of all steps with a loud candidate (more than 0.9), {shut_1} and {shut_2} stood before a switch below 0.1.",
    "Where both gates are open, {against_1} and {against_2} of the steps write against the sign of the cell.",
    "adding ends at {alone} instead of {lstm}, {times} times the error.",
    "**A candidate that only adds** is {adds_times} times worse at adding.",
    "costs less, but it costs: {shared} at adding.",
    "**A plain recurrence** does not learn to add: {plain}.",
    "**Without a forget gate** the text suffers: {no_forget} instead of {lstm_text}.",
    "With forget bias 6 the cells reach {drift_sigmoid} after 500 steps, with a signed candidate {drift_tanh}.",
)


def _result(study: str, cell: str) -> Any:
    return record.read(study)[cell]["result"]


def _percent(part: int, whole: int) -> str:
    share = part / whole
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def numbers() -> dict[str, str]:
    """Return every number of the sentences, as it is written."""
    made = {
        "windows": str(_result("published", "writes, lstm_1")["windows"]),
        "steps": f"{_result('published', 'writes, lstm_1')['steps'] / 1e6:.1f} million",
        "drift_sigmoid": f"{_result('drift', 'sigmoid, forget bias 6')['size'][-1]:.0f}",
        "drift_tanh": f"{_result('drift', 'tanh, forget bias 6')['size'][-1]:.0f}",
    }
    for layer in "12":
        cosines = _result("published", f"matrices, lstm_{layer}")["cosine"]
        writes = _result("published", f"writes, lstm_{layer}")
        regions = _result("published", f"regions, lstm_{layer}")
        made |= {
            f"cos_{layer}": f"{max(cosines):.2f}",
            f"median_{layer}": f"{statistics.median(map(abs, cosines)):.2f}",
            f"wrote_{layer}": _percent(writes["by_product"][-1], writes["steps"]),
            f"alone_{layer}": _percent(writes["by_tanh_alone"][-1], writes["steps"]),
            f"shut_{layer}": _percent(writes["shut_before_a_loud_candidate"], writes["loud_candidate"]),
            f"against_{layer}": _percent(regions["take"], regions["take"] + regions["add"]),
        }
    return made | _of_ablations()


def _of_ablations() -> dict[str, str]:
    lstm, alone, adds = (
        median("adding", name) for name in ("LSTM", "no input gate: g alone", "g by sigmoid: only adds")
    )
    return {
        "lstm": written(lstm),
        "alone": written(alone),
        "times": f"{alone / lstm:.0f}",
        "adds_times": f"{adds / lstm:.0f}",
        "shared": written(median("adding", "i and g share weights")),
        "plain": written(median("adding", "plain recurrence")),
        "no_forget": written(median("text", "no forget gate"), 3),
        "lstm_text": written(median("text", "LSTM"), 3),
    }


def volumes() -> str:
    """Return the rows of the table of volumes."""
    cells = [_result("unit", f"volume, {most}") for most in RANGES]
    rows = (("product", "sigmoid(a) * tanh(b)"), ("tanh", "tanh(b)"))
    return "\n".join(
        f"| `{title}` | " + " | ".join(f"{cell[name] / cell['places']:.1%}" for cell in cells) + " |"
        for name, title in rows
    )


def distances() -> str:
    """Return the rows of the table of gradient norms."""
    lines = []
    for name, cell in record.read("distance").items():
        told = cell["result"]
        for key, what in (("whole", name), ("cell", f"{name}, cells alone")):
            if key in told:
                norms = [told[key][told["distance"].index(k)] for k in DISTANCES]
                lines.append(f"| {what} | " + " | ".join(written(norm) for norm in norms) + " |")
    return "\n".join(lines)


# ---- ablations

#: Tasks, and the errors that their panels show.
SPAN = {"recall": (5e-4, 0.2), "adding": (5e-5, 0.3), "counting": (5e-6, 0.1), "text": (0.009, 0.02)}


def variants() -> list[str]:
    """Return the names of the variants."""
    return [name.removeprefix("recall, ") for name in record.read("ablations") if name.startswith("recall, ")]


def ends(task: str) -> dict[str, list[float]]:
    """Return where each seed of each variant ends: the mean of its last three errors, since the last one jumps."""
    made = {}
    for name in variants():
        errors = _result("ablations", f"{task}, {name}")["errors"]
        made[name] = [math.fsum(seed[-3:]) / 3 for seed in errors]
    return made


def median(task: str, variant: str) -> float:
    """Return the median of the five."""
    return statistics.median(ends(task)[variant])


def marks(low: float, high: float) -> list[float]:
    """Return what to mark on an axis: every second power of ten, where there are two."""
    if high < 10 * low:
        return [0.01, 0.015]
    first = math.ceil(math.log10(low))
    return [10.0**power for power in range(first, math.floor(math.log10(high)) + 1, 2)]


def written(number: float, digits: int = 2) -> str:
    """Write so many digits."""
    return f"{float(f'{number:.{digits}g}'):g}"


def ablations() -> str:
    """Return the rows of the table of ablations: medians, and the least and the largest of five."""
    lines = []
    for name in variants():
        told = []
        for task in SPAN:
            found = ends(task)[name]
            digits = 3 if task == "text" else 2
            middle, least, most = (written(each, digits) for each in (statistics.median(found), min(found), max(found)))
            told.append(f"{middle} ({least} to {most})")
        lines.append(f"| {name} | " + " | ".join(told) + " |")
    return "\n".join(lines)
