"""Users' programs, type-checked against the installed package: what is right passes, what is wrong is reported."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize(("program", "needs"), [("program", "numpy"), ("torch_program", "torch")])
def test_a_user_s_program(program: str, needs: str, tmp_path: Path) -> None:
    """An expected error that is not reported is reported as an ignore that is not used."""
    pytest.importorskip("mypy", reason="pip install mypy")
    pytest.importorskip(needs, reason=f"pip install {needs}")
    path = HERE / "typed" / f"{program}.py"
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        f"--cache-dir={tmp_path / 'cache'}",
        str(path),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["Success: no issues found in 1 source file"], done.stdout + done.stderr
