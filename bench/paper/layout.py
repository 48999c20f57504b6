"""Who has what in the M-phase: voxels, rows, planes and rounds of exchange of each rank, and the memory they take."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.sphere import sphere, sphere_radius
from pycryo.parallel.rows import even_bounds
from pycryo.parallel.slabs.slab_rounds import exchange_rounds

MODELS = ("replicated", "sharded", "slab")
# Bytes of a voxel: F and T; W; C; a key with F and T.
_SUMS, _WEIGHT, _GRID, _KEY = 24, 8, 16, 32


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A padded grid on the ranks of a group, frequencies up to Nyquist.

    Attributes
    ----------
    n, radius : int
        Grid points per axis; radius of the packed sphere.
    r_high : float
        Samples of the images below it fit, Fourier px.
    voxels : (n_rank,) float64
        Of the slab of each rank.
    samples, row_voxels : (n_row,) float64
        Columns along z of each row (layer) y on the grid, and voxels of the layer.
    planes, kept : (n_rank,) float64
        Planes of each rank of the whole grid, and of the field of view.
    rounds : list of list of range
        The rows of each rank in each exchange, as `pycryo.parallel.slabs.slab_rounds` makes them.
    """

    n: int
    radius: int
    r_high: float
    voxels: NDArray[np.float64]
    samples: NDArray[np.float64]
    row_voxels: NDArray[np.float64]
    planes: NDArray[np.float64]
    kept: NDArray[np.float64]
    rounds: list[list[range]]

    @property
    def n_rank(self) -> int:
        """Ranks."""
        return len(self.voxels)

    @property
    def n_voxel(self) -> float:
        """Voxels of all slabs."""
        return float(self.voxels.sum())

    @property
    def half(self) -> int:
        """Samples of a whole row along x."""
        return self.n // 2 + 1

    @staticmethod
    def sums(of_row: NDArray[np.float64], rows_of: list[range]) -> NDArray[np.float64]:
        """(n_rank,) sums over the rows of each rank."""
        return np.array([of_row[rows.start : rows.stop].sum() for rows in rows_of])


@lru_cache(maxsize=64)
def make_layout(box: int, padding: int, n_rank: int) -> Layout:
    """The layout of images of `box` px on `n_rank` ranks."""
    r_high = box / 2
    all_voxels = sphere(sphere_radius(padding, r_high))
    n = padding * box
    reach = (n - 1) // 2
    beyond = all_voxels.radius - reach
    layer_start = all_voxels.start[:: all_voxels.layers]
    bounds = all_voxels.bounds(n_rank)
    on_grid = slice(beyond, all_voxels.layers - beyond)
    samples = np.minimum(all_voxels.widths[on_grid], reach + 1)
    return Layout(
        n=n,
        radius=all_voxels.radius,
        r_high=r_high,
        voxels=np.diff(layer_start[bounds]).astype(float),
        samples=samples.astype(float),
        row_voxels=np.diff(layer_start)[on_grid].astype(float),
        planes=np.diff(even_bounds(n, n_rank)).astype(float),
        kept=np.diff(even_bounds(box, n_rank)).astype(float),
        rounds=exchange_rounds(n, np.clip(bounds - beyond, 0, 2 * reach + 1), samples, _GRID),
    )


def memory(model: str, layout: Layout, n_weight: int = 1) -> float:
    """Bytes of F, T, C and `n_weight` arrays W on the fullest rank, and of the messages of the slab transform."""
    voxel, grid = _SUMS + n_weight * _WEIGHT, _GRID * float(layout.n) ** 2 * layout.half
    if model == "replicated":
        return voxel * layout.n_voxel + grid
    slab = voxel * float(layout.voxels.max())
    if model == "sharded":
        return slab + grid
    planes = float(layout.planes.max())
    return slab + grid * planes / layout.n + (message_bytes(layout) if layout.n_rank > 1 else 0.0)


def message_bytes(layout: Layout) -> float:
    """Bytes of the buffers of the fullest rank: those of three exchanges, if there are so many."""
    most = 0.0
    for rows_of in layout.rounds:
        samples = layout.sums(layout.samples, rows_of)
        most = max(most, float((samples * layout.n + samples.sum() * layout.planes).max()))
    return _GRID * most * min(3, len(layout.rounds))


@lru_cache(maxsize=8)
def voxels_per_sample(padding: int, patch: int = 48, n_slice: int = 100) -> float:
    """Distinct voxels per sample of a slice, at most 8: counted on patches at random orientations."""
    rng = np.random.default_rng(1)
    x, y = np.indices((patch, patch)).reshape(2, -1)
    count = 0
    for _ in range(n_slice):
        axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        corner = np.floor(padding * (np.outer(x, axes[0]) + np.outer(y, axes[1])) + rng.random(3)).astype(np.int64)
        touched = corner[:, None] + np.indices((2, 2, 2)).reshape(3, 8).T
        count += len(np.unique(touched.reshape(-1, 3) @ np.array([1, 2**20, 2**40])))
    return count / (n_slice * patch**2)


def distinct_voxels(layout: Layout, padding: int, n_pose: float) -> float:
    """Voxels that slices at `n_pose` random orientations touch.

    At the distance ρ from the origin a slice has 2πρ dρ/padding² samples in a shell of 4πρ² dρ voxels, each of which
    it touches with the probability v / (2 padding² ρ), v = `voxels_per_sample`.
    """
    distance = np.arange(layout.radius) + 0.5
    shell = 2 * np.pi / 3 * ((distance + 0.5) ** 3 - (distance - 0.5) ** 3)
    probability = np.minimum(voxels_per_sample(padding) / (2 * padding**2 * distance), 1 - 1e-12)
    touched = -np.expm1(n_pose * np.log1p(-probability))
    return min(float((shell * touched).sum()), layout.n_voxel)


def key_value_memory(layout: Layout, padding: int, n_pose: float) -> float:
    """Bytes of F and T as key-values of a rank's images, before the exchange."""
    return _KEY * distinct_voxels(layout, padding, n_pose)
