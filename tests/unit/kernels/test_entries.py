"""Entries: parts of their poses."""

import numpy as np
import pytest

from pycryo.kernels.entries import Entries


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("n_part", [1, 3, 10])
def test_parts_are_all_poses_in_order(n, n_part, rng):
    k = np.zeros(2, np.int32)
    images, weights = np.zeros((1, 2, 2), np.float32), np.zeros((1, 2), np.float32)
    whole = Entries(images, weights, np.arange(n), rng.random((n, 3, 3)), rng.random((n, 2)), rng.random(n), k, k)
    parts = [whole.part(number, n_part) for number in range(n_part)]
    assert all(part.images is images for part in parts)
    for name in ("image", "rotations", "shifts", "weight"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
