"""Solving for a map gives the same planes on any number of ranks, by each model."""

import numpy as np
import pytest

from pycryo.kernels.backprojector import new_accumulators
from pycryo.kernels.sphere import sphere, sphere_radius
from pycryo.model.solve import solve
from pycryo.parallel.comm import SerialComm
from pycryo.parallel.rows import even_bounds, gather_rows
from pycryo.parallel.world import world

BOX, R_HIGH = 20, 8.3


def random_accumulators(layers=None):
    """Each voxel the same however layers are dealt."""
    made = new_accumulators(BOX, r_high=R_HIGH, layers=layers)
    begin, end = made.sphere.voxels(made.first, made.last)
    values = np.random.default_rng(0).random((3, made.sphere.n_voxel))
    for part, value in zip((made.re, made.im, made.weight), values, strict=True):
        part[:] = value[begin:end]
    return made


@pytest.mark.parallel([2, 3])
@pytest.mark.parametrize("model", ["replicated", "sharded", "slab"])
def test_ranks_do_not_change_a_bit(model):
    comm = world()
    assert comm.size > 1
    bounds = sphere(sphere_radius(2, R_HIGH)).bounds(comm.size)
    layers = None if model == "replicated" else (int(bounds[comm.rank]), int(bounds[comm.rank + 1]))
    together = solve(comm, random_accumulators(layers), model=model)
    planes = gather_rows(comm, together.planes, even_bounds(together.points, comm.size))
    alone = solve(SerialComm(), random_accumulators())
    assert (together.iterations, together.deviation) == (alone.iterations, alone.deviation)
    if comm.rank == 0:
        np.testing.assert_array_equal(planes, alone.planes)
