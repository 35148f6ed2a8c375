"""Recompute rows of the table of frozen bits by docs/contract.py, which shares no arithmetic with the library.

    python -m tests.proofs.contract [MOST]

MOST is the number of multiplications up to which a row is computed: 300 000 unless it is given, which takes minutes.
With as many or more, one larger row comes too: the only one with gradients of more rows than a block has.
"""

import argparse
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from tests import frozen_bits
from tests.frozen_bits import CELL, GRAD_C, GRAD_H, GRAD_OUTPUT, INPUT, Array, Row, Z
from tests.support import ROOT

#: Options of rows that docs/contract.py does not know.
BEYOND = {"gate", "candidate", "cell", "peepholes", "coupled", "clip", "dropout", "keep_every", "stored"}

USUAL, BLOCKS = 300_000, "backward I=3 H=41 T=50 B=5 weights=-2"


def load() -> ModuleType:
    """Load docs/contract.py."""
    spec = importlib.util.spec_from_file_location("contract", ROOT / "docs" / "contract.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


contract = load()
REALS = {"float32": contract.Float32, "float64": contract.Float64}


def exact(array: Array) -> Any:
    """Return an array as lists of exact numbers, by its bits."""
    real = REALS[array.dtype.name]
    flat = iter([real.from_bits(bits) for bits in array.ravel().view(f"u{array.itemsize}").tolist()])

    def nested(shape: tuple[int, ...]) -> Any:
        return [nested(shape[1:]) for _ in range(shape[0])] if shape else next(flat)

    return nested(array.shape)


def rounded(numbers: Any, dtype: str) -> Array:
    """Return lists of exact numbers as an array, by their bits."""
    integers = np.vectorize(lambda number: number.bits(), otypes=[np.uint64])(np.array(numbers, object))
    return integers.astype(f"u{np.dtype(dtype).itemsize}").view(dtype)


def multiplications(row: Row) -> int:
    """Return about how many multiplications a row takes."""
    if row.kind == "activation":
        return row["n"] * 10
    if row.kind == "gates":
        return row["rows"] * row["units"] * 100
    R, D = row["P"] or row["H"], row["D"]
    widths = [row["I"], *[D * R] * (row["L"] - 1)]
    one = sum(4 * row["H"] * (width + R + 15) + row["P"] * row["H"] for width in widths)
    return row["T"] * row["B"] * D * one * (3 if row.kind == "backward" else 1)


def rows(most: int) -> Iterator[Row]:
    """Find the rows that docs/contract.py can compute, up to so many multiplications."""
    for row in frozen_bits.table():
        known = row.kind in KINDS and not BEYOND & set(row.options)
        if known and (multiplications(row) <= most or (row.name == BLOCKS and most >= USUAL)):
            yield row


# ---- what a row computes


def activation(row: Row, dtype: str) -> Iterator[Any]:
    """Compute sigmoid or tanh."""
    ratio = getattr(contract, row.options["name"])
    pairs = [ratio(x) for x in exact(row.numbers(INPUT, row["n"], dtype=dtype))]
    yield [numerator / denominator for numerator, denominator in pairs]


def gates(row: Row, dtype: str) -> Iterator[Any]:
    """Compute the gates alone, forward and backward."""
    shape = row["rows"], row["units"]
    z = exact(row.numbers(Z, row["rows"], 4, row["units"], dtype=dtype))
    c = exact(row.numbers(CELL, *shape, dtype=dtype))
    dh, dc = (exact(row.numbers(stream, *shape, dtype=dtype, plain=True)) for stream in (GRAD_H, GRAD_C))
    places = list(np.ndindex(shape))
    made = [contract.cell([z[r][gate][u] for gate in range(4)], c[r][u]) for r, u in places]
    h, c_next, kept = zip(*made, strict=True)
    back = [
        contract.cell_gradient(i_f_g_o, c[r][u], after, dh[r][u], dc[r][u])
        for (r, u), after, i_f_g_o in zip(places, c_next, kept, strict=True)
    ]
    dz, dc_before, _ = zip(*back, strict=True)

    def by_gate(of_units: Any) -> Any:  # [rows * units][4] -> [rows, 4, units]
        return np.array(of_units, object).reshape(*shape, 4).swapaxes(1, 2)

    yield from (h, c_next, h, c_next, by_gate(kept), by_gate(dz), dc_before)


class Network:
    """The layers of a row, its sequences and states, as exact numbers; and its forward pass."""

    def __init__(self, row: Row, dtype: str) -> None:
        self.row, self.dtype, self.D, self.H = row, dtype, row["D"], row["H"]
        self.R, self.B = row["P"] or row["H"], row["B"]
        x, more = frozen_bits.arguments(row, dtype)
        by_time = x.swapaxes(0, 1) if row["batch_first"] else x
        self.x = exact(np.ascontiguousarray(by_time))
        self.lengths = [int(n) for n in more.get("lengths", [row["T"]] * self.B)]
        resets = more.get("resets", np.zeros((row["T"], self.B), bool))
        self.resets = resets.T if row["batch_first"] and "resets" in more else resets
        states = frozen_bits.states_of(row, dtype, self.B)
        given = row["hx"] or row.kind in ("stream", "cell")
        self.h_0, self.c_0 = (exact(state if given else np.zeros_like(state)) for state in states)
        self.layers = [self.layer(k) for k in range(row["L"] * self.D)]
        self.zero = REALS[dtype].zero

    def layer(self, k: int) -> Any:
        """Make layer k // D in direction k % D."""
        width = self.row["I"] if k < self.D else self.D * self.R
        shapes = {"weight_ih": (4 * self.H, width), "weight_hh": (4 * self.H, self.R)}
        if self.row["bias"]:
            shapes |= {"bias_ih": (4 * self.H,), "bias_hh": (4 * self.H,)}
        if self.row["P"]:
            shapes["weight_hr"] = (self.R, self.H)
        names = {name: f"{name}_l{k // self.D}{'_reverse' if k % self.D else ''}" for name in shapes}
        named = {names[name]: shape for name, shape in shapes.items()}
        made = frozen_bits.parameters_of(self.row, named, self.dtype)
        given = {name: exact(made[full]) for name, full in names.items()}
        names_of = {"weight_ih": "w", "weight_hh": "u", "weight_hr": "project"}
        return contract.Layer(**{names_of.get(name, name.replace("bias", "b")): value for name, value in given.items()})

    def times(self, k: int, b: int) -> list[int]:
        """Return the times of row b's steps in the order that layer k takes them."""
        return list(range(self.lengths[b]))[:: -1 if k % self.D else 1]

    def forward(self) -> tuple[Any, Any, Any, list[list[Any]]]:
        """Return the output [T][B], the last states [L*D][B], and the steps of each layer and sequence."""
        x, h_n, c_n, tape = self.x, [], [], []
        for k, layer in enumerate(self.layers):
            if k % self.D == 0:
                below, x = x, [[[] for _ in of_time] for of_time in x]
            made = []
            for b in range(self.B):
                times = self.times(k, b)
                inputs = [(below[t][b], bool(self.resets[t, b])) for t in times]
                made.append(contract.forward(layer, inputs, self.h_0[k][b], self.c_0[k][b]))
                outputs = dict(zip(times, [step[-1] for step in made[b][0]], strict=True))
                for t in range(self.row["T"]):
                    x[t][b] = [*x[t][b], *outputs.get(t, [self.zero] * self.R)]
            steps, h, c = zip(*made, strict=True)
            tape, h_n, c_n = [*tape, steps], [*h_n, h], [*c_n, c]
        return x, h_n, c_n, tape

    def backward(self, tape: list[list[Any]], dy: Any, dh_n: Any, dc_n: Any) -> tuple[Any, Any, Any, list[Any]]:
        """Return the gradients of the input, the first states and each layer's parameters."""
        dh_0, dc_0, sums = [[]] * len(tape), [[]] * len(tape), [[]] * len(tape)
        for k in reversed(range(len(tape))):
            first = k // self.D * self.D
            if k == first + self.D - 1:
                above, of_direction = dy, {}
            half = slice((k - first) * self.R, (k - first + 1) * self.R)
            made = []
            for b in range(self.B):
                of_steps = [above[t][b][half] for t in self.times(k, b)]
                made.append(contract.backward(self.layers[k], tape[k][b], of_steps, dh_n[k][b], dc_n[k][b]))
                for t, (dx, _) in zip(self.times(k, b), made[b][2], strict=True):
                    of_direction[t, b, k - first] = dx
            dh_0[k], dc_0[k], kept = zip(*made, strict=True)
            order = sorted(range(self.B), key=lambda b: -self.lengths[b])  # keeps the order of rows that are as long
            pairs = [kept[b][s][1] for s in range(self.row["T"]) for b in order if s < self.lengths[b]]
            sums[k] = contract.weight_gradients(pairs)
            if k == first:
                nothing = [self.zero] * (self.row["I"] if k == 0 else self.D * self.R)
                dy = [[self.both(of_direction, t, b, nothing) for b in range(self.B)] for t in range(self.row["T"])]
        return dy, dh_0, dc_0, sums

    def both(self, of_direction: Any, t: int, b: int, nothing: list[Any]) -> list[Any]:
        """Return the gradient of an input: that of the reverse direction is added to that of the forward one."""
        dx = [of_direction[t, b, d] for d in range(self.D) if (t, b, d) in of_direction]
        return [a + c for a, c in zip(*dx, strict=True)] if len(dx) == 2 else dx[0] if dx else nothing

    def arranged(self, of_times: Any) -> Any:
        """Return [T][B] as the row has its sequences."""
        return list(zip(*of_times, strict=True)) if self.row["batch_first"] else of_times


def forward(row: Row, dtype: str) -> Iterator[Any]:
    """Run a whole sequence; a stream's steps are the same."""
    network = Network(row, dtype)
    output, h_n, c_n, _ = network.forward()
    yield from (network.arranged(output), h_n, c_n)


def cell(row: Row, dtype: str) -> Iterator[Any]:
    """Run a cell for some steps."""
    tape = Network(row, dtype).forward()[3]
    for steps in zip(*tape[0], strict=True):
        yield from ([step[-1] for step in steps], [step[3] for step in steps])


def backward(row: Row, dtype: str) -> Iterator[Any]:
    """Run a sequence and its gradients."""
    network = Network(row, dtype)
    output, h_n, c_n, tape = network.forward()
    made = (network.arranged(output), h_n, c_n)
    yield from made
    shapes = [np.array(of, object).shape for of in made]
    streams = zip((GRAD_OUTPUT, GRAD_H, GRAD_C), shapes, strict=True)
    dy, dh_n, dc_n = (exact(frozen_bits.numbers(stream, shape, dtype, "plain")) for stream, shape in streams)
    dx, dh_0, dc_0, sums = network.backward(tape, network.arranged(dy), dh_n, dc_n)
    yield from (network.arranged(dx), dh_0, dc_0)
    for weight_ih, weight_hh, bias, weight_hr in sums:
        yield from (weight_ih, weight_hh)
        if row["bias"]:
            yield bias
        if row["P"]:
            yield weight_hr


KINDS = {kind.__name__: kind for kind in (activation, gates, forward, backward, cell)} | {"stream": forward}


def computed(row: Row, dtype: str) -> str:
    """Compute what a row asks for and return its hash."""
    return frozen_bits.digest(rounded(numbers, dtype) for numbers in KINDS[row.kind](row, dtype))


def main() -> int:
    """Compare, and say what was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("most", nargs="?", type=int, default=USUAL, help="how many multiplications a row may take")
    most = parser.parse_args().most
    wrong = count = 0
    for row in rows(most):
        same = {dtype: computed(row, dtype) for dtype in REALS} == row.hashes
        print(f"{'the frozen bits' if same else 'OTHER BITS':15} {row.name}", flush=True)
        wrong, count = wrong + (not same), count + 1
    print(f"{count} rows of {len(frozen_bits.table())} up to {most} multiplications, {wrong} with other bits")
    return int(wrong > 0 or count == 0)  # who compared nothing has shown nothing


if __name__ == "__main__":
    sys.exit(main())
