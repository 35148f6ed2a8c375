"""Frozen TorchScript: weights are numbered constants, and only the code tells what they are; it is read, not run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from .._sizes import Sizes
from ._layer import Layer, layer_of
from ._stored import Stored
from ._zip import Archive

_MOST_CODE_BYTES: Final = 2**24
_LIST: Final = re.compile(r"\s*(\w+) = \[((?:CONSTANTS\.c\d+(?:, )?)+)\]\s*")
_CLASS: Final = re.compile(r"class (\w+)\(Module\):")
_OF_A_CLASS: Final = re.compile(r"class |  (?:batch_first|dropout) : |torch\.lstm\(")
_OF_A_CALL: Final = re.compile(r"CONSTANTS\.c|torch\.lstm(?:_cell)?\(")
_OPTION: Final = re.compile(r"  (batch_first|dropout) : Final\[\w+\] = (True|False|\d{1,9}\.\d{0,20}(?:e-?\d{1,3})?)")
_MODULE: Final = re.compile(r"(?:self_+)?(.+?)_+flat_weights\d*")
_CONSTANT: Final = re.compile(r"CONSTANTS\.c(\d{1,9})")
_FLAGS: Final = {"True": True, "False": False}
_MOST_LAYERS: Final = 10_000
_MOST_CALLS: Final = 1000
_LONGEST_CALL: Final = 100_000
_LONGEST_NAME: Final = 200


class Code:
    """The code of an archive, as text."""

    def __init__(self, archive: Archive, root: str) -> None:
        self._archive, self._root = archive, f"{root}code/"
        self._texts: dict[str, str] = {}
        self._options: dict[str, dict[str, dict[str, bool | float]]] = {}

    def layers(self, constants: object) -> Iterator[Layer]:
        """Yield what it calls torch.lstm and torch.lstm_cell with, where that is constants."""
        known = dict(enumerate(constants)) if isinstance(constants, tuple | list) else {}
        names: set[str] = set()
        if not known:
            return
        for member in self._archive.members:
            text = self._text(member) if member.startswith(self._root) and member.endswith(".py") else ""
            if "CONSTANTS.c" in text:
                for layer in _of_code(text, known, names):
                    names.add(layer.name)
                    yield layer

    def options(self, name: str) -> dict[str, bool | float]:
        """Tell what a class of modules says beside its weights: in constants, or traced, in its call."""
        module, _, own = name.partition(" ")
        member = f"{self._root}{module.replace('.', '/')}.py"
        if member not in self._options:
            text = self._text(member) if member in self._archive.members else ""
            self._options[member] = _options_of_classes(text)
        return self._options[member].get(own, {})

    def _text(self, member: str) -> str:
        if member not in self._texts:
            self._texts[member] = bytes(self._archive.read(member, _MOST_CODE_BYTES)).decode("utf-8", "replace")
        return self._texts[member]


def _options_of_classes(code: str) -> dict[str, dict[str, bool | float]]:
    made: dict[str, dict[str, bool | float]] = {}
    options: dict[str, bool | float] = {}
    for line in _lines(code, _OF_A_CLASS):
        if found := _CLASS.fullmatch(line):
            options = made.setdefault(found[1], {})
        elif found := _OPTION.fullmatch(line):
            options[found[1]] = _FLAGS[found[2]] if found[2] in _FLAGS else float(found[2])
        elif "torch.lstm(" in line and "batch_first" not in options and line.endswith((", True)", ", False)")):
            options["batch_first"] = line.endswith(", True)")
    return made


def _lines(code: str, mark: re.Pattern[str]) -> Iterator[str]:
    """Yield the lines that have a mark, one by one: all at once they may take ten times the memory of the code."""
    place = 0
    while found := mark.search(code, place):
        start = code.rfind("\n", place, found.start()) + 1 or place
        place = code.find("\n", found.end())
        place = len(code) if place < 0 else place
        yield code[start:place]


def _of_code(code: str, known: dict[int, object], names: set[str]) -> Iterator[Layer]:
    lists: dict[str, str] = {}
    for line in _lines(code, _OF_A_CALL):
        if found := _LIST.fullmatch(line):
            lists[found[1]] = found[2]
        for call in ("torch.lstm(", "torch.lstm_cell("):
            start = line.find(call)
            if start >= 0:
                rest = line[start + len(call) :][:_LONGEST_CALL]
                yield _layer(call, rest, lists, known, names)


def _layer(call: str, rest: str, lists: dict[str, str], known: dict[int, object], names: set[str]) -> Layer:
    """Make the record of one call."""
    if len(names) > _MOST_CALLS:
        raise ValueError(f"its code has more than {_MOST_CALLS} LSTMs")
    kind = "LSTM" if call == "torch.lstm(" else "LSTMCell"
    own, problem, batch_first = "", "", None
    parameters: dict[str, Stored] = {}
    try:
        arguments = _arguments(rest)
        if kind == "LSTM":
            own, parameters, batch_first = _lstm(arguments, lists, known)
        else:
            parameters = _cell(arguments, known)
    except (ValueError, IndexError) as error:
        problem = f"its weights are not found among the constants of frozen TorchScript ({error})"
    name = own or kind.lower()
    name = next(text for text in (name, *(f"{name}_{k}" for k in range(1, len(names) + 2))) if text not in names)
    options = {} if batch_first is None else {"batch_first": batch_first}
    return layer_of(name, kind, "TorchScript", parameters, options=options, problem=problem)


def _lstm(
    arguments: list[str], lists: dict[str, str], known: dict[int, object]
) -> tuple[str, dict[str, Stored], bool | None]:
    """Read input, state, weights, bias, layers, dropout, training, two directions, batch_first; or a packed call's."""
    packed = arguments[3] not in _FLAGS  # sizes of the batches come after the input, and there is no batch_first
    weights, *rest = arguments[3 if packed else 2 :]
    bias, two = _FLAGS.get(rest[0]), _FLAGS.get(rest[4])
    if bias is None or two is None or not re.fullmatch(r"\d{1,5}", rest[1]):
        raise ValueError("the call has other arguments")
    count = int(rest[1])
    stored = _constants(lists.get(weights, weights), known)
    each, left = divmod(len(stored), count * (1 + two)) if 0 < count <= _MOST_LAYERS else (0, 1)
    kinds = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if bias else []), "weight_hr"]
    if left or each not in (len(kinds) - 1, len(kinds)):
        raise ValueError(f"{len(stored)} weights for {count} layers")
    names = [f"{kind}{suffix}" for suffix in Sizes(1, 1, L=count, D=1 + two).suffixes for kind in kinds[:each]]
    module = _MODULE.fullmatch(weights[:_LONGEST_NAME])
    batch_first = None if packed else _FLAGS.get(rest[5])
    return module[1] if module else "", dict(zip(names, stored, strict=True)), batch_first


def _cell(arguments: list[str], known: dict[int, object]) -> dict[str, Stored]:
    """Read input, state, both weights, both biases."""
    stored = _constants(", ".join(argument for argument in arguments[2:] if argument != "None"), known)
    return dict(zip(("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"), stored, strict=False))


def _constants(text: str, known: dict[int, object]) -> list[Stored]:
    found = [known.get(int(number)) for number in _CONSTANT.findall(text)]
    if not found or not all(isinstance(value, Stored) for value in found):
        raise ValueError("they are computed")
    return [value for value in found if isinstance(value, Stored)]


def _arguments(text: str) -> list[str]:
    """Cut the arguments of a call at the commas between them, up to its end."""
    depth, made, start = 0, [], 0
    for place, letter in enumerate(text):
        if letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        if depth < 0 or (letter == "," and depth == 0):
            made.append(text[start:place].strip())
            start = place + 1
        if depth < 0:
            return made
    raise ValueError("the call has no end")
