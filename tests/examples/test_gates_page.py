"""examples/gates_page.py: both layers of the published model, with the text's own letters."""

from pathlib import Path

import numpy as np
import pytest

gates_page = pytest.importorskip("gates_page")
pytest.importorskip("h5py", reason="pip install h5py")

from textgen import fetch, texts  # noqa: E402

from tests.pictures.support import Page  # noqa: E402


def test_it_draws_the_published_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gates.html"
    try:
        gates_page.main(str(path))
    except fetch.FetchError as error:
        pytest.skip(f"the published model is not cached and cannot be fetched: {error}")
    assert capsys.readouterr().out == f"{path}: open it in a browser\n"
    page = Page(path)
    assert [entry["name"] for entry in page.entries] == ["lstm_1", "lstm_2"]
    for k, entry in enumerate(page.entries):
        text = "".join(entry["labels"]["all"])
        assert (entry["exact"], entry["columns"], len(entry["units"])) == (True, len(text), 128)
        assert text == "".join(one for one in " ".join(texts.zen()) if one in text)
        life = np.array(entry["halfLife"])
        assert life.max() > 10 > 1 > life.min()
        assert np.abs(page.numbers("c", "mean", entry=k)).max() > 10
