"""examples/README.md: every example has its command there, and each of them starts."""

import importlib.util
import re
import subprocess
import sys

import pytest

from tests.support import EXAMPLES

README = (EXAMPLES / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(?:cd (\w+) && )?python ([^`]+)` \|.*\| ([^|]*) \|$", README, re.MULTILINE)
#: Those in C, which have a page of their own.
MADE = re.findall(r"^\| `make \w+` \|.*\]\((\w+)/README\.md\)", README, re.MULTILINE)

#: What a row needs, and the module that it is told by.
MODULES = {
    "--group ray": "ray",
    "--group service": "fastapi",
    "h5py": "h5py",
    "rich": "rich",
    "sb3-contrib": "sb3_contrib",
    "torch": "torch",
}


def test_every_example_has_its_command() -> None:
    found = {path.name for path in EXAMPLES.iterdir() if path.is_dir() or path.suffix == ".py"} - {"__pycache__"}
    named = {re.split("[/.]", command.removeprefix("-m ").removeprefix("examples/"))[0] for _, command, _ in ROWS}
    assert named | set(MADE) == {name.removesuffix(".py") for name in found}


@pytest.mark.parametrize(("folder", "command", "needs"), ROWS, ids=[command.split()[-1] for _, command, _ in ROWS])
def test_it_starts(folder: str, command: str, needs: str) -> None:
    for need, module in MODULES.items():
        if re.search(rf"pip install.* {need}\b", needs) and importlib.util.find_spec(module) is None:
            pytest.skip(f"pip install {need}")
    words = command.replace(" FOLDER", "").split()
    done = subprocess.run(
        [sys.executable, *words, "--help"],
        cwd=EXAMPLES.parent / folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout
