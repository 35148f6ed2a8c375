"""The operators that exporters put between a framework's weights and W, R, B: moving numbers, and dequantising.

Each takes its attributes, its inputs in order (None for an absent one), and a function that is told how many bytes the
result takes before it is made. What old operator sets have as attributes, new ones have as inputs: both are read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from onnx import NodeProto, TensorProto, helper

from .._types import Array, Shape
from ._dtypes import check_element
from ._quantized import QUANTIZED, Quantized, dequantize_linear, quantize_linear, quantized_linear

Inputs = list[Array | None]
Charge = Callable[[int], None]

_NUMBERS: Final = {
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "bfloat16", "float32", "float64"),
}
_LINEAR: Final = ("QuantizeLinear", "DequantizeLinear")  # onnxruntime has them in a domain of its own, too
_MOMENTARY: Final = 16  # bytes for each number while blocks are spread out, or float64 is rounded to half types


def fold(node: NodeProto, inputs: Inputs, charge: Charge) -> Array:
    """Compute a node of `FOLDED`; ValueError for what is wrong in it."""
    return _OPERATORS[node.op_type](_attributes(node), inputs, charge)


def fold_integers(node: NodeProto, inputs: list[Array | Quantized | None], charge: Charge) -> Quantized | None:
    """Compute a node of `FOLDED` on integers with scales and zero points, which move alike; None if it changes them."""
    attributes = _attributes(node)
    if node.op_type == "QuantizeLinear":
        return None
    if node.op_type == "DequantizeLinear":
        return _integers_of(attributes, [None if isinstance(each, Quantized) else each for each in inputs])
    if node.op_type == "Cast":
        first = inputs[0]
        same = isinstance(first, Quantized) and _element(attributes.get("to"), "to") == first.dtype
        return first if same else None  # type: ignore[return-value]
    if node.op_type == "Concat":
        return _concat_integers(attributes, [each for each in inputs if isinstance(each, Quantized)], charge)
    parts = ([each[k] if isinstance(each, Quantized) else each for each in inputs] for k in range(3))
    return Quantized(*(_OPERATORS[node.op_type](attributes, part, charge) for part in parts))


def _concat_integers(attributes: dict[str, Any], inputs: list[Quantized], charge: Charge) -> Quantized:
    values, *rest = zip(*inputs, strict=True)
    made = _concat(attributes, list(values), charge)
    axis = attributes["axis"] % made.ndim
    scale, zero_point = (_concat_spread(list(parts), axis, made.shape, charge) for parts in rest)
    return Quantized(made, scale, zero_point)


def _concat_spread(parts: list[Array], axis: int, shape: Shape, charge: Charge) -> Array:
    """Join what is spread over other axes, without spreading it in memory."""
    own = [k == axis or any(part.strides[k] for part in parts) for k in range(len(shape))]
    cut = tuple(slice(None) if kept else slice(0, 1) for kept in own)
    charge(sum(part[cut].nbytes for part in parts))
    return np.broadcast_to(np.concatenate([part[cut] for part in parts], axis), shape)


def is_folded(node: NodeProto) -> bool:
    """Tell whether `fold` computes a node."""
    domains = ("", "ai.onnx", *(("com.microsoft",) if node.op_type in _LINEAR else ()))
    return node.op_type in _OPERATORS and node.domain in domains


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _given(inputs: Inputs, position: int, name: str) -> Array:
    array = inputs[position] if position < len(inputs) else None
    if array is None:
        raise ValueError(f"input {name} is missing")
    return array


def _integers(value: object, name: str) -> list[int]:
    """Read sizes, axes or positions: a list of integers."""
    array = np.asarray(value)
    if array.ndim > 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name} should be a list of integers, got: {array.dtype} of shape {array.shape}")
    return [int(number) for number in array.ravel()]


def _from_list(attributes: dict[str, Any], inputs: Inputs, position: int, name: str) -> list[int] | None:
    """Return a list that is an input in new operator sets and an attribute in old ones; None if it is neither."""
    value = inputs[position] if position < len(inputs) else None
    value = attributes.get(name) if value is None else value
    return None if value is None else _integers(value, name)


def _element(number: Any, name: str) -> np.dtype[Any]:
    try:
        dtype: np.dtype[Any] = np.dtype(helper.tensor_dtype_to_np_dtype(number))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name} should be an element type, got: {number!r}") from None
    if dtype.name not in _NUMBERS:
        raise ValueError(f"{name} should be a plain number type, got: {dtype}")
    return dtype


def _cast(attributes: dict[str, Any], inputs: Inputs, charge: Charge) -> Array:
    x, dtype = _given(inputs, 0, "input"), _element(attributes.get("to"), "to")
    if x.dtype.name not in _NUMBERS:
        raise ValueError(f"input should be of a plain number type, got: {x.dtype}")
    charge(x.size * dtype.itemsize)
    with np.errstate(over="ignore", invalid="ignore"):
        return x.astype(dtype)


def _concat(attributes: dict[str, Any], inputs: Inputs, charge: Charge) -> Array:
    arrays = [_given(inputs, k, f"{k}") for k in range(max(1, len(inputs)))]
    if "axis" not in attributes:
        raise ValueError("axis is missing")
    if len({array.dtype for array in arrays}) > 1:
        raise ValueError(f"inputs should have one dtype, got: {', '.join(sorted({str(a.dtype) for a in arrays}))}")
    charge(sum(array.nbytes for array in arrays))
    return np.concatenate(arrays, attributes["axis"])


def _identity(attributes: dict[str, Any], inputs: Inputs, charge: Charge) -> Array:
    return _given(inputs, 0, "input")


def _reshape(attributes: dict[str, Any], inputs: Inputs, charge: Charge) -> Array:
    x, sizes = _given(inputs, 0, "data"), _from_list(attributes, inputs, 1, "shape")
    if sizes is None:
        raise ValueError("shape is missing")
    if not attributes.get("allowzero", 0):  # 0: as it was
        if any(size == 0 for size in sizes[x.ndim :]):
            raise ValueError(f"shape {sizes} keeps a size that {x.shape} does not have")
        sizes = [x.shape[k] if size == 0 else size for k, size in enumerate(sizes)]
    if not x.flags.c_contiguous:  # then it is copied
        charge(x.nbytes)
    return x.reshape(sizes)


def _slice(attributes: dict[str, Any], inputs: Inputs, charge: Charge) -> Array:
    x = _given(inputs, 0, "data")
    starts, ends, axes, steps = (
        _from_list(attributes, inputs, k, name) for k, name in enumerate(("starts", "ends", "axes", "steps"), start=1)
    )
    if starts is None or ends is None:
        raise ValueError("starts or ends is missing")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise ValueError(f"starts {starts}, ends {ends}, axes {axes} and steps {steps} do not fit together")
    chosen = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if not -x.ndim <= axis < x.ndim:
            raise ValueError(f"axes should be in {-x.ndim}..{x.ndim - 1}, got: {axis}")
        size = x.shape[axis]
        lowest, highest = (0, size) if step > 0 else (-1, size - 1)
        first, end = (value + size if value < 0 else value for value in (start, end))
        first, end = min(max(first, 0), highest), min(max(end, lowest), highest)
        chosen[axis] = slice(first, None if end < 0 else end, step)
    return x[tuple(chosen)]


def _squeeze(attributes: dict[str, Any], inputs: Inputs, charge: Charge) -> Array:
    x, axes = _given(inputs, 0, "data"), _from_list(attributes, inputs, 1, "axes")
    return x.squeeze(None if axes is None else tuple(axes))


def _transpose(attributes: dict[str, Any], inputs: Inputs, charge: Charge) -> Array:
    x = _given(inputs, 0, "data")
    order = attributes.get("perm")
    return x.transpose() if order is None else x.transpose(_integers(order, "perm"))


def _unsqueeze(attributes: dict[str, Any], inputs: Inputs, charge: Charge) -> Array:
    x, axes = _given(inputs, 0, "data"), _from_list(attributes, inputs, 1, "axes")
    if axes is None:
        raise ValueError("axes is missing")
    return np.expand_dims(x, tuple(axes))


def _dequantize(attributes: dict[str, Any], inputs: Inputs, charge: Charge) -> Array:
    given, how = _of_dequantize(attributes, inputs)
    dtype = how["dtype"]
    charge(given[0].size * (dtype.itemsize + (_MOMENTARY if how["block_size"] or dtype != np.float32 else 0)))
    return dequantize_linear(*given, **how)


def _quantize(attributes: dict[str, Any], inputs: Inputs, charge: Charge) -> Array:
    x, scale = _given(inputs, 0, "x"), _given(inputs, 1, "y_scale")
    zero_point = inputs[2] if len(inputs) > 2 else None
    if len(inputs) > 3:
        raise ValueError(f"inputs should be at most 3, got {len(inputs)}")
    if attributes.get("block_size", 0) or attributes.get("precision", 0) not in (0, TensorProto.FLOAT):
        raise ValueError("blocks, and sums in other types than float32, are not computed")
    told = _element(attributes["output_dtype"], "output_dtype") if attributes.get("output_dtype") else None
    dtype = zero_point.dtype if zero_point is not None else told or np.dtype(np.uint8)
    if dtype.name not in QUANTIZED or (told or dtype) != dtype:
        raise ValueError(f"the result should have dtype {', '.join(QUANTIZED)}, got: {dtype}, output_dtype {told}")
    charge(x.size * (dtype.itemsize + x.itemsize))
    return quantize_linear(x, scale, zero_point, axis=attributes.get("axis", 1), dtype=dtype)


def _integers_of(attributes: dict[str, Any], inputs: Inputs) -> Quantized | None:
    """Return what DequantizeLinear takes; None where `quantized_linear` is, and for blocks."""
    given, how = _of_dequantize(attributes, inputs)
    return None if how.pop("block_size") else quantized_linear(*given, **how)


def _of_dequantize(attributes: dict[str, Any], inputs: Inputs) -> tuple[tuple[Array, Array, Array | None], Any]:
    """Return the inputs of DequantizeLinear, and what else there is to say."""
    x, scale = _given(inputs, 0, "x"), _given(inputs, 1, "x_scale")
    zero_point = inputs[2] if len(inputs) > 2 else None
    if len(inputs) > 3:
        raise ValueError(f"inputs should be at most 3, got {len(inputs)}")
    axis, block_size = attributes.get("axis", 1), attributes.get("block_size", 0)
    if block_size < 0:
        raise ValueError(f"block_size should be 0 or more, got: {block_size}")
    dtype = _element(attributes["output_dtype"], "output_dtype") if attributes.get("output_dtype") else scale.dtype
    check_element(dtype, "output_dtype" if attributes.get("output_dtype") else "x_scale")
    return (x, scale, zero_point), {"axis": axis, "block_size": block_size, "dtype": dtype}


_OPERATORS: Final[dict[str, Callable[[dict[str, Any], Inputs, Charge], Array]]] = {
    "Cast": _cast,
    "Concat": _concat,
    "DequantizeLinear": _dequantize,
    "Identity": _identity,
    "QuantizeLinear": _quantize,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
