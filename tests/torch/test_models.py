"""Two published torch models, accelerated: Resemblyzer's voice encoder and naampy's model of first names.

Their weights are fetched with pip into the examples' cache; where they are neither there nor to be had the tests skip.
"""

import copy

import numpy as np
import pytest

from tests.cases import assert_close, assert_gradients_close
from tests.torch.support import import_torch

torch = import_torch()

from textgen.fetch import FetchError  # noqa: E402
from torch_models import names, published, sound, voices  # noqa: E402

import fastlstm.torch  # noqa: E402

needs_speech = pytest.mark.skipif(
    not sound.SPEECH.is_dir(), reason=f"no speech in {sound.SPEECH}: install Debian's alsa-utils"
)


def load_or_skip(module):
    try:
        return module.load()
    except FetchError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def encoder():
    return load_or_skip(voices)


@pytest.fixture(scope="module")
def namer():
    return load_or_skip(names)


def speech():
    return {path.stem: sound.windows(sound.read(path)) for path in sorted(sound.SPEECH.glob("*_*.wav"))}


def everything(model, inputs):
    """Return all that a model's LSTM and the model itself give, as arrays; and the gradients of its parameters."""
    seen = []
    hook = model.lstm.register_forward_hook(lambda module, given, result: seen.append(result))
    answer = model(*inputs)
    hook.remove()
    ((output, (h_n, c_n)),) = seen
    model.zero_grad()
    (answer.flatten() @ torch.linspace(-1, 1, answer.numel())).backward()  # the squares of a unit vector add to 1
    results = {"output": getattr(output, "data", output), "h_n": h_n, "c_n": c_n, "answer": answer}
    arrays = {name: tensor.detach().numpy() for name, tensor in results.items()}
    return arrays, {f"weight of {name}": p.grad.numpy() for name, p in model.named_parameters()}


def assert_accelerated_equals_torch(model, *inputs):
    """Raise AssertionError unless a model gives the same after `accelerate`: with a gradient to come, and without."""
    ours = copy.deepcopy(model)
    assert fastlstm.torch.accelerate(ours) == (["lstm"], {})
    expected, expected_gradients = everything(model, inputs)
    found, gradients = everything(ours, inputs)
    assert ours.lstm.fallback is None
    for name, array in found.items():
        assert_close(array, expected[name], "torch, published")
    assert_gradients_close(gradients, expected_gradients, "gradients, torch, published")
    with torch.no_grad():
        np.testing.assert_array_equal(ours(*inputs).numpy(), found["answer"])


# ---- voices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("B", [1, 5])
def test_voice_encoder_on_synthetic_voices(encoder, B):
    frames = torch.cat([sound.windows(sound.voice(seconds=2, pitch=100 + 20 * k)) for k in range(B)])
    assert frames.shape[1:] == (160, 40)
    assert_accelerated_equals_torch(encoder, frames)


@needs_speech
def test_voice_encoder_on_speech(encoder):
    assert_accelerated_equals_torch(encoder, torch.cat(list(speech().values())))


@needs_speech
def test_voice_encoder_knows_a_voice_again(encoder):
    # Says that the weights and the frames are read as they were meant, so that the other tests run on real numbers.
    with torch.no_grad(), fastlstm.torch.accelerated(encoder):
        one, *others = (encoder(frames) for frames in speech().values())
        noise = encoder(sound.windows(sound.read(sound.SPEECH / "Noise.wav")))
    assert min(voices.similarity(one, other) for other in others) > voices.similarity(one, noise)


def test_frames_of_a_tone():
    # The band whose triangle holds the tone is the loudest, 10 ms after 10 ms, and a sound twice as loud has four times
    # the power.
    t = np.arange(sound.RATE) / sound.RATE
    tones = {frequency: sound.mel_frames(np.sin(2 * np.pi * frequency * t))[5:-5] for frequency in (300, 1000, 4000)}
    loudest = [set(frames.argmax(axis=1)) for frames in tones.values()]
    assert [len(bands) for bands in loudest] == [1, 1, 1]
    assert loudest == sorted(loudest, key=min)
    np.testing.assert_array_equal(sound.mel_frames(2 * np.sin(2 * np.pi * 300 * t))[5:-5], 4 * tones[300])


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [names.WOMEN + names.MEN, sorted(names.MEN, key=len, reverse=True), names.MEN[:1]],
    ids=["unsorted", "sorted", "alone"],
)
def test_names(namer, asked):
    assert_accelerated_equals_torch(namer, *names.encode(asked))


def test_names_are_told_apart(namer):
    with torch.no_grad(), fastlstm.torch.accelerated(namer):
        assert (namer(*names.encode(names.WOMEN)) > 0).all()
        assert (namer(*names.encode(names.MEN)) < 0).all()


# ---- fetching --------------------------------------------------------------------------------------------------------


def test_a_wheel_that_cannot_be_had(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel = published.Wheel("naampy", "0.8.0", "naampy-0.8.0-py3-none-any.whl", "0" * 64, "naampy/model/gender_lstm.pt")
    cached = tmp_path / "fastlstm" / wheel.package / wheel.file
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"not what was published")
    with pytest.raises(FetchError, match=r"naampy-0\.8\.0-py3-none-any\.whl could not be fetched: "):
        wheel.weights()
