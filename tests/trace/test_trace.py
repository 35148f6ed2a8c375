"""LSTM.trace: the numbers of a plain walk, the bits of the pass, whatever is kept and however it is cut."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import LAYERS, Case, Data, assert_close, make_data
from tests.forms.support import FORM_CASES, FORMS, each_form, formed, tolerance
from tests.support import assert_same_bits, by_name, each_dtype, each_isa, floating_point, lstm_of, results
from tests.trace.support import BEFORE, NAMES, arrays, expected, traced

REDUCED = ("float16", "bfloat16", "int8", "int8-fast")
FEW = tuple(case for case in LAYERS if case.name in ("everything", "resets-ragged-batch-first", "many-steps"))
LONG = Case("trace-long", T=700, B=2, I=5, H=64, num_layers=2, ragged=True)


@by_name(LAYERS)
@each_dtype
def test_a_trace_is_a_plain_walk(dtype: str, case: Case) -> None:
    data = make_data(case, dtype)
    trace, wanted = traced(lstm_of(case, data), data), expected(case, data)
    for name in (*NAMES, *BEFORE):
        array = getattr(trace, name)
        assert array.dtype == dtype
        assert not array.flags.writeable
        assert_close(array, wanted[name], "forward")


@each_form
def test_a_trace_of_another_form_is_a_plain_walk(form: str) -> None:
    for plain in FORM_CASES:
        case = formed(plain, form)
        data = make_data(case, "float32")
        trace, wanted = traced(lstm_of(case, data), data), expected(case, data)
        for name in (*NAMES, *BEFORE):
            assert_close(getattr(trace, name), wanted[name], tolerance(form))


@by_name(LAYERS)
@each_isa
def test_results_have_the_bits_of_a_call(isa: str, case: Case) -> None:
    data = make_data(case, "float32")
    lstm = lstm_of(case, data, isa=isa)
    trace = traced(lstm, data)
    assert_same_bits((trace.output, trace.h_n, trace.c_n), results(lstm, data))


@each_isa
@each_form
def test_gates_make_the_cell_in_every_form(form: str, isa: str) -> None:
    """With the rounding that docs/forms.md states: the gates are those that the pass computed with."""
    for plain in FORM_CASES:
        case = formed(plain, form)
        data = make_data(case, "float64")
        lstm = lstm_of(case, data.astype("float32"), isa=isa)
        trace = traced(lstm, data.astype("float32"))
        assert_same_bits((trace.output, trace.h_n, trace.c_n), results(lstm, data.astype("float32")))
        made = FORMS[form]
        exact = trace.f.astype(np.float64) * trace.c_prev.astype(np.float64)  # of float32: without an error
        c = (exact + (trace.i + trace.g if made.summed else trace.i * trace.g)).astype(np.float32)
        if made.clip_at == "state":
            c = np.clip(c, -np.float32(made.clip), np.float32(made.clip))
        # rounded twice, to float64 and to float32: once in 2^29 that is not fma
        assert_same_bits(c, trace.c, f"{form} on {isa}")
        if not case.P:
            h = trace.o * trace.tanh_c
            assert_same_bits(h, trace.h, f"{form} on {isa}")


@each_isa
def test_instruction_sets_agree(isa: str) -> None:
    for case in FEW:
        data = make_data(case, "float32")
        assert_same_bits(arrays(traced(lstm_of(case, data, isa=isa), data)), arrays(traced(lstm_of(case, data), data)))


def test_the_standard_cell_s_gates_are_its_activations() -> None:
    """Of a layer without recurrence z = x + b, so that what gates_forward makes of it is known to the bit."""
    rng = np.random.default_rng(0)
    H = 21
    x, c_0 = rng.standard_normal((2, 9, 4 * H)).astype(np.float32), None
    lstm = fastlstm.LSTM(4 * H, H, bias=False)
    lstm.load_state_dict(
        {"weight_ih_l0": np.eye(4 * H, dtype=np.float32), "weight_hh_l0": np.zeros((4 * H, H), np.float32)}
    )
    trace = lstm.trace(x, c_0)
    c = np.zeros((9, H), np.float32)
    for t in range(2):
        gates = np.empty_like(x[t])
        h, c = fastlstm.gates_forward(x[t], c, gates=gates)
        assert_same_bits(np.concatenate(arrays(trace, *"ifgo"), axis=-1)[0, 0, t], gates)
        assert_same_bits((trace.c[0, 0, t], trace.h[0, 0, t]), (c, h))
        assert_same_bits(trace.tanh_c[0, 0, t], fastlstm.tanh(c))


@pytest.mark.parametrize("weights", REDUCED)
@by_name(FEW)
def test_reduced_weights(case: Case, weights: str) -> None:
    data = make_data(case, "float32")
    lstm = lstm_of(case, data).astype(weights=weights)
    trace = traced(lstm, data)
    assert_same_bits((trace.output, trace.h_n, trace.c_n), results(lstm, data))
    wide = lstm.astype(weights="float32")
    if weights in ("float16", "bfloat16"):
        assert_same_bits(arrays(trace), arrays(traced(wide, data)))
        assert_same_bits(tuple(trace.contributions()["o"]), tuple(traced(wide, data).contributions()["o"]))
    else:  # inputs and states are rounded, too: near, and not the same
        assert not np.array_equal(trace.f, traced(wide, data).f)
    c = trace.f.astype(np.float64) * trace.c_prev + trace.i.astype(np.float64) * trace.g
    np.testing.assert_allclose(trace.c, c, rtol=1e-6, atol=1e-7)
    if not case.P:
        np.testing.assert_allclose(trace.h, trace.o.astype(np.float64) * trace.tanh_c, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("every", [2, 3, 7, 1000])
@by_name(FEW)
def test_some_steps_and_units(case: Case, every: int) -> None:
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    whole = traced(lstm, data)
    units = np.random.default_rng(0).permutation(case.H)[:3]
    some = traced(lstm, data, every=every, units=units)
    assert_same_bits((some.output, some.h_n, some.c_n), results(lstm, data))
    assert some.steps.tolist() == list(range(0, case.T, every))
    assert some.units.tolist() == units.tolist()
    for name in (*NAMES, *BEFORE):
        kept = getattr(whole, name)[:, :, ::every]
        if not (case.P and name in ("h", "h_prev")):
            kept = kept[..., units]
        assert_same_bits(getattr(some, name), kept, name)
    assert_same_bits(
        arrays(traced(lstm, data, units=units)),
        tuple(a[..., units] for a in arrays(whole)) if not case.P else arrays(traced(lstm, data, units=units)),
    )


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_change_no_bit(threads: int) -> None:
    for case in (LONG, Case("trace-wide", T=30, B=17, I=9, H=70, P=9, bidirectional=True, num_layers=3, ragged=True)):
        data = make_data(case, "float32")
        fastlstm._core.use_all_threads(True)
        try:
            got = traced(lstm_of(case, data, threads=threads), data)
        finally:
            fastlstm._core.use_all_threads(False)
        assert_same_bits(arrays(got), arrays(traced(lstm_of(case, data), data)))
        assert_same_bits((got.output, got.h_n, got.c_n), results(lstm_of(case, data), data))


def test_pieces_from_state_to_state_are_the_whole() -> None:
    case = Case("trace-pieces", T=23, B=3, I=5, H=9, num_layers=2, resets=True)
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    whole, state, start = traced(lstm, data), data.hx, 0
    for n in (1, 7, 2, 13):
        part = slice(start, start + n)
        piece = lstm.trace(data.input[part], state, resets=data.resets[part])
        assert_same_bits(arrays(piece), tuple(array[:, :, part] for array in arrays(whole)))
        state, start = (piece.h_n, piece.c_n), start + n
    assert start == case.T


@pytest.mark.parametrize("mode", ["flush", "up"])
def test_the_caller_s_environment_does_not_matter(mode: str) -> None:
    case = FEW[0]
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    wanted = arrays(traced(lstm, data))
    with floating_point(mode):
        got = arrays(traced(lstm, data))
    assert_same_bits(got, wanted)


def test_a_table_s_tokens() -> None:
    lstm = fastlstm.LSTM(6, 9, num_layers=2, seed=0)
    embedding = np.random.default_rng(0).standard_normal((11, 6)).astype(np.float32)
    tokens = np.random.default_rng(1).integers(0, 11, (40, 3))
    table = lstm.table(embedding)
    for options in ({}, {"every": 3, "units": [8, 2]}, {"lengths": [40, 0, 9]}):
        got = lstm.trace(tokens, table=table, **options)
        wanted = lstm.trace(embedding[tokens], **options)
        assert_same_bits(arrays(got), arrays(wanted))
        assert_same_bits((got.output, got.h_n, got.c_n), (wanted.output, wanted.h_n, wanted.c_n))
    bidirectional = fastlstm.LSTM(6, 9, bidirectional=True, threads=2, seed=0)
    own = bidirectional.table(embedding)
    got, wanted = bidirectional.trace(tokens, table=own), bidirectional.trace(embedding[tokens])
    assert_same_bits(arrays(got), arrays(wanted))


def test_unbatched_and_lists() -> None:
    lstm = fastlstm.LSTM(2, 3, seed=0, dtype="float64")
    trace = lstm.trace([[1.0, 2.0], [3.0, 4.0]])
    output, (h_n, c_n) = lstm([[1.0, 2.0], [3.0, 4.0]])
    assert_same_bits((trace.output, trace.h_n, trace.c_n), (output, h_n, c_n))
    assert trace.i.shape == (1, 1, 2, 1, 3)
    assert_same_bits(trace.h[0, 0, :, 0], output)


# ---- sizes


@pytest.mark.parametrize("every", [1, 4])
@by_name(FEW)
def test_the_estimate_is_what_it_takes(case: Case, every: int) -> None:
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    for units in (None, [1, 0]):
        trace = traced(lstm, data, every=every, units=units)
        assert trace.nbytes == lstm.trace_nbytes(case.T, case.B, every=every, units=units)


def test_what_is_too_large_is_refused_before_it_runs() -> None:
    lstm = fastlstm.LSTM(4, 64)
    x = np.zeros((100, 1, 4), np.float32)
    needed = lstm.trace_nbytes(100)
    assert lstm.trace(x, max_bytes=needed).nbytes == needed
    with pytest.raises(
        MemoryError, match=rf"the trace takes {needed} bytes \(.* GiB\), more than max_bytes={needed - 1}.*every"
    ):
        lstm.trace(x, max_bytes=needed - 1)
    long = np.broadcast_to(np.zeros((1, 1, 4), np.float32), (10**8, 1, 4))
    with pytest.raises(MemoryError, match="more than max_bytes=4294967296"):
        lstm.trace(long)


def test_a_million_steps_take_little_memory() -> None:
    lstm = fastlstm.LSTM(1, 8, seed=0)
    x = np.broadcast_to(np.float32(1), (10**6, 1))
    assert lstm.trace_nbytes(10**6, every=1000, units=[0]) < 33e6  # 32 are the output
    trace = lstm.trace(x, every=1000, units=[0])
    assert trace.c.shape == (1, 1, 1000, 1, 1)
    assert_same_bits(trace.h[0, 0, :, 0], trace.output[::1000, :1])


# ---- objects


def test_nothing_done_to_the_arguments_later_counts() -> None:
    case = Case("trace-own", T=9, B=3, I=5, H=9, resets=True)
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    trace, kept = traced(lstm, data), traced(lstm, data)
    wanted = arrays(kept), kept.contributions()["i"]
    for array in (data.input, *data.hx):
        array[...] = np.nan
    data.resets[...] = True
    lstm.load_state_dict({name: 0 * array for name, array in lstm.state_dict().items()})
    assert_same_bits(arrays(trace), wanted[0])
    assert_same_bits(tuple(trace.contributions()["i"]), tuple(wanted[1]))


@pytest.mark.parametrize("copied", [lambda trace: pickle.loads(pickle.dumps(trace)), copy.deepcopy, copy.copy])
def test_a_trace_can_be_copied(copied: Callable[[fastlstm.GateTrace], fastlstm.GateTrace]) -> None:
    lstm = fastlstm.LSTM(4, 3, seed=0)
    trace = lstm.trace(np.ones((5, 4), np.float32))
    again = copied(trace)
    assert_same_bits(arrays(again), arrays(trace))
    assert_same_bits(again.half_life(), trace.half_life())
    assert not any(array.flags.writeable for array in (*arrays(again), again.c_prev, again.steps, again.lengths))
    assert again.output.flags.writeable


X = np.zeros((5, 2, 4), np.float32)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 0}, ValueError, "every"),
        ({"every": 1.5}, TypeError, "every"),
        ({"units": [0, 3]}, ValueError, r"units should be in 0\.\.2, got: 3"),
        ({"units": [-1]}, ValueError, r"units should be in 0\.\.2, got: -1"),
        ({"units": []}, ValueError, "units should name at least one unit"),
        ({"units": [0.5]}, TypeError, "units should be integers"),
        ({"units": [[0]]}, TypeError, "units should be integers"),
        ({"units": [True, False, True]}, TypeError, "units should be integers"),
        ({"max_bytes": 0}, ValueError, "max_bytes"),
        ({"lengths": [1]}, ValueError, "lengths"),
        ({"resets": np.zeros((5, 2))}, TypeError, "resets"),
        ({"table": 3}, TypeError, "table should be a Table"),
        ({"hx": (X, X, X)}, TypeError, "hx"),
        ({"input": X[..., :3]}, ValueError, "input_size"),
        ({"input": X.astype(float)}, TypeError, "float64"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    lstm = fastlstm.LSTM(4, 3)
    with pytest.raises(error, match=message):
        lstm.trace(**{"input": X} | options)


# ---- doors


def as_steps(data: Data, case: Case) -> tuple[Any, Any]:
    return data.input, data.hx


@pytest.mark.parametrize("P", [0, 4])
def test_a_stream_traces_while_it_serves(P: int) -> None:
    case = Case(f"trace-stream-{P}", T=12, B=3, I=5, H=9, P=P, num_layers=2)
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    whole = lstm.trace(data.input)
    stream = lstm.stream(3)
    for t in range(4):
        stream.step(data.input[t])
    stream.advance()
    part = stream.trace(data.input[4:9])
    assert_same_bits(arrays(part), tuple(array[:, :, 4:9] for array in arrays(whole)))
    assert_same_bits(part.output, whole.output[4:9])
    assert_same_bits(stream.state, (part.h_n, part.c_n))
    assert_same_bits(stream.feed(data.input[9:]), whole.output[9:])
    one = lstm.stream().trace(data.input[:, 0], every=5, units=[3])
    assert_same_bits(one.c, whole.c[:, :, ::5, :1, 3:4])
    assert one.output.shape == (12, case.R)


def test_a_stream_that_cannot_trace_stays_as_it_is() -> None:
    lstm = fastlstm.LSTM(4, 3, seed=0)
    stream = lstm.stream()
    stream.step(np.ones(4, np.float32))
    state = stream.state
    for options, error in (({"max_bytes": 1}, MemoryError), ({"every": 0}, ValueError), ({"units": [9]}, ValueError)):
        with pytest.raises(error):
            stream.trace(np.ones((2, 4), np.float32), **options)
    with pytest.raises(ValueError, match="Expected x"):
        stream.trace(np.ones((2, 3), np.float32))
    assert_same_bits(stream.state, state)
    assert stream.trace(np.ones((0, 4), np.float32)).output.shape == (0, 3)


def test_a_pool_traces_while_it_serves() -> None:
    case = Case("trace-pool", T=6, B=3, I=5, H=9, P=2, num_layers=2)
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    whole = lstm.trace(data.input)
    pool = lstm.pool(7)
    ids = [pool.open() for _ in range(5)][1:4]
    pool.step(ids, data.input[0])
    pool.advance(ids)
    order = [2, 0, 1]
    trace = pool.trace([ids[k] for k in order], data.input[1][order])
    assert_same_bits(arrays(trace), tuple(array[:, :, 1:2, order] for array in arrays(whole)))
    assert_same_bits(trace.output, whole.output[1][order])
    more = pool.trace(ids, data.input[2:5], every=2)
    assert_same_bits(arrays(more), tuple(array[:, :, 2:5:2] for array in arrays(whole)))
    assert_same_bits(pool.step(ids, data.input[5]), whole.output[5])
    state = pool.state(ids)
    for bad, error in ((([1, 99], X[0]), ValueError), (([ids[0]] * 2, data.input[0, :2]), RuntimeError)):
        with pytest.raises(error):
            pool.trace(*bad)
    with pytest.raises(MemoryError):
        pool.trace(ids, data.input[5], max_bytes=1)
    assert_same_bits(pool.state(ids), state)
    pool.step(ids, data.input[0])  # none is taken


def test_nobody_else_steps_meanwhile() -> None:
    lstm = fastlstm.LSTM(4, 3, seed=0)
    stream, pool = lstm.stream(), lstm.pool(3)
    ids = [pool.open(), pool.open()]
    refused = []

    def in_the_stream(h: Any, c: Any) -> Any:
        with pytest.raises(RuntimeError, match="another thread is inside this stream"):
            stream.step(X[0, 0])
        refused.append("stream")
        return h + 1, c

    def in_the_pool(h: Any, c: Any) -> Any:
        with pytest.raises(RuntimeError, match=f"session {ids[0]} is in a step of another thread"):
            pool.step(ids[:1], X[0, :1])
        with pytest.raises(RuntimeError, match="cannot grow"):
            pool.grow(9)
        pool.step(ids[1:], X[0, :1])
        refused.append("pool")
        return h + 1, c

    stream._run_through(in_the_stream)
    pool._run_through(np.array(ids[:1]), in_the_pool)
    assert refused == ["stream", "pool"]
    assert (stream.state[0] == 1).all()
    assert (pool.state(ids[0])[0] == 1).all()


def test_tokens_of_a_stream_and_a_pool() -> None:
    lstm = fastlstm.LSTM(6, 9, seed=0)
    embedding = np.random.default_rng(0).standard_normal((11, 6)).astype(np.float32)
    tokens = np.random.default_rng(1).integers(0, 11, 20)
    table, whole = lstm.table(embedding), lstm.trace(embedding[tokens])
    assert_same_bits(arrays(lstm.stream(table=table).trace(tokens)), arrays(whole))
    pool = lstm.pool(1, table=table)
    ids = [pool.open()]
    assert_same_bits(arrays(pool.trace(ids, tokens[:, np.newaxis])), arrays(whole))
    assert pool.trace(ids, tokens[:1]).output.shape == (1, 9)
    with pytest.raises(ValueError, match="tokens"):
        lstm.trace(tokens, table=table).contributions()


@each_dtype
def test_a_cell(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, h, c = (rng.standard_normal((3, n)).astype(dtype) for n in (5, 9, 9))
    cell = fastlstm.LSTMCell(5, 9, seed=0, dtype=dtype, form=fastlstm.Form(peepholes=True))
    trace = cell.trace(x, (h, c))
    assert_same_bits((trace.h_n, trace.c_n), cell(x, (h, c)))
    assert_same_bits((trace.output, trace.h[0, 0, 0], trace.c[0, 0, 0]), (trace.h_n, trace.h_n, trace.c_n))
    assert_same_bits((trace.h_prev[0, 0, 0], trace.c_prev[0, 0, 0]), (h, c))
    alone = cell.trace(x[0], (h[0], c[0]), units=[4])
    assert_same_bits((alone.h_n, alone.c_n), cell(x[0], (h[0], c[0])))
    assert_same_bits(alone.f[0, 0, 0, 0], trace.f[0, 0, 0, 0, 4:5])
    with pytest.raises(ValueError, match="inconsistent input_size"):
        cell.trace(x[:, :4])
    with pytest.raises(ValueError, match=r"hx\[1\]"):
        cell.trace(x, (h, c[:2]))
