"""make regress: what it compares with, and what it says of a machine that tells nothing."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fastlstm import _cli
from tests.support import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "bench").exists(), reason="not in a source tree")

ROW = {"itself_low": 0.99, "itself_high": 1.01}


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_what_is_compared_with(tmp_path: Path) -> None:
    from bench import regress

    author = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, env=os.environ | author)

    def commit(text: str) -> None:
        (tmp_path / "file").write_text(text)
        git("add", ".")
        git("commit", "--quiet", "-m", text)

    git("init", "--quiet")
    commit("one")
    commit("two")
    assert regress.revision(tmp_path) == ("HEAD~1", "there is no tag: the commit before")
    (tmp_path / "file").write_text("changed")
    assert regress.revision(tmp_path)[0] == "HEAD"
    commit("three")
    git("tag", "v1")
    assert regress.revision(tmp_path) == ("v1", "the last tag")
    commit("four")
    assert regress.revision(tmp_path) == ("v1", "the last tag")
    git("tag", "v2")  # a release: compared with the one before
    assert regress.revision(tmp_path) == ("v1", "the tag before this one")


@pytest.mark.parametrize(
    ("rows", "status", "said"),
    [
        ([ROW, ROW], 0, ""),
        ([ROW, ROW | {"itself_high": 1.06}], 0, "1 of 2 rows say nothing"),
        ([ROW | {"itself_low": 0.9}, ROW | {"itself_low": None, "itself_high": None}], 0, "nothing was found out"),
        ([ROW | {"itself_low": 0.9}], 3, "1 of 1 rows say nothing"),
    ],
)
def test_what_the_outcome_is_worth(
    rows: list[object], status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench import regress

    def main(arguments: list[str]) -> int:
        assert arguments[:5] == ["bench", "--against", "v1", "--fail-above", "5.0"]
        assert arguments[-1] == "--quick"
        Path(arguments[arguments.index("--json") + 1]).write_text(json.dumps({"rows": rows}))
        return status

    monkeypatch.setattr(_cli, "main", main)
    monkeypatch.setattr("sys.argv", ["regress", "--quick", "--against", "v1", "--fail-above", "5"])
    assert regress.main() == status
    told = capsys.readouterr().out
    assert told.startswith("against v1: as asked\n")
    assert said in told
    assert ("say nothing" in told) == bool(said)
    assert ("nothing fails" in told) == (said == "nothing was found out")
