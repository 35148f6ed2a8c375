"""torch's checkpoints, TorchScript archives, and the older files that are no archives; read without torch.

All are pickles of descriptions (`storage`, offset, shape, strides) with the numbers beside them.
"""

from __future__ import annotations

import dataclasses
import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from .._types import Array
from . import _torch_names, _torch_quantized, _torch_script
from ._budget import Budget
from ._layer import Layers
from ._pickle import Machine, Name, set_items
from ._stored import Stored, from_bytes, nbytes, unread
from ._tree import flattened
from ._zip import Archive

#: How files of torch before 1.6 begin: a number, pickled by protocol 2 or later.
MAGIC: Final = re.compile(rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\nl\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\.", re.DOTALL)

_MOST_PICKLE_BYTES, _MOST_ORDER_BYTES, _MOST_KEY = 2**27, 16, 64
_TYPES: Final = {"Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16"} | {
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool",
    "ComplexFloat": "complex64", "ComplexDouble": "complex128", "QInt8": "int8", "QUInt8": "uint8", "QInt32": "int32",
    "Untyped": "uint8",
}  # fmt: skip
#: What is called in files of every kind, holds no weights, and tells nobody anything.
_PLAIN: Final = {
    f"{module} {name}"
    for module in ("builtins", "__builtin__")
    for name in ("set", "frozenset", "bytearray", "complex", "range", "xrange", "slice", "list", "dict", "object")
} | {"_codecs encode", "copyreg _reconstructor", "copy_reg _reconstructor", "torch ScriptObject"}

#: Reads the bytes of a storage by its key.
Data = Callable[[str], bytes | bytearray]


@dataclasses.dataclass(frozen=True)
class Storage:
    """Numbers in a row, which tensors are windows of."""

    dtype: str
    key: str
    count: int
    data: Data

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return nbytes((), self.dtype)

    def read(self) -> Array:
        """Read them all."""
        data = self.data(self.key)
        size = self.count * self.itemsize
        if len(data) < size:
            raise ValueError(f"storage {self.key} should hold {self.count} numbers, got: {len(data)} bytes")
        return from_bytes(memoryview(data)[:size], self.dtype, (self.count,))


def archive_layers(archive: Archive) -> Layers:
    """List the LSTMs of a zip checkpoint or of a TorchScript archive, whose code is never run."""
    members = archive.members
    root = next(name for name in members if name.count("/") == 1 and name.endswith("/data.pkl"))[: -len("data.pkl")]
    script = f"{root}constants.pkl" in members
    order = f"{root}byteorder"
    if order in members and _stored_bytes(archive, order, _MOST_ORDER_BYTES) != b"little":
        raise ValueError("its numbers are big-endian")

    def read(pickled: str, folder: str) -> tuple[object, Machine]:
        content = _stored_bytes(archive, f"{root}{pickled}", _MOST_PICKLE_BYTES)
        machine = _machine(lambda key: _stored_bytes(archive, f"{root}{folder}/{key}"), archive.budget)
        return machine.load(io.BytesIO(content), len(content)), machine

    tree, machine = read("data.pkl", "data")
    if not script:
        return _layers(tree, machine, "torch")
    code = _torch_script.Code(archive, root)
    found = _layers(tree, machine, "TorchScript", code)
    constants, _ = read("constants.pkl", "constants")
    found += code.layers(constants)
    if not found and isinstance(constants, tuple | list) and any(isinstance(one, Stored) for one in constants):
        found.ignored = (*found.ignored, "constants of frozen code that calls no LSTM")
    return found


def legacy_layers(path: Path, budget: Budget) -> Layers:
    """List the LSTMs of a file of torch before 1.6: five pickles, then the storages."""
    places: dict[str, tuple[int, int]] = {}
    itemsizes: dict[str, int] = {}

    def data(key: str) -> bytes:
        start, count = places[key]
        budget.keep(f"storage {key}", count)
        with path.open("rb") as file:
            file.seek(start)
            return file.read(count)

    size = budget.file_size
    with path.open("rb") as file:
        machine = _machine(data, budget, itemsizes)
        _, _, system = (_plain(file, budget) for _ in range(3))
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError("it is of an unknown version, or big-endian")
        tree = machine.load(file, min(size, _MOST_PICKLE_BYTES))
        keys = _plain(file, budget)
        for key in keys if isinstance(keys, list) else ():
            if not isinstance(key, str) or key not in itemsizes or key in places:
                raise ValueError("its list of storages is invalid")
            count = int.from_bytes(file.read(8), "little", signed=True) * itemsizes[key]
            if not 0 <= count <= size - file.tell():
                raise ValueError(f"storage {key} goes beyond the end of the file")
            places[key] = file.tell(), count
            file.seek(count, io.SEEK_CUR)
    return _layers(tree, machine, "torch before 1.6")


def _layers(tree: object, machine: Machine, format: str, code: _torch_script.Code | None = None) -> Layers:
    tensors, objects = flattened(tree, ".", machine.budget)
    for made in objects.values() if code else ():
        if code and "weight_ih_l0" in made and "batch_first" not in made:
            set_items(made, code.options(made.name).items())
    others = _torch_quantized.left_over(objects)
    named = {name: stored for name, stored in tensors.items() if name not in others}
    found = list(_torch_names.layers(named, format, objects))
    quantized = _torch_quantized.layers(objects, format)
    inside = {id(value) for value in objects.values() if {"_parameters", "_modules"} & value.keys()}
    ignored = {
        ".".join(made.name.split())
        for made in machine.placeholders
        if id(made) not in inside and made.name not in _PLAIN and not made.name.startswith("__torch__")
    }
    return Layers([*found, *quantized], sorted(ignored))


def _stored_bytes(archive: Archive, name: str, most: int | None = None) -> bytes | bytearray:
    if not archive.is_stored(name):
        raise ValueError(f"{name} is compressed, as torch never writes it: refused")
    return archive.read(name, most)


def _plain(stream: IO[bytes], budget: Budget) -> Any:
    return Machine(budget).load(stream, min(budget.file_size, _MOST_PICKLE_BYTES))


def _machine(data: Data, budget: Budget, itemsizes: dict[str, int] | None = None) -> Machine:
    """Make the machine that knows torch's storages and tensors."""
    read: dict[str, Array] = {}  # the parameters of one module often share a storage

    def storage(pid: Any) -> Storage | Name:
        if isinstance(pid, tuple) and len(pid) == 4 and isinstance(pid[1], Name):
            return pid[1]  # a class, with its source, in files before 1.6
        made = _storage(pid, data, budget.file_size)
        if isinstance(made, Storage) and itemsizes is not None:
            itemsizes[made.key] = made.itemsize
        return made

    def tensor(source: Storage | Name, offset: int, size: Any, stride: Any, *more: object) -> Stored:
        if isinstance(source, Name):
            return unread(tuple(size), source.text.removeprefix("torch "))
        _check_window(source, offset, size, stride, budget.file_size)
        bits = more[2] if len(more) > 2 else None  # after requires_grad and hooks

        def window() -> Array:
            if source.key not in read:
                read[source.key] = source.read()
            whole = read[source.key][offset:] if 0 not in size else np.empty(0, np.float32)
            return np.lib.stride_tricks.as_strided(
                whole, size, [whole.itemsize * step for step in stride], writeable=False
            )

        made = Stored(size, source.dtype, window)
        return made.mapped(size, np.negative) if isinstance(bits, dict) and bits.get("neg") is True else made

    def typed(source: Storage, offset: int, size: Any, stride: Any, _: object, __: object, kind: Any, *___: Any) -> Any:
        return unread(tuple(size), kind.text.removeprefix("torch "))  # of types that have no storages of their own

    def quantized(source: Storage, offset: int, size: Any, stride: Any, parameters: Any, *_: object) -> Stored:
        return _torch_quantized.dequantized(tensor(source, offset, size, stride), parameters)

    functions: dict[str, Callable[..., Any]] = {
        "collections OrderedDict": _dictionary,
        "collections defaultdict": lambda *_: {},
        "collections Counter": _dictionary,
        "torch._utils _rebuild_tensor": tensor,
        "torch._utils _rebuild_tensor_v2": tensor,
        "torch._utils _rebuild_tensor_v3": typed,
        "torch._utils _rebuild_qtensor": quantized,
        "torch._utils _rebuild_parameter": lambda data, *_: data,
        "torch._utils _rebuild_parameter_with_state": lambda data, *_: data,
        "torch._tensor _rebuild_from_type": lambda function, kind, arguments, *_: machine.made(function, arguments),
        "torch._tensor _rebuild_from_type_v2": lambda function, kind, arguments, *_: machine.made(function, arguments),
        "torch Size": lambda sizes=(): sizes,
        "torch device": lambda *_: None,
        "torch.jit._pickle restore_type_tag": lambda value, _: value,
    }
    for kind in ("int", "double", "bool", "tensor"):
        functions[f"torch.jit._pickle build_{kind}list"] = lambda items: items
    machine = Machine(budget, functions, storage)  # which `functions` may call again
    return machine


def _storage(pid: Any, data: Data, file_size: int) -> Storage | Name:
    """Make a storage of a description: ("storage", its type, key, device, count); its type if that is not read."""
    if not isinstance(pid, tuple) or len(pid) not in (5, 6) or not isinstance(pid[1], Name):
        raise ValueError("a malformed pickle: expected a storage")
    _, kind, key, _, count, *view = pid
    name = kind.text.split()[-1].removesuffix("Storage")
    if name not in _TYPES:
        return Name(kind.text)
    if not isinstance(key, str | int) or len(str(key)[:_MOST_KEY]) >= _MOST_KEY or type(count) is not int:
        raise ValueError("a malformed pickle: a storage without a key or a size")
    if view and view[0] is not None:
        raise ValueError("it has storages that are windows of others, as torch wrote them before 0.4")
    made = Storage(_TYPES[name], str(key), count, data)
    if not 0 <= count * made.itemsize <= file_size:
        raise ValueError(f"storage {made.key} claims {count} numbers of {made.dtype}: more than the file holds")
    return made


def _check_window(source: Any, offset: Any, size: Any, stride: Any, file_size: int) -> None:
    """Check that a tensor stays inside its storage."""
    if not isinstance(source, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise ValueError("a malformed pickle: a tensor without a storage")
    numbers = (offset, *size, *stride)
    if len(size) > 16 or len(size) != len(stride) or not all(type(n) is int and 0 <= n < 2**63 for n in numbers):
        raise ValueError("a tensor with an invalid place, sizes or strides")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > file_size or (0 not in size and last >= source.count):
        raise ValueError(f"a tensor of {size} goes beyond its storage")


def _dictionary(pairs: Any = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    set_items(made, pairs.items() if isinstance(pairs, dict) else pairs)
    return made
