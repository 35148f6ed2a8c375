"""Ours, the C core alone, built by Clang."""

from bench.contenders.compiled import Core

label = "clang:"
_core = Core("clang")
version, prepare = _core.version, _core.prepare
