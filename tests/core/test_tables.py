"""Tables: tokens have the bits of what they stand for, through every door, and nothing else is taken for them."""

import copy
import pickle
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import Array
from tests.support import Guarded, assert_same_bits, each_dtype, each_isa, each_layout, strided

V, I, H = 23, 7, 19

KINDS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "a stack": {"num_layers": 3},
    "both directions": {"num_layers": 2, "bidirectional": True},
    "a projection": {"num_layers": 2, "proj_size": 5},
    "another form": {"form": fastlstm.Form(gate="hard_sigmoid", peepholes=True)},
    "without bias": {"bias": False},
    "batch_first": {"batch_first": True, "bidirectional": True},
}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
live_kinds = pytest.mark.parametrize("kind", [k for k in KINDS.values() if "bidirectional" not in k])


def layer(dtype: str = "float32", **options: Any) -> fastlstm.LSTM:
    """Return a layer that has the same weights for the same sizes."""
    return fastlstm.LSTM(I, H, dtype=dtype, seed=7, **options)


def embedding(dtype: str = "float32", rows: int = V) -> Array:
    """Draw what the tokens stand for."""
    return np.random.default_rng(rows).standard_normal((rows, I)).astype(dtype)


def tokens(*shape: int) -> Array:
    """Draw tokens."""
    return np.random.default_rng(len(shape)).integers(0, V, shape)


def assert_same(actual: Any, expected: Any) -> None:
    """Compare what two calls return, to the bit."""
    assert_same_bits(actual[0], expected[0], "output")
    for name, one, other in zip(("h_n", "c_n"), actual[1], expected[1], strict=True):
        assert_same_bits(one, other, name)


# ---- whole sequences -------------------------------------------------------------------------------------------------


@each_dtype
@each_kind
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (40, 1), (9, 3), (5, 33)])
def test_a_sequence_has_the_bits_of_the_lookup(dtype: str, kind: dict[str, Any], shape: tuple[int, int]) -> None:
    lstm, rows = layer(dtype, **kind), embedding(dtype)
    table, ids = lstm.table(rows), tokens(*shape)
    assert_same(lstm(ids, table=table), lstm(rows[ids]))
    state = tuple(np.random.default_rng(1).standard_normal(s.shape).astype(dtype) for s in lstm(rows[ids])[1])
    assert_same(lstm(ids, state, table=table), lstm(rows[ids], state))
    B = shape[0 if lstm.batch_first else 1]
    lengths = np.random.default_rng(2).integers(0, ids.size // B + 1, B)
    assert_same(lstm(ids, state, lengths=lengths, table=table), lstm(rows[ids], state, lengths=lengths))


@each_isa
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("B", [1, 6, 40])
def test_instruction_set_and_threads_change_no_bit(isa: str, threads: int, B: int) -> None:
    rows, ids = embedding(), tokens(30, B)
    options: dict[str, Any] = {"num_layers": 2, "seed": 3}
    expected = fastlstm.LSTM(I, 150, **options)(rows[ids])
    lstm = fastlstm.LSTM(I, 150, isa=isa, threads=threads, **options)
    assert_same(lstm(ids, table=lstm.table(rows)), expected)


@pytest.mark.parametrize("batch_first", [False, True])
def test_resets_and_out(batch_first: bool) -> None:
    lstm, rows = layer(num_layers=2, batch_first=batch_first), embedding()
    table, ids = lstm.table(rows), tokens(8, 5)
    resets = np.random.default_rng(0).random(ids.shape) < 0.3
    expected = lstm(rows[ids], resets=resets)
    out = Guarded((8, 5, H), np.float32)
    made = lstm(ids, resets=resets, table=table, out=out.array)
    assert made[0] is out.array
    assert_same(made, expected)
    out.check()
    assert_same(lstm(ids, resets=resets, table=table, out=np.empty((8, H, 5), np.float32).swapaxes(1, 2)), expected)


def test_unbatched_and_empty() -> None:
    lstm, rows = layer(), embedding()
    table = lstm.table(rows)
    assert_same(lstm([3, 1, 22], table=table), lstm(rows[[3, 1, 22]]))
    assert_same(lstm([3, 1, 22], lengths=2, table=table), lstm(rows[[3, 1, 22]], lengths=2))
    for shape in ((0, 3), (4, 0), (0,), (0, 0)):
        assert_same(lstm(np.empty(shape, int), table=table), lstm(np.empty((*shape, I), np.float32)))
    assert_same(lstm([], table=table), lstm(np.empty((0, I), np.float32)))


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", ">i4"])
def test_integers_of_any_width(kind: str) -> None:
    lstm, rows = layer(), embedding()
    table, ids = lstm.table(rows), tokens(6, 4)
    expected = lstm(rows[ids])
    assert_same(lstm(ids.astype(kind), table=table), expected)
    assert_same(lstm(np.repeat(ids.astype(kind), 2, axis=0)[::2], table=table), expected)
    assert_same(lstm(ids.astype(kind)[::-1][::-1], table=table), expected)
    assert_same(lstm(ids.tolist(), table=table), expected)


@each_layout
def test_any_layout_of_the_embedding(layout: Callable[[Array], Array]) -> None:
    lstm, rows, ids = layer(), embedding(), tokens(6, 4)
    assert_same(lstm(ids, table=lstm.table(layout(rows))), lstm(rows[ids]))


def test_one_hot_vectors() -> None:
    lstm, ids = layer(), np.array([3, 0, 6, 6])
    one_hot = np.eye(I, dtype=np.float32)
    assert_same(lstm(ids, table=lstm.table(one_hot)), lstm(one_hot[ids]))


def test_special_values_stay_in_their_rows() -> None:
    lstm, rows, ids = layer(num_layers=2), embedding(), tokens(6, 4)
    rows[:3] = np.array([np.nan, np.inf, -1e30], np.float32)[:, None]
    assert_same(lstm(ids, table=lstm.table(rows)), lstm(rows[ids]))


def test_past_a_rows_length_nothing_is_looked_at() -> None:
    lstm, rows = layer(), embedding()
    ids = np.array([[1, 2], [3, -100], [V, -100]])
    expected = lstm(rows[np.clip(ids, 0, V - 1)], lengths=[2, 1])
    assert_same(lstm(ids, lengths=[2, 1], table=lstm.table(rows)), expected)
    ids = np.array([[1, 2], [3, 2**70], [V, -(2**70)]])  # too large for any integer type
    assert_same(lstm(ids, lengths=[2, 1], table=lstm.table(rows)), expected)


def test_many_tokens_and_many_threads() -> None:
    lstm, rows = layer(bidirectional=True, threads=3), embedding(rows=1000)
    ids = np.arange(1000).reshape(20, 50)
    table = lstm.table(rows)
    expected, found = lstm(rows[ids]), list[Any]()
    runs = [threading.Thread(target=lambda: found.append(lstm(ids, table=table))) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    for one in found:
        assert_same(one, expected)
    assert len(found) == 4


# ---- step by step ----------------------------------------------------------------------------------------------------


@each_dtype
@live_kinds
@pytest.mark.parametrize("B", [1, 3, 20])
def test_streams(dtype: str, kind: dict[str, Any], B: int) -> None:
    lstm, rows = layer(dtype, **kind), embedding(dtype)
    stream, other, out = (
        lstm.stream(B, table=lstm.table(rows)),
        lstm.stream(B),
        np.empty((B, lstm(rows)[0].shape[1]), dtype),
    )
    forms: list[Callable[[Array], Any]] = [
        lambda ids: ids,
        lambda ids: ids.tolist(),
        lambda ids: ids.astype(np.int32),
        strided,
    ]
    for t, ids in enumerate(tokens(12, B)):
        assert_same_bits(stream.step(forms[t % 4](ids)), other.step(rows[ids]), f"step {t}")
    ids = tokens(B)
    assert stream.step(ids, out=out) is out
    assert_same_bits(out, other.step(rows[ids]))
    ids = tokens(5, B)
    assert_same_bits(stream.feed(ids), other.feed(rows[ids]))
    assert stream.feed(ids[:0]).shape == other.feed(rows[ids[:0]]).shape
    for one, two in zip(stream.state, other.state, strict=True):
        assert_same_bits(one, two)


def test_a_stream_of_one_takes_an_integer() -> None:
    lstm, rows = layer(num_layers=2), embedding()
    stream, other = lstm.stream(table=lstm.table(rows)), lstm.stream()
    integers: list[Any] = [3, np.int64(4), np.uint8(5), np.array(6), np.int16(0), V - 1]
    for token in integers:
        made = stream.step(token)
        assert made.shape == (H,)
        assert_same_bits(made, other.step(rows[int(token)]))
    out = np.empty(H, np.float32)
    assert stream.step(9, out) is out
    assert_same_bits(out, other.step(rows[9]))
    assert_same_bits(stream.step(9, np.empty(2 * H, np.float32)[::2]), other.step(rows[9]))
    assert_same_bits(stream.feed([1, 2, 3]), other.feed(rows[[1, 2, 3]]))
    stream.reset()
    other.restore(stream.save())  # a state is a state
    assert_same_bits(stream.step(2), other.step(rows[2]))


@pytest.mark.parametrize("threads", [1, 3])
@live_kinds
def test_pools(kind: dict[str, Any], threads: int) -> None:
    lstm, rows, rng = layer(threads=threads, **kind), embedding(), np.random.default_rng(0)
    pool, other = lstm.pool(2, table=lstm.table(rows)), lstm.pool(40)
    pool.grow(40)
    names = [(pool.open(), other.open()) for _ in range(40)]
    for n in (40, 1, 17, 2, 33):
        mine, theirs = np.array(rng.permutation(names)[:n]).T.astype(np.int64)
        ids = tokens(n)
        expected = other.step(theirs, rows[ids])
        given: Any = ids.tolist() if n == 2 else ids
        assert_same_bits(pool.step(mine, given), expected)
    out = np.empty((2, expected.shape[1]), np.float32)
    assert pool.step([names[0][0], names[1][0]], [4, 5], out=out) is out
    assert_same_bits(out, other.step([names[0][1], names[1][1]], rows[[4, 5]]))


@pytest.mark.parametrize("threads", [1, 2])
def test_windows(threads: int) -> None:
    lstm, rows = layer(num_layers=2, threads=threads), embedding()
    window, other = lstm.window(6, table=lstm.table(rows)), lstm.window(6)
    integers: list[Any] = [3, np.int64(4), np.array(6), *map(int, tokens(12))]
    for t, token in enumerate(integers):
        assert_same_bits(window.push(token), other.push(rows[int(token)]))
        if t % 3:
            window.advance()
    out = np.empty(H, np.float32)
    assert window.push(1, out) is out
    assert_same_bits(out, other.push(rows[1]))


@live_kinds
@pytest.mark.parametrize("B", [1, 3])
def test_advancing_changes_no_bit(kind: dict[str, Any], B: int) -> None:
    lstm, rows, rng = layer(**kind), embedding(), np.random.default_rng(0)
    table = lstm.table(rows)
    stream, other = lstm.stream(B, table=table), lstm.stream(B)
    pool, others = lstm.pool(B, table=table), lstm.pool(B)
    ids = [(pool.open(), others.open()) for _ in range(B)]
    mine, theirs = (np.array(some) for some in zip(*ids, strict=True))
    window, windows = lstm.window(4, table=table), lstm.window(4)
    for t, step in enumerate(tokens(25, B)):
        if rng.random() < 0.6:
            stream.advance()
            window.advance()
            pool.advance(mine[: rng.integers(1, B + 1)])
        if t == 12:
            stream.feed(step[None])
            other.feed(rows[step][None])
        assert_same_bits(stream.step(step), other.step(rows[step]), f"stream, step {t}")
        assert_same_bits(pool.step(mine, step), others.step(theirs, rows[step]), f"pool, step {t}")
        assert_same_bits(window.push(int(step[0])), windows.push(rows[step[0]]), f"window, input {t}")
    stream.advance()
    with pytest.raises(ValueError, match="tokens of a table"):
        stream.step(np.full(B, V))
    assert_same_bits(stream.step(step), other.step(rows[step]), "after an error")


# ---- what a table belongs to -----------------------------------------------------------------------------------------


def test_a_table_is_of_one_layers_present_weights() -> None:
    lstm, twin, rows = layer(), layer(), embedding()
    table = lstm.table(rows)
    stream, pool, window = lstm.stream(table=table), lstm.pool(1, table=table), lstm.window(2, table=table)
    expected, id = lstm(rows[[1, 2]])[0], pool.open()
    doors: list[Callable[[fastlstm.LSTM], Any]] = [
        lambda layer: layer([1], table=table),
        lambda layer: layer.stream(table=table),
        lambda layer: layer.pool(3, table=table),
        lambda layer: layer.window(3, table=table),
    ]
    for door in doors:
        with pytest.raises(ValueError, match=r"of another layer: make one of these weights, .*lstm.table\(embedding\)"):
            door(twin)  # though its weights are equal
    assert table.current
    lstm.load_state_dict(layer(bias=True).state_dict())
    assert not table.current
    for door in doors:
        with pytest.raises(ValueError, match="of weights that its layer has no longer: make one of these"):
            door(lstm)
    # what was opened before goes on with what it was made with
    assert_same_bits(np.stack([stream.step(1), stream.step(2)]), expected)
    assert_same_bits(np.concatenate([pool.step([id], [1]), pool.step([id], [2])]), expected)
    assert_same_bits(np.stack([window.push(1), window.push(2)]), expected)
    assert_same(lstm([1, 2], table=lstm.table(rows)), lstm(rows[[1, 2]]))


def test_a_table_outlives_its_layer_and_its_embedding() -> None:
    rows = embedding()
    lstm = layer()
    expected = lstm(rows[[1, 2, 3]])[0]
    stream = lstm.stream(table=lstm.table(rows))
    rows[:] = 0
    del lstm
    assert_same_bits(np.stack([stream.step(k) for k in (1, 2, 3)]), expected)


@each_dtype
@pytest.mark.parametrize("bidirectional", [False, True])
def test_its_size_is_told_before(dtype: str, bidirectional: bool) -> None:
    lstm = layer(dtype, bidirectional=bidirectional)
    table = lstm.table(embedding(dtype))
    numbers = (1 + bidirectional) * V * 4 * 24  # H in panels of 8
    assert table.nbytes == lstm.table_nbytes(V)
    assert numbers * table.dtype.itemsize <= table.nbytes <= numbers * table.dtype.itemsize + 256
    assert (len(table), table.size) == (V, V)
    assert repr(table) == f"Table({V} tokens, {table.nbytes} bytes)"


def test_more_than_there_is_memory() -> None:
    lstm = fastlstm.LSTM(1, 2**12)
    many = np.broadcast_to(np.zeros(1, np.float32), (2**42, 1))
    wanted = lstm.table_nbytes(2**42)
    with pytest.raises(MemoryError, match=f"a table of {2**42} tokens takes {wanted} bytes"):
        lstm.table(many)
    with pytest.raises(OverflowError, match="too large"):
        lstm.table_nbytes(2**60)
    with pytest.raises(ValueError, match="tokens must be greater than zero"):
        lstm.table_nbytes(0)


def test_copies_are_refused() -> None:
    table = layer().table(embedding())
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="make it again"):
            way(table)
    with pytest.raises(RuntimeError, match="made already"):
        table.__init__(*[None] * 4)  # type: ignore[misc]


# ---- errors ----------------------------------------------------------------------------------------------------------


WRONG: list[tuple[Any, type[Exception], str]] = [
    (V, ValueError, rf"in 0..{V - 1}, tokens of a table of {V}, got {V}"),
    (-1, ValueError, "got -1"),
    (2**70, ValueError, f"got {2**70}"),
    (np.uint64(2**63), ValueError, f"got {2**63}"),
    (np.int8(-128), ValueError, "got -128"),
    (1.0, TypeError, r"integers, tokens of the table, got dtype: float64. Convert it \(\w+.astype\('int64'\)\)"),
    (True, TypeError, "got dtype: bool"),
    ("a", TypeError, "should be integers"),
    (np.timedelta64(30), TypeError, "got dtype: timedelta64"),  # to NumPy an integer, but one without an index
    (np.timedelta64(3, "s"), TypeError, "got dtype: timedelta64"),
    (None, TypeError, "got: None"),
]


@pytest.mark.parametrize(("token", "error", "says"), WRONG, ids=[str(token) for token, *_ in WRONG])
def test_what_is_no_token(token: Any, error: type[Exception], says: str) -> None:
    lstm = layer()
    table = lstm.table(embedding())
    stream, window, pool = lstm.stream(table=table), lstm.window(2, table=table), lstm.pool(1, table=table)
    pair, id = lstm.stream(2, table=table), pool.open()
    before = stream.state
    doors: list[Callable[[], Any]] = [
        lambda: lstm([token], table=table),
        lambda: lstm([[token, token]], table=table),
        lambda: stream.step(token),
        lambda: stream.step([token]),
        lambda: stream.feed([token]),
        lambda: pair.step([token, token]),
        lambda: window.push(token),
        lambda: pool.step([id], [token]),
    ]
    for door in doors:
        with pytest.raises(error, match=says if token is not None else None):
            door()
    assert_same_bits(stream.state[0], before[0])
    assert window.count == 0
    assert_same_bits(pool.state(id)[1], np.zeros((1, H), np.float32))


def test_the_first_wrong_token_is_named() -> None:
    lstm = layer(batch_first=True)
    table, ids = lstm.table(embedding()), tokens(4, 6)
    ids[2, 5] = -7
    with pytest.raises(ValueError, match=r"got -7 at input\[2, 5\]"):
        lstm(ids, table=table)
    with pytest.raises(ValueError, match=r"got -7 at input\[2, 5\]"):
        lstm(ids, lengths=[0, 0, 6, 0], table=table)
    lstm(ids, lengths=[6, 6, 5, 6], table=table)


def test_wrong_shapes() -> None:
    lstm, rows = layer(), embedding()
    table = lstm.table(rows)
    stream, pair, window, pool = (
        lstm.stream(table=table),
        lstm.stream(2, table=table),
        lstm.window(2, table=table),
        lstm.pool(2, table=table),
    )
    ids = [pool.open(), pool.open()]
    doors: list[tuple[Callable[[], Any], str]] = [
        (lambda: lstm([[[1]]], table=table), "1D or 2D"),
        (lambda: lstm(3, table=table), "1D or 2D"),  # type: ignore[arg-type]
        (lambda: stream.step([1, 2]), r"one integer, or of size \(1,\)"),
        (lambda: pair.step(1), r"of size \(2,\)"),
        (lambda: pair.step([[1, 2]]), r"of size \(2,\)"),
        (lambda: stream.feed(3), r"\(T,\), or \(T, 1\)"),
        (lambda: stream.feed([[1, 2]]), r"\(T,\), or \(T, 1\)"),
        (lambda: pair.feed([1, 2]), r"\(T, 2\)"),
        (lambda: window.push([1]), "one integer"),
        (lambda: pool.step(ids, [1]), r"\(2,\)"),
        (lambda: pool.step(ids, [[1], [2]]), r"\(2,\)"),
        (lambda: lstm.table(rows[0]), r"embedding size \(V, 7\)"),
        (lambda: lstm.table(rows[:, 1:]), r"embedding size \(V, 7\)"),
        (lambda: lstm.table(rows[:0]), "V > 0"),
        (lambda: stream.step(1, np.empty(H + 1, np.float32)), "out"),
        (lambda: pool.step(ids, [1, 2], np.empty((1, H), np.float32)), "out"),
        (lambda: window.push(1, np.empty((1, H), np.float32)), "out"),
    ]
    for door, says in doors:
        with pytest.raises(ValueError, match=says):
            door()
    with pytest.raises(TypeError, match="out should have dtype float32"):
        stream.step(1, np.empty(H))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="embedding should have dtype float32"):
        lstm.table(rows.astype(float))


def test_numbers_are_no_tokens_and_tokens_no_numbers() -> None:
    lstm, rows = layer(), embedding()
    table = lstm.table(rows)
    with pytest.raises(TypeError, match="integers, tokens of the table"):
        lstm(rows, table=table)
    with pytest.raises(TypeError, match="integers, tokens of the table"):
        lstm.stream(table=table).step(rows[0])
    with pytest.raises(TypeError, match="dtype float32"):
        lstm(np.array([[1, 2]]))
    with pytest.raises(TypeError, match=r"table should be a Table, which LSTM.table makes, got: ndarray"):
        lstm([1], table=rows)  # type: ignore[arg-type]


def test_training_takes_no_table() -> None:
    lstm = layer()
    table: Any = lstm.table(embedding())
    for options in ({}, {"train": False}):
        with pytest.raises(ValueError, match="forward takes no table, which is for inference: look up"):
            lstm.forward([[1]], table=table, **options)  # type: ignore[call-overload]
