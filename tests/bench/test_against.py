"""fastlstm bench --against: another version, installed where nobody sees it, in one arena with this one."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import fastlstm
from fastlstm._cli import main
from fastlstm.bench import against
from fastlstm.bench.arena import Result
from fastlstm.bench.worker import Round

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nobody has run the benchmarks on Windows yet")
needs_pip = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="pip install pip")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

PACKAGE = Path(fastlstm.__file__).parent
SMALL = ["bench", "--quick", "--shape", "T=3,B=2,I=5,H=9"]
BACKEND = """
import shutil
from tests.bench.test_against import wheel
def build_wheel(folder, settings=None, metadata=None):
    return wheel(folder, "0.0.8").name
"""


def wheel(folder: str | Path, version: str) -> Path:
    """Pack this package as another version of it."""
    name = Path(folder) / f"fastlstm-{version}-py3-none-any.whl"
    with zipfile.ZipFile(name, "w") as archive:
        for path in sorted(PACKAGE.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                text: str | bytes = path.read_bytes()
                if path == PACKAGE / "__init__.py":
                    text = path.read_text().replace(f'"{fastlstm.__version__}"', f'"{version}"')
                archive.writestr(str(Path("fastlstm") / path.relative_to(PACKAGE)), text)
        about = f"fastlstm-{version}.dist-info"
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: fastlstm\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return name


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide a folder that pip takes for the index, and a cache that is empty."""
    (index := tmp_path / "index").mkdir()
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return index


def checkout(folder: Path) -> None:
    """Make a repository of something that pip can build without a network."""
    (folder / "src" / "fastlstm").mkdir(parents=True)
    (folder / "src" / "fastlstm" / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "fastlstm"\nversion = "0.0.8"\n'
    )
    (folder / "backend.py").write_text(f"import sys\nsys.path += {[str(Path.cwd().root), *sys.path]!r}\n{BACKEND}")
    author = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "one"], ["tag", "v0.0.8"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True, env=os.environ | author)


def raced(version: str, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    assert main([*SMALL, "--against", version, "--json", "-"]) == 0
    printed = capsys.readouterr()
    return json.loads(printed.out), printed.err


@needs_pip
def test_a_released_version(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel(offline, "0.0.7")
    Path("fastlstm").mkdir()  # in the current folder, as in a checkout: nobody takes it for either version
    Path("fastlstm/__init__.py").touch()
    before = set(map(str, Path(sys.prefix).glob("lib/python*/site-packages/*")))
    told, errors = raced("0.0.7", capsys)
    assert "building 0.0.7, once" in errors
    assert told["header"][:2] == [
        "A: fastlstm 0.0.7",
        f"B: fastlstm {fastlstm.__version__} ({fastlstm.isa()}), this one",
    ]
    (row,) = told["rows"]
    assert (row["work"], row["of"]) == ("T=3 B=2 I=5 H=9", "fastlstm")
    assert row["a_seconds"] > 0 < row["b_seconds"]
    assert row["ratio"] == pytest.approx(row["b_seconds"] / row["a_seconds"])
    assert row["low"] <= row["high"]
    assert row["itself_low"] <= row["itself_high"]
    assert set(map(str, Path(sys.prefix).glob("lib/python*/site-packages/*"))) == before
    assert "FASTLSTM_BEFORE" not in os.environ
    (offline / "fastlstm-0.0.7-py3-none-any.whl").unlink()
    assert raced("0.0.7", capsys)[1] == ""  # it is there already
    (only,) = against.cache().iterdir()
    assert only.name.startswith("0.0.7-")


@needs_pip
@needs_git
def test_a_revision_of_a_checkout(offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkout(tmp_path / "tree")
    os.chdir(tmp_path / "tree" / "src")
    made = against.build("v0.0.8")
    assert made.name.startswith("fastlstm at v0.0.8 (")
    assert '__version__ = "0.0.8"' in (made.folder / "fastlstm" / "__init__.py").read_text()
    assert "once" in capsys.readouterr().err
    assert (against.build("HEAD").folder, capsys.readouterr().err) == (made.folder, "")
    assert subprocess.run(["git", "status", "--porcelain"], capture_output=True, check=True).stdout == b""
    trees = subprocess.run(["git", "worktree", "list"], capture_output=True, check=True).stdout
    assert trees.count(b"\n") == 1
    assert main([*SMALL, "--against", "v0.0.9"]) == 1
    assert f"'v0.0.9' is no version number such as 0.1.0, nor a revision of {tmp_path}" in capsys.readouterr().err


@needs_pip
def test_versions_that_cannot_be_had(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--against", "9.9.9"]) == 1
    told = capsys.readouterr()
    assert "9.9.9 cannot be installed: ERROR: No matching distribution found for fastlstm==9.9.9" in told.err
    assert told.out == ""
    assert list(against.cache().iterdir()) == []  # nothing half made


@needs_pip
@pytest.mark.parametrize("asked", ["1.1" + "a" * 60 + "_", "0.1.0-a-branch-with-a-long-name/of-mine", "1." * 40 + "/"])
def test_what_is_no_version_is_seen_at_once(asked: str) -> None:
    assert against._VERSION.fullmatch(asked) is None


@pytest.mark.parametrize("asked", ["0.1.0", "1.0", "2.0rc1", "1.0.post2", "1.0.dev3+local.4", "1.0a1.post2.dev3"])
def test_what_is_a_version(asked: str) -> None:
    assert against._VERSION.fullmatch(asked)


def test_a_user_without_a_home(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", none)
    with pytest.raises(ValueError, match=r"there is neither: set XDG_CACHE_HOME to a folder"):
        against.build("0.0.7")


def test_without_a_network(offline: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/nowhere")  # nobody answers there
    monkeypatch.setenv("PIP_RETRIES", "1")
    assert main([*SMALL, "--against", "9.9.9"]) == 1
    assert "(the package index cannot be reached)" in capsys.readouterr().err


def test_a_build_without_the_package(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, "", ""))
    monkeypatch.setattr(against, "find_spec", lambda name: name)
    with pytest.raises(ValueError, match=r"0\.0\.7 cannot be installed: there is no fastlstm in it"):
        against.build("0.0.7")
    assert list(against.cache().iterdir()) == []


def test_without_pip(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(against, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs pip in this environment"):
        against.build("0.0.7")


@needs_git
def test_revisions_outside_a_checkout(offline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(
        ValueError,
        match=r"'main' is no version .*, and .* is no checkout in which it could be a revision: git says: fatal: ",
    ):
        against.build("main")
    subprocess.run(["git", "init", "--quiet"], check=True)
    with pytest.raises(ValueError, match="is no checkout of fastlstm in which it could be a revision"):
        against.build("main")


def test_revisions_without_git(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"'main' is no version .*, and for a revision git has to be"):
        against.build("main")


@needs_pip
def test_who_cannot_do_it_is_named(offline: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A version that does not import costs an error, not a traceback."""
    made = wheel(offline, "0.0.6")
    with zipfile.ZipFile(made, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("fastlstm/__init__.py", "raise ImportError('other machine')\n")
    assert main([*SMALL, "--against", "0.0.6"]) == 1
    assert (
        "nothing could be compared; T=3 B=2 I=5 H=9, fastlstm: before: not here: other machine"
        in capsys.readouterr().err
    )


class Played:
    """An arena whose answers are given."""

    def __init__(self, errors: dict[str, str]) -> None:
        self._errors, self.calls = errors, 0

    def play(self, entries: dict[str, Any]) -> dict[str, Result]:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        rounds = [Round(1.0, disturbed=False)] * 5
        return {label: self._result(f"{name} {work.weights}", rounds) for label, (name, work) in entries.items()}

    def _result(self, name: str, rounds: list[Round]) -> Result:
        return Result([], self._errors[name]) if name in self._errors else Result(list(rounds))

    def close(self) -> None:
        pass


@pytest.fixture
def played(offline: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    def play(errors: dict[str, str]) -> None:
        monkeypatch.setattr(against, "Arena", lambda *a, **k: Played(errors))

    monkeypatch.setattr(against, "build", lambda asked: against.Build(offline, "the other"))
    return play


def test_a_version_that_fails_now_is_an_error(played: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*SMALL, "--weights", "int8", "--against", "0.0.1"]
    played({"before int8": "before: unknown weights"})
    assert main(arguments) == 0  # the row is left out, with the reason
    assert "T=3 B=2 I=5 H=9, fastlstm int8: before: unknown weights" in capsys.readouterr().out
    played({"fastlstm int8": "fastlstm: wrong answer"})
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert "1 rows: noise: 1" in printed.out
    assert "this version failed; T=3 B=2 I=5 H=9, fastlstm int8: fastlstm: wrong answer" in printed.err
    played({"fastlstm float32": "fastlstm: wrong answer", "before int8": "before: unknown weights"})
    assert main(arguments) == 1
    assert "nothing could be compared; " in capsys.readouterr().err


def test_ctrl_c_leaves_what_was_measured(played: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    played({})
    path = tmp_path / "found.json"
    assert main([*SMALL, "--shape", "H=8", "--against", "0.0.1", "--json", str(path)]) == 130
    told = json.loads(path.read_text())
    assert (told["complete"], [row["work"] for row in told["rows"]]) == (False, ["T=3 B=2 I=5 H=9"])
    assert "interrupted: this is what was measured until then" in capsys.readouterr().out


def test_a_file_that_cannot_be_written_is_told_before_anything_is_built(
    offline: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*SMALL, "--against", "0.0.1", "--json", "none/found.json"]) == 1
    assert "No such file or directory" in capsys.readouterr().err
    assert not against.cache().exists()


def test_a_row_that_seems_slower_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastlstm.bench import compare
    from fastlstm.bench.families import case_of
    from fastlstm.bench.options import Options

    case = case_of(3, 2, 5, 9)
    race = against.Race(Options([case], [], ["float32"], 1, quick=True))
    lows = iter([1.2, 1.01, 1.2, 1.2])

    def played(case: object, sizes: object) -> list[compare.Difference]:
        low = next(lows)
        itself = compare.Ratio(1.0, 0.999, 1.001)
        return [compare.Difference("", "", (1.0, low), compare.Ratio(low, low, low), marked=False, itself=itself)]

    monkeypatch.setattr(race, "_played", played)
    assert [row.exceeds(3) for row in race.rows(3)] == [False]  # the second time
    assert race._progress._done == 1  # one work, however often it was played
    assert [row.exceeds(3) for row in race.rows(3)] == [True]
    assert next(lows, None) is None
    race.close()


def test_a_build_that_fails_leaves_no_file(offline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--against", "a thing", "--json", str(tmp_path / "told.json")]) == 1
    assert "is no version number" in capsys.readouterr().err
    assert not (tmp_path / "told.json").exists()
