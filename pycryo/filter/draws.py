"""Draws that depend only on (seed, stream, particle id): the same on any rank, thread or batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.filter._sampling import uniform

Array = NDArray[np.float64]

# Keys beyond those of all other draws.
_CHI_SQUARE_STREAM = 1 << 52


def normal(seed: int, stream: int, ids: NDArray[np.int64], count: int) -> Array:
    """(n, count) standard normal draws (Box-Muller)."""
    pairs = (count + 1) // 2
    u = uniform(seed, stream, ids, 2 * pairs)
    radius, angle = np.sqrt(-2 * np.log(u[:, :pairs])), 2 * np.pi * u[:, pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :count]


def student(seed: int, stream: int, ids: NDArray[np.int64], count: int, dimension: int) -> Array:
    """(n, count, dimension) draws of a spherical Student t with 4 degrees of freedom and unit scale."""
    gauss = normal(seed, stream, ids, count * dimension).reshape(len(ids), count, dimension)
    u = uniform(seed, _CHI_SQUARE_STREAM + stream, ids, 2 * count)
    chi_square = -2 * np.log(u[:, :count] * u[:, count:])
    return np.asarray(gauss * np.sqrt(4 / chi_square)[..., None])
