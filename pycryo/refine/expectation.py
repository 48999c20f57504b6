"""The posterior of the poses of a batch of images, from their candidates (method.md §4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pycryo.compare_local import compare_local
from pycryo.filter.islands import search_islands
from pycryo.filter.phases import PhaseSettings, Score, run_phases
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.projector import FourierVolume
from pycryo.refine.prepare import Target


def sample_posterior(
    volume: FourierVolume,
    target: Target,
    start: Support,
    scale_rotation: NDArray[np.float64],
    scale_shift: NDArray[np.float64],
    *,
    r_high: float,
    guides: Sequence[float],
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
    """Run the filter's phases on a batch; see `pycryo.filter.phases.run_phases` for the arguments.

    With `guides`, r_high of phases between that of a scan and the full one, modes are searched as islands first.
    """
    score, *coarser = (
        _score(volume, target.between(1, limit), sigma_shift, model_scale, threads) for limit in (r_high, *guides)
    )
    n_slices = np.zeros(len(target), np.int64)
    if coarser:
        found = search_islands(
            score,
            start,
            scale_rotation,
            scale_shift,
            guides=coarser,
            ids=ids,
            seed=seed,
            stream=stream,
            floor_rotation=floor_rotation,
            floor_shift=floor_shift,
        )
        start, n_slices = found.support, found.n_slices
        scale_rotation, scale_shift = found.scale_rotation, found.scale_shift
    posterior = run_phases(
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
    posterior.n_slices[:] += n_slices
    return posterior


def _score(volume: FourierVolume, near: Target, sigma_shift: float, model_scale: float, threads: int | None) -> Score:
    """Log-likelihood of the samples `near`, and log prior."""
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

    return score
