"""trace: the gates of all LSTMs of a model while it runs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, Final, NamedTuple

import keras
import numpy as np
from keras.src.backend.common.variables import AutocastScope
from numpy.typing import ArrayLike, NDArray

import fastlstm

from .._model_traces import Traces, check_near
from .._trace import MAX_BYTES, GateTrace
from .._types import Array
from ._activations import COUNTERPARTS
from ._masks import checked, steps
from ._plans import Plans, plans

_ONE_AT_A_TIME: Final = threading.RLock()  # who traces a model stands in its layers meanwhile
#: Of what is listened to: a layer's input and state, and what else there is.
_ARGUMENTS: Final = {
    "inner_loop": ("sequences", "initial_state", "mask", "training"),
    "call": ("inputs", "states", "training"),
}


def trace(
    model: Any,
    inputs: Any,
    *,
    every: int = 1,
    units: ArrayLike | None = None,
    max_bytes: int = MAX_BYTES,
    **call: Any,
) -> Traces:
    """Run a model once, and keep the gates and cells of every step of every LSTM in it.

    Parameters
    ----------
    model : keras.Model or keras.Layer
        Built: Sequential, functional, subclassed, or an LSTM alone; of Keras's own layers or of fastlstm's. It stays as
        it is, the states of stateful layers included.
    inputs : tensor, or a list or dict of them
        What the model is called with.
    every, units, max_bytes
        As for `fastlstm.LSTM.trace`, for each call of an LSTM.
    **call
        What else the model is called with: ``mask``, ``initial_state``, ...

    Returns
    -------
    dict of str to list of GateTrace
        By the layers' names, those of layers inside others after a slash ("bidirectional/forward_lstm"; "" for the
        model itself): one trace for each call, in their order. Cells that an RNN stacks have one each, under their own
        names; those of an LSTMCell that is called by itself are of one step. Layers that were not called are not in it.

    Raises
    ------
    TypeError
        For something that is not a layer.
    ValueError
        For a model that is not built, without LSTMs, or none that was called; for an LSTM that drops out, has an
        activation without a counterpart, runs in a compiled function, or did something else than its class, of which a
        trace would tell nothing.
    MemoryError
        As for `fastlstm.LSTM.trace`.

    Notes
    -----
    The gates are fastlstm's, computed beside the model from what each LSTM was given: of `fastlstm.keras.LSTM`, to the
    bit those that made the output. Layers of 16 bits are computed in float32.

    Steps are in the order in which a layer reads them: from the end with ``go_backwards``, as in the second layer of
    `Bidirectional`, and without those that a mask leaves out. ``trace.times`` tells which step of the input each was.

    Examples
    --------
    >>> import numpy as np, keras, fastlstm.keras
    >>> model = keras.Sequential([keras.Input((7, 4)), keras.layers.LSTM(3, name="rnn"), keras.layers.Dense(1)])
    >>> traces = fastlstm.keras.trace(model, np.zeros((2, 7, 4), "float32"))
    >>> traces["rnn"][0].f.shape  # layers, directions, steps, rows, units
    (1, 1, 7, 2, 3)
    """
    if not isinstance(model, keras.Layer):
        raise TypeError(f"model should be a keras.Model or keras.Layer, got: {type(model).__name__}")
    if not model.built:
        raise ValueError(f"model {model.name!r} is not built: call it once, or build it")
    found = list(_taps(model))
    if not found:
        raise ValueError("the model has no keras.layers.LSTM, RNN of LSTMCells, or LSTMCell")
    seen: list[_Seen] = []
    with ExitStack() as hooks:
        hooks.enter_context(_ONE_AT_A_TIME)
        hooks.enter_context(_without_gradients())
        for tap in found:
            hooks.enter_context(tap.listening(seen))
        model(inputs, **{"training": False} | call)
    if not seen:
        raise ValueError(f"the model called none of its LSTMs: {', '.join(tap.name for tap in found)}")
    made: Traces = {}
    options = {"every": every, "units": units, "max_bytes": max_bytes}
    for each in seen:
        for name, gates in each.traces(options):
            made.setdefault(name, []).append(gates)
    return made


# ---- what a model has -----------------------------------------------------------------------------------------------


def _taps(model: Any) -> Iterator[_Tap]:
    """Find the LSTMs of a model: time loops, and cells that somebody else calls step by step."""
    named = _named(model)
    owned: set[int] = set()
    cells: list[tuple[str, Any]] = []
    for name, layer in named:
        if isinstance(layer, keras.layers.RNN):
            inner = getattr(layer.cell, "cells", [layer.cell])
            owned.update(map(id, inner))
            if any(isinstance(cell, keras.layers.LSTMCell) for cell in inner):
                yield _Tap(name, layer, "inner_loop", inner)
        elif isinstance(layer, keras.layers.LSTMCell):
            cells.append((name, layer))
    for name, cell in cells:
        if id(cell) not in owned:
            yield _Tap(name, cell, "call", [cell])


def _named(model: Any) -> list[tuple[str, Any]]:
    """List all layers once, with the names of those around them but the model's own."""
    made: list[tuple[str, Any]] = []
    names: set[str] = set()
    seen: set[int] = set()

    def visit(layer: Any, path: str) -> None:
        if id(layer) in seen:
            return
        seen.add(id(layer))
        name, k = path, 1
        while name in names:
            k += 1
            name = f"{path}#{k}"
        names.add(name)
        made.append((name, layer))
        for inner in layer._layers:
            visit(inner, f"{name}/{inner.name}" if name else inner.name)

    visit(model, "")
    return made


class _Tap:
    """One LSTM of a model, and how it is listened to."""

    def __init__(self, name: str, layer: Any, method: str, cells: list[Any]) -> None:
        self._path, self._layer, self._method, self._cells = name, layer, method, cells
        self._plans: dict[int, Plans] = {}

    @property
    def name(self) -> str:
        """For messages."""
        return self._path or "the model"

    @contextmanager
    def listening(self, seen: list[_Seen]) -> Iterator[None]:
        """Note what the layer is given while the block runs, in this thread; then leave it as it was."""
        usual, thread = getattr(self._layer, self._method), threading.get_ident()
        states = [(state, np.array(_values(state))) for state in keras.tree.flatten(_states(self._layer))]

        def noting(*arguments: Any, **named: Any) -> Any:
            if threading.get_ident() != thread:
                return usual(*arguments, **named)
            noted = self._note(dict(zip(_ARGUMENTS[self._method], arguments, strict=False)) | named)
            result = usual(*arguments, **named)
            noted.end(result)
            seen.append(noted)
            return result

        object.__setattr__(self._layer, self._method, noting)  # past Keras, which would keep it as the layer's
        try:
            yield
        finally:
            object.__delattr__(self._layer, self._method)
            for state, value in states:
                state.assign(value)

    def _note(self, given: dict[str, Any]) -> _Seen:
        """Copy what a call is made of; what cannot be traced is told once the model has run."""
        inputs, state = (given[name] for name in _ARGUMENTS[self._method][:2])
        mask = given.get("mask")
        try:
            for cell in self._cells:
                self._check(cell, bool(given.get("training")))
            x, *flat = (np.array(_values(each)) for each in [inputs, *keras.tree.flatten(state)])
            mask = mask[0] if isinstance(mask, list | tuple) else mask
            valid = None if mask is None else checked(_values(mask), *x.shape[:2])
            layers = [self._lstm(k, cell) for k, cell in enumerate(self._cells)]
        except Exception as error:  # whatever it is, the model runs on
            return _Seen([], f"{self.name} cannot be traced: {error}")
        wide = layers[0].dtype
        alone = self._method == "call"
        return _Seen(
            [(self._name_of(cell), lstm) for cell, lstm in zip(self._cells, layers, strict=True)],
            None,
            (x[:, np.newaxis] if alone else x).astype(wide, copy=False),
            [each.astype(wide, copy=False) for each in flat],
            valid,
            not alone and self._layer.go_backwards,
        )

    def _name_of(self, cell: Any) -> str:
        if len(self._cells) == 1:
            return self._path
        return f"{self._path}/{cell.name}" if self._path else str(cell.name)

    def _check(self, cell: Any, training: bool) -> None:
        if not isinstance(cell, keras.layers.LSTMCell):
            raise TypeError(f"it stacks LSTMCells with {type(cell).__name__}")
        if training and (cell.dropout or cell.recurrent_dropout):
            raise ValueError("it drops out: call it with training=False")
        for name in ("activation", "recurrent_activation"):
            function = getattr(cell, name)
            if function not in COUNTERPARTS:
                raise ValueError(f"{name}={getattr(function, '__name__', function)!r} has no counterpart")

    def _lstm(self, k: int, cell: Any) -> fastlstm.LSTM[Any]:
        """Return what a call of `fastlstm.keras.LSTM` with these weights runs on."""
        stored_as = getattr(self._layer, "stored_as", None)
        with nullcontext() if stored_as is None else AutocastScope(None):
            weights = [_values(v.value) for v in (cell.kernel, cell.recurrent_kernel, cell.bias) if v is not None]
        if k not in self._plans:
            self._plans[k] = plans(weights)
        activations = COUNTERPARTS[cell.recurrent_activation], COUNTERPARTS[cell.activation]
        return self._plans[k].of(weights, activations, stored_as)


# ---- what was seen --------------------------------------------------------------------------------------------------


class _Seen:
    """One call of a layer: what it was given, and the states that it ended in."""

    def __init__(
        self,
        layers: list[tuple[str, fastlstm.LSTM[Any]]],
        failure: str | None,
        x: Array | None = None,
        states: list[Array] | None = None,
        valid: NDArray[np.bool_] | None = None,
        backwards: bool = False,
    ) -> None:
        self._layers, self._failure, self._states = layers, failure, states or []
        self._ends: list[Array] = []
        if x is not None:
            self._x, self._order, self._lengths = _in_order(x, valid, backwards)

    def end(self, result: Any) -> None:
        """Note the states that the time loop or the cell returned: h_n, c_n of each cell."""
        if self._failure is None:
            self._ends = [np.array(_values(each)) for each in keras.tree.flatten(result[-1])]

    def traces(self, options: dict[str, Any]) -> Iterator[tuple[str, GateTrace[Any]]]:
        """Trace the layer, or what it stacks one after the other; compare where each ends."""
        if self._failure is not None:
            raise ValueError(self._failure)
        x, B = self._x, len(self._x)
        pairs = zip(self._states[::2], self._states[1::2], strict=True)
        for k, ((name, lstm), pair) in enumerate(zip(self._layers, pairs, strict=True)):
            h, c = (np.broadcast_to(state, (1, B, state.shape[-1])) for state in pair)
            made = lstm.trace(x, (h, c), lengths=self._lengths, **options)
            self._compare(name or "the model", made, self._ends[2 * k : 2 * k + 2])
            made._read_in(self._order)
            x = made.output
            yield name, made

    def _compare(self, name: str, made: GateTrace[Any], ends: list[Array]) -> None:
        """Refuse a layer that did something else."""
        for mine, its in zip((made.h_n[0], made.c_n[0]), ends, strict=True):
            check_near(name, mine, its)


class _Read(NamedTuple):
    """An input as a layer reads it."""

    x: Array  #: [B, T, I]
    order: NDArray[np.int64]  #: [T, B]: which step of the input each is
    lengths: NDArray[np.int64] | None  #: [B]


def _in_order(x: Array, valid: NDArray[np.bool_] | None, backwards: bool) -> _Read:
    """Bring the steps into the order in which they run: what `LSTM` does, and which step each is."""
    B, T, _ = x.shape
    order = np.broadcast_to(np.arange(T)[:, np.newaxis], (T, B))
    if backwards:
        x, order = np.flip(x, axis=1), order[::-1]
        valid = None if valid is None else valid[:, ::-1]
    if valid is None:
        return _Read(x, order, None)
    plan = steps(valid)
    if plan.order is not None:
        x = np.take_along_axis(x, plan.order, axis=1)
        order = np.take_along_axis(order, plan.order[..., 0].T, axis=0)
    return _Read(x, order, plan.lengths)


def _values(tensor: Any) -> Array:
    """Return the values of a tensor that has some."""
    try:
        return np.asarray(keras.ops.convert_to_numpy(tensor))
    except Exception as error:
        raise ValueError(f"it runs in a compiled or traced function, where there are no values ({error})") from None


def _states(layer: Any) -> list[Any]:
    """Return the variables that a stateful layer keeps its state in."""
    return [state for state in keras.tree.flatten(getattr(layer, "states", None)) if state is not None]


def _without_gradients() -> Any:
    if keras.backend.backend() != "torch":
        return nullcontext()
    import torch

    return torch.no_grad()
