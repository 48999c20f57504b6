"""The power of the particle's density per shell, from the images alone, before any pose is known.

Noise, ice and neighbours are the same inside the circle that holds the particle as outside; the particle is inside
only. What the inside has more is the particle's (docs/method.md, References).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pycryo.io.particles import Particles
from pycryo.kernels.pixels import half_plane, shell_samples
from pycryo.kernels.shells import shell_sums
from pycryo.model.microscope import particle_ctf
from pycryo.refinement.data.image_statistics import ImageStatistics
from pycryo.refinement.data.partition import Geometry

# Particles of an optics group whose CTF is averaged.
_CTF_PARTICLES = 200


def signal_power(
    statistics: ImageStatistics, particles: Particles, model: Geometry, *, use_ctf: bool = True
) -> NDArray[np.float64]:
    """(box // 2 + 1,) mean |V̂|² of the density on the grey scale of the images, of each shell with its neighbours.

    Rather too little: one standard deviation is taken off. 0 where the images do not tell.

    Parameters
    ----------
    statistics : ImageStatistics
    particles : Particles
    model : Geometry
        With images of another geometry, too, its grey scale is not that of the images.
    use_ctf : bool
    """
    box, pixel_size = model.box, model.pixel_size
    n_shell = box // 2 + 1
    power, variance, transfer = np.zeros((3, n_shell))
    pixels, samples = half_plane(box, box / 2), shell_samples(box, n_shell)
    optics, groups = particles.optics, np.flatnonzero(statistics.count)
    if (optics.box[groups] != box).any() or (optics.pixel_size[groups] != pixel_size).any():
        return power
    for g in groups:
        total, squares = statistics.particle[g, :n_shell].T
        power += total / samples
        variance += np.maximum(squares - np.square(total) / statistics.count[g], 0) / np.square(samples)
        square = 1.0
        if use_ctf:
            rows = np.flatnonzero((particles.optics_group == g) & ~particles.has_no_defocus)
            some = rows[:: -(-len(rows) // _CTF_PARTICLES)]
            squares = np.square(particle_ctf(particles, some, pixels)).mean(axis=0, dtype=np.float64, keepdims=True)
            square = shell_sums(squares, pixels.shell, n_shell)[0] / samples
            if optics.is_premultiplied[g]:  # their power has CTF⁴ over the mean CTF²
                fourth = np.power(particle_ctf(particles, some, pixels), 4).mean(
                    axis=0, dtype=np.float64, keepdims=True
                )
                square = shell_sums(fourth, pixels.shell, n_shell)[0] / samples / np.maximum(square, 1e-3)
        transfer += statistics.count[g] * square
    power, variance, transfer = (np.convolve(each, np.ones(3), "same") for each in (power, variance, transfer))
    sure = np.maximum(power - np.sqrt(variance), 0)
    return np.divide(sure, transfer, out=np.zeros(n_shell), where=transfer > 0)
