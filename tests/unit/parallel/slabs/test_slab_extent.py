"""Slab transforms of grids of which only some planes are not zero, or wanted."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from thread_comm import run_ranks

from pycryo.parallel.slabs.slab_fft import SlabFft

# Rounding of a transform grows with the logarithm of its size: below ten units of the last place of the largest value.
TOLERANCE = 10 * np.finfo(np.float64).eps


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("n, extent", [(8, (-2, 2)), (9, (-3, 4)), (8, (3, 6)), (7, (2, 2)), (6, (-3, 3))])
def test_only_planes_of_the_extent(n, extent, size):
    count = extent[1] - extent[0]
    points = np.random.default_rng(n).standard_normal((count, n, n))
    whole = np.zeros((n, n, n))
    whole[np.arange(*extent) % n] = points
    rows = scipy.fft.rfftn(whole).transpose(1, 0, 2)

    def work(comm):
        fft = SlabFft(comm, n, extent=extent)
        assert (fft.plane_bounds[0], fft.plane_bounds[-1]) == extent
        assert len(fft.planes) == len(fft.plane_numbers)
        first = fft.plane_numbers.start - extent[0]
        found = fft.forward(points[first : first + len(fft.plane_numbers)])
        numbers = []
        fft.load(lambda row, samples: np.copyto(samples, rows[row]))
        fft.on_planes(lambda number, plane: numbers.append(number), back=True)
        assert sorted(numbers) == list(fft.plane_numbers)
        back = fft.inverse(rows[fft.rows.start : fft.rows.stop])
        return found, back

    found, back = (np.concatenate(part) for part in zip(*run_ranks(size, work), strict=True))
    np.testing.assert_allclose(found, rows, atol=TOLERANCE * np.abs(rows).max())
    np.testing.assert_allclose(back, points, atol=TOLERANCE * np.abs(points).max(initial=1))
