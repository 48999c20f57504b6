"""Transforms of a plane against those of scipy."""

import numpy as np
import pytest
import scipy.fft

from pycryo.parallel.slabs import plane_transform
from pycryo.parallel.slabs.plane_transform import read_plane, write_plane


@pytest.mark.parametrize("block", [1, 300, 1 << 20])
@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_planes_are_those_of_scipy(n, block, rng, monkeypatch):
    monkeypatch.setattr(plane_transform, "_BLOCK_BYTES", block)
    points = rng.standard_normal((n, n))
    plane = np.empty((n, n // 2 + 1), complex)
    write_plane(points, plane)
    # Ten units of the last place of the largest value.
    expected = scipy.fft.rfft2(points)
    np.testing.assert_allclose(plane, expected, rtol=0, atol=10 * np.finfo(float).eps * np.abs(expected).max())
    rows = np.arange(n)[::-2]
    back = np.empty((len(rows), n))
    read_plane(plane, rows, back)
    np.testing.assert_allclose(back / n**2, points[rows], rtol=0, atol=1e-14)
