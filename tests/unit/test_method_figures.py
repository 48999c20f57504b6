"""The figures of docs/method.md: each is drawn by its script, without a warning, and shown on the page."""

from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "method.md").read_text(encoding="utf-8")
NAMES = ("iteration", "slice", "likelihood", "filter", "insertion", "resolution", "stages")


@pytest.mark.parametrize("name", NAMES)
def test_figure_is_drawn(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS / "figures"))
    assert import_module("draw").NAMES == NAMES
    monkeypatch.setattr(import_module("style"), "IMAGES", tmp_path)
    import_module(name).draw()
    picture = f"method_{name}.png"
    assert f"](images/{picture})" in PAGE
    kept = DOCS / "images" / picture
    assert (tmp_path / picture).stat().st_size < 150_000
    with Image.open(tmp_path / picture) as drawn, Image.open(kept) as shown:
        # Fonts of another version may move an edge by some px.
        assert drawn.size == pytest.approx(shown.size, rel=0.05)
