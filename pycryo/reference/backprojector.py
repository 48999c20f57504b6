"""Float64 twin of `pycryo.backprojector`."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray


def insert(
    radius: int,
    images: NDArray[np.float64],
    weights: NDArray[np.float64],
    entry_image: NDArray[np.int64],
    rotations: NDArray[np.float64],
    shifts: NDArray[np.float64],
    entry_weight: NDArray[np.float64],
    kx: ArrayLike,
    ky: ArrayLike,
    *,
    box: int,
    padding: int,
    scale: float = 1.0,
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """F and T, each (2r+1, 2r+1, r+1), of `pycryo.backprojector.insert` without quanta; other shapes as there."""
    value = np.zeros((2 * radius + 1, 2 * radius + 1, radius + 1), complex)
    weight = np.zeros(value.shape)
    k = np.stack([np.asarray(kx), np.asarray(ky)]).astype(float)
    for i, rotation, shift, share in zip(entry_image, rotations, shifts, entry_weight, strict=True):
        q = padding * scale * rotation.T[:, :2] @ k
        inside = np.linalg.norm(q, axis=0) < radius - 0.5
        q, sample, t = q[:, inside], images[i][:, inside], share * weights[i][inside]
        f = share * (sample[0] + 1j * sample[1]) * np.exp(2j * np.pi / box * (shift @ k[:, inside]))
        mate = q[0] < 0
        q, f = np.where(mate, -q, q), np.where(mate, f.conj(), f)
        lowest = np.floor(q).astype(int)
        for corner in product((0, 1), repeat=3):
            x, y, z = neighbour = lowest + np.array(corner)[:, None]
            part = np.prod(1 - np.abs(q - neighbour), axis=0)
            np.add.at(value, (z + radius, y + radius, x), part * f)
            np.add.at(weight, (z + radius, y + radius, x), part * t)
    return value, weight


def fold_hermitian(value: NDArray[np.complex128], weight: NDArray[np.float64]) -> None:
    """Add to each voxel of the plane x = 0 the conjugate of its mate, in place."""
    radius = value.shape[2] - 1
    before, before_weight = value[:, :, 0].copy(), weight[:, :, 0].copy()
    for z, y in product(range(-radius, radius + 1), repeat=2):
        value[z + radius, y + radius, 0] += before[radius - z, radius - y].conj()
        weight[z + radius, y + radius, 0] += before_weight[radius - z, radius - y]
