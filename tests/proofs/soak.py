"""Live with the package for a long time: `python -m tests.proofs.soak --calls 1000000`, or `make soak`.

Random calls of random shapes, lengths, threads and kinds (whole sequences, training, streams, sessions, windows,
tables, cells, new weights, bad input), each result compared to the bit with the same work done another way. At the end
the process must not have grown, and must hold as many threads and files as at the start. Exits with 1 and says what was
wrong otherwise.
"""

import argparse
import gc
import os
import random
import sys
import time
from collections import Counter
from typing import Any

import numpy as np

import fastlstm
from tests.cases import RESOURCES
from tests.support import assert_same_bits, resident_bytes

KINDS = (
    {},
    {"num_layers": 2},
    {"bidirectional": True},
    {"proj_size": 3},
    {"num_layers": 2, "batch_first": True, "dtype": "float64"},
    {"bias": False, "dtype": "float64"},
)


class World:
    """Layers that live through the whole run, each with a twin that does the same work another way."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.numbers = np.random.default_rng(rng.randrange(2**32))
        self.layers = []
        for kind in KINDS:
            for isa in fastlstm.isas():
                sizes = rng.randint(1, 20), rng.randint(4, 24)
                lstm = fastlstm.LSTM(*sizes, **kind, threads=rng.randint(1, 3), isa=isa)
                twin = fastlstm.LSTM(*sizes, **kind)
                twin.load_state_dict(lstm.state_dict())
                self.layers.append((lstm, twin))

    def pick(self, *, streams: bool = False) -> tuple[fastlstm.LSTM, fastlstm.LSTM]:
        """Return a layer and its twin."""
        while True:
            pair = self.rng.choice(self.layers)
            if not (streams and pair[0].bidirectional):
                return pair

    def array(self, lstm: fastlstm.LSTM, *shape: int) -> Any:
        """Return random numbers of the layer's dtype."""
        return self.numbers.standard_normal(shape).astype(lstm.dtype)

    def input(self, lstm: fastlstm.LSTM, T: int, B: int) -> Any:
        """Return an input of a layer."""
        return self.array(lstm, *((B, T) if lstm.batch_first else (T, B)), lstm.input_size)


def whole(world: World) -> None:
    """Run a batch, with lengths or without, against its rows one by one."""
    lstm, twin = world.pick()
    T, B = world.rng.randint(0, 9), world.rng.randint(0, 9)
    x = world.input(lstm, T, B)
    lengths = world.numbers.integers(0, T + 1, B) if world.rng.random() < 0.5 else None
    output, (h, c) = lstm(x, lengths=lengths)
    if B:
        b = world.rng.randrange(B)
        row = x[b : b + 1] if lstm.batch_first else x[:, b : b + 1]
        alone, (h_b, c_b) = twin(row, lengths=None if lengths is None else lengths[b : b + 1])
        assert_same_bits(output[b : b + 1] if lstm.batch_first else output[:, b : b + 1], alone, "a row alone")
        assert_same_bits((h[:, b : b + 1], c[:, b : b + 1]), (h_b, c_b), "a row's state alone")


def train(world: World) -> None:
    """Go forward and backward, with other threads and another instruction set."""
    lstm, twin = world.pick()
    T, B = world.rng.randint(1, 6), world.rng.randint(1, 6)
    x = world.input(lstm, T, B)
    made = []
    for each in (lstm, twin):
        output, _, tape = each.forward(x)
        if world.rng.random() < 0.1:
            return  # the tape is dropped unused
        made.append(each.backward(tape, np.ones_like(output)))
    assert_same_bits(made[0].input, made[1].input, "gradient of the input")
    for name, gradient in made[0].parameters.items():
        assert_same_bits(gradient, made[1].parameters[name], name)


def stream(world: World) -> None:
    """Open a stream, step and feed it, save it half-way, against the whole."""
    lstm, twin = world.pick(streams=True)
    T, B = world.rng.randint(1, 8), world.rng.randint(1, 4)
    x = world.array(lstm, T, B, lstm.input_size)
    cut = world.rng.randint(0, T)
    live = lstm.stream(B)
    parts = []
    for row in x[:cut]:
        if world.rng.random() < 0.5:
            live.advance()
        parts.append(live.step(row)[None])
    if world.rng.random() < 0.3:
        live.advance()
        data, live = live.save(), twin.stream(B)
        live.restore(data)
    parts.append(live.feed(x[cut:]))
    expected, _ = twin(x.swapaxes(0, 1) if twin.batch_first else x)
    assert_same_bits(np.concatenate(parts), expected.swapaxes(0, 1) if twin.batch_first else expected, "a stream")


def sessions(world: World) -> None:
    """Open sessions, step some, move them to another pool, step on, against each alone."""
    lstm, twin = world.pick(streams=True)
    n, T = world.rng.randint(1, 12), world.rng.randint(1, 5)
    pool = lstm.pool(n + 2)
    ids = [pool.open() for _ in range(n)]
    x = world.array(lstm, T, n, lstm.input_size)
    got = np.zeros((T, n, lstm.proj_size or lstm.hidden_size), lstm.dtype)
    for t in range(T):
        order = world.rng.sample(range(n), n)
        if world.rng.random() < 0.4:
            pool.advance([ids[k] for k in world.rng.sample(range(n), world.rng.randint(0, n))])
        got[t, order] = pool.step([ids[k] for k in order], x[t, order])
        if world.rng.random() < 0.1:
            other = twin.pool(n)
            moved = other.restore(pool.snapshot())
            pool, ids = other, [moved[id] for id in ids]
    k = world.rng.randrange(n)
    assert_same_bits(got[:, k], twin(x[:, k])[0], "a session")
    pool.close(ids)


def tokens(world: World) -> None:
    """Run tokens from a table, in one call, or step by step with advances, against what they stand for."""
    lstm, twin = world.pick()
    V, T, B = world.rng.randint(1, 30), world.rng.randint(0, 8), world.rng.randint(1, 6)
    embedding = world.array(lstm, V, lstm.input_size)
    ids = world.numbers.integers(0, V, (T, B))
    table = lstm.table(embedding)
    if lstm.bidirectional or world.rng.random() < 0.5:
        lengths = world.numbers.integers(0, T + 1, B) if world.rng.random() < 0.5 else None
        given = ids.T if lstm.batch_first else ids
        assert_same_bits(
            lstm(given, lengths=lengths, table=table)[0], twin(embedding[given], lengths=lengths)[0], "tokens"
        )
        return
    live, other = lstm.stream(B, table=table), twin.stream(B)
    for row in ids:
        if world.rng.random() < 0.5:
            live.advance()
        assert_same_bits(live.step(row), other.step(embedding[row]), "a stream of tokens")


def window(world: World) -> None:
    """Push into a window, against the last window alone."""
    lstm, twin = world.pick(streams=True)
    length, T = world.rng.randint(1, 6), world.rng.randint(1, 9)
    x = world.array(lstm, T, lstm.input_size)
    live = lstm.window(length)
    for row in x:
        answer = live.push(row)
        if world.rng.random() < 0.5:
            live.advance()
    assert_same_bits(answer, twin(x[-length:])[0][-1], "a window")


def cell(world: World) -> None:
    """Make a cell, use it, drop it."""
    made = fastlstm.LSTMCell(world.rng.randint(1, 9), world.rng.randint(1, 9))
    x = world.numbers.standard_normal((world.rng.randint(0, 5), made.input_size), np.float32)
    h, c = made(x)
    assert_same_bits(made(x), (h, c), "a cell")


def weights(world: World) -> None:
    """Load new weights into a layer and its twin; a call with the old ones may just be over."""
    lstm, twin = world.pick()
    fresh = {name: world.array(lstm, *array.shape) / 4 for name, array in lstm.state_dict().items()}
    lstm.load_state_dict(fresh)
    twin.load_state_dict(fresh)


def errors(world: World) -> None:
    """Provoke an error; the next calls of the same objects show that nothing was lost."""
    lstm, _ = world.pick(streams=True)
    x = world.input(lstm, 3, 2)
    pool = lstm.pool(1)
    id = pool.open()
    wrong = (
        lambda: lstm(x[..., :0]),
        lambda: lstm(x.astype(np.float16)),
        lambda: lstm(x, lengths=[1, 99]),
        lambda: lstm(x, out=x),
        lambda: lstm.load_state_dict({}),
        lambda: lstm.stream().step(np.zeros(lstm.input_size + 1, lstm.dtype)),
        lambda: lstm.stream().restore(b"no"),
        lambda: pool.open(),
        lambda: pool.step([id, id], world.array(lstm, 2, lstm.input_size)),
        lambda: pool.close(77),
        lambda: lstm.backward(lstm.forward(x)[2], np.zeros((1, 1, 1), lstm.dtype)),
        lambda: fastlstm.LSTM(0, 1),
    )
    try:
        world.rng.choice(wrong)()
    except (ValueError, TypeError, RuntimeError):
        return
    raise AssertionError("bad input was taken")


ACTIONS = {whole: 40, train: 15, stream: 15, sessions: 8, window: 6, tokens: 6, cell: 6, weights: 3, errors: 7}


def held() -> tuple[int, int]:
    """Return how many threads and open files the process has."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


def main() -> int:
    """Run, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop then, if the calls are not done")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    start = held()
    world = World(rng)
    done: Counter[str] = Counter()
    sizes: list[int] = []
    began = told = time.monotonic()
    while done.total() < args.calls and time.monotonic() - began < args.seconds:
        action = rng.choices(list(ACTIONS), list(ACTIONS.values()))[0]
        action(world)
        done[action.__name__] += 1
        if done.total() % 500 == 0:
            sizes.append(resident_bytes())
        if time.monotonic() - told > 60:
            told = time.monotonic()
            print(f"{done.total()} calls, {sizes[-1] / 2**20:.1f} MB", flush=True)
    half = len(sizes) // 2
    growth = max(sizes[half:]) - max(sizes[:half])
    del world
    gc.collect()
    end = held()
    print(f"{done.total()} calls in {time.monotonic() - began:.0f} s: {dict(done)}; grew by {growth / 2**20:.2f} MB")
    if growth > RESOURCES["soak, bytes"].most or end != start:
        print(f"threads and files at the start {start}, at the end {end}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
