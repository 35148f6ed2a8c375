"""The page of examples/service in a real browser: it streams a WAV file, and its picture shows the probabilities."""

import shutil

import numpy as np
import pytest

from tests.cases import TOLERANCES, assert_close
from tests.service.support import made_audio, service, write_wav

FRAMES = 40

webdriver = pytest.importorskip("selenium.webdriver", reason="pip install --group service-test")
wait = pytest.importorskip("selenium.webdriver.support.ui")


@pytest.fixture(scope="module")
def browser():
    paths = [shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")]
    if None in paths:
        pytest.skip("needs a browser (apt-get install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--force-device-scale-factor=1"):
        options.add_argument(flag)
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(paths[1]))
    yield made
    made.quit()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_wav(folder / "sample.wav", made_audio(FRAMES))
    with service(folder, sample=folder / "sample.wav") as made:
        yield made


def status(browser, ending):
    """Wait until the page says something that ends so."""
    wait.WebDriverWait(browser, 30).until(
        lambda _: browser.find_element("id", "status").text.endswith(ending),
        f"the page says {browser.find_element('id', 'status').text!r}",
    )


def blue(browser):
    """Return which pixels of the picture have the colour of the probability, [220, 1000]."""
    script = "return Array.from(pen.getImageData(0, 0, picture.width, picture.height).data)"
    pixels = np.array(browser.execute_script(script)).reshape(220, 1000, 4)
    return (pixels == [0x14, 0x56, 0xC8, 255]).all(axis=2)


@pytest.mark.parametrize("how", ["sample", "own"])
def test_page_streams_and_draws(browser, running, tmp_path, how):
    pcm = made_audio(FRAMES, seed=0 if how == "sample" else 1)
    browser.get(f"http://127.0.0.1:{running.port}/")
    if how == "own":
        write_wav(tmp_path / "own.wav", pcm)
        browser.find_element("id", "file").send_keys(str(tmp_path / "own.wav"))
    assert not blue(browser).any()
    browser.find_element("id", how).click()
    status(browser, f"Done: {FRAMES} frames.")
    expected = running.model.clips([pcm])[0]
    got = np.array(browser.execute_script("return window.probabilities"), np.float32)
    assert_close(got, expected, "service")
    assert np.std(expected) > 100 * TOLERANCES["service"].float32
    picture = blue(browser)
    for frame, probability in enumerate(expected):
        column = picture[:, int((frame + 0.5) * 1000 / FRAMES)]
        assert column[int(217 * (1 - probability) + 1)], f"frame {frame}: nothing at {probability:.2f}"
        assert 2 <= column.sum() <= 4, frame
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_page_says_what_is_wrong(browser, running, tmp_path):
    browser.get(f"http://127.0.0.1:{running.port}/")
    browser.find_element("id", "own").click()
    status(browser, "Choose a file first.")
    (tmp_path / "text.wav").write_text("this is no sound")
    browser.find_element("id", "file").send_keys(str(tmp_path / "text.wav"))
    browser.find_element("id", "own").click()
    status(browser, "Unable to decode audio data")
    write_wav(tmp_path / "short.wav", made_audio(1)[:100])
    browser.find_element("id", "file").send_keys(str(tmp_path / "short.wav"))
    browser.find_element("id", "own").click()
    status(browser, "it is shorter than a frame")


def test_page_tells_when_the_service_stops(browser, tmp_path):
    write_wav(tmp_path / "long.wav", made_audio(2000))
    with service(tmp_path, sample=tmp_path / "long.wav") as running:
        browser.get(f"http://127.0.0.1:{running.port}/")
        browser.find_element("id", "sample").click()
        status(browser, "of 2000 frames")
        running.stop()
        status(browser, "The service closed the connection: 1012 the service is stopping")
