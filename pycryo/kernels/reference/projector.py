"""Float64 twins of `pycryo.kernels.projector`: transform by definition, interpolation by its eight terms."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycryo.kernels.reference.backprojector import on_surface


def fourier_volume(map: NDArray[np.float64], padding: int, r_high: float) -> NDArray[np.complex128]:
    """Padded transform of ``map / sinc²`` at integer z, y ∈ [-r, r], x ∈ [0, r], r = ceil(padding·r_high) + 1.

    Returns
    -------
    (2r + 1, 2r + 1, r + 1) complex128
        Sum over voxels of ``density·exp(-2πi q·(x - N//2)/(padding·N))``, axis by axis.
    """
    box = len(map)
    radius = int(np.ceil(padding * r_high)) + 1
    x = np.arange(box) - box // 2
    kernel = np.exp(-2j * np.pi * np.arange(-radius, radius + 1)[:, None] * x / (padding * box))
    kernel /= np.sinc(x / (padding * box)) ** 2
    volume: NDArray[np.complex128] = np.einsum("zyx,Zz,Yy,Xx->ZYX", map, kernel, kernel, kernel[radius:], optimize=True)
    return volume


def project_slices(
    volume: NDArray[np.complex128],
    rotations: NDArray[np.float64],
    kx: ArrayLike,
    ky: ArrayLike,
    step: float,
    curvature: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """``volume(step·Aᵀ(kx, ky, curvature·|k|²))`` as (n, 2, n_pixel); `volume` as `fourier_volume` gives it.

    0 where |q| ≥ r - ½.
    """
    radius = volume.shape[2] - 1
    plane = np.stack([np.asarray(kx), np.asarray(ky)]).astype(float)
    bent = np.zeros(len(rotations)) if curvature is None else curvature
    q = np.empty((len(rotations), 3, plane.shape[1]))
    for place, rotation, bend in zip(q, np.asarray(rotations), bent, strict=True):
        place[:] = step * on_surface(rotation, plane, bend)
    inside = np.linalg.norm(q, axis=1) < radius - 0.5
    flip = q[:, 0] < 0
    q = np.where(flip[:, None], -q, q) * inside[:, None]
    corner = np.floor(q).astype(int)
    fraction = q - corner
    values = np.zeros(inside.shape, complex)
    for step_xyz in product((0, 1), repeat=3):
        weight = np.prod([fraction[:, a] if s else 1 - fraction[:, a] for a, s in enumerate(step_xyz)], axis=0)
        x, y, z = (corner[:, a] + s for a, s in enumerate(step_xyz))
        values += weight * volume[z + radius, y + radius, x]
    values = np.where(flip, values.conj(), values) * inside
    return np.stack([values.real, values.imag], axis=1)
