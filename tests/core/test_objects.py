"""LSTM and LSTMCell as objects: weights in and out, copies, pickles, names, instruction sets; the package itself."""

import copy
import ctypes
import doctest
import hashlib
import importlib
import itertools
import os
import pickle
import pkgutil
import platform
import re
import sys
from collections import OrderedDict, UserDict
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm import _core
from tests.cases import LAYERS, Array, Case, make_data
from tests.support import assert_same_bits, by_name, cell_of, each_isa, lstm_of, results, run_python

CASE = Case("objects", T=5, B=3, I=4, H=6, P=2, num_layers=2, bidirectional=True)
OPTIONS: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "proj_size": 2}


def run(thing: Any) -> Any:
    """Run an LSTM or an LSTMCell on fixed input."""
    rng = np.random.default_rng(0)
    return thing(rng.standard_normal((5, thing.input_size)).astype(thing.dtype))


def flat(result: Any) -> tuple[Array, ...]:
    """Return the arrays of a result side by side."""
    first, second = result
    return (first, *second) if isinstance(second, tuple) else (first, second)


both_kinds = pytest.mark.parametrize(
    "make",
    [lambda **options: fastlstm.LSTM(4, 6, **OPTIONS, **options), lambda **options: fastlstm.LSTMCell(4, 6, **options)],
    ids=["LSTM", "LSTMCell"],
)


# Parameters


@by_name(tuple(case for case in LAYERS if case.T == 7))
def test_names_order_and_shapes_are_those_of_torch(case: Case) -> None:
    lstm = fastlstm.LSTM(case.I, case.H, bias=case.bias, proj_size=case.P, **case.config)
    shapes = {name: array.shape for name, array in lstm.state_dict().items()}
    assert list(shapes.items()) == list(case.weight_shapes().items())


def test_a_cell_s_names_have_no_ending() -> None:
    shapes = {name: array.shape for name, array in fastlstm.LSTMCell(4, 3).state_dict().items()}
    assert shapes == {"weight_ih": (12, 4), "weight_hh": (12, 3), "bias_ih": (12,), "bias_hh": (12,)}
    assert list(fastlstm.LSTMCell(4, 3, bias=False).state_dict()) == ["weight_ih", "weight_hh"]


@both_kinds
def test_parameters_start_within_torch_s_range(make: Any) -> None:
    # U(-1/sqrt(H), 1/sqrt(H)), biases and projections too
    bound = 1 / np.sqrt(6)
    for array in make(seed=0).state_dict().values():
        assert (np.abs(array) <= np.float32(bound)).all()
    largest = max(np.abs(array).max() for array in make(seed=0).state_dict().values())
    assert largest > 0.9 * bound
    assert np.concatenate([a.ravel() for a in make(seed=0).state_dict().values()]).std() > 0.5 * bound


@both_kinds
def test_seeds(make: Any) -> None:
    def weights(**options: Any) -> Array:
        return np.concatenate([array.ravel() for array in make(**options).state_dict().values()])

    assert_same_bits(weights(seed=3), weights(seed=3))
    assert (weights(seed=3) != weights(seed=4)).any()
    assert (weights() != weights()).any()
    assert_same_bits(weights(seed=3, dtype="float64").astype("float32"), weights(seed=3))


class Holder:
    """Something that a user hangs on a layer."""

    def __init__(self) -> None:
        self.items = [1]


@both_kinds
@pytest.mark.parametrize(
    ("how", "shared"),
    [(copy.copy, True), (copy.deepcopy, False), (lambda thing: pickle.loads(pickle.dumps(thing)), False)],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_user_s_attributes_go_with_copies(make: Any, how: Any, shared: bool) -> None:
    thing = make(seed=1)
    thing.note, thing.holder = "mine", Holder()
    made = how(thing)
    assert made.note == "mine"
    assert made.holder.items == [1]
    assert (made.holder is thing.holder) is shared
    made.note = "another"
    assert thing.note == "mine"
    assert made.fingerprint() == thing.fingerprint()
    name = next(iter(thing.state_dict()))
    assert_same_bits(how(made).state_dict()[name], thing.state_dict()[name])
    assert set(how(made).__getstate__()["attributes"]) == {"note", "holder"}


@both_kinds
@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"_plan": None}, "the state sets '_plan', which is not a setting"),
        ({"_parameters": {}}, "the state sets '_parameters'"),
        ({3: 4}, "the state sets 3"),
        ([1], "this is not the state of"),
        (None, "this is not the state of"),
    ],
    ids=repr,
)
def test_a_state_sets_nothing_of_ours(make: Any, attributes: Any, message: str) -> None:
    thing = make(seed=1)
    thing.note = "kept"
    state = make(seed=2).__getstate__() | {"attributes": attributes}
    before = thing.fingerprint()
    with pytest.raises(ValueError, match=message):
        thing.__setstate__(state)
    assert (thing.fingerprint(), thing.note) == (before, "kept")


class Slotted(fastlstm.LSTM[Any]):
    """A subclass with a slot beside what it has in its dictionary."""

    __slots__ = ("note",)


@pytest.mark.parametrize(
    "how",
    [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_slots_of_a_subclass_go_with_copies(how: Any) -> None:
    thing = Slotted(4, 3)
    assert not hasattr(how(thing), "note")  # not set, and not in the copy
    thing.note, thing.other = "mine", "too"
    made = how(thing)
    assert (made.note, made.other, "note" in made.__dict__) == ("mine", "too", False)


class Unmade(fastlstm.LSTM[Any]):
    """A subclass that forgets its base class."""

    def __init__(self) -> None:
        pass


@pytest.mark.parametrize(
    "use",
    [
        repr,
        pickle.dumps,
        lambda thing: thing.hidden_size,
        lambda thing: thing.state_dict(),
        lambda thing: thing([[1.0]]),
    ],
    ids=["repr", "pickle", "size", "state_dict", "call"],
)
def test_a_subclass_that_forgets_its_base_class_is_told(use: Any) -> None:
    thing = Unmade()
    assert "state_dict" in dir(thing)
    with pytest.raises(AttributeError, match=r"'Unmade' object has no '\w+': call super\(\).__init__\(\) first"):
        use(thing)


def test_a_state_without_attributes_is_taken() -> None:
    """As earlier versions wrote them."""
    lstm = fastlstm.LSTM(4, 3, seed=0)
    state = lstm.__getstate__()
    del state["attributes"]
    other = fastlstm.LSTM.__new__(fastlstm.LSTM)
    other.__setstate__(state)
    assert other.fingerprint() == lstm.fingerprint()


def test_a_layer_can_be_made_with_its_type_written_out() -> None:
    lstm = fastlstm.LSTM[np.float32](4, 3, seed=0)
    assert lstm.fingerprint() == fastlstm.LSTM(4, 3, seed=0).fingerprint()
    assert pickle.loads(pickle.dumps(lstm)).fingerprint() == copy.copy(lstm).fingerprint() == lstm.fingerprint()


def test_tab_completion_shows_nothing_of_ours_inside() -> None:
    lstm = fastlstm.LSTM(4, 3, seed=0)
    live = [lstm.stream(), lstm.pool(2), lstm.window(3), lstm.forward(np.zeros((2, 4), np.float32))[2]]
    live.append(lstm.forward(np.zeros((2, 4), np.float32), keep_every=1)[2])
    names = {name for thing in live for name in dir(thing) if not name.startswith("_")}
    assert names == {
        *("step", "feed", "trace", "state", "save", "restore", "reset", "batch_size", "current"),
        *("open", "close", "grow", "set_state", "snapshot", "ids", "capacity", "used"),
        *("push", "advance", "length", "count"),
        *("nbytes", "seed"),
    }
    for thing in live:
        for name in dir(thing):
            if not name.startswith("_"):
                assert getattr(type(thing), name).__doc__, f"{type(thing).__name__}.{name}"


def test_gradients_are_told_by_shapes() -> None:
    lstm = fastlstm.LSTM(2, 3, bias=False, seed=0)
    output, _, tape = lstm.forward(np.zeros((4, 5, 2), np.float32))
    assert repr(lstm.backward(tape, output)) == (
        "Gradients(input=[4, 5, 2], h_0=[1, 5, 3], c_0=[1, 5, 3], "
        "parameters={weight_ih_l0: [12, 2], weight_hh_l0: [12, 3]})"
    )
    wide = fastlstm.LSTM(2, 3, bias=False, dtype="float64")
    output, _, tape = wide.forward(np.zeros((4, 2)))
    made = wide.backward_chunks([tape], [output])
    assert isinstance(made, fastlstm.ChunkGradients)
    assert repr(made).startswith("ChunkGradients(input=[[4, 2] float64], h_0=[1, 3] float64, ")


FROZEN_WEIGHTS = {
    ("LSTM", "float32"): "ca5689dc202a977c07f6aebc9e1398ad47cbff9e4430853d0bb04820995a99f4",
    ("LSTM", "float64"): "b784bda7450f6f18e1982508d62113cdbc920bc0ef40663ab8b0123db3069a5e",
    ("LSTMCell", "float32"): "4db122e6bd38c5e896b77ea854c1ee70a97357238eadd25d2f9996a8f119a020",
    ("LSTMCell", "float64"): "be5e45bf4e260f86cd52b57c8a4ee30d5a8bf041714d44ebd0c37b4f54747366",
}


@pytest.mark.parametrize(("kind", "dtype"), FROZEN_WEIGHTS)
def test_seeded_weights_are_the_same_on_every_machine(kind: str, dtype: str) -> None:
    """float64 is where a fused multiply-add would show: float32 rounds its last bit away."""
    if kind == "LSTM":
        thing: Any = fastlstm.LSTM(7, 33, num_layers=2, bidirectional=True, seed=2**64 - 1, dtype=dtype)
        first = fastlstm.LSTM(2, 3, seed=0, dtype="float64").state_dict()["weight_ih_l0"][0, 0]
        assert float(first).hex() == "0x1.43e401fe365a8p-3"
    else:
        thing = fastlstm.LSTMCell(5, 19, seed=3, dtype=dtype)
    little = [array.astype(array.dtype.newbyteorder("<")).tobytes() for array in thing.state_dict().values()]
    assert hashlib.sha256(b"".join(little)).hexdigest() == FROZEN_WEIGHTS[kind, dtype]


@both_kinds
def test_parameters_are_read_only(make: Any) -> None:
    thing = make(seed=0)
    for name, array in thing.state_dict().items():
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="read-only"):
            getattr(thing, name)[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.setflags(write=True)


@both_kinds
def test_loaded_and_copied_parameters_are_read_only_too(make: Any) -> None:
    thing = make(seed=0)
    thing.load_state_dict(thing.state_dict())
    for other in (thing, copy.copy(thing), copy.deepcopy(thing), pickle.loads(pickle.dumps(thing))):
        for array in other.state_dict().values():
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.setflags(write=True)


@both_kinds
def test_a_parameter_cannot_be_replaced_behind_the_packed_weights(make: Any) -> None:
    thing = make(seed=0)
    for name, array in thing.state_dict().items():
        with pytest.raises(AttributeError, match=f"{name}|load_state_dict"):
            setattr(thing, name, np.zeros_like(array))


@both_kinds
def test_sizes_and_options_cannot_be_changed(make: Any) -> None:
    thing = make(seed=0)
    for name in ("input_size", "hidden_size", "bias", "dtype", "isa"):
        with pytest.raises(AttributeError):
            setattr(thing, name, getattr(thing, name))


@both_kinds
def test_changing_the_returned_mapping_changes_nothing(make: Any) -> None:
    thing = make(seed=0)
    expected = flat(run(thing))
    thing.state_dict().clear()
    assert thing.state_dict()
    assert_same_bits(flat(run(thing)), expected)


def test_attributes() -> None:
    lstm = fastlstm.LSTM(4, 6, 2, False, True, 0.25, True, 2, dtype="float64", threads=2, seed=0)
    expected = {"input_size": 4, "hidden_size": 6, "num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.25}
    expected |= {"bidirectional": True, "proj_size": 2, "dtype": np.dtype("float64"), "threads": 2}
    assert {name: getattr(lstm, name) for name in expected} == expected
    weights = lstm.state_dict()
    assert lstm.weight_hr_l1_reverse is weights["weight_hr_l1_reverse"]
    assert set(weights) <= set(dir(lstm))
    with pytest.raises(AttributeError, match="'LSTM' object has no attribute 'weight_ih_l2'"):
        _ = lstm.weight_ih_l2
    assert not hasattr(lstm, "bias_ih_l0")


def test_a_cell_without_bias_has_none_as_in_torch() -> None:
    cell = fastlstm.LSTMCell(4, 6, bias=False)
    assert cell.bias_ih is None
    assert cell.bias_hh is None


# load_state_dict


@both_kinds
def test_weights_go_round(make: Any) -> None:
    one, other = make(seed=1), make(seed=2)
    assert (flat(run(one))[0] != flat(run(other))[0]).any()
    other.load_state_dict(one.state_dict())
    assert_same_bits(flat(run(other)), flat(run(one)))


@both_kinds
@pytest.mark.parametrize("kind", [OrderedDict, UserDict, MappingProxyType])
def test_any_mapping_of_array_likes_loads(make: Any, kind: Any) -> None:
    one, other = make(seed=1), make(seed=2)
    other.load_state_dict(kind({name: array.tolist() for name, array in one.state_dict().items()}))
    assert_same_bits(flat(run(other)), flat(run(one)))


@both_kinds
def test_loaded_values_are_copied(make: Any) -> None:
    thing = make(seed=1)
    weights = {name: array.copy() for name, array in thing.state_dict().items()}
    thing.load_state_dict(weights)
    expected = flat(run(thing))
    kept = {name: array.copy() for name, array in weights.items()}
    for array in weights.values():
        array[...] = 7
    assert_same_bits(flat(run(thing)), expected)
    for name, array in thing.state_dict().items():
        assert_same_bits(array, kept[name])
        assert not np.shares_memory(array, weights[name])


def changed(weights: dict[str, Array], **changes: Any) -> dict[str, Any]:
    """Return a copy with some entries replaced, or left out where None."""
    return {name: value for name, value in (weights | changes).items() if value is not None}


@both_kinds
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda w, last: changed(w, **{last: None}), ValueError, "state_dict .*missing: {last}"),
        (lambda w, last: changed(w, more=w[last]), ValueError, "state_dict .*unexpected: more"),
        (lambda w, last: changed(w, **{last: w[last][:-1]}), ValueError, r"state_dict\['{last}'\] size"),
        (lambda w, last: changed(w, **{last: w[last].astype(float)}), TypeError, r"state_dict\['{last}'\] .*float64"),
        (lambda w, last: changed(w, **{last: w[last].astype(int)}), TypeError, r"state_dict\['{last}'\] .*int64"),
        (lambda w, last: changed(w, **{last: "text"}), TypeError, r"state_dict\['{last}'\]"),
        (lambda w, last: list(w.items()), TypeError, "state_dict should be a mapping .*list"),
        (lambda w, last: None, TypeError, "state_dict should be a mapping .*NoneType"),
    ],
)
def test_a_state_dict_that_does_not_fit_changes_nothing(
    make: Any, change: Any, error: type[Exception], message: str
) -> None:
    thing = make(seed=1)
    before, expected = thing.state_dict(), flat(run(thing))
    other = {name: array + 1 for name, array in before.items()}  # all valid but for the last
    last = list(before)[-1]
    with pytest.raises(error, match=message.format(last=last)):
        thing.load_state_dict(change(other, last))
    after = thing.state_dict()
    assert all(after[name] is array for name, array in before.items())
    assert_same_bits(flat(run(thing)), expected)


# Copies and pickles


@both_kinds
@pytest.mark.parametrize("options", [{}, {"dtype": "float64"}, {"isa": "scalar"}, {"bias": False}], ids=str)
def test_pickles_and_copies_are_the_same_object_again(make: Any, options: dict[str, Any]) -> None:
    thing = make(seed=1, **options)
    expected = flat(run(thing))
    again = [pickle.loads(pickle.dumps(thing, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for other in [*again, copy.copy(thing), copy.deepcopy(thing)]:
        assert type(other) is type(thing)
        assert repr(other) == repr(thing)
        assert other.isa == thing.isa
        assert_same_bits(flat(run(other)), expected)
        for name, array in other.state_dict().items():
            assert not array.flags.writeable
            assert_same_bits(array, thing.state_dict()[name])


@both_kinds
def test_pickles_name_the_package_and_not_its_modules(make: Any) -> None:
    thing = make(seed=1, form=fastlstm.Form(gate="hard_sigmoid"))
    pickled = pickle.dumps(thing, 2)
    assert set(re.findall(rb"c(fastlstm[\w.]*)\n", pickled)) == {b"fastlstm"}


@pytest.mark.parametrize(
    ("module", "name"),
    [("_layers", "LSTM"), ("_cell", "LSTMCell"), ("_forms", "Form"), ("_training", "Gradients")],
)
def test_pickles_that_name_modules_load(module: str, name: str) -> None:
    lstm = fastlstm.LSTM(4, 3, seed=1, form=fastlstm.Form(gate="hard_sigmoid"))
    output, _, tape = lstm.forward(np.ones((5, 2, 4), np.float32))
    for thing in (lstm, fastlstm.LSTMCell(4, 3, form=lstm.form), lstm.backward(tape, output)):
        pickled = pickle.dumps(thing, 2)
        old = pickled.replace(f"cfastlstm\n{name}\n".encode(), f"cfastlstm.{module}\n{name}\n".encode())
        again = pickle.loads(old)
        assert type(again) is type(thing)
        assert repr(again) == repr(thing)


@both_kinds
def test_copies_go_their_own_way(make: Any) -> None:
    thing, other = make(seed=1), make(seed=2)
    expected = flat(run(thing))
    for copied in (copy.copy(thing), copy.deepcopy(thing)):
        copied.load_state_dict(other.state_dict())
        assert_same_bits(flat(run(copied)), flat(run(other)))
        assert_same_bits(flat(run(thing)), expected)


def test_pickles_with_buffers_of_their_own_stay_packed() -> None:
    # protocol 5 may hand the arrays' memory over: whoever owns it must not be able to make the packed copy stale
    lstm = fastlstm.LSTM(4, 6, seed=0)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(lstm, 5, buffer_callback=buffers.append)
    writable = [bytearray(buffer.raw()) for buffer in buffers]
    again = pickle.loads(data, buffers=writable)
    for memory in writable:
        memory[:] = bytes(len(memory))
    for name, array in lstm.state_dict().items():
        assert_same_bits(again.state_dict()[name], array)


def test_a_pickle_of_a_layer_that_has_worker_threads() -> None:
    case = Case("objects-threads", T=5, B=12, I=4, H=33)
    data = make_data(case, "float32")
    lstm = lstm_of(case, data, threads=2)
    expected = results(lstm, data)
    again = pickle.loads(pickle.dumps(lstm))
    assert again.threads == 2
    assert_same_bits(results(again, data), expected)


def test_a_state_that_is_set_brings_its_own_number_of_threads() -> None:
    case = Case("objects-threads", T=5, B=12, I=4, H=33)
    data = make_data(case, "float32")
    lstm = lstm_of(case, data, threads=2)
    expected = results(lstm, data)
    for threads in (3, 1, 2):
        lstm.__setstate__(lstm_of(case, data, threads=threads).__getstate__())
        assert lstm.threads == threads
        assert_same_bits(results(lstm, data), expected)
        assert (1 if lstm._workers is None else lstm._workers.threads) == threads


def test_a_stream_says_why_it_cannot_be_copied() -> None:
    stream = fastlstm.LSTM(4, 6).stream()
    for function in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="a Stream cannot be pickled or copied: pickle its state"):
            function(stream)


# Streams as objects


def test_a_stream_keeps_its_weights() -> None:
    lstm, other = fastlstm.LSTM(4, 6, seed=1), fastlstm.LSTM(4, 6, seed=2)
    x = np.ones((5, 4), np.float32)
    expected = lstm(x)[0]
    stream = lstm.stream()
    lstm.load_state_dict(other.state_dict())
    assert_same_bits(np.stack([stream.step(row) for row in x]), expected)
    assert_same_bits(lstm(x)[0], other(x)[0])


def test_a_stream_outlives_its_layer() -> None:
    x = np.ones((5, 4), np.float32)
    expected = fastlstm.LSTM(4, 6, seed=1)(x)[0]
    stream = fastlstm.LSTM(4, 6, seed=1).stream()
    assert_same_bits(stream.feed(x), expected)


def test_a_state_is_a_copy() -> None:
    stream = fastlstm.LSTM(4, 6, seed=1).stream()
    stream.step(np.ones(4, np.float32))
    h, c = stream.state
    kept = h.copy(), c.copy()
    h[...], c[...] = 7, 7
    assert_same_bits(stream.state, kept)


def test_streams_do_not_share_a_state() -> None:
    lstm = fastlstm.LSTM(4, 6, seed=1)
    x = np.ones(4, np.float32)
    one, other = lstm.stream(), lstm.stream()
    first = one.step(x)
    one.step(x)
    assert_same_bits(other.step(x), first)


def test_stream_attributes() -> None:
    stream = fastlstm.LSTM(4, 6, proj_size=2).stream(3)
    assert stream.batch_size == 3
    assert repr(stream) == "Stream(4 -> 2, batch_size=3)"
    with pytest.raises(AttributeError):
        stream.batch_size = 4  # type: ignore[misc]


# repr


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (fastlstm.LSTM(4, 3), "LSTM(4, 3)"),
        (
            fastlstm.LSTM(4, 3, num_layers=2, bidirectional=True, proj_size=2),
            "LSTM(4, 3, proj_size=2, num_layers=2, bidirectional=True)",
        ),
        (
            fastlstm.LSTM(4, 3, 2, False, True, 0.5),
            "LSTM(4, 3, num_layers=2, bias=False, batch_first=True, dropout=0.5)",
        ),
        (fastlstm.LSTM(4, 3, dtype=np.float64, threads=2), "LSTM(4, 3, dtype='float64', threads=2)"),
        (fastlstm.LSTM(4, 3, isa="scalar"), "LSTM(4, 3, isa='scalar')"),
        (fastlstm.LSTMCell(4, 3), "LSTMCell(4, 3)"),
        (fastlstm.LSTMCell(4, 3, bias=False), "LSTMCell(4, 3, bias=False)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_repr_is_torch_s_and_makes_an_equal_object(thing: Any, text: str) -> None:
    assert repr(thing) == text
    assert repr(eval(text, {"LSTM": fastlstm.LSTM, "LSTMCell": fastlstm.LSTMCell})) == text


# Warnings


@pytest.mark.parametrize("number", [int, float, np.int8, np.uint64, np.float16, np.float32, np.float64])
def test_dropout_of_any_kind_of_number(number: Any) -> None:
    assert [fastlstm.LSTM(4, 3, 2, dropout=number(share)).dropout for share in (0, 1)] == [0.0, 1.0]


def test_dropout_between_layers_that_are_not_there_warns_as_in_torch() -> None:
    message = "num_layers greater than 1, but got dropout=0.5 and num_layers=1"
    with pytest.warns(UserWarning, match=message) as caught:
        fastlstm.LSTM(4, 3, dropout=0.5)
    assert caught[0].filename == __file__


def test_dropout_does_nothing_outside_training() -> None:
    x = np.ones((5, 4), np.float32)
    plain, dropping = fastlstm.LSTM(4, 3, 2, seed=0), fastlstm.LSTM(4, 3, 2, dropout=0.5, seed=0)
    assert_same_bits(flat(dropping(x)), flat(plain(x)))


# Instruction sets


def test_scalar_is_always_there_and_last() -> None:
    assert fastlstm.isas()[-1] == "scalar"
    assert len(set(fastlstm.isas())) == len(fastlstm.isas())


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="Linux tells what the CPU has")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="its names of what a CPU has")
def test_vectors_are_used_where_the_cpu_has_them() -> None:
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        flags = set(info.read().split())
    v3 = {"avx", "avx2", "fma", "f16c", "movbe", "bmi1", "bmi2", "abm"}
    v4 = v3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
    needed = {"avx512vnni": v4 | {"avx512_vnni"}, "avx512": v4, "avx2vnni": v3 | {"avx_vnni"}, "avx2": v3}
    there = [name for name, wanted in needed.items() if wanted <= flags] + ["scalar"]
    found = run_python("import fastlstm; print(*fastlstm.isas(weights='int8'))", FASTLSTM_HIDE="").split()
    assert {"amx_tile", "amx_int8"} <= flags or "amx" not in found
    assert [name for name in found if name != "amx"] == there
    reals = run_python("import fastlstm; print(*fastlstm.isas())", FASTLSTM_HIDE="").split()
    assert reals == [name for name in there if not name.endswith("vnni")]


@pytest.mark.skipif(platform.machine().lower() not in {"aarch64", "arm64"}, reason="AArch64 has one")
def test_every_aarch64_has_vectors() -> None:
    assert run_python("import fastlstm; print(*fastlstm.isas())", FASTLSTM_HIDE="").split() == ["neon", "scalar"]


@pytest.mark.skipif(platform.machine() != "aarch64" or sys.platform != "linux", reason="its word of what a CPU has")
def test_the_dot_product_is_used_where_the_cpu_has_it() -> None:
    has = ctypes.CDLL(None).getauxval(16) & 1 << 20  # AT_HWCAP, HWCAP_ASIMDDP
    found = run_python("import fastlstm; print(*fastlstm.isas(weights='int8'))", FASTLSTM_HIDE="").split()
    assert found == ["neondot"] * bool(has) + ["neon", "scalar"]


def test_hidden_instruction_sets_are_not_there() -> None:
    script = "import fastlstm; print(*fastlstm.isas(), fastlstm.isa(), fastlstm.LSTM(4, 3).isa)"
    assert run_python(script, FASTLSTM_HIDE="avx512,avx2,neon", FASTLSTM_ISA="").split() == ["scalar"] * 3
    script = "import fastlstm; print(*fastlstm.isas(weights='int8'), fastlstm.LSTM(4, 3, weights='int8').isa)"
    assert run_python(script, FASTLSTM_HIDE="avx512,avx2,neon", FASTLSTM_ISA="").split() == ["scalar"] * 2


@each_isa
def test_the_named_instruction_set_is_the_one_that_runs(isa: str) -> None:
    # the name comes back from the plan, out of the row of the table that its kernels were taken from
    lstm, cell = fastlstm.LSTM(4, 3, isa=isa), fastlstm.LSTMCell(4, 3, isa=isa)
    assert lstm.isa == cell.isa == isa
    lstm.load_state_dict(lstm.state_dict())
    assert lstm.isa == isa


@each_isa
def test_the_environment_forces_an_instruction_set(isa: str) -> None:
    script = (
        "import fastlstm; print(fastlstm.isa(), fastlstm.LSTM(4, 3).isa, fastlstm.LSTMCell(4, 3).isa,"
        " fastlstm.LSTM(4, 3, isa='scalar').isa)"
    )
    assert run_python(script, FASTLSTM_ISA=isa).split() == [isa, isa, isa, "scalar"]


def test_the_best_instruction_set_is_the_default() -> None:
    assert run_python("import fastlstm; print(fastlstm.isa())", FASTLSTM_ISA="").split() == fastlstm.isas()[:1]


@pytest.mark.parametrize(
    "call", ["LSTM(4, 3)", "LSTMCell(4, 3)", "sigmoid([1.0])", "gates_forward([0.0] * 4, [1.0])", "isa()"]
)
def test_an_unknown_name_in_the_environment_is_an_error(call: str) -> None:
    script = f"""
import fastlstm
try:
    fastlstm.{call}
except ValueError as error:
    assert "FASTLSTM_ISA='pentium' is unknown or not supported by this CPU; supported: " in str(error), error
else:
    raise SystemExit("no error")
"""
    run_python(script, FASTLSTM_ISA="pentium")


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    fastlstm.show_config()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"fastlstm {fastlstm.__version__}, contract 2, numpy {np.__version__}"
    assert lines[1] == f"  {_core.cpus()} CPUs for this process: a call takes no more threads"
    assert [line.split()[0 if line[2] == " " else 1] for line in lines[2:]] == fastlstm.isas(weights="int8")
    assert [line.split()[1] for line in lines if line.startswith("  * ")] == [fastlstm.isa()]


# The package


def modules() -> list[str]:
    """Names of all public modules, those that need a framework aside."""
    found = [name for _, name, _ in pkgutil.iter_modules(fastlstm.__path__, "fastlstm.")]
    return ["fastlstm", *(name for name in found if name.split(".")[1] not in ("_core", "__main__"))]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings(name: str) -> None:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"{name} needs {error.name}")
    result = doctest.testmod(module)
    assert result.failed == 0


@pytest.mark.parametrize("name", [name for name in fastlstm.__all__ if isinstance(getattr(fastlstm, name), type)])
def test_examples_of_methods(name: str) -> None:
    # `testmod` leaves them out: a public class says that it is of the package, its methods are of their module
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(getattr(fastlstm, name), name, module=False):  # type: ignore[arg-type]
        runner.run(test)
    assert runner.failures == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    for thing in (
        fastlstm,
        fastlstm.LSTM,
        fastlstm.LSTMCell,
        fastlstm.Stream,
        fastlstm.sigmoid,
        fastlstm.gates_forward,
    ):
        assert any(test.examples for test in finder.find(thing)), thing
    methods = {test.name for test in finder.find(fastlstm.LSTM, "LSTM", module=False) if test.examples}  # type: ignore[arg-type]
    assert methods >= {
        f"LSTM.{name}" for name in ("__call__", "forward", "backward_chunks", "stream", "pool", "window")
    }


def test_everything_public_is_documented() -> None:
    for name in fastlstm.__all__:
        thing = getattr(fastlstm, name)
        assert name.startswith("__") or thing.__doc__, name
    members = itertools.chain.from_iterable(
        vars(kind).items() for kind in (fastlstm.LSTM, fastlstm.LSTMCell, fastlstm.Stream)
    )
    for name, member in members:
        if not name.startswith("_") and callable(member):
            assert member.__doc__, name


def test_import_brings_numpy_and_the_standard_library_only() -> None:
    script = """
import sys
import numpy
before = set(sys.modules)
import fastlstm
after = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(after - sys.stdlib_module_names - {"numpy"}))
"""
    foreign = set(run_python(script).split())
    # Cython puts two helper modules of its own beside the extension
    assert {name for name in foreign if not name.startswith(("_cython_", "cython_runtime"))} == {"fastlstm"}


def test_import_starts_no_threads_and_prints_nothing() -> None:
    script = """
import os, numpy
threads = lambda: len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 0
before = threads()
import fastlstm
fastlstm.LSTM(4, 3)(numpy.ones((5, 4), "float32"))
fastlstm.LSTM(4, 3, threads=4)
assert threads() == before
"""
    assert run_python(script) == ""


def test_cells_and_layers_share_weights_by_name() -> None:
    case = Case("objects-cell", T=1, B=2, I=4, H=6)
    data = make_data(case, "float32")
    cell, lstm = cell_of(case, data), lstm_of(case, data)
    for name, array in cell.state_dict().items():
        assert_same_bits(array, lstm.state_dict()[f"{name}_l0"])
