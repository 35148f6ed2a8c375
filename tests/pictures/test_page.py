"""A page of `plot` in a real browser: what it shows, says and does, in light and in dark, wide and narrow."""

import itertools

import numpy as np
import pytest

import fastlstm
from tests.browser import started
from tests.pictures.support import AMOUNTS, GATES, H, layer, x

keys = pytest.importorskip("selenium.webdriver.common.keys", reason="pip install --group service-test").Keys
chains = pytest.importorskip("selenium.webdriver.common.action_chains")

TEXT = "to be or not to be, that is the question"
HOSTILE = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\u202eabc", "\0\n", "a" * 500, "&lt;"]
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser():
    made = started()
    yield made
    made.quit()


@pytest.fixture(scope="module")
def traces():
    """Return traces by their pages' names."""
    unknown = x(30)
    unknown[20] = np.nan
    stack = layer(num_layers=2, bidirectional=True)
    return {
        "text": layer().trace(x(len(TEXT))),
        "long": stack.trace(x(5000, 2), lengths=[5000, 2600]),
        "hostile": layer().trace(x(len(HOSTILE) * 10)),
        "unknown": layer().trace(unknown),
        "wide": fastlstm.LSTM(4, 300, seed=0, forget_bias=3.0).trace(x(700)),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory, traces):
    made = tmp_path_factory.mktemp("pages")
    labels = {"text": TEXT, "long": ["token"] * 5000, "hostile": HOSTILE * 10}
    for name, trace in traces.items():
        seconds = 0.032 if name == "wide" else None
        title = HOSTILE[0] if name == "hostile" else name
        fastlstm.plot(trace, made / f"{name}.html", labels=labels.get(name), seconds=seconds, title=title)
    return made


class Shown:
    """A page that is open."""

    def __init__(self, browser, path, scheme="light", size=(1200, 1400)):
        self.browser = browser
        browser.get_log("browser")  # what was before
        self.scheme(scheme)
        self.resize(*size)
        browser.get(path.as_uri())
        self.settle()

    def command(self, name, **options):
        self.browser.execute_cdp_cmd(f"Emulation.{name}", options)

    def scheme(self, name):
        self.command("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def resize(self, width, height):
        self.command("setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def settle(self):
        """Wait until all that was asked for is drawn."""
        self.browser.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)));"
        )

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def choose(self, name, value):
        self.run(
            "const select = document.getElementById(arguments[0]); select.value = arguments[1];"
            "select.dispatchEvent(new Event('change'));",
            *(name, str(value)),
        )
        self.settle()

    def canvas(self, name):
        return self.find(f"canvas[data-name={name}]")

    def point(self, name, column, place, columns, units):
        """Move the mouse to the middle of a cell."""
        canvas = self.canvas(name)
        self.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
        size = canvas.size
        offset = (
            (column + 0.5 - columns / 2) * size["width"] / columns,
            (place + 0.5 - units / 2) * size["height"] / units,
        )
        chains.ActionChains(self.browser).move_to_element_with_offset(canvas, *map(round, offset)).perform()
        self.settle()

    def press(self, *pressed):
        chains.ActionChains(self.browser).send_keys(*pressed).perform()
        self.settle()

    def read(self):
        """Return what the line at the bottom says."""
        parts = self.run("return [...document.querySelectorAll('#readout span')].map((one) => one.textContent)")
        found = {"step": parts[0]}
        for part in parts[1:]:
            name = next(
                each for each in ("label", "unit", "taken away", *GATES, *AMOUNTS) if part.startswith(f"{each} ")
            )
            found[name] = part.removeprefix(f"{name} ")
        return found

    def names(self, name):
        """Return the numbers of the units that are named beside a picture."""
        script = (
            "return [...arguments[0].closest('.plot').querySelectorAll('.names span')].map((one) => one.textContent)"
        )
        return [int(text.removeprefix("unit ").partition(":")[0]) for text in self.run(script, self.canvas(name))]

    def pixel(self, name, column, place, columns, units):
        script = """
            const [canvas, x, y] = arguments;
            const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
            pen.drawImage(canvas, -Math.floor(x * canvas.width), -Math.floor(y * canvas.height));
            return Array.from(pen.getImageData(0, 0, 1, 1).data);
        """
        found = self.run(script, self.canvas(name), (column + 0.5) / columns, (place + 0.5) / units)
        return np.array(found[:3], float)

    def colour(self, name):
        text = self.run("return getComputedStyle(document.documentElement).getPropertyValue(arguments[0])", f"--{name}")
        return np.array([int(text.strip()[k : k + 2], 16) for k in (1, 3, 5)], float)

    def complaints(self):
        return [entry["message"] for entry in self.browser.get_log("browser")]

    def fetched(self):
        return self.run("return performance.getEntriesByType('resource').map((one) => one.name)")


@pytest.fixture
def show(browser, folder):
    """Open pages; at the end nothing was complained of, and nothing fetched."""
    opened = []

    def made(name, *more, **options):
        opened.append(Shown(browser, folder / f"{name}.html", *more, **options))
        return opened[-1]

    yield made
    for page in opened[-1:]:
        assert page.complaints() == []
        assert page.fetched() == []


PAGES = ("text", "long", "hostile", "unknown", "wide")

#: What must not lie on each other: texts and controls that are seen; of each its place, and what it is within.
BOXES = """
const texts = 'h1, h2, summary, #about, #warning, figcaption > *, .legend span, .names span, .axis span';
const kinds = `${texts}, label, button, canvas`;
const seen = [...document.querySelectorAll(kinds)].filter((one) =>
  one.getBoundingClientRect().width > 0.5 && one.offsetParent && getComputedStyle(one).clipPath === 'none');
return seen.map((one) => {
  const box = one.getBoundingClientRect(), around = seen.flatMap((other, k) => (other.contains(one) ? [k] : []));
  const name = `${one.tagName} ${one.className} ${one.textContent.slice(0, 30)}`;
  return [name, box.left, box.top, box.right, box.bottom, around];
});
"""


def overlaps(boxes):
    """Return pairs that share more than a pixel, neither of them within the other."""
    found = []
    for (k, one), (m, other) in itertools.combinations(enumerate(boxes), 2):
        (name, left, top, right, bottom, around), (another, l, t, r, b, those) = one, other
        within = m in around or k in those
        if not within and min(right, r) - max(left, l) > 1 and min(bottom, b) - max(top, t) > 1:
            found.append((name, another))
    return found


def test_overlaps_are_found():
    assert overlaps([("a", 0, 0, 10, 10, [0]), ("b", 8, 2, 18, 9, [1])]) == [("a", "b")]
    assert overlaps([("a", 0, 0, 10, 10, [0]), ("b", 2, 2, 8, 9, [1])]) == [("a", "b")]
    assert overlaps([("a", 0, 0, 10, 10, [0]), ("b", 9.5, 2, 18, 9, [1]), ("c", 2, 2, 4, 4, [0, 2])]) == []


@pytest.mark.parametrize("name", PAGES)
def test_nothing_overlaps_at_any_size(name, show):
    page = show(name)
    for width, height in ((340, 640), (700, 500), (1200, 1400), (2300, 1200)):
        page.resize(width, height)
        page.settle()
        boxes = page.run(BOXES)
        assert len(boxes) > 60
        assert overlaps(boxes) == [], width
        assert page.run("return document.documentElement.scrollWidth") <= width
        assert all(right <= width + 1 for _, _, _, right, _, _ in boxes)
        names = page.run(
            "return [...document.querySelectorAll('.names span, .axis span')].map((one) => one.textContent)"
        )
        assert all(names)


def mixed(a, b, share):
    return a + (b - a) * min(max(share, 0), 1)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_colours_are_the_numbers(scheme, show, traces):
    page, trace = show("text", scheme), traces["text"]
    order, T = np.argsort(-trace.half_life()[0, 0]), len(TEXT)
    zero, gate, minus, plus = (page.colour(name) for name in ("zero", "gate", "minus", "plus"))
    kept, added, taken = (page.colour(name) for name in AMOUNTS if name != "forgotten")
    amounts = {name: getattr(trace, name)[0, 0, :, 0] for name in AMOUNTS}
    most = {name: array.max(axis=0) for name, array in amounts.items()}
    for place, column in itertools.product(range(H), (0, 7, T - 1)):
        unit = order[place]
        one = {name: float(getattr(trace, name)[0, 0, column, 0, unit]) for name in (*GATES, *AMOUNTS)}
        for name in GATES:
            if name in "ifo":
                wanted = mixed(zero, gate, one[name])
            else:
                top = np.abs(trace.c[0, 0, :, 0, unit]).max() if name == "c" else 1
                wanted = mixed(zero, plus if one[name] > 0 else minus, abs(one[name]) / top)
            assert np.abs(page.pixel(name, column, place, T, H) - wanted).max() <= 1.5, (name, column, place)
        written = one["added"] + one["taken"]
        ground = mixed(zero, kept, 0.75 * one["kept"] / most["kept"][unit])
        share = max(one["added"], one["taken"]) / max(most["added"][unit], most["taken"][unit])
        wanted = mixed(ground, mixed(added, taken, one["taken"] / written), share)
        assert np.abs(page.pixel("cell", column, place, T, H) - wanted).max() <= 1.5
    assert np.abs(zero - gate).max() > 100


def test_the_scheme_may_change_while_it_is_open(show):
    page = show("text")
    before = page.pixel("f", 3, 0, len(TEXT), H)
    page.scheme("dark")
    page.settle()
    assert np.abs(page.pixel("f", 3, 0, len(TEXT), H) - before).max() > 50
    assert page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"


def assert_reads(page, trace, column, unit, place=(0, 0, 0)):
    l, direction, row = place
    read = page.read()
    assert read["unit"].startswith(f"{unit}, half-life ")
    for name in (*GATES, *AMOUNTS):
        number = float(getattr(trace, name)[l, direction, column, row, unit])
        told = float(read["taken away" if name == "taken" else name])
        assert abs(told - number) <= 1e-3 * abs(number) + 1e-4, name


def test_the_mouse_tells_numbers(show, traces):
    page, trace = show("text"), traces["text"]
    order = np.argsort(-trace.half_life()[0, 0])
    for column, place in ((0, 0), (17, 4), (len(TEXT) - 1, H - 1)):
        page.point("g", column, place, len(TEXT), H)
        assert_reads(page, trace, column, order[place])
        assert page.read()["step"] == f"step {column}"
        assert page.read()["label"] == {" ": "␣"}.get(TEXT[column], TEXT[column])


def test_the_keyboard_goes_everywhere(show, traces):
    page, trace = show("text"), traces["text"]
    order, T = np.argsort(-trace.half_life()[0, 0]), len(TEXT)
    for _ in range(60):
        page.press(keys.TAB)
        if page.run("return document.activeElement.dataset.name") == "f":
            break
    assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press(keys.ARROW_RIGHT * 3, keys.ARROW_DOWN * 2)
    assert_reads(page, trace, 3, order[2])
    page.press(keys.END)
    assert_reads(page, trace, T - 1, order[2])
    page.press(keys.ENTER)
    assert page.run("return document.getElementById('unit').value") == str(order[2])
    page.press("+", ",")
    assert page.names("f") == order[1:4].tolist()
    page.press(keys.HOME, keys.ARROW_UP * 5)
    assert_reads(page, trace, 0, order[0])
    assert page.names("f") == order[0:3].tolist()
    page.press(keys.ESCAPE)
    assert page.names("f") == order.tolist()


def test_units_stand_as_one_chooses(show, traces):
    page, trace = show("text"), traces["text"]
    life, cell = trace.half_life()[0, 0], np.abs(trace.c[0, 0, :, 0]).mean(axis=0)
    for order, by in (("number", np.arange(H)), ("short", life), ("long", -life), ("cell", -cell)):
        page.choose("order", order)
        assert page.names("o") == np.argsort(by, kind="stable").tolist()
    page.choose("order", "written")
    assert page.names("o") == np.argsort(-trace.write_strength()[0, 0]).tolist()


def test_layers_directions_rows_and_columns(show, traces):
    page, trace = show("long"), traces["long"]
    page.choose("order", "number")
    for l, direction, row in ((0, 1, 0), (1, 0, 1), (1, 1, 1)):
        for name, value in (("layer", l), ("direction", direction), ("row", row)):
            page.choose(name, value)
        page.point("f", 300, 4, 1250, H)
        read = page.read()
        assert read["step"] == "steps 1200 to 1203"
        values = trace.f[l, direction, 1200:1204, row, 4]
        told = [float(part) for part in read["f"].replace("(", "").replace(")", "").replace(" to ", " ").split()]
        assert np.allclose(told, [values.mean(), values.min(), values.max()], atol=1e-3)
    page.point("f", 1000, 4, 1250, H)
    assert page.read()["f"] == "row is over"
    assert np.array_equal(page.pixel("f", 1000, 4, 1250, H), page.colour("over"))
    page.choose("row", 0)
    dark = []
    for kind in ("low", "mean", "high"):
        page.choose("kind", kind)
        dark.append(np.abs(page.pixel("f", 300, 4, 1250, H) - page.colour("zero")).sum())
    assert dark[0] < dark[1] < dark[2]


def test_one_may_look_closer(show):
    page = show("wide")
    steps = "return [...document.querySelectorAll('#panels .axis')].slice(-1)[0].innerText.split('\\n')"
    assert page.run(steps)[0] == "0 s"
    canvas = page.canvas("f")
    page.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    drag = chains.ActionChains(page.browser).move_to_element_with_offset(canvas, 0, 0).click_and_hold()
    drag.move_by_offset(canvas.size["width"] // 4, 0).release().perform()
    page.settle()
    first = float(page.run(steps)[0].removesuffix(" s"))
    assert 0.48 * 700 * 0.032 < first < 0.55 * 700 * 0.032
    assert len(page.names("f")) > 10
    window = page.run("return document.getElementById('window').getBoundingClientRect().left")
    overview = page.find("#map")
    page.run("arguments[0].scrollIntoView({block: 'center'})", overview)
    chains.ActionChains(page.browser).move_to_element_with_offset(
        overview, -overview.size["width"] // 3, 40
    ).click().perform()
    page.settle()
    assert page.run("return document.getElementById('window').getBoundingClientRect().left") < window - 100
    chains.ActionChains(page.browser).double_click(canvas).perform()
    page.settle()
    assert page.run(steps)[0] == "0 s"
    box = page.run("const a = document.getElementById('window').getBoundingClientRect(); return a.height")
    assert box == pytest.approx(96, abs=1)


def test_pictures_may_be_left_out(show):
    page = show("text")
    page.find("input[name=i]").click()
    page.settle()
    shown = page.run("return [...document.querySelectorAll('figure')].filter((one) => !one.hidden).length")
    assert shown == 6


def test_hostile_labels_are_text(show):
    page = show("hostile")
    assert page.find("h1").text == HOSTILE[0]
    assert page.browser.title == HOSTILE[0]
    assert page.run("return document.images.length") == 0
    shown = []
    for column in range(len(HOSTILE)):
        page.point("f", column, 0, len(HOSTILE) * 10, H)
        shown.append(page.read()["label"])
    assert shown[:3] == [HOSTILE[0], HOSTILE[1].replace(" ", "␣"), "\\u{202e}abc"]
    assert shown[3:] == ["\\u{0}⏎", "a" * 99 + "…", "&lt;"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nan_is_seen(scheme, show):
    page = show("unknown", scheme)
    assert "NaN, from i of layer 0, direction 0, step 20, row 0, unit 0 on." in page.find("#warning").text
    assert np.array_equal(page.pixel("c", 25, 2, 30, H), page.colour("nan"))
    assert not np.array_equal(page.pixel("c", 15, 2, 30, H), page.colour("nan"))
    page.point("c", 25, 2, 30, H)
    assert page.read()["c"] == "NaN"
    assert page.read()["unit"].endswith("half-life NaN")
