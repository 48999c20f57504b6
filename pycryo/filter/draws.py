"""Draws that depend only on (seed, stream, particle id): the same on any rank, thread or batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

import pycryo.filter._sampling as _sampling
from pycryo.filter._sampling import normal as normal
from pycryo.filter._sampling import uniform as uniform
from pycryo.threads import get_threads

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

    def of(self, rows: NDArray[np.int64] | slice) -> Draws:
        """The draws of some of the particles."""
        return replace(self, ids=self.ids[rows])

    def at(self, stream: int) -> Draws:
        """Draws of another stream."""
        return replace(self, stream=stream)

    def uniform(self, count: int) -> Array:
        """(n, count) draws from (0, 1)."""
        return uniform(self.seed, self.stream, self.ids, count)

    def offset(self) -> Array:
        """(n,) draws from (0, 1): where `systematic_resample` begins."""
        return np.ascontiguousarray(self.uniform(1)[:, 0])


def student(draws: Draws, count: int, dimension: int) -> Array:
    """(n, count, dimension) draws of a spherical Student t with 4 degrees of freedom and unit scale."""
    chi_stream = _CHI_SQUARE_STREAM + draws.stream
    return _sampling.student(draws.seed, draws.stream, chi_stream, draws.ids, count, dimension, get_threads())
