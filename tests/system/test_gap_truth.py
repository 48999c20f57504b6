"""Particles of one defocus: the final map has what comes back beyond the zero of their CTF, and that is the truth's."""

from __future__ import annotations

from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from phantom import write_set
from scene import lump

from pycryo import RefineOptions, refine
from pycryo.io.particles import read_particles
from pycryo.maps.fsc import fsc
from pycryo.refinement.maximization import maximize

BOX, PIXEL, SNR = 64, 2.6, 0.018
# A zero at 14.1 Å, shell 11.8, the next one at 9.9 Å.
DEFOCUS = 9500.0


def body():
    """Blobs that are narrow enough for images of 10 Å to tell them."""
    phantom = lump(n=80, extent=40.0)
    return replace(phantom, widths=np.full(80, 1.6))


def refined(folder, defoci):
    """260 images at the poses that they have."""
    how = {"geometries": ((BOX, PIXEL),), "defoci": defoci}
    clean = mrcfile.read(write_set(folder, body(), 260, **how).parent / "g1.mrcs")
    noise = float(np.sqrt(clean.var(axis=(1, 2)).mean() / SNR))
    particles = read_particles(write_set(folder, body(), 260, noise=noise, **how))
    options = RefineOptions(local=True, sigma_ang=0.3, sigma_offset=0.3, max_iter=1, threads=2, diameter=115.0)
    return refine(particles, None, options)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """One run as it is, and its final map as it would be if it ended at the gap."""
    folder = tmp_path_factory.mktemp("gap")
    result = refined(folder, (DEFOCUS, DEFOCUS))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maximize, "look_for_return", lambda curves, mask, order: curves)
        ended = refined(folder, (DEFOCUS, DEFOCUS))
    return result, ended, body().volume(BOX, PIXEL)


def test_what_comes_back_is_that_of_the_truth(found):
    result, ended, truth = found
    (first, last), *_ = result.fsc.returned
    assert result.fsc.box * result.fsc.pixel_size / result.resolution < first + 1
    line = np.arange(BOX) - BOX // 2
    mask = np.clip(20 - np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2), 0, 1)
    after, before = (fsc(each.map.data * mask, truth * mask) for each in (result, ended))
    core = [shell for shell in range(first, last + 1) if result.fsc.corrected[shell] > 0.143]
    assert len(core) >= 3
    assert after[core].mean() > before[core].mean() + 0.2
    assert after[core].mean() > 0.5
    # Coarser shells are as they were, but for the mask that mixes neighbours.
    np.testing.assert_allclose(after[1 : first - 2], before[1 : first - 2], atol=0.02)


def test_everything_else_is_as_it_was(found):
    result, ended, _ = found
    assert result.resolution == ended.resolution
    np.testing.assert_array_equal(result.fsc.corrected, ended.fsc.corrected)
    for mine, other in zip(result.half_maps, ended.half_maps, strict=True):
        np.testing.assert_array_equal(mine.data, other.data)


def test_nothing_comes_back_where_there_is_no_gap(tmp_path):
    assert refined(tmp_path, (6000.0, 18000.0)).fsc.returned == ()
