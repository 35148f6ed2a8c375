"""torch's checkpoints, TorchScript archives, and the older files that are no archives; read without torch.

All are pickles of descriptions (`storage`, offset, shape, strides) with the numbers beside them.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from . import _torch_names
from ._budget import Budget
from ._layer import Layer
from ._pickle import Instance, Machine, Name, set_items
from ._stored import Array, Stored, nbytes, widened
from ._zip import Archive

#: How files of torch before 1.6 begin.
MAGIC = b"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."

_MOST_PICKLE_BYTES, _MOST_ORDER_BYTES = 2**27, 16
_TYPES = {"Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16"} | {
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8", "Bool": "bool"
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Storage:
    """Numbers in a row, which tensors are windows of."""

    dtype: str
    key: str
    count: int
    data: Callable[[str], bytes | bytearray]

    @property
    def itemsize(self) -> int:
        """Bytes of a number."""
        return nbytes((), self.dtype)

    def read(self) -> Array:
        """Read them all."""
        data = self.data(self.key)
        if len(data) < self.count * self.itemsize:
            raise ValueError(f"storage {self.key} should hold {self.count} numbers, got: {len(data)} bytes")
        raw = np.frombuffer(
            data, "<u2" if self.dtype == "bfloat16" else np.dtype(self.dtype).newbyteorder("<"), self.count
        )
        return widened(raw, self.dtype)


def archive_layers(archive: Archive) -> list[Layer]:
    """List the LSTMs of a zip checkpoint or of a TorchScript archive, whose code stays unread."""
    members = archive.members
    root = next(name for name in members if name.endswith("/data.pkl")).removesuffix("data.pkl")
    script = f"{root}constants.pkl" in members
    order = f"{root}byteorder"
    if order in members and _stored_bytes(archive, order, _MOST_ORDER_BYTES) != b"little":
        raise ValueError("its numbers are big-endian")
    content = _stored_bytes(archive, f"{root}data.pkl", _MOST_PICKLE_BYTES)

    def data(key: str) -> bytes | bytearray:
        return _stored_bytes(archive, f"{root}data/{key}")

    tree = _machine(data, archive.budget.file_size).load(io.BytesIO(content), len(content))
    return list(_torch_names.layers(dict(_flat(tree)), "TorchScript" if script else "torch"))


def legacy_layers(path: Path, budget: Budget) -> list[Layer]:
    """List the LSTMs of a file of torch before 1.6: five pickles, then the storages."""
    places: dict[str, tuple[int, int]] = {}
    itemsizes: dict[str, int] = {}

    def data(key: str) -> bytes:
        start, count = places[key]
        with path.open("rb") as file:
            file.seek(start)
            return file.read(count)

    size = path.stat().st_size
    with path.open("rb") as file:
        machine = _machine(data, size, itemsizes)
        _, version, system = (_plain(file, size) for _ in range(3))
        if not isinstance(system, dict) or system.get("little_endian") is not True:
            raise ValueError(f"unknown version {version!r:.40}, or big-endian")
        tree = machine.load(file, min(size, _MOST_PICKLE_BYTES))
        keys = _plain(file, size)
        for key in keys if isinstance(keys, list) else ():
            count = int.from_bytes(file.read(8), "little", signed=True) * itemsizes.get(key, 0)
            if not 0 <= count <= size - file.tell():
                raise ValueError(f"storage {key!r:.80} goes beyond the end of the file")
            places[key] = file.tell(), count
            file.seek(count, io.SEEK_CUR)
    return list(_torch_names.layers(dict(_flat(tree)), "torch before 1.6"))


def _stored_bytes(archive: Archive, name: str, most: int | None = None) -> bytes | bytearray:
    if not archive.is_stored(name):
        raise ValueError(f"{name} is compressed, as torch never writes it: refused")
    return archive.read(name, most)


def _plain(stream: IO[bytes], most: int) -> Any:
    return Machine({}, lambda name: False, lambda pid: None).load(stream, most)


def _machine(
    data: Callable[[str], bytes | bytearray], file_size: int, itemsizes: dict[str, int] | None = None
) -> Machine:
    read: dict[str, Array] = {}  # the parameters of one module often share a storage

    def storage(pid: Any) -> Storage:
        _, kind, key, _, count, *view = pid
        dtype = _TYPES.get(kind.text.removeprefix("torch ").removesuffix("Storage")) if isinstance(kind, Name) else None
        if dtype is None or not isinstance(count, int) or (view and view != [None]):
            raise ValueError(f"unknown storage {pid!r:.120}")
        made = Storage(dtype, str(key), count, data)
        if not 0 <= count * made.itemsize <= file_size:
            raise ValueError(f"storage {made.key} claims {count} numbers of {dtype}: more than the file holds")
        if itemsizes is not None:
            itemsizes[made.key] = made.itemsize
        return made

    def tensor(source: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Stored:
        numbers = (offset, *size, *stride)
        if not all(type(n) is int and n >= 0 for n in numbers) or len(size) != len(stride) or len(size) > 16:
            raise ValueError(f"a tensor at {offset!r:.40} of {size!r:.80} with strides {stride!r:.80}")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if math.prod(size) > file_size or (0 not in size and last >= source.count):
            raise ValueError(f"a tensor of {size} goes beyond its storage")

        def window() -> Array:
            if source.key not in read:
                read[source.key] = source.read()
            whole = read[source.key][offset:] if 0 not in size else np.empty(0, np.float32)
            return np.lib.stride_tricks.as_strided(
                whole, size, [whole.itemsize * step for step in stride], writeable=False
            )

        return Stored(size, source.dtype, window)

    functions: dict[str, Callable[..., Any]] = {
        "collections OrderedDict": _dictionary,
        "torch._utils _rebuild_tensor": tensor,
        "torch._utils _rebuild_tensor_v2": tensor,
        "torch._utils _rebuild_parameter": lambda data, *_: data,
        "torch Size": lambda sizes=(): sizes,
        "torch device": lambda *_: None,
        "torch.jit._pickle restore_type_tag": lambda value, _: value,
    }
    for kind in ("int", "double", "bool", "tensor"):
        functions[f"torch.jit._pickle build_{kind}list"] = lambda items: items
    return Machine(functions, lambda name: name.startswith("__torch__."), storage)


def _dictionary(pairs: Any = ()) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    set_items(made, pairs)
    return made


def _flat(tree: object) -> Iterator[tuple[str, Stored]]:
    """Walk dictionaries and modules; each of them once, since a hostile file may repeat them without end."""
    seen: set[int] = set()
    waiting: list[tuple[str, object]] = [("", tree)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Stored):
            yield path, value
        elif isinstance(value, dict | Instance) and id(value) not in seen:
            seen.add(id(value))
            waiting += [(f"{path}.{key}" if path else str(key), child) for key, child in reversed(value.items())]
