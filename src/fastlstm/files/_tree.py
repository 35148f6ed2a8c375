"""Trees of dictionaries, lists and objects with arrays in them, flattened to names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ._budget import Budget
from ._pickle import Placeholder
from ._stored import Stored

_LONGEST_NAME: Final = 2**12
#: Where torch's modules keep what is called by its own name alone.
_TRANSPARENT: Final = {"_parameters", "_buffers", "_modules"}


def flattened(tree: object, separator: str, budget: Budget) -> tuple[dict[str, Stored], dict[str, Placeholder]]:
    """Return the arrays and the objects of a tree by their names; each container counts once, wherever it lies."""
    tensors: dict[str, Stored] = {}
    objects: dict[str, Placeholder] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [("", tree)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Stored):
            if path in tensors and tensors[path] is not value:
                raise ValueError(f"it has two arrays of the name {path[:100]!r}")
            tensors[path] = value
        elif isinstance(value, Mapping | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            if isinstance(value, Placeholder):
                objects[path] = value
            for name, child in reversed(list(_children(value))):
                if isinstance(child, Stored | Mapping | list | tuple):
                    waiting.append((_joined(path, name, separator, budget), child))
    return tensors, objects


def _children(value: Mapping[Any, Any] | list[Any] | tuple[Any, ...]) -> Iterator[tuple[str, object]]:
    if not isinstance(value, Mapping):
        return ((str(k), child) for k, child in enumerate(value))
    if not isinstance(value, Placeholder):
        return ((str(key), child) for key, child in value.items())
    if not value:  # what it is made of came as arguments: of torch.compile's modules, of fx's
        return _children(value.arguments)
    return (("" if key in _TRANSPARENT else str(key), child) for key, child in value.items())


def _joined(path: str, name: str, separator: str, budget: Budget) -> str:
    joined = f"{path}{separator}{name}" if path and name else path or name
    if len(joined) > _LONGEST_NAME:
        raise ValueError(f"it has a name of {len(joined)} letters, {joined[:60]!r}...: refused")
    budget.keep("the names of its arrays", len(joined) + 100)
    return joined
