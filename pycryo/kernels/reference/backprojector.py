"""Float64 twin of `pycryo.kernels.backprojector`."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.entries import Entries
from pycryo.kernels.sphere import Sphere


def insert(
    sphere: Sphere, layers: tuple[int, int], entries: Entries, *, box: int, padding: int
) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """F and T, each (n_voxel,), of `pycryo.kernels.backprojector.insert` without quanta."""
    images, weights = entries.images.astype(float), entries.weights.astype(float)
    radius = sphere.radius
    begin, end = sphere.voxels(*layers)
    value, weight = np.zeros(end - begin, complex), np.zeros(end - begin)
    k = np.stack([entries.kx, entries.ky]).astype(float)
    poses = zip(entries.image, entries.rotations, entries.shifts, entries.weight, strict=True)
    curvature = np.zeros(len(entries.image)) if entries.curvature is None else entries.curvature
    for (i, rotation, shift, share), curve in zip(poses, curvature, strict=True):
        q = padding * entries.scale * on_surface(rotation, k, curve)
        inside = np.linalg.norm(q, axis=0) < radius - 0.5
        q, sample, t = q[:, inside], images[i][:, inside], share * weights[i][inside]
        f = share * (sample[0] + 1j * sample[1]) * np.exp(2j * np.pi / box * (shift @ k[:, inside]))
        mate = q[0] < 0
        q, f = np.where(mate, -q, q), np.where(mate, f.conj(), f)
        lowest = np.floor(q).astype(int)
        for corner in product((0, 1), repeat=3):
            x, y, z = neighbour = lowest + np.array(corner)[:, None]
            part = np.prod(1 - np.abs(q - neighbour), axis=0)
            here = (layers[0] <= y + radius) & (y + radius < layers[1])
            voxel = (sphere.start[(y + radius) * sphere.layers + z + radius] + x - begin)[here]
            np.add.at(value, voxel, (part * f)[here])
            np.add.at(weight, voxel, (part * t)[here])
    return value, weight


def on_surface(rotation: NDArray[np.float64], k: NDArray[np.float64], curvature: float) -> NDArray[np.float64]:
    """(3, n) places Aᵀ(kx, ky, curvature·|k|²) of samples (2, n); with a magnified A, |k| and z as in the volume."""
    flat: NDArray[np.float64] = rotation.T[:, :2] @ k
    normal = np.cross(rotation[0], rotation[1])
    length = np.linalg.norm(normal)
    if length > 0:
        flat = flat + curvature * np.sum(flat**2, axis=0) * (normal / length)[:, None]
    return flat


def fold_hermitian(sphere: Sphere, value: NDArray[np.complex128], weight: NDArray[np.float64]) -> None:
    """Add to each voxel of the plane x = 0 the conjugate of its mate, in place; of all layers."""
    before, before_weight = value.copy(), weight.copy()
    for y, z in product(range(sphere.layers), repeat=2):
        voxel, end = sphere.start[y * sphere.layers + z :][:2]
        mate = sphere.start[(sphere.layers - 1 - y) * sphere.layers + sphere.layers - 1 - z]
        if voxel < end:
            value[voxel] += before[mate].conj()
            weight[voxel] += before_weight[mate]
