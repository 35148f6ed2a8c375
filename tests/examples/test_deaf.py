"""examples/deaf: its noise, its speech and its command, without the published model."""

import sys

import numpy as np
import pytest
from deaf import __main__ as command
from deaf import sound
from textgen.fetch import FetchError


@pytest.mark.parametrize("kind", ["white", "pink"])
def test_noise_is_as_loud_and_as_coloured_as_it_says(kind: str) -> None:
    first, second = sound.noise(kind, 2, -30, 0)
    assert len(first) == sound.MINUTE
    assert abs(20 * np.log10(np.sqrt(np.mean(np.square(first / 32768)))) + 30) < 0.2
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(next(sound.noise(kind, 1, -30, 0)), first)
    assert not np.array_equal(next(sound.noise(kind, 1, -30, 1)), first)
    power = np.square(np.abs(np.fft.rfft(first[: 1 << 19].reshape(-1, 1 << 14)))).mean(axis=0)
    octaves = [10 * np.log10(power[64 << k : 128 << k].mean()) for k in range(7)]
    np.testing.assert_allclose(np.diff(octaves), -3 if kind == "pink" else 0, atol=1)
    assert np.corrcoef(first[1:], first[:-1])[0, 1] == pytest.approx(0.87 if kind == "pink" else 0, abs=0.1)


def test_speech_is_turned_and_told_by_its_loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [np.full(n, value, np.int16) for n, value in ((1024, 3), (512, 2000), (700, 9))]
    turns = sound.turns(clips)
    assert [turn[0] for turn in turns] == [3, 2000, 9]
    assert {len(turn) for turn in turns} == {2236}
    np.testing.assert_array_equal(sound.is_loud(turns[0]), [False, False, True, False])
    np.testing.assert_array_equal(sound.quieter(clips[1], 20), 200)


def test_missing_and_other_speech_is_told(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sound, "FOLDER", tmp_path)
    with pytest.raises(FetchError, match="apt-get install pocketsphinx-testdata"):
        sound.recordings()
    monkeypatch.setattr(sound, "_read", lambda path: np.zeros(512, np.int16))
    with pytest.raises(FetchError, match="is other than it was: its samples have the hash"):
        sound.recordings()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--minutes", "0"], "--minutes should be 1 or more, got: 0"), (["--noise", "brown"], "invalid choice: 'brown'")],
)
def test_bad_arguments_are_named(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["deaf", *arguments])
    with pytest.raises(SystemExit):
        command.main()
    assert message in capsys.readouterr().err


def test_a_table_is_in_columns(capsys: pytest.CaptureFixture[str]) -> None:
    command.table(["what", "all"], [["first", *command.shares([1], [2])], ["x", "1"]])
    assert capsys.readouterr().out == "  what     all\n  first  0.500\n  x          1\n\n"
