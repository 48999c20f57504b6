"""Input at the edge of what makes sense: it works, or is refused clearly."""

import numpy as np
import pytest
from scene import lump, scene

from pycryo import RefineOptions, refine
from pycryo.errors import InputError

OPTIONS = RefineOptions(ini_high=30.0, max_iter=2, threads=1)


def test_one_particle_is_too_few_for_half_maps(tmp_path):
    particles, _, start = scene(tmp_path, lump(), 2, snr=0.5, geometries=((20, 5.0),))
    with pytest.raises(InputError, match="1 and 0 usable particles, each needs at least one: give more particles"):
        refine(particles.subset([1]), start, OPTIONS)
    assert len(refine(particles, start, OPTIONS).poses.rows) == 2


@pytest.mark.parametrize("box", [19, 21, 23])
def test_boxes_that_are_odd_or_prime(tmp_path, box):
    """A pixel more or less than a box that is quick: the same molecule at the same place."""
    particles, truth, start = scene(tmp_path, lump(), 40, snr=1.0, geometries=((box, 5.0),))
    result = refine(particles, start, OPTIONS)
    assert result.map.box == box
    assert np.corrcoef(result.map.data.ravel(), truth.data.ravel())[0, 1] > 0.8
