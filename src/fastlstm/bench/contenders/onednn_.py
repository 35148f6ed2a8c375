"""oneDNN itself, which torch and OpenVINO have inside: its LSTM primitive, forward and backward, through ctypes.

From the package that ships the library built on GNU OpenMP and nothing else, which is oneDNN 3.2: newer packages bring
a SYCL runtime along, and with it another way of threading. Torch's own is newer. Weights lie in the layout that the
primitive asks for, and arguments are bound once.

Weights in bfloat16 mean inputs, h and outputs in bfloat16, too, and sums in float32. Weights in 8 bits, with a scale
for each unit and gate, meet x and h in 8 bits, whose scale is one for both and for all times. So x is divided by its
largest magnitude, and W multiplied by it: what is left to h is then all of the range, and the answers are several times
as exact as with W as it is. Sums of two products of 8 bits are cut off where the CPU has no instruction for it (VNNI):
there x and h have 7.

Without AMX, whose code in this version ends the process on a virtual machine that has it (illegal instruction), unless
ONEDNN_MAX_CPU_ISA says otherwise.
"""

import ctypes
import os
from collections.abc import Mapping, Sequence
from ctypes import byref, c_float, c_int, c_int64, c_size_t, c_void_p
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from itertools import cycle, islice, repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastlstm.bench.contenders import NO_AVX512, Answer, Loop
from fastlstm.bench.works import GRADIENTS, Array, Data, Work

label = "onednn"

if NO_AVX512 and os.environ.get("ONEDNN_MAX_CPU_ISA") != "AVX2":
    raise ImportError("oneDNN does without AVX-512 if ONEDNN_MAX_CPU_ISA=AVX2 is set")
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")
PACKAGE = "onednn-cpu-gomp"

# The library's numbers for what is used here. Layouts are named by axes, in order, and by gaps.
CPU, BFLOAT16, FLOAT32, INT8, UINT8, ANY = 1, 2, 3, 5, 6, 1
IN_ORDER = {2: 2, 3: 4, 4: 5, 5: 6}
INFERENCE, TRAINING, BACKWARD = 96, 64, 128
FORWARDS, BOTH_WAYS = 1, 3
ARGUMENT_LAYOUT = 255
SRC, SRC_H, SRC_C, DST, DST_H, DST_C = 1, 2, 3, 17, 18, 19
W, U, BIAS, WORKSPACE, FROM, TO = 33, 34, 41, 64, 1, 17
GRADIENT = 128  # added to an argument's number
# In this order a description takes them; two more are peepholes and a projection.
FORWARD_ORDER = (SRC, SRC_H, SRC_C, W, U, None, None, BIAS, DST, DST_H, DST_C)

ISAS = {1: "SSE4.1", 3: "AVX", 7: "AVX2", 0xF: "AVX2_VNNI", 0x1F: "AVX2_VNNI_2", 0x27: "AVX512_CORE"}
ISAS |= {0x67: "AVX512_CORE_VNNI", 0xE7: "AVX512_CORE_BF16", 0x1EF: "AVX512_CORE_FP16", 0xFEF: "AVX512_CORE_AMX"}
PER_UNIT_AND_GATE = 1 << 3 | 1 << 4  # of the axes of a matrix: layer, direction, input, gate, unit

Arguments = dict[int, "Memory"]


class Types(NamedTuple):
    """What the numbers are: x and h, the matrices, the output; and how those of 8 bits are scaled.

    All others are float32.
    """

    data: int = FLOAT32
    matrices: int = FLOAT32
    output: int = FLOAT32
    scales: c_void_p | None = None

    def of(self, argument: int) -> int:
        """Tell an argument's."""
        known = dict.fromkeys((SRC, SRC_H, DST_H), self.data) | {W: self.matrices, U: self.matrices, DST: self.output}
        return known.get(argument, FLOAT32)


PLAIN = Types()


def _open() -> ctypes.CDLL:
    try:
        files = distribution(PACKAGE).files or []
    except PackageNotFoundError as error:
        raise ImportError(f"pip install {PACKAGE}") from error
    (library,) = (file for file in files if file.name == "libdnnl.so.3")
    return ctypes.CDLL(str(Path(str(library.locate())).resolve()))


class _Version(ctypes.Structure):
    _fields_ = [("major", c_int), ("minor", c_int), ("patch", c_int)]


class _Bound(ctypes.Structure):
    _fields_ = [("argument", c_int), ("memory", c_void_p)]


_library = _open()
_library.dnnl_version.restype = ctypes.POINTER(_Version)
_library.dnnl_memory_desc_get_size.restype = c_size_t
_library.dnnl_primitive_desc_query_md.restype = c_void_p
_openmp = ctypes.CDLL("libgomp.so.1")


def version() -> str:
    """Say what is measured."""
    found = _library.dnnl_version().contents
    taken = _library.dnnl_get_effective_cpu_isa()
    return f"{found.major}.{found.minor}.{found.patch} ({PACKAGE}, {ISAS.get(taken, hex(taken))})"


def prepare(work: Work, data: Data) -> tuple[Loop, Answer]:
    """Prepare a work: a sequence through layers, a step, or training of one layer."""
    _openmp.omp_set_num_threads(work.threads)  # of the whole process, whose works have the same number
    if work.kind == "training":
        return _training(work, data)
    return _step(work, data) if work.kind.startswith("step") else _sequence(work, data)


def _make(function: str, *arguments: object) -> c_void_p:
    """Call a function of the library that makes something."""
    made = c_void_p()
    _call(function, byref(made), *arguments)
    return made


def _call(function: str, *arguments: object) -> None:
    if status := getattr(_library, function)(*arguments):
        raise RuntimeError(f"{function}: status {status}")


_engine = _make("dnnl_engine_create", c_int(CPU), c_size_t(0))
_stream = _make("dnnl_stream_create", _engine, c_int(1))


class Memory:
    """An argument: its layout, its bytes, and the handle that an execution gets."""

    def __init__(self, layout: c_void_p, shape: Sequence[int] = ()) -> None:
        size = _library.dnnl_memory_desc_get_size(layout)
        buffer = np.zeros(size + 64, np.uint8)
        self.bytes = buffer[-buffer.ctypes.data % 64 :][:size]
        self.handle = _make("dnnl_memory_create", layout, _engine, c_void_p(self.bytes.ctypes.data))
        self.layout, self.shape = layout, shape

    @property
    def array(self) -> Array:
        """The numbers, where the layout is the usual one."""
        return self.bytes.view(np.float32).reshape(self.shape)


def _layout(shape: Sequence[int], tag: int | None = None, of: int = FLOAT32) -> c_void_p:
    tag = IN_ORDER[len(shape)] if tag is None else tag
    dims = (c_int64 * 12)(*shape)
    return _make("dnnl_memory_desc_create_with_tag", c_int(len(shape)), dims, c_int(of), c_int(tag))


def _of(array: Array) -> Memory:
    memory = Memory(_layout(array.shape), array.shape)
    memory.array[...] = array
    return memory


def _typed(array: Array, types: Types) -> Memory:
    """Make x or h of its type."""
    memory = Memory(_layout(array.shape, of=types.data), array.shape)
    _reorder(_of(array), memory, types)
    return memory


def _plain(memory: Memory) -> Array:
    """Copy numbers of any type and layout into an array."""
    _reorder(memory, copy := Memory(_layout(memory.shape), memory.shape))
    return copy.array


def _types(work: Work, data: Data) -> tuple[Types, Data]:
    """Choose what the numbers are, and change them so that they fit."""
    if work.weights == "float32":
        return PLAIN, data
    if work.weights == "bfloat16":
        if not _has("avx512f"):
            raise NotImplementedError("not here: the LSTM primitive has no bfloat16 without AVX-512")
        return Types(BFLOAT16, BFLOAT16, BFLOAT16), data
    if work.weights != "int8" or work.case.num_layers * work.case.directions > 1:
        raise ValueError(f"{work}: not with oneDNN")
    most = float(np.abs(data.x).max())
    data = replace(data, x=data.x / most, weights=data.weights | {"weight_ih_l0": data.weights["weight_ih_l0"] * most})
    scales, levels = _make("dnnl_primitive_attr_create"), 127 if _has("avx512_vnni", "avx_vnni") else 63
    _call("dnnl_primitive_attr_set_rnn_data_qparams", scales, c_float(levels), c_float(levels + 1))
    matrices = np.concatenate([data.weights["weight_ih_l0"], data.weights["weight_hh_l0"]], axis=1)
    of_units = (127 / np.abs(matrices).max(axis=1)).astype(np.float32)
    told = c_int64(of_units.size), c_int(PER_UNIT_AND_GATE), c_void_p(of_units.ctypes.data)
    _call("dnnl_primitive_attr_set_rnn_weights_qparams", scales, *told)
    return Types(UINT8, INT8, FLOAT32, scales), data


def _has(*instructions: str) -> bool:
    """Tell whether the CPU has one of them, and oneDNN may use it."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return os.environ["ONEDNN_MAX_CPU_ISA"] != "AVX2" and any(name in flags for name in instructions)


class Primitive:
    """Something to execute, and what each of its arguments has to look like."""

    def __init__(self, description: c_void_p) -> None:
        self.description = description
        self._primitive = _make("dnnl_primitive_create", description)

    def layout(self, argument: int) -> c_void_p:
        """Ask for the layout of an argument."""
        number = c_int(argument)
        return c_void_p(_library.dnnl_primitive_desc_query_md(self.description, c_int(ARGUMENT_LAYOUT), number))

    def laid_out(self, argument: int, memory: Memory, types: Types = PLAIN) -> Memory:
        """Copy an argument into the layout, and to the type, that is preferred here."""
        wanted = Memory(self.layout(argument), memory.shape)
        _reorder(memory, wanted, types)
        return wanted

    def bind(self, arguments: Arguments) -> Loop:
        """Return a function that executes it `n` times; the arguments have to live as long as that."""
        bound = (_Bound * len(arguments))(*(_Bound(number, memory.handle) for number, memory in arguments.items()))
        execute, primitive, count = _library.dnnl_primitive_execute, self._primitive, c_int(len(arguments))

        def loop(n: int, _alive: object = arguments) -> None:
            for _ in repeat(None, n):
                if status := execute(primitive, _stream, count, bound):
                    raise RuntimeError(f"dnnl_primitive_execute: status {status}")
            _library.dnnl_stream_wait(_stream)

        return loop


def _reorder(source: Memory, target: Memory, types: Types = PLAIN) -> None:
    layouts = source.layout, _engine, target.layout, _engine
    primitive = Primitive(_make("dnnl_reorder_primitive_desc_create", *layouts, types.scales))
    primitive.bind({FROM: source, TO: target})(1)


def _parameters(weights: Mapping[str, Array], suffixes: Sequence[str]) -> Arguments:
    """Stack a layer's directions: the library's order of gates is torch's, its shapes (1, D, inputs, gate, unit)."""

    def stacked(name: str) -> Array:
        return np.stack([weights[f"{name}{suffix}"] for suffix in suffixes])[None]

    def matrix(name: str) -> Array:
        _, directions, gates, inputs = (array := stacked(name)).shape
        return array.transpose(0, 1, 3, 2).reshape(1, directions, inputs, 4, gates // 4)

    bias = stacked("bias_ih") + stacked("bias_hh")
    return {
        W: _of(matrix("weight_ih")),
        U: _of(matrix("weight_hh")),
        BIAS: _of(bias.reshape(*bias.shape[:2], 4, bias.shape[2] // 4)),
    }


def _described(
    kind: int, shapes: Mapping[int, Sequence[int]], hint: Primitive | None = None, types: Types = PLAIN
) -> Primitive:
    """Describe an LSTM by the shapes of its arguments; those that are not given are left out."""
    directions = shapes[W][1]
    layouts = {n: _layout(shape, ANY if n in {W, U} else None, types.of(n)) for n, shape in shapes.items()}
    order: list[Any] = [layouts.get(n) if n is not None else None for n in FORWARD_ORDER]
    name = "dnnl_lstm_forward_primitive_desc_create"
    if hint is not None:
        # The same again, for gradients. One layout must not be given twice, so that each has its own.
        gradients = {n: _layout(shape, ANY if n in {W, U} else None) for n, shape in shapes.items()}
        order += [gradients.get(n) if n is not None else None for n in FORWARD_ORDER]
        name = "dnnl_lstm_backward_primitive_desc_create"
    tail = [ctypes.c_uint(0), *([hint.description] if hint is not None else []), types.scales]
    direction = c_int(BOTH_WAYS if directions == 2 else FORWARDS)
    return Primitive(_make(name, _engine, c_int(kind), direction, *order, *tail))


def _shapes(arguments: Arguments) -> dict[int, Sequence[int]]:
    return {number: memory.shape for number, memory in arguments.items()}


def _layer(arguments: Arguments, output: tuple[int, ...], types: Types) -> tuple[Loop, Memory]:
    """Prepare a layer of inference from zero states on its way through an input: the loop and its output."""
    arguments = arguments | {DST: Memory(_layout(output, of=types.output), output)}
    primitive = _described(INFERENCE, _shapes(arguments), types=types)
    arguments |= {n: primitive.laid_out(n, arguments[n], types) for n in (W, U)}
    return primitive.bind(arguments), arguments[DST]


def _sequence(work: Work, data: Data) -> tuple[Loop, Answer]:
    case = work.case
    types, data = _types(work, data)
    x = _typed(data.x, types)
    output = case.T, case.B, case.directions * case.H
    loops = []
    for number in range(case.num_layers):
        suffixes = (f"_l{number}", f"_l{number}_reverse")[: case.directions]
        once, x = _layer({SRC: x} | _parameters(data.weights, suffixes), output, types)
        loops.append(once)
    last = x

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            for once in loops:
                once(1)

    def answer() -> Array:
        loop(1)
        return _plain(last)

    return (loops[0] if len(loops) == 1 else loop), answer


def _step(work: Work, data: Data) -> tuple[Loop, Answer]:
    types, data = _types(work, data)
    zeros = np.zeros((1, 1, 1, work.case.H), np.float32)
    here, there = ([_typed(zeros, types), _of(zeros)] for _ in range(2))
    x, y = _typed(data.x[:1], types), Memory(_layout(zeros[0].shape, of=types.output), zeros[0].shape)
    arguments = {SRC: x, DST: y} | _parameters(data.weights, ["_l0"])
    states = [
        {SRC_H: old[0], SRC_C: old[1], DST_H: new[0], DST_C: new[1]} for old, new in ((here, there), (there, here))
    ]
    primitive = _described(INFERENCE, _shapes(arguments | states[0]), types=types)
    arguments |= {n: primitive.laid_out(n, arguments[n], types) for n in (W, U)}
    # Two bindings in turn: what one writes as its new state, the other reads as its old one.
    to_and_fro = [primitive.bind(arguments | state) for state in states]

    def loop(n: int) -> None:
        for once in islice(cycle(to_and_fro), n):
            once(1)

    def answer() -> Array:
        _reorder(_of(zeros), here[0], types)
        here[1].array[:] = 0
        outputs = []
        for step, once in zip(data.x, cycle(to_and_fro), strict=False):
            _reorder(_of(step[None]), x, types)
            once(1)
            outputs.append(_plain(y)[0])
        return np.stack(outputs)

    return loop, answer


def _training(work: Work, data: Data) -> tuple[Loop, Answer]:
    case = work.case
    # States and their gradients are given, though none is wanted: without them dU comes out wrong.
    state = np.zeros((1, 1, case.B, case.H), np.float32)
    plain = {n: _of(state) for n in (SRC_H, SRC_C, DST_H, DST_C)} | _parameters(data.weights, ["_l0"])
    plain |= {SRC: _of(data.x), DST: _of(np.zeros((case.T, case.B, case.H), np.float32))}
    forward = _described(TRAINING, _shapes(plain))
    backward = _described(BACKWARD, _shapes(plain), forward)
    shared = {WORKSPACE: Memory(forward.layout(WORKSPACE))}
    there = plain | shared | {n: forward.laid_out(n, plain[n]) for n in (W, U)}
    back = plain | shared | {n: backward.laid_out(n, plain[n]) for n in (W, U)}
    gradients = {n + GRADIENT: Memory(backward.layout(n + GRADIENT), memory.shape) for n, memory in plain.items()}
    gradients[DST + GRADIENT].array[:] = data.grad_output
    go_there, go_back = forward.bind(there), backward.bind(back | gradients)
    sums = [gradients[n + GRADIENT].bytes for n in (W, U, BIAS)]

    def loop(n: int) -> None:
        for _ in repeat(None, n):
            for added_to in sums:
                added_to.fill(0)
            go_there(1)
            go_back(1)

    def in_order(n: int) -> Array:
        array = _plain(gradients[n + GRADIENT])
        return array if n not in {W, U} else array[0, 0].reshape(array.shape[2], -1).T

    def answer() -> Array:
        loop(1)
        bias = in_order(BIAS)
        values = (in_order(SRC), in_order(W), in_order(U), bias, bias)
        return np.concatenate([values[k].ravel() for k in range(len(GRADIENTS))])

    return loop, answer
