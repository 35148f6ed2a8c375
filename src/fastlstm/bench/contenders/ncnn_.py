"""ncnn: its LSTM layers, one row at a time, as it has no others; in float32, and nothing smaller on the way.

Its gates go i, f, o, g. A call makes an extractor, as its users do.
"""

from itertools import repeat

import ncnn
import numpy as np

from fastlstm.bench.contenders import NO_AVX512, Answer, Loop, untold
from fastlstm.bench.works import Array, Data, Work

label = "ncnn"

if NO_AVX512:
    raise ImportError("ncnn cannot be told to do without AVX-512")

MAGIC = 7767517
SMALLER = ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_packed", "bf16_storage")
RAW = b"\0\0\0\0"  # before matrices: float32 as it is


def version() -> str:
    """Say what is measured."""
    return f"{ncnn.__version__} ({untold()})"


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a sequence of one row through layers and directions, or a step with states in and out."""
    if work.kind not in {"sequence", "step_cell"}:
        raise NotImplementedError(f"no {work.kind}")
    if work.case.B > 1:
        raise NotImplementedError("its LSTM takes one row")
    return _step(work, data) if work.kind == "step_cell" else _sequence(work, data)


def _net(work: Work, data: Data, names: list[str]) -> tuple[ncnn.Net, bytes]:
    """Make the layers, and the bytes of their weights, which have to live as long; `names`: of what goes in, x first.

    What comes out is named y, and the others as they go in, with _n.
    """
    case, net = work.case, ncnn.Net()
    for name in SMALLER:
        setattr(net.opt, f"use_{name}", False)
    net.opt.num_threads = work.threads
    ways, count = case.directions, case.num_layers
    blobs = [names[:1], *([f"x{number}"] for number in range(1, count)), ["y"]]
    lines = [f"Input {name} 0 1 {name}" for name in names]
    for number in range(count):
        below = [*blobs[number], *names[1:]]
        above = [*blobs[number + 1], *(f"{name}_n" for name in names[1:])]
        inputs = case.I if number == 0 else ways * case.H
        sizes = f"0={case.H} 1={ways * 4 * case.H * inputs} 2={2 if ways == 2 else 0}"
        lines.append(f"LSTM lstm{number} {len(below)} {len(above)} {' '.join(below + above)} {sizes}")
    text = "\n".join([str(MAGIC), f"{len(lines)} {len(names) * 2 - 1 + count}", *lines, ""])
    if net.load_param_mem(text):
        raise RuntimeError("load_param_mem has failed")
    kept = b"".join(_packed(data, suffixes) for suffixes in case.suffixes)
    net.load_model_mem(kept)
    return net, kept


def _packed(data: Data, suffixes: list[str]) -> bytes:
    def ifog(array: Array) -> Array:
        i, f, g, o = np.split(array, 4)
        return np.concatenate([i, f, o, g])

    parts = []
    for name in ("weight_ih", "bias", "weight_hh"):
        arrays = [
            data.weights[f"bias_ih{suffix}"] + data.weights[f"bias_hh{suffix}"]
            if name == "bias"
            else data.weights[f"{name}{suffix}"]
            for suffix in suffixes
        ]
        parts += [RAW, *(np.ascontiguousarray(ifog(array)).tobytes() for array in arrays)]
    return b"".join(parts)


def _mat(array: Array) -> ncnn.Mat:
    """Copy an array: a Mat made of one does not keep its memory."""
    return ncnn.Mat(np.ascontiguousarray(array)).clone()


def _sequence(work: Work, data: Data) -> tuple[Loop, Answer]:
    net, kept = _net(work, data, ["x"])
    x = _mat(data.x[:, 0])

    def run(_alive: bytes = kept) -> ncnn.Mat:
        extractor = net.create_extractor()
        extractor.input("x", x)
        _, y = extractor.extract("y")
        return y

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            run()

    return loop, lambda: np.array(run(), copy=True)[:, None]


def _step(work: Work, data: Data) -> tuple[Loop, Answer]:
    net, kept = _net(work, data, ["x", "h", "c"])
    zero, first = _mat(np.zeros((1, work.case.H), np.float32)), _mat(data.x[0])

    def run(x: ncnn.Mat, h: ncnn.Mat, c: ncnn.Mat, _alive: bytes = kept) -> tuple[ncnn.Mat, ncnn.Mat]:
        extractor = net.create_extractor()
        extractor.input("x", x)
        extractor.input("h", h)
        extractor.input("c", c)
        _, h_n = extractor.extract("h_n")
        _, c_n = extractor.extract("c_n")
        return h_n, c_n

    def loop(n: int) -> None:
        h = c = zero
        for _ in repeat(None, n):
            h, c = run(first, h, c)

    def answer() -> Array:
        h, c, outputs = zero, zero, []
        for x in data.x:
            h, c = run(_mat(x), h, c)
            outputs.append(np.array(h, copy=True))
        return np.stack(outputs)

    return loop, answer
