"""examples/deaf: the detector and the measurements, on made weights; the published ones where they are at hand."""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.cases import Array
from tests.service.support import as_onnx, fetch, made_audio, made_weights, model  # asks for what may be missing

# isort: split
from deaf import detector, experiment, sound
from studies import deaf, record


@pytest.fixture(name="made")
def use_made_weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[model.Model]:
    """Put a made detector in the place of the published one, and four short recordings in that of the speech."""
    found = model.Model(as_onnx(made_weights()))
    clips = [made_audio(frames, seed) for frames, seed in ((60, 1), (40, 2), (30, 3), (33, 4))]
    monkeypatch.setattr(detector, "model", lambda: found)
    monkeypatch.setattr(sound, "recordings", lambda: clips)
    cached = experiment.inputs, experiment.spoken, experiment.loud, experiment.state_after, experiment.health_after
    for each in cached:
        each.cache_clear()
    yield found
    for each in cached:
        each.cache_clear()


def test_inputs_are_those_of_the_service_but_for_their_last_bits(made: model.Model) -> None:
    assert (sound.RATE, sound.FRAME) == (model.RATE, model.FRAME)
    pcm = made_audio(25)
    theirs, ours = made.features(model.frames(pcm)), detector.features(pcm)
    assert (theirs > 0).any()
    np.testing.assert_allclose(ours, theirs, rtol=2.0**-12, atol=2e-4 * np.abs(theirs).max())
    np.testing.assert_array_equal(detector.joined([pcm[:5120], pcm[5120:]]), ours)
    assert detector.features(pcm[:100]).shape == (0, 128)


def test_inputs_keep_so_few_bits_that_sums_may_differ() -> None:
    x = np.random.default_rng(0).standard_normal(1000) * 10.0 ** np.arange(-5, 5).repeat(100)
    kept = detector.coarse(x)
    np.testing.assert_array_equal(detector.coarse(x * (1 + 1e-15)), kept)
    np.testing.assert_allclose(kept, x, rtol=2.0**-12)
    assert (np.frexp(kept)[0] * 2**12 % 1 == 0).all()


def test_probabilities_are_those_of_the_service(made: model.Model) -> None:
    h = np.random.default_rng(0).standard_normal((7, 3, 128)).astype(np.float32)
    np.testing.assert_allclose(detector.probability(h), made.probabilities(h), atol=1e-6)


def test_a_state_of_one_row_is_everybodys(made: model.Model) -> None:
    x = detector.features(made_audio(30))[:, np.newaxis]
    run = detector.listen(x[:20])
    rest = detector.listen(np.repeat(x[20:], 3, axis=1), run.state)
    whole = detector.listen(x).speech
    np.testing.assert_array_equal(rest.speech, np.repeat(whole[20:], 3, axis=1))
    gone = detector.without(run.state, [3, 5])
    assert not gone[1][..., [3, 5]].any()
    np.testing.assert_array_equal(np.delete(gone[1], [3, 5], axis=2), np.delete(run.state[1], [3, 5], axis=2))


@pytest.mark.parametrize("every", [7, 10])
def test_what_is_zeroed_every_so_often_is_what_resets_are(made: model.Model, every: int) -> None:
    x = detector.features(made_audio(50))[:, np.newaxis]
    resets = np.zeros((50, 1), bool)
    resets[every // 2 :: every] = True
    output = made.lstm(x, resets=resets)[0]
    speech, _ = experiment._kept(x, None, lambda state: detector.without(state, range(128)), every)
    np.testing.assert_array_equal(speech, detector.probability(output) >= 0.5)
    never, state = experiment._kept(x, None, None, every)
    np.testing.assert_array_equal(never, detector.listen(x).speech)
    np.testing.assert_array_equal(state[1], detector.listen(x).state[1])


def test_what_is_heard_is_counted_by_seconds(made: model.Model) -> None:
    loud: Array = experiment.loud()
    assert loud.shape == experiment.spoken(0).shape[:2]
    said = experiment.said()
    assert said[-1] == loud.sum() == sum(said[:-1])  # the speech is shorter than 40 seconds
    assert experiment.heard(np.zeros_like(loud)) == [0] * 6
    told = experiment.by_level("white", 1, [0])
    assert told["fresh"] == [experiment.heard(detector.listen(experiment.spoken(0)).speech)]


def test_a_short_run_of_the_published_detector_is_as_it_was_kept() -> None:
    """The same numbers as on any machine: where its wheel and the speech are at hand, and are not fetched for this."""
    try:
        sound.recordings()
    except sound.FetchError as missing:
        pytest.skip(str(missing))
    if not (fetch.cache_folder() / fetch.WHEEL).is_file():
        pytest.skip("the published model is not in the cache: make service, or make deaf")
    assert record.computed(deaf.STUDY["short"]) == record.read("deaf")["short"]
