"""The posterior of the poses of a batch of images, from their candidates (docs/method.md, The particle filter)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import Draws
from pycryo.filter.modes import Known, search_modes
from pycryo.filter.pairs import Pairs
from pycryo.filter.phases import PhaseSettings, Score, run_phases
from pycryo.filter.proposals import Widths
from pycryo.filter.support import Posterior, Support
from pycryo.kernels.compare_local import compare_local
from pycryo.kernels.projector import FourierVolume
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.data.prior import PosePrior


@dataclass(frozen=True, slots=True)
class LogPrior:
    """Log prior of classes, shifts and, where they are restrained, rotations.

    Attributes
    ----------
    sigma_shift : float
        Of all images about 0, px per axis.
    class_share : (n_class,) float64
        Prior of the classes, positive.
    restraint : PosePrior or None
        Of the poses of these images, beside that of the shifts of all.
    pixel_size : float
        Of the images, Å.
    """

    sigma_shift: float
    class_share: NDArray[np.float64]
    restraint: PosePrior | None
    pixel_size: float

    def __call__(
        self,
        rows: NDArray[np.int64],
        rotations: NDArray[np.float64],
        classes: NDArray[np.int32],
        shifts: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of rotations and classes (k, R), and of shifts (k, T), of the images `rows`."""
        of_rotation = np.log(self.class_share)[classes]
        if self.restraint is None:
            of_shift = -0.5 * np.square(shifts).sum(-1) / self.sigma_shift**2
        else:
            of_shift = self.restraint.log_shift(rows, shifts, self.pixel_size, self.sigma_shift)
            of_rotation = of_rotation + self.restraint.log_rotation(rows, rotations)
        return of_rotation, of_shift


@dataclass(frozen=True, slots=True)
class Comparison:
    """A batch of images, what they are compared with, and the prior of their poses.

    Attributes
    ----------
    volumes : sequence of FourierVolume
        The reference of each class.
    target : Target
    model_scale : float
        Fourier px of the model per Fourier px of the images.
    sharpness : float
        The likelihood is raised to this power.
    log_prior : LogPrior
    threads : int or None
    """

    volumes: Sequence[FourierVolume]
    target: Target
    model_scale: float
    sharpness: float
    log_prior: LogPrior
    threads: int | None = None

    def score(self, r_high: float) -> Score:
        """Log-likelihood of the samples 1 ≤ |k| < `r_high` (Fourier px of the images), sharpened, and log prior."""
        near = self.target.between(1, r_high)

        def score(
            rows: NDArray[np.int64],
            rotations: NDArray[np.float64],
            classes: NDArray[np.int32],
            shifts: NDArray[np.float64],
        ) -> Pairs:
            log_likelihood = compare_local(
                self.volumes,
                near.matrices(rotations, rows[:, None]),
                shifts,
                near.images,
                near.weights,
                near.pixels,
                classes=classes,
                places=rows,
                scale=self.model_scale,
                threads=self.threads,
            )
            log_likelihood *= np.float32(self.sharpness)
            return Pairs(log_likelihood, *self.log_prior(rows, rotations, classes, shifts))

        return score


def sample_posterior(
    comparison: Comparison,
    start: Support,
    widths: Widths,
    draws: Draws,
    settings: PhaseSettings,
    *,
    r_high: float,
    guides: Sequence[float],
    known: Known | None = None,
) -> Posterior:
    """Run the filter's phases on a batch.

    Parameters
    ----------
    comparison : Comparison
    start, widths, draws, settings
        See `pycryo.filter.phases.run_phases`.
    r_high : float
        Samples below it are compared, Fourier px of the images.
    guides : sequence of float
        r_high of phases between that of a scan and the full one: the modes are searched one by one first.
    known : Known or None
        Modes that compete with those of the scan.

    Returns
    -------
    Posterior
        Its log evidence is in units of the likelihood itself.
    """
    score, *coarser = (comparison.score(limit) for limit in (r_high, *guides))
    n_class = len(comparison.log_prior.class_share)
    n_slices = np.zeros(len(comparison.target), np.int64)
    if coarser:
        found = search_modes(score, start, widths, draws, guides=coarser, n_class=n_class, known=known)
        start, widths, n_slices = found.support, found.widths, found.n_slices
    posterior = run_phases(score, start, widths, draws, settings, n_class=n_class)
    posterior.n_slices[:] += n_slices
    posterior.log_evidence[:] /= comparison.sharpness
    return posterior
