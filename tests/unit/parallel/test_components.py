"""Connected parts on ranks against scipy.ndimage on the whole grid."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from thread_comm import run_ranks

from pycryo.parallel import components as parts_module
from pycryo.parallel.components import fill_holes, find_parts
from pycryo.parallel.rows import even_bounds


def random_grid(seed, density, shape=(9, 7, 8)):
    return np.random.default_rng(seed).random(shape) < density


def mine(comm, grid):
    bounds = even_bounds(len(grid), comm.size)
    return grid[bounds[comm.rank] : bounds[comm.rank + 1]], bounds


def check_parts(size, grid):
    """Every part as one array, and its volume."""
    label, n_part = ndimage.label(grid)

    def work(comm):
        parts = find_parts(comm, *mine(comm, grid))
        return parts.volume, [parts.select(np.arange(len(parts.volume)) == part) for part in range(len(parts.volume))]

    results = run_ranks(size, work)
    volume = results[0][0]
    assert len(volume) == n_part
    found = {np.concatenate(planes).tobytes() for planes in zip(*(planes for _, planes in results), strict=True)}
    assert found == {(label == part).tobytes() for part in range(1, n_part + 1)}
    assert sorted(volume) == sorted(np.bincount(label.ravel())[1:])
    for other, _ in results:
        np.testing.assert_array_equal(other, volume)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.3, 0.5, 1.0])
def test_parts_are_those_of_the_whole(size, density):
    check_parts(size, random_grid(size, density))


@given(st.integers(0, 1000), st.floats(0.05, 0.6), st.integers(1, 6))
def test_any_grid(seed, density, size):
    check_parts(size, random_grid(seed, density, (6, 4, 5)))


def test_sizes_are_counted_in_blocks(monkeypatch):
    monkeypatch.setattr(parts_module, "_BLOCK", 10)
    check_parts(2, random_grid(1, 0.4))


@pytest.mark.parametrize("size", [1, 2, 3, 9, 20])
@pytest.mark.parametrize("density", [0.0, 0.7, 0.85, 0.95, 1.0])
def test_holes(size, density):
    grid = random_grid(7, density, (11, 9, 10))
    found = np.concatenate(run_ranks(size, lambda comm: fill_holes(comm, *mine(comm, grid))))
    np.testing.assert_array_equal(found, ndimage.binary_fill_holes(grid))


def test_hole_over_many_ranks_with_one_way_out():
    grid = np.ones((12, 5, 5), bool)
    grid[2:10, 2, 2] = False
    closed = np.concatenate(run_ranks(5, lambda comm: fill_holes(comm, *mine(comm, grid))))
    assert closed.all()
    grid[9, 2, 3:] = False
    opened = np.concatenate(run_ranks(5, lambda comm: fill_holes(comm, *mine(comm, grid))))
    np.testing.assert_array_equal(opened, grid)
