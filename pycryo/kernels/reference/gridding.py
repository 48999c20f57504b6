"""Float64 twin of `pycryo.kernels.gridding`: all voxels of a layer at once, by definition."""

from __future__ import annotations

from itertools import product as combinations

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.gridding import Ball


def voxels(ball: Ball, layer: int) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """y of a layer, and z and x of its voxels in their order."""
    r, depth = ball.sphere.radius, ball.sphere.layers
    length = np.diff(ball.sphere.start[layer * depth : (layer + 1) * depth + 1])
    z = np.repeat(np.arange(-r, r + 1), length)
    x = np.concatenate([np.arange(n) for n in length])
    return layer - r, z, x


def shells(ball: Ball, layer: int) -> NDArray[np.int64]:
    """Shell of each voxel of a layer; -1 if it is not on the grid."""
    y, z, x = voxels(ball, layer)
    on_grid = np.maximum(np.maximum(abs(y), abs(z)), x) <= ball.reach
    return np.where(on_grid, np.rint(np.sqrt(x**2 + y**2 + z**2) / ball.padding), -1).astype(np.int64)


def inside(ball: Ball, layer: int) -> NDArray[np.bool_]:
    """Which voxels of a layer are in the ball."""
    y, z, x = voxels(ball, layer)
    return (shells(ball, layer) >= 0) & (x**2 + y**2 + z**2 <= ball.inside)


def interior(ball: Ball, layer: int) -> NDArray[np.bool_]:
    """Which voxels of a layer have only neighbours in the ball and on the grid."""
    y, z, x = voxels(ball, layer)
    result = np.ones(len(x), bool)
    for dz, dy, dx in combinations(range(-2, 3), repeat=3):
        far = np.abs([x + dx, np.full(len(x), y + dy), z + dz])
        result &= ((far**2).sum(axis=0) <= ball.inside) & (far.max(axis=0) <= ball.reach)
    return result


def shell_sums(ball: Ball, layer: int, weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Parameters as in `pycryo.kernels.gridding.shell_sums`."""
    shell = shells(ball, layer)
    on_grid = shell >= 0
    terms = (weight[on_grid], None)
    return np.stack([np.bincount(shell[on_grid], term, ball.n_shell) for term in terms], axis=1)


def first_weight(ball: Ball, layer: int, weight: NDArray[np.float64], add: NDArray[np.float64]) -> NDArray[np.float64]:
    """W; parameters as in `pycryo.kernels.gridding.first_weight`."""
    return np.where(inside(ball, layer), 1 / (weight + add[shells(ball, layer)]), 0)


def product(
    ball: Ball, layer: int, weight: NDArray[np.float64], add: NDArray[np.float64], w: NDArray[np.float64]
) -> NDArray[np.float64]:
    """W · target in the ball, 0 elsewhere; parameters as in `pycryo.kernels.gridding.product`."""
    return np.where(inside(ball, layer), w * (weight + add[shells(ball, layer)]), 0)


def place(ball: Ball, layer: int, value: NDArray[np.complex128], n: int, width: int) -> NDArray[np.complex128]:
    """(n, width) samples of a layer's values; 0 outside the ball."""
    _, z, x = voxels(ball, layer)
    samples = np.zeros((n, width), np.complex128)
    chosen = inside(ball, layer) & (x < width)
    samples[z[chosen] % n, x[chosen]] = value[chosen]
    return samples


def deviation(ball: Ball, layer: int, samples: NDArray[np.complex128]) -> float:
    """Parameters as in `pycryo.kernels.gridding.deviation`."""
    _, z, x = voxels(ball, layer)
    chosen = interior(ball, layer)
    return float(np.abs(samples[z[chosen] % len(samples), x[chosen]].real - 1).max(initial=0))


def divide(ball: Ball, layer: int, samples: NDArray[np.complex128], w: NDArray[np.float64]) -> NDArray[np.float64]:
    """New W; parameters as in `pycryo.kernels.gridding.divide`."""
    _, z, x = voxels(ball, layer)
    chosen = inside(ball, layer)
    result = w.copy()
    result[chosen] /= np.maximum(samples[z[chosen] % len(samples), x[chosen]].real, 1e-6)
    return result


def scale(
    points: NDArray[np.floating], along_y: NDArray[np.floating], along_x: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The product; parameters as in `pycryo.kernels.gridding.scale`."""
    return np.asarray(points.astype(np.float64) * along_y[:, None] * along_x)
