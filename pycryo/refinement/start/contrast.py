"""Whether particles are light on dark, from their images alone."""

from __future__ import annotations

import numpy as np

from pycryo.refinement.data.image_statistics import group_sums
from pycryo.refinement.data.partition import Partition

# Standard errors above which particles are said to be dark. Of four sets that are right it was -14 to -120, of noise
# alone within 3 of 0.
DARK = 6.0
# Fewer images tell nothing.
_FEW = 10
# Radii: what is within the first share of the particle's radius is compared with what is outside the second and
# outside of that share of half the box.
_INSIDE, _OUTSIDE, _RIM = 0.6, 1.1, 0.9


def darkness(partition: Partition, diameter: float) -> float:
    """By how many standard errors the images are darker where the particle is than around it.

    Collective; the same on every rank and for any number of them. 0 if there are few images, or no surroundings.

    Parameters
    ----------
    partition : Partition
    diameter : float
        Of the particle, Å.
    """
    particles = partition.particles
    differences = [np.empty(0)]
    for batch in partition.batches(partition.rows):
        box = batch.images.shape[-1]
        pixel_size = float(particles.pixel_size[batch.rows[0]])
        line = np.arange(box) - box // 2
        radius = np.hypot(line[:, None], line)
        inside = radius <= max(1.0, _INSIDE * 0.5 * diameter / pixel_size)
        outside = radius >= min(_OUTSIDE * 0.5 * diameter / pixel_size, _RIM * 0.5 * box)
        means = [batch.images[:, where].mean(axis=1, dtype=np.float64) for where in (outside, inside)]
        differences.append(means[0] - means[1])
    found = np.concatenate(differences)
    moments = np.stack([np.ones(len(found)), found, np.square(found)], axis=1)
    n, total, square = group_sums(partition.comm, moments, np.zeros(len(found), np.int32), 1, particles.n)[0]
    if n < _FEW:
        return 0.0
    variance = square / n - (total / n) ** 2
    return float(total / n / np.sqrt(max(variance, 1e-300) / n))
