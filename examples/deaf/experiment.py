"""An hour of noise, then speech: what is heard, and whose doing it is. Counts of frames, the same on every machine."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastlstm

from . import detector, sound
from .detector import Floats, State
from .sound import FRAME, RATE

MINUTE = 60 * RATE // FRAME  # in frames
SEED, LEVEL = 0, -30  # of the noise, in dBFS
EVERY = 25  # a trace of an hour keeps each 25th frame
WINDOWS = (0, 2, 5, 10, 20, 40)  # seconds from the first word on


class Noise(NamedTuple):
    """Steady noise: white or pink, or nothing but speech, again and again."""

    kind: str
    minutes: int


@functools.cache
def inputs(noise: Noise) -> Floats:
    """Return what the LSTM hears of it [T, 128]."""
    if noise.kind == "speech":
        said = detector.features(np.concatenate(sound.recordings()))
        return np.tile(said, (-(-noise.minutes * MINUTE // len(said)), 1))[: noise.minutes * MINUTE]
    return detector.joined(sound.noise(noise.kind, noise.minutes, LEVEL, SEED))


@functools.cache
def spoken(quieter: int) -> Floats:
    """Return what it hears of the speech, so many decibels quieter: [T, turns, 128]."""
    turns = sound.turns(sound.recordings())
    return np.stack([detector.features(sound.quieter(turn, quieter)) for turn in turns], axis=1)


@functools.cache
def loud() -> NDArray[np.bool_]:
    """Tell which frames are speech: [T, turns]."""
    return np.stack([sound.is_loud(turn) for turn in sound.turns(sound.recordings())], axis=1)


@functools.cache
def state_after(noise: Noise) -> State:
    """Return the state that the noise leaves."""
    return detector.listen(inputs(noise)[:, np.newaxis]).state


@functools.cache
def health_after(noise: Noise, quieter: int) -> tuple[fastlstm.Health, fastlstm.GateTrace[Any]]:
    """Let `fastlstm.health` look at it: its probe is the speech, its answers are probabilities."""
    trace = detector.traced(inputs(noise), EVERY)
    probe = spoken(quieter)[:, 0]
    found = fastlstm.health(trace, lstm=detector.model().lstm, probe=probe, readout=detector.probability)
    return found, trace


def causes(noise: Noise, quieter: int) -> list[int]:
    """Return the units that it names."""
    effect = health_after(noise, quieter)[0].effect
    assert effect is not None, "there is a probe"
    return [cause.unit for cause in effect.causes]


def heard(speech: NDArray[np.bool_]) -> list[int]:
    """Count frames of speech that are found, by the seconds since the first word, and at last in all: [6]."""
    edges = [seconds * RATE // FRAME for seconds in WINDOWS]
    found = speech & loud()
    return [int(found[a:b].sum()) for a, b in itertools.pairwise(edges)] + [int(found.sum())]


def said() -> list[int]:
    """Count all frames of speech, likewise."""
    return heard(np.ones_like(loud()))


# ---- what is measured


def over_time(kind: str, minutes: list[int], quieter: int) -> dict[str, Any]:
    """Follow an hour of noise: what is heard after so many minutes of it, and two cells."""
    x, state, at = inputs(Noise(kind, minutes[-1])), None, 0
    found, cells, alarms = [], [], 0
    for mark in minutes:
        if mark > at:
            run = detector.listen(x[at * MINUTE : mark * MINUTE, np.newaxis], state)
            state, alarms, at = run.state, alarms + int(run.speech.sum()), mark
        found.append(heard(detector.listen(spoken(quieter), state).speech))
        cells.append(np.zeros(x.shape[1], np.float32) if state is None else state[1].reshape(-1))
    named = causes(Noise(kind, minutes[-1]), quieter)
    largest = int(np.abs(cells[-1]).argmax())
    return {
        "heard": found,
        "said": said(),
        "alarms": alarms,
        "cells": {str(unit): [float(c[unit]) for c in cells] for unit in (*named, largest)},
        "cause": named,
        "largest": largest,
    }


def by_level(kind: str, minutes: int, quieter: list[int]) -> dict[str, Any]:
    """Compare a fresh state, the noise's, and the noise's without the cause, for loud and for quiet voices."""
    noise = Noise(kind, minutes)
    made: dict[str, Any] = {"said": said(), "fresh": [], "after noise": [], "without the cause": []}
    for level in quieter:
        _compare(made, noise, level, spoken(level))
    return made


def _compare(made: dict[str, Any], noise: Noise, quieter: int, x: Floats) -> None:
    state = state_after(noise)
    cured = detector.without(state, causes(noise, quieter))
    for name, start in (("fresh", None), ("after noise", state), ("without the cause", cured)):
        made[name].append(heard(detector.listen(x, start).speech))


def judged(kind: str, minutes: int, quieter: int) -> dict[str, Any]:
    """Tell what `health` finds."""
    found, trace = health_after(Noise(kind, minutes), quieter)
    effect, growth = found.effect, found.growth
    assert effect is not None, "there is a probe"
    assert growth is not None, "the trace is long"
    c, half_life = trace.c_n.reshape(-1), found.half_life.reshape(-1)
    strongest = np.argsort(-effect.restored[0], kind="stable")[:3].tolist()
    largest = np.argsort(-np.abs(c), kind="stable")[:3].tolist()
    return {
        "steps": effect.steps,
        "probe": len(effect.difference),
        "causes": [[cause.unit, _rounded(cause.restored)] for cause in effect.causes],
        "strongest": [[unit, _rounded(effect.restored[0, unit])] for unit in strongest],
        "largest": [[unit, float(c[unit]), _rounded(effect.restored[0, unit])] for unit in largest],
        "grown": [[each.unit, _rounded(each.value)] for each in found.findings if each.kind == "growth"],
        "never closes": [each.unit for each in found.findings if "forget gate never closes" in each.text],
        "half-life": [_rounded(min(life, 1e9)) for life in half_life],
        "cells": c.tolist(),
        "restored": [_rounded(share) for share in effect.restored[0]],
        "says": [str(each) for each in found.findings if each.kind in ("effect", "cause")],
    }


def _rounded(value: float) -> float:
    """Keep six digits, which do not depend on the order of sums."""
    return float(f"{value:.6g}")


def knock_outs(kind: str, minutes: int, quieter: int) -> dict[str, Any]:
    """Zero or bound parts of the state that the noise left, and count what is heard."""
    noise = Noise(kind, minutes)
    state, named = state_after(noise), causes(noise, quieter)
    h, c = state
    largest, units = int(np.abs(c).argmax()), range(c.size)
    states = {
        "fresh": None,
        "as the noise left it": state,
        "cause zeroed": detector.without(state, named),
        "largest zeroed": detector.without(state, [largest]),
        "cells beyond 10 zeroed": detector.without(state, np.flatnonzero(np.abs(c) > 10).tolist()),
        "cells clipped to 5": (h, np.clip(c, -5, 5)),
        "all but the cause zeroed": detector.without(state, [unit for unit in units if unit not in named]),
    }
    made = {name: heard(detector.listen(spoken(quieter), start).speech) for name, start in states.items()}
    return {"said": said(), "heard": made, "cause": named, "largest": largest}


def policies(kind: str, minutes: int, quieter: list[int], seconds: int) -> dict[str, Any]:
    """Reset nothing, everything or the cause alone every few seconds; with the noise before the speech, and without."""
    noise, every = Noise(kind, minutes), round(seconds * RATE / FRAME)
    named = causes(noise, max(quieter))
    made: dict[str, Any] = {"said": said(), "every": every, "cause": named, "quiet": {}, "noise": {}}
    cures: dict[str, Callable[[State], State] | None] = {
        "never": None,
        "all": lambda state: detector.without(state, range(128)),
        "cause": lambda state: detector.without(state, named),
    }
    for name, cure in cures.items():
        for place, before in (("quiet", None), ("noise", inputs(noise))):
            start = None if before is None else _kept(before[:, np.newaxis], None, cure, every)[1]
            told = [heard(_kept(spoken(level), start, cure, every)[0]) for level in quieter]
            made[place][name] = told
    return made


def _kept(
    x: Floats, state: State | None, cure: Callable[[State], State] | None, every: int
) -> tuple[NDArray[np.bool_], State]:
    """Listen, and cure the state every so many frames, the first time after half as many."""
    parts, at, due = [], 0, every // 2 if cure else len(x)
    while at < len(x):
        run = detector.listen(x[at:due], state)
        parts.append(run.speech)
        state = cure(run.state) if cure and due <= len(x) else run.state
        at, due = due, due + every
    assert state is not None, "there were frames"
    return np.concatenate(parts), state


def within(kind: str, minutes: int, quieter: list[int]) -> dict[str, Any]:
    """Speak while the noise goes on."""
    noise = Noise(kind, minutes)
    going_on = next(sound.noise(kind, 1, LEVEL, SEED + 1)).astype(np.int64)
    made: dict[str, Any] = {"said": said(), "fresh": [], "after noise": [], "without the cause": []}
    for level in quieter:
        turns = [sound.quieter(turn, level) for turn in sound.turns(sound.recordings())]
        mixed = [np.clip(turn + going_on[: len(turn)], -32768, 32767).astype(np.int16) for turn in turns]
        _compare(made, noise, level, np.stack([detector.features(each) for each in mixed], axis=1))
    return made
