"""The attributes of an LSTM node, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from onnx import AttributeProto, NodeProto, helper

from ._operators import is_quantized

DIRECTIONS: Final = ("forward", "reverse", "bidirectional")

_LAYOUT: Final = 14  # the first operator set with that attribute
_TYPES: Final = {
    "direction": AttributeProto.STRING,
    "hidden_size": AttributeProto.INT,
    "activations": AttributeProto.STRINGS,
    "activation_alpha": AttributeProto.FLOATS,
    "activation_beta": AttributeProto.FLOATS,
    "clip": AttributeProto.FLOAT,
    "input_forget": AttributeProto.INT,
    "layout": AttributeProto.INT,
}


@dataclass(frozen=True)
class Attributes:
    """The attributes of an LSTM node, under the operator's names and with its defaults.

    Parameters
    ----------
    direction : str
        ``"forward"``, ``"reverse"`` or ``"bidirectional"``.
    hidden_size : int, optional
        H; None where the node does not say: then R tells.
    activations : tuple of str
        Three names per direction, of the gates, the candidate and the cell; empty for the default ones.
    activation_alpha, activation_beta : tuple of float
        Parameters, taken in order by the activations that have them; what is left over is ignored.
    clip : float, optional
        Greater than zero; what it limits is a matter of `Semantics`.
    input_forget : bool
        The forget gate is 1 - i.
    layout : int
        0: X is [T, B, I]; 1: [B, T, I].

    Raises
    ------
    ValueError
        For an invalid value.

    Examples
    --------
    >>> import fastlstm.onnx
    >>> fastlstm.onnx.Attributes(direction="bidirectional").directions
    2
    """

    direction: str = "forward"
    hidden_size: int | None = None
    activations: tuple[str, ...] = ()
    activation_alpha: tuple[float, ...] = ()
    activation_beta: tuple[float, ...] = ()
    clip: float | None = None
    input_forget: bool = False
    layout: int = 0

    def __post_init__(self) -> None:
        if self.direction not in DIRECTIONS:
            raise ValueError(f"direction should be one of {', '.join(DIRECTIONS)}, got: {self.direction!r}")
        if self.hidden_size is not None and self.hidden_size <= 0:
            raise ValueError(f"hidden_size should be greater than zero, got: {self.hidden_size}")
        if self.activations and len(self.activations) != 3 * self.directions:
            raise ValueError(
                f"activations should be {3 * self.directions}, three per direction, got {len(self.activations)}: "
                f"{', '.join(self.activations)}"
            )
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip should be greater than zero, got: {self.clip}")
        for name in ("input_forget", "layout"):
            if getattr(self, name) not in (0, 1):
                raise ValueError(f"{name} should be 0 or 1, got: {getattr(self, name)}")
        object.__setattr__(self, "input_forget", bool(self.input_forget))  # a node has 0 or 1

    @property
    def directions(self) -> int:
        """D: 2 for both directions, else 1."""
        return 2 if self.direction == "bidirectional" else 1


def read(node: NodeProto, opset: int = _LAYOUT) -> Attributes:
    """Read the attributes of a node of an operator set."""
    values: dict[str, Any] = {}
    known = [name for name in _TYPES if name != "layout" or not (is_quantized(node) or opset < _LAYOUT)]
    version = f" of opset {opset}" if opset < _LAYOUT and not is_quantized(node) else ""
    for attribute in node.attribute:
        name = attribute.name
        if name not in known:
            raise ValueError(
                f"{name!r} is not an attribute of the {node.op_type} operator{version}: {', '.join(known)}"
            )
        if name in values:
            raise ValueError(f"{name} is given twice")
        if attribute.ref_attr_name:
            raise ValueError(f"{name} is a parameter of the function around the node")
        if attribute.type != _TYPES[name]:
            expected, got = (AttributeProto.AttributeType.Name(kind) for kind in (_TYPES[name], attribute.type))
            raise ValueError(f"{name} should be of type {expected}, got: {got}")
        values[name] = _plain(helper.get_attribute_value(attribute))
    return Attributes(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, int | float) else tuple(_plain(item) for item in value)
