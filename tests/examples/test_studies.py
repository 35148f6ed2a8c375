"""examples/studies: what is kept in docs/studies/ can be made again, and pictures and page say what is kept there."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastlstm import reference
from tests.cases import Array
from tests.support import ROOT

PAGE = ROOT / "docs" / "gates.md"
if not PAGE.exists():
    pytest.skip("not in a source tree", allow_module_level=True)

from studies import __main__ as command  # noqa: E402
from studies import (  # noqa: E402
    ablations,
    deaf,
    deaf_pictures,
    distance,
    drift,
    figures,
    gallery,
    gallery_pictures,
    gates,
    pictures,
    record,
    unit,
    units,
    weights,
)

#: Small cells that need no network; the others are repeated by `make studies ARGS=--check`.
SMALL: list[tuple[str, str, record.Study]] = [
    ("unit", "curves", unit.STUDY),
    ("unit", "plane", unit.STUDY),
    ("deaf", "noise, white", deaf.STUDY),
    ("deaf", "noise, pink", deaf.STUDY),
    ("drift", "sigmoid, forget bias 3", drift.STUDY),
    ("distance", "tanh", distance.STUDY),
    ("distance", "LSTM, forget bias 1", distance.STUDY),
    ("units", "small", units.STUDY),
    *(("ablations", f"small, {variant}", ablations.STUDY) for variant in ablations.VARIANTS),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    " ".join((PAGE.parent / name).read_text(encoding="utf-8").split()) for name in ("gates.md", "deaf.md", "gallery.md")
]
TEXT, DEAF, GALLERY = PAGES


@pytest.mark.parametrize(("study", "cell", "cells"), SMALL, ids=[f"{each[0]}, {each[1]}" for each in SMALL])
def test_a_small_cell_has_the_hash_that_is_kept(study: str, cell: str, cells: record.Study) -> None:
    made = record.computed(cells[cell])
    assert made["sha256"] == record.read(study)[cell]["sha256"]
    assert json.loads(json.dumps(made)) == record.read(study)[cell]


def test_another_setting_gives_another_hash() -> None:
    settings, compute = unit.STUDY["curves"]
    other = record.computed((dict(settings) | {"steps": 47}, compute))
    assert other["sha256"] != record.read("unit")["curves"]["sha256"]


@pytest.mark.parametrize("study", command.STUDIES)
def test_what_is_kept_is_whole(study: str) -> None:
    cells = record.read(study)
    assert cells
    assert [name for name, cell in cells.items() if not record.is_whole(cell)] == []
    damaged: dict[str, Any] = next(iter(cells.values()))
    assert not record.is_whole(damaged | {"settings": damaged["settings"] | {"more": 1}})


def test_every_cell_of_a_study_is_kept() -> None:
    for name, module in (
        ("unit", unit),
        ("drift", drift),
        ("distance", distance),
        ("ablations", ablations),
        ("units", units),
        ("deaf", deaf),
        ("gallery", gallery),
    ):
        assert list(record.read(name)) == list(module.STUDY)
        for cell, (settings, _) in module.STUDY.items():
            assert record.read(name)[cell]["settings"] == dict(settings), cell


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_a_picture_is_drawn_from_what_is_kept(name: str) -> None:
    path = record.FOLDER / f"{name}.svg"
    assert path.read_text(encoding="utf-8") == str(pictures.PICTURES[name]())
    assert f"]({path.parent.name}/{path.name})" in "".join(PAGES) or f"](docs/{path.parent.name}/{path.name})" in README


def test_the_picture_of_cells_along_a_sentence_adds_up() -> None:
    told = record.read("sentence")["balance"]["result"]
    kept, forgotten, added, taken = (np.array(told[name]) for name in pictures.AMOUNTS)
    after = kept + added - taken
    assert kept.shape == (len(told["unit"]), len(told["text"]))
    assert np.abs(after[:, :-1] - (kept + forgotten)[:, 1:]).max() < 5e-4  # four digits of each
    assert (kept[:, 0] == 0).all()
    assert (taken.sum(axis=1) > 0.3 * after.max(axis=1)).all()


def test_the_readme_begins_with_a_picture_the_install_and_an_example() -> None:
    picture, install, example, commands = (
        README.index(text) for text in ("docs/studies/sentence.svg", "pip install .", "```python", "## Two commands")
    )
    assert picture < install < example < commands
    assert README[:commands].count("\n") <= 24


def test_the_page_says_which_file_a_picture_is_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    table = dict(re.findall(r"^\| `(\w+)\.json` \| ([\w, ]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    told = {name: study for study, names in table.items() for name in names.split(", ")}
    assert set(table) == set(command.STUDIES)
    assert set(told) == set(pictures.PICTURES)
    read, asked = record.read, set[str]()

    def read_and_tell(study: str) -> dict[str, Any]:
        asked.add(study)
        return read(study)

    monkeypatch.setattr(record, "read", read_and_tell)
    for name, draw in pictures.PICTURES.items():
        asked.clear()
        draw()
        assert asked == {told[name]}, name


def test_there_are_no_other_files() -> None:
    expected = {f"{name}.svg" for name in pictures.PICTURES} | {f"{name}.json" for name in command.STUDIES}
    assert {path.name for path in record.FOLDER.iterdir()} == expected


def test_the_page_says_what_is_kept() -> None:
    numbers = figures.numbers()
    for sentence in figures.SENTENCES:
        assert sentence.format(**numbers) in TEXT, sentence
    for table in (figures.volumes(), figures.distances(), figures.found(), figures.ablations(), figures.cells()):
        assert " ".join(table.split()) in TEXT


def test_the_other_pages_say_what_is_kept() -> None:
    numbers = deaf_pictures.numbers()
    for sentence in deaf_pictures.SENTENCES:
        assert sentence.format(**numbers) in DEAF, sentence
    for table in (deaf_pictures.levels(), deaf_pictures.knock_outs(), deaf_pictures.going_on()):
        assert " ".join(table.split()) in DEAF
    for table in (gallery_pictures.models(), gallery_pictures.writes()):
        assert " ".join(table.split()) in GALLERY


def test_one_unit_is_named_in_all_noise_and_none_in_speech() -> None:
    kept = record.read("deaf")
    for noise in deaf.NOISES:
        told = kept[f"health, {noise}"]["result"]
        ((unit, share),) = told["causes"]
        assert (unit, share > 0.9) == (120, True)
        assert abs(told["largest"][0][2]) < 0.05
        assert all(kept[f"{cell}, {noise}"]["result"]["cause"] == [unit] for cell in ("knock-outs", "policies"))
        heard = {name: each[-1] for name, each in kept[f"knock-outs, {noise}"]["result"]["heard"].items()}
        assert heard["cause zeroed"] > 0.99 * heard["fresh"]
        assert heard["largest zeroed"] < 1.01 * heard["as the noise left it"]
        assert kept[f"over time, {noise}"]["result"]["alarms"] == 0
    assert kept["health, speech"]["result"]["causes"] == []


def test_the_gallery_draws_the_right_conclusions() -> None:
    rows = dict(gallery_pictures.rows())
    assert len(gallery_pictures.MODELS) == 7

    def share(row: dict[str, Any], *names: str) -> float:
        return row[names[0]] / row["counted"] if len(names) == 1 else row[names[0]][names[1]] / row["counted"]

    for name, row in rows.items():
        model = name.split()[0].strip(",")
        ends = [share(row, "below", gate) + share(row, "above", gate) for gate in "ifo"]
        if model not in ("chars2vec", "Resemblyzer"):
            assert min(ends) > 1 / 3, name
            assert 0.008 <= round(share(row, "candidate is nothing"), 3) <= 0.043, name
        elif name != "Resemblyzer 3":
            assert max(ends) < 1 / 3, name
            assert 0.11 <= round(share(row, "candidate is nothing"), 2) <= 0.62, name
        assert 0.05 <= round(share(row, "writes nothing"), 2) <= 0.85, name
        assert 0.08 <= round(row["takes away"] / (row["takes away"] + row["adds"]), 2) <= 0.46, name
        assert (row["forgets"] > row["takes away"]) == (model != "chars2vec"), name
        assert (row["half-life"][gallery_pictures.MIDDLE] < 2.55) == (name != "Resemblyzer 3"), name
    for name, model in gallery_pictures.MODELS.items():
        lives = [row["half-life"][-1] for row in record.read("gallery")[name]["result"]["rows"]]
        for below, above in zip(lives, lives[model.directions :], strict=False):
            assert (above > below) == (name != "naampy"), name
        assert (max(lives) > 10) == (name in ("silero", "resemblyzer", "textgenrnn", "dksplit")), name
        assert max(lives) < 210, name


def test_the_page_draws_the_right_conclusions() -> None:
    """Worse: all of the five are. As good: the ranges meet. The worst, and better: by the median."""

    def worse(task: str, variant: str, than: str = "LSTM") -> bool:
        return min(figures.ends(task)[variant]) > max(figures.ends(task)[than])

    others = ("plain recurrence", "g by sigmoid: only adds", "sum instead of product")
    gated = [name for name in figures.variants() if name not in others]
    for variant in ("no input gate: g alone", "g by sigmoid: only adds", "i and g share weights", "plain recurrence"):
        assert worse("adding", variant), variant
    for task in ("recall", "text"):
        adds = figures.median(task, "g by sigmoid: only adds")
        assert adds > max(figures.median(task, name) for name in gated), task
        assert worse(task, "LSTM", "gates by tanh"), task
    assert worse("text", "no forget gate")
    assert worse("text", "coupled: f = 1 - i")
    for task in ("recall", "adding"):
        for variant in ("g linear", "no output tanh"):
            assert not worse(task, variant), (task, variant)
            assert not worse(task, "LSTM", variant), (task, variant)
        for variant in ("gates by tanh", "coupled: f = 1 - i"):
            assert figures.median(task, variant) < figures.median(task, "LSTM"), (task, variant)
    assert not worse("recall", "no input gate: g alone")
    for task in ("recall", "adding", "text"):
        assert worse(task, "sum instead of product"), task
    assert figures.median("counting", "sum instead of product") > figures.median("counting", "LSTM")
    for task in ("adding", "text"):
        drifts = {name: last / first for name in figures.variants() for first, last in [figures.drift(task, name)]}
        assert max(drifts, key=lambda name: drifts[name]) == "no forget gate", task


def test_the_picture_of_a_picture_is_whole() -> None:
    """Every drawing is well-formed, and fetches nothing."""
    from xml.etree import ElementTree

    for draw in pictures.PICTURES.values():
        text = str(draw())
        assert ElementTree.fromstring(text).tag.endswith("svg")
        assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"]


# ---- what the numbers mean


@pytest.fixture(name="layer", scope="module")
def make_layer() -> tuple[dict[str, Array], Array]:
    return weights.drawn(3, 5, 1.0, 0, np.float64), weights.inputs(7, 2, 3, 0)


def test_gates_are_those_of_the_reference(layer: tuple[dict[str, Array], Array]) -> None:
    made, x = gates.gates_of(*layer), layer[1]
    _, _, tape = reference.lstm_forward_train(x, None, layer[0], num_layers=1)
    kept = tape.layers["_l0"]
    for name in "ifgo":
        np.testing.assert_allclose(getattr(made, name), getattr(kept.gates, name)[: len(x)], rtol=0, atol=1e-14)
    np.testing.assert_allclose(made.f * made.before + made.i * made.g, made.c, rtol=0, atol=1e-15)
    assert (made.before[0] == 0).all()
    assert (made.before[1:] == made.c[:-1]).all()


def test_a_plain_recurrence_is_a_layer_with_nailed_gates() -> None:
    """Its gradients are those of h' = tanh(W x + U h), computed by hand."""
    T, B, H, rng = 9, 2, 4, np.random.default_rng(0)
    bound = 1 / np.sqrt(H)
    w, u = weights.spread(rng, (H, distance.I), bound), weights.spread(rng, (H, H), bound)
    direction = weights.spread(np.random.default_rng([0, 2]), (B, H), 1.0)
    states, h = [], np.zeros((B, H))
    for row in weights.inputs(T, B, distance.I, 0):
        h = np.tanh(row @ w.T + h @ u.T)
        states.append(h)
    norms, dh = [], direction
    for h in states[::-1]:
        dz = dh * (1 - h**2)
        norms.append(np.linalg.norm(dz @ w))
        dh = dz @ u
    told = distance.plain(T, B, H, False, 0)
    np.testing.assert_allclose(told["whole"], np.array(norms) / norms[0], rtol=1e-12)


def test_the_orthogonal_matrix_is_one() -> None:
    made = weights.orthogonal(16, np.random.default_rng(0))
    np.testing.assert_allclose(made @ made.T, np.eye(16), rtol=0, atol=1e-14)


def test_along_the_cells_a_gradient_is_the_product_of_the_forget_gates() -> None:
    """What is measured so is what the reference's cell hands back."""
    T, B, H = 6, 2, 3
    made, x = weights.drawn(distance.I, H, 1.0, 0, np.float64), weights.inputs(T, B, distance.I, 0)
    _, _, tape = reference.lstm_forward_train(x, None, made, num_layers=1)
    kept, dc, norms = tape.layers["_l0"], np.ones((B, H)), []
    for t in reversed(range(T)):
        norms.append(np.linalg.norm(dc))
        step = reference.Gates(*(gate[t] for gate in kept.gates))
        dc = reference.gates_backward(step, kept.c[t], np.zeros((B, H)), dc)[1]
    told = distance.lstm(T, B, H, 1.0, 0)
    np.testing.assert_allclose(told["cell"], np.array(norms) / norms[0], rtol=1e-12)


@pytest.mark.parametrize("variant", ablations.VARIANTS)
def test_gradients_of_a_variant_are_those_of_its_error(variant: str) -> None:
    """A step along them lowers the error by what they say; what is nailed stays, what is shared stays alike."""
    given = ablations.recall(np.random.default_rng(0), 4)
    net = ablations.Net(5, 6, 4, ablations.VARIANTS[variant], 0)
    before = {part: {name: array.copy() for name, array in of.items()} for part, of in net.weights.items()}
    gradients, first = net.gradients(given), net.error(given)
    size = sum(float(np.square(array, dtype=np.float64).sum()) for of in gradients.values() for array in of.values())
    rate = 1e-3 / np.sqrt(size)
    for part, of in gradients.items():
        for name, gradient in of.items():
            net.weights[part][name] -= np.float32(rate) * gradient
    net.use()
    expected = rate * size
    if ablations.VARIANTS[variant].shared:  # what is shared has its gradient in two places, and half of it counts
        alike = [array.reshape(4, 6, -1)[0] for array in gradients["layer"].values()]
        expected -= rate * sum(float(np.square(array, dtype=np.float64).sum()) for array in alike)
    assert first - net.error(given) == pytest.approx(expected, rel=0.05)
    for gate in ablations.VARIANTS[variant].nailed:
        for name, array in net.weights["layer"].items():
            np.testing.assert_array_equal(array.reshape(4, 6, -1)[gate], before["layer"][name].reshape(4, 6, -1)[gate])
    if ablations.VARIANTS[variant].shared:
        for array in net.weights["layer"].values():
            gates = array.reshape(4, 6, -1)
            np.testing.assert_array_equal(gates[0], gates[2])


def test_the_linear_layer_is_linear() -> None:
    net = ablations.Net(5, 6, 4, ablations.VARIANTS["LSTM"], 0)
    h = np.random.default_rng(0).random((7, 3, 6)).astype(np.float32)
    matrix = net.weights["head"]["weight_ih_l0"][8:12]
    np.testing.assert_allclose(net.head(h)[0], h @ matrix.T, rtol=0, atol=1e-6)


def test_tasks_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    recalled = ablations.recall(rng, 9)
    np.testing.assert_array_equal(recalled.x[:3, :, :4], recalled.wanted[-3:])
    added = ablations.adding(rng, 9)
    marked = (added.x[:, :, 0] * added.x[:, :, 1]).sum(0)
    np.testing.assert_allclose(marked, added.wanted[-1, :, 0], rtol=1e-6)
    counted = ablations.counting(rng, 9)
    np.testing.assert_allclose(counted.x.cumsum(0) / 10, counted.wanted, atol=1e-6)
    assert counted.wanted.min() == 0
    read = ablations.text(rng, 9)
    np.testing.assert_array_equal(read.x[1:], read.wanted[:-1])
    assert (read.x.sum(2) == 1).all()


# ---- the command


def test_a_difference_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = record.read("unit")
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    monkeypatch.setattr("sys.argv", ["studies", "--check", "unit"])
    record.write("unit", cells)
    assert command.main() == 0
    cells["curves"]["result"]["tanh"][0] += 1e-9
    record.write("unit", cells)
    assert command.main() == 1
    assert "not as in docs/studies/: unit, curves" in capsys.readouterr().err


def test_an_unknown_study_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["studies", "cells"])
    with pytest.raises(SystemExit):
        command.main()
    assert f"STUDY should be one of {', '.join(command.STUDIES)}, got: cells" in capsys.readouterr().err


def test_a_file_is_a_line_for_each_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, text = record.read("drift"), (record.FOLDER / "drift.json").read_text(encoding="utf-8")
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    record.write("drift", kept)
    assert (tmp_path / "drift.json").read_text(encoding="utf-8") == text
    assert len(text.splitlines()) == len(kept) + 2
