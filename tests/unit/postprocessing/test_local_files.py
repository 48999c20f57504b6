"""Files of local resolution, and the figures that are made of them."""

import json

import numpy as np
import pytest
from halves_of_two import sharp_ends

from pycryo.io.mrc import read_map
from pycryo.maps.density import soft_sphere
from pycryo.parallel.comm import SerialComm
from pycryo.postprocessing.local_figures import (
    LocalSections,
    colour_range,
    local_histogram_figure,
    local_resolution_figure,
)
from pycryo.postprocessing.local_files import summary, surface_level, write_local_resolution
from pycryo.postprocessing.local_filter import locally_filtered, mean_b_factor
from pycryo.postprocessing.local_resolution import LocalOptions, local_resolution

BOX, PIXEL = 32, 3.0


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    halves, mask = sharp_ends(BOX, PIXEL, (8.0, 12.0), 10), soft_sphere(BOX, 9, 3)
    found = local_resolution(*halves, PIXEL, mask, LocalOptions(window=24.0))
    filtered = locally_filtered(*halves, found.resolution, found.window, comm=SerialComm())
    write_local_resolution(folder, found, filtered, {"b_factor": 0.0})
    return folder, found, filtered


def test_what_is_written_is_what_was_found(written):
    folder, found, filtered = written
    told = json.loads((folder / "localres.json").read_text("utf-8"))
    np.testing.assert_allclose(list(told["quantiles"].values()), found.quantiles)
    assert told["b_factor"] == 0
    assert told["histogram"]["voxels"] == found.counts.tolist()
    for name, data in (("", found.resolution.data), ("_filtered", filtered.data), ("_mask", found.mask)):
        np.testing.assert_array_equal(read_map(folder / f"localres{name}.mrc").data, data)


def test_sections_are_those_through_the_middle(written):
    _, found, filtered = written
    sections, middle = LocalSections.of(found, filtered), BOX // 2
    for made, data in ((sections.density, filtered.data), (sections.resolution, found.resolution.data)):
        np.testing.assert_array_equal(made, [data[middle], data[:, middle], data[:, :, middle]])


def test_the_surface_holds_a_share_of_the_mask(written):
    _, found, filtered = written
    inside = filtered.data[found.mask > 0.5]
    assert np.mean(inside > surface_level(found, filtered)) == pytest.approx(0.4, abs=0.01)


def test_figures_show_the_resolution_inside_the_mask(written):
    _, found, filtered = written
    sections, told = LocalSections.of(found, filtered), summary(found)
    low, high = colour_range(told)
    figure = local_resolution_figure(sections, low, high)
    shown = [np.ma.filled(axes.images[0].get_array(), np.nan) for axes in figure.axes[3:6]]
    for each, mask, resolution in zip(shown, sections.mask, sections.resolution, strict=True):
        np.testing.assert_array_equal(np.isfinite(each), mask > 0.5)
        np.testing.assert_array_equal(each[mask > 0.5], resolution[mask > 0.5])
    bars = local_histogram_figure(told).axes[0].patches
    assert sum(bar.get_height() for bar in bars) == pytest.approx(100)


def test_b_factor_of_the_mean():
    """White signal made to fall off by a B-factor, without noise to speak of; only shells finer than 10 Å count."""
    rng = np.random.default_rng(1)
    box, pixel, b_factor = 48, 1.5, 120.0
    line = np.square(np.fft.fftfreq(box, pixel))
    fall = np.exp(-b_factor / 4 * (line[:, None, None] + line[:, None] + line))
    signal = np.fft.ifftn(np.fft.fftn(rng.standard_normal((box,) * 3)) * fall).real
    halves = [np.float32(signal + 1e-4 * rng.standard_normal(signal.shape)) for _ in range(2)]
    found = local_resolution(*halves, pixel, soft_sphere(box, 15, 5), LocalOptions(window=25.0, step=12.0))
    # A shell has 1000 samples or more: ln of its amplitude is known to 0.02, over a range of 3 in 10 shells and more.
    assert mean_b_factor(found.fsc).b_factor == pytest.approx(-b_factor, rel=0.03)
    assert mean_b_factor(local_resolution(*sharp_ends(24, 8.0, (30.0, 30.0), 5), 8.0, None).fsc) is None
