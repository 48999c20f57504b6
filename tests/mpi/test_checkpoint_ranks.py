"""A refinement that one number of ranks began ends the same with another."""

import numpy as np
import pytest
from phantom import blobs, write_set

from pycryo.errors import RunError
from pycryo.io.particles import read_particles
from pycryo.maps import Map
from pycryo.parallel.comm import SerialComm, world
from pycryo.refine import RefineOptions, refine

OPTIONS = RefineOptions(max_iter=3, folds=2, threads=1)


def stop_in_third(setup, outcome, history):
    if outcome.record.number == 3:
        raise RunError("stopped")


@pytest.mark.parallel([2, 3])
def test_continued_with_other_ranks(tmp_path_factory):
    """Every rank has its own copy of the images; the checkpoint of all is rank 0's."""
    comm, alone = world(), SerialComm()
    particles = read_particles(write_set(tmp_path_factory.mktemp(f"rank{comm.rank}"), blobs(), 30, noise=2.0))
    reference = Map(blobs().volume(32, 3.0).astype(np.float32), 3.0)
    folders = [comm.broadcast(tmp_path_factory.mktemp(f"checkpoint{comm.rank}")) for _ in range(2)]
    expected = refine(particles, reference, OPTIONS, comm=alone)
    with pytest.raises(RunError, match="stopped"):
        refine(particles, reference, OPTIONS, comm=comm, observer=stop_in_third, checkpoint=folders[0])
    if comm.rank == 0:
        with pytest.raises(RunError, match="stopped"):
            refine(particles, reference, OPTIONS, comm=alone, observer=stop_in_third, checkpoint=folders[1])
        found = refine(particles, reference, OPTIONS, comm=alone, checkpoint=folders[0], resume=True)
        np.testing.assert_array_equal(found.map.data, expected.map.data)
    comm.broadcast(None)  # until the checkpoint of rank 0 alone is there
    found = refine(particles, reference, OPTIONS, comm=comm, checkpoint=folders[1], resume=True)
    assert (found.map is None) == (comm.rank > 0)
    if found.map is not None:
        np.testing.assert_array_equal(found.map.data, expected.map.data)
        np.testing.assert_array_equal(found.poses.quaternion, expected.poses.quaternion)
    assert [record.number for record in found.history] == [1, 2, 3]
