"""Ours, the C core alone, built by GCC."""

from bench.contenders.compiled import Core

label = "gcc:"
_core = Core("gcc")
version, prepare = _core.version, _core.prepare
