"""Snapshots of streams and pools: which model they are of, which byte order, how large; and fingerprints of models."""

import copy
import io
import pickle
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastlstm
from tests.cases import Array
from tests.support import assert_same_bits, each_dtype, run_python

I, H, B = 4, 9, 3
Live = fastlstm.Stream | fastlstm.StreamPool


def layer(seed: int = 0, **options: Any) -> fastlstm.LSTM:
    """Return a layer with the weights of a seed."""
    return fastlstm.LSTM(I, H, seed=seed, **options)


def begun(kind: str, lstm: fastlstm.LSTM) -> Live:
    """Return a stream or a pool of B sequences, two steps old."""
    x = np.random.default_rng(1).standard_normal((2, B, I)).astype(lstm.dtype)
    if kind == "stream":
        stream = lstm.stream(B)
        stream.feed(x)
        return stream
    pool = lstm.pool(B)
    ids = [pool.open() for _ in range(B)]
    for row in x:
        pool.step(ids, row)
    return pool


def empty(kind: str, lstm: fastlstm.LSTM) -> Live:
    """Return one that has not begun."""
    return lstm.stream(B) if kind == "stream" else lstm.pool(B)


def written(live: Live) -> bytes:
    """Write the states."""
    return live.save() if isinstance(live, fastlstm.Stream) else live.snapshot()


def states(live: Live) -> tuple[Array, Array]:
    """Copy the states out."""
    return live.state if isinstance(live, fastlstm.Stream) else live.state(live.ids())


def repacked(data: bytes, change: Callable[[dict[str, Array]], object], save: Any = np.savez) -> bytes:
    """Return a snapshot after a change to its arrays."""
    with np.load(io.BytesIO(data)) as stored:
        arrays = dict(stored)
    change(arrays)
    made = io.BytesIO()
    save(made, **arrays)
    return made.getvalue()


each_kind = pytest.mark.parametrize("kind", ["stream", "pool"])


def assert_refused(kind: str, data: bytes, message: str, lstm: fastlstm.LSTM | None = None, **options: Any) -> None:
    """Raise AssertionError unless a snapshot is refused, and nothing changes."""
    live = empty(kind, lstm or layer())
    before = written(live)
    with pytest.raises(ValueError, match=message):
        live.restore(data, **options)
    assert written(live) == before


# ---- the model


OTHERS = {
    "weights": lambda: layer(1),
    "one weight": lambda: one_weight(),
    "coupled": lambda: same_weights(layer(form=fastlstm.Form(coupled=True))),
    "an activation": lambda: same_weights(layer(form=fastlstm.Form(gate=("hard_sigmoid", 0.2)))),
    "an activation's parameter": lambda: same_weights(layer(form=fastlstm.Form(gate=("hard_sigmoid", 0.25)))),
    "bias": lambda: layer(bias=False),
}


def same_weights(lstm: fastlstm.LSTM) -> fastlstm.LSTM:
    """Give a layer the weights of `layer()`."""
    lstm.load_state_dict(layer().state_dict())
    return lstm


def one_weight() -> fastlstm.LSTM:
    """Return the layer, the last bit of the last weight turned."""
    lstm = layer()
    weights = {name: np.array(array) for name, array in lstm.state_dict().items()}
    weights["bias_hh_l0"].view(np.uint32)[-1] ^= 1
    lstm.load_state_dict(weights)
    return lstm


@each_kind
def test_numpy_s_savez_gets_arrays_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy 2.0 has no other keyword arguments, and writes whatever is given by name as one more array."""
    written_by_numpy = np.savez

    def savez(file: Any, /, **arrays: Any) -> None:
        assert all(isinstance(array, np.ndarray) for array in arrays.values()), list(arrays)
        written_by_numpy(file, **arrays)

    monkeypatch.setattr(np, "savez", savez)
    written(begun(kind, layer()))


@each_kind
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_model_is_refused_unless_asked_for(kind: str, other: Callable[[], fastlstm.LSTM]) -> None:
    source = begun(kind, layer())
    data = written(source)
    assert_refused(kind, data, r"another model.*restore\(data, any_weights=True\)", other())
    live = empty(kind, other())
    live.restore(data, any_weights=True)
    assert_same_bits(states(live), states(source))


@each_kind
def test_what_does_not_change_the_model_does_not_matter(kind: str) -> None:
    source = begun(kind, layer(num_layers=2))
    again = layer(num_layers=2, batch_first=True, dropout=0.5, threads=2, isa="scalar")
    live = empty(kind, again)
    live.restore(written(source))
    assert_same_bits(states(live), states(source))


@each_kind
def test_after_new_weights_an_old_snapshot_is_refused(kind: str) -> None:
    lstm = layer()
    old = begun(kind, lstm)
    lstm.load_state_dict(layer(1).state_dict())
    assert_refused(kind, written(old), "another model", lstm)
    lstm.load_state_dict(layer().state_dict())
    empty(kind, lstm).restore(written(old))


@each_kind
def test_a_snapshot_that_tells_no_weights_is_refused_unless_asked_for(kind: str) -> None:
    source = begun(kind, layer())
    data = repacked(written(source), lambda arrays: [arrays.pop(name) for name in ("format", "contract", "weights")])
    assert_refused(kind, data, r"does not tell the weights.*any_weights=True")
    live = empty(kind, layer())
    live.restore(data, any_weights=True)
    assert_same_bits(states(live), states(source))


@each_kind
def test_any_weights_is_a_flag(kind: str) -> None:
    live = begun(kind, layer())
    with pytest.raises(TypeError, match="any_weights should be of type bool, got: int"):
        live.restore(written(live), any_weights=1)  # type: ignore[arg-type]


def test_fingerprints_are_frozen() -> None:
    """From weights that are exact everywhere: the same on every machine."""
    lstm = fastlstm.LSTM(2, 3, num_layers=2, proj_size=1, form=fastlstm.Form(peepholes=True))
    count = iter(range(1000))
    lstm.load_state_dict(
        {
            name: np.array([next(count) / 8 for _ in range(array.size)], np.float32).reshape(array.shape)
            for name, array in lstm.state_dict().items()
        }
    )
    assert lstm.fingerprint() == "fa76bdd8c3c545e67b17b5916113c48f"
    wide = fastlstm.LSTMCell(1, 1, dtype="float64")
    wide.load_state_dict({name: np.full_like(array, 0.1) for name, array in wide.state_dict().items()})
    assert wide.fingerprint() == "42a4840a6d2ce88e101d81b4535de31b"


def test_fingerprint_goes_with_copies_and_weights() -> None:
    lstm = layer()
    first = lstm.fingerprint()
    assert {copy.deepcopy(lstm).fingerprint(), pickle.loads(pickle.dumps(lstm)).fingerprint()} == {first}
    lstm.load_state_dict(layer(1).state_dict())
    assert lstm.fingerprint() == layer(1).fingerprint() != first
    assert layer(dtype="float64").fingerprint() != first


def test_fingerprint_tells_arrays_of_one_length_apart() -> None:
    """The same numbers in the same order, cut into other sizes."""
    zeros = [fastlstm.LSTM(5, 2, bias=False), fastlstm.LSTM(3, 2, bias=False, num_layers=1), fastlstm.LSTM(2, 2)]
    for lstm in zeros:
        lstm.load_state_dict({name: np.zeros_like(array) for name, array in lstm.state_dict().items()})
    assert len({lstm.fingerprint() for lstm in zeros}) == len(zeros)


# ---- versions


@each_kind
def test_a_later_format_is_refused(kind: str) -> None:
    data = repacked(written(begun(kind, layer())), lambda arrays: arrays.update(format=np.int64(2)))
    for any_weights in (False, True):
        assert_refused(kind, data, "the snapshot has format 2, expected 1", any_weights=any_weights)


@each_kind
def test_another_contract_is_told(kind: str) -> None:
    source = begun(kind, layer())
    data = repacked(written(source), lambda arrays: arrays.update(contract=np.int64(1)))
    live = empty(kind, layer())
    with pytest.warns(UserWarning, match="version 1 of the numerical contract, and this is 2") as caught:
        live.restore(data)
    assert caught[0].filename == __file__
    assert_same_bits(states(live), states(source))


@each_kind
def test_a_warning_that_is_an_error_changes_nothing(kind: str) -> None:
    data = repacked(written(begun(kind, layer())), lambda arrays: arrays.update(contract=np.int64(1)))
    live = empty(kind, layer())
    before = written(live)
    with warnings.catch_warnings(action="error"), pytest.raises(UserWarning, match="contract"):
        live.restore(data)
    assert written(live) == before


# ---- byte order, layout, compression


def turned(arrays: dict[str, Array], order: str) -> None:
    """Store every array in one byte order."""
    for name, array in arrays.items():
        arrays[name] = array.astype(array.dtype.newbyteorder(order))


@each_kind
@each_dtype
@pytest.mark.parametrize("order", [">", "<"])
def test_either_byte_order_is_read(kind: str, dtype: str, order: str) -> None:
    source = begun(kind, layer(dtype=dtype))
    data = repacked(written(source), lambda arrays: turned(arrays, order))
    live = empty(kind, layer(dtype=dtype))
    made = live.restore(data)
    assert_same_bits(states(live), states(source))
    if isinstance(source, fastlstm.StreamPool):
        assert made is not None
        assert list(made) == source.ids()


@each_kind
@each_dtype
def test_little_endian_is_written(kind: str, dtype: str) -> None:
    with np.load(io.BytesIO(written(begun(kind, layer(dtype=dtype))))) as stored:
        assert {array.dtype.str[0] for array in stored.values()} <= {"<", "|"}


@each_kind
def test_compressed_and_fortran_order_are_read(kind: str) -> None:
    source = begun(kind, layer())
    data = repacked(
        written(source),
        lambda arrays: arrays.update({name: np.asfortranarray(arrays[name]) for name in "hc"}),
        np.savez_compressed,
    )
    live = empty(kind, layer())
    live.restore(data)
    assert_same_bits(states(live), states(source))


# ---- nothing but what belongs there, and nothing inflated before that is known


@each_kind
def test_what_does_not_belong_there_is_refused_before_it_is_inflated(kind: str) -> None:
    large = 9_000_000
    for change in (
        lambda arrays: arrays.update(junk=np.zeros(large, np.uint8)),
        lambda arrays: arrays.update(h=np.zeros((large, 1, H), np.uint8)),
        lambda arrays: arrays.update(c=np.zeros((1, large // (4 * H), H), np.float32)),
        lambda arrays: arrays.update(weights=np.zeros(large, np.uint8)),
        lambda arrays: arrays.update(format=np.zeros(large, np.int64)),
    ):
        data = repacked(written(begun(kind, layer())), change, np.savez_compressed)
        assert len(data) < 1_000_000
        tracemalloc.start()
        assert_refused(kind, data, r"^this is not a snapshot|^the snapshot is of another layer")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < large // 20


def test_more_sessions_than_there_is_room_for_are_not_inflated() -> None:
    data = repacked(
        written(begun("pool", layer())),
        lambda arrays: arrays.update(
            h=np.zeros((10**5, 1, H), np.float32), c=np.zeros((10**5, 1, H), np.float32), ids=np.arange(10**5)
        ),
        np.savez_compressed,
    )
    pool = layer().pool(5)
    tracemalloc.start()
    with pytest.raises(RuntimeError, match="the snapshot holds 100000 sessions, and there is room for 5; grow"):
        pool.restore(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 400_000 + 3 * len(data)


def test_a_refused_snapshot_uses_up_no_ids() -> None:
    pool = layer().pool(2)
    with pytest.raises(RuntimeError, match="grow the pool"):
        pool.restore(written(begun("pool", layer())))
    assert [pool.open(), pool.open()] == [1, 2]


PARTS = {
    "part of what tells the model": lambda arrays: arrays.pop("contract"),
    "weights of another length": lambda arrays: arrays.update(weights=np.zeros(15, np.uint8)),
    "a format that is a float": lambda arrays: arrays.update(format=np.float64(1)),
    "no h": lambda arrays: arrays.pop("h"),
    "h as integers": lambda arrays: arrays.update(h=arrays["h"].view(np.int32)),
    "h as an object": lambda arrays: arrays.update(h=np.array([None])),
    "h as text": lambda arrays: arrays.update(h=np.full(arrays["h"].shape, "ab")),
}


@each_kind
@pytest.mark.parametrize("change", PARTS.values(), ids=PARTS)
def test_parts_that_do_not_fit_are_refused(kind: str, change: Callable[[dict[str, Array]], object]) -> None:
    data = repacked(written(begun(kind, layer())), change)
    for any_weights in (False, True):
        message = r"^this is not a snapshot|^the snapshot is of another layer"
        assert_refused(kind, data, message, any_weights=any_weights)


@each_kind
def test_a_member_twice_is_refused(kind: str) -> None:
    file = io.BytesIO(written(begun(kind, layer())))
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("h.npy", archive.read("h.npy"))
    assert_refused(kind, file.getvalue(), "this is not a snapshot")


@each_kind
def test_a_member_longer_than_its_header_says_is_refused(kind: str) -> None:
    data, file = written(begun(kind, layer())), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + b"x" * (name == "c.npy"))
    assert_refused(kind, file.getvalue(), "this is not a snapshot")


def rezipped(data: bytes, change: Callable[[str, bytes], bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a snapshot whose members are changed as bytes, and packed in another way."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return file.getvalue()


@each_kind
@pytest.mark.parametrize(("module", "method"), [("bz2", zipfile.ZIP_BZIP2), ("lzma", zipfile.ZIP_LZMA)])
def test_other_ways_of_packing_are_refused(kind: str, module: str, method: int) -> None:
    """They take memory by what they claim."""
    pytest.importorskip(module, reason="this Python was built without it")
    data = written(begun(kind, layer()))
    assert_refused(kind, rezipped(data, lambda name, raw: raw, method), "this is not a snapshot")
    empty(kind, layer()).restore(rezipped(data, lambda name, raw: raw))


def test_a_negative_number_of_sessions_is_refused_before_anything_is_inflated() -> None:
    def negative(name: str, raw: bytes) -> bytes:
        if name not in ("h.npy", "c.npy", "ids.npy"):
            return raw
        return raw.replace(b"(3,", b"(-3,").replace(b" }", b"}", 1) + bytes(9_000_000)

    data = rezipped(written(begun("pool", layer())), negative)
    tracemalloc.start()
    assert_refused("pool", data, "this is not a snapshot")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1_000_000


@each_kind
def test_an_archive_of_many_members_is_refused_at_once(kind: str) -> None:
    file = io.BytesIO(written(begun(kind, layer())))
    with zipfile.ZipFile(file, "a") as archive:
        for k in range(2000):
            archive.writestr(f"{k}.npy", b"")
    assert_refused(kind, file.getvalue(), "this is not a snapshot, or it is damaged")


@each_kind
def test_bytes_that_are_not_in_one_piece_are_read_as_they_are(kind: str) -> None:
    source = begun(kind, layer())
    wide = np.repeat(np.frombuffer(written(source), np.uint8), 2)
    live = empty(kind, layer())
    live.restore(memoryview(wide)[::2])  # type: ignore[arg-type]
    assert_same_bits(states(live), states(source))
    assert_refused(kind, memoryview(written(source))[::2], "this is not a snapshot")  # type: ignore[arg-type]


# ---- which weights are running


def test_current_tells_whether_the_layer_has_gone_on() -> None:
    lstm = layer()
    live = [lstm.stream(), lstm.pool(2), lstm.window(3)]
    assert all(each.current for each in live)
    lstm.load_state_dict(lstm.state_dict())  # the same numbers, but loaded anew
    assert not any(each.current for each in live)
    assert all(each.current for each in (lstm.stream(), lstm.pool(2), lstm.window(3)))
    with pytest.raises(AttributeError):
        live[0].current = True  # type: ignore[misc]


def test_current_without_a_layer() -> None:
    """Nothing has changed, and nothing can; and a stream does not keep the layer alive."""
    script = """
import weakref, fastlstm
lstm = fastlstm.LSTM(4, 3)
gone, live = weakref.ref(lstm), [lstm.stream(), lstm.pool(2), lstm.window(3)]
del lstm
assert gone() is None
assert all(each.current for each in live)
live[0].restore(live[0].save())
"""
    run_python(script)
