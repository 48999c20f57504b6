"""The level of a map whose surface encloses a known volume."""

import numpy as np
import pytest

from pycryo.errors import InputError
from pycryo.maps.density import Map
from pycryo.postprocessing.contour import contour_level, molecule_volume


def test_level_encloses_the_volume():
    line = np.arange(48) - 24
    radius = np.sqrt(line[:, None, None] ** 2 + line[:, None] ** 2 + line**2)
    ball = Map((20 - radius).astype(np.float32), 2.0)
    mask = (radius < 15).astype(np.float32)
    volume = 4 / 3 * np.pi * (10 * 2.0) ** 3
    # A ball of radius 10 px; voxels tell a volume of 4189 px³ to some 30.
    assert contour_level(ball, mask, volume) == pytest.approx(10, abs=0.1)
    # No more than the mask holds.
    assert contour_level(ball, mask, 1e9) == pytest.approx(5, abs=0.1)


def test_volume_of_a_mass_or_a_mask():
    mask = np.full((10, 10, 10), 0.5, np.float32)
    # 0.73 cm³/g: 1 Da / 6.022e23 g · 0.73 · 1e24 Å³/cm³ = 1.21 Å³.
    assert molecule_volume(mask, 20.0, 465) == pytest.approx(465e3 * 0.73e24 / 6.022e23, rel=3e-3)
    assert molecule_volume(mask, 2.0) == pytest.approx(500 * 8 / 3)
    for wrong in (0.0, -1.0, 1e9, float("nan")):
        with pytest.raises(InputError, match="mass"):
            molecule_volume(mask, 2.0, wrong)
