"""The global scan: images against slices of the reference that all of them share (docs/method.md, Global search)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.aberrations import magnified
from pycryo.geometry.grids import local_order, rotation_grid, rotation_step
from pycryo.geometry.rotations import multiply, quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry
from pycryo.geometry.symmetry import symmetry as symmetry_of
from pycryo.kernels.compare import CELL_SLICES, BestPoses, ImagePanel, SlicePanel, compare, pack_slices
from pycryo.kernels.pixels import Pixels
from pycryo.kernels.projector import FourierVolume, project_slices
from pycryo.parallel.conveyor import Array, Belt, Make


@dataclass(frozen=True, slots=True)
class Scan:
    """The slices and shifts that images are compared with.

    Attributes
    ----------
    rotations : (n_slice, 4) float64
        Shared grid of the asymmetric unit; neighbours in the list are neighbours in space.
    shifts : (n_shift, 2) float64
        px of the images.
    step_rotation, step_shift : float
        Spacing of both: radians, px.
    r_high : float
        Samples with 1 ≤ |k| < r_high are compared.
    count : int
        Of the grid, see `ordered_grid`; `rotations` are turned all alike.
    """

    rotations: NDArray[np.float64]
    shifts: NDArray[np.float64]
    step_rotation: float
    step_shift: float
    r_high: float
    count: int

    def scaled(self, ratio: float, scale: float) -> Scan:
        """For images with `ratio` of their px per px of these shifts, `scale` of these Fourier px per px of theirs."""
        shifts, step = self.shifts * ratio, self.step_shift * ratio
        return Scan(self.rotations, shifts, self.step_rotation, step, self.r_high / scale, self.count)


def make_scan(
    count: int,
    symmetry: Symmetry,
    turn: NDArray[np.float64],
    shifts: NDArray[np.float64],
    step_shift: float,
    r_high: float,
) -> Scan:
    """A scan of about `count` rotations, the grid turned by the rotation `turn`."""
    # A turn from the left takes poses that are mates to poses that are.
    rotations = multiply(turn, ordered_grid(count, symmetry.name))
    return Scan(rotations, shifts, rotation_step(len(rotations), symmetry), step_shift, r_high, count)


@lru_cache(maxsize=8)
def ordered_grid(count: int, group: str) -> NDArray[np.float64]:
    """(n, 4) about `count` rotations of the asymmetric unit, neighbours in the list neighbours in space."""
    rotations = rotation_grid(count, symmetry_of(group))
    rotations = rotations[local_order(rotations, CELL_SLICES)]
    rotations.flags.writeable = False
    return rotations


def slice_maker(
    volumes: Sequence[FourierVolume],
    rotations: NDArray[np.float64],
    pixels: Pixels,
    scale: float,
    threads: int | None = None,
    magnification: NDArray[np.float64] | None = None,
) -> Make:
    """What samples the slices of a belt: item k·n + i is the slice of volume (class) k at rotation i of n.

    Parameters
    ----------
    volumes : sequence of FourierVolume
    rotations : (n, 4) float64
    pixels : Pixels
    scale : float
        Fourier px of the volumes per Fourier px of the images.
    threads : int, optional
    magnification : (2, 2) float64, optional
        Of the images, see `pycryo.geometry.aberrations.magnified`.
    """
    n = len(rotations)

    def make(first: int, last: int, out: Array) -> None:
        for k, volume in enumerate(volumes):
            begin, end = max(first, k * n), min(last, (k + 1) * n)
            if begin < end:
                matrices = quaternion_to_matrix(rotations[begin - k * n : end - k * n])
                if magnification is not None:
                    matrices = magnified(matrices, magnification)
                part = out[begin - first : end - first]
                project_slices(volume, matrices, pixels.kx, pixels.ky, scale=scale, out=part, threads=threads)

    return make


@dataclass(frozen=True, slots=True)
class Panel:
    """Images that are compared together, and what is known of them so far.

    Attributes
    ----------
    images : ImagePanel
    best : BestPoses
        Updated with each block; `index` is item·n_shift + shift.
    log_prior : (n_image, n_shift) float32
        Of the shifts.
    active : (n_image, n_cell) bool or None
        Cells of `CELL_SLICES` items that an image is compared with; None: all.
    """

    images: ImagePanel
    best: BestPoses
    log_prior: NDArray[np.float32]
    active: NDArray[np.bool_] | None = None

    def n_score(self, n_item: int) -> int:
        """Scores that a belt of `n_item` items asks for."""
        return int(self.scores(n_item).sum())

    def scores(self, n_item: int) -> NDArray[np.int64]:
        """(n_image,) of them for each image."""
        if self.active is None:
            return np.full(self.images.n_image, self.images.n_shift * n_item, np.int64)
        cells: NDArray[np.int64] = self.active.sum(axis=1, dtype=np.int64)
        return cells * (CELL_SLICES * self.images.n_shift)


def run_belts(
    work: Sequence[tuple[Belt, Sequence[Panel]]],
    threads: int | None = None,
    advance: Callable[[float], None] = lambda n_item: None,
) -> float:
    """Compare the panels of each belt with all its blocks; belts that a rank serves at once take turns. Collective.

    `advance` hears of the items that are done.

    Returns
    -------
    float
        Seconds of comparison.
    """
    seconds = 0.0
    for blocks in zip_longest(*(belt.blocks() for belt, _ in work)):
        for (_, panels), block in zip(work, blocks, strict=True):
            if block is None or not panels:
                continue
            first, slices = block
            begin = time.perf_counter()
            packed = pack_slices(slices, threads=threads)
            for panel in panels:
                _compare(panel, packed, first, threads)
                for belt, _ in work:
                    belt.progress()
            seconds += time.perf_counter() - begin
            advance(len(slices))
    return seconds


def _compare(panel: Panel, slices: SlicePanel, first: int, threads: int | None) -> None:
    active = panel.active
    if active is not None:
        cell = first // CELL_SLICES
        active = np.ascontiguousarray(active[:, cell : cell - (-slices.n_slice // CELL_SLICES)]).view(np.uint8)
        if not np.count_nonzero(active):
            return
    compare(
        panel.images,
        slices,
        panel.best,
        slice_offset=first,
        log_prior_shift=panel.log_prior,
        active=active,
        threads=threads,
    )
