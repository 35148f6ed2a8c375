"""health: models that are made to fail in one way each, and one that is well."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastlstm
from fastlstm import _health
from fastlstm._cli import main
from tests.cases import Array

I, H = 4, 5
LARGE = 12.0


def well() -> fastlstm.LSTM:
    return fastlstm.LSTM(I, H, seed=0)


def x(T: int = 400, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((T, I)).astype(np.float32)


def changed(lstm: fastlstm.LSTM, **blocks: Any) -> fastlstm.LSTM:
    """Set parameters: {"bias_ih_l0": [(gate, unit, value)]}, of matrices (gate, unit, column, value)."""
    state = {name: array.copy() for name, array in lstm.state_dict().items()}
    for name, items in blocks.items():
        array = state[name].reshape(4, lstm.hidden_size, -1)
        for gate, unit, *column, value in items:
            array[("ifgo".index(gate), unit, *column) if column else ("ifgo".index(gate), unit)] = value
    lstm.load_state_dict(state)
    return lstm


def kinds(health: fastlstm.Health) -> set[tuple[str, int | None]]:
    return {(finding.kind, finding.unit) for finding in health.findings}


def test_nothing_is_found_where_all_is_well() -> None:
    found = fastlstm.health(well().trace(x()))
    assert found.findings == []
    assert str(found) == "nothing found"
    assert found.half_life.shape == found.listens_to.shape == (1, 1, H)


@pytest.mark.parametrize(
    ("gate", "value", "kind", "text"),
    [
        ("i", -LARGE, "shut", "layer 0, unit 2: its input gate never opens: it writes nothing"),
        ("i", LARGE, "open", "layer 0, unit 2: its input gate never closes: it writes at every step"),
        ("f", -LARGE, "shut", "layer 0, unit 2: its forget gate never opens: it remembers nothing"),
        ("f", LARGE, "open", "layer 0, unit 2: its forget gate never closes: it never forgets"),
        ("o", -LARGE, "shut", "layer 0, unit 2: its output gate never opens: nobody sees it"),
        ("o", LARGE, "open", "layer 0, unit 2: its output gate never closes: it always shows"),
    ],
)
def test_a_gate_that_is_stuck(gate: str, value: float, kind: str, text: str) -> None:
    found = fastlstm.health(changed(well(), bias_ih_l0=[(gate, 2, value)]).trace(x()))
    assert (kind, 2) in kinds(found)
    assert text in str(found)
    assert {unit for kind_, unit in kinds(found) if kind_ in ("shut", "open")} == {2}


def test_a_unit_that_never_changes() -> None:
    lstm = changed(
        well(),
        weight_ih_l0=[("g", 1, 0)],
        weight_hh_l0=[("g", 1, 0)],
        bias_ih_l0=[("g", 1, 0)],
        bias_hh_l0=[("g", 1, 0)],
    )
    assert kinds(fastlstm.health(lstm.trace(x()))) == {("still", 1)}


def test_what_was_seen_once_is_not_said_to_be_still() -> None:
    assert fastlstm.health(well().trace(x(1))).findings == []


def test_inputs_that_nobody_hears() -> None:
    given = x()
    given[:, 3] = 7
    lstm = changed(well(), weight_ih_l0=[(gate, unit, 0, 0.0) for gate in "ifgo" for unit in range(H)])
    found = fastlstm.health(lstm.trace(given), inputs=["a", "b", "c", "d"])
    assert [finding.kind for finding in found.findings] == ["dead input"] * 2
    assert str(found).splitlines() == [
        "layer 0: input a moves no gate: the layer could do without it",
        "layer 0: input d never changes: check where it comes from",
    ]


def test_a_unit_of_the_layer_below_that_nobody_hears() -> None:
    lstm = fastlstm.LSTM(I, H, num_layers=2, seed=0)
    changed(lstm, weight_ih_l1=[(gate, unit, 4, 0.0) for gate in "ifgo" for unit in range(H)])
    (finding,) = fastlstm.health(lstm.trace(x())).findings
    assert str(finding) == "layer 1: input 4 of the layer below moves no gate: that unit could be left out"


def test_what_a_unit_listens_to() -> None:
    lstm = changed(well(), weight_ih_l0=[("f", 3, 2, LARGE)])
    assert fastlstm.health(lstm.trace(x())).listens_to[0, 0, 3] == 2


# ---- growth and its effect


def counter(deaf: bool) -> fastlstm.LSTM:
    """Make one whose unit 0 adds at each step and forgets nothing; if `deaf`, it shuts what unit 1 shows of x."""
    lstm = fastlstm.LSTM(I, 3, seed=0)
    lstm.load_state_dict({name: 0 * array for name, array in lstm.state_dict().items()})
    unit_0 = [("i", 0, -4), ("f", 0, 20), ("g", 0, 1), ("o", 0, 20)]
    unit_1 = [("i", 1, 5), ("f", 1, -5), ("o", 1, 5)]
    return changed(
        lstm,
        bias_ih_l0=[*unit_0, *unit_1],
        weight_ih_l0=[("g", 1, 1, 1.0), ("g", 2, 2, 1.0)],
        weight_hh_l0=[("o", 1, 0, -20.0 if deaf else 0.0)],
    )


def test_growth_against_a_plain_mean() -> None:
    trace = counter(deaf=False).trace(np.stack([x(200), x(200, 1)], axis=1), lengths=[200, 100])
    growth = fastlstm.health(trace).growth
    size = np.abs(trace.c[0, 0].astype(float))
    early = np.concatenate([size[20:40, 0], size[10:20, 1]]).mean(axis=0)
    late = np.concatenate([size[180:, 0], size[90:100, 1]]).mean(axis=0)
    np.testing.assert_allclose(growth[0, 0], late / early)
    assert ("growth", 0) in kinds(fastlstm.health(trace))
    assert fastlstm.health(counter(deaf=False).trace(x(19))).growth is None


def test_a_unit_that_makes_a_stream_deaf_is_found_by_itself() -> None:
    lstm = counter(deaf=True)
    found = fastlstm.health(lstm.trace(x(600)), lstm=lstm, probe=x(40, 1))
    assert found.effect is not None
    assert found.effect.steps is None
    assert [finding.unit for finding in found.findings if finding.kind == "cause"] == [0]
    assert found.effect.restored[0, 0] > 0.5
    assert found.effect.restored[0, 1:].max() < 0.1
    told = str(found)
    assert "unit 0: its cell grows" in told
    assert "it makes the difference to a fresh answer" in told
    assert "the state changes the answer to the probe to its end" in told
    assert "reset this unit" in told


def counters(seen: int, shut_by: dict[int, list[int]]) -> fastlstm.LSTM:
    """Make counters, and units behind them that show x: {unit that shows: the counters that shut it}."""
    lstm = fastlstm.LSTM(I, seen + len(shut_by), seed=0)
    lstm.load_state_dict({name: 0 * array for name, array in lstm.state_dict().items()})
    count = [(gate, u, value) for u in range(seen) for gate, value in (("i", -7), ("f", 20), ("g", 1), ("o", 20))]
    show = [(gate, unit, value) for unit in shut_by for gate, value in (("i", 5), ("f", -5), ("o", 5))]
    return changed(
        lstm,
        bias_ih_l0=[*count, *show],
        weight_ih_l0=[("g", unit, 1, 1.0) for unit in shut_by],
        weight_hh_l0=[("o", unit, counter, -20.0) for unit, shut in shut_by.items() for counter in shut],
    )


def test_units_that_do_it_together_are_found_one_after_the_other() -> None:
    """Each of three shuts a third of what is seen: two of them are more than half."""
    lstm = counters(3, {3: [0], 4: [1], 5: [2]})
    found = fastlstm.health(lstm.trace(x(900)), lstm=lstm, probe=x(40, 1), readout=lambda y: y[..., 3:])
    np.testing.assert_allclose(found.effect.restored[0, :3], 1 / 3, atol=0.02)
    shares = [cause.restored for cause in found.effect.causes]
    np.testing.assert_allclose(shares, [1 / 3, 2 / 3], atol=0.02)
    first, second = (cause.unit for cause in found.effect.causes)
    assert {first, second} < {0, 1, 2}
    assert f"unit {second}: zeroing its state as well as that of unit {first} of layer 0 takes 6" in str(found)
    (third,) = {0, 1, 2} - {first, second}
    told = "zeroing its state alone takes 33% of the difference to a fresh answer away"  # it has its part in it
    assert [each.unit for each in found.findings if each.kind == "growth" and told in each.text] == [third]


def test_units_of_which_each_would_do_it_alone_are_found() -> None:
    """To zero one changes nothing: the other one still shuts what is seen."""
    lstm = counters(2, {2: [0, 1]})
    found = fastlstm.health(lstm.trace(x(900)), lstm=lstm, probe=x(40, 1), readout=lambda y: y[..., 2])
    assert found.effect.restored.max() < 0.1
    assert {cause.unit for cause in found.effect.causes} == {0, 1}
    assert found.effect.causes[-1].restored > 0.5


def test_a_difference_that_ends_within_the_probe() -> None:
    """The counter is forgotten in 20 steps or so, and the answers agree from there on."""
    lstm = changed(counter(deaf=True), bias_ih_l0=[("i", 0, -4), ("f", 0, 2.5)])
    given = x(30, 1)
    found = fastlstm.health(lstm.trace(x(600)), lstm=lstm, probe=given)
    rest = [np.sqrt(np.square(found.effect.difference[t:]).mean()) for t in range(30)]
    fresh = lstm(given)[0].astype(float)
    spread = np.sqrt(np.square(fresh - fresh.mean(axis=0)).mean())
    assert found.effect.steps == max(t for t in range(30) if rest[t] > 0.1 * spread) + 1
    assert 15 < found.effect.steps < 30
    assert f"the state changes the answer to the probe for {found.effect.steps} of its 30 steps: reset it" in str(found)
    assert [cause.unit for cause in found.effect.causes] == [0]


def test_a_difference_that_is_large_but_over_before_half_of_the_probe() -> None:
    lstm = changed(counter(deaf=True), bias_ih_l0=[("i", 0, -4), ("f", 0, 2.8)])
    found = fastlstm.health(lstm.trace(x(600)), lstm=lstm, probe=x(100, 1))
    assert 10 < found.effect.steps <= 50
    assert found.effect.matters
    assert [cause.unit for cause in found.effect.causes] == [0]
    assert "layer 0, unit 0: zeroing its state alone takes" in str(found)


def test_nobody_is_named_where_all_do_a_little() -> None:
    lstm = counters(12, {12 + unit: [unit] for unit in range(12)})
    found = fastlstm.health(lstm.trace(x(900)), lstm=lstm, probe=x(40, 1), readout=lambda y: y[..., 12:])
    assert found.effect.steps is None
    assert found.effect.causes == []
    assert "the state changes the answer to the probe to its end" in str(found)
    grown = [each for each in found.findings if each.kind == "growth"]
    assert [each.unit for each in grown] == list(range(12))
    assert all("zeroing its state alone takes 8% of the difference" in each.text for each in grown)


def test_answers_are_what_the_model_makes_of_the_outputs() -> None:
    """The counter itself is seen in the outputs for ever; what the model says does not depend on it."""
    lstm, probe = counter(deaf=False), x(40, 1)
    trace = lstm.trace(x(600))
    assert fastlstm.health(trace, lstm=lstm, probe=probe).effect.steps is None
    shapes = []

    def says(output: Array) -> Array:
        shapes.append(output.shape)
        return output[..., 1]

    effect = fastlstm.health(trace, lstm=lstm, probe=probe, readout=says).effect
    assert effect.steps <= 5
    assert effect.causes == []
    assert not effect.matters
    assert shapes == [(40, 1, 3), (40, 1, 3), (40, 3, 3)]
    turned = fastlstm.LSTM(I, 3, batch_first=True)
    turned.load_state_dict(lstm.state_dict())
    again = fastlstm.health(turned.trace(x(600)), lstm=turned, probe=probe, readout=says).effect
    np.testing.assert_array_equal(again.difference, effect.difference)


def test_to_put_one_units_state_into_a_fresh_one_is_what_it_says() -> None:
    lstm = fastlstm.LSTM(I, 7, num_layers=2, proj_size=3, seed=3)
    trace, given = lstm.trace(x(50)), x(30, 2)
    fresh = lstm(given)[0].astype(float)
    made = _health._Probe(trace, lstm, given, 0, None).put_in(fresh).reshape(2, 7)
    for at in np.ndindex(2, 7):
        c = np.zeros((2, 7), np.float32)
        c[at] = trace.c_n[at]
        alone = lstm(given, (np.zeros((2, 3), np.float32), c))[0] - fresh
        np.testing.assert_allclose(made[at], np.square(alone).mean(axis=1).sum(), rtol=1e-9)
    whole = fastlstm.LSTM(I, 7, dtype=np.float64, batch_first=True, seed=3)
    trace, given = whole.trace(x(50).astype(float)), given.astype(float)
    fresh = whole(given)[0]
    made = _health._Probe(trace, whole, given, 0, None).put_in(fresh)
    for unit in range(7):
        h, c = np.zeros((2, 1, 7))
        h[0, unit], c[0, unit] = trace.h_n[0, unit], trace.c_n[0, unit]
        np.testing.assert_allclose(made[unit], np.square(whole(given, (h, c))[0] - fresh).mean(axis=1).sum(), rtol=1e-9)


def test_what_matters_is_printed_first_and_what_is_alike_once() -> None:
    lstm = counter(deaf=True)
    given = np.concatenate([x(600), np.zeros((600, 20), np.float32)], axis=1)
    wide = fastlstm.LSTM(I + 20, 3)
    state = lstm.state_dict()
    state["weight_ih_l0"] = np.concatenate([state["weight_ih_l0"], np.zeros((12, 20), np.float32)], axis=1)
    wide.load_state_dict(state)
    found = fastlstm.health(wide.trace(given), lstm=wide, probe=given[:40])
    lines = str(found).splitlines()
    assert "the state changes the answer to the probe" in next(line for line in lines if "unit" not in line)
    first = [each.kind for each in found.findings if each.kind in ("effect", "cause", "growth")]
    assert all("fresh" in line or "answer" in line for line in lines[: len(first)])
    assert (
        "layer 0: each of inputs 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 and 8 more never changes: "
        "check where it comes from"
    ) in lines
    assert sum(each.input is not None and "never changes" in each.text for each in found.findings) == 20
    grown = fastlstm.health(changed(well(), bias_ih_l0=[("f", 1, 9.0), ("f", 3, 9.0)]).trace(x()))
    ratios = [each.value for each in grown.findings if each.kind == "growth"]
    assert len(ratios) == 2
    assert str(grown).splitlines()[0] == (
        f"layer 0, each of units 1, 3: its cell grows up to {max(ratios):.3g} times along the stream: "
        "a probe tells whether it matters"
    )
    shut = fastlstm.health(changed(well(), bias_ih_l0=[("o", 1, -12.0), ("o", 3, -12.0)]).trace(x()))
    assert str(shut) == (
        "layer 0, each of units 1, 3: its output gate never opens: nobody sees it: leave it out, or start from a "
        "higher output bias"
    )


def test_a_knock_out_is_what_it_says() -> None:
    lstm = fastlstm.LSTM(I, 7, num_layers=2, proj_size=3, seed=3)
    trace, probe = lstm.trace(np.stack([x(50), x(50, 1)], axis=1)), x(30, 2)
    effect = fastlstm.health(trace, lstm=lstm, probe=probe, row=1).effect
    fresh, state = lstm(probe)[0].astype(float), (trace.h_n[:, 1], trace.c_n[:, 1])
    before = lstm(probe, state)[0] - fresh
    np.testing.assert_allclose(effect.difference, np.sqrt(np.square(before).mean(axis=1)))
    for at in np.ndindex(2, 7):
        c = state[1].copy()
        c[at] = 0
        after = lstm(probe, (state[0], c))[0] - fresh
        np.testing.assert_allclose(effect.restored[at], 1 - np.square(after).sum() / np.square(before).sum(), atol=1e-9)


def test_growth_alone_is_not_blamed() -> None:
    lstm = counter(deaf=False)
    output = lstm.trace(x(600))
    seen = fastlstm.health(output, lstm=lstm, probe=x(40, 1))
    assert ("growth", 0) in kinds(seen)
    alone = fastlstm.health(output)
    assert "a probe tells whether it matters" in str(alone)


def test_growth_of_which_the_answer_soon_knows_nothing() -> None:
    lstm = counter(deaf=False)
    found = fastlstm.health(lstm.trace(x(600)), lstm=lstm, probe=x(40, 1), readout=lambda y: y[..., 1])
    assert not found.effect.matters
    told = f"the answer to the probe is the fresh one from step {found.effect.steps} on"
    assert str(found).startswith("layer 0, unit 0: its cell grows ")
    assert str(found).splitlines()[0].endswith(told)


def test_a_state_that_is_soon_forgotten() -> None:
    lstm = fastlstm.LSTM(I, H, seed=0)
    found = fastlstm.health(lstm.trace(x()), lstm=lstm, probe=x(60, 1))
    assert found.effect is not None
    assert 0 < found.effect.steps < 30
    assert found.findings == []
    first = fastlstm.LSTM(I, H, seed=0, batch_first=True)
    again = fastlstm.health(first.trace(x()), lstm=first, probe=x(60, 1))
    np.testing.assert_array_equal(again.effect.restored, found.effect.restored)


def test_no_state_at_all() -> None:
    lstm = well()
    zero = fastlstm.LSTM(I, H)
    zero.load_state_dict({name: 0 * array for name, array in lstm.state_dict().items()})
    effect = fastlstm.health(zero.trace(x()), lstm=zero, probe=x(9)).effect
    assert effect.steps == 0
    assert not effect.restored.any()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"inputs": ["a"]}, ValueError, "inputs should be 4 names, one for each input"),
        ({"inputs": "abcd"}, ValueError, "inputs should be 4 names"),
        ({"probe": x(5)}, TypeError, "a probe needs lstm=, the layer that the trace is of, got: NoneType"),
        ({"probe": x(5), "lstm": fastlstm.LSTM(I, H, seed=1)}, ValueError, "lstm is another layer than the trace's"),
        ({"probe": x(5), "lstm": fastlstm.LSTM(I, H + 1)}, ValueError, "lstm is another layer than the trace's"),
        (
            {"probe": x(5)[:, :2], "lstm": well()},
            ValueError,
            r"probe should be of shape \[T, 4\], T > 0, got: \[5, 2\]",
        ),
        ({"probe": x(0), "lstm": well()}, ValueError, "T > 0"),
        ({"probe": x(5), "lstm": well(), "row": 1}, ValueError, r"row should be in 0\.\.0, got: 1"),
        ({"readout": abs}, ValueError, "readout goes with a probe"),
        (
            {"probe": x(5), "lstm": well(), "readout": lambda y: y[0]},
            ValueError,
            r"readout should return numbers \[5, 1, \.\.\.\] here, got: float32 \[1, 5\]",
        ),
        ({"probe": x(5), "lstm": well(), "readout": lambda y: y + 0j}, ValueError, "numbers .* got: complex64"),
        ({"probe": x(5), "lstm": well(), "readout": lambda y: None}, ValueError, "numbers .* got: object"),
        ({"probe": x(5), "lstm": well(), "readout": 3}, TypeError, "readout should be a function .*, got: int"),
        ({"inputs": {"a", "b", "c", "d"}}, ValueError, "inputs should be 4 names"),
        (
            {"probe": x(5), "lstm": well(), "readout": lambda y: y * np.nan},
            ValueError,
            "the answer to the probe has a NaN or an infinity: check the probe and the readout",
        ),
        ({"probe": x(5) * np.nan, "lstm": well()}, ValueError, "the answer to the probe has a NaN"),
        ({"trace": 3}, TypeError, "trace should be a GateTrace, which LSTM.trace makes, got: int"),
        ({"trace": well().trace(x(), units=[0])}, ValueError, "health needs all units: trace without units="),
        ({"trace": well().trace(x(0))}, ValueError, "the trace has no steps"),
        (
            {"trace": well().trace(x() * np.float32([1, 1, np.inf, 1]))},
            ValueError,
            "input 2 of layer 0 is infinite in a step",
        ),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fastlstm.health(**{"trace": well().trace(x())} | options)


def test_both_directions() -> None:
    lstm = fastlstm.LSTM(I, H, bidirectional=True, seed=0)
    changed(lstm, bias_ih_l0_reverse=[("i", 2, -LARGE)])
    assert "layer 0, reverse, unit 2: its input gate never opens" in str(fastlstm.health(lstm.trace(x())))
    with pytest.raises(ValueError, match="a probe needs a unidirectional layer"):
        fastlstm.health(lstm.trace(x()), lstm=lstm, probe=x(5))


# ---- the command


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    fastlstm.save(counter(deaf=True), tmp_path / "w.npz")
    np.save(tmp_path / "x.npy", x(600))
    np.save(tmp_path / "probe.npy", x(40, 1))
    return tmp_path / "w.npz", tmp_path / "x.npy", tmp_path / "probe.npy"


def test_the_command(files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    model, data, probe = map(str, files)
    lstm = fastlstm.load(model)
    listed = f"{fastlstm.inspect(model)}\n"
    assert main(["inspect", model]) == 0
    assert capsys.readouterr() == (listed, "")
    assert main(["inspect", model, "--data", data, "--health"]) == 0
    assert capsys.readouterr() == (f"{listed}{fastlstm.health(lstm.trace(x(600)))}\n", "")
    assert main(["inspect", model, "--data", data, "--health", "--probe", probe]) == 0
    found = fastlstm.health(lstm.trace(x(600)), lstm=lstm, probe=x(40, 1))
    assert capsys.readouterr() == (f"{listed}{found}\n", "")


def test_long_inputs_are_looked_at_in_fewer_steps(
    files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, data, _ = map(str, files)
    lstm = fastlstm.load(model)
    most = lstm.trace_nbytes(600, every=4)
    monkeypatch.setattr("fastlstm._health_command.MAX_BYTES", most)
    assert main(["inspect", model, "--data", data, "--health"]) == 0
    told = f"looked at one step in 4: a trace of all takes more than {most} bytes"
    assert capsys.readouterr().out.endswith(f"{told}\n{fastlstm.health(lstm.trace(x(600), every=4))}\n")


def test_what_the_command_refuses(files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    model, data, probe = map(str, files)
    for arguments, message in (
        (["--health"], "--health needs --data"),
        (["--probe", probe], "--probe needs --data"),
        (["--data", data, "--probe", probe], "--probe goes with --health"),
        (["--health", "--data", model], "should hold x"),
        (["--health", "--data", data, "--prefix", "no"], "no"),
    ):
        assert main(["inspect", model, *arguments]) == 1
        assert message in capsys.readouterr().err


def test_it_is_imported_when_it_is_asked_for() -> None:
    code = "import sys, fastlstm; print('fastlstm._health' in sys.modules); print(fastlstm.health.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "health"]
