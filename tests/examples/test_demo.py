"""The demo in examples/textgen: the CuDNN conversion on made data, and the whole of it on the published model.

What needs the published model is skipped, with the reason, where it is neither cached nor to be had.
"""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from textgen import check, demo, engines, fetch, generate, model, texts, weights

from tests.files.support import to_cudnn
from tests.support import EXAMPLES

h5py: Any = pytest.importorskip("h5py", reason="h5py reads and writes the files of the demo's model")

Array = NDArray[np.float32]

# Plain English of the kind the model was trained on. With the right conversion the loss on it is 0.67 nats a character
# (and 1.53 on the Zen of Python, which is terser than people write). Wrong readings of the file give 4.3 (one half of
# the bias left out), 6.3 to 34 (any other order of the gates), 6.9 to 60 (transposed matrices).
PLAIN = (
    "I have been thinking about this for a long time and I think it is one of the best things I have ever seen.",
    "What is the most important thing that you have learned in your life?",
    "I just got my first job and I don't know what to do with the money. What should I do?",
)
LOSS_PLAIN = 1.0
LOSS_ZEN = 1.7
LOSS_WRONG = 3.0

CHARACTERS = "abcdefgh .,"
E, H = 6, 5


# ------------------------------------------------------------------------------------------------------- made data


def random_layer(rng: np.random.Generator, inputs: int) -> dict[str, Array]:
    shapes = {"weight_ih_l0": (4 * H, inputs), "weight_hh_l0": (4 * H, H)} | dict.fromkeys(
        ("bias_ih_l0", "bias_hh_l0"), (4 * H,)
    )
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture
def layers() -> tuple[dict[str, Array], dict[str, Array]]:
    rng = np.random.default_rng(0)
    return random_layer(rng, E), random_layer(rng, H)


@pytest.fixture
def files(layers: tuple[dict[str, Array], dict[str, Array]]) -> tuple[bytes, bytes]:
    """Make a small model's two files, as the package has them."""
    rng = np.random.default_rng(1)
    size = len(CHARACTERS) + 2  # the padding and the edge
    shapes = {
        "embedding/embedding/embeddings:0": (size, E),
        "attention/attention/attention_W:0": (E + 2 * H, 1),
        "output/output/kernel:0": (E + 2 * H, size),
        "output/output/bias:0": (size,),
    }
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for name, layer in zip(("rnn_1", "rnn_2"), layers, strict=True):
        for part, array in zip(("kernel", "recurrent_kernel", "bias"), to_cudnn(layer), strict=True):
            arrays[f"{name}/{name}/{part}:0"] = array
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    vocabulary = {character: number for number, character in enumerate([*CHARACTERS, texts.EDGE], start=1)}
    return buffer.getvalue(), json.dumps(vocabulary).encode()


@pytest.fixture
def small(files: tuple[bytes, bytes]) -> weights.Weights:
    return weights.load_weights(*files)


def test_conversion_by_hand() -> None:
    # One unit and three inputs: CuDNN's matrix of a gate is one row, and Keras stores it as a column.
    kernel = np.array([[1, 4, 7, 10], [2, 5, 8, 11], [3, 6, 9, 12]], np.float32)
    got = weights.cudnn_to_torch(kernel, np.array([[20, 21, 22, 23]], np.float32), np.arange(8, dtype=np.float32))
    np.testing.assert_array_equal(got["weight_ih_l0"], [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]])
    np.testing.assert_array_equal(got["weight_hh_l0"], [[20], [21], [22], [23]])
    np.testing.assert_array_equal(got["bias_ih_l0"], [0, 1, 2, 3])
    np.testing.assert_array_equal(got["bias_hh_l0"], [4, 5, 6, 7])


def test_conversion_of_a_gate_is_not_a_transposition() -> None:
    # Two units, three inputs: the file's block (3, 2) read row by row is CuDNN's (2, 3).
    block = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    got = weights.cudnn_to_torch(np.tile(block, 4), np.zeros((2, 8), np.float32), np.zeros(16, np.float32))
    np.testing.assert_array_equal(got["weight_ih_l0"][:2], [[1, 2, 3], [4, 5, 6]])


def test_conversion_from_a_file(layers: tuple[dict[str, Array], dict[str, Array]], small: weights.Weights) -> None:
    for wanted, got in zip(layers, (small.lstm_1, small.lstm_2), strict=True):
        assert list(got) == list(wanted)
        for name, array in wanted.items():
            np.testing.assert_array_equal(got[name], array, err_msg=name)
            assert got[name].dtype == np.float32


def test_a_plain_keras_layer_is_refused() -> None:
    with pytest.raises(weights.WeightsError, match="plain Keras LSTM"):
        weights.cudnn_to_torch(np.zeros((3, 8), np.float32), np.zeros((2, 8), np.float32), np.zeros(8, np.float32))


def test_a_missing_part_is_named(files: tuple[bytes, bytes]) -> None:
    buffer = io.BytesIO(files[0])
    with h5py.File(buffer, "r+") as file:
        del file["rnn_2/rnn_2/bias:0"]
    with pytest.raises(weights.WeightsError, match="rnn_2/rnn_2/bias:0"):
        weights.load_weights(buffer.getvalue(), files[1])


# ------------------------------------------------------------------------------------------- the parts, on made data


def test_windows() -> None:
    vocabulary = {"a": 1, "b": 2, texts.EDGE: 3}
    assert texts.encode("abxa", vocabulary) == ([3, 1, 2, 1, 3], 1)
    windows, answers = texts.questions([[3, 1, 2, 3]])
    np.testing.assert_array_equal(answers, [1, 2, 3])
    np.testing.assert_array_equal(windows[:, -3:], [[0, 0, 3], [0, 3, 1], [3, 1, 2]])
    assert windows.shape == (3, texts.WINDOW)
    assert not windows[:, :-3].any()
    np.testing.assert_array_equal(texts.window(list(range(1, 100))), np.arange(60, 100))


def test_paragraphs() -> None:
    assert texts.paragraphs("\none\ntwo\n \n\n three\n") == ["one two", "three"]
    assert texts.zen()[0] == "The Zen of Python, by Tim Peters"


def test_every_engine_agrees_with_float64(small: weights.Weights) -> None:
    windows = np.random.default_rng(2).integers(0, len(CHARACTERS) + 2, (3, texts.WINDOW))
    for name, build in engines.ENGINES.items():
        try:
            engine = build(small)
        except ModuleNotFoundError:
            continue  # a rival that is not installed
        check.Checker(small).check(windows, model.TextModel(small, engine)(windows), name)


@pytest.mark.parametrize("name", list(check.BOUNDS))
@pytest.mark.parametrize("wrong", [0.1, np.nan])
def test_a_wrong_number_is_a_breach(small: weights.Weights, name: str, wrong: float) -> None:
    windows = np.zeros((2, texts.WINDOW), np.int64)
    used = model.TextModel(small, engines.fastlstm_engine(small))(windows)
    used.named()[name].flat[-1] += wrong
    with pytest.raises(check.BreachError, match=name):
        check.Checker(small).check(windows, used, "test")


def test_writing(small: weights.Weights) -> None:
    text_model, shown = model.TextModel(small, engines.fastlstm_engine(small)), list[str]()
    length = generate.BLOCK + 9
    checker = check.Checker(small)
    first = generate.write(text_model, checker, length, 1.0, 7, shown.append)
    again = generate.write(text_model, checker, length, 1.0, 7, shown.append)
    assert "".join(shown) == first.text + again.text
    assert first.text == again.text
    assert len(first.text) == length == first.same_draws == len(first.windows)
    assert set(first.text) <= set(CHARACTERS + "\n")


def test_draw() -> None:
    log_probabilities = np.log(np.array([0.5, 0.125, 0.25, 0.125]))
    assert generate.draw(log_probabilities, 0, 0.9) == 2  # never the padding, however likely
    assert [generate.draw(log_probabilities, 1, u) for u in (0.0, 0.24, 0.26, 0.74, 0.76, np.nextafter(1, 0))] == [
        1,
        1,
        2,
        2,
        3,
        3,
    ]


# ------------------------------------------------------------------------------------------------------ fetching


def no_index(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Make it as on a machine without a network and without a cache."""
    for name in list(os.environ):
        if name.startswith("PIP_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def test_offline_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_index(monkeypatch, tmp_path)
    done = run_demo()
    assert done.returncode == demo.MISSING, done.stderr
    for part in (fetch.ARCHIVE, fetch.SHA256, "remedy"):
        assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_a_forged_archive_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_index(monkeypatch, tmp_path)
    forged = fetch.cache_folder() / fetch.ARCHIVE
    forged.parent.mkdir(parents=True)
    forged.write_bytes(bytes(fetch.ARCHIVE_BYTES))
    with pytest.raises(fetch.FetchError, match="could not be downloaded"):
        fetch.fetch()


def test_fetching_runs_no_code_of_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An archive of the same name whose setup.py would leave a mark is fetched, and there is no mark."""
    pytest.importorskip("pip", reason="the demo downloads with pip")
    mark, source = tmp_path / "mark", tmp_path / fetch.ARCHIVE
    with tarfile.open(source, "w:gz") as tar:
        for name, text in (
            ("setup.py", f"open({str(mark)!r}, 'w').close()\n"),
            ("PKG-INFO", f"Metadata-Version: 2.1\nName: {fetch.PACKAGE}\nVersion: {fetch.VERSION}\n"),
        ):
            member = tarfile.TarInfo(f"{fetch.PACKAGE}-{fetch.VERSION}/{name}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    no_index(monkeypatch, tmp_path / "cache")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(fetch, "ARCHIVE_BYTES", source.stat().st_size)
    with pytest.raises(fetch.FetchError, match=r"HASHES|hash"):
        fetch.fetch()
    monkeypatch.setattr(fetch, "SHA256", hashlib.sha256(source.read_bytes()).hexdigest())
    assert fetch.fetch().read_bytes() == source.read_bytes()
    assert not mark.exists()
    assert sorted(path.name for path in fetch.cache_folder().iterdir()) == [".gitignore", fetch.ARCHIVE]


# ------------------------------------------------------------------------------------------- the published model


@pytest.fixture(scope="session")
def published() -> weights.Weights:
    try:
        return weights.published()
    except fetch.FetchError as error:
        pytest.skip(f"the published model is not cached and cannot be fetched: {error}")


def loss(some_weights: weights.Weights, some_texts: list[str]) -> float:
    """Return the mean loss in nats a character."""
    windows, answers = texts.questions(texts.encode(text, some_weights.vocabulary)[0] for text in some_texts)
    rows = model.TextModel(some_weights, engines.fastlstm_engine(some_weights))(windows).log_probabilities
    return float(-rows[np.arange(len(rows)), answers].mean())


def test_published_loss(published: weights.Weights) -> None:
    assert loss(published, list(PLAIN)) < LOSS_PLAIN
    assert loss(published, texts.zen()) < LOSS_ZEN


def as_plain_keras(layer: dict[str, Array]) -> dict[str, Array]:
    """Give what one would get by reading the same file as a plain Keras layer's, with its transposed blocks."""
    kernel, recurrent, _ = to_cudnn(layer)
    return {**layer, "weight_ih_l0": np.ascontiguousarray(kernel.T), "weight_hh_l0": np.ascontiguousarray(recurrent.T)}


def gates_exchanged(layer: dict[str, Array]) -> dict[str, Array]:
    """Give what one would get by taking the file's gate order for ONNX's, i, o, f, g."""
    return {name: np.concatenate([np.split(array, 4)[gate] for gate in (0, 2, 3, 1)]) for name, array in layer.items()}


@pytest.mark.parametrize("wrong", [as_plain_keras, gates_exchanged])
def test_published_loss_of_wrong_conversions(published: weights.Weights, wrong: Any) -> None:
    changed = {"lstm_1": wrong(published.lstm_1), "lstm_2": wrong(published.lstm_2)}
    assert loss(weights.Weights(**{**vars(published), **changed}), list(PLAIN)) > LOSS_WRONG


@pytest.mark.usefixtures("published")
def test_whole_demo(tmp_path: Path) -> None:
    done = run_demo("--length", "30")
    assert done.returncode == demo.OK, done.stderr
    parts = (
        "Scored the Zen of Python: 856 characters",
        "Wrote 30 characters",
        "Same bits",
        "us per step",
        "is in a table",
    )
    for part in parts:
        assert part in done.stdout
    text = tmp_path / "text"
    text.write_text("\n\n".join(PLAIN), encoding="utf-8")
    done = run_demo("--length", "1", "--temperature", "0", "--text", str(text))
    assert done.returncode == demo.OK, done.stderr
    assert f"Scored {text}: " in done.stdout


def test_bad_texts(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "latin").write_bytes(b"\xe9")
    for name, complaint in (("absent", "cannot be read"), ("empty", "nothing to score"), ("latin", "not UTF-8")):
        done = run_demo("--text", str(tmp_path / name))
        assert done.returncode == demo.MISSING
        assert complaint in done.stderr
        assert "Traceback" not in done.stderr


def run_demo(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the demo as its users do."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "textgen"), *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        timeout=300,
        check=False,
    )
