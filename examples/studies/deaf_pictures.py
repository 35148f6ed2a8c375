"""Drawings, tables and numbers of docs/deaf.md, from the files of the studies alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import record
from .svg import Drawing, Scale

WINDOWS = ("0 to 2 s", "2 to 5 s", "5 to 10 s", "10 to 20 s", "20 to 40 s", "all 44 s")
NOISES = (("white", ""), ("pink", "3 4"))
STATES = (("fresh", "a", "a fresh state"), ("after noise", "b", "after the noise"))
STATES += (("without the cause", "c", "the same, one unit zeroed"),)
KNOCK_OUTS = ("fresh", "as the noise left it", "cause zeroed", "largest zeroed", "cells beyond 10 zeroed")
KNOCK_OUTS += ("cells clipped to 5", "all but the cause zeroed")
POLICIES = (("never", "nothing"), ("all", "all 128 units"), ("cause", "the one unit"))


def _result(cell: str) -> Any:
    return record.read("deaf")[cell]["result"]


def _settings(cell: str) -> Any:
    return record.read("deaf")[cell]["settings"]


def deaf_time() -> Drawing:
    """Draw how it becomes deaf along an hour of noise, and two cells."""
    drawing = Drawing(720, 390, "Along an hour of noise less is heard of the first words, and two cells grow")
    x, y = Scale(0, 60, 50, 330), Scale(0, 1, 270, 40)
    names = ("minutes of noise", "heard of the speech")
    drawing.axes(x, y, (0, 20, 40, 60), (0, 0.25, 0.5, 0.75, 1), names, "{:.0%}".format)
    cells = Scale(0, 60, 430, 700), Scale(0.5, 500, 270, 40, is_log=True)
    drawing.axes(*cells, (0, 20, 40, 60), (1, 10, 100), ("minutes of noise", "size of the cell"))
    for kind, dash in NOISES:
        told, minutes = _result(f"over time, {kind}"), _settings(f"over time, {kind}")["minutes"]
        for window, color in ((0, "b"), (2, "d"), (4, "a")):
            points = [
                (x(m), y(heard[window] / told["said"][window])) for m, heard in zip(minutes, told["heard"], strict=True)
            ]
            drawing.line(points, color, 2.5, dash)
        for unit, color in ((told["largest"], "e"), *((unit, "b") for unit in told["cause"])):
            sizes = zip(minutes[1:], told["cells"][str(unit)][1:], strict=True)
            drawing.line([(cells[0](m), cells[1](abs(c))) for m, c in sizes], color, 2.5, dash)
    told = _result("over time, white")
    drawing.legend(50, 330, [(f"in the first words: {WINDOWS[0]}", "b")])
    drawing.legend(50, 350, [(WINDOWS[2], "d")])
    drawing.legend(160, 350, [(WINDOWS[4], "a")])
    drawing.legend(430, 330, [(f"unit {told['largest']}: harmless", "e"), (f"unit {told['cause'][0]}: the cause", "b")])
    drawing.text(50, 378, "solid: white noise; dashed: pink noise", at="start", size=12)
    return drawing


def deaf_units() -> Drawing:
    """Draw each unit: how large its cell is, and what it does to the answer."""
    told = _result("health, white")
    drawing = Drawing(720, 340, "The largest cell changes next to nothing; the one to blame is not large")
    x, y = Scale(0.001, 1000, 70, 690, is_log=True), Scale(-0.1, 1, 270, 40)
    marks = (0.001, 0.01, 0.1, 1, 10, 100, 1000)
    names = ("size of the cell after an hour of white noise", "share of the difference that is gone once it is zeroed")
    drawing.axes(x, y, marks, (0, 0.25, 0.5, 0.75, 1), names, "{:.0%}".format)
    cause, largest = told["causes"][0][0], told["largest"][0][0]
    for unit, (c, share) in enumerate(zip(told["cells"], told["restored"], strict=True)):
        at = x(min(max(abs(c), x.low), x.high)), y(max(share, y.low))
        is_named = unit in (cause, largest)
        size = 10 if is_named else 6
        color = "b" if unit == cause else "e" if unit == largest else "a"
        drawing.bar(at[0] - size / 2, at[1] - size / 2, size, size, color, 1 if is_named else 0.5)
        if is_named:
            word = "the cause" if unit == cause else "large, harmless"
            drawing.text(at[0] - 10, at[1] + 5, f"unit {unit}: {word}", at="end", size=12)
    return drawing


def deaf_states() -> Drawing:
    """Draw what is heard from a fresh state, after the noise, and with one unit zeroed."""
    drawing = Drawing(720, 350, "After an hour of noise the first seconds are lost; with one unit zeroed they are not")
    y = Scale(0, 1, 250, 40)
    for panel, (kind, _) in enumerate(NOISES):
        told, left = _result(f"by level, {kind}"), 55 + panel * 345
        marks = (0, 0.25, 0.5, 0.75, 1)
        drawing.axes(Scale(0, 1, left, left + 300), y, (), marks, ("", f"heard, {kind} noise"), "{:.0%}".format)
        for window, name in enumerate(WINDOWS[:5]):
            for bar, (state, color, _) in enumerate(STATES):
                share = told[state][-1][window] / told["said"][window]
                at = left + 8 + window * 59 + bar * 16
                drawing.bar(at, y(share), 14, y(0) - y(share), color, 0.9)
            drawing.text(left + 31 + window * 59, 268, name.removesuffix(" s").replace(" to ", "-"), size=11)
        drawing.text(left + 150, 288, "seconds from the first word on", size=12)
    for k, (_, color, name) in enumerate(STATES):
        drawing.legend(55 + (0, 150, 310)[k], 326, [(name, color)])
    return drawing


def deaf_resets() -> Drawing:
    """Draw what resets every five seconds cost, and what they bring."""
    drawing = Drawing(
        720, 270, "To zero one unit every five seconds costs nothing that counts; to zero all of them does"
    )
    x = Scale(0.78, 0.96, 190, 690)
    for mark in (0.8, 0.85, 0.9, 0.95):
        drawing.line([(x(mark), 20), (x(mark), 190)], "faint", 1)
        drawing.text(x(mark), 208, f"{mark:.0%}", size=12)
    drawing.text(440, 230, "heard of all speech, 18 dB quieter than recorded", size=12)
    white, pink = _result("policies, white"), _result("policies, pink")
    for row, (policy, name) in enumerate(POLICIES):
        middle = 50 + row * 60
        drawing.text(176, middle + 5, f"zeroed: {name}", at="end")
        drawing.line([(x(x.low), middle), (x(x.high), middle)], "faint", 1)
        marks = ((white["quiet"], "a"), (white["noise"], "b"), (pink["noise"], "d"))
        for k, (told, color) in enumerate(marks):
            at = x(told[policy][-1][-1] / white["said"][-1])
            drawing.bar(at - 4, middle - 19 + 13 * k, 8, 12, color)
    entries = ("no noise before", "a"), ("after an hour of white noise", "b"), ("after an hour of pink noise", "d")
    for k, (name, color) in enumerate(entries):
        drawing.legend(150 + (0, 150, 350)[k], 258, [(name, color)])
    return drawing


def knock_outs() -> str:
    """Write the table of what is heard from changed states."""
    shown = [*range(3), len(WINDOWS) - 1]
    heads = " | ".join(WINDOWS[window] for window in shown)
    lines = [f"| state, after white noise | {heads} | after pink: all |", "| --- |" + " ---: |" * 5]
    white, pink = _result("knock-outs, white"), _result("knock-outs, pink")
    for name in KNOCK_OUTS:
        heard = white["heard"][name]
        shares = [heard[window] / white["said"][window] for window in shown]
        shares.append(pink["heard"][name][-1] / pink["said"][-1])
        lines.append(f"| {_named(name, white)} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    return "\n".join(lines)


def _named(name: str, told: dict[str, Any]) -> str:
    cause, largest = ", ".join(map(str, told["cause"])), told["largest"]
    return (
        name.replace("all but the cause", f"all but unit {cause}")
        .replace("cause", f"unit {cause}")
        .replace("largest", f"the largest, unit {largest},")
    )


def levels() -> str:
    """Write the table of louder and quieter voices."""
    quieter = _settings("by level, white")["quieter"]
    heads = [f"{level} dB quieter" if level else "as recorded" for level in quieter]
    lines = ["| first 5 seconds | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(quieter)]
    for kind, _ in NOISES:
        told = _result(f"by level, {kind}")
        for state, _, name in STATES:
            if kind == "pink" and state == "fresh":
                continue
            shares = [(heard[0] + heard[1]) / (told["said"][0] + told["said"][1]) for heard in told[state]]
            which = name if state == "fresh" else f"{kind} noise: {name}"
            lines.append(f"| {which} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    return "\n".join(lines)


def going_on() -> str:
    """Write the table of speech while the noise goes on."""
    lines = ["| all of the speech, within the noise | as recorded | 6 dB quieter |", "| --- | ---: | ---: |"]
    for kind, _ in NOISES:
        told = _result(f"within, {kind}")
        for state, _, name in STATES:
            shares = [heard[-1] / told["said"][-1] for heard in told[state]]
            lines.append(f"| {kind}: {name} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
    return "\n".join(lines)


#: What the page says with numbers.
SENTENCES = (
    "Before the noise it hears {before} of the speech in the first two seconds, after an hour of white noise {white}, "
    "of pink noise {pink}.",
    "The first minutes do the most: after two of them it is {two}.",
    "layer 0, unit {cause}: zeroing its state alone takes {share} of the difference to a fresh answer away",
    "layer 0: the state changes the answer to the probe for {steps} of its {probe} steps",
    "After white noise the cell of unit {cause} stands at {cause_cell}. The largest of all, of unit {largest}, stands "
    "at {largest_cell}.",
    "In white noise unit {cause} takes {noise_minutes} minutes to lose half of its cell. In speech it takes "
    "{speech_seconds} seconds.",
    "After an hour of speech, again and again, nobody is named: the answers agree from the first step on.",
    "After white noise it brings {all_noise} instead of {never_noise}.",
    "costs the quiet voice {all_cost} points, {all_quiet} instead of {never_quiet}, and a voice as recorded "
    "{all_loud}.",
    "To zero the one unit costs {cause_cost}, and after white noise brings {cause_noise}.",
    "Kept alone, with all others fresh, it costs {alone} points after white noise; the whole state costs {whole}.",
    "Unit {second} makes up for {second_share} of the difference",
)


def numbers() -> dict[str, str]:
    """Return every number of the sentences, as it is written."""
    white, pink = _result("over time, white"), _result("over time, pink")
    health, speech = _result("health, white"), _result("health, speech")
    policies = _result("policies, white")
    assert not speech["causes"]
    assert speech["steps"] == 0
    cause, share = health["causes"][0]
    largest, cell, _ = health["largest"][0]
    second, second_share = health["strongest"][1]

    def first(told: Any, mark: int) -> str:
        return f"{told['heard'][mark][0] / told['said'][0]:.0%}"

    def heard(place: str, policy: str, level: int = -1) -> float:
        return 100 * float(policies[place][policy][level][-1] / policies["said"][-1])

    knocked = {
        name: 100 * told[-1] / policies["said"][-1] for name, told in _result("knock-outs, white")["heard"].items()
    }

    return {
        "before": first(white, 0),
        "white": first(white, -1),
        "pink": first(pink, -1),
        "two": first(white, 2),
        "cause": str(cause),
        "share": f"{share:.0%}",
        "steps": str(health["steps"]),
        "probe": str(health["probe"]),
        "cause_cell": f"{health['cells'][cause]:.1f}",
        "largest": str(largest),
        "largest_cell": f"{cell:.0f}",
        "noise_minutes": f"{health['half-life'][cause] * 0.032 / 60:.0f}",
        "speech_seconds": f"{speech['half-life'][cause] * 0.032:.0f}",
        "all_cost": f"{heard('quiet', 'never') - heard('quiet', 'all'):.1f}",
        "all_quiet": f"{heard('quiet', 'all'):.1f}%",
        "never_quiet": f"{heard('quiet', 'never'):.1f}%",
        "all_noise": f"{heard('noise', 'all'):.1f}%",
        "all_loud": f"{heard('quiet', 'never', 0) - heard('quiet', 'all', 0):.1f}",
        "alone": f"{knocked['fresh'] - knocked['all but the cause zeroed']:.1f}",
        "whole": f"{knocked['fresh'] - knocked['as the noise left it']:.1f}",
        "cause_cost": f"{heard('quiet', 'never') - heard('quiet', 'cause'):.1f}",
        "cause_noise": f"{heard('noise', 'cause'):.1f}%",
        "never_noise": f"{heard('noise', 'never'):.1f}%",
        "second": str(second),
        "second_share": f"{second_share:.0%}",
    }


PICTURES: dict[str, Callable[[], Drawing]] = {
    draw.__name__: draw for draw in (deaf_time, deaf_units, deaf_states, deaf_resets)
}
