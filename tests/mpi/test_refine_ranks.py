"""A refinement gives the same poses and maps on any number of ranks."""

import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from moving import hurry
from scene import lump, scene

from pycryo import RefineOptions, refine
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.world import world

# How the ranks share slices, by their number; 40 kB hold the images of a search one by one.
SHARING = {
    2: {},
    3: {"slices": "conveyor", "memory": 40e3 / 2**30},
    4: {"slices": "allgather"},
    5: {"slices": "conveyor", "ring_size": 2},
    8: {"slices": "conveyor"},
}


@pytest.mark.parallel([2, 3, 4])
def test_ranks_do_not_change_a_bit(monkeypatch):
    """33 images, so that shares are uneven and one rank holds images of both halves; all stages."""
    hurry(monkeypatch)
    comm = world()
    assert comm.size > 1
    with tempfile.TemporaryDirectory() as folder:
        particles, _, start = scene(Path(folder), lump(), 33, snr=0.8, geometries=((20, 5.0), (24, 4.5)))
        options = RefineOptions(ini_high=30.0, threads=1, stages="global,local,defocus")
        together = refine(particles, start, replace(options, **SHARING[comm.size]), comm=comm)
        alone = refine(particles, start, options, comm=SerialComm()) if comm.rank == 0 else None
    if comm.rank == 0:
        assert_same(together, alone)
        check_loads(together.history, comm.size)
    else:
        # Maps and poses are on rank 0, what all need to know is everywhere.
        assert (together.map, together.half_maps, together.poses) == (None, None, None)
    for value in ((together.resolution, together.fsc.corrected.tolist()), [each.decision for each in together.history]):
        assert comm.all_gather(value) == [value] * comm.size
    if comm.size > 2:
        check_fewer_images_than_ranks(comm)
    if comm.size == 3:
        check_local_start(comm)


@pytest.mark.parallel([2, 3])
def test_ranks_do_not_change_a_bit_of_classes():
    """The deal of the first iteration, shared references, and a local iteration in which images may change class."""
    comm = world()
    with tempfile.TemporaryDirectory() as folder:
        particles, _, start = scene(Path(folder), lump(), 25, snr=0.8, geometries=((20, 5.0), (24, 4.5)))
        options = RefineOptions(ini_high=30.0, threads=1, classes=2, max_iter=4)
        together = refine(particles, start, options, comm=comm)
        alone = refine(particles, start, options, comm=SerialComm()) if comm.rank == 0 else None
    if comm.rank == 0:
        for one, other in zip(together.classes, alone.classes, strict=True):
            np.testing.assert_array_equal(one.map.data, other.map.data)
            assert one.share == other.share
        np.testing.assert_array_equal(together.poses.class_index, alone.poses.class_index)
        assert [each.decision for each in together.history] == [each.decision for each in alone.history]


@pytest.mark.parallel([2, 3])
def test_ranks_do_not_change_a_bit_of_aberrated_images(monkeypatch):
    """Two optics groups that differ in magnification, tilt and symmetric aberrations only; then one was multiplied."""
    hurry(monkeypatch)
    comm = world()
    with tempfile.TemporaryDirectory() as folder:
        particles, _, start = scene(Path(folder), lump(), 21, snr=0.8, geometries=((20, 5.0), (20, 5.0)))
        optics = replace(
            particles.optics,
            beam_tilt=np.array([[0.5, -1.0], [2.0, 0.0]]),
            odd_zernike=((), (0.0, 0.0, 30.0)),
            even_zernike=((0.3, 5.0), ()),
            magnification=np.array([[[1.02, 0.01], [-0.01, 0.99]], [[0.98, 0.0], [0.005, 1.01]]]),
        )
        particles = replace(particles, optics=optics)
        options = RefineOptions(ini_high=30.0, threads=1, stages="global,local,defocus")
        together = refine(particles, start, replace(options, **SHARING[comm.size]), comm=comm)
        alone = refine(particles, start, options, comm=SerialComm()) if comm.rank == 0 else None
        if comm.rank == 0:
            assert_same(together, alone)
        multiplied = replace(particles, optics=replace(optics, is_premultiplied=np.array([False, True])))
        options = replace(options, stages="global", max_iter=2)
        together = refine(multiplied, start, options, comm=comm)
        if comm.rank == 0:
            alone = refine(multiplied, start, options, comm=SerialComm())
            np.testing.assert_array_equal(together.map.data, alone.map.data)
            np.testing.assert_array_equal(together.poses.quaternion, alone.poses.quaternion)


@pytest.mark.slow
@pytest.mark.parallel([5, 8])
def test_many_ranks_do_not_change_a_bit(monkeypatch):
    test_ranks_do_not_change_a_bit(monkeypatch)


def assert_same(together, alone):
    assert {record.stage for record in alone.history} == {"global", "local", "defocus", "final"}
    assert alone.poses.defocus_change.any()
    np.testing.assert_array_equal(together.map.data, alone.map.data)
    for one, other in zip(together.half_maps, alone.half_maps, strict=True):
        np.testing.assert_array_equal(one.data, other.data)
    for field in fields(alone.poses):
        np.testing.assert_array_equal(getattr(together.poses, field.name), getattr(alone.poses, field.name))
    assert [each.decision for each in together.history] == [each.decision for each in alone.history]


def check_loads(history, size):
    """The figures of the ranks: complete, and those of the way asked for."""
    for record in history:
        load, wanted = record.load, SHARING[size]
        for name in ("particles", "busy", "fixed", "idle", "exposed", "made", "n_byte"):
            assert len(getattr(load, name)) == size
        assert sum(load.particles) == 33
        if record.n_slices_scan == 0:
            assert (load.way, sum(load.made)) == ("", 0)
        elif "slices" in wanted:
            assert load.way == wanted["slices"]
            assert load.ring_size <= wanted.get("ring_size", size)
            assert (sum(load.n_byte) > 0) == (load.hidden is not None)
            assert 0 <= (load.hidden or 0) <= 1
        assert record.scores_scan <= record.scores_scan_all


def check_fewer_images_than_ranks(comm):
    """One image in each half; the ranks in the middle hold none."""
    with tempfile.TemporaryDirectory() as folder:
        particles, _, start = scene(Path(folder), lump(), 2, snr=0.8, geometries=((20, 5.0),))
        options = RefineOptions(ini_high=30.0, max_iter=3, threads=1)
        together = refine(particles, start, options, comm=comm)
        if comm.rank == 0:
            alone = refine(particles, start, options, comm=SerialComm())
            np.testing.assert_array_equal(together.poses.quaternion, alone.poses.quaternion)
            np.testing.assert_array_equal(together.map.data, alone.map.data)
            assert np.isfinite(together.map.data).all()


def check_local_start(comm):
    """From the poses in the file, with and without a reference; the first with priors."""
    with tempfile.TemporaryDirectory() as folder:
        particles, _, start = scene(Path(folder), lump(), 13, snr=0.8, geometries=((20, 5.0),))
        options = RefineOptions(local=True, max_iter=2, threads=1)
        for reference, each in ((start, replace(options, ini_high=30.0, sigma_ang=2.0)), (None, options)):
            together = refine(particles, reference, each, comm=comm)
            if comm.rank == 0:
                alone = refine(particles, reference, each, comm=SerialComm())
                np.testing.assert_array_equal(together.poses.quaternion, alone.poses.quaternion)
                np.testing.assert_array_equal(together.map.data, alone.map.data)
