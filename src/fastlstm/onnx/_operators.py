"""The two operators: ONNX's LSTM, and onnxruntime's with weights of 8 bits. Their inputs, by name."""

from __future__ import annotations

from typing import Final

from onnx import NodeProto

INPUTS: Final = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
#: With those of com.microsoft's DynamicQuantizeLSTM.
QUANTIZED_INPUTS: Final = (*INPUTS, "W_scale", "W_zero_point", "R_scale", "R_zero_point")
#: Inputs of a call that a model may hold fixed, or compute.
STATES: Final = ("sequence_lens", "initial_h", "initial_c")
OPTIONAL: Final = ("B", *STATES, "P")
_OUTPUTS: Final = 3


def is_quantized(node: NodeProto) -> bool:
    """Tell whether a node is a DynamicQuantizeLSTM, as onnxruntime's ``quantize_dynamic`` makes them."""
    return (node.domain, node.op_type) == ("com.microsoft", "DynamicQuantizeLSTM")


def is_lstm(node: NodeProto) -> bool:
    """Tell whether a node is one of the two."""
    return is_quantized(node) or (node.op_type == "LSTM" and node.domain in ("", "ai.onnx"))


def check_operator(node: NodeProto) -> None:
    """Check that a node is one of the two, with no more inputs and outputs than that has."""
    if not is_lstm(node):
        raise ValueError(
            f"node should be ONNX's LSTM or com.microsoft's DynamicQuantizeLSTM, got: {node.op_type!r} of domain "
            f"{node.domain!r}"
        )
    names = inputs_of(node)
    for what, given, most in (("inputs", node.input, len(names)), ("outputs", node.output, _OUTPUTS)):
        if len(given) > most:
            raise ValueError(f"a node of {node.op_type} has at most {most} {what}, got {len(given)}")


def inputs_of(node: NodeProto) -> dict[str, str]:
    """Name the inputs of a node; an empty text for what is absent."""
    names = QUANTIZED_INPUTS if is_quantized(node) else INPUTS
    return dict.fromkeys(names, "") | dict(zip(names, node.input, strict=False))
