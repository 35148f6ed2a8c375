"""The page of examples/service in a real browser: what it streams, draws and finds, and what it says when it cannot."""

import itertools

import numpy as np
import pytest

from tests.browser import started
from tests.cases import TOLERANCES, assert_close
from tests.service.support import cells, made_audio, model, service, write_wav

FRAMES = 40
LEFT, TOP, AXIS, WIDE = 46, 8, 24, 2  # of its pictures

wait = pytest.importorskip("selenium.webdriver.support.ui", reason="pip install --group service-test")
chains = pytest.importorskip("selenium.webdriver.common.action_chains")
keys = pytest.importorskip("selenium.webdriver.common.keys").Keys


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Start a browser whose microphone is a file: a tone, on for half a second, off for half, again and again."""
    t = np.arange(48000) / 48000
    tone = np.where(t < 0.5, 12000 * np.sin(2 * np.pi * 440 * t), 0).astype("<i2")
    path = tmp_path_factory.mktemp("microphone") / "tone.wav"
    write_wav(path, tone, 48000)
    fake = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    made = started(*fake, f"--use-file-for-fake-audio-capture={path}", "--host-resolver-rules=MAP page.test 127.0.0.1")
    yield made
    made.quit()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    write_wav(folder / "sample.wav", made_audio(FRAMES))
    with service(folder, sample=folder / "sample.wav") as made:
        yield made


@pytest.fixture
def page(browser, running):
    browser.get(f"http://127.0.0.1:{running.port}/")
    browser.get_log("browser")  # what was before
    yield browser
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def says(browser, *parts, where="status"):
    """Wait until the page says all of this."""
    wait.WebDriverWait(browser, 30, 0.05).until(
        lambda _: all(part in browser.find_element("id", where).text for part in parts),
        f"the page says {browser.find_element('id', where).text!r}",
    )


def press(browser, name):
    browser.find_element("id", name).click()


def script(browser, text, *given):
    return browser.execute_script(text, *given)


def imported(browser, module, expression, *given):
    """Import a module of the page and evaluate an expression; `m` is the module, `given` what is given."""
    text = "const done = arguments[arguments.length - 1], given = [...arguments].slice(1, -1);"
    text += f"import(arguments[0]).then(m => done({expression}), error => done(String(error)))"
    return browser.execute_async_script(text, f"/page/{module}.js", *given)


def pixels(browser, name):
    text = """const c = document.getElementById(arguments[0]);
      return [c.height, c.width, Array.from(c.getContext("2d").getImageData(0, 0, c.width, c.height).data)]"""
    height, width, data = script(browser, text, name)
    return np.array(data, np.uint8).reshape(height, width, 4)


def color(browser, name):
    text = "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0]).trim()"
    return np.array(list(bytes.fromhex(script(browser, text, f"--{name}")[1:])))


def looks_of(running, pcm):
    """Return what the cells do in a clip, bytes [frames, 4, units]."""
    lstm = running.model.lstm
    stream, told = lstm.stream(), []
    for x in running.model.features(model.frames(pcm)):
        told += cells.told(stream.trace(x[np.newaxis]))
    return np.frombuffer(b"".join(told), np.uint8).reshape(-1, 4, 128)


@pytest.mark.parametrize("how", ["sample", "own"])
def test_page_streams_and_draws(page, running, tmp_path, how):
    pcm = made_audio(FRAMES, seed=0 if how == "sample" else 1)
    if how == "own":
        write_wav(tmp_path / "own.wav", pcm)
        page.find_element("id", "file").send_keys(str(tmp_path / "own.wav"))
    else:
        press(page, how)
    says(page, "Done: 1.28 s.")
    expected = running.model.clips([pcm])[0]
    got = np.array(script(page, "return live.probabilities()"), np.float32)
    assert_close(got, expected, "service")
    assert np.std(expected) > 100 * TOLERANCES["service"].float32
    picture = pixels(page, "speech")
    is_curve = np.abs(picture[:, :, :3].astype(int) - color(page, "speech")).sum(axis=2) < 40
    bottom = len(picture) - AXIS
    for frame, probability in enumerate(expected):
        column = is_curve[:, LEFT + frame * WIDE : LEFT + frame * WIDE + 2].any(axis=1)
        y = int(bottom - probability * (bottom - TOP))
        assert column[max(0, y - 2) : y + 3].any(), f"frame {frame}: nothing at {probability:.2f}"
    assert not is_curve[:, LEFT + FRAMES * WIDE : -20].any()


def test_page_draws_the_cells(page, running):
    press(page, "sample")
    says(page, "Done: 1.28 s.")
    told = looks_of(running, made_audio(FRAMES))
    text = "const h = live.history(); return Array.from({length: h.frames}, (_, n) => Array.from(h.cells(n)))"
    got = np.array(script(page, text)).reshape(told.shape)
    assert np.abs(got.astype(int) - told).max() <= 1  # batches of a BLAS round differently
    rates = np.where(got[:, 3] == 0, 0, 2.0 ** ((got[:, 3] - 1) / 14 - 16)).sum(axis=0)
    order = script(page, "return live.history().order")
    assert (np.diff(rates[order]) >= 0).all()  # the longest half-life is on top
    picture = pixels(page, "cells")[TOP:-AXIS, LEFT:]
    assert len(picture) == 2 * 128
    panel, kept, added, taken = (color(page, name).astype(float) for name in ("panel", "kept", "added", "taken"))
    most_kept, most_written = got[:, 0].max(axis=0), got[:, 1:3].max(axis=(0, 1))
    amount = np.where(got == 0, 0, 2.0 ** (got / 14))
    for frame, row in itertools.product((3, 20, 39), range(128)):
        unit = order[row]
        green = 0.75 * 2 ** (-0.7 * (most_kept[unit] - got[frame, 0, unit]) / 14) if got[frame, 0, unit] else 0
        more, less = amount[frame, 1:3, unit]
        largest = got[frame, 1:3, unit].max()
        over = 2 ** (-0.7 * (most_written[unit] - largest) / 14) if largest else 0
        written = added + (less / (more + less) if largest else 0) * (taken - added)
        under = panel + green * (kept - panel)
        wanted = under + over * (written - under)
        assert np.abs(picture[2 * row, 2 * frame, :3] - wanted).max() < 2, (frame, row)
    assert page.find_element("id", "lost").text == ""


def test_page_listens_to_a_microphone(page):
    press(page, "microphone")
    says(page, "Listening: ")
    wait.WebDriverWait(page, 30).until(lambda _: script(page, "return live.history().frames") >= 70)
    assert not page.find_element("id", "microphone").is_enabled()
    press(page, "stop")
    says(page, "Stopped: ")
    frames, level, lost = script(
        page, "const h = live.history(); return [h.frames, Array.from(h.level.slice(0, h.frames)), h.lost]"
    )
    loud = np.array(level) > 0.05
    assert 0.2 < loud.mean() < 0.8  # of a tone that is on half of the time
    assert (np.diff(np.flatnonzero(np.diff(loud))) > 10).all()  # for half a second each
    assert lost == 0
    assert len(script(page, "return live.probabilities()")) == frames
    assert page.find_element("id", "microphone").is_enabled()


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
def test_any_rate_becomes_16_khz(page, rate):
    seconds, cut = 0.5, 128
    low, high = 1000, 0.4 * rate  # above 8 kHz a tone has to go
    t = np.arange(int(seconds * rate)) / rate
    for frequency, stays in ((low, True), (high, high < 7000)):
        tone = np.sin(2 * np.pi * frequency * t)
        expression = "(r => { const out = []; for (let k = 0; k < given[1].length; k += 128)"
        expression += " out.push(...r.push(given[1].slice(k, k + 128))); return out; })(new m.Resampler(given[0]))"
        got = np.array(imported(page, "microphone", expression, rate, tone.tolist()))
        assert abs(len(got) - seconds * 16000) < 64
        middle = slice(cut, -cut)
        wanted = np.sin(2 * np.pi * frequency * np.arange(len(got)) / 16000) if stays else np.zeros(len(got))
        assert np.abs(got - wanted)[middle].max() < 1e-3, frequency


def test_whole_samples_are_clipped(page):
    assert imported(page, "microphone", "[-2, -1, 0, 0.5, 1, 2].map(m.whole)") == [
        -32768,
        -32768,
        0,
        16384,
        32767,
        32767,
    ]
    assert imported(page, "microphone", "Array.from(m.mono([[1, 0], [0, -1]]))") == [0.5, -0.5]


@pytest.mark.parametrize(
    ("name", "says_"),
    [
        ("NotAllowedError", "The microphone was refused. Allow it"),
        ("NotFoundError", "No microphone was found."),
        ("NotReadableError", "another program may have it"),
        ("AbortError", "The microphone cannot be used: why it is so"),
    ],
)
def test_page_says_why_there_is_no_microphone(page, name, says_):
    text = "const error = new DOMException('why it is so', arguments[0]);"
    script(page, text + "navigator.mediaDevices.getUserMedia = () => Promise.reject(error);", name)
    press(page, "microphone")
    says(page, says_)
    assert page.find_element("id", "microphone").is_enabled()


def test_a_microphone_that_is_allowed_too_late_is_let_go(page):
    text = "const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);"
    text += "navigator.mediaDevices.getUserMedia = async what => { window.media = await real(what);"
    script(page, text + "return new Promise(done => { window.allow = () => done(media); }); }")
    press(page, "microphone")
    says(page, "the browser asks whether this page may use it")
    wait.WebDriverWait(page, 30).until(lambda _: script(page, "return Boolean(window.allow)"))
    press(page, "stop")
    says(page, "Stopped.")
    script(page, "allow()")
    wait.WebDriverWait(page, 30).until(lambda _: script(page, "return media.getTracks()[0].readyState") == "ended")
    assert page.find_element("id", "status").text == "Stopped."
    assert script(page, "return live.history().frames") == 0


def test_a_page_that_is_not_secure_gets_no_microphone(browser, running):
    browser.get(f"http://page.test:{running.port}/")
    press(browser, "microphone")
    says(browser, "only to pages at https:// or http://localhost")
    press(browser, "sample")  # which it may play all the same
    says(browser, "Done: 1.28 s.")


def test_a_microphone_that_goes_away(page):
    keep = "const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);"
    script(page, keep + "navigator.mediaDevices.getUserMedia = async what => window.media = await real(what)")
    press(page, "microphone")
    says(page, "Listening: ")
    script(page, "media.getTracks()[0].dispatchEvent(new Event('ended'))")
    says(page, "Stopped: the microphone went away.")
    assert script(page, "return media.getTracks()[0].readyState") == "ended"  # its light is off


SPEECH = (
    [0.1] * 5 + [0.9] * 20 + [0.1] * 2 + [0.9] * 5 + [0.36] * 9 + [0.7] + [0.1] * 10 + [0.6] * 7 + [0.1] * 5 + [0.8] * 9
)


def segments(probabilities, threshold):
    """Find segments in the page's words, the long way: ends first."""
    found, start = [], None
    for n, p in enumerate(probabilities):
        quiet = all(q < max(0.01, threshold - 0.15) for q in probabilities[n : n + 3])
        if start is None and p >= threshold:
            start = n
        if start is not None and quiet and n + 3 <= len(probabilities):
            found, start = [*found, [start, n]], None
    if start is not None:
        quiet = [q < max(0.01, threshold - 0.15) for q in probabilities]
        end = len(probabilities)
        while quiet[end - 1]:
            end -= 1
        found.append([start, end])
    return [pair for pair in found if pair[1] - pair[0] >= 8]


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.65, 0.75, 0.95])
@pytest.mark.parametrize("shown", [0, 1, 30, 33, 60, len(SPEECH)])
def test_segments(page, threshold, shown):
    expression = "(h => { h.answer(given[0]); return h.segments(given[1]); })(new m.History())"
    assert imported(page, "history", expression, SPEECH[:shown], threshold) == segments(SPEECH[:shown], threshold)


def test_it_keeps_ten_minutes(page):
    expression = """(h => {
      const bytes = n => new Uint8Array(4 * 3).fill(1 + n % 200);
      for (let n = 0; n < 20000; n++) { h.look(n, bytes(n)); h.answer([n % 1000 / 1000]); }
      const old = h.frames - 18750;
      return [h.first, h.lost, h.cells(old - 1) === undefined, h.cells(old)[0], h.at(19999), h.bytes.length,
              h.segments(0.5)[0], h.segments(0.5).length];
    })(new m.History(3))"""
    first, lost, is_gone, oldest, newest, size, *found = imported(page, "history", expression)
    assert (first, lost, is_gone, oldest, round(newest, 3)) == (1250, 0, True, 1 + 1250 % 200, 0.999)
    assert size == 18750 * 12
    assert found == [[1500, 2000], 19]  # and not the speech that began at frame 500


def test_the_threshold_moves_segments(page, running, tmp_path):
    press(page, "sample")
    says(page, "Done: 1.28 s.")
    got = [float(p) for p in script(page, "return live.probabilities()")]
    slider = page.find_element("id", "threshold")
    seen = set()
    for threshold in (0.5, 0.51, 0.05):
        if threshold == 0.51:
            slider.send_keys(keys.ARROW_RIGHT)
        if threshold == 0.05:
            slider.send_keys(keys.HOME)
        says(page, f"{threshold:.2f}", where="threshold-value")
        script(page, "return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        wanted = segments(got, threshold)
        assert script(page, "return live.segments()") == wanted
        listed = [item.text.split("\n") for item in page.find_elements("css selector", "#segments li")]
        assert listed == [
            [f"{a * 0.032:.2f} \N{EN DASH} {b * 0.032:.2f} s", f"{(b - a) * 0.032:.2f} s"] for a, b in wanted
        ]
        seen.add(str(wanted))
    assert len(seen) > 1
    line = page.find_element("id", "speech")
    height = line.size["height"]
    move = chains.ActionChains(page)
    at = TOP + 0.95 * (height - AXIS - TOP) - height / 2  # the line, from the middle
    move.move_to_element_with_offset(line, 100, int(at)).click_and_hold().move_by_offset(0, -50).release().perform()
    assert 0.25 < float(page.find_element("id", "threshold-value").text) < 0.45


def test_keys_read_the_pictures(page, running):
    press(page, "sample")
    says(page, "Done: 1.28 s.")
    page.find_element("id", "cells").send_keys(keys.ARROW_RIGHT * 4 + keys.ARROW_DOWN * 2)
    unit = script(page, "return live.history().order[2]")
    says(page, f"0.13 s, cell {unit}: kept ", "added ", "taken away ", "half of its memory goes in ", where="readout")
    page.find_element("id", "speech").send_keys(keys.ARROW_UP)
    says(page, "0.51", where="threshold-value")
    page.find_element("id", "speech").send_keys(keys.ARROW_RIGHT)
    probability = script(page, "return live.probabilities()[5]")
    says(page, f"0.16 s: probability {probability:.3f}", where="readout")


def test_everything_can_be_reached_by_keys(page):
    reached = []
    for _ in range(7):
        script(page, "return document.activeElement")
        page.switch_to.active_element.send_keys(keys.TAB)
        reached.append(script(page, "return document.activeElement.id"))
    assert reached[:6] == ["microphone", "sample", "own", "threshold", "speech", "cells"]
    page.find_element("id", "sample").send_keys(keys.ENTER)
    says(page, "of 1.28 s")
    assert script(page, "return document.activeElement.id") == "stop"
    says(page, "Done: 1.28 s.")
    assert script(page, "return document.activeElement.id") == "microphone"


def test_a_page_that_draws_too_slowly_loses_cells_and_no_probability(page, running, tmp_path):
    pcm = made_audio(120, seed=5)
    write_wav(tmp_path / "long.wav", pcm)
    script(page, "window.kept = requestAnimationFrame; window.requestAnimationFrame = f => { window.next = f; }")
    page.find_element("id", "file").send_keys(str(tmp_path / "long.wav"))
    says(page, "Done: 3.84 s.")
    script(page, "window.requestAnimationFrame = kept; next()")
    says(page, "56 frames of the strip were left out", "The probabilities are complete.", where="lost")
    got = np.array(script(page, "return live.probabilities()"), np.float32)
    assert_close(got, running.model.clips([pcm])[0], "service")
    lost = color(page, "lost")
    picture = pixels(page, "cells")
    assert (picture[TOP:-AXIS, LEFT + 64 * WIDE : LEFT + 120 * WIDE, :3] == lost).all()
    assert not (picture[TOP:-AXIS, LEFT : LEFT + 64 * WIDE, :3] == lost).all(axis=(0, 2)).any()


def test_what_does_not_fit_can_be_looked_back_at(page, running, tmp_path):
    page.set_window_size(500, 900)
    try:
        write_wav(tmp_path / "long.wav", made_audio(300, seed=5))
        script(
            page, "const real = performance.now.bind(performance); performance.now = () => 20 * real()"
        )  # in a hurry
        page.find_element("id", "file").send_keys(str(tmp_path / "long.wav"))
        says(page, "Done: 9.60 s.")
        slider = page.find_element("id", "back")
        assert slider.is_displayed()
        newest = pixels(page, "speech")
        slider.send_keys(keys.HOME)
        says(page, "0.00 s", where="back-value")
        script(page, "return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert (pixels(page, "speech") != newest).any()
    finally:
        page.set_window_size(1200, 1400)


BOXES = """return Array.from(document.querySelectorAll(
    "button, h1, h2, p, canvas, output, input[type=range], dt, dd, .legend li"))
  .filter(each => each.checkVisibility()).map(each => [each.getBoundingClientRect(), each.outerHTML.slice(0, 60)])
  .map(([box, name]) => [box.left, box.top, box.right, box.bottom, name])"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768, 1200, 1920])
def test_nothing_overlaps_at_any_width(page, width, scheme):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        boxes = script(page, BOXES)
        assert script(page, "return document.documentElement.scrollWidth") <= width
        for box in boxes:
            assert 0 <= box[0] <= box[2] <= width, box
        for one, other in itertools.combinations([box for box in boxes if "segments" not in box[4]], 2):
            across = min(one[2], other[2]) - max(one[0], other[0])
            down = min(one[3], other[3]) - max(one[1], other[1])
            assert across <= 0.5 or down <= 0.5, (one, other)
        ground = script(page, "return getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(246, 248, 250)", "dark": "rgb(13, 17, 23)"}[scheme]
        for name in ("ink", "soft", "taken", "kept", "added"):
            assert contrast(color(page, name), color(page, "panel")) >= 4.5, name
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def contrast(one, other):
    """Return the contrast of two colours, as the accessibility guidelines define it."""

    def luminance(rgb):
        share = rgb / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_nothing_comes_from_elsewhere(page, running):
    names = script(page, "return performance.getEntriesByType('resource').map(each => each.name)")
    assert len(names) >= 5
    assert all(name.startswith((f"http://127.0.0.1:{running.port}/page/", "data:")) for name in names), names


def test_page_says_what_is_wrong(page, tmp_path):
    (tmp_path / "text.wav").write_text("this is no sound")
    page.find_element("id", "file").send_keys(str(tmp_path / "text.wav"))
    says(page, "This cannot be streamed: Unable to decode audio data")
    write_wav(tmp_path / "short.wav", made_audio(1)[:100])
    page.find_element("id", "file").send_keys(str(tmp_path / "short.wav"))
    says(page, "This cannot be streamed: it is shorter than a frame")
    assert page.find_element("id", "sample").is_enabled()


@pytest.mark.parametrize(
    "message",
    [
        "{",
        '{"token": ""',
        '{"first": 3, "cells": ""}',
        '{"first": 0, "cells": "AAAA"}',
        '{"first": 0, "cells": "%"}',
        "7",
    ],
)
def test_a_service_that_says_something_else(page, message):
    text = """window.WebSocket = class {
      static OPEN = 1;
      constructor() { setTimeout(() => this.onmessage({data: arguments_[0]})); }
      close(code) { this.onclose({code, reason: ""}); }
    };"""
    script(page, "window.arguments_ = arguments;" + text.replace("arguments_[0]", "window.arguments_[0]"), message)
    press(page, "sample")
    says(page, "The service's message is not understood: ")
    assert page.find_element("id", "sample").is_enabled()


def test_page_tells_when_the_service_stops(browser, tmp_path):
    write_wav(tmp_path / "long.wav", made_audio(2000))
    with service(tmp_path, sample=tmp_path / "long.wav") as running:
        browser.get(f"http://127.0.0.1:{running.port}/")
        press(browser, "sample")
        says(browser, "of 64.00 s")
        running.stop()
        says(browser, "The service closed the connection: 1012 the service is stopping")
        press(browser, "sample")
        says(browser, "This cannot be streamed: Failed to fetch")
