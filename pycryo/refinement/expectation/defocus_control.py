"""The changes of the defocus between iterations, and the width of their prior.

See docs/method.md, Defocus of each particle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.support import RowsPosterior
from pycryo.kernels.ctf import electron_wavelength
from pycryo.refinement.data.partition import Partition
from pycryo.refinement.expectation.defocus import LEAST_SIGMA, first_sigma
from pycryo.refinement.expectation.half_pass import Results

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class DefocusFigures:
    """Figures over the images that look like particles, Å.

    Attributes
    ----------
    size : float
        Median size of the changes of the defocus.
    moved : float
        Median difference to those of the last iteration.
    turn : float
        Degrees by which that turns the CTF at the highest frequency compared.
    spread : float
        Median spread of their posteriors.
    sigma : float
        Prior of the next search; None before the first one.
    sigma_turn : float
        Degrees by which that turns the CTF, so.
    """

    size: float
    moved: float
    turn: float
    spread: float
    sigma: float | None
    sigma_turn: float


def measure_defocus(
    partition: Partition,
    last: tuple[RowsPosterior | None, RowsPosterior | None],
    results: Results,
    particle: Array,
    sigma: tuple[float | None, float | None],
    frequency: float,
) -> DefocusFigures:
    """Figures of the changes of all ranks. Collective.

    Parameters
    ----------
    partition : Partition
    last : two of (rows, Posterior) or None
        Of this rank's particles in the last iteration, by half.
    results : two of HalfResult or None
    particle : (n_all,) float64
        Probabilities that the images show particles: what fits junk best says nothing of the errors of defoci.
    sigma : two of (float or None)
        Prior of the changes before this iteration, and in its search, Å; None: they were not searched.
    frequency : float
        The highest that was compared, 1/Å.
    """
    was, searched = sigma
    if searched is None:
        return DefocusFigures(0.0, 0.0, 0.0, 0.0, was, 0.0)
    before = np.zeros(partition.particles.n)
    for found in last:
        if found is not None:
            before[found[0]] = found[1].defocus_change
    mine = [
        np.stack([result.rows, p.defocus_change, p.defocus_change - before[result.rows], p.spread_defocus])
        for result in results
        if result is not None and (p := result.posterior) is not None
    ]
    gathered = np.concatenate([part for rank in partition.comm.all_gather(mine) for part in rank], axis=1)
    # In one order for any number of ranks, as sums follow.
    gathered = gathered[:, np.argsort(gathered[0])]
    seen = particle[gathered[0].astype(np.int64)] >= 0.5
    _, change, moved, spread = gathered[:, seen if seen.any() else slice(None)]
    optics = partition.particles.optics
    wavelength = float(np.median(electron_wavelength(optics.voltage)[partition.particles.optics_group]))
    distance = float(np.median(np.abs(moved)))
    degrees = 180 * wavelength * frequency**2
    most = first_sigma(partition.particles, partition.half)
    width = max(LEAST_SIGMA, next_sigma(change, spread, searched, most=most))
    return DefocusFigures(
        size=float(np.median(np.abs(change))),
        moved=distance,
        turn=degrees * distance,
        spread=float(np.median(spread)),
        sigma=width,
        sigma_turn=degrees * width,
    )


def next_sigma(mean: Array, spread: Array, sigma: float, *, most: float) -> float:
    """The width of the prior, up to `most`, that makes the images most likely.

    Each image's likelihood is taken as the normal distribution that leads from the prior (0, `sigma`) to the posterior
    (`mean`, `spread`); images whose posterior is no narrower than the prior say nothing. 0 if none is more likely.
    """
    precision = 1 / np.square(np.maximum(spread, 1e-3)) - 1 / sigma**2
    tells = precision > 0
    if not tells.any():
        return min(most, sigma)
    pull, precision = (mean * (precision + 1 / sigma**2))[tells], precision[tells]

    def slope(variance: float) -> float:
        """Twice the derivative of the log likelihood by the prior's variance."""
        shrunk = 1 / (1 + precision * variance)
        return float((np.square(pull * shrunk) - precision * shrunk).sum())

    if slope(0.0) <= 0:
        return 0.0
    if slope(most**2) >= 0:
        return most
    # Bisection: SciPy's optimizers would take longer to be imported than this to run.
    below, above = 0.0, most**2
    while above - below > 1e-6 * most**2:
        middle = (below + above) / 2
        below, above = (middle, above) if slope(middle) > 0 else (below, middle)
    return math.sqrt((below + above) / 2)
