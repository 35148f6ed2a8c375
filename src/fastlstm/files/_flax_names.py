"""Flax's trees, flattened: `params/encoder/hi/kernel` -> layers. Blocks of one gate each, or all four in one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from .._types import Array
from ._layer import Layer, layer_of
from ._stored import Stored

_NAME = re.compile(r"(?:(?P<prefix>.*)[./])?(?P<part>[ih](?:i|f_?|g|o)|dense_[ih])[./](?P<what>kernel|bias)", re.DOTALL)


_HALF = re.compile(r"(?P<owner>.*?)[./]?(?P<which>forward|backward)_rnn[./]cell", re.DOTALL)
#: Where optax keeps moments, which have the names and shapes of weights; those of Adam in pairs.
_OPTIMIZER = re.compile(r"(?:.*[./])?opt_state[./].*", re.DOTALL)
_MOMENTS = re.compile(r"(?P<before>(?:.*[./])?)(?P<which>mu|nu)(?P<after>[./].*)", re.DOTALL)


def layers(tensors: Mapping[str, Stored], format: str) -> Iterator[Layer]:
    """Yield every cell, the two of a Bidirectional as one; Flax has no other layers of more than one."""
    groups: dict[str, dict[str, Stored]] = defaultdict(dict)
    for full, stored in tensors.items():
        if (found := _NAME.fullmatch(full)) and not _is_moment(full, tensors):
            groups[found["prefix"] or ""][f"{found['part'].rstrip('_')}/{found['what']}"] = stored
    # Other cells have some of these names, too.
    cells = {prefix: parts for prefix, parts in groups.items() if "dense_h/kernel" in parts or "hi/kernel" in parts}
    for prefix, parts in cells.items():
        half = _HALF.fullmatch(prefix)
        backward = half and cells.get(_other(prefix, "forward", "backward"))
        if half and half["which"] == "backward" and _other(prefix, "backward", "forward") in cells:
            continue  # it came with the other half
        kind, parameters, problem = _cell(parts)
        if half and half["which"] == "forward" and backward:
            _, reverse, other = _cell(backward)
            parameters |= {f"{name}_reverse": stored for name, stored in reverse.items()}
            yield layer_of(half["owner"], "Bidirectional", format, parameters, problem=problem or other)
        else:
            yield layer_of(prefix, kind, format, parameters, problem=problem)


def _other(prefix: str, which: str, wanted: str) -> str:
    """Return the name of the other half of a Bidirectional."""
    before, _, after = prefix.rpartition(f"{which}_rnn")
    return f"{before}{wanted}_rnn{after}"


def _is_moment(name: str, tensors: Mapping[str, Stored]) -> bool:
    if _OPTIMIZER.fullmatch(name):
        return True
    if found := _MOMENTS.fullmatch(name):
        return f"{found['before']}{'nu' if found['which'] == 'mu' else 'mu'}{found['after']}" in tensors
    return False


def _cell(parts: dict[str, Stored]) -> tuple[str, dict[str, Stored], str]:
    dense = "dense_h/kernel" in parts
    parameters, problem = _parameters(parts, ("dense_{}",) if dense else ("{}i", "{}f", "{}g", "{}o"))
    return "nnx.OptimizedLSTMCell" if dense else "LSTMCell", parameters, problem


def _parameters(parts: dict[str, Stored], blocks: tuple[str, ...]) -> tuple[dict[str, Stored], str]:
    """Join the gates, transposed; a bias beside the recurrent product alone counts as the only one."""
    wanted = [f"{block.format(side)}/kernel" for block in blocks for side in "ih"]
    has_bias = any(name.endswith("bias") for name in parts)
    if has_bias:
        wanted += [f"{block.format('h')}/bias" for block in blocks]
    missing = [name for name in wanted if name not in parts]
    unexpected = [name for name in parts if name not in wanted]
    wrong = [name for name in parts if len(parts[name].shape) != (1 if name.endswith("bias") else 2)]
    for what, names in (("missing", missing), ("unexpected", unexpected), ("with other dimensions", wrong)):
        if names:
            return {}, f"{what}: {', '.join(names)}"

    def joined(side: str, what: str) -> Stored:
        stored = [parts[f"{block.format(side)}/{what}"] for block in blocks]
        return _joined([each.transposed for each in stored])

    try:
        made = {"weight_ih_l0": joined("i", "kernel"), "weight_hh_l0": joined("h", "kernel")}
        if has_bias:
            bias = joined("h", "bias")
            made |= {"bias_ih_l0": bias, "bias_hh_l0": bias.mapped(bias.shape, np.zeros_like)}
    except ValueError as error:
        return {}, str(error)
    return made, ""


def _joined(blocks: list[Stored]) -> Stored:
    """Put blocks of equal shape and dtype on top of each other."""
    shapes, dtypes = {block.shape for block in blocks}, {block.dtype for block in blocks}
    if len(shapes) > 1 or len(dtypes) > 1:
        raise ValueError(f"gates differ: {', '.join(f'{block.shape} {block.dtype}' for block in blocks)}")
    shape = (len(blocks) * blocks[0].shape[0], *blocks[0].shape[1:])
    read: Callable[[], Array] = lambda: np.concatenate([block.read() for block in blocks])  # noqa: E731
    return Stored(shape, blocks[0].dtype, read)
