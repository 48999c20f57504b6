"""The map's surface: its level, what it encloses, how it lies in the picture, and what the browser gets."""

import base64
import gzip
import json
import re

import numpy as np
import pytest

from pycryo.maps.density import Map, soft_sphere
from pycryo.report import surface
from pycryo.report.surface import Shown


def test_level_parts_molecule_and_solvent(rng):
    """Two kinds of voxels of equal spread: the threshold is half-way, whatever their numbers."""
    for n_molecule in (3000, 10000):
        values = np.concatenate([rng.normal(0, 0.1, 10000), rng.normal(1, 0.1, n_molecule)]).astype(np.float32)
        # The middle of what is empty in between: both kinds end about 4 deviations from their means.
        assert surface.surface_level(values) == pytest.approx(0.5, abs=0.1)
        assert (values > surface.surface_level(values)).sum() == n_molecule


def test_surface_of_a_ball():
    """A ball of radius 40 Å: found at half its height, where its volume is that of the ball."""
    ball, mask = (Map(soft_sphere(64, radius, edge), 2.5) for radius, edge in ((14.0, 4.0), (22.0, 3.0)))
    found = surface.shown(ball, mask, 110.0, 10.0)
    assert found.map.box <= surface.MOST_BOX
    # The mask reaches 22 + 1.5 px, and the crop a twentieth further.
    assert found.map.box * found.map.pixel_size == pytest.approx(2.1 * 23 * 2.5, rel=0.05)
    assert found.level == pytest.approx(0.5, abs=0.1)
    volume, mass = surface.enclosed(found)
    radius = 16 * 2.5  # the cosine edge falls to a half after two of its four px
    expected = 4 / 3 * np.pi * radius**3 / 1000
    # A level that is off by 0.1 moves the surface by a quarter of a px, 5 % of the volume.
    assert volume == pytest.approx(expected, rel=0.06)
    assert mass == pytest.approx(volume / 1.21, rel=1e-6)


def test_without_a_mask_the_map_is_filtered(rng):
    ball = soft_sphere(64, 14, 4) + rng.standard_normal((64, 64, 64), np.float32)
    found = surface.shown(Map(ball, 2.5), None, 110.0, 20.0)
    # White noise of deviation 1 up to the 8th of 32 shells: its share is (8/32)³ · π/6, the deviation the root.
    corner = found.map.data[:4, :4, :4]
    assert corner.std() < 3 * np.sqrt(np.pi / 6 * (8 / 32) ** 3)


def test_an_even_map_has_a_level():
    flat = Shown(Map(np.full((8, 8, 8), 3.0, np.float32), 1.0), 3.0)
    assert np.isfinite(surface.surface_level(flat.map.data.ravel()))
    assert surface.enclosed(flat)[0] in (0.0, 0.512)


def test_the_still_picture_shows_where_things_are():
    """A ball at +x: right of the middle along z, left of it along y, in the middle along x; at +z: up in both."""
    data = np.zeros((48, 48, 48), np.float32)
    for shift in ((0, 0, 10), (12, 0, 0)):
        data += np.roll(soft_sphere(48, 5, 2), shift, (0, 1, 2))
    along_x, along_y, along_z = surface.still_figure(Shown(Map(data, 2.0), 0.5)).axes
    for axes, expected in ((along_x, (0, 12, 0)), (along_y, (-10, 12, 0)), (along_z, (10, 0, 0))):
        image = axes.images[0].get_array()
        seen = ~np.ma.getmaskarray(np.ma.masked_invalid(image))
        n = len(seen)
        up, right = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
        # Furthest from the middle, in px of 48: the ball's centre and its radius of 6 at half its height.
        furthest = [np.abs((each - n // 2) * 48 / n).max() for each in (right, up)]
        reach = [max(abs(expected[0]) + 6, 6), max(expected[1] + 6, 6)]
        np.testing.assert_allclose(furthest, reach, atol=1.1)
        side = (right.min() + right.max() - n) * np.sign(expected[0])
        assert side >= 0
        assert up.max() - n // 2 >= n // 2 - up.min() - 1
        assert axes.get_title() in ("seen along x", "seen along y", "seen along z")


def test_the_browser_gets_the_map_and_the_library():
    data = np.linspace(-1, 3, 8**3, dtype=np.float32).reshape(8, 8, 8)
    text = surface.interactive({"a<b>": Shown(Map(data, 2.0), 1.0)}, "<img>")
    (content,) = json.loads(re.search(r'id="surface-maps">(.*?)</script>', text)[1])
    found = np.frombuffer(gzip.decompress(base64.b64decode(content["data"])), np.uint8)
    np.testing.assert_array_equal(found, np.rint((data.ravel() + 1) * 255 / 4))
    assert (content["box"], content["pixel"], content["low"], content["high"]) == (8, 2.0, -1.0, 3.0)
    assert content["level"] == 128
    assert content["name"] == "a&lt;b&gt;"
    packed = re.search(r'id="surface-library">(.*?)</script>', text)[1]
    library = gzip.decompress(base64.b64decode(packed))
    assert library == surface.plotly_script().read_bytes()
    assert "MIT License" in text
    assert "Permission is hereby granted" in text
    assert text.index('class="still"><img>') < text.index("<script")


def test_without_plotly_the_picture_stays_and_the_reader_is_told(monkeypatch):
    monkeypatch.setattr(surface, "plotly_script", lambda: None)
    text = surface.interactive({}, "<img>")
    assert text.startswith("<img>")
    assert "pip install plotly" in text
    assert "<script" not in text


def test_plotly_is_looked_for_without_importing_it(monkeypatch):
    monkeypatch.setattr(surface, "find_spec", lambda name: None)
    assert surface.plotly_script() is None
