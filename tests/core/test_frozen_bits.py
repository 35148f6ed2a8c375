"""The bits of every group of results are those of data/frozen_bits.txt, on every instruction set."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastlstm import Form
from tests import frozen_bits
from tests.frozen_bits import KINDS, TABLE, computed, digest, table
from tests.support import ROOT, each_dtype

ROWS = table()


@pytest.mark.parametrize(
    ("row", "isa"), [pytest.param(row, isa, id=f"{row.name}-{isa}") for row in ROWS for isa in row.isas]
)
def test_bits_are_the_frozen_ones(row: frozen_bits.Row, isa: str) -> None:
    assert {dtype: computed(row, dtype, isa) for dtype in row.dtypes} == row.hashes, f"other bits: {row.name} on {isa}"


def test_the_table_has_every_group() -> None:
    assert {row.kind for row in ROWS} == set(KINDS)
    for row in ROWS:
        assert set(row.hashes) == set(row.dtypes), f"no hashes: {row.name}"
    assert {row.stored for row in ROWS} == {None, "float16", "bfloat16", "int8", "int8-fast"}
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
    hashes = [value for row in ROWS for value in row.hashes.values()]
    assert len(hashes) == len(set(hashes)), "two rows have the same bits: one of them proves nothing"
    used = {str(row.options.get(place, "")).split(",")[0] for row in ROWS for place in ("gate", "candidate", "cell")}
    documented = (Form.__doc__ or "").split("with their defaults::")[1].split("``Form()``")[0].split("\n")
    assert {line.split()[0] for line in documented if line.strip()} == used - {""}


@each_dtype
def test_a_change_of_one_bit_is_seen(dtype: str) -> None:
    values = frozen_bits.numbers(1, (5, 7), dtype, "special")
    known = digest(iter([values]))
    assert digest(iter([values[:2], values[2:]])) == known
    for index in np.ndindex(values.shape):
        changed = values.copy()
        integer = changed.view(f"u{changed.itemsize}")
        integer[index] ^= integer.dtype.type(1 if np.isfinite(values[index]) else 1 << (integer.itemsize * 8 - 1))
        assert (digest(iter([changed])) == known) == np.isnan(values[index]), f"at {index}: {values[index]}"
    assert digest(iter([values[:, ::-1]])) != known
    assert digest(iter([np.array([0.0, 1.0], dtype)])) != digest(iter([np.array([-0.0, 1.0], dtype)]))


def test_writing_the_table_again_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "frozen_bits.txt"
    good = TABLE.read_text(encoding="ascii")
    altered = good.replace(ROWS[0].hashes["float32"], "0" * 16)
    assert altered != good
    copy.write_text(altered, encoding="ascii")
    monkeypatch.setattr(frozen_bits, "TABLE", copy)
    first = table()[0]
    assert computed(first, "float32", "scalar") != first.hashes["float32"]
    frozen_bits.write()
    assert copy.read_text(encoding="ascii") == good


def test_the_command_says_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.frozen_bits"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "--write" in done.stderr
