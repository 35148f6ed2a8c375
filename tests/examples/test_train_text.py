"""The training in examples/train_text: it learns, its bits do not depend on how it is run, bad checkpoints are refused.

What is compared to the last bit runs in processes of its own, as users start it: only there NumPy's BLAS is held to
one thread.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support import EXAMPLES

pytest.importorskip("rich", reason="rich draws the progress bar")

from train_text import checkpoint, command, corpus, model, training

Array = NDArray[Any]

# Enough to learn more than pairs of characters, in two or three seconds.
STEPS, HIDDEN = 200, 64
# The loss is then 2.05 to 2.13 nats a character with seeds 1 to 5. A model that knows how often each character comes is
# at 3.08, one that knows how often each follows each other at 2.32 (see `pair_entropy`, taken of this very text): to do
# better by the margin takes the LSTM's memory. With an LSTM that does not learn the loss is 2.56.
LOSS_AT_FIRST = np.log(len(corpus.ALPHABET))
LOSS_MARGIN = 0.1
# The untrained model's logits vary a little, which costs up to 0.05.
FIRST_MARGIN = 0.1
# The difference leaves out the third derivative, which is up to 0.15 % of the slope for weight_ih; rounding of the
# float32 losses adds at most 0.01 %.
SLOPE_TOLERANCE = 0.005
SLOPE_STEP = 0.02


def train(path: Path, *options: str) -> str:
    """Run the program with a checkpoint; return what it printed."""
    command = [
        sys.executable,
        str(EXAMPLES / "train_text"),
        "--hidden",
        str(HIDDEN),
        "--checkpoint",
        str(path),
        *options,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def contents(path: Path) -> dict[str, Array]:
    """Read a checkpoint without the program's own reader."""
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def pair_entropy(text: corpus.Numbers) -> float:
    """Return the least mean loss of a model that sees one character, on this very text, in nats."""
    counts = np.zeros((len(corpus.ALPHABET),) * 2)
    np.add.at(counts, (text[:-1], text[1:]), 1)
    total, share = counts.sum(), counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return float(-(counts[counts > 0] / total * np.log(share[counts > 0])).sum())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Train without a break, on one thread: the checkpoint and what was printed."""
    path = tmp_path_factory.mktemp("whole") / "model.npz"
    return path, train(path, "--steps", str(STEPS), "--generate", "80")


# ------------------------------------------------------------------------------------------------------------ it learns


def test_loss_falls_below_what_pairs_of_characters_allow(whole: tuple[Path, str]) -> None:
    losses = contents(whole[0])["losses"]
    assert len(losses) == STEPS
    assert abs(losses[0] - LOSS_AT_FIRST) < FIRST_MARGIN
    assert losses[-20:].mean() < pair_entropy(corpus.read(corpus.TRAINING_MODULES)) - LOSS_MARGIN


@pytest.mark.parametrize(
    "name", ["embedding", "output.weight", "output.bias", "lstm.weight_ih_l0", "lstm.weight_hh_l0"]
)
def test_gradients_are_slopes_of_the_loss(name: str) -> None:
    """Walk a little along the gradient, back and forth: the loss must change by its norm."""
    start = training.begin(16, seed=3)
    reading = corpus.Pass(corpus.read(("csv",)), rows=4, steps=20, offset=0)
    given, coming = reading.chunk(0)
    net = model.Model(start.parameters)
    _, gradients, _ = net.gradients(given, coming, model.no_state(16, 4))
    norm = float(np.linalg.norm(gradients[name].astype(np.float64)))
    losses = []
    for step in (SLOPE_STEP, -SLOPE_STEP):
        moved = start.parameters[name] + np.float32(step / norm) * gradients[name]
        losses.append(model.Model(start.parameters | {name: moved}).loss(given, coming))
    assert (losses[0] - losses[1]) / (2 * SLOPE_STEP) == pytest.approx(norm, rel=SLOPE_TOLERANCE)


def test_it_writes_as_many_characters_as_asked_for(whole: tuple[Path, str]) -> None:
    assert len(whole[1].partition("It writes:\n\ndef ")[2]) == 80 + 1  # and the line's end


# ----------------------------------------------------------------------------------------------------------- same bits


def test_two_threads_and_a_break_change_no_bit(whole: tuple[Path, str], tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    half = str(STEPS // 2)
    train(path, "--steps", half, "--threads", "2", "--generate", "0")
    expected = contents(whole[0])
    np.testing.assert_array_equal(contents(path)["losses"], expected["losses"][: STEPS // 2])

    output = train(path, "--steps", str(STEPS), "--generate", "80", "--resume")
    resumed = contents(path)
    assert resumed.keys() == expected.keys()
    for name, array in expected.items():
        assert resumed[name].dtype == array.dtype
        assert resumed[name].tobytes() == array.tobytes(), name
    # From the losses on, down to the text that it writes.
    begin = "Fingerprint"
    assert output[output.index(begin) :] == whole[1][whole[1].index(begin) :]


def test_a_break_before_a_new_pass_over_the_text_changes_no_bit(tmp_path: Path) -> None:
    """A new pass draws where it begins: the generator's state must have been kept."""
    text = corpus.read(("csv",))[:8000]  # five chunks: 14 steps go over it almost three times
    made_with = training.settings(8, 5, text)

    def steps(progress: training.Progress, number: int) -> training.Progress:
        net = model.Model(progress.parameters)
        for _ in range(number):
            training.take_step(net, progress, text)
        return progress

    whole = steps(training.begin(8, 5), 14)
    for before in range(3, 8):
        path = tmp_path / f"{before}.npz"
        checkpoint.save(path, steps(training.begin(8, 5), before), made_with)
        resumed = steps(checkpoint.load(path, made_with), 14 - before)
        assert resumed.losses == whole.losses
        assert (resumed.offset, resumed.chunk) == (whole.offset, whole.chunk)


# ------------------------------------------------------------------------------------------------------ bad checkpoints


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Save a small, new checkpoint: its path and settings."""
    made_with = training.settings(8, 5, corpus.encode("some text"))
    path = tmp_path / "model.npz"
    checkpoint.save(path, training.begin(8, 5), made_with)
    return path, made_with


def test_a_damaged_checkpoint_is_refused_or_harmless(saved: tuple[Path, dict[str, Any]]) -> None:
    """Flip bytes all over the file: it is refused, unless the byte means nothing, such as a date in the archive."""
    path, made_with = saved
    good = path.read_bytes()
    expected = checkpoint.load(path, made_with).parameters
    refused = 0
    places = range(0, len(good), 131)
    for place in places:
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
        try:
            found = checkpoint.load(path, made_with).parameters
        except checkpoint.CheckpointError:
            refused += 1
        else:
            assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)
    assert refused > 0.8 * len(places)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(saved: tuple[Path, dict[str, Any]], keep: float) -> None:
    path, made_with = saved
    good = path.read_bytes()
    path.write_bytes(good[: int(keep if keep >= 1 else keep * len(good))])
    with pytest.raises(checkpoint.CheckpointError, match="damaged, or no checkpoint"):
        checkpoint.load(path, made_with)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"losses": None}, "other names"),
        ({"extra": np.zeros(1)}, "other names"),
        ({"parameters/output.bias": np.zeros(3, np.float32)}, "float32"),
        ({"means/output.bias": np.zeros(96)}, "float64"),
        ({"losses": np.zeros((2, 2))}, "list of numbers"),
        ({"about": np.array("{}")}, "rng"),
        ({"about": np.array("[")}, "damaged"),
        ({"settings": np.array("[]")}, "settings"),
        ({"settings": np.array(json.dumps({}))}, "hidden is None there, 8 here"),
        ({"losses": np.array([{}], object)}, "damaged"),
    ],
)
def test_a_checkpoint_with_odd_contents_is_refused(
    saved: tuple[Path, dict[str, Any]], change: dict[str, Any], match: str
) -> None:
    path, made_with = saved
    arrays = contents(path) | change
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(checkpoint.CheckpointError, match=match):
        checkpoint.load(path, made_with)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    saved: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, made_with = saved
    good = path.read_bytes()

    def full(file: Any, **_: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(checkpoint.CheckpointError, match="No space left"):
        checkpoint.save(path, training.begin(8, 6), made_with)
    assert path.read_bytes() == good
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (["--resume", "--checkpoint", "{none}"], 3, "There is no checkpoint"),
        (["--checkpoint", "{there}"], 3, "is there already"),
        (["--resume", "--checkpoint", "{there}", "--hidden", "9"], 3, "hidden is 8 there, 9 here"),
        (["--resume", "--checkpoint", "{there}", "--hidden", "8", "--seed", "6"], 3, "seed is 5 there, 6 here"),
        (["--resume", "--checkpoint", "{there}", "--hidden", "8", "--seed", "5"], 3, "text (each Python release"),
        (["--checkpoint", "{none}/model.npz"], 3, "cannot be written"),
        (["--resume"], 2, "--resume needs --checkpoint"),
        (["--steps", "0"], 2, "1 to 1000000"),
        (["--hidden", "many"], 2, "a whole number"),
        (["--hidden", "99999"], 2, "1 to 8192"),
        (["--threads", "99999"], 2, "1 to 4096"),
    ],
)
def test_bad_options_get_a_clear_answer(
    saved: tuple[Path, dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    status: int,
    message: str,
) -> None:
    names = {"none": str(saved[0].parent / "none"), "there": str(saved[0])}
    arguments = [option.format(**names) for option in options]
    if status == 2:
        with pytest.raises(SystemExit):
            command.main(arguments)
    else:
        assert command.main(arguments) == status
    assert message in capsys.readouterr().err
