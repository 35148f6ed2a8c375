"""One core: the same model and input give the same frozen hashes through NumPy, torch, Keras, ONNX and C."""

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.frozen_bits import DTYPES
from tests.package import doors
from tests.package.test_c_library import COMPILERS, ENVIRONMENT, TOOLS, cmake
from tests.support import ROOT

pytestmark = pytest.mark.unsanitized

FORWARD = [name for name in doors.NAMES if name.startswith("forward")]
BOTH = list(doors.NAMES)

#: A door, what it needs, what chooses it, and the rows that it has: gradients come through torch and the library's own.
DOORS = {
    "numpy": ((), {}, BOTH),
    "torch": (("torch",), {}, BOTH),
    "accelerated": (("torch",), {}, BOTH),
    "keras on numpy": (("keras",), {"KERAS_BACKEND": "numpy"}, FORWARD),
    "keras on torch": (("keras", "torch"), {"KERAS_BACKEND": "torch"}, BOTH),
    "keras on jax": (("keras", "jax"), {"KERAS_BACKEND": "jax", "JAX_ENABLE_X64": "1"}, FORWARD),
    "onnx": (("onnx",), {}, FORWARD),
    "c": ((), {}, BOTH),
}


def frozen(names: list[str]) -> dict[str, dict[str, set[str]]]:
    """Return the hashes of the table: of each row, by dtype."""
    rows = {row.name: row.hashes for row in doors.rows()}
    return {name: {dtype: {rows[name][dtype]} for dtype in DTYPES} for name in names}


def from_python(door: str, environment: dict[str, str]) -> dict[str, dict[str, set[str]]]:
    """Ask a door of Python, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.package.doors", door],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    return {name: {dtype: {value} for dtype, value in hashes.items()} for name, hashes in map(json.loads, lines)}


def from_c(build: Path) -> dict[str, dict[str, set[str]]]:
    """Ask the library alone, on each instruction set: a table with other hashes makes the program say its own."""
    if not TOOLS["cmake"] or not all(COMPILERS.values()) or os.name == "nt":
        pytest.skip("the C library's own program: needs CMake and a Unix compiler")
    cmake(ROOT, build, "-DFASTLSTM_TESTS=ON", target="frozen_bits")
    rows = doors.rows()
    (build / "asked.txt").write_text("".join(f"{row.name} :: 0 0\n" for row in rows), encoding="ascii")
    done = subprocess.run(
        [build / "frozen_bits", build / "asked.txt"], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    told = re.findall(r"^line (\d+), \w+, (float\d\d) on \w+: ([0-9a-f]{16}), ", done.stderr, re.MULTILINE)
    made: dict[str, dict[str, set[str]]] = {row.name: {dtype: set() for dtype in DTYPES} for row in rows}
    for line, dtype, value in told:
        made[rows[int(line) - 1].name][dtype].add(value)
    return made


@pytest.mark.parametrize("door", DOORS)
def test_every_door_prints_the_frozen_hashes(door: str, tmp_path: Path) -> None:
    needs, environment, names = DOORS[door]
    for package in needs:
        if find_spec(package) is None:
            pytest.skip(f"the door {door}: pip install {package}")
    made = from_c(tmp_path) if door == "c" else from_python(door.split()[0], environment)
    assert made == frozen(names)


def test_rows_of_both_kinds_and_directions_are_asked_for() -> None:
    assert {(row.kind, row["D"]) for row in doors.rows()} == {
        (kind, D) for kind in ("forward", "backward") for D in (1, 2)
    }
    assert all(len(set(row.hashes.values())) == len(DTYPES) for row in doors.rows())
