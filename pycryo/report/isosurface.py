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

    The map is turned, its planes are enlarged one by one, and the surface is found between two of them.

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

    above = np.argwhere(data > level)
    if not len(above):
        raise InputError(f"no voxel of the map is above the contour level {level:g}: its maximum is {data.max():g}")
    low, high = above.min(0), above.max(0)
    middle = (low + high) / 2
    reach = float(np.sqrt(np.square(above - middle).sum(1).max())) + 1
    seen = _turned(data, middle, int(np.ceil(_MARGIN * reach)) + 1)
    n = len(seen)
    at = n // 2 + (np.arange(size) - (size - 1) / 2) * (2 * _MARGIN * reach / size)
    enlarge = _linear(at, n)
    depth = np.full((size, size), np.nan)
    before = np.full((size, size), -np.inf, np.float32)
    for z in range(n - 1, -1, -1):  # from the viewer away
        if not (seen[max(z - 1, 0) : z + 2] > level).any():
            before[:] = -np.inf
            continue
        plane = enlarge @ seen[z] @ enlarge.T
        new = (plane >= level) & np.isnan(depth)
        behind = np.maximum(before[new], plane[new] - 1e3 * abs(level) - 1e3)
        depth[new] = z + (plane[new] - level) / np.maximum(plane[new] - behind, 1e-30)
        before = plane
    found = np.flatnonzero(~np.isnan(depth.ravel()))
    y, x = np.divmod(found, size)
    normal = _outward(seen, np.stack([depth.ravel()[found], at[y], at[x]]))[::-1]
    image = _shaded(normal, (depth.ravel()[found] - n // 2) / reach, found, size)
    return image[::-1]  # y goes up


def png_of(image: NDArray[np.uint8]) -> bytes:
    """A picture (height, width, 3) as PNG."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, image, format="png")
    return buffer.getvalue()


def _turned(data: NDArray[np.float32], middle: NDArray[np.float64], half: int) -> NDArray[np.float32]:
    """The map as the viewer's axes (z towards the viewer, y up, x) have it, `half` voxels around its middle."""
    from scipy import ndimage

    a, b = np.deg2rad([_TURN, _TILT])
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    to_map = (tilt @ turn).T[::-1, ::-1]  # both in order z, y, x
    offset = middle - to_map @ np.full(3, half)
    shape = (2 * half + 1,) * 3
    turned = ndimage.affine_transform(data, to_map, offset, shape, np.float32, order=3, mode="constant")
    return np.asarray(turned)


def _linear(at: NDArray[np.floating], n: int) -> NDArray[np.float32]:
    """(m, n) weights that interpolate n values at places."""
    return np.asarray(np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n))), np.float32)


def _outward(density: NDArray[np.float32], where: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, n) unit normals -∇, z, y, x, of the cubic spline of a map at places."""
    from scipy import ndimage

    spline = ndimage.spline_filter(density, order=3, output=np.float32, mode="nearest")
    normal = np.empty_like(where)
    for axis in range(3):
        step = np.zeros((3, 1))
        step[axis] = 0.6
        ends = [
            ndimage.map_coordinates(spline, where + sign * step, order=3, prefilter=False, mode="nearest")
            for sign in (1, -1)
        ]
        normal[axis] = ends[1] - ends[0]
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=0), 1e-30))


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
