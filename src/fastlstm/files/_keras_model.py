"""Whose weights these are: from a place in a weights file to the layers of the model's configuration around it."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
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


def by_place(model: Node, tokens: tuple[str, ...], groups: Mapping[tuple[str, ...], set[str]]) -> Owner | None:
    """Follow a path of Keras 3's layout, ``layers/bidirectional_1/forward_layer/cell``: attributes and class names.

    Lists are counted by class, ``lstm``, ``lstm_1``, in the order of the configuration. `groups` are those in each
    group that have arrays somewhere in them.
    """
    path: list[tuple[str, Node]] = [("", model)]
    here: object = model
    key = ""
    for k, token in enumerate(tokens):
        if isinstance(here, list):
            own = groups.get(tokens[:k], set())
            here = _counted_once_or_twice(here, token, own) if key == _TWICE else _counted(here).get(token)
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


def _counted_once_or_twice(nodes: list[object], token: str, saved: set[str]) -> Node | None:
    """Return the layer that is saved as `token`, in either way, where what is saved tells in which."""
    ways = [made for made in (_counted(nodes), _counted(nodes, saved)) if saved <= made.keys()]
    found = [made.get(token) for made in ways]
    return found[0] if found and all(node is found[0] for node in found) else None


def _snake(node: Node) -> str:
    """Turn a class name into what Keras calls a group: MyLSTM is my_lstm."""
    name = re.sub(r"\W+", "", str(node.get("class_name", "")).rpartition(">")[2])
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def by_name(model: Node, group: str, tokens: Sequence[str], side: str) -> list[Owner]:
    """List what the weights of a top layer's group can belong to, by the names in their path, as h5 files have them."""
    layers = settings(model).get("layers")
    layers = layers if isinstance(layers, list) else []
    tops = [node for node in layers if isinstance(node, Mapping) and name_of(node) == group]
    if len(tops) != 1:
        return []
    found = owners((("", model), ("layers", tops[0])))
    found = [owner for owner in found if _is_lstm(owner.cell)] or found
    fitting = [owner for owner in found if owner.side == side] or [owner for owner in found if not owner.side]

    def named(owner: Owner) -> int:
        return sum(name_of(node) in tokens for _, node in owner.path[2:])

    most = max(map(named, fitting), default=0)
    return [owner for owner in fitting if named(owner) == most]


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
