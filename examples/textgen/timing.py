"""How long each engine takes for the next character, measured only after its answer has been checked."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from .check import Checker
from .engines import ENGINES, RIVALS
from .model import TextModel
from .texts import WINDOW, Numbers
from .weights import Weights

LAYERS = 2

Argument = TypeVar("Argument")


@dataclass(frozen=True)
class Timing:
    """One engine's line in the table."""

    characters_per_second: float
    seconds_per_step: float  # one layer, one character
    error: float  # of the layers' outputs, the largest


def measure(weights: Weights, windows: Numbers, rounds: int) -> dict[str, Timing | str]:
    """Time all engines on the same windows [N, T], one window at a time, in turns; medians, or why there are none."""
    rows: dict[str, Timing | str] = {}
    ready: dict[str, tuple[TextModel, float]] = {}
    for name, build in ENGINES.items():
        try:
            model = TextModel(weights, build(weights))
            ready[name] = model, _error(weights, model, windows, name)
        except ModuleNotFoundError as error:
            rows[name] = f"not measured, {error.name} is not installed"
        except Exception as error:
            if name not in RIVALS:
                raise  # our own mistake ends the demo; a rival's costs it its place, whatever went wrong
            rows[name] = f"not measured, {type(error).__name__}: {error}"
    whole: dict[str, list[float]] = {name: [] for name in ready}
    layers: dict[str, list[float]] = {name: [] for name in ready}
    for turn in range(rounds):  # in turns, so that a slow moment of the machine meets everybody
        question = windows[turn % len(windows)][None]
        for name, (model, _) in ready.items():
            inputs = model.embed(question)
            # Once before the clock runs: the turn begins with the engine's own weights in the cache.
            model(question)
            whole[name].append(_clock(model, question))
            layers[name].append(_clock(model.engine, inputs))
    for name, (_, error_of_h) in ready.items():
        rows[name] = Timing(
            1 / statistics.median(whole[name]), statistics.median(layers[name]) / (LAYERS * WINDOW), error_of_h
        )
    return {name: rows[name] for name in ENGINES}


def _error(weights: Weights, model: TextModel, windows: Numbers, name: str) -> float:
    """Check an engine, asked as it will be timed: one window at a time; return the largest error of its outputs."""
    checker = Checker(weights)
    for row in windows[:: max(1, len(windows) // 8)]:
        checker.check(row[None], model(row[None]), name)
    return max(checker.worst["lstm_1"], checker.worst["lstm_2"])


def _clock(work: Callable[[Argument], object], argument: Argument) -> float:
    start = time.perf_counter()
    work(argument)
    return time.perf_counter() - start


def same_bits(weights: Weights, windows: Numbers) -> bool:
    """Tell whether fastlstm gives the same bits for a window alone, in a batch, without a table, and step by step."""
    engines = {name: build(weights) for name, build in ENGINES.items() if name.startswith("fastlstm")}
    embed = TextModel(weights, engines["fastlstm"]).embed
    together, untabled, by_step = (engine(embed(windows)) for engine in engines.values())
    alone = [engines["fastlstm"](embed(window[None])) for window in windows]
    return all(
        np.array_equal(together[layer], by_step[layer])
        and np.array_equal(together[layer], untabled[layer])
        and np.array_equal(together[layer], np.concatenate([one[layer] for one in alone], axis=1))
        for layer in range(LAYERS)
    )
