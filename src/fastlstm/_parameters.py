"""Values of parameters: how they start, how they load."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import _checks, _integers
from ._checks import frozen
from ._integers import Parameter
from ._sizes import Shapes, check_memory
from ._types import Array, Shape


def initial(shapes: Shapes, hidden_size: int, dtype: np.dtype[Any], seed: int | None) -> dict[str, Array]:
    """Draw every parameter from U(-1/sqrt(H), 1/sqrt(H)), as torch does. One seed: the same numbers in every dtype."""
    check_memory(sum(math.prod(shape) for shape in shapes.values()))
    rng = np.random.default_rng(seed)
    bound = 1 / math.sqrt(hidden_size)
    return {name: frozen(_uniform(rng, bound, shape).astype(dtype, copy=False)) for name, shape in shapes.items()}


def checked_forget_bias(value: object, dtype: np.dtype[Any], *, bias: bool, coupled: bool) -> float:
    """Check where forget gates are to start."""
    if not _checks.is_number(value):
        raise TypeError(f"forget_bias should be a number, got: {type(value).__name__}")
    if not _checks.is_within(value, float(np.finfo(dtype).max)):
        raise ValueError(f"forget_bias should be finite in {dtype.name}, got: {value!r}")
    if not bias:
        raise ValueError(f"forget_bias={value!r} needs a layer with biases, got: bias=False")
    if coupled:
        raise ValueError(f"forget_bias={value!r} is for a forget gate with weights of its own, got: coupled gates")
    return float(value)


def with_forget_bias(parameters: Mapping[str, Array], value: float) -> dict[str, Array]:
    """Set the biases of all forget gates, so that their sum is the value."""
    made = dict(parameters)
    for name, array in parameters.items():
        if name.startswith("bias_"):
            changed = np.array(array)
            changed.reshape(4, -1)[1] = value if name.startswith("bias_ih") else 0
            made[name] = frozen(changed)
    return made


def _uniform(rng: np.random.Generator, bound: float, shape: Shape) -> Array:
    """Draw from U(-bound, bound). On some machines rng.uniform uses a fused multiply-add: other bits."""
    drawn = rng.random(shape)
    drawn *= 2 * bound
    drawn -= bound
    return drawn


def loaded(state_dict: object, shapes: Shapes, dtype: np.dtype[Any]) -> dict[str, Parameter]:
    """Copy parameters out of a mapping: all of them, no others, of the right shape and dtype, or as integers."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict should be a mapping of names to arrays, got: {type(state_dict).__name__}")
    missing = [name for name in shapes if name not in state_dict]
    integers = [name for name in shapes if len(shapes[name]) == 2 and _integers.are(state_dict, name)]
    known = shapes.keys() | _integers.beside(integers)
    unexpected = [str(name) for name in state_dict if name not in known]
    if missing or unexpected:
        told = [
            f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("unexpected", unexpected)) if names
        ]
        raise ValueError(f"state_dict does not fit; {'; '.join(told)}")
    if integers and dtype != np.float32:
        raise ValueError(f"{integers[0]} is of integers, which are for layers of float32, got: dtype='{dtype}'")
    made: dict[str, Parameter] = {}
    for name, expected in shapes.items():
        if name in integers:
            made[name] = _integers.of(state_dict, name, expected)
            continue
        try:
            array = _checks.floats(state_dict[name], f"state_dict[{name!r}]", dtype)
        except TypeError:
            _integers.refuse_without_scale(state_dict[name], name)
            raise
        made[name] = frozen(
            np.array(_checks.shape(array, f"state_dict[{name!r}]", expected, "the parameter's"), order="C")
        )
    return made
