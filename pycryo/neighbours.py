"""What lies side by side: parts of a set of voxels, distances from it, chains of pairs.

SciPy's compiled functions do the work, without the long imports of `scipy.ndimage` and `scipy.spatial`; these packages
do it where such a function is not there, or takes other arguments.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.scipy_modules import load_compiled

# Voxels of which the labels of all parts fit into 32 bits.
_MOST_NARROW = 2**31 - 2
# What a compiled function raises that is not as it was.
_CHANGED = (AttributeError, TypeError, ValueError, RuntimeError)


def label_parts(inside: NDArray[np.bool_]) -> tuple[NDArray[np.int32 | np.int64], int]:
    """(nz, ny, nx) the number 1 ... of the part that each voxel belongs to, 0 outside, and how many parts there are.

    Voxels of a part are neighbours along an axis.
    """
    label = np.zeros(inside.shape, np.int32 if inside.size < _MOST_NARROW else np.int64)
    if not inside.size:
        return label, 0
    beside = np.abs(np.indices((3, 3, 3)) - 1).sum(axis=0) <= 1
    with suppress(*_CHANGED):
        return label, int(load_compiled("scipy.ndimage._ni_label")._label(inside, beside, label))
    from scipy import ndimage

    return label, int(ndimage.label(inside, output=label))


def linked(n: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) the least of the numbers below `n` that chains of `pairs` (m, 2) lead to, from each."""
    least = np.arange(n)
    while True:
        one, other = least[pairs].T
        if (one == other).all():
            return least
        np.minimum.at(least, np.maximum(one, other), np.minimum(one, other))
        # What a number leads to may lead further now.
        while (least != (further := least[least])).any():
            least = further


def distances(inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(nz, ny, nx) distance, px, of each voxel from the nearest one that is `inside`; there must be one."""
    nearest, square = np.zeros((3, *inside.shape), np.int32), np.zeros(inside.shape)
    try:
        compiled = load_compiled("scipy.ndimage._nd_image")
        compiled.euclidean_feature_transform((~inside).view(np.int8), None, nearest)
    except _CHANGED:
        from scipy import ndimage

        return np.asarray(ndimage.distance_transform_edt(~inside))
    for axis, place in enumerate(nearest):
        along = np.arange(inside.shape[axis], dtype=np.int32).reshape([-1 if each == axis else 1 for each in range(3)])
        square += np.square(place - along)
    return np.sqrt(square)


def point_tree(points: NDArray[np.float64]) -> Any:
    """A `scipy.spatial.cKDTree` of points (n, n_axis)."""
    with suppress(*_CHANGED):
        return load_compiled("scipy.spatial._ckdtree").cKDTree(points)
    from scipy.spatial import cKDTree

    return cKDTree(points)
