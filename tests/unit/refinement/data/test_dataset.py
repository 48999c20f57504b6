"""Half-sets, shares of the ranks, the first look at all images, and sums that no order can change."""

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
from pycryo.model.owners import owner_ranks
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data.dataset import (
    deal,
    first_look,
    geometry_of,
    group_sums,
    refuse_too_many_bad,
    split_halves,
    without_defocus,
)


@pytest.fixture(scope="module")
def two_stacks(tmp_path_factory):
    """24 particles in two optics groups: 16 px of 3 Å and 20 px of 2.5 Å."""
    folder = tmp_path_factory.mktemp("two")
    return read_particles(write_set(folder, blobs(), 24, geometries=((16, 3.0), (20, 2.5)), noise=3.0))


def drawn(particles, n):
    """n particles whose file tells no half-sets."""
    return replace(particles.subset(np.arange(n)), random_subset=np.zeros(n, np.int32))


# --- half-sets --------------------------------------------------------------------------------------------------------


def test_half_sets_of_the_file_are_kept(two_stacks):
    assert set(np.unique(two_stacks.random_subset)) == {1, 2}
    for seed in (0, 7):
        np.testing.assert_array_equal(split_halves(two_stacks, seed), two_stacks.random_subset - 1)


@pytest.mark.parametrize("given_subset", [0, 1, 2])
def test_half_sets_are_drawn_where_the_file_tells_less_than_two(two_stacks, given_subset):
    particles = replace(two_stacks, random_subset=np.full(24, given_subset, np.int32))
    half = split_halves(particles, 3)
    assert sorted(half.tolist()) == [0] * 12 + [1] * 12


@pytest.mark.parametrize("n", range(8))
def test_drawn_half_sets_are_balanced_and_depend_on_the_seed(two_stacks, n):
    particles = drawn(two_stacks, n)
    halves = [split_halves(particles, seed) for seed in range(40)]
    for half in halves:
        assert half.shape == (n,)
        assert np.count_nonzero(half == 0) == (n + 1) // 2
        assert np.count_nonzero(half == 1) == n // 2
    np.testing.assert_array_equal(split_halves(particles, 5), halves[5])
    if n > 1:
        # Every particle is in either half for some of 40 seeds: all but never by chance (2^-39).
        assert all(set(column) == {0, 1} for column in np.transpose(halves).tolist())


# --- dealing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("unusable", [(), (0,), (2, 3)])
def test_every_usable_particle_is_dealt_once(two_stacks, size, n, unusable):
    particles = drawn(two_stacks, n)
    half = split_halves(particles, 1)
    half[[row for row in unusable if row < n]] = -1
    shares = run_ranks(size, lambda comm: deal(comm, particles, half, None))
    rows = np.concatenate([share.rows for share in shares])
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(half >= 0))
    # Half 1 first, on consecutive ranks; no rank has two particles more than another.
    assert (np.diff(half[rows]) >= 0).all()
    lengths = [len(share.rows) for share in shares]
    assert max(lengths) - min(lengths) <= 1
    for rank, share in enumerate(shares):
        np.testing.assert_array_equal(np.concatenate([share.rows_of(h) for h in (0, 1)]), share.rows)
        for h in (0, 1):
            assert share.count(h) == np.count_nonzero(half == h)
            assert share.holds(h) == (rank in share.half_ranks[h])
            assert share.holds(h) or not len(share.rows_of(h))
    for h in (0, 1):
        members = [rank for rank, share in enumerate(shares) if share.holds(h)]
        comms = [share.half_comm[h] for share in shares if share.holds(h)]
        assert [comm.rank for comm in comms] == list(range(len(members)))
        assert {comm.size for comm in comms} == {len(members)}
        assert members == list(shares[0].half_ranks[h])
        assert set(owner_ranks(size)[h]) <= set(members)


@pytest.mark.parametrize("bounds", [(0, 0, 24, 24), (0, 5, 6, 24), (0, 12, 12, 24), (0, 20, 24, 24)])
def test_pieces_may_be_given(two_stacks, bounds):
    half = split_halves(two_stacks, 1)
    order = deal(SerialComm(), two_stacks, half, None).rows
    given = np.array(bounds)
    shares = run_ranks(3, lambda comm: deal(comm, two_stacks, half, None, given))
    for rank, share in enumerate(shares):
        np.testing.assert_array_equal(share.rows, order[bounds[rank] : bounds[rank + 1]])
        np.testing.assert_array_equal(share.bounds, given)
        owned = [rank in ranks for ranks in owner_ranks(3)]
        held = [len(share.rows_of(h)) > 0 or owned[h] for h in (0, 1)]
        assert [share.holds(h) for h in (0, 1)] == held


def test_images_that_are_not_in_memory_are_read(two_stacks):
    half = split_halves(two_stacks, 1)
    bare = deal(SerialComm(), two_stacks, half, None)
    whole = first_look(bare, 20.0, True)[1]
    assert all(image.base is None for image in whole.values())
    some = {row: image for row, image in whole.items() if row % 3}
    found = run_ranks(2, lambda comm: deal(comm, two_stacks, half, dict(some)))
    assert [sorted(share.cache) for share in found] == [sorted(share.rows.tolist()) for share in found]
    for share in found:
        for row, image in share.cache.items():
            np.testing.assert_array_equal(image, whole[row])
            assert row not in some or image is some[row]


def test_shares_follow_the_files(two_stacks):
    shuffled = two_stacks.subset(np.random.default_rng(1).permutation(24))
    share = deal(SerialComm(), shuffled, split_halves(shuffled, 1), None)
    for h in (0, 1):
        rows = share.rows_of(h)
        place = np.stack([shuffled.stack[rows], shuffled.image_index[rows]], axis=1).tolist()
        assert place == sorted(place)


@pytest.mark.parametrize("cached", [False, True])
def test_batches_bring_every_image_once(two_stacks, cached):
    half = split_halves(two_stacks, 1)
    bare = deal(SerialComm(), two_stacks, half, None)
    share = deal(SerialComm(), two_stacks, half, first_look(bare, 20.0, True)[1]) if cached else bare
    stacks = [mrcfile.read(path) for path in two_stacks.stacks]
    for h in (0, 1):
        seen = []
        for batch in share.batches(share.rows_of(h)):
            assert len(np.unique(geometry_of(two_stacks)[batch.rows])) == 1
            for row, image in zip(batch.rows, batch.images, strict=True):
                np.testing.assert_array_equal(image, stacks[two_stacks.stack[row]][two_stacks.image_index[row]])
            seen += batch.rows.tolist()
        assert sorted(seen) == sorted(share.rows_of(h).tolist())


@pytest.mark.parametrize("cached", [False, True])
def test_batches_hold_one_geometry_where_boxes_are_equal(tmp_path, cached):
    """The kernels get one pixel size per batch."""
    particles = read_particles(write_set(tmp_path, blobs(), 12, geometries=((16, 3.0), (16, 2.5)), noise=3.0))
    half = split_halves(particles, 1)
    share = deal(SerialComm(), particles, half, None)
    if cached:
        share = deal(SerialComm(), particles, half, first_look(share, 20.0, True)[1])
    for h in (0, 1):
        seen = []
        for batch in share.batches(share.rows_of(h)):
            assert len(np.unique(particles.pixel_size[batch.rows])) == 1
            seen += batch.rows.tolist()
        assert sorted(seen) == sorted(share.rows_of(h).tolist())


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


# --- the first look ---------------------------------------------------------------------------------------------------


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

    def look(comm):
        return first_look(deal(comm, particles, split_halves(particles, 1), None), 40.0, keep)

    found = run_ranks(size, look)
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
    look, _ = first_look(deal(SerialComm(), particles, split_halves(particles, 1), None), 40.0, False)
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
        share = 0.5 if s else 1.0  # shell 0 is one sample, its own mate
        # Single-precision transforms: 6e-8 of the largest values in each of some 10 stages; sums in double.
        assert look.power[0, s] == pytest.approx(share * np.square(here).sum(), rel=1e-5)
        assert look.amplitude[0, s] == pytest.approx(here.max(initial=0), rel=1e-5)


def test_first_look_is_the_same_on_any_number_of_ranks(two_stacks):
    half = split_halves(two_stacks, 1)
    alone, _ = first_look(deal(SerialComm(), two_stacks, half, None), 20.0, False)
    assert alone.power.shape == alone.amplitude.shape == (2, 11)
    np.testing.assert_array_equal(alone.count, [12, 12])
    for size in (2, 3, 5):
        for look, _ in run_ranks(size, lambda comm: first_look(deal(comm, two_stacks, half, None), 20.0, False)):
            for name in ("power", "count", "amplitude", "bad"):
                np.testing.assert_array_equal(getattr(look, name), getattr(alone, name))


def test_too_many_bad_images_are_refused(tmp_path, caplog):
    particles = spoiled(tmp_path)
    caplog.set_level(logging.WARNING)
    refuse_too_many_bad(particles, np.empty(0, np.int64), 0.0)
    assert not caplog.records
    bad = np.array([2, 3, 5, 8])
    refuse_too_many_bad(particles, bad, 4 / 12)
    assert "left out 4 images" in caplog.text
    for number in (3, 4, 6, 9):
        assert f"{number}@" in caplog.text
    with pytest.raises(InputError, match=r"4 of 12 images .*g1\.mrcs.* --max-bad-fraction"):
        refuse_too_many_bad(particles, bad, 0.33)
    with pytest.raises(InputError, match=r"12 of 12 images .* and 2 more"):
        refuse_too_many_bad(particles, np.arange(12), 1.0)


def test_particles_without_defocus(tmp_path, caplog):
    path = write_set(tmp_path, blobs(), 8)
    tables = starfile.read(path)
    tables["particles"].loc[[1, 6], ["rlnDefocusU", "rlnDefocusV"]] = 0.0
    starfile.write(tables, path, overwrite=True)
    caplog.set_level(logging.WARNING)
    np.testing.assert_array_equal(without_defocus(read_particles(path)), [1, 6])
    assert "left out 2 particles with a defocus of 0 or none" in caplog.text
