"""Which instruction set runs: named, listed, forced."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np

from . import _core, _weights


def isas(*, weights: str | None = None) -> list[str]:
    """List the instruction sets that are built in and that this CPU has, best first.

    Parameters
    ----------
    weights : str, optional
        As of `LSTM`. ``"int8"`` or ``"int8-fast"``: with those that are for such weights alone, ``"avx512vnni"``,
        ``"avx2vnni"``, ``"neondot"`` and ``"amx"``. They can be named for every layer, which then runs as it would
        without. ``"amx"`` is never taken by itself: naming it asks Linux for AMX's registers, for the whole process.

    Returns
    -------
    list of str
        The last is always ``"scalar"``. All of them give the same bits.

    Raises
    ------
    TypeError, ValueError
        For weights that are none.

    Examples
    --------
    >>> import fastlstm
    >>> fastlstm.isas()[-1]
    'scalar'
    """
    names = _core.isa_names(_weights.checked(weights, np.dtype(np.float32)) in _weights.INTEGERS)
    return [name for name in names if not any(name.startswith(hidden) for hidden in _hidden())]


@functools.cache
def _hidden() -> frozenset[str]:
    # for tests: FASTLSTM_HIDE=avx512 makes this process one of a CPU without it (CONTRIBUTING.md)
    names = set(filter(None, os.environ.get("FASTLSTM_HIDE", "").split(",")))
    return frozenset(names | {"amx"} if "avx512" in names else names)  # AMX is beside AVX-512


def isa() -> str:
    """Name the instruction set that new objects use: the best one, or what ``FASTLSTM_ISA`` names.

    ``FASTLSTM_ISA`` is read once, when an instruction set is first needed. A layer made with ``isa=`` goes its own
    way; its ``isa`` attribute tells what it runs on.

    Returns
    -------
    str
        One of ``isas()``; of ``isas(weights="int8")`` where ``FASTLSTM_ISA`` names one that is for such weights alone.

    Raises
    ------
    ValueError
        When ``FASTLSTM_ISA`` names an instruction set that is unknown or that this CPU lacks.

    Examples
    --------
    >>> import fastlstm
    >>> fastlstm.isa() in fastlstm.isas(weights="int8")
    True
    """
    return _default()


def resolve(name: str | None, weights: str | None = None) -> bytes:
    """Turn an ``isa=`` argument into a name for C: the default for None, an error for one that cannot run here."""
    return (_default(weights) if name is None else _checked(name, "isa")).encode()


@functools.cache
def _default(weights: str | None = None) -> str:
    forced = os.environ.get("FASTLSTM_ISA")
    return _checked(forced, "FASTLSTM_ISA") if forced else isas(weights=weights)[0]


def _checked(name: object, argument: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{argument} should be the name of an instruction set, got: {type(name).__name__}")
    supported = isas(weights="int8")
    if name not in supported:
        raise ValueError(
            f"{argument}={name!r} is unknown or not supported by this CPU; supported: {', '.join(supported)}"
        )
    return name


def config() -> dict[str, Any]:
    """Tell what `show_config` prints, for programs."""
    from . import __version__
    from ._contract import CONTRACT

    named = isas(weights="int8")
    return {
        "fastlstm": __version__,
        "contract": CONTRACT,
        "numpy": np.__version__,
        "cpus": _core.cpus(),
        "isa": isa(),
        "isa_int8": _default("int8"),
        "isas": [{"name": name, "description": _core.isa_description(name)} for name in named],
    }


def show_config() -> None:
    """Print the versions of package and numerical contract, CPUs, the instruction sets and which of them is in use.

    Examples
    --------
    >>> import fastlstm
    >>> fastlstm.show_config()  # doctest: +ELLIPSIS
    fastlstm ...
    """
    told = config()
    print(f"fastlstm {told['fastlstm']}, contract {told['contract']}, numpy {told['numpy']}")
    print(f"  {told['cpus']} CPUs for this process: a call takes no more threads")
    for each in told["isas"]:
        name = each["name"]
        used = " (in use for these)" if name == told["isa_int8"] != told["isa"] else ""
        print(f"  {'*' if name == told['isa'] else ' '} {name:10} {each['description']}{used}")
