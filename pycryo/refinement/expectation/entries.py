"""What is inserted of images: at which support points and mates, into the model of which class, with which quanta."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import Draws, uniform
from pycryo.filter.resampling import resample
from pycryo.filter.support import Posterior, Support
from pycryo.geometry.rotations import multiply, quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry
from pycryo.kernels.backprojector import quantum_for
from pycryo.kernels.entries import Entries
from pycryo.refinement.data.image_statistics import ImageStatistics
from pycryo.refinement.data.prepare import Target, Weighting

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


def posterior_entries(
    box: int,
    target: Target,
    support: Support,
    symmetry: Symmetry,
    insertion_weight: NDArray[np.float64],
    scale: float,
    draws: Draws,
    n_class: int = 1,
) -> list[Entries]:
    """Images at their support points and symmetry mates, for the model of each class, of `box` px.

    Each mate gets its own systematic sample of the support points, together as many as there are points (or one each,
    if there are more mates), so that the work hardly grows with the order of the group while every mate holds every
    image with full weight. Which mate begins is drawn for each image.
    """
    n_mate = len(symmetry)
    per_mate = -(-support.weight.shape[1] // n_mate)
    draw = draws.uniform(2)
    pick = resample(support.weight, np.ascontiguousarray(draw[:, 0]), per_mate * n_mate)
    mate = (np.arange(per_mate * n_mate) + (draw[:, 1:] * n_mate).astype(np.int64)) % n_mate
    image = np.repeat(np.arange(len(target)), pick.shape[1])
    key = (image * support.weight.shape[1] + pick.ravel()) * n_mate + mate.ravel()
    key, count = np.unique(key, return_counts=True)
    image, rest = np.divmod(key, support.weight.shape[1] * n_mate)
    point, which = np.divmod(rest, n_mate)
    rotations = quaternion_to_matrix(multiply(support.quaternion[image, point], symmetry.quaternions[which]))
    weight = count / per_mate * insertion_weight[image]
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
