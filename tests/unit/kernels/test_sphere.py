"""The packed sphere against counting voxel by voxel."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycryo.kernels.sphere import sphere, sphere_radius


def row_length(radius, y, z):
    """Voxels x = 0, 1, ... of a row, one by one."""
    return sum(x * x + y * y + z * z <= (radius + 1.25) ** 2 for x in range(radius + 1))


@pytest.mark.parametrize("radius", [1, 2, 3, 8, 13])
def test_rows_are_counted_voxel_by_voxel(radius):
    found = sphere(radius)
    line = range(-radius, radius + 1)
    lengths = np.array([[row_length(radius, y, z) for z in line] for y in line])
    np.testing.assert_array_equal(np.diff(found.start).reshape(lengths.shape), lengths)
    assert found.start[0] == 0
    assert found.layers == len(line)
    assert found.n_voxel == lengths.sum()
    np.testing.assert_array_equal(found.widths, lengths.max(axis=1))
    first, last = radius // 2, radius + 2
    assert found.voxels(first, last) == (lengths[:first].sum(), lengths[:last].sum())


@given(st.integers(1, 40), st.integers(1, 100))
def test_slabs_are_equal_within_a_layer(radius, n):
    found = sphere(radius)
    bounds = found.bounds(n)
    assert (len(bounds), bounds[0], bounds[-1]) == (n + 1, 0, found.layers)
    assert (np.diff(bounds) >= 0).all()
    layer_start = found.start[:: found.layers]
    # A bound is the beginning of a layer that is nearest to where equal slabs would end.
    off = np.abs(layer_start[bounds] - found.n_voxel * np.arange(n + 1) / n)
    assert off.max() <= 0.5 * np.diff(layer_start).max()


@given(st.integers(1, 4), st.floats(0.5, 30), st.integers(0, 2**32 - 1))
def test_neighbours_of_samples_are_inside(padding, r_high, seed):
    radius = sphere_radius(padding, r_high)
    found = sphere(radius)
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(500, 3))
    # Most of them just below r - 1/2, the limit of what is inserted.
    q *= ((radius - 0.5) * (1 - 1e-9) * rng.random(500) ** 0.05 / np.linalg.norm(q, axis=1))[:, None]
    q[q[:, 0] < 0] *= -1
    corners = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1]), axis=-1).reshape(8, 3)
    x, y, z = np.moveaxis(np.floor(q)[:, None].astype(int) + corners, 2, 0)
    assert max(x.max(), np.abs(y).max(), np.abs(z).max()) <= radius
    assert (x < np.diff(found.start)[(y + radius) * found.layers + z + radius]).all()
    assert padding * r_high < radius - 0.5


def test_numbers_beyond_32_bits():
    """Box 1400 to Nyquist, padded 2: counted along z instead of x."""
    radius = sphere_radius(2, 700)
    found = sphere(radius)
    assert found.start.dtype == np.int64
    assert found.n_voxel > 2**31
    square = np.arange(radius + 1, dtype=np.int64) ** 2
    rest = math.floor((radius + 1.25) ** 2) - square[:, None] - square  # axes x, y ≥ 0
    count = np.where(rest >= 0, 2 * np.minimum(np.floor(np.sqrt(np.maximum(rest, 0))), radius) + 1, 0).astype(np.int64)
    assert found.n_voxel == count[:, 0].sum() + 2 * count[:, 1:].sum()
    bounds = found.bounds(7)
    slabs = [found.voxels(a, b) for a, b in pairwise(bounds)]
    assert [first for first, _ in slabs[1:]] == [last for _, last in slabs[:-1]]
    assert max(last - first for first, last in slabs) - found.n_voxel / 7 <= count[:, 0].sum()  # the layer y = 0


def test_there_is_no_sphere_of_radius_zero():
    with pytest.raises(ValueError, match="radius: expected at least 1, got 0"):
        sphere(0)
