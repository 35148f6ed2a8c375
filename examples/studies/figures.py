"""The numbers in docs/gates.md, from the files of the studies alone."""

from __future__ import annotations

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
    return made


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
                lines.append(f"| {what} | " + " | ".join(f"{float(f'{norm:.2g}'):g}" for norm in norms) + " |")
    return "\n".join(lines)
