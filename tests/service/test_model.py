"""The model of examples/service against the published one, on recorded speech; what is wrong with a file is said."""

import subprocess
import sys

import numpy as np
import pytest

from tests.cases import TOLERANCES, assert_close
from tests.service.support import SPEECH, as_onnx, audio, fetch, made_audio, made_weights, model, write_wav
from tests.support import EXAMPLES


def published(member=fetch.WEIGHTS):
    try:
        return fetch.fetch(member)
    except fetch.MissingError as error:
        pytest.skip(f"needs silero-vad's package from PyPI: {error}")


def recordings():
    found = sorted(SPEECH.glob("*.wav"))
    if not found:
        pytest.skip("needs recorded speech (apt-get install alsa-utils)")
    return {path.stem: audio.read_wav(path) for path in found}


def original(clip):
    """Run the published model as its package does: frame by frame, with the 64 samples before."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install --group onnxruntime")
    session = onnxruntime.InferenceSession(published("silero_vad/data/silero_vad.onnx"))
    state, answers = np.zeros((2, 1, 128), np.float32), []
    for frame in model.frames(clip):
        given = {"input": frame[None] / np.float32(32768), "state": state, "sr": np.array(16000)}
        answer, state = session.run(None, given)
        answers.append(answer[0, 0])
    return np.array(answers)


def test_published_model_on_speech():
    made = model.Model(published())
    clips = recordings()
    for (name, clip), answers in zip(clips.items(), made.clips(list(clips.values())), strict=True):
        assert len(answers) == len(clip) // 512
        assert_close(answers, original(clip), "service")
        assert (answers.max() > 0.5) == (name != "Noise"), name


def test_a_stream_in_company_gives_what_a_whole_clip_gives():
    made = model.Model(as_onnx(made_weights()))
    clips = [made_audio(40, seed) for seed in range(3)]
    pool = made.lstm.pool(3)
    ids = [pool.open() for _ in clips]
    expected = made.clips(clips)
    assert np.std(expected) > 100 * TOLERANCES["service"].float32  # the frames do differ
    for t in range(40):
        x = made.features(np.stack([model.frames(clip)[t] for clip in clips]))
        assert_close(made.probabilities(pool.step(ids, x)), np.array(expected)[:, t], "service")


@pytest.mark.parametrize("samples", [0, 511, 512, 1023])
def test_only_whole_frames_are_answered(samples):
    made = model.Model(as_onnx(made_weights()))
    (answers,) = made.clips([np.ones(samples, np.int16)])
    assert answers.shape == (samples // 512,)


def test_a_damaged_model_is_refused():
    weights = made_weights()
    with pytest.raises(model.DamagedError, match="no ONNX file"):
        model.Model(as_onnx(weights)[:-1000])
    with pytest.raises(model.DamagedError, match=r"decoder\.rnn\.bias_hh: expected float32 \(512,\), got nothing"):
        model.Model(as_onnx({name: array for name, array in weights.items() if name != "decoder.rnn.bias_hh"}))
    weights["encoder.2.reparam_conv.bias"] = np.zeros(65, np.float32)
    with pytest.raises(model.DamagedError, match=r"encoder\.2.*expected float32 \(64,\), got float32 \(65,\)"):
        model.Model(as_onnx(weights))


def test_a_wheel_that_is_not_the_published_one_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel = fetch.cache_folder() / fetch.WHEEL
    wheel.parent.mkdir(parents=True)
    wheel.write_bytes(b"something else")
    with pytest.raises(fetch.MissingError, match=r"could not be downloaded.*\n.*put silero_vad"):
        fetch.fetch()


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [(None, 3, "No such file"), (b"junk", 1, "no ONNX file, or a damaged one"), (b"", 1, "got nothing")],
    ids=["missing", "junk", "empty"],
)
def test_the_service_does_not_start_without_its_model(tmp_path, content, code, says):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    command = [sys.executable, EXAMPLES / "service", "--model", path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("rate", [16000, 32000, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_files_are_resampled(tmp_path, rate, channels):
    t = np.arange(rate) / rate
    kept, removed = 8000 * np.sin(2 * np.pi * 1000 * t), 8000 * np.sin(2 * np.pi * 11000 * t)
    tone = kept + removed if rate > 32000 else kept
    write_wav(tmp_path / "a.wav", np.repeat(tone.astype("<i2")[:, None], channels, axis=1), rate, channels)
    got = audio.read_wav(tmp_path / "a.wav")
    assert (got.dtype, got.shape) == (np.int16, (16000,))
    middle = slice(1000, -1000)
    assert_close(got[middle] / 8000, kept[:: rate // 16000][middle] / 8000, "service, resampled")


def test_other_wav_files_are_refused(tmp_path):
    write_wav(tmp_path / "a.wav", np.zeros(100, np.uint8), 44100, 1, 1)
    with pytest.raises(ValueError, match="expected 16-bit samples at a multiple of 16 kHz, got 8-bit at 44100 Hz"):
        audio.read_wav(tmp_path / "a.wav")
