"""Half-sets, and the partition of the particles over the ranks."""

from __future__ import annotations

from dataclasses import replace

import mrcfile
import numpy as np
import pytest
from phantom import blobs, write_set
from thread_comm import run_ranks

from pycryo.errors import InputError
from pycryo.io.particles import read_particles
from pycryo.model.owners import owner_ranks
from pycryo.parallel.comm import SerialComm
from pycryo.refinement.data.halves import split_halves
from pycryo.refinement.data.image_statistics import measure_images
from pycryo.refinement.data.partition import deal, geometry_of, refuse_empty_halves


@pytest.fixture(scope="module")
def two_stacks(tmp_path_factory):
    """24 particles in two optics groups: 16 px of 3 Å and 20 px of 2.5 Å."""
    folder = tmp_path_factory.mktemp("two")
    return read_particles(write_set(folder, blobs(), 24, geometries=((16, 3.0), (20, 2.5)), noise=3.0))


def drawn(particles, n):
    """n particles whose file tells no half-sets."""
    return replace(particles.subset(np.arange(n)), random_subset=np.zeros(n, np.int32))


# --- dealing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("n", range(1, 8))
@pytest.mark.parametrize("unusable", [(), (0,), (2, 3)])
def test_every_usable_particle_is_dealt_once(two_stacks, size, n, unusable):
    particles = drawn(two_stacks, n)
    half = split_halves(particles, 1)
    half[[row for row in unusable if row < n]] = -1
    partitions = run_ranks(size, lambda comm: deal(comm, particles, half, None))
    rows = np.concatenate([partition.rows for partition in partitions])
    np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(half >= 0))
    # Half 1 first, on consecutive ranks; no rank has two particles more than another.
    assert (np.diff(half[rows]) >= 0).all()
    lengths = [len(partition.rows) for partition in partitions]
    assert max(lengths) - min(lengths) <= 1
    for rank, partition in enumerate(partitions):
        np.testing.assert_array_equal(np.concatenate([partition.rows_of(h) for h in (0, 1)]), partition.rows)
        for h in (0, 1):
            assert partition.count(h) == np.count_nonzero(half == h)
            assert partition.holds(h) == (rank in partition.half_ranks[h])
            assert partition.holds(h) or not len(partition.rows_of(h))
    for h in (0, 1):
        members = [rank for rank, partition in enumerate(partitions) if partition.holds(h)]
        comms = [partition.half_comm[h] for partition in partitions if partition.holds(h)]
        assert [comm.rank for comm in comms] == list(range(len(members)))
        assert {comm.size for comm in comms} == {len(members)}
        assert members == list(partitions[0].half_ranks[h])
        assert set(owner_ranks(size)[h]) <= set(members)


@pytest.mark.parametrize("bounds", [(0, 0, 24, 24), (0, 5, 6, 24), (0, 12, 12, 24), (0, 20, 24, 24)])
def test_pieces_may_be_given(two_stacks, bounds):
    half = split_halves(two_stacks, 1)
    order = deal(SerialComm(), two_stacks, half, None).rows
    given = np.array(bounds)
    partitions = run_ranks(3, lambda comm: deal(comm, two_stacks, half, None, given))
    for rank, partition in enumerate(partitions):
        np.testing.assert_array_equal(partition.rows, order[bounds[rank] : bounds[rank + 1]])
        np.testing.assert_array_equal(partition.bounds, given)
        owned = [rank in ranks for ranks in owner_ranks(3)]
        held = [len(partition.rows_of(h)) > 0 or owned[h] for h in (0, 1)]
        assert [partition.holds(h) for h in (0, 1)] == held


def test_images_that_are_not_in_memory_are_read(two_stacks):
    half = split_halves(two_stacks, 1)
    bare = deal(SerialComm(), two_stacks, half, None)
    whole = measure_images(bare, 20.0, True)[1]
    assert all(image.base is None for image in whole.values())
    some = {row: image for row, image in whole.items() if row % 3}
    found = run_ranks(2, lambda comm: deal(comm, two_stacks, half, dict(some)))
    assert [sorted(partition.cache) for partition in found] == [sorted(partition.rows.tolist()) for partition in found]
    for partition in found:
        for row, image in partition.cache.items():
            np.testing.assert_array_equal(image, whole[row])
            assert row not in some or image is some[row]


def test_shares_follow_the_files(two_stacks):
    shuffled = two_stacks.subset(np.random.default_rng(1).permutation(24))
    partition = deal(SerialComm(), shuffled, split_halves(shuffled, 1), None)
    for h in (0, 1):
        rows = partition.rows_of(h)
        place = np.stack([shuffled.stack[rows], shuffled.image_index[rows]], axis=1).tolist()
        assert place == sorted(place)


@pytest.mark.parametrize("cached", [False, True])
def test_batches_bring_every_image_once(two_stacks, cached):
    half = split_halves(two_stacks, 1)
    bare = deal(SerialComm(), two_stacks, half, None)
    partition = deal(SerialComm(), two_stacks, half, measure_images(bare, 20.0, True)[1]) if cached else bare
    stacks = [mrcfile.read(path) for path in two_stacks.stacks]
    for h in (0, 1):
        seen = []
        for batch in partition.batches(partition.rows_of(h)):
            assert len(np.unique(geometry_of(two_stacks)[batch.rows])) == 1
            for row, image in zip(batch.rows, batch.images, strict=True):
                np.testing.assert_array_equal(image, stacks[two_stacks.stack[row]][two_stacks.image_index[row]])
            seen += batch.rows.tolist()
        assert sorted(seen) == sorted(partition.rows_of(h).tolist())


@pytest.mark.parametrize("cached", [False, True])
def test_batches_hold_one_geometry_where_boxes_are_equal(tmp_path, cached):
    """The kernels get one pixel size per batch."""
    particles = read_particles(write_set(tmp_path, blobs(), 12, geometries=((16, 3.0), (16, 2.5)), noise=3.0))
    half = split_halves(particles, 1)
    partition = deal(SerialComm(), particles, half, None)
    if cached:
        partition = deal(SerialComm(), particles, half, measure_images(partition, 20.0, True)[1])
    for h in (0, 1):
        seen = []
        for batch in partition.batches(partition.rows_of(h)):
            assert len(np.unique(particles.pixel_size[batch.rows])) == 1
            seen += batch.rows.tolist()
        assert sorted(seen) == sorted(partition.rows_of(h).tolist())


def test_both_halves_are_needed(two_stacks):
    half = np.array([0, 0, 1, 1], np.int8)
    particles = two_stacks.subset(np.arange(4))
    refuse_empty_halves(deal(SerialComm(), particles, half, None))
    half[2:] = -1
    with pytest.raises(InputError, match=r"particles\.star: the half-sets hold 2 and 0 usable particles, each needs"):
        refuse_empty_halves(deal(SerialComm(), particles, half, None))
