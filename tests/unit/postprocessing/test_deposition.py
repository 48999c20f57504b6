"""A deposition: maps, levels and checks that find what was changed."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from matplotlib.image import imread
from scattered import PIXEL, half_maps

from pycryo.errors import InputError
from pycryo.io.mrc import write_map
from pycryo.io.mrc_header import Place
from pycryo.postprocessing.deposition import Sources, examine, read_fsc_xml, write_deposition
from pycryo.postprocessing.files import write_result
from pycryo.postprocessing.process import PostprocessOptions, postprocess


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Half-maps and what postprocess made of them."""
    folder = tmp_path_factory.mktemp("made")
    first, second, mask = half_maps(noise=0.002)
    halves = folder / "h1.mrc", folder / "h2.mrc"
    for path, each in zip(halves, (first, second), strict=True):
        write_map(path, each.data, PIXEL)
    result = postprocess(first, second, mask, PostprocessOptions(seed=3))
    write_result(folder / "p", result, halves, pictures=False)
    return Sources(folder / "p.mrc", halves, folder / "p_mask.mrc", folder / "p_fsc.xml", 3)


@pytest.fixture
def copied(made, tmp_path):
    """The same files, to be changed."""
    for path in made.primary.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())

    def moved(path: Path) -> Path:
        return tmp_path / path.name

    halves = moved(made.halves[0]), moved(made.halves[1])
    return replace(made, primary=moved(made.primary), halves=halves, mask=moved(made.mask), fsc=moved(made.fsc))


def read(path):
    with mrcfile.open(path) as file:
        return np.array(file.data)


def test_levels_enclose_one_volume(made):
    found = examine(made, mass=30)
    inside = read(made.mask) >= 0.5
    assert found.volume == pytest.approx(30e3 * 1.21)
    for path, level in zip((made.primary, *made.halves), found.levels, strict=True):
        voxels = np.count_nonzero(read(path)[inside] >= np.float32(level))
        assert voxels * PIXEL**3 == pytest.approx(found.volume, rel=1e-3)
    assert examine(made).volume == pytest.approx(read(made.mask).sum() * PIXEL**3 / 3, rel=1e-4)


def test_a_given_level_is_kept_and_its_volume_told(made):
    level = float(np.quantile(read(made.primary), 0.95))
    found = examine(made, level=level)
    assert found.levels[0] == level
    inside = read(made.mask) >= 0.5
    assert found.volume == pytest.approx(np.count_nonzero(read(made.primary)[inside] > level) * PIXEL**3)
    with pytest.raises(InputError, match="--contour"):
        examine(made, level=1e9)


def test_files(made, tmp_path):
    found = examine(made)
    facts = {"imaging": {"voltage_kV": 300.0, "spherical_aberration_mm": None}}
    checklist = write_deposition(tmp_path, found, facts)
    for name, source in {
        "primary_map.mrc": made.primary,
        "half_map_1.mrc": made.halves[0],
        "half_map_2.mrc": made.halves[1],
        "mask.mrc": made.mask,
        "fsc.xml": made.fsc,
    }.items():
        assert (tmp_path / name).read_bytes() == source.read_bytes()
    assert mrcfile.validate(tmp_path / "primary_map.mrc")
    assert imread(tmp_path / "image.png").shape[:2] == (500, 500)
    assert set(checklist["files"]) | {"checklist.json", "checklist.md"} == {path.name for path in tmp_path.iterdir()}
    text = (tmp_path / "checklist.md").read_text("utf-8")
    assert "- voltage kV: 300\n" in text
    assert "- spherical aberration mm: **to be filled in**\n" in text
    assert f"{found.levels[0]:.4g}" in text


def test_other_half_maps_than_those_of_the_curve(copied):
    noise = np.random.default_rng(1).normal(size=read(copied.halves[0]).shape)
    write_map(copied.halves[0], (read(copied.halves[0]) + 0.02 * noise).astype(np.float32), PIXEL)
    with pytest.raises(InputError, match=r"differs from .*p_fsc.xml"):
        examine(copied)


def test_other_mask_than_that_of_the_curve(copied):
    write_map(copied.mask, read(copied.mask) ** 8, PIXEL)
    with pytest.raises(InputError, match=r"differs from .*p_fsc.xml"):
        examine(copied)


def test_one_half_map_twice(copied):
    copied.halves[1].write_bytes(copied.halves[0].read_bytes())
    with pytest.raises(InputError, match="the same map"):
        examine(copied)


def test_another_grid_or_place(copied):
    data = read(copied.primary)
    write_map(copied.primary, data, 1.3)
    with pytest.raises(InputError, match="one grid"):
        examine(copied)
    write_map(copied.primary, data, PIXEL, Place(origin=(5.0, 0, 0)))
    with pytest.raises(InputError, match="origins"):
        examine(copied)


def test_a_header_that_tells_another_range(copied):
    with mrcfile.open(copied.primary, "r+") as file:
        file.header.dmax = 1e3
    with pytest.raises(InputError, match="minimum, maximum"):
        examine(copied)


def test_what_is_no_curve(copied):
    copied.fsc.write_text("<fsc>")
    with pytest.raises(InputError, match="cannot be read"):
        examine(copied)
    copied.fsc.write_text("<fsc></fsc>")
    with pytest.raises(InputError, match="other frequencies"):
        examine(copied)


def test_curve_is_read_as_it_is_written(made):
    points = ET.parse(made.fsc).getroot().findall("coordinate")
    expected = [[float(point.findtext(axis)) for axis in "xy"] for point in points]
    np.testing.assert_array_equal(read_fsc_xml(made.fsc), expected)
