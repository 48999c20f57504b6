"""The posterior of the poses of a batch of images, from their candidates (method.md §4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.modes import Known, search_islands
from pycryo.filter.phases import PhaseSettings, Score, run_phases
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.kernels.compare_local import compare_local
from pycryo.kernels.projector import FourierVolume
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.data.prior import PosePrior


def sample_posterior(
    volumes: Sequence[FourierVolume],
    target: Target,
    start: Support,
    scale_rotation: NDArray[np.float64],
    scale_shift: NDArray[np.float64],
    *,
    r_high: float,
    guides: Sequence[float],
    sharpness: float,
    sigma_shift: float,
    class_share: NDArray[np.float64],
    model_scale: float,
    ids: NDArray[np.int64],
    seed: int,
    stream: int,
    settings: PhaseSettings,
    floor_rotation: float,
    floor_shift: float,
    prior: PosePrior | None = None,
    known: Known | None = None,
    pixel_size: float = 1.0,
    threads: int | None = None,
) -> Posterior:
    """Run the filter's phases on a batch; see `pycryo.filter.phases.run_phases` for the other arguments.

    Parameters
    ----------
    volumes : sequence of FourierVolume
        The reference of each class.
    guides : sequence of float
        r_high of phases between that of a scan and the full one: modes are searched as islands first.
    sharpness : float
        The likelihood is raised to this power; the log evidence is in units of the likelihood itself.
    class_share : (n_class,) float64
        Prior of the classes, positive.
    prior : PosePrior or None
        Of the poses of these images, of `pixel_size` Å, beside that of the shifts of all (`sigma_shift`, px).
    known : Known or None
        Modes that compete with the islands.
    """

    def score_of(limit: float) -> Score:
        near = target.between(1, limit)
        log_prior = _log_prior(sigma_shift, class_share, prior, pixel_size)
        return _score(volumes, near, model_scale, sharpness, log_prior, threads)

    score, *coarser = (score_of(limit) for limit in (r_high, *guides))
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
            n_class=len(class_share),
            known=known,
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
        n_class=len(class_share),
    )
    posterior.n_slices[:] += n_slices
    posterior.log_evidence[:] /= sharpness
    return posterior


def _log_prior(
    sigma_shift: float, class_share: NDArray[np.float64], prior: PosePrior | None, pixel_size: float
) -> Score:
    """Log prior of classes, shifts and, with `prior`, rotations."""
    log_share = np.log(class_share)

    def log_prior(
        rows: NDArray[np.int64],
        rotations: NDArray[np.float64],
        classes: NDArray[np.int32],
        shifts: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        of_rotation = log_share[classes]
        if prior is None:
            of_shift = -0.5 * np.square(shifts).sum(-1) / sigma_shift**2
        else:
            of_shift = prior.log_shift(rows, shifts, pixel_size, sigma_shift)
            of_rotation = of_rotation + prior.log_rotation(rows, rotations)
        return np.asarray(of_rotation[:, :, None] + of_shift[:, None, :])

    return log_prior


def _score(
    volumes: Sequence[FourierVolume],
    near: Target,
    model_scale: float,
    sharpness: float,
    log_prior: Score,
    threads: int | None,
) -> Score:
    """Log-likelihood of the samples `near` times `sharpness`, and log prior."""
    pixels = near.pixels

    def score(
        rows: NDArray[np.int64],
        rotations: NDArray[np.float64],
        classes: NDArray[np.int32],
        shifts: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        everyone = len(rows) == len(near)
        log_likelihood = compare_local(
            volumes,
            quaternion_to_matrix(rotations),
            shifts,
            near.images if everyone else near.images[rows],
            near.weights if everyone else near.weights[rows],
            pixels.kx,
            pixels.ky,
            box=pixels.box,
            classes=classes,
            scale=model_scale,
            threads=threads,
        )
        return np.asarray(sharpness * log_likelihood + log_prior(rows, rotations, classes, shifts))

    return score
