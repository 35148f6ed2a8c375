"""The C core built by one compiler or another, and called in C: what `gcc_` and `clang_` are."""

import ctypes
import subprocess
import tempfile
from ctypes import POINTER, byref, c_float, c_long, c_size_t, c_void_p
from pathlib import Path

import numpy as np

import fastlstm
from bench.building import build, tool
from fastlstm.bench.contenders import Answer, Loop
from fastlstm.bench.works import Array, Data, Work


class _Sizes(ctypes.Structure):
    _fields_ = [(name, c_size_t) for name in "TBIH"]


class _Arrays(ctypes.Structure):
    _fields_ = [(name, c_void_p) for name in ("x", "w", "u", "b_ih", "b_hh", "dy")]


class Core:
    """A build of the core, made in a temporary directory when it is first asked for something."""

    def __init__(self, compiler: str) -> None:
        told = subprocess.run([tool(compiler), "--version"], capture_output=True, text=True, check=True).stdout
        self._version, *_ = told.splitlines()
        with tempfile.TemporaryDirectory() as folder:
            self._library = ctypes.CDLL(str(build(Path(folder), compiler, flags=("-shared",))))
        self._library.work_make.restype = c_void_p
        self._library.work_answer.restype = POINTER(c_float)

    def version(self) -> str:
        """Say what is measured."""
        return self._version

    def prepare(self, work: Work, data: Data) -> tuple[Loop, Answer]:
        """Prepare a sequence or training of one layer, on one thread."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        kept = [data.x, *(data.weights[name] for name in names)]
        kept += [data.grad_output] if work.kind == "training" else []
        kept = [np.ascontiguousarray(array) for array in kept]
        pointers = [array.ctypes.data for array in kept]
        isa = ctypes.c_char_p(fastlstm.isa().encode())
        sizes = _Sizes(work.case.T, work.case.B, work.case.I, work.case.H)
        made = c_void_p(self._library.work_make(byref(sizes), byref(_Arrays(*pointers)), isa))
        if not made:
            raise RuntimeError(f"{work}: cannot be made")
        run = self._library.work_run

        def loop(n: int, _alive: object = kept) -> None:
            if status := run(made, c_long(n)):
                raise RuntimeError(f"{work}: status {status}")

        def answer() -> Array:
            loop(1)
            count = c_size_t()
            flat: Array = np.ctypeslib.as_array(self._library.work_answer(made, byref(count)), (count.value,)).copy()
            return flat if work.kind == "training" else flat.reshape(work.case.T, work.case.B, work.case.H)

        return loop, answer
