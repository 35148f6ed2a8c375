"""accelerate and restore: a model's LSTMs change class in place, so whoever holds them holds the new ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from .. import _checks
from ._cell import LSTMCell
from ._layer import LSTM

_OURS: dict[type, type] = {torch.nn.LSTM: LSTM, torch.nn.LSTMCell: LSTMCell}
_TORCHS = {ours: theirs for theirs, ours in _OURS.items()}
_MARK = "_accelerated"


class Accelerated(NamedTuple):
    """What `accelerate` did; names are those of ``model.named_modules()``."""

    swapped: list[str]  #: modules that run on fastlstm now
    left: dict[str, str]  #: LSTMs that do not, and why


def accelerate(model: torch.nn.Module, *, threads: int | None = None) -> Accelerated:
    """Make every LSTM and LSTMCell in a model run and train on fastlstm, with the same parameters.

    The modules stay the same objects and change their class: optimizers, hooks, shared parameters and references from
    elsewhere stay as they are. A pickled model needs fastlstm to be loaded; a state_dict does not.

    Parameters
    ----------
    model : torch.nn.Module
        Any module tree; an LSTM alone too.
    threads : int, optional
        How many threads share a call of an LSTM; ``torch.get_num_threads()`` at the time of the call if not given.

    Returns
    -------
    Accelerated
        What was swapped, and what was left and why: subclasses of torch's LSTM, modules on other devices or in other
        dtypes, scripted ones.

    Raises
    ------
    TypeError
        For something that is not a module.

    Notes
    -----
    ``torch.compile`` leaves every RNN module out of its graph unless ``torch._dynamo.config.allow_rnn`` is True; with
    it, an LSTM is one operator in the graph. ``torch.export`` needs no such thing. ``torch.jit.script`` does not take
    the new classes: `restore` first.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> model = torch.nn.ModuleDict({"rnn": torch.nn.LSTM(8, 16), "small": torch.nn.LSTM(8, 16).half()})
    >>> fastlstm.torch.accelerate(model)
    Accelerated(swapped=['rnn'], left={'small': 'parameters have dtype torch.float16'})
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model should be a torch.nn.Module, got: {type(model).__name__}")
    number = None if threads is None else _checks.thread_count(threads)
    done = Accelerated([], {})
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and module.original_name in ("LSTM", "LSTMCell"):
            done.left[name] = "it is scripted"
        if type(module) in _TORCHS or not isinstance(module, torch.nn.LSTM | torch.nn.LSTMCell):
            continue
        why = _ineligible(module)
        if why is not None:
            done.left[name] = why
            continue
        module.__class__ = _OURS[type(module)]
        module.__dict__[_MARK] = True
        if number is not None and isinstance(module, LSTM):
            module.threads = number
        done.swapped.append(name)
    return done


def restore(model: torch.nn.Module) -> list[str]:
    """Give the modules that `accelerate` swapped their own class back.

    Parameters
    ----------
    model : torch.nn.Module
        Any module tree. What was made as a `fastlstm.torch.LSTM` or `LSTMCell` stays one.

    Returns
    -------
    list of str
        The names of the modules restored.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> model = torch.nn.Sequential(torch.nn.LSTM(8, 16))
    >>> fastlstm.torch.accelerate(model).swapped == fastlstm.torch.restore(model)
    True
    >>> type(model[0])
    <class 'torch.nn.modules.rnn.LSTM'>
    """
    done = []
    for name, module in model.named_modules():
        if type(module) in _TORCHS and module.__dict__.pop(_MARK, False):
            for key in ("_packed", "_fast", "fallback", "threads"):
                module.__dict__.pop(key, None)
            module.__class__ = _TORCHS[type(module)]
            done.append(name)
    return done


@contextmanager
def accelerated(model: torch.nn.Module, *, threads: int | None = None) -> Iterator[Accelerated]:
    """`accelerate` a model for the time of a ``with`` block, then restore what it swapped.

    Parameters
    ----------
    model, threads
        As for `accelerate`.

    Yields
    ------
    Accelerated
        What was swapped, and what was left and why.

    Examples
    --------
    >>> import torch, fastlstm.torch
    >>> model = torch.nn.Sequential(torch.nn.LSTM(8, 16))
    >>> with fastlstm.torch.accelerated(model) as done:
    ...     output, states = model(torch.zeros(3, 1, 8))
    >>> done.swapped, type(model[0]).__module__
    (['0'], 'torch.nn.modules.rnn')
    """
    modules = dict(model.named_modules()) if isinstance(model, torch.nn.Module) else {}
    done = accelerate(model, threads=threads)
    try:
        yield done
    finally:
        for name in done.swapped:
            restore(modules[name])


def _ineligible(module: torch.nn.Module) -> str | None:
    """Say why a module cannot be swapped."""
    if type(module) not in _OURS:
        return f"{type(module).__name__} is a subclass of torch's: it may override anything"
    if "forward" in module.__dict__:
        return "its forward has been replaced on the object"
    first = next(iter(module.parameters()), None)
    if first is None:
        return "it has no parameters of its own"
    if first.device.type != "cpu":
        return f"parameters are on {first.device}"
    if first.dtype not in (torch.float32, torch.float64):
        return f"parameters have dtype {first.dtype}"
    return None
