"""trace: the gates of all LSTMs of a model while it runs."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

import fastlstm

from .._model_traces import NEAR, NEAR_QUANTIZED, Traces, check_near
from .._trace import MAX_BYTES, GateTrace
from ._accelerate import is_dynamic
from ._accept import HALVES, Unfit

Layer = fastlstm.LSTM[Any] | fastlstm.LSTMCell[Any]

_ONE_AT_A_TIME: Final = threading.RLock()  # who traces changes how compiled models run, for all threads


def trace(
    model: torch.nn.Module,
    inputs: Any,
    *,
    every: int = 1,
    units: ArrayLike | None = None,
    max_bytes: int = MAX_BYTES,
) -> Traces:
    """Run a model once, and keep the gates and cells of every step of every LSTM and LSTMCell in it.

    Also of those that torch has quantised dynamically, on their integers.

    Parameters
    ----------
    model : torch.nn.Module
        Any module tree; an LSTM alone too. Accelerated or not: it stays as it is.
    inputs : Tensor, PackedSequence, tuple or mapping
        What the model is called with, without gradients: one argument, a tuple of them, or a mapping of keywords.
    every, units, max_bytes
        As for `fastlstm.LSTM.trace`, for each call of an LSTM.

    Returns
    -------
    dict of str to list of GateTrace
        By the modules' names, as ``model.named_modules()`` has them ("" for the model itself): one trace for each call,
        in their order. Those of an LSTMCell are of one step. Modules that were not called are not in it.

    Raises
    ------
    TypeError
        For something that is not a module.
    ValueError
        For a model without LSTMs, or none that was called; for one that drops out (``model.eval()`` first); for an LSTM
        that did something else than its class, of which a trace would tell nothing.
    MemoryError
        As for `fastlstm.LSTM.trace`.

    Notes
    -----
    The gates are fastlstm's, computed beside the model from what each LSTM was given: of modules that run here, to the
    bit those that made the output. Parameters of 16 bits are taken as float32, and so are their inputs.

    What `torch.compile` has compiled runs uncompiled meanwhile, from torch 2.6 on. Other threads may call the model:
    their calls are not in the traces.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> model = torch.nn.ModuleDict({"rnn": torch.nn.LSTM(4, 3)})
    >>> model.forward = lambda x: model["rnn"](x)[0]
    >>> traces = fastlstm.torch.trace(model, torch.zeros(7, 2, 4))
    >>> traces["rnn"][0].f.shape
    (1, 1, 7, 2, 3)
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model should be a torch.nn.Module, got: {type(model).__name__}")
    kinds = torch.nn.LSTM | torch.nn.LSTMCell
    found: dict[str, Any] = {name: m for name, m in model.named_modules() if isinstance(m, kinds) or is_dynamic(m)}
    if not found:
        raise ValueError("the model has no torch.nn.LSTM or LSTMCell")
    args, kwargs = _arguments(inputs)
    options = {"every": every, "units": units, "max_bytes": max_bytes}
    made: Traces = {}
    with ExitStack() as hooks, torch.no_grad():
        hooks.enter_context(_ONE_AT_A_TIME)
        hooks.enter_context(_uncompiled())
        for name, module in found.items():
            recorder = _Recorder(name, module, options, made)
            hooks.callback(module.register_forward_hook(recorder, with_kwargs=True).remove)
        model(*args, **kwargs)
    if not made:
        raise ValueError(f"the model called none of its LSTMs: {', '.join(found)}")
    return made


def _uncompiled() -> AbstractContextManager[Any]:
    """Let compiled models run as they were written: a graph calls no hook, or cannot have ours in it."""
    if "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def _arguments(inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    if isinstance(inputs, tuple) and not isinstance(inputs, PackedSequence):  # which is a tuple as well
        return inputs, {}
    return (inputs,), {}


class _Recorder:
    """The hook of one module."""

    def __init__(self, name: str, module: Any, options: dict[str, Any], made: Traces) -> None:
        self._name, self._options, self._made = name or "the model", options, made
        self._path, self._thread = name, threading.get_ident()
        self._is_quantized = is_dynamic(module)
        self._layer: Layer | None = None
        self._read: dict[str, Any] = {}  # the weights that it was made of
        if module.training and getattr(module, "dropout", 0):
            raise ValueError(f"{self._name} is in training mode, and drops out: call model.eval() first")

    def __call__(self, module: Any, *call: Any) -> None:
        # In other threads torch may leave out the keywords, when the hook goes away while the module runs.
        if threading.get_ident() == self._thread:
            self._note(module, *call)

    def _note(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        given = dict(zip(("input", "hx", "lengths", "resets"), args, strict=False)) | kwargs
        if "input" not in given:
            raise ValueError(f"{self._name} was called without `input`, as an LSTM is: got {', '.join(given)}")
        layer, options = self._layer_now(module), dict(self._options)
        if isinstance(layer, fastlstm.LSTMCell):
            del options["every"]
        made = layer.trace(**_as_arrays(given, layer), **options)
        self._compare(made, output)
        self._made.setdefault(self._path, []).append(made)

    def _layer_now(self, module: Any) -> Layer:
        """Return a layer of the weights that the module has in this call: some models change them from call to call."""
        if self._layer is None or not all(
            np.array_equal(_array(getattr(module, name), array.dtype), array) for name, array in self._read.items()
        ):
            try:
                self._layer, self._read = _quantized_layer_of(module) if self._is_quantized else _layer_of(module)
            except Unfit as unfit:
                raise ValueError(f"{self._name} cannot be traced: {unfit}") from None
        return self._layer

    def _compare(self, made: GateTrace[Any], output: Any) -> None:
        """Refuse a module that did something else."""
        first = output[0] if isinstance(output, tuple) and not isinstance(output, PackedSequence) else output
        if isinstance(first, PackedSequence):
            first = pad_packed_sequence(first, batch_first=self._layer.batch_first)[0]  # type: ignore[union-attr]
        wanted = _array(first, made.output.dtype) if isinstance(first, Tensor) else None
        if wanted is None or wanted.shape != made.output.shape:
            raise ValueError(f"{self._name} did not return what an LSTM does: there is nothing to trace")
        check_near(self._name, made.output, wanted, NEAR_QUANTIZED if self._is_quantized else NEAR)


def _layer_of(module: Any) -> tuple[Layer, dict[str, Any]]:
    """Make a layer of a module's parameters, by whatever they are computed; return a copy of them, too."""
    first = next(module.parameters())
    dtype = "float64" if first.dtype == torch.float64 else "float32"
    shared = {"bias": module.bias, "dtype": dtype}
    layer: Layer
    if isinstance(module, torch.nn.LSTMCell):
        layer = fastlstm.LSTMCell(module.input_size, module.hidden_size, **shared)
    else:
        layer = fastlstm.LSTM(
            module.input_size,
            module.hidden_size,
            module.num_layers,
            batch_first=module.batch_first,
            bidirectional=module.bidirectional,
            proj_size=module.proj_size,
            **shared,
        )
    read = {name: np.array(_array(getattr(module, name), layer.dtype)) for name in layer.state_dict()}
    layer.load_state_dict(read)
    weights = getattr(module, "weights", None)  # of a module that runs here
    return (layer if weights is None else layer.astype(weights=weights)), read


def _quantized_layer_of(module: Any) -> tuple[Layer, dict[str, Any]]:
    """Make a layer of the integers, or the 16 bits, that torch has quantised, for good; Unfit says why not."""
    from . import _dynamic, _quantized

    ours = _dynamic.LSTM if hasattr(module, "num_layers") else _dynamic.LSTMCell
    seen = ours.__new__(ours)  # the same module, as ours reads it
    seen.__dict__.update(module.__dict__)
    sizes = seen._sizes()
    parameters, own = _quantized.read(seen._matrices(), sizes)
    shared: dict[str, Any] = {"weights": seen.weights or own}
    layer: Layer
    if ours is _dynamic.LSTMCell:
        layer = fastlstm.LSTMCell(sizes.I, sizes.H, **shared)
    else:
        shared |= {"batch_first": module.batch_first, "bidirectional": module.bidirectional}
        layer = fastlstm.LSTM(sizes.I, sizes.H, sizes.L, **shared)
    layer._use(layer._settings, sizes, parameters)
    return layer, {}


def _as_arrays(given: dict[str, Any], layer: Any) -> dict[str, Any]:
    """Return the arguments of a call as the layer takes them."""
    made = {name: value for name, value in given.items() if value is not None}
    if isinstance(made["input"], PackedSequence):
        made["input"], made["lengths"] = pad_packed_sequence(made["input"], batch_first=layer.batch_first)
    made["input"] = _array(made["input"], layer.dtype)
    if "hx" in made:
        made["hx"] = tuple(_array(state, layer.dtype) for state in made["hx"])
    for name in ("lengths", "resets"):
        if isinstance(made.get(name), Tensor):
            made[name] = made[name].detach().cpu().numpy()
    return made


def _array(tensor: Tensor, dtype: np.dtype[Any]) -> Any:
    """Copy a tensor; of 16 bits, as float32."""
    here = tensor.detach().cpu()
    return np.asarray((here.float() if here.dtype in HALVES else here).numpy(), dtype=dtype)
