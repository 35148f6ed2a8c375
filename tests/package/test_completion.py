"""fastlstm completion: what shells complete with what it prints, asked of the shells themselves."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fastlstm import _cli, _completion

COMMANDS = {"info", "inspect", "convert", "compare", "bench", "completion"}


def options(command: str) -> set[str]:
    """Take the names of a command's options from its own parser."""
    (subparsers,) = (a for a in _cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {name for action in subparsers.choices[command]._actions for name in action.option_strings}


def bash(*words: str) -> set[str]:
    """Ask bash what the last of some words may become; what it leaves to readline, names of files, is not among it."""
    _needs("bash")
    asked = " ".join(map(shlex.quote, ["fastlstm", *words]))
    code = f"COMP_WORDS=({asked}); COMP_CWORD={len(words)}; _fastlstm; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    return _run("bash", "--norc", "-c", f"{script('bash')}\n{code}")


def fish(*words: str) -> set[str]:
    _needs("fish")
    line = " ".join(["fastlstm", *words])
    found = _run("fish", "--no-config", "-c", f"{script('fish')}\ncomplete -C {shlex.quote(line)}")
    return {line.partition("\t")[0] for line in found}


def script(shell: str) -> str:
    return _completion.script(shell, _cli._parser())


def _needs(shell: str) -> None:
    if shutil.which(shell) is None or os.name == "nt":
        pytest.skip(f"{shell} is not installed")


def _run(*command: str) -> set[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return set(filter(None, done.stdout.splitlines()))


@pytest.mark.parametrize("complete", [bash, fish])
class TestEveryShell:
    def test_commands(self, complete: Callable[..., set[str]]) -> None:
        assert complete("") >= COMMANDS
        assert complete("co") == {"convert", "compare", "completion"}
        assert complete("convert", "a", "inf") == set()  # there is a command already

    @pytest.mark.parametrize("command", sorted(COMMANDS))
    def test_options_of_a_command_and_no_others(self, complete: Callable[..., set[str]], command: str) -> None:
        long = {name for name in options(command) if name.startswith("--")}
        assert complete(command, "--") == long

    def test_choices(self, complete: Callable[..., set[str]]) -> None:
        assert complete("convert", "--dtype", "") == {"float32", "float64"}
        assert complete("convert", "a", "--to", "c") == {"c", "c-header"}
        assert complete("completion", "") == {"bash", "zsh", "fish"}

    def test_a_value_of_the_user_s_own_is_no_option(self, complete: Callable[..., set[str]]) -> None:
        assert "--to" not in complete("convert", "--prefix", "")


def test_bash_with_an_equals_sign() -> None:
    assert bash("convert", "--dtype", "=") == {"float32", "float64"}
    assert bash("convert", "--dtype", "=", "float6") == {"float64"}


def test_bash_leaves_files_to_readline() -> None:
    assert bash("inspect", "") == bash("bench", "--model", "") == set()
    assert script("bash").rstrip().endswith("complete -o default -F _fastlstm fastlstm")


def test_bash_completes_at_a_terminal(tmp_path: Path) -> None:
    """The whole way: tab, the line as bash has completed it, and what it runs."""
    _needs("bash")
    pty = pytest.importorskip("pty", reason="the system has no terminals")
    (tmp_path / "model with spaces.npz").touch()
    (tmp_path / "rc").write_text(f"{script('bash')}\nfastlstm() {{ printf '<%s>' \"$@\" > ran; }}\n")
    ours, theirs = pty.openpty()
    command = ["bash", "--noprofile", "--rcfile", "rc", "-i"]
    terminal = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    with subprocess.Popen(command, **terminal, cwd=tmp_path, start_new_session=True) as process:
        os.close(theirs)
        os.write(ours, b"fastlstm insp\tmod\t--heal\t\nexit\n")
        while True:
            try:
                if not os.read(ours, 4096):
                    break
            except OSError:  # how Linux tells that nobody has the other end any more
                break
        process.wait(timeout=60)
    os.close(ours)
    assert (tmp_path / "ran").read_text() == "<inspect><model with spaces.npz><--health>"


def test_zsh_takes_it_and_completes(tmp_path: Path) -> None:
    _needs("zsh")
    (tmp_path / "_fastlstm").write_text(script("zsh"))
    lines = [
        "zmodload zsh/zpty",
        "zpty shell zsh -f -i",
        "zpty -w shell \"PS1='> '; fpath=($PWD \\$fpath); autoload -U compinit; compinit -u -D; print ready\"",
        "zpty -w shell 'LISTMAX=1000'",
        "zpty -w shell $'fastlstm conv\\t--dt\\tfloat6\\t'",
        "sleep 2; zpty -r -t shell got; while zpty -r -t shell more; do got+=$more; done; print -r -- $got",
    ]
    done = subprocess.run(
        ["zsh", "-f", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    assert "float64" in done.stdout, done.stdout


def test_a_second_file_of_one_option(tmp_path: Path) -> None:
    assert "'--compare=[measure" in script("zsh")
    assert "]:FILE:_files:FILE:_files'" in script("zsh")
    _needs("fish")
    (tmp_path / "later.json").touch()
    (tmp_path / "completions").write_text(script("fish"))
    for typed, found in (("--compare earlier.json la", "later.json"), ("--quick la", "")):
        code = f"source completions; complete -C 'fastlstm bench {typed}'"
        done = subprocess.run(
            ["fish", "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
        )
        assert done.stdout.strip() == found


def test_an_unknown_shell(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        _cli.main(["completion", "tcsh"])
    assert ended.value.code == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err


@pytest.mark.parametrize("shell", sorted(_completion.SHELLS))
def test_what_is_printed_is_what_was_tested(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _cli.main(["completion", shell]) == 0
    assert capsys.readouterr() == (script(shell), "")
