"""Sums of F and T over rotations of the grid against insertion at all symmetry mates."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from octahedral import octahedral
from scipy.spatial.transform import Rotation
from thread_comm import run_ranks

from pycryo.geometry.symmetry import symmetry
from pycryo.kernels.backprojector import fold_hermitian, insert, quantum_for
from pycryo.kernels.entries import Entries
from pycryo.kernels.pixels import half_plane
from pycryo.model import insertion as insertion_module
from pycryo.model.insertion import Frame, Insertion
from pycryo.model.owners import MODELS, all_own, halves_own
from pycryo.model.symmetrise import choose_mates, symmetrise
from pycryo.parallel.comm import SerialComm

N_IMAGE = 4
GROUPS = ["C1", "C2", "C3", "C4", "C8", "D2", "D3", "D4", "D6", "O"]
# Padded radii 17 and 20; odd and even boxes.
FRAMES = [Frame(20, 2, 8.0, (quantum_for(1e5),) * 2), Frame(21, 2, 9.2, (quantum_for(1e5),) * 2)]
SUMS = ("re", "im", "weight")


def group_of(name):
    return octahedral() if name == "O" else symmetry(name)


def chosen(group, frame, n_sample):
    return choose_mates(SerialComm(), group, frame.sphere, n_sample, 1)


def few_mates(group, frame):
    """What is chosen for very many images."""
    return chosen(group, frame, 1e12)


def entries(frame, mates, images=slice(None)):
    """Some of a few noise images at random poses, at the poses of their mates."""
    rng = np.random.default_rng(3)
    pixels = half_plane(frame.box, frame.r_high)
    values = rng.standard_normal((N_IMAGE, 2, len(pixels))).astype(np.float32)
    weights = rng.random((N_IMAGE, len(pixels))).astype(np.float32)
    poses, shifts = Rotation.random(N_IMAGE, rng=rng).as_matrix(), rng.standard_normal((N_IMAGE, 2))
    turns = Rotation.from_quat(np.roll(mates.poses, -1, axis=1)).as_matrix()
    rotations, n = poses[images, None] @ turns, len(poses[images])
    return Entries(
        values[images],
        weights[images],
        np.repeat(np.arange(n), len(turns)),
        rotations.reshape(-1, 3, 3),
        np.repeat(shifts[images], len(turns), axis=0),
        np.ones(n * len(turns)),
        pixels.kx,
        pixels.ky,
        1.0,
    )


def inserted(frame, mates):
    """Folded sums of the images at the poses of their mates, by one process."""
    sums = frame.accumulators(None)
    insert(sums, entries(frame, mates), quantum=frame.quantum)
    fold_hermitian(sums)
    return sums


def symmetric(frame, mates):
    """The same, summed over the rotations of the grid."""
    sums = inserted(frame, mates)
    symmetrise(sums, all_own(SerialComm(), "slab"), mates.rotations)
    return sums


@pytest.mark.parametrize("frame", FRAMES, ids=["even", "odd"])
@pytest.mark.parametrize("name", GROUPS)
def test_sums_are_those_of_all_mates(name, frame):
    group = group_of(name)
    mates = few_mates(group, frame)
    assert len(mates.poses) * len(mates.rotations) == len(group)
    everything = chosen(group, frame, 0)
    assert (len(everything.poses), len(everything.rotations)) == (len(group), 1)
    expected, found = inserted(frame, everything), symmetric(frame, mates)
    # Positions of mates are rounded in another way, by 1e-15 · r: so each of a slice's at most 2 · 8 contributions to a
    # voxel can be rounded to the next multiple of the quantum.
    atol = 16 * N_IMAGE * len(group) * frame.quantum[0]
    for part in SUMS:
        assert np.abs(getattr(expected, part)).max() > 1
        np.testing.assert_allclose(getattr(found, part), getattr(expected, part), rtol=0, atol=atol)


def test_sums_are_symmetric_to_the_last_bit():
    """Once more is a product with the order of the group."""
    group, frame = octahedral(), FRAMES[1]
    mates = few_mates(group, frame)
    once, twice = symmetric(frame, mates), symmetric(frame, mates)
    symmetrise(twice, all_own(SerialComm(), "slab"), mates.rotations)
    for part in SUMS:
        np.testing.assert_array_equal(getattr(twice, part), 24 * getattr(once, part))


@pytest.mark.parametrize("block", [1, 1 << 30])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_ranks_and_models_do_not_change_a_bit(monkeypatch, size, model, block):
    """Slabs travel in one block or in many."""
    monkeypatch.setattr(insertion_module, "_LEAST_BLOCK", block)
    frame = FRAMES[0]
    for name in ("D2", "C4", "O"):
        mates = few_mates(group_of(name), frame)

        def work(comm, mates=mates):
            owners = all_own(comm, model)
            one = Insertion(comm, owners, frame)
            for image in range(comm.rank, N_IMAGE, comm.size):
                one.add(entries(frame, mates, slice(image, image + 1)))
            sums = one.result()
            symmetrise(sums, owners, mates.rotations)
            return sums

        expected = symmetric(frame, mates)
        for found in run_ranks(size, work):
            first, last = expected.sphere.voxels(found.first, found.last)
            for part in SUMS:
                np.testing.assert_array_equal(getattr(found, part), getattr(expected, part)[first:last])


def test_halves_on_disjoint_ranks():
    frame = FRAMES[0]
    mates = few_mates(symmetry("D4"), frame)

    def work(comm):
        found = []
        for owners in halves_own(comm, "slab"):
            one = Insertion(comm, owners, frame)
            if comm.rank == 0:
                one.add(entries(frame, mates))
            sums = one.result()
            if sums is not None:
                symmetrise(sums, owners, mates.rotations)
                found.append(sums)
        return found

    expected = symmetric(frame, mates)
    results = run_ranks(5, work)
    assert [len(found) for found in results] == [1] * 5
    for (found,) in results:
        first, last = expected.sphere.voxels(found.first, found.last)
        for part in SUMS:
            np.testing.assert_array_equal(getattr(found, part), getattr(expected, part)[first:last])


def test_the_choice_is_a_line_of_rank_0(caplog):
    """Few images are inserted at all mates, many at some; without a rotation of the grid there is no choice."""
    caplog.set_level(logging.DEBUG)
    frame = FRAMES[0]

    def lines(name, n_sample):
        caplog.clear()
        run_ranks(2, lambda comm: choose_mates(comm, symmetry(name), frame.sphere, n_sample, 2))
        return [record.message for record in caplog.records]

    assert lines("C3", 1e12) == []
    (few,), (many,) = lines("D6", 10), lines("D6", 1e9)
    assert few.startswith("symmetry D6: 12 of 12 mates are inserted; the others would take ")
    assert many.startswith("symmetry D6: 3 of 12 mates are inserted; the others would take ")
    assert "sums over the grid's 4 rotations" in many
