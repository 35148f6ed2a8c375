"""Attributes of a node to the form of a cell, and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from .._forms import ACTIVATIONS, Activation, Form, parameters
from ._attributes import Attributes
from ._semantics import Semantics

_NAMES: Final = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "hard_sigmoid": "HardSigmoid",
    "affine": "Affine",
    "leaky_relu": "LeakyRelu",
    "thresholded_relu": "ThresholdedRelu",
    "scaled_tanh": "ScaledTanh",
    "elu": "Elu",
    "softsign": "Softsign",
    "softplus": "Softplus",
}
_OURS: Final = {theirs.lower(): ours for ours, theirs in _NAMES.items()}

# onnxruntime 1.32, by experiment: what it has no default for is 0
_ONNXRUNTIME: Final = {"affine": (0.0, 0.0), "scaled_tanh": (0.0, 0.0), "thresholded_relu": (0.0,)}


def forms(attributes: Attributes, peepholes: bool, semantics: Semantics) -> tuple[Form, ...]:
    """Return the form of each direction."""
    alphas, betas = iter(attributes.activation_alpha), iter(attributes.activation_beta)
    names = attributes.activations or ("Sigmoid", "Tanh", "Tanh") * attributes.directions
    made = [_activation(name, alphas, betas, semantics) for name in names]
    clip = None if attributes.clip is None or math.isinf(attributes.clip) else attributes.clip
    return tuple(
        Form(
            *made[3 * d : 3 * d + 3],
            peepholes=peepholes,
            coupled=attributes.input_forget,
            clip=clip,
            clip_at=semantics.clip_at,
        )
        for d in range(attributes.directions)
    )


def _activation(name: str, alphas: Iterator[float], betas: Iterator[float], semantics: Semantics) -> Activation:
    """Return an activation with its parameters: the next given ones, or its defaults."""
    ours = _OURS.get(name.lower())
    if ours is None:
        raise ValueError(f"activations should be among {', '.join(_NAMES.values())}, got: {name!r}")
    defaults = ACTIVATIONS[ours]
    if semantics.parameters == "onnxruntime":
        defaults = _ONNXRUNTIME.get(ours, defaults)
    given = tuple(next(values, default) for values, default in zip((alphas, betas), defaults, strict=False))
    return (ours, *given) if given else ours  # type: ignore[return-value]


def attributes_of(form: Form, directions: int, semantics: Semantics) -> dict[str, Any]:
    """Return the attributes that say a form, the same in each direction; none where the operator's defaults do."""
    if form.summed:
        raise ValueError("the operator has no form with summed=True: it multiplies i and g")
    found: dict[str, Any] = {}
    activations = (form.gate, form.candidate, form.cell) * directions
    if activations != ("sigmoid", "tanh", "tanh") * directions:
        found["activations"] = [_NAMES[parameters(activation)[0]] for activation in activations]
        given = [activation[1:] for activation in activations if not isinstance(activation, str)]
        for name, position in (("activation_alpha", 0), ("activation_beta", 1)):
            values = [numbers[position] for numbers in given if len(numbers) > position]
            if values:
                found[name] = values
    if form.coupled:
        found["input_forget"] = 1
    if form.clip is not None:
        if form.clip_at != semantics.clip_at:
            raise ValueError(
                f"form has clip_at={form.clip_at!r}, but clip is at {semantics.clip_at!r} in these semantics: "
                "export says so only with semantics='onnxruntime' (gates) or 'onnx' (activations)"
            )
        found["clip"] = form.clip
    return found
