"""A refinement that one number of ranks began ends the same with another."""

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from moving import hurry
from phantom import blobs, write_set

from pycryo import RefineOptions, refine
from pycryo.errors import InputError, RunError
from pycryo.io.particles import read_particles
from pycryo.maps.density import Map
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.world import world
from pycryo.refinement import parts
from pycryo.refinement.files.saved.checkpoint import load, save
from pycryo.refinement.start.first_setup import set_up
from pycryo.refinement.start.first_state import first_state
from pycryo.refinement.step import iterate

OPTIONS = RefineOptions(max_iter=3, threads=1)


def stop_in_third(setup, outcome, history):
    if outcome.record.number == 3:
        raise RunError("stopped")


@pytest.mark.parallel(3)
def test_continued_with_other_ranks(folder):
    comm, alone = world(), SerialComm()
    particles = read_particles(on_root(comm, lambda: write_set(folder, blobs(), 30, noise=2.0)))
    reference = Map(blobs().volume(32, 3.0).astype(np.float32), 3.0)
    expected = on_root(comm, lambda: refine(particles, reference, OPTIONS, comm=alone))

    def stopped(some_comm, checkpoint):
        with pytest.raises(RunError, match="stopped"):
            refine(particles, reference, OPTIONS, comm=some_comm, observer=stop_in_third, checkpoint=checkpoint)

    stopped(comm, folder / "many")
    on_root(comm, lambda: stopped(alone, folder / "one"))

    def continued(some_comm, checkpoint):
        found = refine(particles, reference, OPTIONS, comm=some_comm, checkpoint=checkpoint, resume=True)
        assert [record.number for record in found.history] == [1, 2, 3]
        assert (found.map is None) == (some_comm.rank > 0)
        if found.map is not None:
            np.testing.assert_array_equal(found.map.data, expected.map.data)
            np.testing.assert_array_equal(found.poses.quaternion, expected.poses.quaternion)

    on_root(comm, lambda: continued(alone, folder / "many"))
    continued(comm, folder / "one")


@pytest.mark.parallel(3)
def test_defoci_go_on_with_other_ranks(folder, monkeypatch):
    """A checkpoint after a search of the defocus, from three ranks to one."""
    hurry(monkeypatch)
    comm, alone = world(), SerialComm()
    particles = read_particles(on_root(comm, lambda: write_set(folder, blobs(), 30, noise=2.0)))
    reference = Map(blobs().volume(32, 3.0).astype(np.float32), 3.0)

    def searched(some_comm, checkpoint):
        setup, start = set_up(some_comm, particles, reference, None, OPTIONS)
        state = iterate(setup, first_state(setup, start)).state
        state = replace(state, schedule=replace(state.schedule, stage="defocus"))
        outcome = iterate(setup, state)
        save(setup, outcome.state, [outcome.record], checkpoint)
        return iterate(setup, outcome.state).poses

    def continued():
        setup, _ = set_up(alone, particles, reference, None, OPTIONS)
        return iterate(setup, load(setup, folder / "many")[0]).poses

    poses = searched(comm, folder / "many")
    if comm.rank == 0:
        for found in (searched(alone, folder / "one"), continued()):
            assert found.defocus_change.any()
            np.testing.assert_array_equal(found.defocus_change, poses.defocus_change)
            np.testing.assert_array_equal(found.quaternion, poses.quaternion)


@pytest.mark.parallel(3)
def test_parts_go_on_with_other_ranks(folder, monkeypatch):
    """Checkpoints after an iteration on a part of the images, and after that in which it has grown to all."""
    monkeypatch.setattr(parts, "FIRST_PART", 5)
    comm, alone = world(), SerialComm()
    particles = read_particles(on_root(comm, lambda: write_set(folder, blobs(), 40, noise=0.5)))
    reference = Map(blobs().volume(32, 3.0).astype(np.float32), 3.0)
    options = RefineOptions(ini_high=30.0, max_iter=4, threads=1)

    def stopped(some_comm, number):
        def stop(setup, outcome, history):
            if outcome.record.number == number:
                raise RunError("stopped")

        with pytest.raises(RunError, match="stopped"):
            refine(particles, reference, options, comm=some_comm, observer=stop, checkpoint=folder / "part")

    expected = on_root(comm, lambda: refine(particles, reference, options, comm=alone))
    compared = [sum(record.load.particles) for record in expected.history]
    assert compared[:2] == [10, 10]
    assert compared[-1] == 40

    def continued(some_comm):
        found = refine(particles, reference, options, comm=some_comm, checkpoint=folder / "part", resume=True)
        if found.map is not None:
            assert [record.decision for record in found.history] == [record.decision for record in expected.history]
            np.testing.assert_array_equal(found.map.data, expected.map.data)
            np.testing.assert_array_equal(found.poses.quaternion, expected.poses.quaternion)

    for number in (2, 3, 4):
        stopped(comm, number)
        on_root(comm, partial(continued, alone))
        on_root(comm, partial(stopped, alone, number))
        continued(comm)


@pytest.mark.parallel(2)
def test_errors_are_of_all_ranks(folder):
    comm = world()
    particles = read_particles(on_root(comm, lambda: write_set(folder, blobs(), 30, noise=2.0)))
    reference = Map(blobs().volume(32, 3.0).astype(np.float32), 3.0)

    def attempt(options=OPTIONS):
        refine(particles, reference, options, comm=comm, observer=stop_in_third, checkpoint=folder / "c", resume=True)

    with pytest.raises(InputError, match="no checkpoint"):
        attempt()
    with pytest.raises(RunError, match="stopped"):
        refine(particles, reference, OPTIONS, comm=comm, observer=stop_in_third, checkpoint=folder / "c")
    with pytest.raises(InputError, match=r"seed \(was 1, is 7\)"):
        attempt(replace(OPTIONS, seed=7))
    path = folder / "c" / "state.h5"
    on_root(comm, lambda: path.write_bytes(path.read_bytes()[:3000]))
    with pytest.raises(InputError, match="cannot be read"):
        attempt()
    on_root(comm, lambda: shutil.rmtree(folder / "c"))
    on_root(comm, lambda: (folder / "c").write_text("a file"))
    with pytest.raises(InputError, match="a file has this name"):
        refine(particles, reference, OPTIONS, comm=comm, checkpoint=folder / "c")
