"""Bad input: an exception that names the argument, what was expected and what came. No crash, no changed array."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastlstm
from fastlstm import reference
from tests.cases import Array, Case, assert_close, make_data
from tests.support import (
    LAYOUTS,
    Guarded,
    assert_same_bits,
    cell_of,
    expected_results,
    lstm_of,
    read_only,
    results,
    strided,
    unaligned,
)

F32 = np.float32
CASE = Case("bad-input", T=5, B=3, I=4, H=6, P=2, num_layers=2)


def zeros(*shape: int, dtype: Any = F32) -> Array:
    """Zeros of a shape."""
    return np.zeros(shape, dtype)


X, H0, C0 = zeros(5, 3, 4), zeros(2, 3, 2), zeros(2, 3, 6)


# Constructors


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0, 3), {}, ValueError, "input_size must be greater than zero.*0"),
        ((4, -1), {}, ValueError, "hidden_size must be greater than zero.*-1"),
        ((4, 3, 0), {}, ValueError, "num_layers must be greater than zero.*0"),
        ((4, 3.0), {}, TypeError, "hidden_size should be of type int, got: float"),
        (("4", 3), {}, TypeError, "input_size should be of type int, got: str"),
        ((4, True), {}, TypeError, "hidden_size should be of type int, got: bool"),
        ((4, float("nan")), {}, TypeError, "hidden_size should be of type int, got: float"),
        ((float("inf"), 3), {}, TypeError, "input_size should be of type int, got: float"),
        ((None, 3), {}, TypeError, "input_size should be of type int, got: NoneType"),
        ((4, 3), {"num_layers": 1.5}, TypeError, "num_layers should be of type int, got: float"),
        ((4, 3), {"bias": 1}, TypeError, "bias should be of type bool, got: int"),
        ((4, 3), {"batch_first": "yes"}, TypeError, "batch_first should be of type bool, got: str"),
        ((4, 3), {"bidirectional": None}, TypeError, "bidirectional should be of type bool, got: NoneType"),
        ((4, 3), {"proj_size": 3}, ValueError, "proj_size has to be smaller than hidden_size"),
        ((4, 3), {"proj_size": -1}, ValueError, "proj_size should be a positive integer or zero"),
        ((4, 3), {"proj_size": 1.0}, TypeError, "proj_size should be of type int, got: float"),
        ((4, 3, 2), {"dropout": 1.5}, ValueError, r"dropout should be a number in range \[0, 1\].*1.5"),
        ((4, 3, 2), {"dropout": -0.1}, ValueError, "dropout should be a number in range"),
        ((4, 3, 2), {"dropout": float("nan")}, ValueError, "dropout should be a number in range.*nan"),
        ((4, 3, 2), {"dropout": True}, ValueError, "dropout should be a number in range.*True"),
        ((4, 3, 2), {"dropout": "0.5"}, ValueError, "dropout should be a number in range"),
        ((4, 3), {"dtype": "float16"}, ValueError, "dtype should be 'float32' or 'float64', got: 'float16'"),
        ((4, 3), {"dtype": int}, ValueError, "dtype should be 'float32' or 'float64'"),
        ((4, 3), {"dtype": None}, ValueError, "dtype should be 'float32' or 'float64', got: None"),
        ((4, 3), {"dtype": "no such"}, ValueError, "dtype should be 'float32' or 'float64', got: 'no such'"),
        ((4, 3), {"dtype": ">f4"}, ValueError, "dtype should be 'float32' or 'float64'"),
        ((4, 3), {"threads": 0}, ValueError, "threads must be greater than zero.*0"),
        ((4, 3), {"threads": 1.0}, TypeError, "threads should be of type int, got: float"),
        ((4, 3), {"threads": 10**6}, ValueError, "threads should be at most 4096, got: 1000000"),
        ((4, 3), {"isa": "mmx"}, ValueError, "isa='mmx' is unknown or not supported by this CPU; supported: .*scalar"),
        ((4, 3), {"isa": 7}, TypeError, "isa should be the name of an instruction set, got: int"),
        ((4, 3), {"seed": "one"}, (TypeError, ValueError), "seed"),
        ((4, 3), {"seed": -1}, ValueError, "seed"),
        ((4, 3), {"seed": 1.5}, TypeError, "seed"),
    ],
)
def test_constructor_arguments_are_checked(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fastlstm.LSTM(*arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0, 3), {}, ValueError, "input_size must be greater than zero"),
        ((4, 3.5), {}, TypeError, "hidden_size should be of type int, got: float"),
        ((4, 3), {"bias": 0}, TypeError, "bias should be of type bool, got: int"),
        ((4, 3), {"dtype": "float16"}, ValueError, "dtype should be"),
        ((4, 3), {"isa": "mmx"}, ValueError, "isa='mmx'"),
    ],
)
def test_cell_constructor_arguments_are_checked(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fastlstm.LSTMCell(*arguments, **options)


@pytest.mark.parametrize("sizes", [(2**62, 2**62), (1, 2**40), (2**60, 1), (2**64, 1), (1, 2**31), (2**31, 2**31)])
@pytest.mark.parametrize("kind", [fastlstm.LSTM, fastlstm.LSTMCell])
def test_sizes_beyond_memory_are_refused(kind: Callable[..., Any], sizes: tuple[int, int]) -> None:
    with pytest.raises((ValueError, MemoryError, OverflowError)):
        kind(*sizes)


@pytest.mark.unsanitized
def test_too_many_layers_are_refused_before_memory_is_full() -> None:
    script = """
import resource
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
import fastlstm
try:
    fastlstm.LSTM(1, 1, num_layers=2**40)
except ValueError as error:
    assert "num_layers" in str(error) or "bytes of weights" in str(error), error
"""
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-500:]


# Calls


def refused_call(error: type[Exception], message: str, case: Case = CASE, **changes: Any) -> None:
    """Call an LSTM with some arguments changed: the error, its message, and that nothing else happened."""
    data = make_data(case, "float32")
    lstm = lstm_of(case, data)
    arguments: dict[str, Any] = {"input": data.input, "hx": data.hx} | changes
    kept = [array.copy() for array in arrays_in(arguments.values())]
    clean = results(lstm, data)
    with pytest.raises(error, match=message):
        lstm(**arguments)
    for array, before in zip(arrays_in(arguments.values()), kept, strict=True):
        assert array.tobytes() == before.tobytes(), "an argument was changed"
    assert_same_bits(results(lstm, data), clean)


def arrays_in(values: Any) -> Iterator[Array]:
    """All arrays in nested tuples and lists."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple | list):
            yield from arrays_in(value)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (zeros(4), ValueError, "LSTM: Expected input to be 2D or 3D, got 1D instead"),
        (zeros(1, 5, 3, 4), ValueError, "LSTM: Expected input to be 2D or 3D, got 4D instead"),
        (F32(1), ValueError, "input to be 2D or 3D, got 0D"),
        (zeros(5, 3, 7), ValueError, "input.*input_size. Expected 4, got 7"),
        (zeros(5, 3, 0), ValueError, "input.*input_size. Expected 4, got 0"),
        (zeros(5, 3, 4, dtype=float), TypeError, r"input should have dtype float32.*float64.*astype\('float32'\)"),
        (zeros(5, 3, 4, dtype=np.float16), TypeError, "input should have dtype float32.*float16"),
        (zeros(5, 3, 4, dtype=int), TypeError, "input should have dtype float32.*int64"),
        (zeros(5, 3, 4, dtype=complex), TypeError, "input should have dtype float32.*complex128"),
        (zeros(5, 3, 4, dtype=bool), TypeError, "input should have dtype float32.*bool"),
        (zeros(5, 3, 4, dtype=object), TypeError, "input should have dtype float32.*object"),
        (zeros(5, 3, 4, dtype=">f4"), TypeError, "input should have dtype float32.*>f4"),
        (np.ma.array(X), TypeError, "input is a masked array"),
        (None, TypeError, "input should be an array of float32, got: None"),
        ("text", TypeError, "input should have dtype float32"),
        ({"a": 1}, TypeError, "input should have dtype float32"),
        ([[[1.0], [2.0, 3.0]]], ValueError, "input could not be read as an array of float32"),
        ([["a", "b", "c", "d"]], (TypeError, ValueError), "input"),
        ([["1", "2", "3", "4"]], (TypeError, ValueError), "input"),  # text is not numbers
        ([[None, 1.0, 2.0, 3.0]], (TypeError, ValueError), "input"),  # a gap is not NaN
        ([[1j, 1.0, 2.0, 3.0]], (TypeError, ValueError), "input"),
        ([[10**400, 1.0, 2.0, 3.0]], (TypeError, ValueError, OverflowError), "input"),
        ([np.zeros(4), np.zeros(4)], TypeError, "input"),  # arrays have a dtype, inside a list too
        ([np.zeros(4, complex), np.zeros(4, complex)], TypeError, "input"),
    ],
)
def test_bad_input_is_named(x: Any, error: type[Exception], message: str) -> None:
    refused_call(error, message, input=x, hx=None)


@pytest.mark.parametrize(
    ("hx", "error", "message"),
    [
        ((H0,), TypeError, r"hx should be a pair \(h_0, c_0\), got: tuple of length 1"),
        ((H0, C0, C0), TypeError, r"hx should be a pair \(h_0, c_0\), got: tuple of length 3"),
        (H0, TypeError, r"hx should be a pair \(h_0, c_0\), got: ndarray"),
        (7, TypeError, "hx should be a pair"),
        ((None, C0), TypeError, r"hx\[0\] should be an array of float32, got: None"),
        ((H0, None), TypeError, r"hx\[1\] should be an array of float32, got: None"),
        ((zeros(2, 9, 2), C0), ValueError, r"hx\[0\] size \(2, 3, 2\).*got \(2, 9, 2\)"),
        ((zeros(2, 1, 2), C0), ValueError, r"hx\[0\] size \(2, 3, 2\).*got \(2, 1, 2\)"),
        ((H0, zeros(2, 3, 2)), ValueError, r"hx\[1\] size \(2, 3, 6\).*got \(2, 3, 2\)"),
        ((zeros(3, 2), zeros(3, 6)), ValueError, r"batched 3-D input, hx should also be 3-D but got \(2-D, 2-D\)"),
        ((H0, zeros(3, 6)), ValueError, r"hx should also be 3-D but got \(3-D, 2-D\)"),
        ((H0.astype(float), C0), TypeError, r"hx\[0\] should have dtype float32.*float64"),
        ((H0, C0.astype(float)), TypeError, r"hx\[1\] should have dtype float32.*float64"),
        ((H0, C0.astype(int)), TypeError, r"hx\[1\] should have dtype float32.*int64"),
        ((H0, np.ma.array(C0)), TypeError, r"hx\[1\] is a masked array"),
    ],
)
def test_bad_states_are_named(hx: Any, error: type[Exception], message: str) -> None:
    refused_call(error, message, hx=hx)


def test_batched_states_with_unbatched_input() -> None:
    refused_call(ValueError, r"unbatched 2-D input, hx should also be 2-D but got \(3-D, 3-D\)", input=zeros(5, 4))


@pytest.mark.parametrize(
    ("lengths", "error", "message"),
    [
        ([5, 5, 6], ValueError, r"lengths should be in 0\.\.5 .*got 6 at row 2"),
        ([5, -1, 5], ValueError, r"lengths should be in 0\.\.5 .*got -1 at row 1"),
        (np.array([2**63, 0, 0], np.uint64), ValueError, r"lengths should be in 0\.\.5"),
        ([2**70, 0, 0], (TypeError, ValueError, OverflowError), "lengths"),
        ([5, 5], ValueError, r"lengths size \(3,\).*got \(2,\)"),
        ([[5, 5, 5]], ValueError, r"lengths size \(3,\).*got \(1, 3\)"),
        (5, ValueError, r"lengths size \(3,\).*got \(\)"),
        ([1.0, 2.0, 3.0], TypeError, "lengths should be integers.*float64"),
        ([True, True, True], TypeError, "lengths should be integers.*bool"),
        (["1", "2", "3"], TypeError, "lengths should be integers"),
        ([None, 1, 2], TypeError, "lengths should be integers"),
        ([[1], [2, 3]], (TypeError, ValueError), "lengths"),
        ("all", TypeError, "lengths should be integers"),
        (np.ma.array([5, 5, 5], mask=[0, 0, 1]), TypeError, "lengths is a masked array"),
    ],
)
def test_bad_lengths_are_named(lengths: Any, error: type[Exception], message: str) -> None:
    refused_call(error, message, lengths=lengths)


@pytest.mark.parametrize(
    ("resets", "error", "message"),
    [
        (zeros(5, 3, dtype=np.uint8), TypeError, "resets should have dtype bool, got: uint8"),
        (zeros(3, 5, dtype=bool), ValueError, r"resets size \(5, 3\).*got \(3, 5\)"),
        (zeros(5, dtype=bool), ValueError, r"resets size \(5, 3\).*got \(5,\)"),
        (True, ValueError, r"resets size \(5, 3\).*got \(\)"),
        ([[True], [False, True]], (TypeError, ValueError), "resets"),
        ("no", TypeError, "resets should have dtype bool"),
    ],
)
def test_bad_resets_are_named(resets: Any, error: type[Exception], message: str) -> None:
    refused_call(error, message, resets=resets)


def test_resets_need_one_direction() -> None:
    case = Case("bad-resets", T=5, B=3, I=4, H=6, bidirectional=True)
    refused_call(ValueError, "resets need a unidirectional layer", case, resets=zeros(5, 3, dtype=bool))


@pytest.mark.parametrize(
    ("out", "error", "message"),
    [
        (zeros(5, 3, 3), ValueError, r"out size \(5, 3, 2\).*got \(5, 3, 3\)"),
        (zeros(3, 5, 2), ValueError, r"out size \(5, 3, 2\).*got \(3, 5, 2\)"),
        (zeros(5, 2), ValueError, r"out size \(5, 3, 2\).*got \(5, 2\)"),
        (zeros(5, 3, 2, dtype=float), TypeError, "out should have dtype float32.*float64"),
        (zeros(5, 3, 2, dtype=">f4"), TypeError, "out should have dtype float32.*>f4"),
        ([[[0.0] * 2] * 3] * 5, TypeError, "out should be a numpy.ndarray, got: list"),
        (np.ma.array(zeros(5, 3, 2)), TypeError, "out should be a numpy.ndarray, got: MaskedArray"),
        (read_only(zeros(5, 3, 2)), ValueError, "out is read-only"),
        (np.broadcast_to(F32(0), (5, 3, 2)), ValueError, "out"),
    ],
)
def test_bad_out_is_named(out: Any, error: type[Exception], message: str) -> None:
    refused_call(error, message, out=out)


def test_out_that_overlaps_itself_is_refused() -> None:
    out = np.lib.stride_tricks.as_strided(zeros(100), (5, 3, 2), (8, 4, 4))
    refused_call(ValueError, "out", out=out)


def test_out_that_overlaps_an_argument_is_refused() -> None:
    buffer = np.ones(5 * 3 * 4 + 5 * 3 * 6, F32)
    case = Case("bad-overlap", T=5, B=3, I=4, H=6)
    x = buffer[:60].reshape(5, 3, 4)
    refused_call(ValueError, "out overlaps input", case, input=x, hx=None, out=buffer[59:149].reshape(5, 3, 6))
    square = Case("bad-overlap", T=5, B=3, I=6, H=6)
    states = np.ones((2, 1, 3, 6), F32)
    for k in range(2):
        whole = np.ones((6, 3, 6), F32)
        hx = [states[0], states[1]]
        hx[k] = whole[5:]
        refused_call(ValueError, rf"out overlaps hx\[{k}\]", square, input=np.ones((5, 3, 6), F32), hx=tuple(hx),
                     out=whole[1:])  # fmt: skip
    same = np.ones((5, 3, 6), F32)
    refused_call(ValueError, "out overlaps input", square, input=same, hx=None, out=same)
    refused_call(ValueError, "out overlaps input", square, input=same, hx=None, out=same[::-1])


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(TypeError, match="length"):
        fastlstm.LSTM(4, 3)(zeros(5, 4), length=3)  # type: ignore[call-arg]


def test_calls_beyond_memory_are_refused() -> None:
    lstm = fastlstm.LSTM(1, 64)
    for shape in ((2**45, 1, 1), (1, 2**45, 1), (2**31, 2**31, 1)):
        with pytest.raises((ValueError, MemoryError, OverflowError)):
            lstm(np.broadcast_to(F32(0), shape))
    with pytest.raises((ValueError, MemoryError, OverflowError)):
        fastlstm.LSTMCell(1, 64)(np.broadcast_to(F32(0), (2**45, 1)))


# Cells


@pytest.mark.parametrize(
    ("x", "hx", "options", "error", "message"),
    [
        (zeros(1, 3, 4), None, {}, ValueError, "LSTMCell: Expected input to be 1D or 2D, got 3D instead"),
        (F32(0), None, {}, ValueError, "LSTMCell: Expected input to be 1D or 2D, got 0D instead"),
        (zeros(3, 7), None, {}, ValueError, "input has inconsistent input_size: got 7 expected 4"),
        (zeros(3, 4, dtype=float), None, {}, TypeError, "input should have dtype float32.*float64"),
        (zeros(3, 4, dtype=int), None, {}, TypeError, "input should have dtype float32.*int64"),
        (zeros(3, 4), (zeros(3, 6), zeros(3, 6, dtype=float)), {}, TypeError, r"hx\[1\] should have dtype float32"),
        (zeros(3, 4), (zeros(5, 6), zeros(5, 6)), {}, ValueError, r"hx\[0\] size \(3, 6\).*got \(5, 6\)"),
        (zeros(3, 4), (zeros(1, 6), zeros(1, 6)), {}, ValueError, r"hx\[0\] size \(3, 6\).*got \(1, 6\)"),
        (zeros(3, 4), (zeros(3, 6), zeros(3, 9)), {}, ValueError, r"hx\[1\] size \(3, 6\).*got \(3, 9\)"),
        (zeros(4), (zeros(1, 6), zeros(1, 6)), {}, ValueError, r"hx\[0\] size \(6,\).*got \(1, 6\)"),
        (zeros(3, 4), (zeros(3, 6),), {}, TypeError, r"hx should be a pair \(h, c\), got"),
        (zeros(3, 4), zeros(2, 3, 6), {}, TypeError, r"hx should be a pair \(h, c\), got: ndarray"),
        (zeros(3, 4), None, {"out": zeros(3, 6)}, TypeError, r"out should be a pair \(h', c'\), got: ndarray"),
        (zeros(3, 4), None, {"out": (zeros(3, 6), zeros(3, 5))}, ValueError, r"out size \(3, 6\).*got \(3, 5\)"),
        (zeros(3, 4), None, {"out": (zeros(3, 6), None)}, TypeError, "out should be a numpy.ndarray, got: NoneType"),
        (
            zeros(3, 4),
            None,
            {"out": (zeros(3, 6, dtype=float), zeros(3, 6))},
            TypeError,
            "out should have dtype float32",
        ),
        (zeros(3, 4), None, {"out": (read_only(zeros(3, 6)), zeros(3, 6))}, ValueError, "out is read-only"),
        (
            zeros(3, 4),
            None,
            {"out": (X[0, :, :1].repeat(6, 1), read_only(zeros(3, 6)))},
            ValueError,
            "out is read-only",
        ),
    ],
)
def test_a_cell_names_bad_arguments(
    x: Any, hx: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fastlstm.LSTMCell(4, 6)(x, hx, **options)


def test_a_cell_s_out_may_overlap_nothing_but_c() -> None:
    cell = fastlstm.LSTMCell(6, 6, seed=0)
    x, h, c, spare = (np.full((3, 6), value, F32) for value in (0.1, 0.2, 0.3, 0.4))
    for out, message in (
        ((x, spare), "overlaps input"),
        ((h, spare), r"overlaps hx\[0\]"),
        ((c, spare), r"overlaps hx\[1\]"),
        ((spare, x), "overlaps input"),
        ((spare, h), r"overlaps hx\[0\]"),
        ((spare, spare), r"out\[0\] overlaps out\[1\]"),
        ((h, c), r"overlaps hx\[0\]"),
        ((spare, c[::-1]), r"overlaps hx\[1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            cell(x, (h, c), out=out)
        for array, value in ((x, 0.1), (h, 0.2), (c, 0.3), (spare, 0.4)):
            assert (array == F32(value)).all(), message


# Streams


def test_a_stream_names_bad_arguments() -> None:
    data = make_data(CASE, "float32")
    lstm = lstm_of(CASE, data)
    stream = lstm.stream(3)
    stream.state = data.hx
    for value, error, message in (
        (zeros(4), ValueError, r"x to be 2D \[B, I\], got 1D"),
        (zeros(1, 3, 4), ValueError, r"x to be 2D \[B, I\], got 3D"),
        (zeros(2, 4), ValueError, r"x size \(3, 4\).*got \(2, 4\)"),
        (zeros(3, 5), ValueError, r"x size \(3, 4\).*got \(3, 5\)"),
        (zeros(3, 4, dtype=float), TypeError, "x should have dtype float32.*float64"),
        (None, TypeError, "x should be an array of float32, got: None"),
        ("text", TypeError, "x should have dtype float32"),
    ):
        with pytest.raises(error, match=message):
            stream.step(value)
        if getattr(value, "ndim", 0) != 3:  # that is one step, for feed
            with pytest.raises(error, match="x"):
                stream.feed(value)
    for out, error, message in (
        (zeros(3, 3), ValueError, r"out size \(3, 2\).*got \(3, 3\)"),
        (zeros(2), ValueError, r"out size \(3, 2\).*got \(2,\)"),
        (zeros(3, 2, dtype=float), TypeError, "out should have dtype float32"),
        ([[0.0] * 2] * 3, TypeError, "out should be a numpy.ndarray, got: list"),
        (read_only(zeros(3, 2)), ValueError, "out is read-only"),
    ):
        with pytest.raises(error, match=message):
            stream.step(zeros(3, 4), out)
    buffer = zeros(18)
    with pytest.raises(ValueError, match="out overlaps x"):
        stream.step(buffer[:12].reshape(3, 4), buffer[11:17].reshape(3, 2))
    assert_same_bits(stream.state, data.hx)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ((H0,), TypeError, r"state should be a pair \(h_n, c_n\)"),
        (None, TypeError, r"state should be a pair \(h_n, c_n\)"),
        ((H0[:1], C0), ValueError, r"h_n size \(2, 3, 2\).*got \(1, 3, 2\)"),
        ((H0, C0[:, :1]), ValueError, r"c_n size \(2, 3, 6\).*got \(2, 1, 6\)"),
        ((H0, C0.astype(float)), TypeError, "c_n should have dtype float32.*float64"),
    ],
)
def test_a_bad_state_changes_nothing(state: Any, error: type[Exception], message: str) -> None:
    data = make_data(CASE, "float32")
    stream = lstm_of(CASE, data).stream(3)
    stream.state = data.hx
    with pytest.raises(error, match=message):
        stream.state = state
    assert_same_bits(stream.state, data.hx)


@pytest.mark.parametrize(
    ("batch_size", "error", "message"),
    [
        (0, ValueError, "batch_size must be greater than zero"),
        (-1, ValueError, "batch_size must be greater than zero"),
        (1.0, TypeError, "batch_size should be of type int, got: float"),
        (True, TypeError, "batch_size should be of type int, got: bool"),
        (2**62, (ValueError, OverflowError, MemoryError), None),
        (2**70, (ValueError, OverflowError, MemoryError), None),
    ],
)
def test_bad_batch_sizes_are_refused(batch_size: Any, error: type[Exception], message: str | None) -> None:
    with pytest.raises(error, match=message):
        fastlstm.LSTM(4, 6).stream(batch_size)


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda lstm: lstm.stream(), "a bidirectional layer cannot stream"),
        (lambda lstm: lstm.pool(2), "a bidirectional layer has no sessions"),
        (lambda lstm: lstm.window(2), "a bidirectional layer has no sliding windows"),
        (lambda lstm: lstm.forward(np.zeros((3, 4), "f"), keep_every=2), "keep_every needs a unidirectional layer"),
        (lambda lstm: lstm.backward_chunks([], []), "backward_chunks needs a unidirectional layer"),
    ],
)
def test_what_a_bidirectional_layer_cannot_do(call: Callable[[fastlstm.LSTM], Any], what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what}: the reverse direction starts at the end$"):
        call(fastlstm.LSTM(4, 6, bidirectional=True))


@pytest.mark.parametrize(
    "arguments",
    [
        "None, 1, np.dtype('float32')",
        "None, -1, np.dtype('float32')",
        "fastlstm.LSTM(2, 3), 1, np.dtype('float32')",
        "",
    ],
)
def test_a_stream_of_foreign_objects_is_an_error_not_a_crash(arguments: str) -> None:
    script = (
        f"import numpy as np, fastlstm\ntry:\n    fastlstm.Stream({arguments})\nexcept (TypeError, ValueError): pass"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"exit status {done.returncode} {done.stderr[-300:]}"


# Any arguments at all: the right answer, or a clean error

CLEAN = (ValueError, TypeError, MemoryError, OverflowError)
FUZZED = Case("fuzz", T=3, B=2, I=3, H=5, P=2)
sizes = st.sampled_from([0, 1, 2, 3, 4, 5])


@st.composite
def any_array(draw: Callable[..., Any], usual: tuple[int, ...], dtype: Any = F32) -> Any:
    """Most often an array that fits, in some layout; else of another shape or dtype; else something else."""
    kind = draw(st.integers(0, 9))
    if kind == 9:
        return draw(st.sampled_from([None, 1, "x", [], [[]], [1.0], {}, object(), True, [[1.0, "a"]], b"x", range(3)]))
    shape = usual if kind < 6 else tuple(draw(st.lists(sizes, max_size=4)))
    made = np.asarray(np.random.default_rng(draw(st.integers(0, 99))).standard_normal(shape))
    if kind == 8:
        dtype = draw(st.sampled_from([np.float64, np.float16, np.int32, np.int64, bool, complex, object, ">f4", "U3"]))
    array = np.asarray(made > 0 if np.dtype(dtype) == bool else made).astype(dtype)
    layout = draw(st.sampled_from([None, *LAYOUTS, list]))
    if layout is list:
        return array.tolist()
    return array if layout is None or array.dtype.kind in "OU" else layout(array)


def usable(value: Any, shape: tuple[int, ...]) -> bool:
    """Tell whether the API has to take a value as an array of float32 of a shape."""
    return isinstance(value, np.ndarray) and value.dtype == F32 and value.shape == shape


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_call_is_right_or_a_clean_error(data: st.DataObject) -> None:
    case = FUZZED
    usual = make_data(case, "float32")
    lstm = lstm_of(case, usual, threads=data.draw(st.sampled_from([1, 2])))
    x = data.draw(any_array((3, 2, 3)))
    h, c = data.draw(any_array((1, 2, 2))), data.draw(any_array((1, 2, 5)))
    hx = data.draw(st.sampled_from([None, (h, c), [h, c], (h,), h]))
    lengths = data.draw(st.one_of(st.none(), st.lists(st.integers(-1, 4), min_size=1, max_size=3), any_array((2,))))
    resets = data.draw(st.one_of(st.none(), any_array((3, 2), bool)))
    guarded = Guarded((3, 2, 2), F32, offset=data.draw(st.sampled_from([0, 4, 1])))
    out = data.draw(st.one_of(st.none(), st.just(guarded.array), any_array((3, 2, 2)), st.just(x), st.just(h)))
    arguments = [value for value in (x, h, c, lengths, resets) if isinstance(value, np.ndarray)]
    before = [value.copy() for value in arguments]

    try:
        output, (h_n, c_n) = lstm(x, hx, lengths=lengths, resets=resets, out=out)
    except CLEAN:
        assert guarded.untouched()
        fits = usable(x, (3, 2, 3)) and (hx is None or (isinstance(hx, tuple | list) and len(hx) == 2))
        fits = fits and (hx is None or (usable(h, (1, 2, 2)) and usable(c, (1, 2, 5))))
        fits = fits and lengths is None and resets is None and (out is None or out is guarded.array)
        assert not fits, "refused although everything fits"
    else:
        guarded.check()
        assert out is None or output is out
        wide = {key: value.astype(float) for key, value in usual.state_dict.items()}
        states = None if hx is None else tuple(np.asarray(value, F32).astype(float) for value in hx)
        exact, exact_states = reference.lstm_forward(
            np.asarray(x, F32).astype(float), states, wide, num_layers=1, lengths=lengths, resets=resets
        )
        for got, expected in zip((output, h_n, c_n), (exact, *exact_states), strict=True):
            assert_close(got, expected, "forward")
    for value, old in zip(arguments, before, strict=True):
        if value is not out:
            assert value.tobytes() == old.tobytes(), "an argument was changed"


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_cell_step_is_right_or_a_clean_error(data: st.DataObject) -> None:
    case = Case("fuzz-cell", T=1, B=2, I=3, H=5)
    usual = make_data(case, "float32")
    cell = cell_of(case, usual)
    x, h, c = data.draw(any_array((2, 3))), data.draw(any_array((2, 5))), data.draw(any_array((2, 5)))
    hx = data.draw(st.sampled_from([None, (h, c), [h, c], h, (c,)]))
    guards = Guarded((2, 5), F32), Guarded((2, 5), F32)
    good = (guards[0].array, guards[1].array)
    out = data.draw(st.sampled_from([None, good, (good[0], c), (x, c), (h, good[1]), good[0], list(good)]))
    before = [np.array(value) for value in (x, h, c) if isinstance(value, np.ndarray)]
    try:
        got = cell(x, hx, out=out)
    except CLEAN:
        assert guards[0].untouched()
        assert guards[1].untouched()
        assert not (usable(x, (2, 3)) and hx is None and (out is None or out is good)), "refused although all fits"
        for value, old in zip((v for v in (x, h, c) if isinstance(v, np.ndarray)), before, strict=True):
            assert value.tobytes() == old.tobytes(), "an argument was changed"
    else:
        for guard in guards:
            guard.check()
        arrays = iter(before)
        x0, h0, c0 = (next(arrays) if isinstance(value, np.ndarray) else value for value in (x, h, c))
        expected = cell(np.array(x0, F32), None if hx is None else (np.array(h0, F32), np.array(c0, F32)))
        assert_same_bits(tuple(got), expected)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_stream_step_is_right_or_a_clean_error(data: st.DataObject) -> None:
    usual = make_data(FUZZED, "float32")
    lstm = lstm_of(FUZZED, usual)
    stream = lstm.stream(2)
    x = data.draw(any_array((2, 3)))
    guarded = Guarded((2, 2), F32, offset=data.draw(st.sampled_from([0, 1])))
    out = data.draw(st.one_of(st.none(), st.just(guarded.array), any_array((2, 2)), st.just(x)))
    before = x.copy() if isinstance(x, np.ndarray) else None
    try:
        y = stream.step(x, out)
    except CLEAN:
        assert guarded.untouched()
        assert not any(array.any() for array in stream.state), "a refused step changed the state"
        assert not (usable(x, (2, 3)) and out is None)
    else:
        guarded.check()
        expected, states = lstm(np.asarray(x if before is None else before, F32)[np.newaxis])
        assert_same_bits(np.ascontiguousarray(y), expected[0])
        assert_same_bits(stream.state, states)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("H", [1, 7, 8, 9, 17, 33])
@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_around_an_output_is_written(H: int, threads: int, dtype: str) -> None:
    for B in (1, 2, 7):
        case = Case(f"guarded-{H}-{B}", T=3, B=B, I=5, H=H, P=H // 2, ragged=True)
        data = make_data(case, dtype)
        lstm = lstm_of(case, data, threads=threads)
        for margin in (64, 68 if dtype == "float32" else 72):  # aligned to cache lines, and not
            guarded = Guarded((case.T, B, case.R), dtype, margin)
            lstm(data.input, data.hx, lengths=data.lengths, out=guarded.array)
            guarded.check()
            assert_close(guarded.array, expected_results(case, data)[0], "forward")
            y = Guarded((B, case.R), dtype, margin)
            lstm.stream(B).step(data.input[0], y.array)
            y.check()
        cell = cell_of(Case(case.name, 1, B, 5, H), make_data(Case(case.name, 1, B, 5, H), dtype))
        h, c = Guarded((B, H), dtype), Guarded((B, H), dtype)
        cell(data.input[0], out=(h.array, c.array))
        h.check()
        c.check()


def test_gaps_between_the_rows_of_out_are_not_written() -> None:
    case = Case("guarded-gaps", T=3, B=4, I=5, H=9)
    data = make_data(case, "float32")
    buffer = np.full((3, 4, 20), 7, F32)
    for view in (buffer[:, :, 5:14], buffer[:, :, 1:19:2]):
        lstm_of(case, data)(data.input, out=view)
        assert (view != 7).all()
        view[...] = 7
        assert (buffer == 7).all()
    assert strided(buffer).shape == unaligned(buffer).shape


# What to do about it

WRONG_FLOATS = {
    "float16": np.zeros((3, 4), np.float16),
    ">f4": np.zeros((3, 4), ">f4"),
    "object": np.zeros((3, 4), object),
    "int64": np.zeros((3, 4), np.int64),
    "float64": np.zeros((3, 4)),
}


@pytest.mark.parametrize("array", WRONG_FLOATS.values(), ids=WRONG_FLOATS)
def test_every_door_says_how_to_convert(array: Array) -> None:
    """All but what cannot be numbers; and what is said works."""
    lstm, right = fastlstm.LSTM(4, 4, seed=0), np.zeros((3, 4), np.float32)
    pool, batch = lstm.pool(3), lstm.stream(3)
    ids = [pool.open() for _ in range(3)]
    tape = lstm.forward(right)[2]
    weights = lstm.state_dict() | {"weight_hh_l0": np.repeat(array, 6, 0)[:16]}
    doors: dict[str, Callable[[Array], object]] = {
        "input": lambda x: lstm(x),
        "input, training": lambda x: lstm.forward(x),
        "input, cell": lambda x: fastlstm.LSTMCell(4, 3)(x),
        "input, keep_every": lambda x: lstm.forward(x, keep_every=2),
        "hx[1]": lambda x: lstm(right, (right[:1], x[:1])),
        "x": lambda x: batch.step(x),
        "x, feed": lambda x: lstm.stream().feed(x),
        "x, pool": lambda x: pool.step(ids, x),
        "x, window": lambda x: lstm.window(2).push(x[0]),
        "c_n": lambda x: setattr(batch, "state", (right[None], x[None])),
        "state[1]": lambda x: pool.set_state(ids, (right[:, None], x[:, None])),
        "grad_output": lambda x: lstm.backward(tape, x),
    }
    for door, call in doors.items():
        name = re.escape(door.partition(",")[0])
        with pytest.raises(TypeError, match=rf"{name} should have dtype .*Convert it \({name}\.astype\('float32'\)\)"):
            call(array)
        call(array.astype("float32"))
    with pytest.raises(TypeError, match=r"Convert it \(state_dict\['weight_hh_l0'\]\.astype\('float32'\)\)"):
        lstm.load_state_dict(weights)
    if array.dtype != np.float64:
        for function in (fastlstm.sigmoid, fastlstm.tanh):
            with pytest.raises(TypeError, match=r"Convert it \(x\.astype\('float64'\)\)"):
                function(array)


def test_masks_lengths_and_ids_say_how_to_convert() -> None:
    lstm, x = fastlstm.LSTM(4, 4), np.zeros((3, 2, 4), np.float32)
    pool = lstm.pool(2)
    pool.open()
    for done in (np.zeros((3, 2), np.float32), np.zeros((3, 2), np.int64)):
        with pytest.raises(TypeError, match=r"Convert it \(resets\.astype\('bool'\)\)"):
            lstm(x, resets=done)
        lstm(x, resets=done.astype("bool"))
    with pytest.raises(TypeError, match=r"Convert it \(lengths\.astype\('int64'\)\)"):
        lstm(x, lengths=np.array([3.0, 1.0]))
    with pytest.raises(TypeError, match=r"Convert it \(ids\.astype\('int64'\)\)"):
        pool.step(np.array([1.0]), x[0, :1])


@pytest.mark.parametrize("number", [2**64, 2**70, -(2**63) - 1])
def test_integers_that_no_type_holds_are_out_of_range_and_get_no_such_advice(number: int) -> None:
    lstm, x = fastlstm.LSTM(4, 4), np.zeros((3, 2, 4), np.float32)
    pool, table = lstm.pool(2), lstm.table(x[0])
    first = pool.open()
    for call, message in (
        (lambda: pool.step([number], x[0, :1]), f"session {number} has never been opened"),
        (lambda: pool.step(number, x[0, 0]), f"session {number} has never been opened"),
        (lambda: pool.close([first, number]), f"session {number} has never been opened"),
        (lambda: pool.trace([number], x[0, :1]), f"session {number} has never been opened"),
        (lambda: lstm(x, lengths=[1, number]), rf"lengths should be in 0\.\.3 \(T\), got {number} at row 1"),
        (lambda: lstm.trace(x, units=[number]), rf"units should be in 0\.\.3, got: {number}"),
        (lambda: lstm.stream(2).reset([number]), rf"rows should be in 0\.\.1, got: {number}"),
        (lambda: lstm.stream(table=table).step(number), rf"x should be in 0\.\.1, .*got {number}"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert len(pool) == 1
    with pytest.raises(ValueError if number < 0 else OverflowError, match=f"every .*{number}"):
        lstm.trace(x, every=number)


@pytest.mark.parametrize("value", [None, "text", {"a": 1}, zeros(5, 4, dtype=complex)], ids=repr)
def test_what_cannot_be_numbers_gets_no_such_advice(value: Any) -> None:
    with pytest.raises(TypeError) as caught:
        fastlstm.LSTM(4, 4)(value)
    assert "Convert" not in str(caught.value)
