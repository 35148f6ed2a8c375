"""A whole model with its layers swapped."""

from __future__ import annotations

from typing import Any

import keras

from ._layer import LSTM


def accelerate(model: Any) -> Any:
    """Return a model with the same weights that has `fastlstm.keras.LSTM` wherever this one has `keras.layers.LSTM`.

    Also inside `Bidirectional`, other wrappers, and models in models. The model itself stays as it is. Loading a file
    with ``custom_objects={"LSTM": ...}`` does this for ``.h5`` files only: in ``.keras`` files Keras takes the layers
    that are its own from itself.

    Parameters
    ----------
    model : keras.Model or keras.Layer
        Built, and with a config that names its layers: Sequential and functional models have one, a subclassed model
        if its ``get_config`` gives one.

    Returns
    -------
    keras.Model or keras.Layer
        Compiled as the model was; the optimizer starts afresh.

    Raises
    ------
    TypeError
        For something that is not a Keras layer or model.
    ValueError
        For a model that is not built, or without a `keras.layers.LSTM` in its config.

    Examples
    --------
    >>> import keras, fastlstm.keras
    >>> model = keras.Sequential([keras.Input((7, 4)), keras.layers.LSTM(3)])  # or keras.saving.load_model(path)
    >>> type(fastlstm.keras.accelerate(model).layers[0])
    <class 'fastlstm.keras.LSTM'>
    """
    if not isinstance(model, keras.Layer):
        raise TypeError(f"model should be a keras.Model or keras.Layer, got: {type(model).__name__}")
    if not model.built:
        raise ValueError(f"model {model.name!r} is not built: call it once, or build it")
    config, swapped = _swapped(keras.saving.serialize_keras_object(model))
    if not swapped:
        raise ValueError(f"model {model.name!r} has no keras.layers.LSTM in its config")
    made = keras.saving.deserialize_keras_object(config)
    made.set_weights([keras.ops.convert_to_numpy(variable) for variable in model.weights])
    return made


def _swapped(config: Any) -> tuple[Any, int]:
    """Rewrite a config, and count the layers that were swapped."""
    if not isinstance(config, dict | list | tuple):
        return config, 0
    if not isinstance(config, dict):
        parts = [_swapped(part) for part in config]
        return type(config)(part for part, _ in parts), sum(count for _, count in parts)
    entries = {key: _swapped(value) for key, value in config.items()}
    made = {key: value for key, (value, _) in entries.items()}
    count = sum(count for _, count in entries.values())
    if (made.get("module"), made.get("class_name")) == ("keras.layers", "LSTM"):
        name = keras.saving.get_registered_name(LSTM)
        return made | {"module": LSTM.__module__, "registered_name": name}, count + 1
    return made, count
