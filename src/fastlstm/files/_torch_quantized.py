"""torch's quantized weights: single tensors, and the packed ones of quantized.dynamic.LSTM and LSTMCell.

They are read dequantised, and have their integers with them where a layer can keep those.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .._integers import SCALE, ZERO_POINT
from .._types import Array
from ._layer import Layer, layer_of
from ._pickle import Name, Placeholder
from ._stored import INTEGERS, Stored, nbytes
from ._torch_names import module_options

_CELL = re.compile(r"(?:(?P<prefix>.*)\.)?_all_weight_values\.(?P<number>\d{1,4})\.param", re.DOTALL)
_FLOAT16 = "packed as float16, as torch rounds it when it computes"
_PACKED = re.compile(r"(?:(?P<prefix>.*)\.)?_packed_(?P<name>weight_[ih]h)", re.DOTALL)
_ORIGIN = "dequantised unless weights= keeps it: torch rounds the inputs of such a layer, too"


def dequantized(stored: Stored, parameters: Any) -> Stored:
    """Return the numbers that quantized ones stand for: (q - zero) scale."""
    kind, scale, zero, *axis = parameters
    integers: dict[str, Stored] | None = None
    if not isinstance(kind, Name):
        raise ValueError("a malformed pickle: a quantized tensor without a scheme")
    if kind.text == "torch per_tensor_affine" and isinstance(scale, float) and type(zero) is int:

        def read() -> Array:
            return _dequantised(stored.read(), np.float32(scale), np.float64(zero))

        integers = {SCALE: _number(np.float32(scale)), ZERO_POINT: _number(np.int64(zero))}
    elif kind.text.startswith("torch per_channel_affine") and isinstance(scale, Stored) and isinstance(zero, Stored):
        along = axis[0] if axis else None
        if type(along) is not int or not 0 <= along < len(stored.shape):
            raise ValueError("a malformed pickle: a quantized tensor without an axis")
        shape = [1] * len(stored.shape)
        shape[along] = stored.shape[along]
        if scale.shape != (shape[along],) or zero.shape != scale.shape:
            raise ValueError("a malformed pickle: a quantized tensor with other scales than channels")

        def read() -> Array:
            scales = scale.read().astype(np.float32)
            return _dequantised(stored.read(), scales.reshape(shape), zero.read().astype(np.float64).reshape(shape))

        if along == 0 and zero.dtype == "int64":
            integers = {SCALE: _narrow(scale), ZERO_POINT: zero}
    else:
        raise ValueError(f"a quantized tensor of another scheme: {kind.text}")
    origin = f"{stored.dtype}, {_ORIGIN}"
    if integers is not None:
        integers[""] = dataclasses.replace(stored, origin=origin)
    return Stored(
        stored.shape,
        "float32",
        read,
        origin=origin,
        held=8 * nbytes(stored.shape, "int8"),
        integers=integers if stored.dtype in INTEGERS else None,
    )


def _number(number: np.float32 | np.int64) -> Stored:
    return Stored((), str(number.dtype), lambda: np.asarray(number))


def _narrow(scale: Stored) -> Stored:
    """Return scales as torch multiplies with them: it stores them in float64."""
    return Stored(scale.shape, "float32", lambda: scale.read().astype(np.float32), held=scale.nbytes)


def _dequantised(numbers: Array, scale: Any, zero: Any) -> Array:
    """Multiply in float64, which is exact here, and round once, as torch's product in float32 does."""
    made: Array = ((numbers.astype(np.float64) - zero) * np.float64(scale)).astype(np.float32)
    return made


def layers(objects: Mapping[str, Placeholder], format: str) -> Iterator[Layer]:
    """Yield the LSTMs of torch.ao.nn.quantized.dynamic; each cell is an object of weights packed for a library."""
    yield from _cells(objects, format)
    groups: dict[str, dict[int, dict[str, Stored]]] = defaultdict(dict)
    for path, made in objects.items():
        found = _CELL.fullmatch(path)
        if found and (cell := _cell(made)):
            groups[found["prefix"] or ""][int(found["number"])] = cell
    for prefix, cells in groups.items():
        parameters, problem = _numbered(cells, objects.get(prefix, {}))
        options = module_options(objects.get(prefix, {}))
        kept = _kept_in(parameters)
        yield layer_of(
            prefix, "quantized.dynamic.LSTM", format, parameters, options=options, problem=problem, weights=kept
        )


def _kept_in(parameters: Mapping[str, Stored]) -> str:
    """Return the type that torch has rounded all matrices to, though it packs them in float32; empty for none."""
    matrices = [stored for name, stored in parameters.items() if name.startswith("weight")]
    return "float16" if matrices and all(stored.origin == _FLOAT16 for stored in matrices) else ""


def left_over(objects: Mapping[str, Placeholder]) -> set[str]:
    """Return the names of biases that a packed cell has beside those that it computes with."""
    prefixes = {path[: -len(found["name"])] for path in objects if (found := _PACKED.fullmatch(path))}
    return {f"{prefix.removesuffix('_packed_')}{bias}" for prefix in prefixes for bias in ("bias_ih", "bias_hh")}


def _cells(objects: Mapping[str, Placeholder], format: str) -> Iterator[Layer]:
    """Yield the LSTMCells; cells of other kinds have as many gates."""
    groups: dict[str, dict[str, Stored]] = defaultdict(dict)
    for path, made in objects.items():
        found = _PACKED.fullmatch(path)
        if found and (pair := _packed(made)):
            name = found["name"]
            groups[found["prefix"] or ""][f"{name}_l0"] = pair[0]
            if pair[1]:
                groups[found["prefix"] or ""][f"{name.replace('weight', 'bias')}_l0"] = pair[1]
    for prefix, parameters in groups.items():
        hh = parameters.get("weight_hh_l0")
        if hh and len(hh.shape) == 2 and hh.shape[0] == 4 * hh.shape[1]:
            kept = _kept_in(parameters)
            yield layer_of(prefix, "quantized.dynamic.LSTMCell", format, parameters, weights=kept)


def _cell(made: Placeholder) -> dict[str, Stored] | None:
    """Take the weights out of a packed cell: ((kind, biases, ..., packed pair), name of its class)."""
    state = made.state
    while isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], tuple):
        state = state[0]
    if not isinstance(state, tuple) or len(state) < 5 or state[0] not in ("quantized_dynamic", "quantized_fp16"):
        return None
    pairs = map(_packed, state[4] if isinstance(state[4], list) else ())
    packed = [pair for pair in pairs if pair]
    if len(packed) != 2:
        return None
    weights = {"weight_ih": packed[0][0], "weight_hh": packed[1][0]}
    biases = state[1] or [bias for _, bias in packed]
    if isinstance(biases, list) and len(biases) == 2 and all(isinstance(bias, Stored) for bias in biases):
        weights |= {"bias_ih": biases[0], "bias_hh": biases[1]}
    return weights


def _packed(part: object) -> tuple[Stored, Stored | None] | None:
    """Take weight and bias out of a packed product."""
    state = part.state if isinstance(part, Placeholder) else None
    while isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], tuple):
        state = state[0]
    if not isinstance(state, tuple) or len(state) != 2 or not isinstance(state[0], Stored):
        return None
    weight = state[0]
    if not weight.origin:
        weight = dataclasses.replace(weight, origin=_FLOAT16)
    return weight, state[1] if isinstance(state[1], Stored) else None


def _numbered(cells: dict[int, dict[str, Stored]], module: Mapping[Any, Any]) -> tuple[dict[str, Stored], str]:
    """Name the cells, which are numbered through layers and directions alike."""
    if sorted(cells) != list(range(len(cells))):
        return {}, f"it has the cells {sorted(cells)[:20]}, not all of them"
    two = module.get("bidirectional")
    if not isinstance(two, bool):
        told = _directions(cells)
        if told is None:
            return {}, "the file does not tell one layer of two directions from two layers of one"
        two = told
    parameters: dict[str, Stored] = {}
    for number, cell in cells.items():
        layer, backward = divmod(number, 2) if two else (number, 0)
        suffix = f"_l{layer}{'_reverse' if backward else ''}"
        parameters |= {f"{name}{suffix}": stored for name, stored in cell.items()}
    return parameters, ""


def _directions(cells: dict[int, dict[str, Stored]]) -> bool | None:
    """Tell by the sizes whether there are two directions; None if they fit both."""
    inputs = [cell["weight_ih"].shape[-1:] for _, cell in sorted(cells.items())]
    hidden = cells[0]["weight_hh"].shape[-1:]
    one = all(size == hidden for size in inputs[1:])
    two = len(inputs) % 2 == 0 and inputs[0] == inputs[1] and all(size == (2 * hidden[0],) for size in inputs[2:])
    return two if one != two else None
