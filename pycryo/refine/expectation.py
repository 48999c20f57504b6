"""The posterior of the poses of a batch of images, from their candidates (method.md §4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pycryo.compare_local import compare_local
from pycryo.filter.phases import PhaseSettings, run_phases
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import quaternion_to_matrix
from pycryo.projector import FourierVolume
from pycryo.refine.prepare import Target
from pycryo.refine.prior import PosePrior


def sample_posterior(
    volumes: Sequence[FourierVolume],
    target: Target,
    start: Support,
    scale_rotation: NDArray[np.float64],
    scale_shift: NDArray[np.float64],
    *,
    r_high: float,
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
    pixel_size: float = 1.0,
    threads: int | None = None,
) -> Posterior:
    """Run the filter's phases on a batch; see `pycryo.filter.phases.run_phases` for the other arguments.

    Parameters
    ----------
    volumes : sequence of FourierVolume
        The reference of each class.
    class_share : (n_class,) float64
        Prior of the classes, positive.
    prior : PosePrior or None
        Of the poses of these images, of `pixel_size` Å, beside that of the shifts of all (`sigma_shift`, px).
    """
    near = target.between(1, r_high)
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
        log_class = np.log(class_share)[classes][..., None]
        if prior is None:
            log_prior = -0.5 * np.square(shifts).sum(-1) / sigma_shift**2
            return np.asarray(log_likelihood + log_prior[:, None, :] + log_class)
        log_prior = prior.log_shift(rows, shifts, pixel_size, sigma_shift)
        log_class = log_class + prior.log_rotation(rows, rotations)[:, :, None]
        return np.asarray(log_likelihood + log_prior[:, None, :] + log_class)

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
        n_class=len(class_share),
    )
