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
    "**A sum instead of the product** is {sum_times} times worse at adding: {sum_adding}.",
    "The mean of abs(c) at adding goes from {none_first} in the first example to {none_last} in the tenth. That of the "
    "LSTM goes from {lstm_first} to {lstm_last}.",
    "Its cells are {sum_first} large in the first example already",
    "at counting from {line_first} to {line_last}.",
    "Unit {parenthesis} of the first layer is a cell for parentheses, with a correlation of {parenthesis_r}.",
    "Its cell is {parenthesis_up} after the mark that opens, and {parenthesis_down} after the one that closes.",
    "Unit {quoted} does so for quotes, {quoted_r}.",
    "Unit {blank} forgets at every blank: f is {blank_f} there, and {blank_else} elsewhere.",
    "Unit {indent} counts indentation: its cell is {indent_0} in lines without, {indent_8} behind 8 blanks, "
    "{indent_16} behind 16.",
    "Unit {newline} forgets at the end of a line: f is {newline_f} there, {newline_else} elsewhere.",
    "Strings within a line have no unit of their own: {code_quoted}, beside {code_quoted_luck} by luck.",
    "At the mark that closes, f is {closing_f}, and {closing_taken} is taken away.",
    "At the end of a line {column_taken} is taken from its cell, and {column_forgotten} forgotten.",
    "{taken_share} of all that its cells lose is taken away, the rest is forgotten.",
    "its forget gate for the end of a line is {adds_newline_f} there, instead of {newline_f}.",
    "Its cells are {adds_size} large on average, instead of {code_size}.",
    "{adds_loss} nats a character on modules that it never saw, instead of {code_loss}.",
    "With forget bias 6 the cells reach {drift_sigmoid} after 500 steps, with a signed candidate {drift_tanh}.",
)


def _result(study: str, cell: str) -> Any:
    return record.read(study)[cell]["result"]


def _percent(part: int, whole: int) -> str:
    return _percent_of(part / whole)


def _percent_of(share: float) -> str:
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
    return made | _of_ablations() | _of_units()


def _of_units() -> dict[str, str]:
    words, told = _result("units", "words"), _result("units", "words, steps")
    code, steps = _result("units", "code, tanh"), _result("units", "steps, tanh")
    indent = {level: cell for level, _, cell in _result("units", "levels")["indent"]}
    cells_, adds = (_result("units", f"training, {each}") for each in ("tanh", "sigmoid"))
    lost = cells_["cells"]
    return {
        **{label: str(words[label]["unit"]) for label in ("parenthesis", "quoted", "blank")},
        **{f"{label}_r": f"{words[label]['measured']:.2f}" for label in ("parenthesis", "quoted")},
        "parenthesis_up": f"{told['parenthesis']['rises']['after']:.2f}",
        "parenthesis_down": f"{told['parenthesis']['falls']['after']:.2f}",
        "blank_f": f"{told['blank']['rises']['f']:.2f}",
        "blank_else": f"{told['blank']['else']['f']:.2f}",
        **{label: str(code[label]["unit"]) for label in ("indent", "newline")},
        **{f"indent_{level}": f"{indent[level]:.0f}" for level in (0, 8, 16)},
        "newline_f": f"{steps['newline']['rises']['f']:.2f}",
        "newline_else": f"{steps['newline']['else']['f']:.2f}",
        "code_quoted": f"{abs(code['quoted']['measured']):.2f}",
        "code_quoted_luck": f"{code['quoted']['most_by_luck']:.2f}",
        "closing_f": f"{told['parenthesis']['falls']['f']:.2f}",
        "closing_taken": f"{told['parenthesis']['falls']['taken']:.2f}",
        "column_taken": f"{steps['column']['falls']['taken']:.2f}",
        "column_forgotten": f"{steps['column']['falls']['forgotten']:.2f}",
        "taken_share": _percent_of(lost["taken"] / (lost["taken"] + lost["forgotten"])),
        "adds_newline_f": f"{_result('units', 'steps, sigmoid')['newline']['rises']['f']:.2f}",
        "adds_size": f"{adds['cells']['size']:.0f}",
        "code_size": f"{lost['size']:.0f}",
        "adds_loss": f"{adds['held_out']:.2f}",
        "code_loss": f"{cells_['held_out']:.2f}",
    }


def _of_ablations() -> dict[str, str]:
    lstm, alone, adds = (
        median("adding", name) for name in ("LSTM", "no input gate: g alone", "g by sigmoid: only adds")
    )
    summed, line = median("adding", "sum instead of product"), drift("counting", "no output tanh")
    sizes = {name: drift("adding", name) for name in ("LSTM", "no forget gate", "sum instead of product")}
    return {
        "sum_times": f"{summed / lstm:.0f}",
        "sum_adding": written(summed),
        "none_first": written(sizes["no forget gate"][0]),
        "none_last": written(sizes["no forget gate"][1]),
        "lstm_first": written(sizes["LSTM"][0]),
        "lstm_last": written(sizes["LSTM"][1]),
        "sum_first": written(sizes["sum instead of product"][0]),
        **{f"line_{when}": written(size) for when, size in zip(("first", "last"), line, strict=True)},
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


# ---- units

#: Where units let go: cells of the study, and in them labels, rises or falls, and what to call them.
LETTING_GO = (
    (
        "words, steps",
        "published model",
        (
            ("parenthesis", "falls", ")"),
            ("quoted", "falls", "second quote"),
            ("blank", "rises", "at a blank"),
        ),
    ),
    (
        "steps, tanh",
        "model of code",
        (("comment", "falls", "end of a comment"), ("newline", "rises", "newline"), ("column", "falls", "column to 0")),
    ),
    (
        "steps, sigmoid",
        "only adds",
        (("comment", "falls", "end of a comment"), ("newline", "rises", "newline"), ("column", "falls", "column to 0")),
    ),
)


def unit(cell: str, told: dict[str, Any]) -> str:
    """Name a unit that was found; those of the published model's second layer come after the 128 of the first."""
    if cell != "words":
        return str(told["unit"])
    return f"{told['unit'] % 128}, layer {told['unit'] // 128 + 1}"


def found() -> str:
    """Return the rows of the table of units."""
    lines = []
    for cell, model in (("words", "published"), ("code, tanh", "code"), ("code, sigmoid", "code, only adds")):
        for label, told in _result("units", cell).items():
            what = f"{told['of']} of {unit(cell, told)}"
            numbers_ = " | ".join(f"{told[each]:.2f}" for each in ("chosen", "measured", "most_by_luck"))
            lines.append(f"| {model} | {label} | {what} | {numbers_} |")
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


def drift(task: str, variant: str) -> tuple[float, float]:
    """Return the mean of |c| in the first and in the last piece of a stream: medians of five seeds."""
    told = _result("ablations", f"{task}, {variant}")["cells"]
    first, last = (statistics.median(seed[at] for seed in told) for at in (0, -1))
    return first, last


def saturated(task: str, variant: str, gate: str) -> float | None:
    """Return in which share of steps a gate is at an end of its range, the median of five; None if it has no ends."""
    told = _result("ablations", f"{task}, {variant}")["saturated"]
    return statistics.median(seed[gate] for seed in told) if gate in told[0] else None


def cells() -> str:
    """Return the rows of the table of cells and gates."""
    lines = []
    for name in variants():
        sizes = [f"{written(first)} to {written(last)}" for first, last in (drift(task, name) for task in SPAN)]
        shares = [saturated("text", name, gate) for gate in "ifog"]
        ends_ = ["-" if share is None else f"{share:.0%}" for share in shares]
        lines.append(f"| {name} | " + " | ".join(sizes + ends_) + " |")
    return "\n".join(lines)


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
