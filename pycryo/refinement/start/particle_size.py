"""The diameter of the particles, from their images alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.refinement.data.image_statistics import group_sums
from pycryo.refinement.data.partition import Partition

# The particle reaches to where the power above that of the background falls below this share of its greatest value,
# and further by this factor: its tips show in few views. Seven sets: 0.86 to 1 of what `diameter_of` has from a map of
# 40 Å, whose blur counts there.
_EDGE = 0.1
_TIPS = 1.35
# Radii in units of half the box: the background is taken outside the first, the particle is looked for inside the last.
_BACKGROUND = 0.85
# Share of the box that a particle is taken to fill if its images show no edge; and at most.
_USUAL, _MOST = 0.65, 0.9
_N_RING = 24
# Blur of the images, as a share of the box: the noise would hide the particle.
_BLUR = 0.02


def estimate_diameter(partition: Partition) -> float:
    """Diameter, Å, of the circle about the centre outside which the images have the power of their background.

    Collective; the same on every rank.
    """
    from scipy import ndimage

    particles = partition.particles
    profiles = [np.empty((0, _N_RING))]
    for batch in partition.batches(partition.rows):
        box = batch.images.shape[-1]
        blurred = ndimage.gaussian_filter(batch.images, (0, _BLUR * box, _BLUR * box), mode="nearest")
        ring = rings(box)
        square = np.square(blurred, dtype=np.float64).reshape(len(blurred), -1)
        sums = np.stack([square[:, ring == number].sum(axis=1) for number in range(_N_RING)], axis=1)
        counts = np.maximum(np.bincount(ring, minlength=_N_RING + 1)[:_N_RING], 1)
        profiles.append(sums / counts)
    profile = np.concatenate(profiles)
    everything = np.zeros(len(profile), np.int32)
    mean = group_sums(partition.comm, profile, everything, 1, particles.n)[0]
    fields = particles.optics.box * particles.optics.pixel_size
    return edge_of(mean) * float(fields[particles.optics_group[partition.half >= 0]].min())


def rings(box: int) -> NDArray[np.int64]:
    """(box²,) number of each pixel's ring about the centre: `_N_RING` of equal width to the edge, one for the rest."""
    line = (np.arange(box) - box // 2) / (box / 2)
    radius = np.hypot(line[:, None], line).ravel()
    return np.minimum((radius * _N_RING).astype(np.int64), _N_RING)


def edge_of(profile: NDArray[np.float64]) -> float:
    """Diameter of what exceeds the background of a radial profile, as a share of the box."""
    radius = (np.arange(len(profile)) + 0.5) / len(profile)
    excess = profile - np.median(profile[radius > _BACKGROUND])
    top = int(excess[radius <= _BACKGROUND].argmax())
    if excess[top] <= 0:
        return _USUAL
    beyond = np.flatnonzero(excess[top:] <= _EDGE * excess[top])
    return float(min(_MOST, _TIPS * radius[top + beyond[0]])) if len(beyond) else _MOST
