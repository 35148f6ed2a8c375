"""The bits of every group of results, frozen: data/frozen_bits.txt says what to compute, and has its hash.

Inputs are integers times powers of two, or bit patterns: the same on every machine. ``native/frozen_bits.c`` reads the
same table and computes the same groups by the C library alone. A change of bits is made with

    python -m tests.frozen_bits --write

and explained in the changelog.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastlstm

Array = NDArray[Any]
Words = NDArray[np.uint64]

TABLE = Path(__file__).with_name("data") / "frozen_bits.txt"
DTYPES = ("float32", "float64")
WORD = 2**64 - 1
GOLDEN = np.uint64(0x9E3779B97F4A7C15)

# Streams of numbers: each array that goes in has its own
INPUT, H_0, C_0, GRAD_OUTPUT, GRAD_H, GRAD_C, Z, CELL = range(1, 9)
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr", "weight_ph")
SESSIONS = 5


class Row:
    """A line of the table: a kind, its options, and the hash of each dtype.

    Parameters
    ----------
    line : str
        ``kind option=value ... :: hash hash``, the hashes of float32 and float64; with ``stored=``, the type that
        weights are stored in, of float32 alone.
    """

    def __init__(self, line: str) -> None:
        self.name, _, hashes = (part.strip() for part in line.partition("::"))
        self.kind, *options = self.name.split()
        self.options = dict(option.split("=") for option in options)
        self.stored = self.options.get("stored")
        self.dtypes = DTYPES[:1] if self.stored else DTYPES
        self.hashes = dict(zip(self.dtypes, hashes.split(), strict=False))
        self.isas = fastlstm.isas(weights=self.stored)

    def __getitem__(self, option: str) -> int:
        """Return an option that is a number; 0 where it is not given, 1 for sizes."""
        return int(self.options.get(option, option in {"I", "H", "L", "D", "T", "B", "bias", "n", "rows", "units"}))

    def numbers(self, stream: int, *shape: int, dtype: str, plain: bool = False) -> Array:
        """Return the numbers that the row asks for; ``plain`` ones are in [-1, 1) whatever it asks for."""
        kind, scale = ("plain", 0) if plain else (self.options.get("values", "plain"), self["scale"])
        return numbers(stream, shape, dtype, kind, scale)


def table() -> list[Row]:
    """Read the table."""
    lines = TABLE.read_text(encoding="ascii").splitlines()
    return [Row(line) for line in lines if line and not line.startswith("#")]


# ---- numbers in, hashes out


def mix(words: Words) -> Words:
    """Scramble 64-bit words: the finalizer of SplitMix64, as in csrc/passes/dropout.h."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def numbers(stream: int, shape: tuple[int, ...], dtype: str, kind: str, scale: int = 0) -> Array:
    """Return numbers that are exact everywhere.

    - plain: 24-bit integers, in [-1, 1) times 2^scale
    - tiny: multiples of the smallest number, huge: up to the largest
    - wide: bit patterns
    - special: plain, one in sixteen of them zero, infinite, NaN, subnormal or the largest
    """
    info = np.finfo(dtype)
    index = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
    words = mix(index * GOLDEN + np.uint64(stream << 40))
    if kind == "wide":
        return (words >> np.uint64(64 - info.bits)).astype(f"u{info.bits // 8}").view(dtype).reshape(shape)
    integers = ((words >> np.uint64(40)).astype(np.int64) - 2**23).astype(dtype)
    lowest, highest = int(info.minexp - info.nmant), int(info.maxexp - 24)
    exponent = {"plain": scale - 23, "special": scale - 23, "tiny": lowest, "huge": highest}[kind]
    values = np.ldexp(integers, exponent)
    if kind == "special":
        picked = [0.0, -0.0, np.inf, -np.inf, np.nan, info.smallest_subnormal, -info.tiny, info.max]
        which = ((words >> np.uint64(4)) % np.uint64(len(picked))).astype(np.intp)
        values = np.where(words & np.uint64(15) == 0, np.array(picked, dtype)[which], values)
    return values.reshape(shape)


def digest(arrays: Iterator[Array]) -> str:
    """Hash the bits of arrays, one after the other in C order; all NaNs are one."""
    total, count = 0, 0
    for array in arrays:
        same = np.where(np.isnan(array), array.dtype.type("nan"), array).ravel()
        bits = np.abs(same, out=same, where=np.isnan(same)).view(f"u{array.itemsize}").astype(np.uint64)
        places = np.arange(count + 1, count + 1 + bits.size, dtype=np.uint64)
        total += int(mix(bits + mix(places * GOLDEN)).sum(dtype=np.uint64))
        count += bits.size
    return f"{total & WORD:016x}"


# ---- what a row computes


def form_of(row: Row) -> fastlstm.Form:
    """Return the form that a row is in."""
    made: dict[str, Any] = {}
    for place in ("gate", "candidate", "cell"):
        if place in row.options:
            name, *parameters = row.options[place].split(",")
            made[place] = (name, *map(float, parameters))
    if "clip" in row.options:
        made |= {"clip": float(row.options["clip"]), "clip_at": row.options["clip_at"]}
    return fastlstm.Form(**made, peepholes=bool(row["peepholes"]), coupled=bool(row["coupled"]))


def layer_of(row: Row, dtype: str, isa: str) -> fastlstm.LSTM:
    """Return the layer that a row asks for."""
    layers = row["L"]
    options = {"bias": bool(row["bias"]), "batch_first": bool(row["batch_first"]), "bidirectional": row["D"] == 2}
    dropout = row["dropout"] / 256 if layers > 1 else 0.0
    lstm = fastlstm.LSTM(
        row["I"],
        row["H"],
        layers,
        proj_size=row["P"],
        dropout=dropout,
        dtype=dtype,
        weights=row.stored,
        isa=isa,
        form=form_of(row),
        **options,  # type: ignore[arg-type]
    )
    lstm.load_state_dict(parameters_of(row, lstm._sizes.shapes, dtype))
    return lstm


def parameters_of(row: Row, shapes: dict[str, tuple[int, ...]], dtype: str) -> dict[str, Array]:
    """Return numbers for every parameter, in [-1/2, 1/2) unless the row says ``weights=exponent``."""
    made = {}
    for name, shape in shapes.items():
        kind, _, place = name.partition("_l")
        layer, _, reverse = (place or "0").partition("_")
        stream = 16 + 8 * (int(layer) * row["D"] + bool(reverse)) + PARAMETERS.index(kind)
        made[name] = numbers(stream, shape, dtype, "plain", int(row.options.get("weights", -1)))
    return made


def states_of(row: Row, dtype: str, batch: int) -> tuple[Array, Array]:
    """Return initial states [L*D, B, R] and [L*D, B, H]."""
    layers, hidden = row["L"] * row["D"], row["H"]
    h_0 = numbers(H_0, (layers, batch, row["P"] or hidden), dtype, "plain")
    return h_0, numbers(C_0, (layers, batch, hidden), dtype, "plain")


def arguments(row: Row, dtype: str) -> tuple[Array, dict[str, Any]]:
    """Return a sequence and what goes with it."""
    T, B = row["T"], row["B"]
    first = (B, T) if row["batch_first"] else (T, B)
    more: dict[str, Any] = {}
    if row["hx"]:
        more["hx"] = states_of(row, dtype, B)
    if row["lengths"]:
        more["lengths"] = np.arange(B) * 5 % (T + 1)
    if row["resets"]:
        resets = (np.arange(T * B) % 7 == 3).reshape(T, B)
        more["resets"] = resets.T if row["batch_first"] else resets
    return row.numbers(INPUT, *first, row["I"], dtype=dtype), more


def activation(row: Row, dtype: str, isa: str) -> Iterator[Array]:
    """Compute sigmoid or tanh."""
    yield getattr(fastlstm, row.options["name"])(row.numbers(INPUT, row["n"], dtype=dtype), isa=isa)


def gates(row: Row, dtype: str, isa: str) -> Iterator[Array]:
    """Compute the gates alone: for inference, for training, and backwards."""
    rows, units = row["rows"], row["units"]
    z, c = row.numbers(Z, rows, 4 * units, dtype=dtype), row.numbers(CELL, rows, units, dtype=dtype)
    h, c_next = fastlstm.gates_forward(z, c, isa=isa)
    yield from (h, c_next)
    kept = np.empty_like(z)
    yield from fastlstm.gates_forward(z, c, gates=kept, isa=isa)
    yield kept
    grad_h, grad_c = (row.numbers(stream, rows, units, dtype=dtype, plain=True) for stream in (GRAD_H, GRAD_C))
    yield from fastlstm.gates_backward(kept, c, c_next, grad_h, grad_c, isa=isa)


def forward(row: Row, dtype: str, isa: str) -> Iterator[Array]:
    """Run a whole sequence."""
    x, more = arguments(row, dtype)
    output, states = layer_of(row, dtype, isa)(x, **more)
    yield from (output, *states)


def backward(row: Row, dtype: str, isa: str) -> Iterator[Array]:
    """Run a sequence and its gradients; with ``keep_every`` the way that saves memory."""
    lstm, (x, more) = layer_of(row, dtype, isa), arguments(row, dtype)
    output, states, tape = lstm.forward(x, **more, seed=7, keep_every=row["keep_every"] or None)
    yield from (output, *states)
    incoming = zip((GRAD_OUTPUT, GRAD_H, GRAD_C), (output, *states), strict=True)
    grads = lstm.backward(tape, *(numbers(stream, array.shape, dtype, "plain") for stream, array in incoming))  # type: ignore[arg-type]
    yield from (grads.input, grads.h_0, grads.c_0)
    for layer in range(row["L"]):
        for reverse in ("", "_reverse")[: row["D"]]:
            for kind in ("weight_ih", "weight_hh", "bias_ih", "weight_hr", "weight_ph"):
                if (gradient := grads.parameters.get(f"{kind}_l{layer}{reverse}")) is not None:
                    yield gradient


def chunks(row: Row, dtype: str, isa: str) -> Iterator[Array]:
    """Run a sequence in two chunks, and their gradients together."""
    lstm, (x, more) = layer_of(row, dtype, isa), arguments(row, dtype)
    cut = row["T"] // 2
    first, states, tape_1 = lstm.forward(x[:cut], **more, seed=7)
    second, states, tape_2 = lstm.forward(x[cut:], states, seed=8)
    yield from (first, second, *states)
    incoming = [numbers(GRAD_OUTPUT, array.shape, dtype, "plain") for array in (first, second)]
    grads = lstm.backward_chunks([tape_1, tape_2], incoming)  # type: ignore[list-item]
    yield from (*grads.input, grads.h_0, grads.c_0, *grads.parameters.values())


def stream(row: Row, dtype: str, isa: str) -> Iterator[Array]:
    """Run a stream step by step, from a state."""
    live = layer_of(row, dtype, isa).stream(row["B"])
    live.state = states_of(row, dtype, row["B"])
    for x in arguments(row, dtype)[0]:
        yield live.step(x)
    yield from live.state


def sessions(row: Row, dtype: str, isa: str) -> Iterator[Array]:
    """Run sessions in changing company: session s rests at step t when t + s is a multiple of 3."""
    pool = layer_of(row, dtype, isa).pool(SESSIONS)
    ids = [pool.open() for _ in range(SESSIONS)]
    h, c = (state.swapaxes(0, 1) for state in states_of(row, dtype, SESSIONS))
    pool.set_state(ids, (h, c))
    x = row.numbers(INPUT, row["T"], SESSIONS, row["I"], dtype=dtype)
    for t in range(row["T"]):
        busy = [s for s in range(SESSIONS) if (t + s) % 3]
        yield pool.step([ids[s] for s in busy], x[t, busy])
    for identity in ids:
        yield from pool.state(identity)


def cell(row: Row, dtype: str, isa: str) -> Iterator[Array]:
    """Run a cell for some steps."""
    options: dict[str, Any] = {"dtype": dtype, "weights": row.stored, "isa": isa, "form": form_of(row)}
    step = fastlstm.LSTMCell(row["I"], row["H"], bool(row["bias"]), **options)
    step.load_state_dict(parameters_of(row, step._sizes.shapes, dtype))
    h, c = (state[0] for state in states_of(row, dtype, row["B"]))
    for x in arguments(row, dtype)[0]:
        h, c = step(x, (h, c))
        yield from (h, c)


def window(row: Row, dtype: str, isa: str) -> Iterator[Array]:
    """Push inputs through a sliding window of three."""
    sliding = layer_of(row, dtype, isa).window(3)
    for x in arguments(row, dtype)[0][:, 0]:
        yield sliding.push(x)


def initial(row: Row, dtype: str, isa: str) -> Iterator[Array]:
    """Draw the initial weights of a seed."""
    options = {"bidirectional": row["D"] == 2, "proj_size": row["P"], "form": form_of(row), "isa": isa}
    lstm = fastlstm.LSTM(row["I"], row["H"], row["L"], dtype=dtype, seed=row["seed"], **options)  # type: ignore[arg-type]
    yield from lstm.state_dict().values()


KINDS: dict[str, Callable[[Row, str, str], Iterator[Array]]] = {
    kind.__name__: kind
    for kind in (activation, gates, forward, backward, chunks, stream, sessions, cell, window, initial)
}


def computed(row: Row, dtype: str, isa: str) -> str:
    """Compute what a row asks for and return its hash."""
    return digest(KINDS[row.kind](row, dtype, isa))


def write() -> None:
    """Write the hashes of today's bits into the table."""
    lines = []
    for line in TABLE.read_text(encoding="ascii").splitlines():
        if not line or line.startswith("#"):
            lines.append(line)
            continue
        row = Row(line)
        hashes = [{computed(row, dtype, isa) for isa in row.isas} for dtype in row.dtypes]
        if any(len(each) > 1 for each in hashes):
            raise SystemExit(f"the instruction sets disagree: {row.name}")
        lines.append(f"{row.name} :: {' '.join(each.pop() for each in hashes)}")
    TABLE.write_text("\n".join(lines) + "\n", encoding="ascii")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        raise SystemExit("usage: python -m tests.frozen_bits --write")
    write()
