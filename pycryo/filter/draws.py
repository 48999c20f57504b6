"""Draws that depend only on (seed, stream, particle id): the same on any rank, thread or batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter._sampling import uniform as uniform

Array = NDArray[np.float64]

# Keys beyond those of all other draws.
_CHI_SQUARE_STREAM = 1 << 52


@dataclass(frozen=True, slots=True)
class Draws:
    """The key of the draws of n particles.

    Attributes
    ----------
    seed : int
        Of the run.
    stream : int
        Of the purpose.
    ids : (n,) int64
        Of the particles.
    """

    seed: int
    stream: int
    ids: NDArray[np.int64]

    def of(self, rows: NDArray[np.int64]) -> Draws:
        """The draws of some of the particles."""
        return replace(self, ids=self.ids[rows])

    def at(self, stream: int) -> Draws:
        """Draws of another stream."""
        return replace(self, stream=stream)

    def uniform(self, count: int) -> Array:
        """(n, count) draws from (0, 1)."""
        return np.asarray(uniform(self.seed, self.stream, self.ids, count))

    def offset(self) -> Array:
        """(n,) draws from (0, 1): where `systematic_resample` begins."""
        return np.ascontiguousarray(self.uniform(1)[:, 0])


def normal(seed: int, stream: int, ids: NDArray[np.int64], count: int) -> Array:
    """(n, count) standard normal draws (Box-Muller)."""
    pairs = (count + 1) // 2
    u = uniform(seed, stream, ids, 2 * pairs)
    radius, angle = np.sqrt(-2 * np.log(u[:, :pairs])), 2 * np.pi * u[:, pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :count]


def student(draws: Draws, count: int, dimension: int) -> Array:
    """(n, count, dimension) draws of a spherical Student t with 4 degrees of freedom and unit scale."""
    n = len(draws.ids)
    gauss = normal(draws.seed, draws.stream, draws.ids, count * dimension).reshape(n, count, dimension)
    u = draws.at(_CHI_SQUARE_STREAM + draws.stream).uniform(2 * count)
    chi_square = -2 * np.log(u[:, :count] * u[:, count:])
    return np.asarray(gauss * np.sqrt(4 / chi_square)[..., None])
