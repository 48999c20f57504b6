"""Images of a half-set, packed for a scan, and the candidates that it leaves (docs/method.md, Global search)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.resampling import flatten_weights
from pycryo.filter.support import Support
from pycryo.kernels.compare import NO_MARGIN, BestPoses, new_best, pack_images
from pycryo.kernels.projector import FourierVolume
from pycryo.kernels.shift import shift
from pycryo.parallel.comm import Comm
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.expectation.pruning import KEPT_MARGIN, Nesting, survivors
from pycryo.refinement.expectation.scan import Panel, Scan

# Candidates (slice, shift) that a scan keeps of each image: the last one, and the coarse one before it.
N_CANDIDATE = 128
N_COARSE = 1024
# Images of a panel: between two panels messages move on.
_PANEL_IMAGES = 256
# Shifts of a panel after the coarse scan: multiples of it, which fill the kernel's tiles.
_SHIFT_STEP = 7
# An image of which more than this share of the scores is left is compared with everything: that has twice the speed.
_DENSE = 0.5
# Effective number of candidates that the filter starts from.
_MIN_EFFECTIVE = 16.0


@dataclass(frozen=True, slots=True)
class HalfSearch:
    """Images of one half-set and geometry on this rank, and the ranks that compare theirs with the same slices.

    Attributes
    ----------
    comm : Comm
        The ranks of the half-set.
    share : float
        Part of the slices that this rank samples, relative to the others'.
    volumes : sequence of FourierVolume
        The reference of each class.
    targets : list of Target
        May be empty.
    scan : Scan
        px and Fourier px of the images.
    coarse : Scan or None
        Its forerunner.
    box : int
        Of the images, px.
    scale : float
        Fourier px of the volumes per Fourier px of the images.
    sigma_shift : float
        Standard deviation of the shift prior per axis, px.
    magnification : (2, 2) float64 or None
        Of the images; None: they are undistorted.
    """

    comm: Comm
    share: float
    volumes: Sequence[FourierVolume]
    targets: list[Target]
    scan: Scan
    coarse: Scan | None
    box: int
    scale: float
    sigma_shift: float
    magnification: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Images of a panel: `target` they are of, `rows` in it, `shifts` (n, n_shift) of the scan, -1 for none."""

    panel: Panel
    target: int
    rows: NDArray[np.int64]
    shifts: NDArray[np.int64]


def all_poses(search: HalfSearch, scan: Scan, threads: int | None, *, is_coarse: bool = False) -> Iterator[Group]:
    """Groups that are compared with all slices at all shifts, of the fine or the coarse scan."""
    n_best, margin = (N_COARSE, KEPT_MARGIN) if is_coarse else (N_CANDIDATE, NO_MARGIN)
    for number, target in enumerate(search.targets):
        near = target.between(1, scan.r_high)
        for start in range(0, len(near), _PANEL_IMAGES):
            rows = np.arange(start, min(start + _PANEL_IMAGES, len(near)))
            best = new_best(len(rows), min(n_best, _n_pose(search, scan)), margin)
            yield _dense_group(search, near, number, rows, scan, best, threads)


def _dense_group(
    search: HalfSearch,
    near: Target,
    number: int,
    rows: NDArray[np.int64],
    scan: Scan,
    best: BestPoses,
    threads: int | None,
) -> Group:
    """The images `rows` of the target with this number, to be compared with all slices at all shifts."""
    shifts = np.tile(np.arange(len(scan.shifts)), (len(rows), 1))
    return Group(_panel(search, near, rows, scan, shifts, best, None, threads), number, rows, shifts)


def _n_pose(search: HalfSearch, scan: Scan) -> int:
    return len(search.volumes) * len(scan.rotations) * len(scan.shifts)


def surviving_poses(
    search: HalfSearch, firsts: Sequence[Group], nesting: Nesting, threads: int | None
) -> Iterator[Group]:
    """Groups of images that need about the same number of shifts, after the coarse scan."""
    scan, n_class = search.scan, len(search.volumes)
    n_item, n_shift = n_class * len(scan.rotations), len(scan.shifts)
    for first in firsts:
        near = search.targets[first.target].between(1, scan.r_high)
        needed = survivors(first.panel.best, nesting, n_class)
        dense = needed.cells.mean(axis=1) * needed.shifts.mean(axis=1) > _DENSE
        if dense.any():
            best = new_best(int(dense.sum()), min(N_CANDIDATE, _n_pose(search, scan)))
            yield _dense_group(search, near, first.target, first.rows[dense], scan, best, threads)
        width = np.where(dense, 0, -(-needed.shifts.sum(axis=1) // _SHIFT_STEP))
        # The shifts that an image needs first, in their order.
        order = np.argsort(~needed.shifts, axis=1, kind="stable")
        for value in np.unique(width[~dense]):
            places = np.flatnonzero(width == value)
            n_place = min(int(value) * _SHIFT_STEP, n_shift)
            shifts = order[places, :n_place]
            shifts = np.where(np.take_along_axis(needed.shifts[places], shifts, axis=1), shifts, -1)
            best = new_best(len(places), min(N_CANDIDATE, n_item * n_place))
            panel = _panel(search, near, first.rows[places], scan, shifts, best, needed.cells[places], threads)
            yield Group(panel, first.target, first.rows[places], shifts)


def _panel(
    search: HalfSearch,
    near: Target,
    rows: NDArray[np.int64],
    scan: Scan,
    shifts: NDArray[np.int64],
    best: BestPoses,
    active: NDArray[np.bool_] | None,
    threads: int | None,
) -> Panel:
    """Shift and pack the images `rows` of a target at the scan's `shifts`, (n, n_shift), -1 for none."""
    pixels = near.pixels
    moves = scan.shifts[shifts]
    log_prior = -0.5 * np.square(moves).sum(2) / search.sigma_shift**2
    log_prior[shifts < 0] = -np.inf
    moved = shift(np.ascontiguousarray(near.images[rows]), pixels.kx, pixels.ky, moves, pixels.box, threads=threads)
    images = pack_images(
        moved,
        np.ascontiguousarray(near.weights[rows]),
        images_per_group=None if active is None else 1,
        threads=threads,
    )
    return Panel(images, best, log_prior.astype(np.float32), active)


def supports_of(search: HalfSearch, groups: Sequence[Group]) -> list[Support]:
    """The candidates of each target's images, as support points of the filter."""
    n_rotation = len(search.scan.rotations)
    found = [_no_support(len(target)) for target in search.targets]
    for group in groups:
        best, place = group.panel.best, np.arange(len(group.rows))[:, None]
        item, which = np.divmod(np.maximum(best.index, 0), group.panel.images.n_shift)
        support, n = found[group.target], best.index.shape[1]
        support.quaternion[group.rows, :n] = search.scan.rotations[item % n_rotation]
        support.class_index[group.rows, :n] = item // n_rotation
        support.shift[group.rows, :n] = search.scan.shifts[group.shifts[place, which]]
        support.weight[group.rows, :n] = flatten_weights(best.score.astype(np.float64), _MIN_EFFECTIVE)
    return found


def _no_support(n: int) -> Support:
    quaternion = np.zeros((n, N_CANDIDATE, 4))
    quaternion[..., 0] = 1
    shift, weight, class_index = np.zeros((n, N_CANDIDATE, 2)), np.zeros((n, N_CANDIDATE)), (n, N_CANDIDATE)
    return Support(quaternion, shift, weight, np.zeros(class_index, np.int32))
