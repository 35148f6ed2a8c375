"""fastlstm inspect FILE --data INPUTS: what it prints, draws and refuses."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import fastlstm
from fastlstm._cli import main
from tests.pictures.support import AMOUNTS, GATES, Page, layer, x

TEXT = "to be or not to be,\nthat is"


def run(line):
    """Run a command, written as one would type it."""
    return main(line.split())


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    fastlstm.save(layer(num_layers=2), "w.npz")
    np.save("x.npy", x(len(TEXT))[:, 0])
    (tmp_path / "text.txt").write_bytes(TEXT.encode())
    return tmp_path


def test_strips_in_the_terminal(files, capsys):
    assert main(["inspect", "w.npz", "--data", "x.npy", "--text", "text.txt"]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    trace = layer(num_layers=2).trace(x(len(TEXT)))
    lines = told.out.removeprefix(f"{fastlstm.inspect('w.npz')}\n").splitlines()
    assert lines[0] == f"2 layers, 1 direction, {len(TEXT)} steps, 1 row, 6 units."
    for number in range(2):
        start = 2 + 9 * number
        assert lines[start].startswith(f"layer {number}, row 0: abs(c) of 6 of 6 units")
        assert lines[start].endswith("a letter is a step")
        assert lines[start + 1].endswith(TEXT.replace("\n", "?"))
        life = trace.half_life()[number, 0]
        for line, unit in zip(lines[start + 2 : start + 8], np.argsort(-life), strict=True):
            name, half, kept, added, taken = line.split()[:5]
            assert (int(name), half) == (unit, f"{life[unit]:.3g}")
            balance = trace.balance()
            expected = [f"{float(each[number, 0, unit]):.3g}" for each in (balance.kept, balance.added, balance.taken)]
            assert np.allclose([float(each) for each in (kept, added, taken)], [float(e) for e in expected], rtol=0.01)
            size = np.abs(trace.c[number, 0, :, 0, unit])
            letters = line[45:].ljust(len(TEXT))
            assert letters[int(size.argmax())] == "█"
            assert letters == "".join(" ▁▂▃▄▅▆▇█"[round(float(each))] for each in 8 * size / size.max())


def test_letters_that_would_shift_others_are_not_written(files, capsys):
    np.save("x.npy", x(6)[:, 0])
    (files / "text.txt").write_text("a漢😀e\u0301é", encoding="utf-8")
    assert run("inspect w.npz --data x.npy --text text.txt") == 0
    assert capsys.readouterr().out.splitlines()[4].endswith("  a??e?é")


def test_labels_are_split_at_the_ends_of_lines_alone(files):
    labels = ["\x0c", "\u2028", "\x1d", "", "a b", "\x85", ""]
    np.save("x.npy", x(7)[:, 0])
    for end in ("\n", "\r\n", "\r"):
        (files / "l.txt").write_bytes("".join(label + end for label in labels).encode("utf-8-sig"))
        assert run("inspect w.npz --data x.npy --labels l.txt --html out.html") == 0
        (entry,) = Page(files / "out.html").entries
        assert entry["labels"]["all"] == labels


@pytest.mark.skipif(os.name == "nt", reason="a shell's")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize(
    "arguments", ["inspect w.npz --data x.npy", "inspect w.npz --data x.npy --html out.html", "info"]
)
def test_nobody_needs_to_read_what_is_told(files, arguments, closed):
    command = f"{sys.executable} -m fastlstm {arguments} {closed}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_strips_of_long_inputs_tell_means_of_all_steps(files, capsys):
    np.save("x.npy", x(5001)[:, 0])
    assert run("inspect w.npz --data x.npy") == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("layer 1"))
    assert "a letter is about 93 steps" in lines[start]
    balance = layer(num_layers=2).trace(x(5001)).balance()
    for line in lines[start + 2 : start + 8]:
        unit, _, *told = line.split()[:5]
        expected = [each[1, 0, int(unit)] for each in (balance.kept, balance.added, balance.taken)]
        assert np.allclose([float(each) for each in told], expected, rtol=0.006)


def test_strips_where_only_ascii_can_be_written(files):
    command = [sys.executable, "-m", "fastlstm", "inspect", "w.npz", "--data", "x.npy"]
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert b"@" in done.stdout
    assert done.stdout.isascii()


def test_page_and_picture(files, capsys):
    pytest.importorskip("matplotlib")
    assert run("inspect w.npz --data x.npy --text text.txt --html out.html --png out.svg --seconds 0.25") == 0
    told = capsys.readouterr()
    assert told.out.endswith("\nout.html: written\nout.svg: written\n")
    assert told.err == ""
    page = Page(files / "out.html")
    trace = layer(num_layers=2).trace(x(len(TEXT)))
    fastlstm.plot(trace, files / "own.html", labels=TEXT, seconds=0.25, title="Gates of the LSTM in w.npz")
    assert page.text == (files / "own.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("labels", [json.dumps(list(TEXT)), json.dumps([list(TEXT)])])
def test_labels_of_json(labels, files, capsys):
    (files / "labels.json").write_text(labels)
    assert run("inspect w.npz --data x.npy --labels labels.json --html out.html") == 0
    (entry,) = Page(files / "out.html").entries
    assert (entry["labels"].get("all") or entry["labels"]["rows"]["0"]) == list(TEXT)


def test_labels_line_by_line(files, capsys):
    (files / "labels.txt").write_text("".join(f"token {k}\n" for k in range(len(TEXT))))
    assert run("inspect w.npz --data x.npy --labels labels.txt --html out.html") == 0
    assert Page(files / "out.html").entries[0]["labels"]["all"][-1] == f"token {len(TEXT) - 1}"


@pytest.mark.parametrize("batch_first", [False, True])
def test_long_inputs_are_traced_in_pieces(batch_first, files, monkeypatch, capsys):
    lstm = layer(num_layers=2, batch_first=batch_first)
    fastlstm.save(lstm, "w.npz")
    rng = np.random.default_rng(1)
    call = {"x": x(3000, 2), "lengths": np.array([3000, 1234]), "resets": rng.random((3000, 2)) < 0.01}
    state = [rng.standard_normal((2, 2, 6)).astype(np.float32) for _ in range(2)]
    if batch_first:
        call |= {"x": call["x"].swapaxes(0, 1), "resets": call["resets"].T}
    np.savez("call.npz", **call, h_0=state[0], c_0=state[1])
    monkeypatch.setattr("fastlstm._inspect_command._PIECE", 100_000)
    assert run("inspect w.npz --data call.npz --html out.html") == 0
    whole = lstm.trace(call["x"], tuple(state), lengths=call["lengths"], resets=call["resets"])
    assert whole.nbytes > 10 * 100_000
    fastlstm.plot(whole, "own.html")
    page, own = Page(files / "out.html"), Page(files / "own.html")
    for name in (*GATES, *AMOUNTS):
        for l, row in np.ndindex(2, 2):
            one, other = (each.numbers(name, "mean", layer=l, row=row) for each in (page, own))
            assert np.ma.allclose(one, other, rtol=1e-5, atol=1e-5)
    np.savez("call.npz", x=call["x"], lengths=np.array([3001, 2]))
    assert run("inspect w.npz --data call.npz --html other.html") == 1
    assert "lengths should be integers in 0..3000" in capsys.readouterr().err


def test_long_inputs_of_both_directions_are_looked_at_in_fewer_steps(files, monkeypatch, capsys):
    lstm = layer(bidirectional=True)
    fastlstm.save(lstm, "w.npz")
    monkeypatch.setattr("fastlstm._health_command.MAX_BYTES", lstm.trace_nbytes(len(TEXT), every=4))
    assert run("inspect w.npz --data x.npy --html out.html") == 0
    (entry,) = Page(files / "out.html").entries
    assert entry["every"] == 4
    assert "Only one step in 4 was kept" in entry["about"]


def test_some_rows_units_and_steps(files, capsys):
    np.save("x.npy", x(50, 3))
    assert run("inspect w.npz --data x.npy --rows 2,0 --units 5,1 --steps 10:30 --html out.html") == 0
    page, trace = Page(files / "out.html"), layer(num_layers=2).trace(x(50, 3))
    (entry,) = page.entries
    assert (entry["rows"], entry["units"], entry["start"], entry["columns"]) == ([2, 0], [5, 1], 10, 20)
    shown = page.numbers("c", "mean", layer=1, row=2)
    assert np.allclose(shown, trace.c[1, 0, 10:30, 2][:, [5, 1]], atol=1e-4)


def test_nan_is_told(files, capsys):
    inputs = x(10)[:, 0]
    inputs[4] = np.nan
    np.save("x.npy", inputs)
    assert run("inspect w.npz --data x.npy") == 0
    told, warned = capsys.readouterr()
    assert "numbers of the trace are NaN, from i of layer 0, direction 0, step 4, row 0, unit 0 on." in told
    assert told.splitlines()[6].split()[1:5] == ["nan"] * 4  # half-life, kept, added, taken
    assert not warned


def test_a_warning_is_told_once(files, capsys):
    np.savez("call.npz", x=x(10).astype(np.float64))
    assert run("inspect w.npz --data call.npz --health --html out.html") == 0
    assert capsys.readouterr().err.count("converted to float32") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--html out.html", "--html needs --data: inputs as they are in use"),
        ("--labels l.txt", "--labels needs --data"),
        ("--data x.npy --html out.png", "--html should end in .html, .htm, got: out.png"),
        ("--data x.npy --png out.html", "--png should end in .png, .svg, .pdf, got: out.html"),
        ("--data x.npy --html no/out.html", "its folder does not exist"),
        ("--data x.npy --html out.html --text short.txt", "labels should be one for each of 27 steps, got: 3"),
        ("--data x.npy --html out.html --text w.npz", "w.npz could not be read as labels"),
        ("--data x.npy --html out.html --labels bad.json", "bad.json could not be read as labels"),
        ("--data x.npy --html out.html --labels none.txt", "none.txt"),
        ("--data x.npy --html out.html --rows 1", "rows should be in 0..0, got: 1"),
        ("--data x.npy --html out.html --units 6", "units should be in 0..5, got: 6"),
        ("--data x.npy --html out.html --steps 30:40", "the trace has no steps from 30 to 40: 27 steps"),
        ("--data x.npy --html out.html --seconds -1", "seconds should be finite and greater than zero"),
        ("--data x.npy --health --rows 0", "--rows is of pictures: --health looks at all steps and rows"),
        ("--data x.npy --html out.html --prefix none", "none"),
    ],
)
def test_what_is_refused(arguments, message, files, capsys):
    (files / "short.txt").write_text("abc")
    (files / "bad.json").write_text("[")
    assert main(["inspect", "w.npz", *arguments.split()]) == 1
    assert message in capsys.readouterr().err
    assert not list(files.glob("**/out.*"))


@pytest.mark.parametrize("arguments", ["--rows a", "--steps 3", "--steps a:b", "--labels a --text b"])
def test_wrong_usage(arguments, files, capsys):
    with pytest.raises(SystemExit):
        main(["inspect", "w.npz", "--data", "x.npy", *arguments.split()])
    assert "error: argument" in capsys.readouterr().err


def test_a_file_without_an_lstm(files, capsys):
    np.savez("other.npz", weight=np.zeros((3, 3), np.float32))
    assert run("inspect other.npz --data x.npy --html out.html") == 1
    assert "no LSTM" in capsys.readouterr().err
    assert not (files / "out.html").exists()


def test_colours_on_a_terminal(files, monkeypatch, capsys):
    pytest.importorskip("rich")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert run("inspect w.npz --data x.npy") == 0
    told = capsys.readouterr().out
    assert "grey: it keeps, blue: it is added to, orange: it is taken from" in told
    assert "\x1b[38;5;27m" in told  # added
    assert "\x1b[90m" in told  # kept


def test_health_and_a_page_together(files, capsys):
    assert run("inspect w.npz --data x.npy --health --html out.html") == 0
    found = fastlstm.health(layer(num_layers=2).trace(x(len(TEXT))))
    assert capsys.readouterr().out == f"{fastlstm.inspect('w.npz')}\nout.html: written\n{found}\n"


def test_a_nan_is_drawn_though_health_refuses_it(files, capsys):
    np.save("x.npy", np.full((5, 4), np.nan, np.float32))
    assert run("inspect w.npz --data x.npy --health --html out.html") == 1
    told = capsys.readouterr()
    assert told.out.endswith("out.html: written\n")
    assert "the trace has a NaN" in told.err
    assert "are NaN" in Page(files / "out.html").entries[0]["warning"]
