"""E-phase: the posterior of the poses of a batch of images (method.md §3, §4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.compare import compare, new_best, pack_images
from pycryo.compare_local import compare_local
from pycryo.filter.phases import PhaseSettings, flatten_weights, run_phases
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.grids import rotation_grid, rotation_step
from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry
from pycryo.projector import FourierVolume, project_slices
from pycryo.refine.prepare import Target
from pycryo.shift import shift

# Slices sampled and compared at a time.
_SLICE_BLOCK = 512
# Candidates (rotation, shift) that the scan keeps of each image.
_N_CANDIDATE = 96


@dataclass(frozen=True, slots=True)
class Scan:
    """The slices and shifts that all images are compared with in a global search.

    Attributes
    ----------
    rotations : (n_slice, 4) float64
        Shared grid of the asymmetric unit.
    shifts : (n_shift, 2) float64
        px of the images.
    step_rotation, step_shift : float
        Spacing of both: radians, px.
    r_high : float
        Samples with |k| below it are compared.
    """

    rotations: NDArray[np.float64]
    shifts: NDArray[np.float64]
    step_rotation: float
    step_shift: float
    r_high: float


def make_scan(
    count: int,
    symmetry: Symmetry,
    turn: NDArray[np.float64],
    shifts: NDArray[np.float64],
    step_shift: float,
    r_high: float,
) -> Scan:
    """A scan of about `count` rotations, the grid turned by the rotation `turn`."""
    rotations = rotation_grid(count, symmetry, turn)
    return Scan(rotations, shifts, rotation_step(len(rotations), symmetry), step_shift, r_high)


def global_search(
    volume: FourierVolume,
    target: Target,
    scan: Scan,
    sigma_shift: float,
    model_scale: float,
    threads: int | None = None,
) -> Support:
    """Best candidates of each image among all pairs of the scan's rotations and shifts.

    Parameters
    ----------
    volume : FourierVolume
    target : Target
    scan : Scan
    sigma_shift : float
        Standard deviation of the shift prior per axis, px of the images.
    model_scale : float
        Fourier px of the volume per Fourier px of the images.

    Returns
    -------
    Support
        `_N_CANDIDATE` points per image with their (flattened) posterior weights.
    """
    near = target.between(1, scan.r_high)
    n, pixels = len(near), near.pixels
    n_shift = len(scan.shifts)
    shifts = np.broadcast_to(scan.shifts, (n, n_shift, 2))
    panel = pack_images(shift(near.images, pixels.kx, pixels.ky, shifts, pixels.box, threads=threads), near.weights)
    log_prior = -0.5 * np.square(scan.shifts).sum(1) / sigma_shift**2
    prior = np.tile(log_prior.astype(np.float32), (n, 1))
    best = new_best(n, min(_N_CANDIDATE, n_shift * len(scan.rotations)))
    for start in range(0, len(scan.rotations), _SLICE_BLOCK):
        matrices = quaternion_to_matrix(scan.rotations[start : start + _SLICE_BLOCK])
        slices = project_slices(volume, matrices, pixels.kx, pixels.ky, scale=model_scale, threads=threads)
        compare(panel, slices, best, slice_offset=start, log_prior_shift=prior, threads=threads)
    rotation, moved = np.divmod(best.index, n_shift)
    weight = flatten_weights(best.score.astype(np.float64), 16.0)
    return Support(scan.rotations[rotation], scan.shifts[moved], weight)


def sample_posterior(
    volume: FourierVolume,
    target: Target,
    start: Support,
    scale_rotation: NDArray[np.float64],
    scale_shift: NDArray[np.float64],
    *,
    r_high: float,
    sigma_shift: float,
    model_scale: float,
    ids: NDArray[np.int64],
    seed: int,
    stream: int,
    settings: PhaseSettings,
    floor_rotation: float,
    floor_shift: float,
    threads: int | None = None,
) -> Posterior:
    """Run the filter's phases on a batch; see `pycryo.filter.phases.run_phases` for the arguments."""
    near = target.between(1, r_high)
    pixels = near.pixels

    def score(
        rows: NDArray[np.int64], rotations: NDArray[np.float64], shifts: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        everyone = len(rows) == len(near)
        log_likelihood = compare_local(
            volume,
            quaternion_to_matrix(rotations),
            shifts,
            near.images if everyone else near.images[rows],
            near.weights if everyone else near.weights[rows],
            pixels.kx,
            pixels.ky,
            box=pixels.box,
            scale=model_scale,
            threads=threads,
        )
        log_prior = -0.5 * np.square(shifts).sum(-1) / sigma_shift**2
        return np.asarray(log_likelihood + log_prior[:, None, :])

    return run_phases(
        score,
        start,
        scale_rotation,
        scale_shift,
        ids=ids,
        seed=seed,
        stream=stream,
        settings=settings,
        floor_rotation=floor_rotation,
        floor_shift=floor_shift,
    )
