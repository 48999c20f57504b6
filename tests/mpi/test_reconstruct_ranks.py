"""`reconstruct` gives the same maps on any number of ranks."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from phantom import blobs, write_set

from pycryo.io.particles import read_particles
from pycryo.model import symmetrise
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.world import world
from pycryo.refinement.reconstruct import reconstruct


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize(
    "n, symmetry, ewald", [(2, "C1", False), (41, "C1", False), (41, "D2", False), (41, "C1", True), (41, "D2", True)]
)
def test_ranks_do_not_change_a_bit(monkeypatch, n, symmetry, ewald):
    """Every rank has its own folder (pytest's would be cleaned up by all at once); of 2 particles a third gets none."""
    comm = world()
    assert comm.size > 1
    monkeypatch.setattr(symmetrise, "_SAMPLE", 1.0)  # s: F and T are summed over D2, although the images are few
    with tempfile.TemporaryDirectory() as folder:
        compare(comm, read_particles(write_set(Path(folder), blobs(), n, noise=2.0)), symmetry, ewald)


def compare(comm, particles, symmetry, ewald):
    """Maps of all ranks together and of this one alone."""
    for half_maps in (False, True):
        together = reconstruct(particles, symmetry=symmetry, half_maps=half_maps, ewald=ewald, comm=comm)
        alone = reconstruct(particles, symmetry=symmetry, half_maps=half_maps, ewald=ewald, comm=SerialComm())
        assert together.n == alone.n == particles.n
        np.testing.assert_array_equal(together.map.data, alone.map.data)
        if half_maps:
            for one, other in zip(together.half_maps, alone.half_maps, strict=True):
                np.testing.assert_array_equal(one.data, other.data)
