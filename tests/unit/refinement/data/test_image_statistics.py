"""What one pass over all images tells, and sums that no order can change."""

from __future__ import annotations

import logging
from dataclasses import replace

import mrcfile
import numpy as np
import pytest
import starfile
from phantom import blobs, write_set
from thread_comm import run_ranks

from pycryo.errors import InputError
from pycryo.io.particles import read_particles
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data.halves import split_halves
from pycryo.refinement.data.image_statistics import group_sums, measure_images, without_defocus
from pycryo.refinement.data.left_out import LeftOut, refuse_too_many_bad
from pycryo.refinement.data.partition import deal


@pytest.fixture(scope="module")
def two_stacks(tmp_path_factory):
    """24 particles in two optics groups: 16 px of 3 Å and 20 px of 2.5 Å."""
    folder = tmp_path_factory.mktemp("two")
    return read_particles(write_set(folder, blobs(), 24, geometries=((16, 3.0), (20, 2.5)), noise=3.0))


def drawn(particles, n):
    """n particles whose file tells no half-sets."""
    return replace(particles.subset(np.arange(n)), random_subset=np.zeros(n, np.int32))


# --- sums -------------------------------------------------------------------------------------------------------------


def test_group_sums_are_the_sums(rng):
    values = rng.normal(size=(60, 4, 3)) * 10.0 ** rng.integers(-6, 6, (60, 1, 1))
    group = rng.integers(0, 3, 60).astype(np.int32)
    found = group_sums(SerialComm(), values, group, 4, 60)
    expected = np.stack([values[group == g].sum(0) for g in range(4)])
    # Each value is rounded by half a quantum, 2^-51 of twice (to four times) 60 times the largest.
    np.testing.assert_allclose(found, expected, rtol=0, atol=60 * 0.5 * 2.0**-51 * 4 * 60 * np.abs(values).max())
    np.testing.assert_array_equal(found[3], 0)


def test_group_sums_do_not_depend_on_order_nor_ranks(rng):
    n = 97
    values = rng.normal(size=(n, 5)) * 10.0 ** rng.integers(-8, 8, (n, 1))
    group = rng.integers(0, 2, n).astype(np.int32)
    alone = group_sums(SerialComm(), values, group, 2, n)
    # Plain sums do depend on it: otherwise this shows nothing.
    assert not np.array_equal(values.sum(0), values[::-1].cumsum(0)[-1])
    for size in (1, 2, 3, 4):
        order = rng.permutation(n)
        cuts = np.sort(rng.integers(0, n + 1, size - 1))  # uneven; a rank may have nothing
        parts = np.split(order, cuts)
        for found in run_ranks(
            size, lambda comm, parts=parts: group_sums(comm, values[parts[comm.rank]], group[parts[comm.rank]], 2, n)
        ):
            np.testing.assert_array_equal(found, alone)


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.zeros((4, 3))])
def test_group_sums_of_nothing(values):
    found = group_sums(SerialComm(), values, np.zeros(len(values), np.int32), 2, 4)
    np.testing.assert_array_equal(found, np.zeros((2, 3)))


# --- one pass over all images -----------------------------------------------------------------------------------------


def spoiled(folder, background=0.0):
    """12 particles of which rows 2, 3, 5, 8 are unusable."""
    path = write_set(folder, blobs(), 12, noise=3.0)
    with mrcfile.open(folder / "g1.mrcs", "r+") as file:
        file.data[:] += background
        file.data[2, 3, 4] = np.nan
        file.data[3, 0, 0] = np.inf
        file.data[5] = 7.0
        file.data[8] = 0.0
    return read_particles(path)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("keep", [False, True])
def test_bad_images_are_found(tmp_path, size, keep):
    particles = spoiled(tmp_path)

    def statistics(comm):
        return measure_images(deal(comm, particles, split_halves(particles, 1), None), 40.0, keep)

    found = run_ranks(size, statistics)
    for each, _ in found:
        np.testing.assert_array_equal(each.bad, [2, 3, 5, 8])
        np.testing.assert_array_equal(each.count, [8])
        assert np.isfinite(each.power).all()
    caches = [cache for _, cache in found]
    if keep:
        images = mrcfile.read(tmp_path / "g1.mrcs")
        kept = {row: image for cache in caches for row, image in cache.items()}
        assert sorted(kept) == [0, 1, 4, 6, 7, 9, 10, 11]
        assert sum(len(cache) for cache in caches) == 8
        for row, image in kept.items():
            np.testing.assert_array_equal(image, images[row])
    else:
        assert caches == [None] * size


def test_power_and_amplitude(tmp_path):
    """Against full transforms: a shell of the half plane holds half of the full plane's power."""
    particles = spoiled(tmp_path, background=50.0)
    statistics, _ = measure_images(deal(SerialComm(), particles, split_halves(particles, 1), None), 40.0, False)
    images = mrcfile.read(tmp_path / "g1.mrcs").astype(float)[[0, 1, 4, 6, 7, 9, 10, 11]]
    line = (np.arange(32) - 16) * 3.0
    outside = np.hypot(line[:, None], line) > 40.0
    images -= images[:, outside].mean(axis=1)[:, None, None]
    magnitude = np.abs(np.fft.fft2(images))
    k = np.fft.fftfreq(32, 1 / 32)
    radius = np.hypot(k[:, None], k)
    used = (radius < 16) & (np.abs(k)[:, None] < 16) & (np.abs(k) < 16)
    shell = np.rint(radius).astype(int)
    for s in range(17):
        here = magnitude[:, used & (shell == s)]
        partition = 0.5 if s else 1.0  # shell 0 is one sample, its own mate
        # Single-precision transforms: 6e-8 of the largest values in each of some 10 stages; sums in double.
        assert statistics.power[0, s] == pytest.approx(partition * np.square(here).sum(), rel=1e-5)
        assert statistics.amplitude[0, s] == pytest.approx(here.max(initial=0), rel=1e-5)


def test_measure_images_is_the_same_on_any_number_of_ranks(two_stacks):
    half = split_halves(two_stacks, 1)
    alone, _ = measure_images(deal(SerialComm(), two_stacks, half, None), 20.0, False)
    assert alone.power.shape == alone.amplitude.shape == (2, 11)
    np.testing.assert_array_equal(alone.count, [12, 12])
    for size in (2, 3, 5):
        for statistics, _ in run_ranks(
            size, lambda comm: measure_images(deal(comm, two_stacks, half, None), 20.0, False)
        ):
            for name in ("power", "count", "amplitude", "bad"):
                np.testing.assert_array_equal(getattr(statistics, name), getattr(alone, name))


def test_too_many_bad_images_are_refused(tmp_path, caplog):
    particles = spoiled(tmp_path)
    caplog.set_level(logging.WARNING)
    refuse_too_many_bad(particles, LeftOut(), 0.0)
    assert not caplog.records
    bad = LeftOut({"not_finite": np.array([2, 5]), "constant": np.array([3, 8])})
    refuse_too_many_bad(particles, bad, 4 / 12)
    assert "left out 4 images: 2 with NaN or infinite pixels, 2 with constant pixels (3@" in caplog.text
    for number in (3, 4, 6, 9):
        assert f"{number}@" in caplog.text
    with pytest.raises(InputError, match=r"4 of 12 images .*g1\.mrcs.* --max-bad-fraction"):
        refuse_too_many_bad(particles, bad, 0.33)
    with pytest.raises(InputError, match=r"12 of 12 images .* and 2 more"):
        refuse_too_many_bad(particles, LeftOut({"constant": np.arange(12)}), 1.0)


def test_particles_without_defocus(tmp_path, caplog):
    path = write_set(tmp_path, blobs(), 8)
    tables = starfile.read(path)
    tables["particles"].loc[[1, 6], ["rlnDefocusU", "rlnDefocusV"]] = 0.0
    starfile.write(tables, path, overwrite=True)
    caplog.set_level(logging.WARNING)
    np.testing.assert_array_equal(without_defocus(read_particles(path)), [1, 6])
    assert "left out 2 particles with a defocus of 0 or none" in caplog.text
