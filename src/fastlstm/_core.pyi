from collections.abc import Callable
from typing import Any, Self, TypeAlias, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from ._integers import Parameter

_Array: TypeAlias = NDArray[Any]
_States: TypeAlias = tuple[_Array, _Array]

UNPACKED_BYTES: int
UNPACKED_ROWS: int

def contract() -> int: ...
def isa_names(integers: bool = ...) -> list[str]: ...
def isa_description(name: str) -> str: ...
def cpus() -> int: ...
def use_all_threads(all: bool) -> None: ...
def limit_multiply(isa: bytes, n: int) -> float: ...
def limit_read(isa: bytes, data: NDArray[np.uint8], n: int) -> float: ...
def activations() -> list[tuple[str, tuple[float, ...], bool]]: ...
def activation(is_tanh: bool, x: object, out: object, isa: bytes) -> _Array | None: ...
def run_gates_forward(
    z: _Array, c: _Array, c_next: _Array, h: _Array, gates: _Array | None, rows: int, units: int, isa: bytes
) -> None: ...
def accumulate(total: _Array, part: _Array) -> None: ...
def run_gates_backward(
    gates: _Array, c_prev: _Array, c: _Array, dh: _Array, dz: _Array, dc: _Array, rows: int, units: int, isa: bytes
) -> None: ...

@final
class Workers:
    threads: int
    def __new__(cls, threads: int, parallel: int = 0) -> Self: ...

@final
class Memory: ...

@final
class Plan:
    input_size: int
    hidden_size: int
    proj_size: int
    num_layers: int
    directions: int
    def __new__(
        cls,
        bits: int,
        input_size: int,
        hidden_size: int,
        proj_size: int,
        num_layers: int,
        directions: int,
        parameters: list[tuple[Parameter | None, ...]],
        isa: bytes,
        memory: Memory,
        form: tuple[Any, ...],
        weight_type: int = 0,
    ) -> Self: ...
    @property
    def isa(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    def table_nbytes(self, V: int) -> int: ...
    def threads_used(self, T: int, B: int, threads: int) -> int: ...
    def call(
        self,
        x: object,
        hx: object,
        out: object,
        batch_first: bool,
        workers: Workers | None,
        table: TableCore | None = None,
    ) -> tuple[_Array, _States] | None: ...
    def run(
        self,
        x: _Array,
        y: _Array,
        h_0: _Array | None,
        c_0: _Array | None,
        h_n: _Array,
        c_n: _Array,
        lengths: NDArray[np.int64] | None,
        resets: NDArray[np.bool_] | None,
        workers: Workers | None,
        tape: Tape | None = None,
    ) -> None: ...
    def run_at(
        self,
        T: int,
        B: int,
        x: int,
        x_t: int,
        x_b: int,
        y: int,
        y_t: int,
        y_b: int,
        h_0: int,
        c_0: int,
        h_n: int,
        c_n: int,
        lengths: NDArray[np.int64] | None,
        resets: NDArray[np.bool_] | None,
        workers: Workers | None,
        tape: Tape | None = None,
        starts: NDArray[np.int64] | None = None,
        table: TableCore | None = None,
    ) -> None: ...
    def run_trace(
        self,
        x: _Array,
        y: _Array,
        h_0: _Array | None,
        c_0: _Array | None,
        h_n: _Array,
        c_n: _Array,
        lengths: NDArray[np.int64] | None,
        resets: NDArray[np.bool_] | None,
        workers: Workers | None,
        table: TableCore | None,
        kept: tuple[_Array | None, ...],
        every: int,
        units: NDArray[np.uintp] | None,
    ) -> None: ...
    @property
    def fits_unpacked(self) -> bool: ...
    def run_unpacked_at(
        self,
        weights: list[tuple[int, int, int, int]],
        B: int,
        x: int,
        x_b: int,
        h_0: int,
        c_0: int,
        h_n: int,
        c_n: int,
        workers: Workers | None,
    ) -> None: ...

@disjoint_base
class TableCore:
    @property
    def size(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def __new__(cls, plan: Plan, embedding: _Array, workers: Workers | None, *rest: object) -> Self: ...
    def serves(self, plan: Plan) -> bool: ...
    def run(
        self,
        tokens: NDArray[np.int64],
        y: _Array,
        h_0: _Array | None,
        c_0: _Array | None,
        h_n: _Array,
        c_n: _Array,
        lengths: NDArray[np.int64] | None,
        resets: NDArray[np.bool_] | None,
        workers: Workers | None,
    ) -> None: ...

@final
class Digest:
    nbytes: int
    def __new__(cls, addresses: list[int], sizes: list[int], isa: bytes, workers: Workers | None) -> Self: ...
    def same(self, workers: Workers | None) -> bool: ...

@final
class Watched:
    def __new__(cls, arrays: list[_Array], isa: bytes) -> Self: ...
    def same(self, arrays: list[_Array]) -> bool: ...

@final
class Seen:
    tensors: tuple[Any, ...]
    versioned: bool
    def __new__(cls, capsule: object, tensors: tuple[Any, ...], versions: tuple[int | None, ...]) -> Self: ...
    def same(self, tensors: list[Any]) -> bool: ...

@final
class Tape:
    nbytes: int
    used: bool
    seed: int
    def __new__(cls, dropout: float, seed: int, time: int) -> Self: ...
    def run_backward(
        self,
        plan: Plan,
        output: _Array | None,
        h_n: _Array | None,
        c_n: _Array | None,
        input: _Array | None,
        h_0: _Array | None,
        c_0: _Array | None,
        weights: list[tuple[_Array | None, ...]],
        workers: Workers | None,
    ) -> None: ...

@final
class CellCore:
    def __new__(cls, plan: Plan) -> Self: ...
    def step(self, x: object, hx: object, out: object) -> _States | None: ...

@final
class Direct:
    def __new__(
        cls, plan: Plan, seen: Seen, digest: Digest | None, held: list[Any], kind: type, names: tuple[str, ...]
    ) -> Self: ...
    def step(self, parameters: object, x: object, hx: object, frozen: bool) -> tuple[Any, Any] | None: ...
    def run(
        self,
        parameters: object,
        x: object,
        hx: object,
        batch_first: bool,
        frozen: bool,
        workers: Workers | None,
    ) -> tuple[Any, tuple[Any, Any]] | None: ...

def has_dlpack_table(capsule: object) -> bool: ...

@disjoint_base
class StreamCore:
    @property
    def batch_size(self) -> int: ...
    def __new__(
        cls, plan: Plan, batch_size: int, explain: Callable[..., _Array], table: TableCore | None = None
    ) -> Self: ...
    def step(self, x: Any, out: _Array | None = None) -> _Array: ...
    def advance(self) -> None: ...
    def _run_step(self, x: _Array, y: _Array) -> None: ...
    def _run_feed(self, x: _Array, y: _Array) -> None: ...
    def _run_through(self, run: Callable[[_Array, _Array], _States]) -> None: ...
    def _run_get(self, h: _Array, c: _Array) -> None: ...
    def _run_set(self, h: _Array | None, c: _Array | None) -> None: ...
    def _repeat(self, x: _Array, y: _Array, n: int) -> None: ...

@final
class Sessions:
    capacity: int
    def __new__(cls, plan: Plan, capacity: int) -> Self: ...

@disjoint_base
class PoolCore:
    @property
    def capacity(self) -> int: ...
    @property
    def used(self) -> int: ...
    def __new__(
        cls,
        plan: Plan,
        capacity: int,
        workers: Workers | None,
        explain: Callable[..., _Array],
        table: TableCore | None = None,
    ) -> Self: ...
    def _run_grow(self, capacity: int) -> None: ...
    def _run_open(self) -> int: ...
    def ids(self) -> list[int]: ...
    def _run_hold(self, until: float) -> None: ...
    def _run_release(self) -> None: ...
    def _run_busy(self) -> bool: ...
    def _run_close(self, ids: NDArray[np.int64]) -> None: ...
    def _run_step(self, ids: NDArray[np.int64], x: _Array, y: _Array) -> None: ...
    def _run_advance(self, ids: NDArray[np.int64]) -> None: ...
    def _run_through(self, ids: NDArray[np.int64], run: Callable[[_Array, _Array], _States]) -> None: ...
    def step(self, ids: Any, x: Any, out: _Array | None = None) -> _Array: ...
    def _run_get(self, ids: NDArray[np.int64], h: _Array, c: _Array) -> None: ...
    def _run_set(self, ids: NDArray[np.int64], h: _Array | None, c: _Array | None) -> None: ...

@disjoint_base
class WindowCore:
    @property
    def length(self) -> int: ...
    @property
    def count(self) -> int: ...
    def __new__(
        cls,
        plan: Plan,
        length: int,
        workers: Workers | None,
        explain: Callable[..., _Array],
        table: TableCore | None = None,
    ) -> Self: ...
    def push(self, x: Any, out: _Array | None = None) -> _Array: ...
    def _run_push(self, x: _Array, y: _Array) -> None: ...
    def advance(self) -> None: ...
    def reset(self) -> None: ...
