"""What the operator's text leaves open, or a runtime does otherwise: selectable by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from onnx import NodeProto

from ._operators import is_quantized

_CHOICES: Final = {
    "clip_at": ("activations", "gates", "state"),
    "zero_length": ("state", "zeros"),
    "parameters": ("onnx", "onnxruntime"),
}


@dataclass(frozen=True)
class Semantics:
    """How to read an LSTM node where ONNX and onnxruntime differ.

    Parameters
    ----------
    clip_at : str
        What ``clip`` limits. ``"activations"``: every activation's input, the cell on its way to the output among
        them, as the operator's text has it. ``"gates"``: the inputs of the four gates alone, as onnxruntime does.
        ``"state"``: the cell itself, which is carried on so.
    zero_length : str
        What Y_h and Y_c are for a row without steps: ``"state"``, its initial state, or ``"zeros"``, as in onnxruntime.
    parameters : str
        Activation parameters that a node does not give: ``"onnx"``, those of the operators of the same names;
        ``"onnxruntime"``: 0 for both of Affine and ScaledTanh and for ThresholdedRelu's, the others alike.

    Raises
    ------
    ValueError
        For a name that is not one of these.

    Notes
    -----
    Wherever semantics are asked for, ``"onnx"`` stands for ``Semantics()``, ``"onnxruntime"`` for the second choice
    of all three, and so does ``"onnx"`` for com.microsoft's DynamicQuantizeLSTM. Source: the operator's text up to
    version 22; onnxruntime 1.32, by experiment.

    Examples
    --------
    >>> import fastlstm.onnx
    >>> fastlstm.onnx.Semantics(clip_at="gates")
    Semantics(clip_at='gates', zero_length='state', parameters='onnx')
    """

    clip_at: str = "activations"
    zero_length: str = "state"
    parameters: str = "onnx"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} should be one of {', '.join(choices)}, got: {value!r}")


_NAMED: Final = {
    "onnx": Semantics(),
    "onnxruntime": Semantics(clip_at="gates", zero_length="zeros", parameters="onnxruntime"),
}


def checked(semantics: object) -> Semantics:
    """Check a ``semantics`` argument: a name, or a Semantics."""
    if isinstance(semantics, Semantics):
        return semantics
    if not isinstance(semantics, str):
        raise TypeError(f"semantics should be a name or a Semantics, got: {type(semantics).__name__}")
    if semantics not in _NAMED:
        raise ValueError(f"semantics should be one of {', '.join(_NAMED)}, or a Semantics, got: {semantics!r}")
    return _NAMED[semantics]


def of_node(semantics: object, node: NodeProto) -> Semantics:
    """Check a ``semantics`` argument for a node: onnxruntime's own operator is read in its way by default."""
    made = checked(semantics)
    return _NAMED["onnxruntime"] if semantics == "onnx" and is_quantized(node) else made
