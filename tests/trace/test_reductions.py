"""What a trace tells beside the gates: each against a plain computation in NumPy."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm import Form, _trace, reference
from tests.cases import Array, Case, make_data
from tests.forms.support import FORMS, TRAINABLE
from tests.support import by_name, lstm_of
from tests.trace.support import steps_first, traced

SHAPES = (
    Case("reduce-plain", T=40, B=3, I=5, H=9, scale=4),
    Case("reduce-everything", T=19, B=5, I=7, H=10, P=3, num_layers=2, bidirectional=True, ragged=True, scale=4),
    Case("reduce-resets", T=30, B=4, I=5, H=9, num_layers=2, resets=True, ragged=True, batch_first=True, scale=4),
    Case("reduce-no-bias", T=12, B=2, I=5, H=9, bias=False, bidirectional=True),
    Case("reduce-peepholes", T=15, B=3, I=4, H=11, form=Form(peepholes=True), num_layers=2, scale=3),
    Case("reduce-coupled", T=15, B=3, I=4, H=11, form=Form(peepholes=True, coupled=True), scale=3),
    Case("reduce-summed", T=15, B=3, I=4, H=11, form=Form(summed=True), scale=3),
)
PARTS = (1, 2**20)  # numbers at once: a part for every step, or one


def trace_of(case: Case, **options: Any) -> fastlstm.GateTrace:
    data = make_data(case, "float32")
    return traced(lstm_of(case, data), data, **options)


def means(trace: fastlstm.GateTrace, values: Callable[[dict[str, Array]], Array]) -> Array:
    """Average what single steps come to, one by one."""
    names = ("i", "f", "g", "o", "c", "c_prev")
    found = [
        values({name: getattr(trace, name)[:, :, s, b].astype(np.float64) for name in names})
        for s, b in np.ndindex(*trace.f.shape[2:4])
        if trace.steps[s] < trace.lengths[b]
    ]
    assert found
    return np.mean(found, axis=0)


def wrote(case: Case, v: dict[str, Array]) -> Array:
    """Return what a step writes."""
    return v["i"] + v["g"] if case.form and case.form.summed else v["i"] * v["g"]


@pytest.fixture(params=PARTS)
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little memory a reduction works in."""
    monkeypatch.setattr(_trace, "_NUMBERS_AT_ONCE", request.param)


pytestmark = pytest.mark.usefixtures("parts")
close = np.testing.assert_allclose


@pytest.mark.parametrize("every", [1, 3])
@by_name(SHAPES)
def test_saturation(case: Case, every: int) -> None:
    trace = trace_of(case, every=every)
    shares = trace.saturation()
    assert set(shares) == set("ifgo")
    for name, (below, above) in shares.items():
        low, high = (-0.8, 0.8) if name == "g" else (0.1, 0.9)
        close(below, means(trace, lambda v, n=name, t=low: v[n] < t))
        close(above, means(trace, lambda v, n=name, t=high: v[n] > t))
    other = trace.saturation(0.4, 0.5)["o"]
    close(other.below, means(trace, lambda v: v["o"] < 0.4))
    close(other.above, means(trace, lambda v: v["o"] > 0.5))


@pytest.mark.parametrize("every", [1, 3])
@by_name(SHAPES)
def test_half_life_and_write_strength(case: Case, every: int) -> None:
    trace = trace_of(case, every=every, units=[5, 1])
    close(trace.half_life(), -np.log(2) / means(trace, lambda v: np.log(v["f"])))
    close(trace.write_strength(), means(trace, lambda v: np.abs(wrote(case, v))), rtol=1e-6)


def test_half_lives_that_are_known() -> None:
    """Forget gates at 1/2 and 2^(-1/8) halve a cell in 1 and in 8 steps; at 1 never, at 0 at once."""
    lstm = fastlstm.LSTM(1, 4, dtype="float64")
    bias = np.zeros(16)
    share = 2 ** (-1 / 8)
    bias[4:8] = 0, np.log(share / (1 - share)), 800, -800
    zeros = {name: 0 * array for name, array in lstm.state_dict().items()}
    lstm.load_state_dict(zeros | {"bias_ih_l0": bias})
    trace = lstm.trace(np.ones((16, 1)), (np.zeros((1, 4)), np.ones((1, 4))))
    close(trace.half_life()[0, 0], [1, 8, np.inf, 0])
    close(trace.c[0, 0, 7, 0, 1], 0.5)  # nothing is written


@pytest.mark.parametrize("every", [1, 3])
@by_name(SHAPES)
def test_balance_and_its_steps(case: Case, every: int) -> None:
    trace = trace_of(case, every=every)

    def taken(v: dict[str, Array]) -> Array:
        made = np.zeros(v["f"].shape)
        for at in np.ndindex(made.shape):
            kept, written = v["f"][at] * v["c_prev"][at], wrote(case, v)[at]
            if kept * written < 0:
                made[at] = min(abs(kept), abs(written))
        return made

    balance = trace.balance()
    close(balance.kept, means(trace, lambda v: np.abs(v["f"] * v["c_prev"])), rtol=1e-6)
    close(balance.forgotten, means(trace, lambda v: (1 - v["f"]) * np.abs(v["c_prev"])), rtol=1e-5)
    close(balance.taken, means(trace, taken), rtol=1e-6)
    close(balance.added, means(trace, lambda v: np.abs(wrote(case, v)) - taken(v)), rtol=1e-6)
    close(np.abs(trace.c), trace.kept + trace.added - trace.taken, rtol=1e-5, atol=1e-6)
    close(np.abs(trace.c_prev), trace.kept + trace.forgotten, rtol=1e-6, atol=1e-7)
    for name in ("kept", "forgotten", "taken", "added"):
        assert (np.abs(getattr(trace, name)) * ~trace.valid[..., np.newaxis] == 0).all()


@pytest.mark.parametrize("every", [1, 3])
@by_name(SHAPES)
def test_actions(case: Case, every: int) -> None:
    trace = trace_of(case, every=every)

    def named(v: dict[str, Array]) -> Array:
        made = np.empty(v["f"].shape, "U7")
        for at in np.ndindex(made.shape):
            i, f, c, written = v["i"][at], v["f"][at], v["c_prev"][at], wrote(case, v)[at]
            if f < 0.2:
                made[at] = "forget" if i < 0.2 else "replace"
            elif i < 0.2:
                made[at] = "keep"
            else:
                made[at] = "take" if written * c < 0 else "add"
        return made

    actions = trace.actions(0.2)
    for name, share in actions._asdict().items():
        close(share, means(trace, lambda v, n=name: named(v) == n), atol=1e-12)
    close(np.sum(actions, axis=0), 1)


def test_forgetting_is_told_from_taking_away() -> None:
    """Two units lose the same cell: one by f, one by a candidate of the other sign."""
    lstm = fastlstm.LSTM(1, 2, dtype="float64")
    weights = {name: 0 * array for name, array in lstm.state_dict().items()}
    bias = np.zeros((4, 2))
    bias[1] = -9, 9  # f
    bias[0] = -9, 9  # i
    bias[2] = 0, -9  # g
    lstm.load_state_dict(weights | {"bias_ih_l0": bias.ravel()})
    trace = lstm.trace(np.ones((1, 1)), (np.zeros((1, 2)), np.ones((1, 2))))
    close(trace.c[0, 0, 0, 0], 0, atol=1e-3)
    actions, balance = trace.actions(), trace.balance()
    assert actions.forget.tolist() == [[[1, 0]]]
    assert actions.take.tolist() == [[[0, 1]]]
    close(balance.forgotten, [[[1, 0]]], atol=1e-3)
    close(balance.taken, [[[0, 1]]], atol=1e-3)


@pytest.mark.parametrize("every", [1, 3])
@by_name(SHAPES)
def test_contributions(case: Case, every: int) -> None:
    data = make_data(case, "float32")
    trace = traced(lstm_of(case, data), data, every=every)
    got = trace.contributions()
    form = case.form or Form()
    assert set(got) == set("igo" if form.coupled else "ifgo")
    x, lengths, _ = steps_first(case, data)
    H = case.H
    for layer in range(case.num_layers):
        for d in range(case.directions):
            suffix = f"_l{layer}{'_reverse' * d}"
            own = {
                name.removesuffix(suffix): a.astype(float)
                for name, a in data.state_dict.items()
                if name.endswith(suffix)
            }
            sizes = []
            for s, t in enumerate(range(0, case.T, every)):
                for b in range(case.B):
                    if t >= lengths[b]:
                        continue
                    below = x[t, b] if layer == 0 else trace.h[layer - 1, :, s, b].ravel()
                    bias = own["bias_ih"] + own["bias_hh"] if case.bias else np.zeros(4 * H)
                    cell = np.zeros((4, H))
                    if form.peepholes:
                        before, after = trace.c_prev[layer, d, s, b], trace.c[layer, d, s, b]
                        cell[[0, 1, 3]] = own["weight_ph"].reshape(3, H) * np.stack([before, before, after])
                    terms = (
                        own["weight_ih"] @ below,
                        own["weight_hh"] @ trace.h_prev[layer, d, s, b],
                        bias,
                        cell.ravel(),
                    )
                    sizes.append(np.abs(terms))
            mean = np.mean(sizes, axis=0)
            shares = (mean / mean.sum(axis=0)).reshape(4, 4, H)
            for k, gate in enumerate("ifgo"):
                if gate in got:
                    close([part[layer, d] for part in got[gate]], shares[:, k], rtol=1e-5, atol=1e-7)


# ---- gradients


def derivatives(case: Case, data: Any, k: int, b: int, cells: bool, outputs: bool) -> tuple[Array, Array]:
    """Return dh/dh and dc/dc over k steps to row b's last, by central differences of the reference's step.

    What is not free on the way, the cells or the outputs, is held at the values that it had.
    """
    x, T = data.input, case.T

    def step(t: int, h: Array, c: Array) -> tuple[Array, Array]:
        here = x[t : t + 1, b : b + 1], (h[None, None], c[None, None]), data.state_dict
        out, (_, c_n) = reference.lstm_forward(*here, **case.config)
        return out[0, 0], c_n[0, 0]

    states = [(data.h_0[0, b].astype(float), data.c_0[0, b].astype(float))]
    for t in range(T):
        states.append(step(t, *states[-1]))

    def last(h: Array, c: Array) -> tuple[Array, Array]:
        for t in range(T - k, T):
            h, c = step(t, h if outputs else states[t][0], c if cells else states[t][1])
        return h, c

    h, c = states[T - k]
    small = 1e-6
    dh = [(last(h + e, c)[0] - last(h - e, c)[0]) / (2 * small) for e in small * np.eye(case.R)]
    dc = [(last(h, c + e)[1] - last(h, c - e)[1]) / (2 * small) for e in small * np.eye(case.H)]
    return np.array(dh).T, np.array(dc).T


GRADIENTS = (
    Case("gradient-plain", T=6, B=2, I=3, H=5, scale=2),
    Case("gradient-projection", T=6, B=1, I=3, H=5, P=2, scale=2),
    *(
        Case(f"gradient-{name}", T=5, B=1, I=3, H=4, form=FORMS[name])
        for name in TRAINABLE
        if name in ("peepholes", "coupled-peepholes", "softsign", "elu", "scaled-tanh", "summed", "summed-everything")
    ),
)


@by_name(GRADIENTS)
def test_gradient_norms_are_those_of_differences(case: Case) -> None:
    data = make_data(case, "float64")
    norms = traced(lstm_of(case, data), data).gradient_norms(4)
    assert norms.distance.tolist() == [0, 1, 2, 3, 4]
    for k in range(1, 5):
        gate, both = [], []
        for b in range(case.B):
            dh, _ = derivatives(case, data, k, b, cells=False, outputs=True)
            _, dc = derivatives(case, data, k, b, cells=True, outputs=True)
            gate.append(np.square(dh).sum() / case.R)
            both.append(np.square(dc).sum() / case.H)
        close(norms.gate[0, 0, k], np.sqrt(np.mean(gate)), rtol=1e-5, atol=1e-9)
        close(norms.both[0, 0, k], np.sqrt(np.mean(both)), rtol=1e-5, atol=1e-9)
    close([norms.cell[..., 0], norms.gate[..., 0], norms.both[..., 0]], 1)


@by_name([case for case in SHAPES if case.name != "reduce-coupled"])
def test_along_the_cells_it_is_a_product_of_f(case: Case) -> None:
    trace = trace_of(case)
    norms = trace.gradient_norms(1000)
    assert len(norms.distance) == trace.lengths.max()
    data = make_data(case, "float32")
    _, lengths, resets = steps_first(case, data)
    for d in range(case.directions):
        for k in norms.distance:
            squares = []
            for b in np.flatnonzero(lengths > k):
                left = np.ones((case.num_layers, case.H))
                for n in range(k):
                    t = n if d else lengths[b] - 1 - n
                    left = left * trace.f[:, d, t, b] * (resets is None or not resets[t, b])
                squares.append(np.square(left).mean(axis=-1))
            close(norms.cell[:, d, k], np.sqrt(np.mean(squares, axis=0)), rtol=1e-6, atol=1e-12)


def test_reverse_is_forward_of_the_turned_sequence() -> None:
    case = Case("gradient-reverse", T=9, B=2, I=3, H=5, bidirectional=True)
    data = make_data(case, "float64")
    lstm = lstm_of(case, data)
    own = {name.removesuffix("_reverse"): array for name, array in data.state_dict.items() if name.endswith("_reverse")}
    alone = fastlstm.LSTM(3, 5, dtype="float64")
    alone.load_state_dict(own)
    got = lstm.trace(data.input).gradient_norms()
    turned = alone.trace(data.input[::-1].copy()).gradient_norms()
    for one, other in zip(got[1:], turned[1:], strict=True):
        close(one[:, 1], other[:, 0], rtol=1e-12)


# ---- bad input

CALLS: dict[str, Callable[[fastlstm.GateTrace], Any]] = {
    "saturation": lambda trace: trace.saturation(),
    "half_life": lambda trace: trace.half_life(),
    "write_strength": lambda trace: trace.write_strength(),
    "balance": lambda trace: trace.balance(),
    "actions": lambda trace: trace.actions(),
    "contributions": lambda trace: trace.contributions(),
    "gradient_norms": lambda trace: trace.gradient_norms(),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def test_what_is_taken_from_a_nan_is_a_nan() -> None:
    x = np.ones((5, 4), np.float32)
    x[3] = np.nan
    trace = fastlstm.LSTM(4, 3, seed=0).trace(x)
    for name in ("kept", "forgotten", "added", "taken"):
        assert np.isnan(getattr(trace, name)[:, :, 3]).all(), name


@each_call
def test_a_trace_without_steps(call: Callable[[fastlstm.GateTrace], Any]) -> None:
    lstm = fastlstm.LSTM(4, 3, num_layers=2)
    for x, lengths in ((np.zeros((0, 2, 4)), None), (np.zeros((5, 2, 4)), [0, 0]), (np.zeros((5, 0, 4)), None)):
        with pytest.raises(ValueError, match="the trace has no steps"):
            call(lstm.trace(x.astype(np.float32), lengths=lengths))


@each_call
def test_a_nan_is_named(call: Callable[[fastlstm.GateTrace], Any]) -> None:
    lstm = fastlstm.LSTM(4, 3, num_layers=2, seed=0)
    x = np.zeros((5, 2, 4), np.float32)
    x[3, 1, 2] = np.nan
    with pytest.raises(ValueError, match=r"the trace has a NaN: .* of layer 0, direction 0, step 3, row 1, unit 0"):
        call(lstm.trace(x))
    call(lstm.trace(x, lengths=[5, 3]))  # past its row's end it counts nowhere


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda trace: trace.saturation(0.9, 0.1), ValueError, r"high should be in 0\.9\.\.1, got: 0\.1"),
        (lambda trace: trace.saturation(-0.1), ValueError, r"low should be in 0\.0\.\.1"),
        (lambda trace: trace.saturation("a"), TypeError, "low should be a number"),
        (lambda trace: trace.actions(1.5), ValueError, "closed should be in"),
        (lambda trace: trace.actions(np.nan), ValueError, "closed should be in"),
        (lambda trace: trace.gradient_norms(0), ValueError, "distance"),
    ],
)
def test_bad_arguments_are_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call(fastlstm.LSTM(4, 3).trace(np.ones((3, 4), np.float32)))


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_contributions_of_what_is_infinite_are_refused(value: float) -> None:
    x = np.ones((6, 4), np.float32)
    x[2, 1] = value
    trace = fastlstm.LSTM(4, 3, seed=0).trace(x)
    with pytest.raises(ValueError, match="contributions to i are infinite: the input or a state is, or is too large"):
        trace.contributions()
    fastlstm.LSTM(4, 3, seed=0).trace(x[np.newaxis].swapaxes(0, 1), lengths=[2]).contributions()  # past the row's end


def test_what_some_steps_or_units_do_not_tell() -> None:
    lstm = fastlstm.LSTM(4, 3)
    x = np.ones((6, 4), np.float32)
    for call in (CALLS["contributions"], CALLS["gradient_norms"]):
        with pytest.raises(ValueError, match="need all units: trace without units="):
            call(lstm.trace(x, units=[0]))
    with pytest.raises(ValueError, match="gradient_norms need every step, got a trace with every=2"):
        lstm.trace(x, every=2).gradient_norms()
    clipped = fastlstm.LSTM(4, 3, form=Form(clip=1.0))
    with pytest.raises(ValueError, match="clip"):
        clipped.trace(x).gradient_norms()
