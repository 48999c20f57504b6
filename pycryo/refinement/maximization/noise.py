"""Noise spectra and grey scales per optics group, from what the models leave of the images.

See docs/method.md, Noise and grey scales.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.io.particles import Particles
from pycryo.kernels.pixels import shell_samples
from pycryo.refinement.data.image_statistics import ImageStatistics, group_sums
from pycryo.refinement.data.partition import Partition
from pycryo.refinement.data.prepare import Weighting
from pycryo.refinement.expectation.half_pass import Results


def first_noise(statistics: ImageStatistics, particles: Particles) -> NDArray[np.float64]:
    """(n_group, n_shell) σ² per real component: all power counts as noise, which makes the first posteriors broad."""
    zero = np.zeros_like(statistics.power)
    return updated_noise(statistics, particles, zero, zero, np.ones_like(statistics.power))


def updated_noise(
    statistics: ImageStatistics,
    particles: Particles,
    cross: NDArray[np.float64],
    model: NDArray[np.float64],
    noise: NDArray[np.float64],
) -> NDArray[np.float64]:
    """σ² from the residuals ⟨|X - M|²⟩; `cross` and `model` are `Overlap` sums per group, weighted by `noise`."""
    n_group, n_shell = statistics.power.shape
    result = np.ones((n_group, n_shell))
    for g in range(n_group):
        if not statistics.count[g]:
            continue
        box = int(particles.optics.box[g])
        residual = statistics.power[g] + noise[g] * (model[g] - 2 * cross[g])
        # A model that explains nearly everything is not believed.
        residual = np.maximum(residual, 0.05 * statistics.power[g])
        spectrum = residual / (2 * statistics.count[g] * shell_samples(box, n_shell))
        reach = (box + 1) // 2
        spectrum[reach:] = spectrum[reach - 1]
        positive = spectrum[spectrum > 0]
        if not len(positive):
            raise FloatingPointError("an optics group has no power in any shell")
        # The mean of an image is subtracted: its shell 0 says nothing about noise.
        spectrum[0] = spectrum[1] if n_shell > 1 else spectrum[0]
        result[g] = np.maximum(spectrum, 1e-6 * np.median(positive))
    return result


def update_noise(
    partition: Partition,
    statistics: ImageStatistics,
    weighting: Weighting,
    r_high: float,
    results: Results,
    particle: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Noise spectra and grey scales of the next iteration, of the images that show particles. Collective.

    Parameters
    ----------
    partition : Partition
    statistics : ImageStatistics
    weighting : Weighting
        Of this iteration.
    r_high : float
        Samples below it were compared, Fourier px of the model.
    results : two of HalfResult or None
    particle : (n_all,) float64
        Probabilities that the images show particles.

    Returns
    -------
    (n_group, n_shell), (n_group,) float64
        Of groups without images as before.
    """
    before, scale = weighting.noise, weighting.scale
    n_group, n_shell = before.shape
    there = [result for result in results if result is not None]
    rows = np.concatenate([np.empty(0, np.int64), *(result.rows for result in there)])
    group = partition.particles.optics_group[rows]

    def total(name: str, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        values = np.concatenate([np.empty((0, n_shell)), *(getattr(result, name) for result in there)])
        if weight is not None:
            values *= weight[:, None]
        return group_sums(partition.comm, values, group, n_group, partition.particles.n)

    noise = updated_noise(statistics, partition.particles, total("cross"), total("model"), before)
    noise[statistics.count == 0] = before[statistics.count == 0]
    sums = (total(name, weight) for weight in (None, particle[rows]) for name in ("residual", "expected"))
    noise *= without_junk(*sums)
    if n_group == 1:
        return noise, scale
    last = max(4, int(0.7 * r_high))
    cross, model = (total(name, particle[rows]) for name in ("cross", "model"))
    return noise, updated_scale(scale, cross, model, statistics.count, 2, last)


def without_junk(
    residual: NDArray[np.float64],
    expected: NDArray[np.float64],
    residual_of_particles: NDArray[np.float64],
    expected_of_particles: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(n_group, n_shell) factor that takes the power of other images than particles out of noise spectra.

    Sums of `Overlap` over the images of each group, and over the particles among them; 1 where nothing was compared.
    """
    known = (expected > 0) & (residual > 0) & (expected_of_particles > 0) & (residual_of_particles > 0)
    factor = np.ones_like(residual)
    np.divide(residual_of_particles * expected, residual * expected_of_particles, out=factor, where=known)
    return np.clip(factor, 0.1, 2.0)


def updated_scale(
    scale: NDArray[np.float64],
    cross: NDArray[np.float64],
    model: NDArray[np.float64],
    count: NDArray[np.int64],
    first: int,
    last: int,
) -> NDArray[np.float64]:
    """(n_group,) grey scales s with mean 1, from the shells `first` to `last` where the map is well determined."""
    numerator, denominator = cross[:, first:last].sum(1), model[:, first:last].sum(1)
    ratio = np.ones_like(scale)
    np.divide(numerator, denominator, out=ratio, where=(denominator > 0) & (numerator > 0))
    new = scale * np.clip(ratio, 0.5, 2.0)
    mean = np.average(new, weights=count) if count.sum() else 1.0
    return np.asarray(new / mean)
