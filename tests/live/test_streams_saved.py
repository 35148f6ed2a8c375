"""States of streams as bytes: saved here, restored here, elsewhere, or refused."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import Array
from tests.support import assert_same_bits, each_dtype, run_python

I, H = 5, 17


def layer(dtype: str = "float32", **options: Any) -> fastlstm.LSTM:
    """Return a layer that has the same weights for the same sizes."""
    return fastlstm.LSTM(I, H, dtype=dtype, seed=7, **options)


def inputs(T: int, B: int, dtype: str = "float32") -> Array:
    """Draw a batch of sequences [T, B, I]."""
    return np.random.default_rng(T).standard_normal((T, B, I)).astype(dtype)


@each_dtype
@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 3}, {"num_layers": 2, "proj_size": 6}, {"threads": 2}], ids=repr
)
@pytest.mark.parametrize("B", [1, 3])
@pytest.mark.parametrize("cut", [0, 1, 6])
def test_a_stream_goes_on_from_what_was_saved(dtype: str, options: dict[str, Any], B: int, cut: int) -> None:
    lstm, x = layer(dtype, **options), inputs(9, B, dtype)
    whole, states = lstm(x)
    stream = lstm.stream(B)
    stream.feed(x[:cut])
    data = stream.save()
    assert isinstance(data, bytes)
    assert_same_bits(stream.feed(x[cut:]), whole[cut:])  # saving changed nothing
    for other in (stream, layer(dtype, **options).stream(B)):
        for raw in (data, bytearray(data), memoryview(data)):
            other.restore(raw)
            assert other.save() == data
            assert_same_bits(np.stack([other.step(row) for row in x[cut:]]), whole[cut:])
            assert_same_bits(other.state, states)


def test_a_stream_goes_on_in_another_process(tmp_path: Path) -> None:
    lstm, x = layer(num_layers=2), inputs(9, 2)
    whole, _ = lstm(x)
    stream = lstm.stream(2)
    stream.feed(x[:4])
    (tmp_path / "state").write_bytes(stream.save())
    np.savez(tmp_path / "rest.npz", x=x[4:], **lstm.state_dict())
    script = f"""
import pathlib
import numpy as np, fastlstm

here = pathlib.Path({str(tmp_path)!r})
weights = dict(np.load(here / "rest.npz"))
x = weights.pop("x")
lstm = fastlstm.LSTM({I}, {H}, num_layers=2)
lstm.load_state_dict(weights)
stream = lstm.stream(2)
stream.restore((here / "state").read_bytes())
np.save(here / "answer.npy", stream.feed(x))
"""
    run_python(script)
    assert_same_bits(np.load(tmp_path / "answer.npy"), whole[4:])


def test_the_bytes_are_an_archive_that_numpy_reads() -> None:
    stream = layer(num_layers=2, proj_size=6).stream(3)
    stream.feed(inputs(2, 3))
    with np.load(io.BytesIO(stream.save()), allow_pickle=False) as found:
        assert sorted(found.files) == ["c", "contract", "format", "h", "weights"]
        assert_same_bits((found["h"], found["c"]), stream.state)


def test_special_numbers_come_back() -> None:
    stream = layer().stream(1)
    h = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45] + [0.5] * (H - 5), np.float32).reshape(1, 1, H)
    stream.state = h, -h
    other = layer().stream(1)
    other.restore(stream.save())
    assert other.state[0].tobytes() == h.tobytes()
    assert other.state[1].tobytes() == (-h).tobytes()


@pytest.mark.parametrize(
    ("options", "B"), [({"num_layers": 2}, 2), ({"proj_size": 4}, 2), ({"dtype": "float64"}, 2), ({}, 3)], ids=repr
)
def test_a_state_of_other_sizes_is_refused(options: dict[str, Any], B: int) -> None:
    data = layer().stream(2).save()
    stream = layer(**options).stream(B)
    stream.feed(inputs(2, B, options.get("dtype", "float32")))
    before = stream.save()
    with pytest.raises(ValueError, match=r"the snapshot is of another layer: h has shape \(1, 2, 17\)"):
        stream.restore(data)
    assert stream.save() == before


def test_damaged_states_are_refused_or_harmless() -> None:
    lstm = fastlstm.LSTM(2, 3, seed=0)
    source = lstm.stream()
    source.feed(np.ones((3, 2), np.float32))
    data, expected = source.save(), source.state
    stream = lstm.stream()
    refusals: list[str] = []

    def taken(raw: bytes) -> bool:
        stream.reset()
        try:
            stream.restore(raw)
        except ValueError as error:
            refusals.append(str(error))
            assert not any(array.any() for array in stream.state)
            return False
        assert_same_bits(stream.state, expected)  # what changed was a date, say
        return True

    assert taken(data)
    for k in range(len(data)):
        for flipped in (1 << k % 8, 0xFF):
            taken(data[:k] + bytes([data[k] ^ flipped]) + data[k + 1 :])
    assert not any(taken(data[:n]) for n in range(len(data)))
    assert all(text.startswith(("this is ", "the snapshot ")) for text in refusals)


def saved(save: Callable[..., None], *arrays: Any, **named: Any) -> bytes:
    """Write arrays as NumPy does."""
    made = io.BytesIO()
    save(made, *arrays, **named)
    return made.getvalue()


STATE = np.zeros((1, 1, 3), np.float32)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x05\x06" + b"\0" * 18,
        pickle.dumps((STATE, STATE)),
        saved(np.save, STATE),
        saved(np.savez, h=STATE),
        saved(np.savez, h=STATE, c=np.array([None])),
        saved(np.savez, h=STATE, c=STATE[0]),
        saved(np.savez, h=STATE[:0], c=STATE),
    ],
    ids=["nothing", "an empty archive", "a pickle", "one array", "no c", "an object", "axes", "no layer"],
)
def test_what_is_not_a_state_is_refused(data: bytes) -> None:
    stream = fastlstm.LSTM(2, 3, seed=0).stream()
    stream.step(np.ones(2, np.float32))
    before = stream.save()
    with pytest.raises(ValueError, match=r"^this is not a snapshot|^the snapshot is of another layer"):
        stream.restore(data)
    assert stream.save() == before


def test_a_pool_s_snapshot_of_one_session_is_no_stream_s() -> None:
    pool = fastlstm.LSTM(2, 3, num_layers=2, seed=0).pool(3)
    pool.open(), pool.open(), pool.open()
    with pytest.raises(ValueError, match="this is a snapshot, but not of a Stream"):
        fastlstm.LSTM(2, 3, num_layers=2, seed=0).stream().restore(pool.snapshot())


@pytest.mark.parametrize("data", [None, 3, "text", np.zeros(3)], ids=repr)
def test_a_state_has_to_be_bytes(data: Any) -> None:
    with pytest.raises(TypeError, match="a snapshot should be bytes, got: "):
        layer().stream().restore(data)
