"""Parameters by torch's names: which there are, how they start, how they load."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _checks

Array = NDArray[Any]
Shapes = dict[str, tuple[int, ...]]


def layer_shapes(
    suffix: str, input_size: int, hidden_size: int, proj_size: int, bias: bool, peepholes: bool = False
) -> Shapes:
    """Name the parameters of one layer in one direction, with their shapes; gates in the order i, f, g, o.

    Peepholes come where torch would have them, after weight_hh; their blocks are i, f, o.
    """
    shapes: Shapes = {
        f"weight_ih{suffix}": (4 * hidden_size, input_size),
        f"weight_hh{suffix}": (4 * hidden_size, proj_size or hidden_size),
    }
    if peepholes:
        shapes[f"weight_ph{suffix}"] = (3 * hidden_size,)
    if bias:
        shapes |= {f"bias_ih{suffix}": (4 * hidden_size,), f"bias_hh{suffix}": (4 * hidden_size,)}
    if proj_size:
        shapes[f"weight_hr{suffix}"] = (proj_size, hidden_size)
    return shapes


def stack_shapes(
    input_size: int,
    hidden_size: int,
    proj_size: int,
    num_layers: int,
    directions: int,
    bias: bool,
    peepholes: bool = False,
) -> Shapes:
    """Name the parameters of a whole stack, with their shapes, in torch's order."""
    deeper = (proj_size or hidden_size) * directions
    shapes: Shapes = {}
    for suffix in suffixes(num_layers, directions):
        size = input_size if suffix.startswith("_l0") else deeper
        shapes |= layer_shapes(suffix, size, hidden_size, proj_size, bias, peepholes)
    return shapes


def suffixes(num_layers: int, directions: int) -> list[str]:
    """List the endings of the parameter names: layer by layer, the reverse direction after the forward one."""
    return [f"_l{layer}{reverse}" for layer in range(num_layers) for reverse in ("", "_reverse")[:directions]]


def check_memory(count: int) -> None:
    """Refuse sizes whose weights cannot be addressed, or that this machine's memory could not hold once."""
    total = count * np.dtype(np.float64).itemsize
    if total > sys.maxsize // 4 or total > 2**44:
        raise ValueError(f"the sizes ask for {total:.3g} bytes of weights: more than any machine holds")


def initial(shapes: Shapes, hidden_size: int, dtype: np.dtype[Any], seed: int | None) -> dict[str, Array]:
    """Draw every parameter from U(-1/sqrt(H), 1/sqrt(H)), as torch does. One seed: the same numbers in every dtype."""
    check_memory(sum(math.prod(shape) for shape in shapes.values()))
    rng = np.random.default_rng(seed)
    bound = 1 / math.sqrt(hidden_size)
    return {name: frozen(_uniform(rng, bound, shape).astype(dtype, copy=False)) for name, shape in shapes.items()}


def _uniform(rng: np.random.Generator, bound: float, shape: tuple[int, ...]) -> Array:
    """Draw from U(-bound, bound). On some machines rng.uniform uses a fused multiply-add: other bits."""
    drawn = rng.random(shape)
    drawn *= 2 * bound
    drawn -= bound
    return drawn


def frozen(array: Array) -> Array:
    """Return a read-only view, which ``setflags`` cannot make writable: a packed copy of it can then never be stale."""
    array.setflags(write=False)
    return array.view()


def loaded(state_dict: object, shapes: Shapes, dtype: np.dtype[Any]) -> dict[str, Array]:
    """Copy parameters out of a mapping: all of them, no others, of the right shape and dtype."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict should be a mapping of names to arrays, got: {type(state_dict).__name__}")
    missing = [name for name in shapes if name not in state_dict]
    unexpected = [str(name) for name in state_dict if name not in shapes]
    if missing or unexpected:
        told = [
            f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("unexpected", unexpected)) if names
        ]
        raise ValueError(f"state_dict does not fit; {'; '.join(told)}")
    made = {}
    for name, expected in shapes.items():
        array = _checks.floats(state_dict[name], f"state_dict[{name!r}]", dtype)
        made[name] = frozen(
            np.array(_checks.shape(array, f"state_dict[{name!r}]", expected, "the parameter's"), order="C")
        )
    return made
