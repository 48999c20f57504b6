"""The lattice of places where windows are put, and the map that is made of what they find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.parallel.comm import Comm
from pycryo.parallel.rows import even_bounds
from pycryo.postprocessing.spectral_window import Window

Array = NDArray[np.float64]
Planes = NDArray[np.float32]

# Where the mask is higher counts as the molecule.
INSIDE = 0.5


def lattice_points(box: int, window: Window, stride: int) -> NDArray[np.int64]:
    """(n,) centres of windows along an axis, px: of those within the box, whole steps from the centre voxel.

    What is nearer to the edge of the box has the limit of the outermost window: one that is cut off would leak.
    """
    half = window.box // 2
    return np.arange(half + (box // 2 - half) % stride, box - half + 1, stride)


def near_mask(comm: Comm, mask: Planes, lattice: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n, n, n) which points of the lattice are the nearest of a voxel within the mask. Collective."""
    box = mask.shape[1]
    begin = np.concatenate([[0], (lattice[1:] + lattice[:-1] + 1) // 2])
    near = np.zeros((len(lattice),) * 3, np.int64)
    for z, plane in enumerate(mask, int(even_bounds(box, comm.size)[comm.rank])):
        layer = near[np.searchsorted(begin, z, side="right") - 1]
        some = np.maximum.reduceat(np.maximum.reduceat(plane > INSIDE, begin, axis=0), begin, axis=1)
        np.maximum(layer, some, out=layer)
    comm.max_array(near)
    return near > 0


def medians(found: Array) -> Array:
    """Of each point of the lattice with a limit (others are NaN) and its neighbours: their windows overlap.

    Takes out what single shells of single windows show by chance.
    """
    padded = np.pad(found, 1, constant_values=np.nan)
    where = np.argwhere(np.isfinite(found))
    steps = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    around = np.stack([padded[tuple((where + step).T)] for step in steps])
    result = found.copy()
    result[tuple(where.T)] = np.nanmedian(around, axis=0)
    return result


def everywhere(found: Array) -> Array:
    """The limits of a lattice, where there is none (NaN) that of the nearest point."""
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(~np.isfinite(found), return_distances=False, return_indices=True)
    return np.asarray(found[tuple(nearest)])


def interpolated(found: Array, lattice: NDArray[np.int64], numbers: range, box: int) -> Planes:
    """(n_plane, box, box) the planes `numbers`, linear between the points of the lattice, constant beyond the outer."""
    at = np.interp(np.arange(box), lattice, np.arange(len(lattice)))
    low = np.minimum(at.astype(np.int64), max(0, len(lattice) - 2))
    high, part = np.minimum(low + 1, len(lattice) - 1), at - low
    planes = np.empty((len(numbers), box, box), np.float32)
    for index, z in enumerate(numbers):
        layer = found[low[z]] * (1 - part[z]) + found[high[z]] * part[z]
        rows = layer[low] * (1 - part[:, None]) + layer[high] * part[:, None]
        planes[index] = rows[:, low] * (1 - part) + rows[:, high] * part
    return planes
