"""examples/studies/units.py: labels, correlations, the search, and the training that has the same bits everywhere."""

import math

import numpy as np
import pytest

from tests.support import ROOT

if not (ROOT / "docs" / "gates.md").exists():
    pytest.skip("not in a source tree", allow_module_level=True)

from studies import labels, record, trained, units
from studies.gates import Gates
from train_text.corpus import encode

LINES = 'if a("b#") == (c[0]):  # d\n    """e\n    f"""\n'


def shown(label: str, told: labels.Labels, text: str = LINES) -> str:
    """Return the characters that have the label, and a dot for each other one."""
    return "".join(c if value else "." for c, value in zip(text, told[label].tolist(), strict=True))


def test_labels_of_code() -> None:
    told = labels.of_code(LINES)
    assert shown("quoted", told) == "....." + '"b#' + "." * (len(LINES) - 8)
    assert shown("comment", told).strip(".") == "# d"
    assert shown("docstring", told).strip(".") == '"""e\n    f""'
    assert told["brackets"][: LINES.index(":")].tolist() == [*[0] * 4, *[1] * 5, *[0] * 5, 1, 1, 2, 2, 1, 0]
    assert told["indent"].tolist() == [0] * 27 + 2 * [1, 2, 3, *[4] * 6]
    assert told["column"][25:29].tolist() == [25, 26, 0, 1]
    assert shown("newline", told).count("\n") == told["newline"].sum() == 3
    assert shown("word", told).replace(".", "") == "ifabc0def"


def test_labels_of_words() -> None:
    text = '^a "b c" (d e) f'
    told = labels.of_words(text)
    assert shown("quoted", told, text) == '..."b c.........'
    assert shown("parenthesis", told, text) == ".........(d e..."
    assert shown("blank", told, text).count(" ") == 5
    assert shown("word", told, text).replace(".", "") == "abcdef"


def test_correlations_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    cells, label = np.rint(rng.normal(3, 50, (200, 4))), rng.integers(0, 3, 200)
    cells[:, 2] = 7  # which goes along with nothing
    plain, shifted = units.correlations(cells, label, [0, 30])
    for unit in (0, 1, 3):
        assert plain[unit] == pytest.approx(np.corrcoef(cells[:, unit], label)[0, 1], abs=1e-12)
        assert shifted[unit] == pytest.approx(np.corrcoef(cells[:, unit], np.roll(label, 30))[0, 1], abs=1e-12)
    assert plain[2] == 0


def read_of(c: np.ndarray, label: np.ndarray, f: np.ndarray | None = None) -> units.Read:
    """Return a text whose cells are these; they are written at once, and kept or let go as f says."""
    f = np.ones_like(c) if f is None else f
    before = np.concatenate([np.zeros_like(c[:1]), c[:-1]])
    return units.Read(Gates(np.ones_like(c), f, c - f * before, np.ones_like(c), c, before), {"label": label})


def test_the_unit_that_follows_a_label_is_found_and_luck_is_not() -> None:
    rng = np.random.default_rng(1)
    texts = []
    for n in (3000, 2000):
        label = np.repeat(rng.integers(0, 2, n // 10), 10)
        c = rng.normal(size=(n, 6))
        c[:, 4] -= 3 * label
        texts.append(read_of(c, label))
    told = units.found(*texts, "label", 0)
    assert (told["unit"], told["best_measured"], told["of"]) == (4, 4, "c")
    assert told["chosen"] < -0.8 > told["measured"]
    assert told["most_by_luck"] < 0.2
    only_luck = units.found(
        *(read_of(rng.normal(size=text.gates.c.shape), text.labels["label"]) for text in texts), "label", 0
    )
    assert abs(only_luck["measured"]) < only_luck["most_by_luck"]


def test_forgetting_is_told_from_taking_away() -> None:
    """A cell of 2 at two falls of the label: at one f takes all of it, at the other i * g takes 3 of it."""
    label = np.array([0, 1, 1, 0, 1, 1, 0])
    c = np.array([0, 2, 2, 0, 2, 2, -1.0])[:, np.newaxis]
    f = np.array([1, 1, 1, 0, 1, 1, 1.0])[:, np.newaxis]
    told = units.steps(read_of(c, label, f), "label", 0)
    assert {name: each["steps"] for name, each in told.items()} == {"rises": 2, "falls": 2, "else": 3}
    falls = told["falls"]
    assert (falls["size"], falls["forgotten"], falls["taken"], falls["added"]) == (2, 1, 1, 0.5)
    assert (told["rises"]["added"], told["rises"]["forgotten"], told["rises"]["after"]) == (2, 0, 2)
    whole = units.totals(read_of(c, label, f))
    assert whole["taken"] == pytest.approx(2 / 7)
    assert whole["large"] == 0
    assert units.levels(read_of(c, label, f), "label", 0) == [[0, 3, pytest.approx(-1 / 3)], [1, 4, 2]]


def test_shares_and_losses_are_those_of_numpy() -> None:
    logits = (20 * np.random.default_rng(2).normal(size=(5, 9))).astype(np.float32)
    exact = np.exp(logits.astype(np.float64))
    exact /= exact.sum(axis=1, keepdims=True)
    shares = trained.probabilities(logits)
    np.testing.assert_allclose(shares, exact, rtol=3e-6, atol=1e-37)
    assert trained.nats(shares) == pytest.approx(-np.log(exact).mean(), rel=1e-6)


@pytest.mark.parametrize("candidate", ["tanh", "sigmoid"])
def test_gradients_of_the_model_are_those_of_its_loss(candidate: str) -> None:
    """A step along them lowers the loss by what they say."""
    net, text = trained.Net(7, candidate, 0), encode(units.SHOWN)[:40]

    def loss() -> float:
        logits = net.head(net.layer(net.embed(text[:-1, np.newaxis]))[0])[0][:, 0].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        return float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(39), text[1:]]).mean())

    assert net.loss(text) == pytest.approx(loss(), rel=1e-5)
    gradients, _ = net.gradients(text[:-1, np.newaxis], text[1:, np.newaxis], None)
    first = loss()
    size = math.fsum(
        float(np.square(array, dtype=np.float64).sum()) for of in gradients.values() for array in of.values()
    )
    rate = 2e-2 / math.sqrt(size)
    for part, of in gradients.items():
        assert set(of) == set(net.weights[part])
        for name, gradient in of.items():
            net.weights[part][name] -= np.float32(rate) * gradient
    net.use()
    assert first - loss() == pytest.approx(rate * size, rel=0.05)


def test_training_lowers_the_loss_and_starts_again_with_the_same_bits() -> None:
    text = encode(units.SHOWN)
    nets = [trained.trained(text, 8, "tanh", 30, 3, 12, 4) for _ in range(2)]
    assert trained.fingerprint(nets[0].weights) == trained.fingerprint(nets[1].weights)
    assert nets[0].loss(text) < trained.Net(8, "tanh", 3).loss(text) - 0.5


def test_another_text_is_refused() -> None:
    with pytest.raises(trained.TextError, match="the sources of string are not those of"):
        trained.source(("string",), "0" * 16)


def test_what_is_found_is_more_than_luck() -> None:
    """What docs/gates.md says of units, and of those it does not name."""
    for cell in ("words", "code, tanh", "code, sigmoid"):
        for label, told in record.read("units")[cell]["result"].items():
            assert abs(told["measured"]) > told["most_by_luck"], (cell, label)
    code = record.read("units")["code, tanh"]["result"]
    assert abs(code["quoted"]["measured"]) < min(
        abs(told["measured"]) for name, told in code.items() if name != "quoted"
    )
    for model, only_adds in (("tanh", False), ("sigmoid", True)):
        every = record.read("units")[f"steps, {model}"]["result"].values()
        assert all(each.get("taken", 0) == 0 for told in every for each in told.values()) == only_adds
