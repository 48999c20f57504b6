"""What is inserted of images: at which support points and mates, into the model of which class, with which quanta."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import Draws, uniform
from pycryo.filter.resampling import resample
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import multiply
from pycryo.geometry.symmetry import Symmetry
from pycryo.io.particles import Particles
from pycryo.kernels.backprojector import quantum_for
from pycryo.kernels.entries import Entries
from pycryo.model.ewald import Ewald, curvature, separation
from pycryo.model.microscope import particle_ctf
from pycryo.refinement.data.image_statistics import ImageStatistics
from pycryo.refinement.data.prepare import Target, Weighting

# Support points that are inserted of an image whose posterior is so broad at most, see `point_counts`. Of sim64 at the
# poses of the true map (0.54), 8, 16 and 32 points make a mean FSC to the truth of 0.7744, 0.7751 and 0.7769.
_FEWER_POINTS = ((0.6, 8), (1.2, 16))
# Key of the draws that deal images to classes.
_DEAL_STREAM = (1 << 40) + 2


def quanta(statistics: ImageStatistics, weighting: Weighting, n_slices: int) -> tuple[float, float]:
    """Quanta of F and T with which the insertion of `n_slices` is exact (`pycryo.kernels.backprojector.insert`).

    A slice is an image at one symmetry mate, all its support points together. A voxel, the origin above all, collects
    at most the trilinear weights of the samples next to it, below 8 per slice.
    """
    value = np.abs(weighting.scale)[:, None] * statistics.amplitude / weighting.noise
    weight = np.square(weighting.scale)[:, None] / weighting.noise
    # CTF factors (rlnCtfScalefactor) above 1 are allowed for.
    bound = 8.0 * 4.0 * max(1, n_slices)
    return quantum_for(bound * max(float(value.max()), 1e-300)), quantum_for(bound * float(weight.max()))


def point_counts(posterior: Posterior, r_high: float, box: int) -> NDArray[np.int64]:
    """(n,) support points that tell where the images are at `r_high` (Fourier px of the images, of `box` px).

    What counts is by how much the posterior moves the outermost sample, Fourier px, and turns its phase, radians:
    standard deviations per axis.
    """
    breadth = r_high * np.maximum(posterior.spread_rotation, 2 * np.pi / box * posterior.spread_shift)
    counts = np.full(len(posterior), posterior.support.weight.shape[1])
    for most, count in reversed(_FEWER_POINTS):
        counts[breadth <= most] = count
    return counts


def posterior_entries(
    box: int,
    target: Target,
    support: Support,
    n_point: NDArray[np.int64],
    symmetry: Symmetry,
    insertion_weight: NDArray[np.float64],
    scale: float,
    draws: Draws,
    n_class: int = 1,
) -> list[Entries]:
    """Images at `n_point` (n,) draws of their support points and mates, for the model of each class, of `box` px.

    Each mate gets its own systematic sample of the support points, together as many as `n_point` says (or one each,
    if there are more mates), so that the work hardly grows with the order of the group while every mate holds every
    image with full weight. Which mate begins is drawn for each image.
    """
    n_mate, n_support = len(symmetry), support.weight.shape[1]
    per_mate = -(-n_point // n_mate)
    draw = draws.uniform(2)
    keys = []
    for count in np.unique(per_mate):
        rows = np.flatnonzero(per_mate == count)
        pick = resample(support.weight[rows], np.ascontiguousarray(draw[rows, 0]), count * n_mate)
        mate = (np.arange(count * n_mate) + (draw[rows, 1:] * n_mate).astype(np.int64)) % n_mate
        keys.append((rows[:, None] * n_support + pick) * n_mate + mate)
    key, count = np.unique(
        np.concatenate([np.empty(0, np.int64), *(each.ravel() for each in keys)]), return_counts=True
    )
    image, rest = np.divmod(key, n_support * n_mate)
    point, which = np.divmod(rest, n_mate)
    rotations = target.matrices(multiply(support.quaternion[image, point], symmetry.quaternions[which]), image)
    weight = count / per_mate[image] * insertion_weight[image]
    # The kernel's ramp is in units of the model's box.
    shifts = support.shift[image, point] * (box / target.pixels.box)
    entries = Entries(
        target.images,
        target.weights,
        image,
        rotations,
        shifts,
        weight,
        target.pixels.kx,
        target.pixels.ky,
        scale,
    )
    classes = support.class_index[image, point]
    return [entries] if n_class == 1 else [entries.some(np.flatnonzero(classes == k)) for k in range(n_class)]


def dealt(posterior: Posterior, rows: NDArray[np.int64], n_class: int, seed: int) -> Posterior:
    """Posteriors of images that are dealt to classes at random, each to one."""
    drawn = np.minimum(n_class * uniform(seed, _DEAL_STREAM, rows, 1), n_class - 1).astype(np.int32)
    support = replace(posterior.support, class_index=np.repeat(drawn, posterior.support.weight.shape[1], axis=1))
    return replace(posterior, support=support, mode_class=drawn[:, 0], class_probability=np.eye(n_class)[drawn[:, 0]])


def both_bands(
    bare: Target, particles: Particles, rows: NDArray[np.int64], ewald: Ewald, change: float | NDArray[np.float64] = 0.0
) -> Target:
    """The images `rows` as they go onto the surface at -hz, then as they go onto that at +hz: 2n of them.

    With c the coherence of both surfaces, the image tells of V(k, -hz) what (a + c·a*) V says, a = -½i e^(iχ), and of
    V(k, hz) the complex conjugate. Where both surfaces are one (c = 1) together they are what a central slice is.

    Parameters
    ----------
    bare : Target
        The images weighted as if the CTF were 1.
    particles : Particles
    rows : (n,) int64
    ewald : Ewald
    change : float or (n,) float64
        Added to the defocus, Å.
    """
    pixels, group = bare.pixels, particles.optics_group[rows]
    sine = particle_ctf(particles, rows, pixels, change=change)
    cosine = particle_ctf(particles, rows, pixels, change=change, quarter_turns=1)
    share = np.empty((len(rows), len(pixels)), np.float32)
    for g in np.unique(group):
        apart = separation(particles.optics, g, pixels, ewald.diameter)
        cosine[group == g] *= apart.astype(np.float32)
        share[group == g] = 0.5 / (1 + apart)
    weights = bare.weights * (sine * sine + cosine * cosine) * share
    sine *= np.float32(0.5)
    cosine *= np.float32(0.5)
    re, im = bare.images[:, 0], bare.images[:, 1]
    n = len(rows)
    images = np.empty((2 * n, *bare.images.shape[1:]), np.float32)
    images[:n, 0], images[:n, 1] = re * sine - im * cosine, im * sine + re * cosine
    images[n:, 0], images[n:, 1] = re * sine + im * cosine, im * sine - re * cosine
    return replace(bare, images=images, weights=np.concatenate([weights, weights]))


def on_both_surfaces(entries: Entries, particles: Particles, rows: NDArray[np.int64], ewald: Ewald) -> Entries:
    """The poses of n images, each for the two that `both_bands` made of it."""
    bend = ewald.hand * curvature(particles.optics, particles.optics_group[rows])[entries.image]
    return replace(
        entries,
        image=np.concatenate([entries.image, entries.image + len(rows)]),
        rotations=np.concatenate([entries.rotations, entries.rotations]),
        shifts=np.concatenate([entries.shifts, entries.shifts]),
        weight=np.concatenate([entries.weight, entries.weight]),
        curvature=np.concatenate([-bend, bend]),
    )
