"""Keras's activations and their names in fastlstm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import keras

Name = str | tuple[str, float] | tuple[str, float, float]

#: By the function itself, as `keras.activations.get` returns it; numbers are the defaults of Keras, not those of ONNX.
COUNTERPARTS: Final[dict[Callable[..., Any], Name]] = {
    keras.activations.sigmoid: "sigmoid",
    keras.activations.tanh: "tanh",
    keras.activations.linear: ("affine", 1.0, 0.0),
    keras.activations.relu: "relu",
    keras.activations.leaky_relu: ("leaky_relu", 0.2),
    keras.activations.elu: ("elu", 1.0),
    keras.activations.hard_sigmoid: ("hard_sigmoid", 1 / 6, 0.5),
    keras.activations.softplus: "softplus",
    keras.activations.softsign: "softsign",
}
