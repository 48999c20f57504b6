"""Slab transforms of which planes are dealt anew, points are cropped, or rows come in portions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.fft
from thread_comm import run_ranks

from pycryo.parallel.comm import SerialComm
from pycryo.parallel.slab_fft import SlabFft

# Rounding of a transform grows with the logarithm of its size: below ten units of the last place of the largest value.
TOLERANCE = 10 * np.finfo(np.float64).eps


def grid(n):
    return np.random.default_rng(n).standard_normal((n, n, n))


@pytest.mark.parametrize("size", [1, 2, 3, 12])
@pytest.mark.parametrize("n, extent", [(8, (-2, 2)), (9, (-3, 4)), (6, (-3, 3)), (7, (1, 5)), (5, (2, 2))])
def test_cropped_planes(n, extent, size):
    points = grid(n)
    rows = scipy.fft.rfftn(points).transpose(1, 0, 2)

    def work(comm):
        fft = SlabFft(comm, n)
        found = fft.inverse(rows[fft.rows.start : fft.rows.stop])
        fft.deal(extent)
        cropped = np.empty((len(fft.plane_numbers), extent[1] - extent[0], extent[1] - extent[0]))

        def take(number, plane):
            cropped[number - fft.plane_numbers.start] = plane / n**3

        fft.load(lambda row, samples: np.copyto(samples, rows[row]))
        fft.crop_planes(take, extent)
        fft.deal((0, n))
        again = fft.inverse(rows[fft.rows.start : fft.rows.stop])
        np.testing.assert_array_equal(again, found)
        return found, cropped

    found, cropped = (np.concatenate(part) for part in zip(*run_ranks(size, work), strict=True))
    np.testing.assert_allclose(found, points, atol=TOLERANCE * np.abs(points).max())
    chosen = np.arange(*extent) % n
    expected = points[np.ix_(chosen, chosen, chosen)]
    np.testing.assert_allclose(cropped, expected, atol=TOLERANCE * np.abs(points).max())


def test_rows_in_portions_and_twice():
    n = 10
    place, widths = np.array([0, 1, 2, 8, 9]), np.array([4, 3, 2, 2, 3])
    rng = np.random.default_rng(1)
    given = [rng.standard_normal((n, w)) + 1j * rng.standard_normal((n, w)) for w in widths]
    fft = SlabFft(SerialComm(), n, place=place, widths=widths)
    found = {}

    def fill(row, samples):
        samples[:] = given[row]

    def take(row, samples):
        found[row] = samples.copy()

    def spoil(number, plane):
        plane[:] = number

    fft.load(fill)
    fft.on_planes(spoil, back=True)
    fft.load(fill, [3, 0])
    fft.load(fill, [1, 2, 4])
    fft.store(take, [4, 1])
    assert sorted(found) == [1, 4]
    fft.store(take)
    for row, samples in enumerate(given):
        # Unscaled there and back along z.
        np.testing.assert_allclose(found[row], n * samples, atol=n * TOLERANCE * np.abs(samples).max())
    absent = np.setdiff1d(np.arange(n), place)
    np.testing.assert_array_equal(fft.planes[:, absent], 0)


def test_portions_are_for_a_rank_alone():
    def work(comm):
        fft = SlabFft(comm, 4)
        for call in (fft.load, fft.store):
            with pytest.raises(ValueError, match="rows: expected None"):
                call(lambda row, samples: None, [0])

    run_ranks(2, work)
