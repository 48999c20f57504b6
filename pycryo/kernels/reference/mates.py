"""Float64 twin of `pycryo.kernels.mates`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.sphere import Sphere


def at_mates(sphere: Sphere, value: NDArray[np.complex128], rotation: NDArray[np.int32]) -> NDArray[np.complex128]:
    """(n_voxel,) values of a folded half volume at R·k of each voxel k."""
    whole, k = np.zeros((sphere.layers,) * 3, complex), coordinates(sphere)
    whole[tuple(sphere.radius - k)] = value.conj()
    whole[tuple(sphere.radius + k)] = value
    return np.asarray(whole[tuple(sphere.radius + rotation @ k)])


def coordinates(sphere: Sphere) -> NDArray[np.int64]:
    """(3, n_voxel) x, y, z of the voxels."""
    row = np.repeat(np.arange(sphere.layers**2), np.diff(sphere.start))
    x = np.arange(sphere.n_voxel) - sphere.start[row]
    return np.stack([x, row // sphere.layers - sphere.radius, row % sphere.layers - sphere.radius])
