"""docs/backward.md: its table is what examples/vanishing_gradient.py measures."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import ROOT

PAGE = ROOT / "docs" / "backward.md"


@pytest.fixture(name="example", scope="module")
def load_example() -> dict[str, Any]:
    """Return what the script defines."""
    return runpy.run_path(str(ROOT / "examples" / "vanishing_gradient.py"))


def test_table_is_what_the_example_measures(example: dict[str, Any]) -> None:
    # Two digits of float64 results: another machine's last bits do not show.
    assert example["table"](example["measure"]()) in PAGE.read_text(encoding="utf-8")


def test_page_says_what_the_table_says(example: dict[str, Any]) -> None:
    rows = example["measure"]()
    for name, norms in rows.items():
        assert norms.shape == (example["T"],), name
        assert np.all(np.isfinite(norms)), name
    open_, half_shut = rows["LSTM, forget bias 3"], rows["LSTM, forget bias 0"]
    assert np.all(open_[1:] > half_shut[1:])
    assert np.all(rows["LSTM, forget bias 3, through c alone"][20:] > rows["tanh, orthogonal U"][20:])
    assert open_[100] > 1


def test_plot_is_written(example: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "vanishing_gradient.png"
    example["plot"](example["measure"](), path)
    assert path.read_bytes().startswith(b"\x89PNG")
