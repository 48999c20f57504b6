"""`reconstruct` gives the same maps on any number of ranks."""

import numpy as np
import pytest
from phantom import blobs, write_set

from pycryo.io.particles import read_particles
from pycryo.parallel.comm import SerialComm, world
from pycryo.refine.reconstruct import reconstruct


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("n", [2, 41])
def test_ranks_do_not_change_a_bit(tmp_path_factory, n):
    """Every rank writes and reads its own copy; of 2 particles a third rank gets none."""
    comm = world()
    assert comm.size > 1
    particles = read_particles(write_set(tmp_path_factory.mktemp(f"rank{comm.rank}"), blobs(), n, noise=2.0))
    for half_maps in (False, True):
        together = reconstruct(particles, half_maps=half_maps, comm=comm)
        alone = reconstruct(particles, half_maps=half_maps, comm=SerialComm())
        assert together.n == alone.n == n
        np.testing.assert_array_equal(together.map.data, alone.map.data)
        if half_maps:
            for one, other in zip(together.half_maps, alone.half_maps, strict=True):
                np.testing.assert_array_equal(one.data, other.data)
