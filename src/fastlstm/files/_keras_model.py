"""Whose weights these are: from a place in a weights file to the layers of the model's configuration around it."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any

Node = Mapping[str, Any]
"""A layer as Keras writes it: class_name, config, and sometimes more."""

#: What the gates' activation is called; in Keras 1 the second.
GATES = ("recurrent_activation", "inner_activation")
SIDES = {"forward_layer": "forward", "backward_layer": "backward"}
_TWICE = "_layer_checkpoint_dependencies"  # of Keras 2: in 2.12 and 2.13 layers that have weights are there twice
_CONTAINERS = {_TWICE: "layers"}
_MOST_CELLS = 100_000
_DEEPEST = 64
#: Cells that are told apart by their names; all of them are looked at for each.
_MOST_IN_A_LAYER = 1000


@dataclasses.dataclass(frozen=True)
class Owner:
    """One cell in a configuration: the layers around it, the outermost first and the cell last."""

    path: tuple[tuple[str, Node], ...]
    """Each with how it is reached from the one before: layers, layer, cell, cells, forward_layer, backward_layer..."""

    @property
    def names(self) -> tuple[str | None, ...]:
        """The names that tell it apart, None for a half of a Bidirectional; an RNN's only cell goes by the RNN's."""
        return tuple(None if key in SIDES else name_of(node) for key, node in self.path[1:] if key != "cell")

    @property
    def cell(self) -> Node:
        """The innermost."""
        return self.path[-1][1]

    @property
    def side(self) -> str:
        """``"forward"`` or ``"backward"`` in a Bidirectional; else empty."""
        return next((SIDES[key] for key, _ in self.path if key in SIDES), "")

    def said(self, name: str) -> Iterator[Any]:
        """Yield what a setting of this name is, of the cell first, then of what is around it."""
        for _, node in reversed(self.path[1:]):
            if name in settings(node):
                yield settings(node)[name]


def settings(node: Node) -> Mapping[str, Any]:
    """Return the arguments that a layer was made with; before Keras 2.2.3 a Sequential had its layers there."""
    config = node.get("config")
    return config if isinstance(config, Mapping) else {"layers": config} if isinstance(config, list) else {}


def name_of(node: Node) -> str:
    """Return the name of a layer."""
    return str(settings(node).get("name", node.get("name", "")))


def class_of(node: Node) -> str:
    """Return the class of a layer, after the package that it is registered for, if it is not Keras's."""
    registered = node.get("registered_name")
    return str(registered if isinstance(registered, str) and ">" in registered else node.get("class_name", ""))


def half(config: Mapping[str, Any], key: str) -> object:
    """Return a half of a Bidirectional, which has a configuration of its own only if it was given."""
    return (config.get("backward_layer") if key == "backward_layer" else None) or config.get("layer")


def _counted(nodes: list[object], twice: Container[str] = ()) -> dict[str, Node]:
    """Name the layers of a list as they are saved; those in `twice` count so."""
    counts: Counter[str] = Counter()
    made = {}
    for node in nodes:
        if isinstance(node, Mapping):
            name = _snake(node)
            own = f"{name}_{counts[name]}" if counts[name] else name
            made[own] = node
            counts[name] += 2 if own in twice else 1
    return made


def _counted_once_or_twice(nodes: list[object], saved: set[str]) -> dict[str, Node]:
    """Name the layers of a list as they are saved in either way, as far as what is saved tells in which."""
    once, twice = (made if saved <= made.keys() else None for made in (_counted(nodes), _counted(nodes, saved)))
    if once is None or twice is None:
        return once or twice or {}
    return {name: node for name, node in once.items() if twice.get(name) is node}


def _snake(node: Node) -> str:
    """Turn a class name into what Keras calls a group: MyLSTM is my_lstm."""
    name = re.sub(r"\W+", "", str(node.get("class_name", "")).rpartition(">")[2])
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def _is_lstm(node: Node) -> bool:
    return node.get("class_name") == "CuDNNLSTM" or not settings(node).keys().isdisjoint(GATES)


def owners(path: tuple[tuple[str, Node], ...]) -> list[Owner]:
    """List all layers at the end of a path or below that hold no others."""
    made: list[Owner] = []
    waiting = [path]
    for _ in range(_MOST_CELLS):
        if not waiting:
            return made
        path = waiting.pop()
        if len(path) > _DEEPEST:
            break
        config = settings(path[-1][1])
        children: list[tuple[str, object]] = []
        if path[-1][1].get("class_name") == "Bidirectional":
            children = [(key, half(config, key)) for key in SIDES]
        else:
            for key in ("layer", "cell", "layers", "cells"):
                value = config.get(key)
                children += [(key, each) for each in (value if isinstance(value, list) else [value])]
        inner = [(*path, (key, child)) for key, child in children if isinstance(child, Mapping)]
        if inner:
            waiting += reversed(inner)
        else:
            made.append(Owner(path))
    raise ValueError("the configuration is too long or too deep")


class Model:
    """A model's configuration, in which cells are looked up.

    Parameters
    ----------
    node : mapping
        The configuration.
    groups : mapping
        The groups in each group of the weights that have arrays somewhere in them.
    """

    def __init__(self, node: Node, groups: Mapping[tuple[str, ...], set[str]]) -> None:
        self._node, self._groups = node, groups
        self._named: dict[tuple[tuple[str | None, ...], str], list[Owner]] = defaultdict(list)
        for owner in owners((("", node),)):
            self._named[owner.names, owner.side].append(owner)
        self._tops: dict[str, list[Node]] = defaultdict(list)
        layers = settings(node).get("layers")
        for layer in layers if isinstance(layers, list) else []:
            if isinstance(layer, Mapping):
                self._tops[name_of(layer)].append(layer)
        self._lists: dict[tuple[str, ...], dict[str, Node]] = {}
        self._cells: dict[str, list[Owner]] = {}

    def by_names(self, names: tuple[str | None, ...], side: str) -> Owner | None:
        """Return the only cell inside layers of these names."""
        found = self._named.get((names, side), [])
        return found[0] if len(found) == 1 else None

    def by_place(self, tokens: tuple[str, ...]) -> Owner | None:
        """Follow a path of Keras 3's layout, ``layers/bidirectional_1/forward_layer/cell``: attributes and class names.

        Lists are counted by class, ``lstm``, ``lstm_1``, in the order of the configuration.
        """
        path: list[tuple[str, Node]] = [("", self._node)]
        here: object = self._node
        key = ""
        for k, token in enumerate(tokens):
            if isinstance(here, list):
                here = self._list(here, tokens[:k]).get(token)
            elif isinstance(here, Mapping):
                config = settings(here)
                if token == "cell" and "cell" not in config:
                    continue  # an LSTM's own
                key = token
                here = config.get(_CONTAINERS.get(token, token)) if token not in SIDES else half(config, token)
            if isinstance(here, Mapping):
                path.append((key, here))
            elif not isinstance(here, list):
                return None
        return Owner(tuple(path)) if isinstance(here, Mapping) else None

    def _list(self, nodes: list[object], place: tuple[str, ...]) -> dict[str, Node]:
        """Name the layers of a list as they are saved, once for each list."""
        if place not in self._lists:
            saved = self._groups.get(place, set())
            twice = place[-1] == _TWICE
            self._lists[place] = _counted_once_or_twice(nodes, saved) if twice else _counted(nodes)
        return self._lists[place]

    def by_name(self, group: str, tokens: Sequence[str], side: str) -> list[Owner]:
        """List what weights of a top layer's group can belong to, by the names in their path: as in h5 files."""
        if group not in self._cells:
            tops = self._tops.get(group, [])
            found = owners((("", self._node), ("layers", tops[0]))) if len(tops) == 1 else []
            found = [owner for owner in found if _is_lstm(owner.cell)] or found
            self._cells[group] = found if len(found) <= _MOST_IN_A_LAYER else []
        found = self._cells[group]
        fitting = [owner for owner in found if owner.side == side] or [owner for owner in found if not owner.side]

        def named(owner: Owner) -> int:
            return sum(name_of(node) in tokens for _, node in owner.path[2:])

        most = max(map(named, fitting), default=0)
        return [owner for owner in fitting if named(owner) == most]
