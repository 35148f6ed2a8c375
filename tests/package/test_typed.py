"""Users' programs, type-checked against the installed package: what is right passes, what is wrong is reported."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

HERE = Path(__file__).parent
README = ROOT / "README.md"


def assert_checks(folder: Path, *programs: Path) -> None:
    """Raise AssertionError unless mypy is content, as strict as it can be and without settings of this project."""
    pytest.importorskip("mypy", reason="pip install mypy")
    options = ["--strict", "--config-file=", f"--cache-dir={folder / 'cache'}"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, programs)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("Success: no issues found"), done.stdout + done.stderr


@pytest.mark.parametrize(("program", "needs"), [("program", "numpy"), ("torch_program", "torch")])
def test_a_user_s_program(program: str, needs: str, tmp_path: Path) -> None:
    """An expected error that is not reported is reported as an ignore that is not used."""
    pytest.importorskip(needs, reason=f"pip install {needs}")
    assert_checks(tmp_path, HERE / "typed" / f"{program}.py")


@pytest.mark.skipif(not README.exists(), reason="not in a source tree")
def test_the_programs_of_the_readme(tmp_path: Path) -> None:
    found = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    programs = []
    for k, text in enumerate(found):
        if not re.search(r"torch$|keras$|fastlstm\.onnx$", text, re.MULTILINE):  # these may be missing here
            programs.append(tmp_path / f"block_{k}.py")
            programs[-1].write_text(text, encoding="utf-8")
    assert len(programs) >= 5
    assert_checks(tmp_path, *programs)
