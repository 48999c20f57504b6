"""A shaded picture of a map's surface at a level, without a graphics library."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError

_COLOUR = np.array([0.45, 0.66, 0.86])
# From the surface to the lamp; x to the right, y up, z towards the viewer. Shares of the light that comes from all
# around and of the shine.
_LAMP = np.array([-0.4, 0.55, 0.73])
_AMBIENT, _SHINE = 0.28, 0.25
# Degrees: the map is turned about y, then tilted about x, so that faces along its axes are seen from the side.
_TURN, _TILT = 25.0, 20.0
_MARGIN = 1.08


def isosurface(data: NDArray[np.float32], level: float, size: int = 500) -> NDArray[np.uint8]:
    """Picture of the surface where a map is `level`, seen along z, a bit from the side; white where there is none.

    Rays are followed through the map in steps of a voxel, and the crossing is found between two of them.

    Parameters
    ----------
    data : (N, N, N) float32
        Axes (z, y, x).
    level : float
    size : int
        Pixels along an edge.

    Returns
    -------
    (size, size, 3) uint8

    Raises
    ------
    InputError
        If no voxel is above the level.
    """
    from scipy import ndimage

    above = np.argwhere(data > level)
    if not len(above):
        raise InputError(f"no voxel of the map is above the contour level {level:g}: its maximum is {data.max():g}")
    low, high = above.min(0), above.max(0)
    crop = tuple(slice(max(0, a - 2), b + 3) for a, b in zip(low, high, strict=True))
    density = data[crop].astype(np.float32)
    middle = (low + high) / 2
    reach = float(np.sqrt(np.square(above - middle).sum(1).max())) + 1
    origin = middle - [part.start for part in crop]
    turn = _view()
    line = (np.arange(size) - (size - 1) / 2) * (2 * _MARGIN * reach / size)
    across, up = np.meshgrid(line, -line)
    start = np.stack([across.ravel(), up.ravel()])

    def at(depth: NDArray[np.float64], rays: NDArray[np.int64]) -> NDArray[np.float64]:
        """(3, n) voxels z, y, x at a depth, towards the viewer, on some rays."""
        seen = np.stack([*start[:, rays], depth])
        return np.asarray((turn @ seen)[::-1] + origin[:, None])

    depth, hit = np.full(size * size, np.nan), np.zeros(size * size, bool)
    rays = np.flatnonzero(np.square(start).sum(0) < reach**2)
    before = np.full(len(rays), -np.inf)
    for step in np.arange(reach, -reach - 1, -1.0):
        value = ndimage.map_coordinates(
            density, at(np.full(len(rays), step), rays), order=1, cval=-np.inf, mode="constant"
        )
        value = np.nan_to_num(value, nan=-np.inf)
        reached = value >= level
        rise = np.where(np.isfinite(before), value - np.where(np.isfinite(before), before, 0), np.inf)[reached]
        depth[rays[reached]] = step + np.where(
            np.isfinite(rise), (value[reached] - level) / np.maximum(rise, 1e-30), 0.5
        )
        hit[rays[reached]] = True
        rays, before = rays[~reached], value[~reached]
    found = np.flatnonzero(hit)
    normal = turn.T @ _gradient(density, at(depth[found], found))[::-1]
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 1e-30)
    return _shaded(normal, depth[found] / reach, found, size)


def png_of(image: NDArray[np.uint8]) -> bytes:
    """A picture (height, width, 3) as PNG."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, image, format="png")
    return buffer.getvalue()


def _view() -> NDArray[np.float64]:
    """(3, 3) from the viewer's axes to the map's, x, y, z."""
    a, b = np.deg2rad([_TURN, _TILT])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return np.asarray((tilt @ turn).T)


def _gradient(density: NDArray[np.float32], where: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, n) outward normals -∇, z, y, x, of the cubic spline of a map."""
    from scipy import ndimage

    spline = ndimage.spline_filter(density, order=3, mode="nearest").astype(np.float32)
    normal = np.empty_like(where)
    for axis in range(3):
        step = np.zeros((3, 1))
        step[axis] = 0.6
        ends = [
            ndimage.map_coordinates(spline, where + sign * step, order=3, prefilter=False, mode="nearest")
            for sign in (1, -1)
        ]
        normal[axis] = ends[1] - ends[0]
    return normal


def _shaded(
    normal: NDArray[np.float64], depth: NDArray[np.float64], found: NDArray[np.int64], size: int
) -> NDArray[np.uint8]:
    """The picture; `depth` is -1 (far) to 1 (near) of the pixels `found`."""
    lamp = _LAMP / np.linalg.norm(_LAMP)
    light = np.clip(lamp @ normal, 0, 1)
    middle = lamp + np.array([0, 0, 1.0])
    shine = np.clip(middle @ normal / np.linalg.norm(middle), 0, 1) ** 30
    colour = _COLOUR[:, None] * (_AMBIENT + (1 - _AMBIENT) * light) + _SHINE * shine
    fog = 0.7 + 0.3 * (depth + 1) / 2
    image = np.ones((size * size, 3))
    image[found] = (1 - fog[:, None]) + fog[:, None] * np.clip(colour.T, 0, 1)
    return np.asarray(np.rint(255 * image).reshape(size, size, 3), np.uint8)
