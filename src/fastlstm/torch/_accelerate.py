"""accelerate and restore: a model's LSTMs change class in place, so whoever holds them holds the new ones."""

from __future__ import annotations

import contextlib
import copyreg
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.utils.parametrize

from .. import _checks, _weights
from ._accept import HALVES
from ._cell import LSTMCell
from ._embedding import Embedding
from ._lstm import LSTM
from ._quantized import Dynamic
from ._switch import MARK, checked_weights, give_back, take

_OURS: dict[type, type[LSTM | LSTMCell]] = {torch.nn.LSTM: LSTM, torch.nn.LSTMCell: LSTMCell}


class _Plain:
    """Has what Python writes into every class: from 3.13 on, for instance, the number of its first line."""

    annotated: int


# What a subclass may define and still be the same LSTM: how it is made, moved, drawn and shown.
_HARMLESS = {*vars(_Plain), "__new__", "__init__", "__init_subclass__", "reset_parameters", "_apply"}
_HARMLESS |= {"__repr__", "extra_repr", "__constants__", "__jit_unused_properties__"}
_CALLED = {"__call__", "_call_impl", "_wrapped_call_impl", "__getattr__", "__getattribute__", "__setattr__"}


class Accelerated(NamedTuple):
    """What `accelerate` did; names are those of ``model.named_modules()``."""

    swapped: list[str]  #: modules that run on fastlstm now
    left: dict[str, str]  #: LSTMs that do not, and why


class FrozenAdvice(UserWarning):
    """What `accelerate` says once in a process: that modules which step one by one would gain by ``frozen=True``.

    Examples
    --------
    >>> import warnings, torch, fastlstm.torch
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", fastlstm.torch.FrozenAdvice)
    ...     done = fastlstm.torch.accelerate(torch.nn.LSTMCell(4, 3).eval())
    """


_advised = False


def accelerate(
    model: torch.nn.Module,
    *,
    threads: int | None = None,
    subclasses: bool = False,
    frozen: bool | None = None,
    tables: int | None = None,
    weights: str | None = None,
) -> Accelerated:
    """Make every LSTM and LSTMCell in a model run and train on fastlstm, with the same parameters.

    Those of ``torch.ao.nn.quantized.dynamic`` are among them: they run on the integers that they have, for inference.

    The modules stay the same objects and change their class: optimizers, hooks, shared parameters and references from
    elsewhere stay as they are. A pickled model needs fastlstm to be loaded; a state_dict does not.

    Parameters
    ----------
    model : torch.nn.Module
        Any module tree; an LSTM alone too.
    threads : int, optional
        How many threads share a call of an LSTM; ``torch.get_num_threads()`` at the time of the call if not given. Sets
        the attribute of `LSTM`, of those switched before too.
    subclasses : bool, optional
        Take subclasses of torch's classes too that override more than how they are made and shown. Their methods go on
        running: where one calls ``super().forward``, fastlstm answers.
    frozen : bool, optional
        Promise that parameters are written to by nothing that goes past torch's version counters, as do
        ``parameter.data``, NumPy, memory that they share, and optimizers with ``fused=True``: calls then do not look at
        their values. Sets the attribute of `LSTM` and `LSTMCell`, of those switched before too. None is False, but may
        lead to an advice.
    tables : int, optional
        Where an LSTM reads just what a ``torch.nn.Embedding`` has looked up, take its part of the first layer's sums
        from a table of all tokens (`fastlstm.LSTM.table`): the same results, without that product. The number is the
        most bytes that each LSTM's table may take, ``fastlstm.LSTM.table_nbytes`` tells how many; it is made at the
        first call without gradients, and again when parameters have changed. Embeddings are swapped too. Needs
        ``frozen=True``. Sets the attribute of `LSTM`; `LSTM.no_table` says why a call did without.
    weights : str, optional
        For inference: store the packed matrices so, ``"float16"``, ``"bfloat16"``, ``"int8"`` or ``"int8-fast"``, as
        for `fastlstm.LSTM`; ``"auto"``: as the parameters, where those have 16 bits. Modules of float16 and bfloat16
        are taken then, too. ``"float32"`` undoes it. Sets the attribute of `LSTM` and `LSTMCell`, of those switched
        before too. Quantised modules keep their integers, or float16, by default and with ``"auto"``; others are made
        of what those stand for.

    Returns
    -------
    Accelerated
        What was swapped, and what was left and why: subclasses that override something, modules on other devices or in
        other dtypes, scripted and parametrized ones, and those quantized in other ways than dynamically.

    Raises
    ------
    TypeError
        For something that is not a module.
    ValueError
        For `tables` without ``frozen=True``; for an unknown name, or another type than their own for the weights of
        modules of float64 that were switched before.

    Warns
    -----
    UserWarning
        Where nothing was swapped, and nothing in the model ran on fastlstm before.
    FrozenAdvice
        Once in a process, where an LSTMCell in eval mode is swapped and `frozen` is not given.

    Notes
    -----
    A subclass becomes a class of the same name, made when needed, that derives from it and from `LSTM` or `LSTMCell`:
    ``isinstance`` holds, `restore` gives the very class back, and a pickle names the user's class.
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
    modules = _modules(model)
    kind = weights if weights == _weights.AUTO else checked_weights(weights)
    number = None if threads is None else _checks.thread_count(threads)
    most = None if tables is None else _checked_tables(tables, frozen)
    _check_switched(modules, kind)
    done, before = Accelerated([], {}), False
    quantized: list[str] = []
    for name, module in modules.items():
        if isinstance(module, LSTM | LSTMCell | Dynamic):
            before = True
            continue
        if any(name.startswith(f"{whole}.") for whole in quantized):
            continue  # a part of it
        why = _other(module)
        if is_dynamic(module):
            from ._dynamic import switch  # imports what few models need

            why = switch(module, weights)
            if why is None:
                done.swapped.append(name)
        elif why is None and isinstance(module, torch.nn.LSTM | torch.nn.LSTMCell):
            why = _ineligible(module, subclasses, kind) or _take(module)
            if why is None:
                done.swapped.append(name)
        elif why is not None:
            quantized.append(name)
        if why is not None:
            done.left[name] = why
    for module in modules.values():
        if number is not None and isinstance(module, LSTM | Dynamic):
            module.threads = number
        if frozen is not None and isinstance(module, LSTM | LSTMCell):
            module.frozen = bool(frozen)
        if most is not None and isinstance(module, LSTM):
            module.tables = most
        if weights is not None and isinstance(module, LSTM | LSTMCell):
            module._set_weights(_resolved(kind, module))
        if weights is not None and isinstance(module, Dynamic):
            module._set_weights(weights)
    if most:
        _take_embeddings(modules, done)
    if frozen is None:
        _advise(modules, done.swapped)
    if not done.swapped and not before:
        what = f"what it has is left: {done.left}" if done.left else "the model has no torch.nn.LSTM or LSTMCell"
        warnings.warn(f"fastlstm.torch.accelerate switched nothing: {what}", stacklevel=_outside())
    return done


def _check_switched(modules: dict[str, torch.nn.Module], weights: str | None) -> None:
    """Refuse a type of weights for modules that run here, before anything is changed."""
    if weights in (None, _weights.AUTO):
        return
    for name, module in modules.items():
        first = _first(module) if isinstance(module, LSTM | LSTMCell) else None
        why = None if first is None else _unfit_dtype(first.dtype, weights) or _unfit_sizes(module, weights)
        if why is not None:
            raise ValueError(f"{name or 'the model'}: {why}")


def _resolved(weights: str | None, module: torch.nn.Module) -> str | None:
    """Return what a module's matrices are to be stored in."""
    if weights != _weights.AUTO:
        return weights
    first = _first(module)
    return str(first.dtype).removeprefix("torch.") if first is not None and first.dtype in HALVES else None


def _checked_tables(tables: object, frozen: bool | None) -> int:
    most = _checks.integer(tables, "tables")
    if most < 0:
        raise ValueError(f"tables should be a number of bytes, 0 or more, got: {most}")
    if most and not frozen:
        raise ValueError("tables needs frozen=True: what is in a table is not compared with the parameters")
    return most


def _take_embeddings(modules: dict[str, torch.nn.Module], done: Accelerated) -> None:
    """Swap what LSTMs may read from."""
    for name, module in modules.items():
        if not isinstance(module, torch.nn.Embedding) or isinstance(module, Embedding):
            continue
        why = _unfit_embedding(module)
        if why is None:
            take(module, Embedding)
            done.swapped.append(name)
        else:
            done.left[name] = why


def _unfit_embedding(module: torch.nn.Embedding) -> str | None:
    """Say why there can be no table of it."""
    if type(module) is not torch.nn.Embedding:
        return f"{type(module).__name__} may do more than to look up"
    if "forward" in module.__dict__:
        return "its forward has been replaced on the object"
    if module.max_norm is not None:
        return "max_norm: it changes its weight as it looks up"
    weight = module.weight
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.float64):
        return f"its weight has dtype {weight.dtype}, on {weight.device}"
    return None


def _advise(modules: dict[str, torch.nn.Module], swapped: list[str]) -> None:
    """Say once what `frozen` is for, where it would save much of a step."""
    global _advised
    serving = [name for name in swapped if isinstance(modules[name], LSTMCell) and not modules[name].training]
    if serving and not _advised:
        _advised = True
        warnings.warn(
            f"fastlstm.torch: each step of {serving[0] or 'the model'} looks at all its parameters, which takes about "
            "as long as the step. accelerate(model, frozen=True) saves that, if nothing writes to parameters past "
            "torch's version counters (parameter.data, NumPy, fused optimizers). frozen=False does without the advice",
            FrozenAdvice,
            stacklevel=_outside(),
        )


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
    for name, module in _modules(model).items():
        if MARK not in module.__dict__:
            continue
        if "_theirs" not in type(module).__dict__:
            warnings.warn(
                f"fastlstm.torch.restore leaves {name or 'the model'} as it is: its class became "
                f"{type(module).__name__} after accelerate; undo that first",
                stacklevel=_outside(),
            )
            continue
        give_back(module)
        done.append(name)
    return done


@contextmanager
def accelerated(
    model: torch.nn.Module,
    *,
    threads: int | None = None,
    subclasses: bool = False,
    frozen: bool | None = None,
    tables: int | None = None,
    weights: str | None = None,
) -> Iterator[Accelerated]:
    """`accelerate` a model for the time of a ``with`` block, then restore what it swapped.

    Modules that ran on fastlstm before get their `threads`, `frozen`, `tables` and `weights` back.

    Parameters
    ----------
    model, threads, subclasses, frozen, tables, weights
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
    modules = _modules(model)
    before = [(m, _settings(m)) for m in modules.values() if isinstance(m, LSTM | LSTMCell | Dynamic)]
    done = accelerate(model, threads=threads, subclasses=subclasses, frozen=frozen, tables=tables, weights=weights)
    try:
        yield done
    finally:
        for name in done.swapped:
            restore(modules[name])
        for module, settings in before:
            for key in _settings(module):
                del module.__dict__[key]
            module.__dict__.update(settings)


def _modules(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model should be a torch.nn.Module, got: {type(model).__name__}")
    return dict(model.named_modules())


def _settings(module: torch.nn.Module) -> dict[str, Any]:
    return {key: module.__dict__[key] for key in ("threads", "frozen", "tables", "weights") if key in module.__dict__}


def _outside() -> int:
    """Return the stack level of who called into this file, whether through `accelerated` or not."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename in (__file__, contextlib.__file__):
        frame, level = frame.f_back, level + 1
    return level


def _other(module: torch.nn.Module) -> str | None:
    """Say what an LSTM is that is no module of torch.nn's."""
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        return "it is scripted" if module.original_name in ("LSTM", "LSTMCell") else None
    if kind.__name__ in ("LSTM", "LSTMCell") and kind.__module__.startswith("torch.ao.nn."):
        return f"it is quantized: {kind.__module__.split('.modules')[0]}.{kind.__name__}"
    return None


def is_dynamic(module: torch.nn.Module) -> bool:
    """Tell whether torch has quantised its weights, and quantises its inputs as it runs."""
    kinds = [kind for kind in type(module).__mro__ if kind.__name__ in ("LSTM", "LSTMCell")]
    return any(kind.__module__.startswith("torch.ao.nn.quantized.dynamic.") for kind in kinds)


def _ineligible(module: torch.nn.Module, subclasses: bool, weights: str | None) -> str | None:
    """Say why a module cannot be swapped."""
    if "forward" in module.__dict__:
        return "its forward has been replaced on the object"
    if torch.nn.utils.parametrize.is_parametrized(module):
        return "it is parametrized: accelerate it before, and it runs here all the same"
    overridden = _overridden(module)
    if overridden and not subclasses:
        name = type(module).__name__
        return f"{name} overrides {', '.join(overridden)}: accelerate(model, subclasses=True) takes it too"
    if "weights" in module.__dict__:
        return "it has an attribute of the name weights"
    first = _first(module)
    if first is None:
        return "it has no parameters of its own"
    if first.device.type != "cpu":
        return f"parameters are on {first.device}"
    return _unfit_dtype(first.dtype, weights) or _unfit_sizes(module, weights)


def _unfit_sizes(module: Any, weights: str | None) -> str | None:
    """Say why a module's rows are too long for a type of weights."""
    try:
        _weights.check_sizes(
            weights, module.input_size, module.hidden_size * (1 + getattr(module, "bidirectional", False))
        )
    except ValueError as error:
        return str(error)
    return None


def _unfit_dtype(dtype: torch.dtype, weights: str | None) -> str | None:
    """Say why parameters of a dtype cannot be taken."""
    if weights is None or weights == _weights.AUTO:
        taken = (torch.float32, torch.float64, *(HALVES if weights else ()))
        return None if dtype in taken else f"parameters have dtype {dtype}"
    if dtype in (torch.float32, *HALVES):
        return None
    return f"parameters have dtype {dtype}, and weights={weights!r} is for float32, float16 and bfloat16"


def _first(module: torch.nn.Module) -> torch.Tensor | None:
    """Return a module's first parameter."""
    first = next(iter(module.parameters()), None)
    if first is None:  # views of a flat parameter stand in their place under FullyShardedDataParallel
        first = getattr(module, "weight_ih" if isinstance(module, torch.nn.LSTMCell) else "weight_ih_l0", None)
    return first if isinstance(first, torch.Tensor) else None


def _overridden(module: torch.nn.Module) -> list[str]:
    """List what the module's class defines anew of what torch's class, ours, or the object itself is made of."""
    theirs, ours = next(pair for pair in _OURS.items() if isinstance(module, pair[0]))
    matters = {*_CALLED, *module.__dict__, *module._parameters}
    for kind in ours.__mro__[: ours.__mro__.index(torch.nn.Module)]:
        matters |= vars(kind).keys()
    own = type(module).__mro__[: type(module).__mro__.index(theirs)]
    # fully_shard gives modules a class of its own, with methods of its own
    own = tuple(kind for kind in own if not kind.__module__.startswith("torch.distributed."))
    return sorted({name for kind in own for name in vars(kind)} & matters - _HARMLESS)


def _take(module: torch.nn.Module) -> str | None:
    """Change the module's class, or say why Python does not let us."""
    try:
        take(module, _counterpart(type(module)))
    except TypeError as error:
        return f"its class cannot be changed: {error}"
    return None


def _counterpart(theirs: type) -> type[LSTM | LSTMCell]:
    """Return the class that stands for torch's class, or for a subclass of it: made once, as long as that lives."""
    if theirs in _OURS:
        return _OURS[theirs]
    known: type[LSTM | LSTMCell]
    for known in type.__subclasses__(theirs):
        if vars(known).get("_theirs") is theirs:
            return known
    base = LSTM if issubclass(theirs, torch.nn.LSTM) else LSTMCell
    names = {key: getattr(theirs, key) for key in ("__module__", "__qualname__", "__doc__")}
    names |= {"_theirs": theirs, "__reduce_ex__": _reduce_ex}
    # theirs first: what it overrides runs, and its super() finds ours
    made: type[LSTM | LSTMCell] = types.new_class(
        theirs.__name__, (theirs, base), exec_body=lambda ns: ns.update(names)
    )
    return made


def _reduce_ex(self: Any, protocol: Any) -> Any:
    """Name the user's class in a pickle or a copy: a class made at run time has no name to be found by."""
    function, arguments, *rest = super(type(self), self).__reduce_ex__(protocol)
    if function is copyreg.__newobj__ and arguments[0] is type(self):  # type: ignore[attr-defined]
        return (_remake, (type(self)._theirs, *arguments[1:]), *rest)
    return (function, arguments, *rest)


def _remake(theirs: type, *arguments: Any) -> Any:
    made = _counterpart(theirs)
    return made.__new__(made, *arguments)
