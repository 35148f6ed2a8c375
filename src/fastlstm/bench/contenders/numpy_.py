"""NumPy: what someone writes who has nothing else, a product for all inputs and one for each step."""

import ctypes
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np

from fastlstm.bench.contenders import Answer, Loop, transposed
from fastlstm.bench.works import Array, Data, Work

label = "numpy"

Weights = tuple[Array, ...]  # W and U transposed, and both biases in one


def version() -> str:
    """Say what is measured: NumPy, and the library of its products with the kind of CPU that this takes it for."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{np.__version__} ({blas['name']} {blas['version']}{_core_name()})"


def _core_name() -> str:
    for folder in (f"{np.__path__[0]}.libs", f"{np.__path__[0]}/.dylibs"):  # where wheels have OpenBLAS
        for file in Path(folder).glob("libscipy_openblas64_*"):
            library = ctypes.CDLL(str(file))
            library.scipy_openblas_get_corename64_.restype = ctypes.c_char_p
            return f", {library.scipy_openblas_get_corename64_().decode()}"
    return ""


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a sequence through layers and directions, or a step with states in and out."""
    if work.weights != "float32" or work.kind not in {"sequence", "step_cell"}:
        raise NotImplementedError(f"no {work.kind} with weights in {work.weights}")
    case = work.case
    layers = [[transposed(data.weights, suffix) for suffix in both] for both in case.suffixes]
    if work.kind == "step_cell":
        return _step(layers[0][0], data)

    def run() -> Array:
        y = data.x
        for ways in layers:
            outputs = [_pass(weights, y[::-1] if back else y) for back, weights in enumerate(ways)]
            y = np.concatenate([outputs[0], *(output[::-1] for output in outputs[1:])], axis=2)
        return y

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            run()

    return loop, run


def _pass(weights: Weights, x: Array) -> Array:
    w, u, b = weights
    h = c = np.zeros((x.shape[1], len(u)), np.float32)
    return np.stack([h for h, _ in _states(x @ w + b, u, h, c)])


def _states(xw: Array, u: Array, h: Array, c: Array) -> Iterator[tuple[Array, Array]]:
    for z in xw:
        i, f, g, o = np.split(z + h @ u, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        yield h, c


def _sigmoid(x: Array) -> Array:
    half = x.dtype.type(0.5)
    result: Array = half * np.tanh(half * x) + half  # exp would overflow
    return result


def _step(weights: Weights, data: Data) -> tuple[Loop, Answer]:
    w, u, b = weights
    zeros = np.zeros((data.x.shape[1], len(u)), np.float32)

    def steps(xs: Iterator[Array]) -> Iterator[Array]:
        h = c = zeros
        for x in xs:
            ((h, c),) = _states((x @ w + b)[None], u, h, c)
            yield h

    def loop(n: int) -> None:
        for _ in steps(repeat(data.x[0], n)):
            pass

    return loop, lambda: np.stack(list(steps(iter(data.x))))
