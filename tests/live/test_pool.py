"""Many sessions in one pool: whoever shares a batch, each has the bits of its sequence run alone."""

import copy
import io
import pickle
import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm import StreamPool, _core
from tests.cases import RESOURCES, Array
from tests.live.support import KINDS, H, I, layer
from tests.support import Guarded, assert_same_bits, each_dtype, each_isa, each_layout, floating_point, run_python

each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
each_threads = pytest.mark.parametrize("threads", [1, 2])


def numbers(seed: int, *shape: int, dtype: str = "float32") -> Array:
    """Draw an array."""
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def opened(lstm: fastlstm.LSTM, n: int, capacity: int | None = None) -> tuple[StreamPool, list[int]]:
    """Return a pool and n sessions that have taken two steps, each on inputs of its own."""
    pool = lstm.pool(capacity or n)
    ids = [pool.open() for _ in range(n)]
    for x in numbers(3, 2, n, I, dtype=lstm.dtype.name):
        pool.step(ids, x)
    return pool, ids


def states(pool: StreamPool) -> list[tuple[int, bytes, bytes]]:
    """Return everything that a pool holds."""
    ids = pool.ids()
    h, c = pool.state(ids)
    return [(id, h[k].tobytes(), c[k].tobytes()) for k, id in enumerate(ids)]


# ---- the bits


@dataclass
class Session:
    """A sequence as it happened: where it lives now, what went in, what came out."""

    pool: StreamPool
    id: int
    inputs: list[Array] = field(default_factory=list)
    outputs: list[Array] = field(default_factory=list)


class Schedule:
    """Random lives of sessions in several pools; each life that ends is compared with the whole sequence alone."""

    def __init__(self, pools: list[StreamPool], alone: fastlstm.LSTM, seed: int) -> None:
        self.pools, self.alone = pools, alone
        self.rng, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.live: list[Session] = []
        self.opened = self.steps = self.moves = 0

    def open(self) -> None:
        """Open one, in a pool that has room."""
        pool = self.rng.choice([pool for pool in self.pools if len(pool) < pool.capacity])
        self.live.append(Session(pool, pool.open()))
        self.opened += 1

    def step(self) -> None:
        """Advance any sessions of a pool, in any order."""
        pool = self.rng.choice(self.pools)
        here = [session for session in self.live if session.pool is pool]
        some = self.rng.sample(here, self.rng.randint(0, len(here)))
        x = self.numbers.standard_normal((len(some), I)).astype(self.alone.dtype)
        ids: Any = [session.id for session in some]
        if self.rng.random() < 0.5:
            ids = np.array(ids, np.int64)
        out = np.empty((len(some), self.alone.proj_size or H), self.alone.dtype) if self.rng.random() < 0.5 else None
        y = pool.step(ids, x, out)
        assert out is None or y is out
        for session, row, answer in zip(some, x, y, strict=True):
            session.inputs.append(row)
            session.outputs.append(answer.copy())
        self.steps += len(some)

    def advance(self) -> None:
        """Do what the next step of some does not need their inputs for, more of one pool than of another."""
        for k, pool in enumerate(self.pools):
            here = [session.id for session in self.live if session.pool is pool]
            pool.advance(self.rng.sample(here, len(here) * (k % 4) // 3))

    def close(self) -> None:
        """Close some."""
        for session in self.rng.sample(self.live, min(self.rng.randint(1, 8), len(self.live))):
            session.pool.close(session.id)
            self.live.remove(session)
            self.check(session)

    def reset(self) -> None:
        """Start some again from zero."""
        for session in self.rng.sample(self.live, min(5, len(self.live))):
            session.pool.reset(session.id)
            self.check(session)
            session.inputs, session.outputs = [], []

    def move(self) -> None:
        """Take some sessions of a pool to another by a snapshot."""
        source, target = self.rng.sample(self.pools, 2)
        here = [session for session in self.live if session.pool is source]
        some = self.rng.sample(here, min(6, len(here), target.capacity - len(target)))
        new = target.restore(source.snapshot([session.id for session in some]))
        source.close([session.id for session in some])
        for session in some:
            session.pool, session.id = target, new[session.id]
        self.moves += len(some)

    def check(self, session: Session) -> None:
        """Compare a life with the sequence alone: outputs and the state at the end."""
        if session.inputs:
            output, _ = self.alone(np.stack(session.inputs)[:, None])
            assert_same_bits(np.stack(session.outputs)[:, None], output, f"a session of {len(session.inputs)} steps")


@each_dtype
@each_kind
def test_any_schedule_gives_every_session_the_bits_of_its_sequence_alone(dtype: str, kind: dict[str, Any]) -> None:
    choices = list(product(fastlstm.isas(), (1, 2)))
    capacity = 1020 // len(choices)  # room for the 900 sessions below, however many instruction sets there are
    pools = [layer(dtype, isa=isa, threads=threads, **kind).pool(capacity) for isa, threads in choices]
    schedule = Schedule(pools, layer(dtype, **kind), seed=1)
    actions = {schedule.step: 20, schedule.close: 1, schedule.reset: 1, schedule.move: 2, schedule.advance: 3}
    while schedule.opened < 1000:
        for _ in range(8):
            schedule.open()
        for action in schedule.rng.choices(list(actions), list(actions.values()), k=4):
            action()
        while len(schedule.live) > 900:
            schedule.close()
    for session in schedule.live:
        h, c = session.pool.state(session.id)
        _, (h_n, c_n) = schedule.alone(np.array(session.inputs, dtype).reshape(-1, 1, I))
        assert_same_bits((h, c), (h_n[:, 0], c_n[:, 0]), "a state")
        schedule.check(session)
    assert schedule.steps > 5000
    assert schedule.moves > 100


@each_isa
@each_threads
@pytest.mark.parametrize("n", [1, 7, 8, 15, 16, 17, 31, 33, 64])
def test_any_number_of_sessions_in_a_step(isa: str, threads: int, n: int) -> None:
    for dtype in ("float32", "float64"):
        lstm = layer(dtype, isa=isa, threads=threads, num_layers=2, proj_size=9)
        pool = lstm.pool(n)
        ids = [pool.open() for _ in range(n)]
        x = numbers(n, 3, n, I, dtype=dtype)
        whole, (h_n, c_n) = layer(dtype, num_layers=2, proj_size=9)(x)
        for t in range(3):
            out = Guarded((n, 9), dtype)
            assert_same_bits(pool.step(ids, x[t], out.array), whole[t])
            out.check()
        assert_same_bits(pool.state(ids), (h_n.swapaxes(0, 1), c_n.swapaxes(0, 1)))


@each_layout
def test_any_layout_of_the_arguments(layout: Callable[[Array], Array]) -> None:
    lstm = layer()
    pool, ids = opened(lstm, 9)
    other, others = opened(lstm, 9)
    x = numbers(1, 9, I)
    expected = other.step(others, x)
    assert_same_bits(pool.step(layout(np.array(ids)), layout(x)), expected)
    out = layout(np.zeros((9, H), np.float32))
    if out.flags.writeable:
        assert pool.step(ids, x, out) is out
        assert_same_bits(out.copy(), other.step(others, x))


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint32, np.uint64])
def test_ids_of_any_integer_type(dtype: Any) -> None:
    lstm = layer()
    pool, ids = opened(lstm, 3)
    other, others = opened(lstm, 3)
    x = numbers(1, 3, I)
    assert_same_bits(pool.step(np.array(ids, dtype), x), other.step(others, x))


@pytest.mark.parametrize("given", [2**63, 2**64 - 1])
def test_ids_beyond_int64_are_told_as_given(given: int) -> None:
    pool = fastlstm.LSTM(4, 3).pool(2)
    pool.open()
    with pytest.raises(ValueError, match=f"session {given} has never been opened"):
        pool.close(np.array([1, given], np.uint64))
    assert len(pool) == 1


def test_a_step_of_no_sessions() -> None:
    pool, _ = opened(layer(), 2)
    before = states(pool)
    assert pool.step([], np.zeros((0, I), np.float32)).shape == (0, H)
    assert pool.step(np.zeros(0, np.int64), np.zeros((0, I), np.float32)).shape == (0, H)
    assert states(pool) == before


def test_the_floating_point_environment_of_the_caller_does_not_matter() -> None:
    lstm = layer(threads=2)
    x = numbers(1, 20, I) * np.float32(1e-38)
    answers = []
    for mode in (None, "flush", "up"):
        pool, ids = opened(lstm, 20)
        if mode is None:
            answers.append(pool.step(ids, x))
        else:
            with floating_point(mode):
                answers.append(pool.step(ids, x))
    assert_same_bits(answers[1], answers[0])
    assert_same_bits(answers[2], answers[0])


@each_threads
def test_nan_stays_in_its_session(threads: int) -> None:
    lstm = layer(threads=threads, num_layers=2)
    (pool, ids), (clean, others) = opened(lstm, 20), opened(lstm, 20)
    for t in range(3):
        x = numbers(t, 20, I)
        expected = clean.step(others, x)
        if t == 1:
            x[11, 2] = np.nan
        y = pool.step(ids, x)
        assert np.isnan(y[11]).all() == (t > 0)
        assert_same_bits(np.delete(y, 11, 0), np.delete(expected, 11, 0))
    pool.reset(ids[11])
    assert np.isfinite(pool.step(ids[11:12], numbers(0, 1, I))).all()


# ---- the life of a session


def test_the_numbers_that_a_pool_gives() -> None:
    pool = layer().pool(4)
    assert (len(pool), pool.used, pool.capacity) == (0, 0, 4)
    ids = [pool.open() for _ in range(4)]
    assert len(set(ids)) == 4
    assert (len(pool), pool.ids()) == (4, sorted(ids))
    pool.close(ids[:2])
    assert (len(pool), sorted(pool.ids())) == (2, sorted(ids[2:]))
    assert repr(pool) == f"StreamPool({I} -> {H}, 2 of 4 open)"


def test_ids_of_closed_sessions_do_not_come_again() -> None:
    pool = layer().pool(2)
    kept = pool.open()
    seen = {kept}
    for _ in range(300):
        id = pool.open()
        assert id not in seen
        seen.add(id)
        pool.close(id)
    assert pool.ids() == [kept]


def test_a_new_session_starts_from_zero_in_a_slot_that_was_used() -> None:
    lstm = layer()
    pool, (id, _) = opened(lstm, 2)
    pool.close(id)
    again = pool.open()
    x = numbers(5, 1, I)
    assert_same_bits(pool.step([again], x), lstm(x[None])[0][0])


def test_a_full_pool_opens_nothing() -> None:
    pool, ids = opened(layer(), 3)
    before = states(pool)
    with pytest.raises(RuntimeError, match="the pool is full: 3 sessions are open"):
        pool.open()
    assert states(pool) == before
    pool.close(ids[1])
    pool.open()


def test_growing_keeps_ids_and_states() -> None:
    lstm = layer(num_layers=2)
    pool, ids = opened(lstm, 5)
    pool.close(ids.pop(2))
    before = states(pool)
    for capacity in (6, 50, 7):
        pool.grow(capacity)
        assert states(pool) == before
    assert pool.capacity == 50
    more = [pool.open() for _ in range(46)]
    assert not set(more) & set(ids)
    other, others = opened(lstm, 5)
    x = numbers(9, 4, I)
    assert_same_bits(pool.step(ids, x), other.step([others[k] for k in (0, 1, 3, 4)], x))


@pytest.mark.unsanitized
@pytest.mark.parametrize("capacity", [2**32 - 1, 2**32, 2**63, 2**80])
def test_growing_beyond_memory_changes_nothing(capacity: int) -> None:
    pool, _ = opened(fastlstm.LSTM(I, 2**16, proj_size=8, seed=0), 1)
    before = states(pool)
    with pytest.raises((MemoryError, OverflowError)):
        pool.grow(capacity)
    assert states(pool) == before
    assert pool.capacity == 1


def test_states_are_copied_out_and_in() -> None:
    lstm = layer(num_layers=2, proj_size=7)
    pool, ids = opened(lstm, 4)
    h, c = pool.state(ids[1:3])
    assert (h.shape, c.shape) == ((2, 2, 7), (2, 2, H))
    one_h, one_c = pool.state(ids[2])
    assert_same_bits((one_h, one_c), (h[1], c[1]))
    x = numbers(8, 2, I)
    expected, (h_n, c_n) = lstm(x[None], (h.swapaxes(0, 1), c.swapaxes(0, 1)))
    others = [ids[0], ids[3]]
    pool.set_state(others, (h, c))
    assert_same_bits(pool.step(others, x), expected[0])
    assert_same_bits(pool.state(others), (h_n.swapaxes(0, 1), c_n.swapaxes(0, 1)))
    pool.set_state(ids[1], (one_h, one_c))
    assert_same_bits(pool.state(ids[1]), (one_h, one_c))
    one_h[:] = 0
    assert pool.state(ids[1])[0].any()


def test_a_reset_is_a_new_session() -> None:
    lstm = layer()
    pool, ids = opened(lstm, 3)
    kept = pool.state(ids[1])
    pool.reset([ids[2], ids[0]])
    x = numbers(8, 3, I)
    y = pool.step(ids, x)
    assert_same_bits(y[::2], lstm(x[None, ::2])[0][0])
    assert_same_bits(y[1:2], lstm(x[None, 1:2], (kept[0][:, None], kept[1][:, None]))[0][0])


def test_a_pool_keeps_the_weights_of_its_layer_when_it_was_made() -> None:
    lstm = layer()
    pool, ids = opened(lstm, 2)
    other, others = opened(lstm, 2)
    lstm.load_state_dict({name: -array for name, array in lstm.state_dict().items()})
    x = numbers(8, 2, I)
    expected = other.step(others, x)
    del lstm
    assert_same_bits(pool.step(ids, x), expected)


# ---- snapshots


@each_kind
@each_dtype
def test_a_snapshot_goes_on_elsewhere(kind: dict[str, Any], dtype: str) -> None:
    lstm = layer(dtype, **kind)
    pool, ids = opened(lstm, 6)
    data = pool.snapshot()
    assert isinstance(data, bytes)
    other = layer(dtype, threads=2, **kind).pool(10)
    other.open()
    new = other.restore(bytearray(data))
    assert list(new) == ids
    assert len(other) == 7
    for x in numbers(4, 3, 6, I, dtype=dtype):
        assert_same_bits(other.step([new[id] for id in reversed(ids)], x[::-1])[::-1], pool.step(ids, x))


def test_a_snapshot_of_some_or_of_none() -> None:
    lstm = layer()
    pool, ids = opened(lstm, 4)
    other = lstm.pool(4)
    assert list(other.restore(pool.snapshot([ids[3], ids[1]]))) == [ids[3], ids[1]]
    assert other.restore(lstm.pool(1).snapshot()) == {}
    assert len(other) == 2


def test_a_snapshot_that_does_not_fit_opens_nothing() -> None:
    lstm = layer()
    pool, _ = opened(lstm, 5)
    small, _ = opened(lstm, 3, capacity=7)
    before = states(small)
    with pytest.raises(RuntimeError, match="the snapshot holds 5 sessions, and there is room for 4; grow the pool"):
        small.restore(pool.snapshot())
    assert states(small) == before
    small.grow(8)
    assert len(small.restore(pool.snapshot())) == 5


def test_ids_are_truthy_and_in_the_order_of_opening() -> None:
    pool = layer().pool(3)
    ids = [pool.open() for _ in range(3)]
    assert ids == [1, 2, 3]
    pool.close(1)
    again = pool.open()  # the same slot, another session
    assert again not in ids
    assert pool.ids() == [again, 2, 3]


def test_a_snapshot_of_other_sizes_is_refused() -> None:
    pool, _ = opened(layer(), 2)
    data = pool.snapshot()
    for options in ({"num_layers": 2}, {"proj_size": 4}, {"dtype": "float64"}):
        other, _ = opened(layer(**options), 1, capacity=5)
        before = states(other)
        with pytest.raises(ValueError, match="the snapshot is of another layer: h has shape"):
            other.restore(data)
        assert states(other) == before


def test_damaged_snapshots_are_refused_or_harmless() -> None:
    lstm = fastlstm.LSTM(2, 3, seed=0)
    source = lstm.pool(2)
    source.set_state([source.open(), source.open()], (numbers(0, 2, 1, 3), numbers(1, 2, 1, 3)))
    data = source.snapshot()
    pool = lstm.pool(2)
    refusals: list[str] = []

    def restored(raw: bytes) -> bool:
        try:
            new = pool.restore(raw)
        except ValueError as error:
            refusals.append(str(error))
            assert len(pool) == 0
            return False
        assert_same_bits(pool.state(list(new.values())), source.state(source.ids()))  # what changed was a date, say
        pool.close(list(new.values()))
        return True

    assert restored(data)
    for k in range(len(data)):
        for flipped in (1 << k % 8, 0xFF):
            restored(data[:k] + bytes([data[k] ^ flipped]) + data[k + 1 :])
    assert not any(restored(data[:n]) for n in range(len(data)))
    assert all(text.startswith(("this is ", "the snapshot ")) for text in refusals)


def foreign() -> Iterable[Any]:
    """Things that are no snapshots of a pool, though some look like one."""

    def archive(save: Callable[..., None], **arrays: Any) -> bytes:
        made = io.BytesIO()
        save(made, **arrays)
        return made.getvalue()

    h, ids = np.zeros((2, 1, 3), np.float32), np.arange(2)
    yield pytest.param(b"", id="nothing")
    yield pytest.param(b"PK\x03\x04", id="the beginning of an archive")
    yield pytest.param(pickle.dumps([1]), id="a pickle")
    yield pytest.param(archive(lambda file: np.save(file, h)), id="one array")
    yield pytest.param(archive(np.savez, h=h, c=h), id="of a stream")
    yield pytest.param(archive(np.savez, h=h, ids=ids), id="no c")
    yield pytest.param(archive(np.savez, h=h, c=h[:1], ids=ids), id="c of another number")
    yield pytest.param(archive(np.savez, h=h, c=h, ids=ids[:1]), id="ids of another number")
    yield pytest.param(archive(np.savez, h=h, c=h, ids=ids.astype(float)), id="ids that are floats")
    yield pytest.param(archive(np.savez, h=h, c=h, ids=ids * 0), id="an id twice")
    yield pytest.param(archive(np.savez, h=np.array([None]), c=h, ids=ids), id="an object")


@pytest.mark.parametrize("data", list(foreign()))
def test_what_is_not_a_snapshot_is_refused(data: bytes) -> None:
    pool = fastlstm.LSTM(2, 3, seed=0).pool(4)
    with pytest.raises(
        ValueError, match=r"^this is (not )?a snapshot|^the snapshot (is of another layer|does not tell)"
    ):
        pool.restore(data)
    assert len(pool) == 0


@pytest.mark.parametrize("data", [None, 3, "text", [b"bytes"]])
def test_a_snapshot_has_to_be_bytes(data: Any) -> None:
    with pytest.raises(TypeError, match="a snapshot should be bytes, got: "):
        layer().pool(1).restore(data)


# ---- bad input: nothing changes

ZEROS = np.zeros((2, I), np.float32)
WRONG_STEPS: dict[str, tuple[Callable[[list[int]], tuple[Any, ...]], type[Exception], str]] = {
    "an id twice": (lambda ids: ([ids[0], ids[0]], ZEROS), RuntimeError, "is given twice"),
    "an id twice, at the end": (lambda ids: ([*ids[:3], ids[1]], np.zeros((4, I), np.float32)), RuntimeError, "twice"),
    "a closed id": (lambda ids: ([ids[0], ids[3]], ZEROS), ValueError, "has been closed"),
    "no id: 0": (lambda ids: ([ids[0], 0], ZEROS), ValueError, "session 0 has never been opened"),
    "an unknown slot": (lambda ids: ([ids[0], 77], ZEROS), ValueError, "session 77 has never been opened"),
    "a slot not yet used": (lambda ids: ([ids[0], 5], ZEROS), ValueError, "session 5 has never been opened"),
    "a later generation": (lambda ids: ([ids[0] + (1 << 32), ids[1]], ZEROS), ValueError, "has never been opened"),
    "a negative id": (lambda ids: ([-1, ids[1]], ZEROS), ValueError, "session -1 has never been opened"),
    "an id beyond int64": (lambda ids: ([2**64, ids[1]], ZEROS), ValueError, f"session {2**64} has never been opened"),
    "ids that are floats": (lambda ids: ([0.0, 1.0], ZEROS), TypeError, "ids should be integers, got dtype: float64"),
    "ids that are bools": (lambda ids: ([False, True], ZEROS), TypeError, "ids should be integers, got dtype: bool"),
    "ids of two axes": (lambda ids: ([ids[:2]], ZEROS), ValueError, r"Expected ids size \(n,\), got \(1, 2\)"),
    "ids that are ragged": (lambda ids: ([[1], [1, 2]], ZEROS), ValueError, "ids could not be read"),
    "too few inputs": (lambda ids: (ids[:2], ZEROS[:1]), ValueError, r"Expected x size \(2, 5\) = \(n, I\), got"),
    "too wide inputs": (lambda ids: (ids[:2], np.zeros((2, 6), np.float32)), ValueError, "Expected x size"),
    "inputs of one axis": (lambda ids: (ids[:1], ZEROS[0]), ValueError, "Expected x size"),
    "float64 inputs": (lambda ids: (ids[:2], ZEROS.astype(float)), TypeError, "x should have dtype float32"),
    "out of another shape": (lambda ids: (ids[:2], ZEROS, np.zeros((3, H), np.float32)), ValueError, "Expected out"),
    "out of another dtype": (lambda ids: (ids[:2], ZEROS, np.zeros((2, H))), TypeError, "out should have dtype"),
    "out that is a list": (lambda ids: (ids[:2], ZEROS, [[0.0] * H] * 2), TypeError, "out should be a numpy.ndarray"),
}


@pytest.mark.parametrize("wrong", WRONG_STEPS.values(), ids=WRONG_STEPS)
def test_a_step_that_cannot_be_changes_nothing(
    wrong: tuple[Callable[[list[int]], tuple[Any, ...]], type[Exception], str],
) -> None:
    make, error, message = wrong
    pool, ids = opened(layer(), 4, capacity=9)
    pool.close(ids[3])
    before = states(pool)
    with pytest.raises(error, match=message):
        pool.step(*make(ids))
    if isinstance(make(ids)[0], list):  # the same ids as an array take the fast path
        with pytest.raises((error, ValueError, OverflowError)):
            pool.step(np.array(make(ids)[0]), *make(ids)[1:])
    assert states(pool) == before
    pool.step(ids[:3], np.zeros((3, I), np.float32))


def test_out_may_not_overlap_the_input() -> None:
    lstm = fastlstm.LSTM(6, 6, seed=0)
    pool = lstm.pool(2)
    ids = [pool.open(), pool.open()]
    both = np.ones((3, 6), np.float32)
    before = states(pool)
    for given in (ids, np.array(ids)):
        with pytest.raises(ValueError, match="out overlaps x"):
            pool.step(given, both[:2], both[1:])
    frozen = np.zeros((2, 6), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        pool.step(np.array(ids), both[:2], frozen)
    assert states(pool) == before
    assert (both == 1).all()


@pytest.mark.parametrize("action", ["close", "reset", "state", "snapshot"])
def test_what_takes_ids_takes_all_or_none(action: str) -> None:
    pool, ids = opened(layer(), 4, capacity=9)
    pool.close(ids.pop())
    before = states(pool)
    for wrong, error in (
        ([ids[0], 4], ValueError),
        ([0], ValueError),
        ([ids[1], 88], ValueError),
        ([ids[2], ids[2]], RuntimeError),
    ):
        with pytest.raises(error):
            getattr(pool, action)(wrong)
        assert states(pool) == before
    with pytest.raises(TypeError, match="ids should be integers"):
        getattr(pool, action)(["a"])


def test_states_that_cannot_be_set_change_nothing() -> None:
    pool, ids = opened(layer(num_layers=2), 3)
    before = states(pool)
    h = c = np.zeros((2, 2, H), np.float32)
    wrong: list[tuple[Any, type[Exception], str]] = [
        (h, TypeError, r"state should be a pair \(h, c\), got: ndarray"),
        ((h,), TypeError, "state should be a pair"),
        ((h[:1], c), ValueError, r"Expected state\[0\] size"),
        ((h, c[..., 1:]), ValueError, r"Expected state\[1\] size"),
        ((h, c.astype(float)), TypeError, r"state\[1\] should have dtype float32"),
    ]
    for state, error, message in wrong:
        with pytest.raises(error, match=message):
            pool.set_state(ids[:2], state)
    with pytest.raises(RuntimeError, match="twice"):
        pool.set_state([ids[0], ids[0]], (h, c))
    with pytest.raises(ValueError, match="Expected state"):
        pool.set_state(ids[0], (h, c))
    assert states(pool) == before


@pytest.mark.parametrize(
    ("capacity", "error"),
    [(0, ValueError), (-1, ValueError), (2.0, TypeError), (None, TypeError), (True, TypeError), ("3", TypeError)],
)
def test_capacities_that_cannot_be(capacity: Any, error: type[Exception]) -> None:
    lstm = layer()
    with pytest.raises(error, match="capacity"):
        lstm.pool(capacity)
    with pytest.raises(error, match="capacity"):
        lstm.pool(1).grow(capacity)


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_pool_is_not_copied(duplicate: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"a StreamPool cannot be pickled or copied: take a snapshot\(\)"):
        duplicate(layer().pool(1))


# ---- many threads


@each_threads
def test_threads_may_step_different_sessions_at_once(threads: int) -> None:
    lstm = fastlstm.LSTM(I, 65, threads=threads, seed=0)
    pool = lstm.pool(4 * 40)
    x = numbers(0, 25, 40, I)
    start = threading.Barrier(4)

    def job(k: int) -> None:
        start.wait()
        ids = [pool.open() for _ in range(40)]
        expected = alone(x * np.float32(1 + k))[0]
        for t in range(25):
            assert_same_bits(pool.step(ids, x[t] * np.float32(1 + k)), expected[t])
            if t % 8 == 0:
                assert set(ids) <= set(pool.ids())
        pool.close(ids)

    alone = fastlstm.LSTM(I, 65, seed=0)
    with ThreadPoolExecutor(4) as workers:
        list(workers.map(job, range(4)))
    assert len(pool) == 0


def test_a_session_in_a_step_is_refused_to_others_and_stays_whole() -> None:
    n, steps = 200, 30
    lstm = fastlstm.LSTM(65, 257, seed=0)  # large: the GIL is released
    pool = lstm.pool(n)
    ids = [pool.open() for _ in range(n)]
    x = np.random.default_rng(0).standard_normal((steps, n, 65)).astype(np.float32)
    given, poked, finished = np.array(ids), threading.Event(), threading.Event()
    refused = dict.fromkeys(("state", "grow"), 0)
    outputs: list[Array] = []
    pool.state(ids)  # the first one imports parts of NumPy

    def step() -> None:
        poked.wait()
        try:  # a busy machine may take its time until it lets the other thread run
            while len(outputs) < steps or (len(outputs) < 20 * steps and not all(refused.values())):
                outputs.append(pool.step(given, x[len(outputs) % steps]))
        finally:
            finished.set()

    def poke() -> None:
        while not finished.is_set():
            poked.set()
            for name, call in (("state", lambda: pool.state(ids[7])), ("grow", lambda: pool.grow(pool.capacity + 1))):
                try:
                    call()
                except RuntimeError as error:
                    refused[name] += "in a step" in str(error)

    with ThreadPoolExecutor(2) as workers:
        poking, stepping = workers.submit(poke), workers.submit(step)
        poking.result()
        stepping.result()
    output, (h_n, c_n) = lstm(x[np.arange(len(outputs)) % steps])
    assert_same_bits(np.stack(outputs), output)
    assert_same_bits(pool.state(ids), (h_n.swapaxes(0, 1), c_n.swapaxes(0, 1)))
    assert min(refused.values()) > 0, "the GIL was held during long steps, or nothing kept the other thread out"


def test_steps_of_several_threads_on_one_session_are_each_whole() -> None:
    lstm = fastlstm.LSTM(8, 300, seed=0)
    pool = lstm.pool(1)
    id, x = pool.open(), np.zeros((1, 8), np.float32)
    start = threading.Barrier(4)

    def job(_: int) -> int:
        start.wait()
        good = 0
        for _ in range(200):
            try:
                pool.step([id], x)
            except RuntimeError:
                continue
            good += 1
        return good

    with ThreadPoolExecutor(4) as workers:
        steps = sum(workers.map(job, range(4)))
    _, (h_n, c_n) = lstm(np.zeros((steps, 1, 8), np.float32))
    assert_same_bits(pool.state(id), (h_n[:, 0], c_n[:, 0]))


# ---- memory


@pytest.mark.unsanitized
def test_memory_stays_flat_over_many_steps() -> None:
    script = f"""
import numpy as np, fastlstm
from tests.support import resident_bytes

lstm = fastlstm.LSTM(8, 24, num_layers=2, seed=0)
pool = lstm.pool(64)
rng = np.random.default_rng(0)
ids = np.array([pool.open() for _ in range(40)])
x, y = np.zeros((40, 8), np.float32), np.empty((40, 24), np.float32)

def calls(n):
    for k in range(n):
        m = 1 + k % 40
        if k % 3:
            pool.step(ids[:m], x[:m], y[:m])
        else:
            pool.step(ids[:m].tolist(), x[:m])
        if k % 7 == 0:
            pool.advance(ids[m // 2 :])
        if k % 50 == 0:
            pool.close(pool.open())
            try:
                pool.step(ids[[0, 0]], x[:2])
            except RuntimeError:
                pass
        if k % 2000 == 0:
            lstm.pool(64).restore(pool.snapshot())

calls(5000)
before = resident_bytes()
calls(100_000)
grown = resident_bytes() - before
assert grown < {RESOURCES["steps, bytes"].most}, f"{{grown}} bytes more after 10^5 steps"
"""
    run_python(script)


def test_steps_do_not_wait_for_who_was_interrupted_before_letting_go(monkeypatch: pytest.MonkeyPatch) -> None:
    lstm = layer()
    pool = lstm.pool(1)
    ids = [pool.open()]
    pool._run_hold(0.0)  # and never released
    monkeypatch.setattr(_core, "sleep", lambda _: pytest.fail("a step waits"))
    x = numbers(1, 1, I)
    assert_same_bits(pool.step(ids, x), lstm(x[None])[0][0])
