"""A whole model with its layers swapped."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np

from .. import _weights
from ._layer import LSTM


def accelerate(model: Any, *, weights: str | None = None) -> Any:
    """Return a model with the same weights that has `fastlstm.keras.LSTM` wherever this one has `keras.layers.LSTM`.

    Also inside `Bidirectional`, other wrappers, and models in models. The model itself stays as it is. Loading a file
    with ``custom_objects={"LSTM": ...}`` does this for ``.h5`` files only: in ``.keras`` files Keras takes the layers
    that are its own from itself.

    Parameters
    ----------
    model : keras.Model or keras.Layer
        Built, and with a config that names its layers: Sequential and functional models have one, a subclassed model
        if its ``get_config`` gives one.
    weights : str, optional
        For inference: what the layers store their packed kernels in, as for `LSTM`; of those that are
        `fastlstm.keras.LSTM` already, too. ``"float32"`` undoes it.

    Returns
    -------
    keras.Model or keras.Layer
        Compiled as the model was; the states of stateful layers go on, while the optimizer, metrics and the random
        numbers of dropout start afresh.

    Raises
    ------
    TypeError
        For something that is not a Keras layer or model.
    ValueError
        For a model that is not built, or without a `keras.layers.LSTM` in its config; where it has one all the same,
        as a subclassed model has, the message says what to do. For unknown `weights`, or in layers of float64.

    Warns
    -----
    UserWarning
        For LSTMs that stay as they are: subclasses, and cells in a `keras.layers.RNN`.

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
    if weights is not None and weights != _weights.AUTO:
        _weights.checked(weights, np.dtype(np.float32))
    config, swapped = _swapped(keras.saving.serialize_keras_object(model), weights)
    if not swapped:
        raise ValueError(f"model {model.name!r} has no keras.layers.LSTM in its config{_advice(model)}")
    made = keras.saving.deserialize_keras_object(config)
    made.set_weights([keras.ops.convert_to_numpy(variable) for variable in model.weights])
    _carry_states(model, made)
    if left := _others(made):
        warnings.warn(f"model {model.name!r}: {_listed(left)}", stacklevel=2)
    return made


def _ours(entry: dict[str, Any], weights: str | None) -> dict[str, Any]:
    """Give a layer's entry what its kernels are to be stored in."""
    return entry if weights is None else entry | {"config": entry["config"] | {"weights": weights}}


def _carry_states(model: Any, made: Any) -> None:
    """Give the stateful layers of a new model the states that the old one's are in."""
    old, new = (
        [layer for layer in each._flatten_layers() if isinstance(layer, keras.layers.RNN)] for each in (model, made)
    )
    for source, target in zip(old, new, strict=True):
        states, own = (keras.tree.flatten(layer.states) for layer in (source, target))
        if [state.shape for state in states if state is not None] != [
            state.shape for state in own if state is not None
        ]:
            raise ValueError(f"the states of layer {source.name!r} cannot be carried on: call reset_state() first")
        for state, into in zip(states, own, strict=True):
            if state is not None:
                into.assign(state)


def _others(model: Any) -> list[Any]:
    """List the LSTMs that are not fastlstm's."""
    return [
        layer
        for layer in model._flatten_layers()
        if (isinstance(layer, keras.layers.LSTM) and not isinstance(layer, LSTM))
        or (type(layer) is keras.layers.RNN and _has_lstm_cell(layer.cell))
    ]


def _has_lstm_cell(cell: Any) -> bool:
    return any(isinstance(each, keras.layers.LSTMCell) for each in getattr(cell, "cells", [cell]))


def _listed(layers: list[Any]) -> str:
    """Say which layers stay, and why."""
    cells = [layer.name for layer in layers if not isinstance(layer, keras.layers.LSTM)]
    lstms = [f"{layer.name} ({type(layer).__name__})" for layer in layers if isinstance(layer, keras.layers.LSTM)]
    told = []
    if lstms:
        told.append(f"{', '.join(lstms)}: a subclass, or in a layer whose config does not name it")
    if cells:
        told.append(f"{', '.join(cells)}: an RNN of cells, where keras.layers.LSTM could be swapped")
    return f"these stay as they are: {'; '.join(told)}"


def _advice(model: Any) -> str:
    """Say what can be done for a model whose config does not name its LSTMs."""
    left = _others(model)
    plain = [layer.name for layer in left if type(layer) is keras.layers.LSTM]
    if plain:
        return (
            f", but it has: {', '.join(plain)}. Make them fastlstm.keras.LSTM where the model makes them, or write its "
            "get_config; load_weights takes what save_weights wrote of this one"
        )
    return f"; {_listed(left)}" if left else ""


def _swapped(config: Any, weights: str | None) -> tuple[Any, int]:
    """Rewrite a config, and count the layers that were swapped, or given other weights."""
    if not isinstance(config, dict | list | tuple):
        return config, 0
    if not isinstance(config, dict):
        parts = [_swapped(part, weights) for part in config]
        return type(config)(part for part, _ in parts), sum(count for _, count in parts)
    entries = {key: _swapped(value, weights) for key, value in config.items()}
    made = {key: value for key, (value, _) in entries.items()}
    count = sum(count for _, count in entries.values())
    name = keras.saving.get_registered_name(LSTM)
    if (made.get("module"), made.get("class_name")) == ("keras.layers", "LSTM"):
        return _ours(made, weights) | {"module": LSTM.__module__, "registered_name": name}, count + 1
    if weights is not None and made.get("registered_name") == name:
        return _ours(made, weights), count + 1
    return made, count
