"""Quasi-uniform sets of rotations and of shifts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry._turns import nearest_points
from pycryo.geometry.rotations import angle_between, multiply
from pycryo.geometry.symmetry import Symmetry

# Constants of the super-Fibonacci spiral: Alexa, CVPR 2022, "Super-Fibonacci spirals: fast, low-discrepancy sampling
# of SO(3)": phi = √2 and psi the root of psi⁴ = psi + 4.
_PHI = np.sqrt(2.0)
_PSI = 1.533751168755204288118041
# Rotations of which the spread of even ones is measured.
_N_SPREAD = 2000


def rotation_grid(count: int, symmetry: Symmetry) -> NDArray[np.float64]:
    """About `count` quasi-uniform rotations of the asymmetric unit of `symmetry`.

    Parameters
    ----------
    count : int
        Wanted number; the number returned differs by the discreteness of the unit's boundary, and is at least 1.
    symmetry : Symmetry

    Returns
    -------
    (n, 4) float64 unit quaternions
    """
    total = count * len(symmetry)
    s = np.arange(total) + 0.5
    inner, outer = np.sqrt(s / total), np.sqrt(1 - s / total)
    alpha, beta = 2 * np.pi * s / _PHI, 2 * np.pi * s / _PSI
    grid = np.stack([inner * np.sin(alpha), inner * np.cos(alpha), outer * np.sin(beta), outer * np.cos(beta)], -1)
    inside = symmetry.in_asymmetric_unit(grid)
    return grid[inside] if inside.any() else symmetry.nearest(grid[:1], np.array([1.0, 0.0, 0.0, 0.0]))


def rotation_count(step: float, symmetry: Symmetry) -> int:
    """How many rotations of the asymmetric unit have one neighbour about every `step` radians."""
    # SO(3) has the volume 8π² in rotation-vector units; a lattice of spacing `step` gives each point step³/√2 at best.
    return max(1, round(8 * np.pi**2 / step**3 / len(symmetry)))


def rotation_step(count: int, symmetry: Symmetry) -> float:
    """Spacing in radians of a grid of `count` rotations: inverse of `rotation_count`."""
    return float((8 * np.pi**2 / (count * len(symmetry))) ** (1 / 3))


def even_spread(group: Symmetry) -> float:
    """Standard deviation per axis, degrees, of poses all over the asymmetric unit about one of them."""
    start = np.array([1.0, 0, 0, 0])
    grid = group.nearest(rotation_grid(_N_SPREAD, group), start)
    return float(np.rad2deg(np.sqrt(np.square(angle_between(grid, start)).mean() / 3)))


def local_order(rotations: NDArray[np.float64], cell: int) -> NDArray[np.int64]:
    """Order in which every `cell` consecutive rotations are neighbours.

    The list is halved, at a multiple of `cell`, along the axis of its greatest spread until cells are left.

    Parameters
    ----------
    rotations : (n, 4) float64 unit quaternions
    cell : int

    Returns
    -------
    (n,) int64
    """
    n = len(rotations)
    points = rotations * _signs(rotations)[:, None]
    order = np.arange(n)
    bounds = np.array([0, -(-n // cell)])
    while (np.diff(bounds) > 1).any():
        begin = np.minimum(bounds[:-1] * cell, n)
        length = np.diff(np.append(begin, n))
        segment = np.repeat(np.arange(len(begin)), length)
        here = points[order]
        mean = np.add.reduceat(here, begin) / length[:, None]
        spread = np.add.reduceat(np.square(here), begin) / length[:, None] - np.square(mean)
        value = here[np.arange(n), spread.argmax(axis=1)[segment]]
        # Values are of unit quaternions: those of a segment are within 2 of each other.
        order = order[np.argsort(value + 4.0 * segment, kind="stable")]
        bounds = np.unique(np.concatenate([bounds, (bounds[:-1] + bounds[1:]) // 2]))
    return order


def _signs(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) ±1 that bring all quaternions, q and -q being one rotation, to the side of their main direction."""
    _, vectors = np.linalg.eigh(rotations.T @ rotations)
    return np.where(rotations @ vectors[:, -1] < 0, -1.0, 1.0)


def nearest_rotations(
    rotations: NDArray[np.float64], others: NDArray[np.float64], symmetry: Symmetry
) -> NDArray[np.int64]:
    """(m,) number of the rotation (n, 4) next to each of the others (m, 4), modulo the symmetry.

    Raises
    ------
    ValueError
        If there is no rotation, or one of them or of the others is not finite.
    """
    if not (np.isfinite(rotations).all() and np.isfinite(others).all()):
        raise ValueError("expected finite quaternions")
    n = len(rotations)
    mates = multiply(np.tile(rotations, (len(symmetry), 1)), np.repeat(symmetry.quaternions, n, axis=0))
    points = np.concatenate([mates, -mates])  # q and -q are the same rotation
    # About one point in each cell of the cube about their vectors' ball.
    side = round(len(points) ** (1 / 3))
    cell = np.zeros(len(points), np.int64)
    for along in points.T[1:]:
        cell = cell * side + np.clip((along + 1) * (side / 2), 0, side - 1).astype(np.int64)
    order = np.argsort(cell, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=side**3))])
    return np.asarray(order[nearest_points(points[order], first, side, np.ascontiguousarray(others))] % n)


def shift_grid(radius: float, step: float) -> NDArray[np.float64]:
    """(n, 2) hexagonal grid of shifts (x, y), px, within `radius` of 0, nearest first; always holds (0, 0)."""
    rows = int(radius / (step * np.sqrt(0.75))) + 1
    columns = int(radius / step) + 1
    y, x = np.mgrid[-rows : rows + 1, -columns - 1 : columns + 2].astype(np.float64)
    x += 0.5 * (y % 2)
    points = np.stack([x * step, y * step * np.sqrt(0.75)], axis=-1).reshape(-1, 2)
    distance = np.hypot(*points.T)
    keep = distance <= radius + 1e-9
    points, distance = points[keep], distance[keep]
    return np.asarray(points[np.lexsort((points[:, 0], points[:, 1], distance.round(9)))])
