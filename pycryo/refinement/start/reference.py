"""Before the first iteration: the reference's size, diameter and grey scale."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import uniform
from pycryo.geometry.grids import rotation_grid, shift_grid
from pycryo.geometry.symmetry import Symmetry
from pycryo.io.batches import iter_batches
from pycryo.kernels.compare import compare, new_best, pack_images
from pycryo.kernels.projector import FourierVolume, fourier_volume, project_slices
from pycryo.kernels.shift import shift
from pycryo.maps.density import Map, low_pass
from pycryo.maps.masks import auto_mask
from pycryo.refinement.data.image_statistics import ImageStatistics
from pycryo.refinement.data.mend import mended
from pycryo.refinement.data.partition import Partition
from pycryo.refinement.plan import Plan

log = logging.getLogger(__name__)

# Images and rotations of the scan that finds the reference's grey scale.
_N_IMAGE = 64
_N_ROTATION = 1500
_SCALE_STREAM = (1 << 40) + 1


def diameter_of(reference: Map) -> float:
    """Diameter in Å of the sphere about the box centre that holds the density, with a margin for a soft edge."""
    mask = auto_mask(reference, resolution=40.0, extend_px=0.0, edge_px=0.0) > 0.5
    half = reference.box // 2
    line = np.square(np.arange(reference.box) - half)
    radius = np.sqrt((line[:, None, None] + line[None, :, None] + line[None, None, :])[mask].max(initial=1))
    return float(min(2 * 1.1 * radius + 2, 0.95 * reference.box) * reference.pixel_size)


def grey_scale(
    partition: Partition, reference: NDArray[np.float32], plan: Plan, symmetry: Symmetry, shift_radius: float
) -> tuple[float, float]:
    """Factor that brings the reference to the images' grey scale. Not collective: run on one rank.

    A few images are scanned, and the factor is the least-squares one at the poses found, Σ Re(X̃* S) / Σ W|S|². It is
    found again with the reference on that scale, until it settles.

    Returns
    -------
    (factor, dark) : floats
        `dark` tells by how many standard errors the images fit the reference better with their contrast inverted.
    """
    particles, usable = partition.particles, np.flatnonzero(partition.half >= 0)
    order = np.argsort(uniform(plan.seed, _SCALE_STREAM, usable.astype(np.int64), 1)[:, 0], kind="stable")
    rows = np.sort(usable[order[:_N_IMAGE]]).astype(np.int64)
    rotations = rotation_grid(max(200, _N_ROTATION // len(symmetry)), symmetry)
    total = 1.0
    gains: list[NDArray[np.float64]] = []
    for number in range(3):
        numerator = denominator = 0.0
        volume = to_volume(reference * np.float32(total), plan.box, plan.padding, plan.r_read)
        for batch in mended(iter_batches(particles, rows, max_images=_N_IMAGE)):
            scale = plan.weighting.model_scale(particles, batch.rows)
            target = plan.weighting.target(particles, batch.rows, batch.images, plan.r_high)
            target = target.between(1, plan.r_high / scale)
            pixels = target.pixels
            step = max(1.0, pixels.box / (4 * plan.r_high))
            ratio = plan.pixel_size / particles.pixel_size[batch.rows[0]]
            shifts = shift_grid(shift_radius * ratio, step)
            moved = np.broadcast_to(shifts, (len(target), *shifts.shape))
            images = shift(target.images, pixels.kx, pixels.ky, moved, pixels.box)
            matrices = target.matrices(rotations, np.zeros(len(rotations), np.int64))
            slices = project_slices(volume, matrices, pixels.kx, pixels.ky, scale=scale)
            best = new_best(len(target), 1)
            compare(pack_images(images, target.weights), slices, best)
            if number == 0:
                inverted = new_best(len(target), 1)
                compare(pack_images(-images, target.weights), slices, inverted)
                gains.append(inverted.log_max - best.log_max)
            rotation, which = np.divmod(best.index[:, 0], len(shifts))
            found = slices[rotation]
            numerator += float((images[np.arange(len(target)), which] * found).sum(dtype=np.float64))
            denominator += float((target.weights * np.square(found).sum(1)).sum(dtype=np.float64))
        if denominator <= 0 or numerator <= 0:
            break
        factor = numerator / denominator
        total *= factor
        if abs(factor - 1) < 0.1:
            break
    gain = np.concatenate(gains)
    return total, float(gain.sum() / max(np.sqrt(np.square(gain).sum()), 1e-300))


def first_scale(reference: Map, statistics: ImageStatistics, box: int) -> float:
    """Rough grey scale: as if the reference's projections held a tenth of the images' power below its own limit."""
    power = statistics.power.sum(0) / max(1, statistics.count.sum())
    slices = np.square(np.abs(np.fft.rfftn(reference.data))).sum() / max(1, reference.box)
    return float(np.sqrt(0.1 * power[1:].sum() / max(slices, 1e-300)) * reference.box / box)


def to_volume(reference: NDArray[np.float32], box: int, padding: int, r_high: float) -> FourierVolume:
    """Padded transform of a reference of any sampling of the field of view, on the scale of `box` px images."""
    points = len(reference)
    volume = fourier_volume(reference, padding=padding, r_high=min(r_high, points / 2 - 1))
    volume.data[:] *= (box / points) ** 3
    return FourierVolume(volume.data, box, padding, volume.r_high)


def filtered_reference(reference: Map, resolution: float) -> Map:
    """The reference low-passed and with its mean background removed."""
    low = low_pass(reference, resolution)
    box = low.box
    line = np.square(np.arange(box) - box // 2)
    outside = line[:, None, None] + line[None, :, None] + line[None, None, :] > (0.48 * box) ** 2
    background = float(low.data[outside].mean()) if outside.any() else 0.0
    return Map(low.data - np.float32(background), low.pixel_size)
