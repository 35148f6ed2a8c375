"""compare: every figure against a plain computation of it."""

import doctest
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest

import fastlstm
from fastlstm import _compare, _weights
from tests.support import assert_same_bits

NAMES = list(_weights.names())
T, B, I, H = 40, 3, 5, 7

KINDS = {
    "plain": {},
    "stack": {"num_layers": 3},
    "both": {"num_layers": 2, "bidirectional": True},
    "projected": {"num_layers": 2, "proj_size": 3},
    "eleven": {"num_layers": 11},  # names of which one begins like another
    "form": {"num_layers": 2, "form": fastlstm.Form(peepholes=True)},
    "threads": {"num_layers": 2, "threads": 2, "batch_first": True},
}


def data(seed=0, shape=(T, B, I)):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def layer_by_layer(lstm, x, lengths):
    """Run a stack [T, B, I] the long way: plain float32 layers of the rounded weights."""
    answers = []
    for k in range(lstm.num_layers):
        one = fastlstm.LSTM(
            x.shape[2],
            lstm.hidden_size,
            bidirectional=lstm.bidirectional,
            proj_size=lstm.proj_size,
            form=lstm.form,
            weights=lstm.weights,
        )
        given = lstm.state_dict()
        one.load_state_dict({name: given[name.replace("_l0", f"_l{k}")] for name in one.state_dict()})
        x, states = one(x, lengths=lengths)
        answers.append((x, *states))
    return answers


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lengths", [None, [T, 13, 9], [0, 25, 0]], ids=["whole", "unequal", "some empty"])
def test_every_figure(kind, name, lengths):
    lstm = fastlstm.LSTM(I, H, seed=1, **KINDS[kind])
    x = data()
    given = x.swapaxes(0, 1) if lstm.batch_first else x
    found = fastlstm.compare(lstm, given, name, lengths=lengths)[name]
    exact, ours = (layer_by_layer(each, x, lengths) for each in (lstm, lstm.astype(weights=name)))
    ends = [T] * B if lengths is None else lengths
    D, R = 1 + lstm.bidirectional, lstm.proj_size or H
    assert found.steps.rms.shape == (lstm.num_layers, D, T)
    for layer, d in np.ndindex(found.drift.shape):
        y = (exact[layer][0].astype(np.float64) - ours[layer][0])[:, :, d * R : (d + 1) * R]
        rows = [y[:end, b] for b, end in enumerate(ends)]
        every = np.concatenate(rows)
        np.testing.assert_allclose(found.y.largest[layer, d], np.abs(every).max(), rtol=1e-12)
        np.testing.assert_allclose(found.y.rms[layer, d], np.sqrt((every**2).mean()), rtol=1e-12)
        for t in range(T):
            left = [row[t] for row in rows if t < len(row)]
            largest, rms = (np.abs(left).max(), np.sqrt(np.mean(np.square(left)))) if left else (0, 0)
            assert found.steps.largest[layer, d, t] == largest
            np.testing.assert_allclose(found.steps.rms[layer, d, t], rms, rtol=1e-12)
        tenths = {1: [], 9: []}
        for row in rows:
            in_order = row[::-1] if d else row
            for t in range(len(row) if len(row) >= 10 else 0):
                tenths.get(int(10 * t / len(row)), []).append(in_order[t])
        early, late = (np.sqrt(np.mean(np.square(tenths[k]))) for k in (1, 9))
        np.testing.assert_allclose(found.drift[layer, d], late / early, rtol=1e-12)
        for figures, k in ((found.h_n, 1), (found.c_n, 2)):
            state = exact[layer][k][d].astype(np.float64) - ours[layer][k][d]
            assert figures.largest[layer, d] == np.abs(state).max()
            np.testing.assert_allclose(figures.rms[layer, d], np.sqrt((state**2).mean()), rtol=1e-12)
    rounded = lstm.astype(weights=name)
    assert found.weight_errors == {
        k: np.abs(v.astype(np.float64) - getattr(rounded, k)).max()
        for k, v in lstm.state_dict().items()
        if k.startswith("weight") and "_ph" not in k
    }
    assert not found.unknown.any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_the_metric_sees_the_layer_s_own_answers_to_the_bit(kind, name):
    """So the sum of the layers that are run one by one is the stack."""
    lstm = fastlstm.LSTM(I, H, seed=2, **KINDS[kind])
    x = data(3, (B, T, I) if lstm.batch_first else (T, B, I))
    seen = []
    lengths = [T, 3, 0]

    def metric(exact, ours):
        seen.append((exact, ours))
        return 1

    result = fastlstm.compare(lstm, x, name, lengths=lengths, metric=metric)
    assert result[name].metric == 1.0
    ((exact, ours),) = seen
    assert_same_bits(exact, lstm(x, lengths=lengths)[0], "float32")
    assert_same_bits(ours, lstm.astype(weights=name)(x, lengths=lengths)[0], name)


def test_hx_and_resets_reach_every_layer():
    lstm = fastlstm.LSTM(I, H, num_layers=2, seed=0)
    x, resets = data(), np.random.default_rng(1).random((T, B)) < 0.1
    hx = data(4, (2, B, H)), data(5, (2, B, H))
    found = fastlstm.compare(lstm, x, "bfloat16", hx=hx, resets=resets)["bfloat16"]
    exact, ours = (each(x, hx, resets=resets) for each in (lstm, lstm.astype(weights="bfloat16")))
    assert found.y.largest[1, 0] == np.abs(exact[0].astype(np.float64) - ours[0]).max()
    for figures, k in ((found.h_n, 0), (found.c_n, 1)):
        np.testing.assert_array_equal(
            figures.largest[:, 0], np.abs(exact[1][k].astype(np.float64) - ours[1][k]).max((1, 2))
        )


def test_unbatched():
    lstm = fastlstm.LSTM(I, H, seed=0)
    x = data()[:, 0]
    shapes = []
    result = fastlstm.compare(lstm, x, metric=lambda a, b: shapes.append(a.shape) or 0)
    assert (list(result), result.T, result.B, set(shapes)) == (NAMES, T, 1, {(T, H)})
    assert_same_bits(
        result["float16"].steps.rms, fastlstm.compare(lstm, x[:, None], "float16")["float16"].steps.rms, "y"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_different_is_exactly_0(kind):
    """float32 against float32; and weights that 16 bits hold as they are."""
    lstm = fastlstm.LSTM(I, H, seed=0, **KINDS[kind])
    for layer, name in ((lstm, "float32"), (lstm.astype(weights="float16"), "float16")):
        found = fastlstm.compare(layer, data(0, (B, T, I) if lstm.batch_first else (T, B, I)), name)[name]
        for figures in (found.steps, found.y, found.h_n, found.c_n):
            assert not figures.largest.any()
            assert not figures.rms.any()
        assert (found.drift == 1).all()
        assert set(found.weight_errors.values()) == {0.0}


def test_a_reduced_layer_is_compared_with_its_own_float32_answer():
    half = fastlstm.LSTM(I, H, seed=0).astype(weights="float16")
    plain = half.astype(weights="float32")
    a, b = (fastlstm.compare(each, data(), "bfloat16")["bfloat16"] for each in (half, plain))
    assert_same_bits(a.steps.rms, b.steps.rms, "rms")
    assert a.y.largest.all()


def test_nan_in_both_is_counted_and_left_out():
    lstm = fastlstm.LSTM(I, H, seed=0)
    x = data()
    x[30, 1] = np.nan
    result = fastlstm.compare(lstm, x, "float16")
    found, without = result["float16"], fastlstm.compare(lstm, x[:, [0, 2]], "float16")["float16"]
    assert found.unknown.tolist() == [[10 * H]]
    np.testing.assert_array_equal(found.steps.largest[0, 0, 30:], without.steps.largest[0, 0, 30:])
    np.testing.assert_allclose(found.steps.rms[0, 0, 30:], without.steps.rms[0, 0, 30:], rtol=1e-12)
    assert f"{10 * H} numbers of y are NaN in both answers" in str(result)
    x[:] = np.nan
    every = fastlstm.compare(lstm, x, "float16")["float16"]
    assert (every.unknown.item(), every.y.largest.item(), np.isnan(every.drift.item())) == (T * B * H, 0.0, True)


def test_nan_in_one_is_nan():
    exact, ours = np.zeros((2, 1, 3), np.float32), np.zeros((2, 1, 3), np.float32)
    exact[1, 0, 0], exact[0, 0, 1], ours[0, 0, 1] = np.nan, np.inf, np.inf
    found = _compare._Squares.of(exact, ours, np.ones((2, 1), np.bool_))
    np.testing.assert_array_equal(found.each_step().largest, [0, np.nan])
    np.testing.assert_array_equal(found.each_step().rms, [0, np.nan])
    assert found.unknown == 0


@pytest.mark.parametrize(
    ("shape", "lengths"), [((0, 2, I), None), ((3, 0, I), None), ((3, 2, I), [0, 0]), ((9, 2, I), None)]
)
def test_nothing_and_little_to_compare(shape, lengths):
    result = fastlstm.compare(fastlstm.LSTM(I, H, seed=0), np.ones(shape, np.float32), lengths=lengths)
    for each in result.values():
        assert each.steps.rms.shape == (1, 1, shape[0])
        assert np.isfinite(each.y.rms).all()
        assert np.isnan(each.drift).all()
    assert len(str(result).splitlines()) == 3 + len(NAMES)


def test_saturated_integers():
    state = {
        "weight_ih_l0": np.array([[127, -127, 0, 5]], np.int8),
        "weight_hh_l0": np.array([[-128, 1]], np.int8),
        "scale": np.ones(1, np.float32),
    }
    assert _compare._saturated(state) == {"weight_ih_l0": 0.5, "weight_hh_l0": 0.5}
    assert fastlstm.compare(fastlstm.LSTM(I, H), data(), "float16")["float16"].saturated == {}


def test_it_prints_as_a_table():
    lstm = fastlstm.LSTM(I, H, num_layers=2, bidirectional=True, seed=0)
    result = fastlstm.compare(lstm, data(), ["bfloat16", "float32"], metric=lambda a, b: 0.25)
    lines = str(result).splitlines()
    assert lines[0] == f"{lstm}, {T} steps, {B} rows: differences from float32"
    assert lines[2].split("  ")[0] == "weights"
    worst = f"{result['bfloat16'].y.largest[-1].max():.2e}"
    assert lines[3].split()[:2] == ["bfloat16", worst]
    assert lines[4].split() == ["float32", "0", "0", "0", "0", "1.00", "0", "0.25"]
    assert [line.split()[:3] for line in lines[7:9]] == [
        ["bfloat16", "0", f"{result['bfloat16'].y.largest[0, 0]:.2e}"],
        ["bfloat16", "0", "reverse"],
    ]
    assert len(lines) == 5 + 1 + 1 + 8
    assert repr(result) == f"Comparison({lstm}, ['bfloat16', 'float32'])"


def test_as_dict_is_json_s():
    result = fastlstm.compare(fastlstm.LSTM(I, H, seed=0), data()[:5], "float16")
    found = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    float16 = found["weights"]["float16"]
    assert float16["steps"]["largest"] == result["float16"].steps.largest.tolist()
    assert (float16["drift"], float16["metric"], found["T"], found["B"]) == ([["nan"]], None, 5, B)


def test_pickling():
    result = fastlstm.compare(fastlstm.LSTM(I, H, seed=0), data())
    again = pickle.loads(pickle.dumps(result))
    assert (type(again), str(again)) == (fastlstm.Comparison, str(result))


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_plot(ending, tmp_path):
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    lstm = fastlstm.LSTM(I, H, num_layers=2, bidirectional=True, seed=0)
    for names in (None, "float32"):  # of zeros alone there is no logarithm
        fastlstm.compare(lstm, data(), names).plot(tmp_path / f"picture.{ending}")
        head = (tmp_path / f"picture.{ending}").read_bytes()[:200]
        assert head.startswith(b"\x89PNG") if ending == "png" else b"<?xml" in head
    with pytest.raises(ValueError, match="nonsense"):
        fastlstm.compare(lstm, data()).plot(tmp_path / "picture.nonsense")


def test_plot_without_matplotlib(tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match="plot needs matplotlib"):
        fastlstm.compare(fastlstm.LSTM(I, H), data()).plot(tmp_path / "picture.png")
    assert list(tmp_path.iterdir()) == []


def test_it_is_imported_when_it_is_asked_for():
    code = (
        "import sys, fastlstm; before = 'fastlstm._compare' in sys.modules; fastlstm.compare; "
        "print(before, 'matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_its_example():
    (found,) = doctest.DocTestFinder().find(fastlstm.compare, "compare", module=False)
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0


GOOD = fastlstm.LSTM(I, H, seed=0)
LARGE = fastlstm.LSTM(I, H, num_layers=2)
LARGE.load_state_dict(LARGE.state_dict() | {"weight_hh_l1": np.full((4 * H, H), 1e6, np.float32)})


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((fastlstm.LSTMCell(I, H), data()), {}, TypeError, "lstm should be a fastlstm.LSTM, got: LSTMCell"),
        ((None, data()), {}, TypeError, "lstm should be a fastlstm.LSTM, got: NoneType"),
        (
            (fastlstm.LSTM(I, H, dtype="float64"), data()),
            {},
            ValueError,
            "lstm should be a layer of float32, got: dtype='float64'",
        ),
        ((GOOD, data(), "int3"), {}, ValueError, "weights should be one of .*got: 'int3'"),
        ((GOOD, data(), "auto"), {}, ValueError, "weights should be one of .*got: 'auto'"),
        ((GOOD, data(), "float64"), {}, ValueError, "weights should be one of .*got: 'float64'"),
        ((GOOD, data(), ["float16", "int3"]), {}, ValueError, "weights should be one of .*got: 'int3'"),
        ((GOOD, data(), []), {}, ValueError, r"one or more different names, got: \[\]"),
        ((GOOD, data(), ["float16"] * 2), {}, ValueError, "one or more different names"),
        ((GOOD, data(), [16]), {}, TypeError, "a sequence of names, got: "),
        ((GOOD, data(), 16), {}, TypeError, "a sequence of names, got: 16"),
        ((GOOD, data(), {"float16"}), {}, TypeError, "a sequence of names, got: "),
        ((LARGE, data(), "float16"), {}, ValueError, "weight_hh_l1 has 1000000.0, which does not fit in float16"),
        ((GOOD, data().astype(np.float64)), {}, TypeError, "input should have dtype float32"),
        ((GOOD, data()[:, :, :-1]), {}, ValueError, "Expected 5, got 4"),
        ((GOOD, data()), {"lengths": [T + 1, 1, 1]}, ValueError, "lengths should be in 0..40"),
        ((GOOD, data()), {"resets": np.zeros(3, np.bool_)}, ValueError, "Expected resets size"),
        ((GOOD, data()), {"hx": np.zeros(3)}, TypeError, "hx should be a pair"),
        ((GOOD, data()), {"metric": 3}, TypeError, "metric should be callable, got: int"),
        ((GOOD, data()), {"metric": lambda a, b: "x"}, TypeError, "metric should return a number, got: str"),
        ((GOOD, data()), {"metric": lambda a, b: a}, TypeError, "metric should return a number, got: ndarray"),
    ],
)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=message):
        fastlstm.compare(*arguments, **options)


def test_integers_from_elsewhere_are_not_rounded_again():
    state = {name: array.copy() for name, array in fastlstm.LSTM(I, H, seed=1, weights="int8").state_dict().items()}
    for name in ("weight_ih_l0", "weight_hh_l0"):
        state[f"{name}_zero_point"] = np.int8(5)
        state[f"{name}_scale"] = state[f"{name}_scale"] * np.float32(1.0000001)
    lstm, x = fastlstm.LSTM(I, H, weights="int8"), data()
    lstm.load_state_dict(state)
    plain = lstm.astype(weights="float32")
    for given in (lstm, lstm.astype(weights="int8-fast")):
        found = fastlstm.compare(given, x, ["int8", "int8-fast"])
        for name in ("int8", "int8-fast"):
            assert set(found[name].weight_errors.values()) == {0.0}
            assert found[name].y.largest[-1, 0] == np.abs(lstm.astype(weights=name)(x)[0] - plain(x)[0]).max()


def test_rows_that_are_too_long_for_integers():
    long, x = fastlstm.LSTM(16385, 1), np.ones((2, 1, 16385), np.float32)
    assert list(fastlstm.compare(long, x)) == ["float16", "bfloat16"]
    for call in (lambda: fastlstm.compare(long, x, "int8"), lambda: long.astype(weights="int8-fast")):
        with pytest.raises(ValueError, match="is for at most 16384 inputs and units of a layer, got: 16385"):
            call()
