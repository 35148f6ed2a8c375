"""What ``fastlstm bench --json`` has written, read again: nothing in a file is believed before it was looked at."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from fastlstm.files._layer import printable, short

#: Of the JSON that is written; 1 had no mark. Keys are added without a new number.
FORMAT = 2
_MOST_BYTES = 1 << 26
_MOST_ROUNDS = 10_000  # of a cell: intervals need memory for each of them, thousands of times
_LEAST, _MOST = 1e-30, 1e30  # of what any clock or counter tells, and far enough from where ratios are zero or infinite
_SIZES = ("T", "B", "I", "H", "layers", "directions", "threads")

T = TypeVar("T")


def label_of(of: str, weights: str, form: str = "", *, one_thread: bool = False) -> str:
    """Name a contender as tables do; `one_thread`: with that alone, where others have more."""
    name = " ".join(filter(None, (of, form, "" if weights == "float32" else weights)))
    return f"{name}, 1 thread" if one_thread else name


@dataclass(frozen=True)
class Sizes:
    """What a work is."""

    T: int
    B: int
    I: int
    H: int
    layers: int
    directions: int
    threads: int
    name: str = ""
    family: str = ""

    def __str__(self) -> str:
        told = f"T={self.T} B={self.B} I={self.I} H={self.H}"
        told += f" layers={self.layers}" * (self.layers > 1) + " both directions" * (self.directions > 1)
        told += f" threads={self.threads}" * (self.threads > 1)
        return f"{self.name}: {told}" if self.name else told


@dataclass(frozen=True)
class Cell:
    """What one contender did with it; `seconds` is None where it did nothing, as `problem` tells."""

    of: str
    form: str
    weights: str
    seconds: float | None
    of_limit: float | None = None
    rounds: tuple[float, ...] = ()
    disturbed: tuple[bool, ...] = ()
    marked: bool = False
    problem: str = ""
    quantiles: tuple[tuple[float, float], ...] = ()
    one_thread: bool = False

    @property
    def label(self) -> str:
        """The contender as tables name it."""
        return label_of(self.of, self.weights, self.form, one_thread=self.one_thread)


@dataclass(frozen=True)
class Measured:
    """A work, and everyone's cells."""

    sizes: Sizes
    cells: tuple[Cell, ...]
    peak: float | None = None

    def cell(self, label: str) -> Cell | None:
        """Find a contender by its label."""
        return next((cell for cell in self.cells if cell.label == label), None)


FIGURES = ("installed_bytes", "import_seconds", "rss_bytes", "threads_left", "idle_cpu_seconds")


@dataclass(frozen=True)
class Footprint:
    """What it costs to have a contender: `FIGURES`, each None where it was not told."""

    label: str
    figures: Mapping[str, float | None]


@dataclass(frozen=True)
class Results:
    """A file."""

    path: str
    version: str
    isa: str
    date: str
    processor: str
    cpus: int
    system: str
    python: str
    numpy: str
    complete: bool
    versions: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    rounds: tuple[int, int] = (0, 0)  # played, disturbed
    footprint: tuple[Footprint, ...] = ()
    works: tuple[Measured, ...] = field(default=(), repr=False)

    @property
    def machine(self) -> str:
        """The machine, and what ran on it, in a line."""
        hidden = ", ".join(setting for setting in self.environment if setting.startswith("FASTLSTM_"))
        return ", ".join([self.processor, f"{self.cpus} CPUs", self.isa, *([hidden] if hidden else []), self.date[:10]])


def read(path: str) -> Results:
    """Read a file of results.

    Raises
    ------
    OSError
        When it cannot be read.
    ValueError
        When it is no such file, is cut off, or holds what no run writes; the message says what and where.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"more than the {_MOST_BYTES >> 20} MiB that results may have")
        return taken(path, json.loads(content.decode(), parse_constant=_no_number))
    except RecursionError:
        raise ValueError(f"{printable(path)} is no result of fastlstm bench: nested too deeply") from None
    except (ValueError, KeyError) as error:  # what json raises is a ValueError, too
        told = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{printable(path)} is no result of fastlstm bench: {told}") from None


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def taken(path: str, told: object) -> Results:
    """Check what a file holds, and take it out; ValueError or KeyError for what no run writes."""
    told = _is(told, dict, "the whole")
    version = _text(told, "fastlstm")
    if (number := _whole(told, "format_version") if "format_version" in told else 1) > FORMAT:
        raise ValueError(f"format_version is {number}, and this version of fastlstm knows them up to {FORMAT}")
    machine = _is(told["machine"], dict, "machine")
    return Results(
        path=path,
        version=version,
        isa=_text(told, "isa"),
        date=_text(told, "date"),
        processor=_text(machine, "processor"),
        cpus=_whole(machine, "cpus"),
        system=_text(machine, "system"),
        python=_text(told, "python"),
        numpy=_text(told, "numpy"),
        complete=_is(told["complete"], bool, "complete"),
        versions=tuple(_printed(line, "versions") for line in _is(told["versions"], list, "versions")),
        environment=tuple(_settings(told.get("environment"))),
        rounds=(_count(told, "rounds_played"), _count(told, "rounds_disturbed")),
        footprint=tuple(_located(_footprint, each, "footprint") for each in _listed(told, "footprint")),
        works=tuple(
            _located(_measured, work, f"works[{k}]") for k, work in enumerate(_is(told["works"], list, "works"))
        ),
    )


def _settings(told: object) -> list[str]:
    settings = {} if told is None else _is(told, dict, "environment")
    return sorted(f"{printable(name)}={_printed(value, 'a setting')}" for name, value in settings.items())


def _listed(told: Mapping[str, Any], name: str) -> list[Any]:
    return [] if told.get(name) is None else _is(told[name], list, name)


def _footprint(told: Mapping[str, Any]) -> Footprint:
    figures = {name: 0.0 if told.get(name) == 0 else _maybe(told, name) for name in FIGURES}
    return Footprint(label_of(_text(told, "of"), "float32", _maybe_text(told, "form")), figures)


def _located(read: Callable[[Any], T], told: object, where: str) -> T:
    """Read a part; what is wrong with it is told with where it is."""
    try:
        return read(_is(told, dict, "it"))
    except KeyError as error:
        raise ValueError(f"{where}: {error.args[0]} is missing") from None
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _measured(told: Mapping[str, Any]) -> Measured:
    numbers = {name: _whole(told, name) for name in _SIZES}
    sizes = Sizes(**numbers, name=_maybe_text(told, "name"), family=_maybe_text(told, "family"))
    cells = [_located(_cell, cell, f"results[{k}]") for k, cell in enumerate(_is(told["results"], list, "results"))]
    if len({cell.label for cell in cells}) < len(cells):
        raise ValueError("a contender is there twice")
    return Measured(sizes, tuple(cells), _maybe(told, "peak_flops"))


def _cell(told: Mapping[str, Any]) -> Cell:
    rounds = [_positive(time, "round_seconds") for time in _is(told["round_seconds"], list, "round_seconds")]
    disturbed = [_is(flag, bool, "round_disturbed") for flag in _is(told["round_disturbed"], list, "round_disturbed")]
    if len(rounds) > _MOST_ROUNDS:
        raise ValueError(f"round_seconds are {len(rounds)}, expected at most {_MOST_ROUNDS}")
    if len(rounds) != len(disturbed):
        raise ValueError(f"round_seconds are {len(rounds)}, round_disturbed {len(disturbed)}")
    return Cell(
        of=_text(told, "of"),
        form=_maybe_text(told, "form"),
        weights=_text(told, "weights"),
        seconds=_maybe(told, "seconds"),
        of_limit=_maybe(told, "of_limit"),
        rounds=tuple(rounds),
        disturbed=tuple(disturbed),
        marked=_is(told["marked"], bool, "marked"),
        problem=_maybe_text(told, "problem"),
        quantiles=tuple(_quantiles(told.get("calls"))),
        one_thread=_is(told.get("one_thread", False), bool, "one_thread"),
    )


def _quantiles(calls: object) -> list[tuple[float, float]]:
    if calls is None:
        return []
    made = []
    for pair in _is(_is(calls, dict, "calls")["quantiles"], list, "quantiles"):
        if len(_is(pair, list, "a quantile")) != 2:
            raise ValueError(f"a quantile should be a share and its seconds, got: {_shown(pair)}")
        share = pair[0] if pair[0] == 0 else _positive(pair[0], "a quantile's share")
        made.append((float(share), _positive(pair[1], "a quantile's seconds")))
    return made


def _is(value: object, kind: type[T], name: str) -> T:
    if type(value) is not kind:
        words = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
        raise ValueError(f"{name} should be {words.get(kind, kind.__name__)}, got: {_shown(value)}")
    return value


def _printed(value: object, name: str) -> str:
    return printable(_is(value, str, name))


def _text(told: Mapping[str, Any], name: str) -> str:
    return _printed(told[name], name)


def _maybe_text(told: Mapping[str, Any], name: str) -> str:
    return "" if told.get(name) is None else _text(told, name)


def _whole(told: Mapping[str, Any], name: str) -> int:
    value = told[name]
    if type(value) is not int or not 0 < value < 1 << 53:
        raise ValueError(f"{name} should be a whole number greater than zero, got: {_shown(value)}")
    return value


def _count(told: Mapping[str, Any], name: str) -> int:
    return 0 if told[name] == 0 else _whole(told, name)


def _maybe(told: Mapping[str, Any], name: str) -> float | None:
    return None if told.get(name) is None else _positive(told[name], name)


def _positive(value: object, name: str) -> float:
    number = float(value) if type(value) is float or (type(value) is int and value < 1 << 53) else math.nan
    if not 0 < number < math.inf:
        raise ValueError(f"{name} should be a number greater than zero, got: {_shown(value)}")
    if not _LEAST <= number <= _MOST:
        raise ValueError(f"{name} should be a number from {_LEAST:g} to {_MOST:g}, got: {_shown(value)}")
    return number


def _shown(value: object) -> str:
    return short(printable(repr(value)), 60)
