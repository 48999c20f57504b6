"""A refinement that finds the errors of the defoci, and whose map gains by it."""

from dataclasses import replace

import numpy as np
import pytest
from phantom import Phantom
from scene import scene

from pycryo import RefineOptions, refine
from pycryo.maps.fsc import fsc

ERROR = 400.0  # Å


@pytest.mark.slow
def test_defocus_stage_finds_errors_and_sharpens_the_map(tmp_path):
    rng = np.random.default_rng(4)
    centres = rng.normal(0, 11, (40, 3))
    phantom = Phantom(centres - centres.mean(0), np.full(40, 1.1), np.full(40, 1e3))
    particles, truth, start = scene(tmp_path, phantom, 300, snr=0.3, geometries=((60, 1.4),))
    error = rng.normal(0, ERROR, 300)
    wrong = replace(particles, defocus_u=particles.defocus_u + error, defocus_v=particles.defocus_v + error)
    options = RefineOptions(ini_high=30.0, threads=1)
    found = refine(wrong, start, options)
    without = refine(wrong, start, replace(options, stages="global,local"))
    assert "defocus" in {record.stage for record in found.history}
    left = np.abs(found.poses.defocus_change + error)
    # The doubt that the posteriors state is about what is left: medians of |normal| are 0.67 of its width.
    assert np.median(left) < 0.2 * ERROR
    assert np.median(left) < 2 * 0.67 * found.history[-1].spread_defocus
    # An error of 400 Å turns the CTF at 4 Å, shell 21, by 90 degrees.
    shells = slice(18, 24)
    better, worse = (fsc(each.map.data, truth.data)[shells].mean() for each in (found, without))
    assert better > worse + 0.1
