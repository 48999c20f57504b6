"""Optics are found the same to the last bit on any number of ranks."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from phantom import blobs, write_set

from pycryo.io.particles import read_particles
from pycryo.maps.density import Map
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.world import world
from pycryo.refinement.optics.find import KINDS, FindOptions, find_optics
from pycryo.refinement.optics.reference import from_map


@pytest.mark.parallel([2, 3])
def test_ranks_do_not_change_a_bit():
    """Images of two geometries, one rank with images of both halves."""
    comm = world()
    with tempfile.TemporaryDirectory() as folder:
        write = partial(write_set, Path(folder), blobs(), 41, noise=0.5, geometries=((24, 4.0), (20, 4.8)))
        path = on_root(comm, write)
        particles = read_particles(path)
        reference = from_map(Map(blobs().volume(24, 4.0).astype(np.float32), 4.0), None, 10.0)
        options = FindOptions(kinds=(*KINDS, "defocus"))
        found = find_optics(comm, particles, reference if comm.rank == 0 else None, options)
        alone = on_root(comm, lambda: find_optics(SerialComm(), particles, reference, options))
    assert len(found.groups) == 2
    np.testing.assert_array_equal(found.particles.defocus_u, alone.particles.defocus_u)
    for one, other in zip(found.groups, alone.groups, strict=True):
        np.testing.assert_array_equal(one.evidence.product, other.evidence.product)
        np.testing.assert_array_equal(one.evidence.hessian, other.evidence.hessian)
        for name in ("odd", "even", "magnification"):
            np.testing.assert_array_equal(getattr(one.whole, name), getattr(other.whole, name))
