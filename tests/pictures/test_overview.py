"""What a page holds, against a plain computation from the trace."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest

import fastlstm
from tests.pictures.support import AMOUNTS, GATES, H, I, Page, layer, x


def drawn(traces, path, **options):
    fastlstm.plot(traces, path, **options)
    return Page(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.html"


def assert_shows(page, name, kind, array, over=None, **place):
    """Compare with [columns, K], to the page's rounding."""
    found = page.numbers(name, kind, **place)
    over = np.zeros(len(array), bool) if over is None else over
    assert (np.ma.getmaskarray(found) == over[:, np.newaxis]).all()
    known = array[~over].astype(np.float64)
    step = (known.max(axis=0) - known.min(axis=0)) / 65000
    tolerance = step + 1e-6 * np.abs(known).max(axis=0)  # of float32
    assert (np.abs(found[~over] - known) <= tolerance).all(), name
    assert name == "forgotten" or known.std() > 0


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 3}, {"dtype": "float64"}], ids=str
)
def test_each_step_of_a_short_trace(options, path):
    lengths = np.array([40, 25])
    trace = layer(**options).trace(x(40, 2).astype(options.get("dtype", "float32")), lengths=lengths)
    page = drawn(trace, path)
    (entry,) = page.entries
    assert (entry["exact"], entry["columns"], entry["rows"]) == (True, 40, [0, 1])
    for l, d, row in np.ndindex(*trace.i.shape[:2], 2):
        over = np.arange(40) >= lengths[row]
        for name in (*GATES, *AMOUNTS):
            whole = trace.o * trace.tanh_c if name == "h" and options.get("proj_size") else getattr(trace, name)
            assert_shows(page, name, "mean", whole[l, d, :, row], over, layer=l, direction=d, row=row)
    assert np.allclose(np.array(entry["halfLife"]), trace.half_life(), rtol=1e-5)


def buckets(array, width):
    """Cut along time, the last one perhaps shorter."""
    return [array[start : start + width] for start in range(0, len(array), width)]


@pytest.mark.parametrize("T", [2048, 2049, 5000, 9001])
def test_columns_of_a_long_trace_count_every_step(T, path):
    trace = layer().trace(x(T))
    page = drawn(trace, path)
    (entry,) = page.entries
    width = 2 ** max(0, math.ceil(math.log2(T / 2048)))
    assert (entry["width"], entry["columns"], entry["exact"]) == (width, math.ceil(T / width), width == 1)
    for name in (*GATES, *AMOUNTS):
        parts = buckets(getattr(trace, name)[0, 0, :, 0].astype(np.float64), width)
        assert_shows(page, name, "mean", np.stack([part.mean(axis=0) for part in parts]))
        if name in GATES and width > 1:
            assert_shows(page, name, "low", np.stack([part.min(axis=0) for part in parts]))
            assert_shows(page, name, "high", np.stack([part.max(axis=0) for part in parts]))
    steps = f"A column is {width} steps: their mean" if width > 1 else "Every step is a column."
    assert steps in entry["about"]
    assert f"{T} steps" in entry["about"]


def pieces(lstm, inputs, cuts, lengths=None):
    """Trace piece after piece, each from the state that the one before left."""
    hx = None
    for start, stop in zip([0, *cuts], [*cuts, len(inputs)], strict=True):
        own = None if lengths is None else np.clip(lengths - start, 0, stop - start)
        trace = lstm.trace(inputs[start:stop], hx, lengths=own)
        hx = trace.h_n, trace.c_n
        yield trace


@pytest.mark.parametrize("cuts", [[1], [7, 8, 2900], list(range(100, 5000, 100)), [0, 2048]], ids=str)
def test_pieces_show_what_the_whole_does(cuts, path, tmp_path):
    lstm, inputs, lengths = layer(num_layers=2), x(5000, 2), np.array([5000, 3001])
    whole = drawn(lstm.trace(inputs, lengths=lengths), path)
    page = drawn(pieces(lstm, inputs, cuts, lengths), tmp_path / "pieces.html")
    for name in (*GATES, *AMOUNTS):
        for l, row in np.ndindex(2, 2):
            one, other = (each.numbers(name, "mean", layer=l, row=row) for each in (whole, page))
            assert (np.ma.getmaskarray(one) == np.ma.getmaskarray(other)).all()
            assert np.ma.allclose(one, other, rtol=1e-6, atol=1e-6)
    about = page.entries[0]
    assert {**about, "halfLife": None} == {**whole.entries[0], "halfLife": None}
    assert np.allclose(about["halfLife"], whole.entries[0]["halfLife"], rtol=1e-5)


def test_calls_that_do_not_carry_on_stand_beside_each_other(path):
    lstm = layer()
    page = drawn({"rnn": [lstm.trace(x(10)), lstm.trace(x(12, seed=1))], "other": lstm.trace(x(5))}, path)
    assert [entry["name"] for entry in page.entries] == ["rnn, call 1", "rnn, call 2", "other"]
    assert [entry["columns"] for entry in page.entries] == [10, 12, 5]


def test_pages_of_too_many_calls_are_refused(path):
    traces = [layer().trace(x(20, seed=k)) for k in range(40)]
    with pytest.raises(ValueError, match=r"a page of 40 calls takes \d+ bytes, more than max_bytes=60000: plot fewer"):
        fastlstm.plot(traces, path, max_bytes=60_000)
    assert len(drawn(traces, path).entries) == 40


def test_steps_of_a_cell_are_one_in_time(path):
    cell, inputs = fastlstm.LSTMCell(I, H, seed=0), x(30)[:, 0]
    traces, hx = [], (np.full(H, 0.1, np.float32), np.zeros(H, np.float32))
    for step in inputs:
        traces.append(cell.trace(step, hx))
        hx = traces[-1].h_n.reshape(H), traces[-1].c_n.reshape(H)
    page = drawn(traces, path, labels=list(range(30)))
    (entry,) = page.entries
    assert (entry["columns"], entry["labels"]["all"][-1]) == (30, "29")
    assert_shows(page, "c", "mean", np.concatenate([trace.c[0, 0, :, 0] for trace in traces]))


def test_steps_of_a_torch_cell_are_one_in_time(path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    cell = torch.nn.LSTMCell(I, H)

    class Loop(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell

        def forward(self, x):
            state = None
            for step in x:
                state = self.cell(step, state)
            return state

    traces = fastlstm.torch.trace(Loop(), torch.tensor(x(9, 2)))
    page = drawn(traces, path, labels="abcdefghi")
    assert [(entry["name"], entry["columns"]) for entry in page.entries] == [("cell", 9)]
    zeros = torch.zeros(2, H)
    again = [fastlstm.torch.trace(cell, (torch.tensor(step), (zeros, zeros)))[""][0] for step in x(3, 2)]
    assert [entry["columns"] for entry in drawn(again, path).entries] == [1, 1, 1]


def test_a_part_of_the_steps_is_shown_closely(path):
    trace = layer().trace(x(9001))
    page = drawn(trace, path, steps=(7000, 7500), labels=[f"t{k}" for k in range(9001)])
    (entry,) = page.entries
    assert (entry["exact"], entry["start"], entry["columns"]) == (True, 7000, 500)
    assert entry["labels"]["all"] == [f"t{k}" for k in range(7000, 7500)]
    assert "Shown are the steps 7000 to 7499." in entry["about"]
    assert_shows(page, "c", "mean", trace.c[0, 0, 7000:7500, 0])


def test_steps_and_units_that_a_trace_left_out_are_told(path):
    trace = layer().trace(x(100), every=7, units=[5, 2])
    page = drawn(trace, path, labels="x" * 99 + "y")
    (entry,) = page.entries
    assert (entry["units"], entry["every"], entry["columns"]) == ([5, 2], 7, 15)
    assert "Only one step in 7 was kept: what was between is not in here." in entry["about"]
    assert "Of 6 units these were traced." in entry["about"]
    assert_shows(page, "kept", "mean", trace.kept[0, 0, :, 0])


def test_rows_that_do_not_fit_are_left_out_and_it_says_so(path):
    trace = layer().trace(x(300, 9))
    page = drawn(trace, path, max_bytes=300_000)
    (entry,) = page.entries
    assert 1 < len(entry["rows"]) < 9
    assert f"Shown are the rows {', '.join(map(str, entry['rows']))} of 9." in entry["about"]
    assert len(page.text) < 400_000
    page = drawn(trace, path, rows=[8, 3])
    assert_shows(page, "c", "mean", trace.c[0, 0, :, 8], row=8)
    assert page.entries[0]["rows"] == [8, 3]


def test_columns_get_wider_where_bytes_are_few(path):
    trace = layer().trace(x(2000))
    entry = drawn(trace, path, max_bytes=100_000).entries[0]
    assert entry["width"] > 1
    assert Path(path).stat().st_size < 200_000
    with pytest.raises(ValueError, match=r"takes \d+ bytes, more than max_bytes=1000: show fewer rows"):
        fastlstm.plot(trace, path, max_bytes=1000)


def test_nan_and_infinity_are_shown_as_such(path):
    inputs = x(50, 2)
    inputs[20, 1, 0] = np.nan
    trace = layer().trace(inputs)
    page = drawn(trace, path)
    shown = page.numbers("c", "mean", row=1)
    assert (np.isnan(shown[20:]).all(), np.isnan(shown[:20]).any()) == (True, False)
    assert not np.isnan(page.numbers("c", "mean", row=0)).any()
    count = sum(int(np.isnan(getattr(trace, name)).sum()) for name in GATES)
    assert page.entries[0]["warning"] == (
        f"{count} numbers of the trace are NaN, from i of layer 0, direction 0, step 20, row 1, unit 0 on."
    )
    assert np.array(page.entries[0]["halfLife"]).tolist() == [[[None] * H]]
    wide = drawn(layer().trace(np.concatenate([inputs, x(5000, 2)])), path)
    assert np.isnan(wide.numbers("c", "mean", row=1)[20 // 4 :]).all()
    assert not np.isnan(wide.numbers("c", "high", row=1)[: 20 // 4]).any()


def test_infinite_cells(path):
    lstm = layer()
    trace = lstm.trace(x(9), (np.zeros((1, 1, H), np.float32), np.full((1, 1, H), np.inf, np.float32)))
    assert (drawn(trace, path).numbers("c", "mean") == trace.c[0, 0, :, 0]).all()
    assert np.isinf(trace.c).any()


# labels


def labels_of(page):
    return page.entries[0]["labels"]


def test_labels_of_all_rows_and_of_each(path):
    trace = layer().trace(x(3, 2), lengths=[3, 2])
    assert labels_of(drawn(trace, path, labels="a\nc")) == {"all": ["a", "\n", "c"], "joined": True}
    assert labels_of(drawn(trace, path, labels=["one", 2, "3"])) == {"all": ["one", "2", "3"], "joined": False}
    assert labels_of(drawn(trace, path, labels=np.array(["x", "y", "z"])))["all"] == ["x", "y", "z"]
    own = labels_of(drawn(trace, path, labels=[list("abc"), list("de")]))
    assert own == {"rows": {"0": ["a", "b", "c"], "1": ["d", "e", ""]}, "joined": True}
    assert labels_of(drawn(trace, path)) is None


def test_labels_of_wide_columns_tell_how_they_begin(path):
    trace = layer().trace(x(2049))
    assert labels_of(drawn(trace, path, labels="ab" * 1024 + "c"))["all"][-2:] == ["ab", "c"]
    assert labels_of(drawn(trace, path, labels=["word"] * 2049))["all"][0] == "word word"


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ("ab", ValueError, "labels should be one for each of 3 steps, got: 2"),
        (["a"] * 4, ValueError, "labels should be one for each of 3 steps, got: 4"),
        ("", ValueError, "labels should be one for each of 3 steps, got: 0"),
        ([["a"] * 3], ValueError, "labels should be one list for each of 2 rows, got: 1"),
        ([["a"] * 3, ["b"]], ValueError, "labels of row 1 should be one for each of 2 steps, or 3 with those past its"),
        (3, TypeError, "labels should be a text or a list of 3 names, got: int"),
    ],
)
def test_other_labels_are_refused(labels, error, message, path):
    with pytest.raises(error, match=message):
        fastlstm.plot(layer().trace(x(3, 2), lengths=[3, 2]), path, labels=labels)
    assert not path.exists()


def test_labels_by_name(path):
    traces = {"a": layer().trace(x(3)), "b": layer().trace(x(2))}
    page = drawn(traces, path, labels={"b": "xy"})
    assert [entry["labels"] and entry["labels"]["all"] for entry in page.entries] == [None, ["x", "y"]]
    with pytest.raises(ValueError, match="labels should be one for each of 3 steps of a, got: 2"):
        fastlstm.plot(traces, path, labels="xy")
    with pytest.raises(ValueError, match="labels should be of 'a', 'b', got: 'c'"):
        fastlstm.plot(traces, path, labels={"c": "xy"})


def test_labels_follow_the_order_of_reading(path):
    trace = layer().trace(x(4, 2), lengths=[4, 2])
    trace._read_in(np.array([[3, 3], [2, 0], [1, 1], [0, 2]]))
    page = drawn(trace, path, labels="abcd")
    assert labels_of(page)["rows"] == {"0": list("dcba"), "1": list("dabc")}
    assert "Steps are in the order in which the layer reads" in page.entries[0]["about"]
    assert labels_of(drawn(trace, path, labels="abcdef"))["rows"]["0"] == list("dcba")  # a mask left the last two out
    with pytest.raises(ValueError, match="labels should be one for each of 4 steps, got: 3"):
        fastlstm.plot(trace, path, labels="abc")


HOSTILE = ["</script><script>alert(1)</script>", "<!--", "\u202e", "\ud800", "'\"&", "]]>", "\0", "{{style}}", "\u2028"]


def test_no_label_breaks_out(path):
    page = drawn({"</script>": layer().trace(x(len(HOSTILE)))}, path, labels=HOSTILE, title="<b>&{{script}}</title>")
    assert labels_of(page)["all"] == HOSTILE
    assert page.entries[0]["name"] == "</script>"
    assert page.text.count("</script>") == page.text.count("<script")
    assert "<title>&lt;b&gt;&amp;{{script}}&lt;/title&gt;</title>" in page.text
    assert page.text.count("<!--") == 0


# what is refused


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rows": 2}, ValueError, "rows should be in 0..1, got: 2"),
        ({"rows": []}, ValueError, "rows should be integers, at least one"),
        ({"rows": [0, 0]}, ValueError, "rows should name each row once"),
        ({"steps": (3, 3)}, ValueError, r"steps should be \(from, to\), 0 <= from < to, got: \(3, 3\)"),
        ({"steps": (7, 9)}, ValueError, "the trace has no steps from 7 to 9: 5 steps"),
        ({"steps": 3}, TypeError, "steps should be a pair"),
        ({"seconds": 0}, ValueError, "seconds should be finite and greater than zero, got: 0"),
        ({"seconds": 10**400}, ValueError, "seconds should be finite"),
        ({"seconds": "1"}, TypeError, "seconds should be a number, got: str"),
        ({"max_bytes": 0}, ValueError, "max_bytes must be greater than zero"),
    ],
)
def test_bad_arguments(options, error, message, path):
    with pytest.raises(error, match=message):
        fastlstm.plot(layer().trace(x(5, 2)), path, **options)
    assert not path.exists()


def test_what_is_no_trace(path):
    for traces, name in ((3, "int"), ([3], "int"), ({"a": x(3)}, "ndarray")):
        with pytest.raises(TypeError, match=f"which LSTM.trace makes, got: {name}"):
            fastlstm.plot(traces, path)
    with pytest.raises(ValueError, match="at least one trace"):
        fastlstm.plot({}, path)


def test_traces_without_steps(path):
    for trace in (layer().trace(x(0)), layer().trace(x(5, 2), lengths=[0, 0])):
        with pytest.raises(ValueError, match="the trace has no steps"):
            fastlstm.plot(trace, path)
    with pytest.raises(ValueError, match="the trace has no rows"):
        fastlstm.plot(layer().trace(x(5, 0)), path)


def test_paths_that_cannot_be_written(tmp_path):
    trace = layer().trace(x(5))
    for name, error, message in (
        ("out.gif", ValueError, "path should end in .html, .htm, .png, .svg, .pdf, got: "),
        ("no/out.html", FileNotFoundError, "its folder does not exist"),
        ("folder.html", IsADirectoryError, "cannot write"),
    ):
        (tmp_path / "folder.html").mkdir(exist_ok=True)
        with pytest.raises(error, match=message):
            fastlstm.plot(trace, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder.html"]
    with pytest.raises(TypeError, match=r"path should be a str or os\.PathLike, got: int"):
        fastlstm.plot(trace, 3)


def test_a_page_that_was_there_stays_if_the_new_one_fails(path):
    path.write_text("old")
    with pytest.raises(ValueError, match="labels"):
        fastlstm.plot(layer().trace(x(5)), path, labels="a")
    assert path.read_text() == "old"


# pictures by matplotlib


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_figures(ending, tmp_path):
    pytest.importorskip("matplotlib")
    trace = layer(bidirectional=ending == "png").trace(x(30, 2))
    path = tmp_path / f"out.{ending}"
    fastlstm.plot(trace, path, labels="$" * 10 + "\n \t\0é<>" + "x" * 13, title="$x", seconds=0.5)
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(magic)
    with pytest.raises(ValueError, match=rf"a picture in .{ending} is of one trace, got: 'a', 'b'"):
        fastlstm.plot({"a": trace, "b": trace}, path)


def test_figures_of_nan_and_of_long_traces(tmp_path):
    pytest.importorskip("matplotlib")
    inputs = x(3000)
    inputs[50] = np.nan
    fastlstm.plot(layer().trace(inputs), tmp_path / "out.png", labels=["word"] * 3000)
    assert (tmp_path / "out.png").stat().st_size > 10_000


def test_long_labels_leave_the_panels_their_room(tmp_path):
    pytest.importorskip("matplotlib")
    fastlstm.plot(layer().trace(x(5)), tmp_path / "out.svg", labels=["a", "y" * 20, "z" * 21, "x" * 100_000, ""])
    drawn = (tmp_path / "out.svg").read_text(encoding="utf-8")
    assert all(label in drawn for label in ("y" * 20, "z" * 19 + "…", "x" * 19 + "…"))
    assert "x" * 20 not in drawn


def test_figures_need_matplotlib(tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r"a picture in \.png needs matplotlib"):
        fastlstm.plot(layer().trace(x(5)), tmp_path / "out.png")
    assert list(tmp_path.iterdir()) == []
