"""The mask of references, on planes dealt to ranks."""

from __future__ import annotations

import numpy as np
import pytest
from thread_comm import run_ranks

from pycryo.maps.density import Map, low_pass
from pycryo.maps.slab_map import from_map, gather
from pycryo.refinement.data.solvent import Solvent


def made(points: int, field_of_view: float, diameter: float, user_mask: Map | None, size: int = 1) -> np.ndarray:
    """The whole mask, made by some ranks."""

    def work(comm):
        user = None if user_mask is None else from_map(comm, user_mask)
        return gather(Solvent(comm, field_of_view, diameter, user).mask(points))

    return run_ranks(size, work)[0].data


@pytest.mark.parametrize("size", [1, 3])
def test_solvent_mask_is_a_soft_sphere(size):
    mask = made(32, 96.0, 48.0, None, size)
    radius = np.sqrt(sum(np.square(axis - 16.0) for axis in np.indices((32,) * 3))) * 3.0
    assert mask.dtype == np.float32
    assert (mask[radius <= 24.0] == 1).all()
    # The edge of 2 of 32 points ends 6 Å further out.
    assert (mask[radius >= 30.0] == 0).all()
    assert ((mask > 0) & (mask < 1)).any()


def test_solvent_mask_fits_the_box():
    """A diameter of the whole field of view still leaves room for the edge."""
    for points in (8, 9, 32, 50):
        mask = made(points, 100.0, 100.0, None)
        radius = np.sqrt(sum(np.square(axis - points // 2.0) for axis in np.indices((points,) * 3)))
        assert mask.max() == 1
        assert (mask[radius >= points / 2] == 0).all()


@pytest.mark.parametrize("size", [1, 3])
def test_solvent_mask_of_the_user(size):
    """Resampled to the grid, and kept within 0..1 where the resampling overshoots."""
    block = np.zeros((48,) * 3, np.float32)
    block[14:34, 18:30, 12:36] = 1
    user = low_pass(Map(block, 2.0), 12.0)  # soft, with ripples
    user = Map(np.clip(user.data, 0, 1), 2.0)
    mask = made(24, 96.0, 1.0, user, size)
    assert mask.shape == (24,) * 3
    assert mask.min() >= 0
    assert mask.max() <= 1
    # Every second voxel, but for what the coarse grid cannot hold: the clipped ripples of the edges beyond 8 Å.
    np.testing.assert_allclose(mask, user.data[::2, ::2, ::2], atol=0.1)
