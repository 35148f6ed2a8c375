"""docs/start.md: its program is examples/first_steps.py, and prints what the page says, to the last digit."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import EXAMPLES, ROOT

PAGE = ROOT / "docs" / "start.md"
PROGRAM = EXAMPLES / "first_steps.py"
if not PAGE.exists():
    pytest.skip("not in a source tree", allow_module_level=True)

TEXT = PAGE.read_text(encoding="utf-8")


def printed(folder: Path, *arguments: str) -> str:
    """Start the program in an empty folder."""
    done = subprocess.run(
        [sys.executable, PROGRAM, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_has_the_whole_program() -> None:
    assert f"```python\n{PROGRAM.read_text(encoding='utf-8')}```\n" in TEXT


@pytest.mark.parametrize("arguments", [(), ("--forget-bias", "0")], ids=["as-it-is", "forget-bias-0"])
def test_it_prints_what_the_page_says(arguments: tuple[str, ...], tmp_path: Path) -> None:
    told = printed(tmp_path, *arguments)
    assert f"```text\n{told}```\n" in TEXT
    assert [path.name for path in tmp_path.iterdir()] == ["first_steps.npz"]


def test_it_learns_and_without_an_open_gate_it_does_not(tmp_path: Path) -> None:
    """What the page says of the two runs."""
    right = [re.search(r"(\d+)% of 200", printed(tmp_path, "--forget-bias", bias)) for bias in ("3", "0")]
    learned, not_learned = (int(found[1]) for found in right if found)
    assert learned == 100
    assert not_learned < 60


def test_it_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install matplotlib")
    printed(tmp_path, "--plot", "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
