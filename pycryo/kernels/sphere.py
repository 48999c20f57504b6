"""The voxels of a padded half volume that samples can reach, packed row by row, and their division into slabs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError

# Padded Fourier px. A sample lies below r - 1/2, its neighbours at most √3 further out: r + 1.232.
MARGIN = 1.25


@dataclass(frozen=True, slots=True, eq=False)
class Sphere:
    """Half volume x ≥ 0 of radius r + 1.25 padded Fourier px, cut at r along the axes.

    Voxels are numbered row by row: the rows along x of y = -r, z = -r ... r, then those of y = -r + 1, and so on. Rows
    of one y are a *layer*; consecutive layers are a *slab*, and a slab is a range of voxel numbers.

    Attributes
    ----------
    radius : int
        r.
    start : (D² + 1,) int64
        First voxel of row (y + r)·D + z + r, D = 2r + 1; a row holds x = 0, 1, ... The last entry is the number of all
        voxels.
    """

    radius: int
    start: NDArray[np.int64]

    @property
    def layers(self) -> int:
        """D = 2r + 1, of the axes y and z."""
        return 2 * self.radius + 1

    @property
    def n_voxel(self) -> int:
        """Voxels of all rows."""
        return int(self.start[-1])

    @property
    def widths(self) -> NDArray[np.int64]:
        """(D,) voxels of the longest row of each layer, that of z = 0."""
        return np.asarray(np.diff(self.start).reshape(self.layers, self.layers)[:, self.radius])

    def voxels(self, first: int, last: int) -> tuple[int, int]:
        """Range of voxel numbers of the layers first ... last - 1 (0 is y = -r)."""
        return int(self.start[first * self.layers]), int(self.start[last * self.layers])

    def bounds(self, n: int) -> NDArray[np.int64]:
        """(n + 1,) first layers of n slabs, as equal in voxels as whole layers allow, and their end."""
        layer_start = self.start[:: self.layers]
        wanted = self.n_voxel * np.arange(n + 1) / n
        return np.asarray(np.searchsorted(0.5 * (layer_start[:-1] + layer_start[1:]), wanted), np.int64)


@lru_cache(maxsize=4)
def sphere(radius: int) -> Sphere:
    """The sphere of radius r.

    Raises
    ------
    InputError
        If `radius` is less than 1.
    """
    if radius < 1:
        raise InputError(f"radius: expected at least 1, got {radius}")
    square = np.square(np.arange(-radius, radius + 1, dtype=np.float64))
    rest = (radius + MARGIN) ** 2 - square[:, None] - square
    count = np.where(rest >= 0, np.minimum(np.floor(np.sqrt(np.maximum(rest, 0))), radius) + 1, 0)
    start = np.zeros(count.size + 1, np.int64)
    np.cumsum(count.ravel(), out=start[1:])
    start.setflags(write=False)
    return Sphere(radius, start)


def sphere_radius(padding: int, r_high: float) -> int:
    """r that holds the neighbours of all samples with |k| < `r_high` Fourier px."""
    return math.ceil(padding * r_high) + 1
