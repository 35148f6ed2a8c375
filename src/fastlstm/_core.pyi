from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
States: TypeAlias = tuple[Array, Array]

def isa_names() -> list[str]: ...
def isa_description(name: str) -> str: ...
def activation(is_tanh: bool, x: object, out: object, isa: bytes) -> Array | None: ...
def run_gates_forward(z: Array, c: Array, c_next: Array, h: Array, rows: int, units: int, isa: bytes) -> None: ...
def run_gates_train(
    z: Array, c: Array, c_next: Array, h: Array, gates: Array, rows: int, units: int, isa: bytes
) -> None: ...
def accumulate(total: Array, part: Array) -> None: ...
def run_gates_backward(
    gates: Array, c_prev: Array, c: Array, dh: Array, dz: Array, dc: Array, rows: int, units: int, isa: bytes
) -> None: ...

class Pool:
    threads: int
    def __init__(self, threads: int) -> None: ...

class Memory: ...

class Plan:
    input_size: int
    hidden_size: int
    proj_size: int
    num_layers: int
    directions: int
    def __init__(
        self,
        bits: int,
        input_size: int,
        hidden_size: int,
        proj_size: int,
        num_layers: int,
        directions: int,
        parameters: list[tuple[Array | None, ...]],
        isa: bytes,
        memory: Memory,
    ) -> None: ...
    @property
    def isa(self) -> str: ...
    @property
    def nbytes(self) -> int: ...
    def run(
        self,
        x: Array,
        y: Array,
        h_0: Array | None,
        c_0: Array | None,
        h_n: Array,
        c_n: Array,
        lengths: NDArray[np.int64] | None,
        resets: NDArray[np.bool_] | None,
        pool: Pool | None,
        tape: Tape | None = None,
    ) -> None: ...
    def workspace_size(self, T: int, B: int, threads: int) -> int: ...

class Tape:
    nbytes: int
    used: bool
    seed: int
    def __init__(self, dropout: float, seed: int, time: int) -> None: ...
    def run_backward(
        self,
        plan: Plan,
        output: Array | None,
        h_n: Array | None,
        c_n: Array | None,
        input: Array,
        h_0: Array,
        c_0: Array,
        weights: list[tuple[Array | None, ...]],
        pool: Pool | None,
    ) -> None: ...

class CellCore:
    def __init__(self, plan: Plan) -> None: ...
    def step(self, x: object, hx: object, out: object) -> States | None: ...

class StreamCore:
    batch_size: int
    def __init__(self, plan: Plan, batch_size: int, *args: Any, **kwargs: Any) -> None: ...
    def step(self, x: object, out: Array | None = None) -> Array: ...
    def run_feed(self, x: Array, y: Array, h_0: Array, c_0: Array, h_n: Array, c_n: Array) -> None: ...
    def run_get(self, h: Array, c: Array) -> None: ...
    def run_set(self, h: Array | None, c: Array | None) -> None: ...
    def _repeat(self, x: Array, y: Array, n: int) -> None: ...
