"""Transforms of planes against those of scipy."""

import numpy as np
import pytest
import scipy.fft

from pycryo.parallel.slabs import row_batches
from pycryo.parallel.slabs.plane_transform import read_planes, write_planes


@pytest.mark.parametrize("block", [1, 300, 1 << 20])
@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_planes_are_those_of_scipy(n, block, rng, monkeypatch):
    monkeypatch.setattr(row_batches, "_BYTES", block)
    points = rng.standard_normal((3, n, n))
    planes = np.empty((3, n, n // 2 + 1), complex)
    write_planes(points, planes)
    # Ten units of the last place of the largest value.
    expected = scipy.fft.rfft2(points)
    np.testing.assert_allclose(planes, expected, rtol=0, atol=10 * np.finfo(float).eps * np.abs(expected).max())
    rows = np.arange(n)[::-2]
    back = np.empty((3, len(rows), n))
    read_planes(planes, rows, back)
    np.testing.assert_allclose(back / n**2, points[:, rows], rtol=0, atol=1e-14)
