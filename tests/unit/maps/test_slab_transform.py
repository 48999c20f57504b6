"""Transforms of maps in planes against numpy.fft of the whole maps."""

from __future__ import annotations

import numpy as np
import pytest
from thread_comm import run_ranks

from pycryo.maps.slab_transform import SlabTransform
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.rows import even_bounds


def noise(rng, box):
    return rng.standard_normal((box,) * 3).astype(np.float32)


@pytest.mark.parametrize("box", [16, 17])
def test_randomising_keeps_amplitudes_and_low_shells(box, rng):
    slabs = SlabTransform(SerialComm(), box, 1)
    data = noise(rng, box)
    before = slabs.rows(data)
    # float32 transform of box³ values of order 1.
    np.testing.assert_allclose(before, np.fft.rfftn(data).transpose(1, 0, 2), atol=1e-6 * box**1.5)
    after = before.copy()
    slabs.randomise(after, 5, 1, 0)
    k = np.fft.fftfreq(box, 1 / box)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k[: box // 2 + 1] ** 2))
    np.testing.assert_array_equal(after[shell < 5], before[shell < 5])
    np.testing.assert_allclose(np.abs(after), np.abs(before), rtol=1e-5)  # a few float32 roundings
    assert (after[shell == 5] != before[shell == 5]).mean() > 0.9
    again = after.copy()
    slabs.mask(again, np.ones((box,) * 3, np.float32))
    # A Hermitian transform comes back from real space as it was: FFT rounding of values ~ box^1.5.
    np.testing.assert_allclose(again, after, atol=1e-5 * box**1.5)
    # Phases are spread evenly, with no part of the old ones left: n of them have a mean of order 1/√n.
    turned = (after * before.conj())[shell >= 5]
    turned /= np.abs(turned)
    assert abs(turned.mean()) < 4 / np.sqrt(turned.size)
    assert abs(np.square(turned).mean()) < 4 / np.sqrt(turned.size)


def test_noise_of_halves_planes_and_seeds_differs(rng):
    box = 8
    slabs = SlabTransform(SerialComm(), box, 1)
    ones = np.ones((box, box, box // 2 + 1), np.complex64)
    points = []
    for seed, half in ((0, 0), (0, 1), (1, 0)):
        rows = ones.copy()
        slabs.randomise(rows, 0, seed, half)
        points += list(np.fft.irfftn(rows.transpose(1, 0, 2)))
    correlation = np.corrcoef([plane.ravel() for plane in points])
    # 64 values per plane: standard deviation 1/8; the largest of 276 is about three of them.
    assert np.abs(correlation[~np.eye(len(points), dtype=bool)]).max() < 0.6


@pytest.mark.parametrize("box", [1, 2, 6, 7])
@pytest.mark.parametrize("size", [1, 3])
def test_random_phases_of_any_ranks_are_those_of_a_real_map(box, size):
    def work(comm):
        slabs = SlabTransform(comm, box, 1)
        bounds = even_bounds(box, comm.size)
        rows = np.ones((bounds[comm.rank + 1] - bounds[comm.rank], box, box // 2 + 1), np.complex64)
        beyond = slabs.beyond(2)
        slabs.randomise(rows, 2, 5, 1)
        np.testing.assert_array_equal(rows[~beyond], 1)
        return rows

    whole = np.concatenate(run_ranks(size, work))
    (alone,) = run_ranks(1, work)
    np.testing.assert_array_equal(whole, alone)
    for x in {0, box // 2} if box % 2 == 0 else {0}:
        mates = np.roll(whole[::-1, ::-1, x], 1, axis=(0, 1))
        np.testing.assert_allclose(whole[:, :, x], mates.conj(), atol=1e-6)  # float32


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("box", [8, 9])
def test_filtered_shells(size, box, rng):
    data = noise(rng, box)
    factor = rng.random(4)
    k = np.fft.fftfreq(box, 1 / box)
    shell = np.rint(np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k[: box // 2 + 1] ** 2)).astype(int)
    gain = np.append(factor, 0)[np.minimum(shell, 4)]
    expected = np.fft.irfftn(np.fft.rfftn(data) * gain, s=data.shape, axes=(0, 1, 2))

    def work(comm):
        bounds = even_bounds(box, comm.size)
        transform = SlabTransform(comm, box, 1)
        return transform.filtered(transform.rows(data[bounds[comm.rank] : bounds[comm.rank + 1]]), factor)

    # Rounding of a float32 transform of box³ values of order 1.
    np.testing.assert_allclose(np.concatenate(run_ranks(size, work)), expected, atol=1e-5)
