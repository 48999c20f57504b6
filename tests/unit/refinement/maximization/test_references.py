"""References: the noise's level, the gains of the shells, and what they do to noisy halves of a known density."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from thread_comm import run_ranks

from pycryo.kernels.shells import shell_counts, volume_shells
from pycryo.maps.fsc import corrected_fsc, fsc
from pycryo.maps.slab_map import SlabMap
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.rows import even_bounds
from pycryo.refinement.data.solvent import Solvent
from pycryo.refinement.maximization.references import contrast, join_shell, make_references, noise_level, shell_gains

BOX = 24
# Å; 40 Å are two shells.
PIXEL = 80.0 / BOX
UNKNOWN = np.zeros(BOX // 2 + 1)


def blob(rng):
    """A density of a few rods inside the middle of the box."""
    points = np.zeros((BOX,) * 3, np.float32)
    middle = points[8:16, 8:16, 8:16]
    middle[rng.integers(0, 8, 40), rng.integers(0, 8, 40), rng.integers(0, 8, 40)] = 50
    return gaussian_filter(points, 1)


def solvent(comm):
    return Solvent(comm, BOX * PIXEL, 22.0 * PIXEL, None)


def halves(rng, truth, sd):
    return [(truth + sd * rng.standard_normal(truth.shape)).astype(np.float32) for _ in range(2)]


def test_noise_level(rng):
    first, second = halves(rng, blob(rng), 0.7)
    for size in (1, 3):

        def work(comm):
            bounds = even_bounds(BOX, comm.size)
            mine = slice(bounds[comm.rank], bounds[comm.rank + 1])
            return noise_level(SlabMap(comm, first[mine], 1.0), SlabMap(comm, second[mine], 1.0))

        # The standard deviation of 13 824 values is known to 0.6 %.
        assert run_ranks(size, work) == [pytest.approx(0.7, rel=0.03)] * size


def test_gains_are_those_of_least_squares():
    sums = np.array([[2.0, 4.0, 9.0], [3.0, 0.0, 1.0], [-1.0, 2.0, 1.0], [8.0, 2.0, 1.0], [1.0, 2.0, 1.0]])
    # Half; nothing to fit; what contradicts is left out; never above 3; beyond the last shell.
    np.testing.assert_array_equal(shell_gains(sums, 3), [0.5, 0, 0, 3, 0])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_references_are_nearer_to_the_truth(size, rng):
    truth = blob(rng)
    pair = halves(rng, truth, 3 * truth.std())
    mask = gaussian_filter((gaussian_filter(truth, 1) > 0.02 * truth.max()).astype(np.float32), 1)
    measured = corrected_fsc(*pair, PIXEL, mask)

    def work(comm):
        bounds = even_bounds(BOX, comm.size)
        mine = slice(bounds[comm.rank], bounds[comm.rank + 1])
        maps = tuple(SlabMap(comm, each[mine], PIXEL) for each in pair)
        return [
            each.data
            for each in make_references(solvent(comm), maps, maps, SlabMap(comm, mask[mine], PIXEL), measured, BOX)
        ]

    alone = [
        each.data
        for each in make_references(
            solvent(SerialComm()),
            tuple(SlabMap(SerialComm(), each, PIXEL) for each in pair),
            tuple(SlabMap(SerialComm(), each, PIXEL) for each in pair),
            SlabMap(SerialComm(), mask, PIXEL),
            measured,
            BOX,
        )
    ]
    for half, parts in enumerate(zip(*run_ranks(size, work), strict=True)):
        found = np.concatenate(parts)
        np.testing.assert_array_equal(found, alone[half])
        masked = pair[half] * mask
        error, before = (np.square(each - truth).sum() for each in (found, masked))
        assert error < 0.8 * before
        shells = slice(2, 9)
        assert fsc(found, truth)[shells].sum() > fsc(masked, truth)[shells].sum()


def test_halves_share_what_is_coarser_than_twice_their_resolution(rng):
    def shell(resolution):
        return join_shell(200.0, SimpleNamespace(resolution_0143=resolution))

    # Never less than 40 Å, and 10 Å at the finest.
    assert [shell(each) for each in (300.0, 30.0, 12.5, 5.0, 3.0)] == [5, 5, 8, 20, 20]

    truth = blob(rng)
    pair = tuple(SlabMap(SerialComm(), each, PIXEL) for each in halves(rng, truth, 0.3 * truth.std()))
    everything = SlabMap(SerialComm(), np.ones((BOX,) * 3, np.float32), PIXEL)
    measured = corrected_fsc(pair[0].data, pair[1].data, PIXEL)
    last = int(join_shell(BOX * PIXEL, measured))
    assert last >= 4
    own, joined = (
        fsc(
            *(
                each.data
                for each in make_references(solvent(SerialComm()), pair, pair, everything, measured, BOX, **options)
            )
        )
        for options in ({}, {"is_joined": True})
    )
    # The floor takes noise from all shells.
    left = (1 - own[1:]) / (1 - fsc(*(each.data for each in pair))[1:])
    assert left[: last - 1].max() < 0.5 * left[last : last + 4].min()
    assert joined[1 : last + 4].min() > 0.999999


def test_halves_of_noise_have_nothing_in_common(rng):
    """What is negative is set to zero, and yet no correlation comes of it."""
    pair = tuple(SlabMap(SerialComm(), each, PIXEL) for each in halves(rng, np.zeros((BOX,) * 3), 1.0))
    everything = SlabMap(SerialComm(), np.ones((BOX,) * 3, np.float32), PIXEL)
    measured = corrected_fsc(pair[0].data, pair[1].data, PIXEL)
    first, second = make_references(solvent(SerialComm()), pair, pair, everything, measured, BOX)
    # The FSC of noise ended in the first shells; nothing is left beyond.
    assert fsc(first.data, second.data)[5:].max() < 0.5 or np.square(first.data).sum() < 0.05 * first.data.size


def test_blurred_references_get_their_contrast_back(rng):
    truth = blob(rng)
    blurred = [gaussian_filter(each, 1.0) for each in halves(rng, truth, 0.01)]
    pair = tuple(SlabMap(SerialComm(), each, PIXEL) for each in blurred)
    everything = SlabMap(SerialComm(), np.ones((BOX,) * 3, np.float32), PIXEL)
    measured = corrected_fsc(*blurred, PIXEL)

    def amplitude(data):
        transform = np.fft.rfftn(data)
        return np.sqrt(volume_shells(transform, transform)[:, 1] / shell_counts(BOX))

    def references(signal=None):
        made = make_references(solvent(SerialComm()), pair, pair, everything, measured, BOX, signal=signal)
        return amplitude(made[0].data)

    known = np.square(amplitude(truth))
    plain, found = references(UNKNOWN), references(known)
    lost = amplitude(truth) / plain
    assert lost[2] < 1.3 < 1.8 < lost[5]
    np.testing.assert_allclose((found / amplitude(truth))[2:6], 1, atol=0.2)
    np.testing.assert_allclose(found[:2], plain[:2], rtol=0.05)
    # Where the poses are known, what the halves confirm is all.
    np.testing.assert_array_equal(references(), plain)


def test_contrast_is_what_the_images_show():
    power, fsc_of, signal = np.full(13, 2.0), SimpleNamespace(corrected=np.full(13, 0.8)), np.full(13, 10.0)
    # Of 10 the halves confirm 8, four times what there is.
    np.testing.assert_allclose(contrast(signal, fsc_of, power, 3.5), [1] * 4 + [2] * 9)
    # By a factor of 3 at the most, and nothing is taken away.
    assert contrast(100 * signal, fsc_of, power, 4.0)[4:] == pytest.approx(3)
    for less in (0.1 * signal, UNKNOWN, signal[:4]):
        np.testing.assert_array_equal(contrast(less, fsc_of, power, 4.0), 1)
    np.testing.assert_array_equal(contrast(signal, fsc_of, 0 * power, 4.0), 1)
