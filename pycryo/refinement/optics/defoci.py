"""The defocus of each particle and the astigmatism of each micrograph, at known poses."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.filter.draws import Draws
from pycryo.filter.support import Support
from pycryo.io.particle_set import MICROGRAPH_LABEL
from pycryo.io.particles import Particles
from pycryo.kernels.ctf import electron_wavelength
from pycryo.model.microscope import frequencies
from pycryo.parallel.collective_errors import on_root
from pycryo.refinement.data.partition import Partition
from pycryo.refinement.data.prepare import Weighting
from pycryo.refinement.expectation.defocus import DefocusSearch, first_sigma, search_defocus
from pycryo.refinement.expectation.defocus_control import next_sigma
from pycryo.refinement.optics.change import with_forms
from pycryo.refinement.optics.evidence import Aligned, Compared, align, in_pieces

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

# Passes of a search with a prior of the changes, the first of which is wide.
_DEFOCUS_PASSES = 3
# Passes of the astigmatism, and its first prior, Å, of each of both components.
_ASTIGMATISM_PASSES, _FIRST_ASTIGMATISM = 4, 300.0
# A prior below this share of the errors says that there is nothing to find.
_LEAST_SHARE = 0.3


def particle_defoci(
    partition: Partition, particles: Particles, weighting: Weighting, compared: Compared, seed: int
) -> Particles:
    """The particles with the defocus that is most likely, of each for itself. Collective.

    The width of the prior of the changes follows from the images; where it comes down to nothing, nothing is changed.
    """
    comm, frames = partition.comm, compared.frames
    sigma = first_sigma(particles, partition.half)
    change, spread = np.zeros((2, particles.n))
    for number in range(_DEFOCUS_PASSES):
        found = []
        for half in (0, 1):
            for rows, images in in_pieces(partition, half):
                here = align(particles, rows, images, weighting, compared, half)
                bare = weighting.target(particles, rows, images, frames.r_high, is_bare=True)
                one = np.ones((len(rows), 1))
                support = Support(here.quaternion[:, None], here.shift[:, None], one, np.zeros(one.shape, np.int32))
                search = DefocusSearch([here.volume], particles, frames.r_high / here.scale, here.scale, sigma)
                draws = Draws(seed, (1 << 53) + number, rows)
                found.append(np.stack([rows, *search_defocus(search, bare, support, change[rows], draws)]))
        for part in (each for rank in comm.all_gather(found) for each in rank):
            change[part[0].astype(np.int64)], spread[part[0].astype(np.int64)] = part[1:]
        seen = np.flatnonzero(partition.half >= 0)
        most = first_sigma(particles, partition.half)
        sigma = on_root(comm, partial(next_sigma, change[seen], spread[seen], sigma, most=most))
        if sigma < _LEAST_SHARE * float(np.median(spread[seen])):
            log.info("defoci: those of the file are right, the changes found are no more than noise")
            return particles
    moved, error = np.median(np.abs(change[seen])), np.median(spread[seen])
    log.info("defoci: changed by %.0f Å (median; standard error %.0f Å)", moved, error)
    return replace(particles, defocus_u=particles.defocus_u + change, defocus_v=particles.defocus_v + change)


def micrograph_astigmatism(
    partition: Partition, particles: Particles, weighting: Weighting, compared: Compared
) -> Particles:
    """The particles with the astigmatism that is most likely for their micrograph. Collective.

    Raises
    ------
    InputError
        If the file does not say which micrograph a particle is from.
    """
    comm, micrograph = partition.comm, particles.micrographs()
    if micrograph is None:
        raise InputError(f"{particles.path} has no {MICROGRAPH_LABEL}, by which astigmatism is looked for; add it")
    n_micrograph, prior, total = int(micrograph.max()) + 1, _FIRST_ASTIGMATISM, np.zeros((int(micrograph.max()) + 1, 2))
    now = particles
    for _ in range(_ASTIGMATISM_PASSES):
        found = []
        for half in (0, 1):
            for rows, images in in_pieces(partition, half):
                here = align(now, rows, images, weighting, compared, half)
                found.append(np.concatenate([rows[:, None], _derivatives(now, rows, here)], axis=1))
        gathered = np.concatenate([np.empty((0, 10)), *(each for rank in comm.all_gather(found) for each in rank)])
        # In one order for any number of ranks, as sums follow.
        gathered = gathered[np.argsort(gathered[:, 0])]
        of = micrograph[gathered[:, 0].astype(np.int64)]
        columns = [np.bincount(of, column, n_micrograph) for column in gathered[:, 1:].T]
        sums = np.stack(columns, axis=1).astype(np.float64)
        total, error, prior = on_root(comm, partial(_solved, sums, total, prior))
        if prior < _LEAST_SHARE * float(np.median(error)):
            log.info("astigmatism: that of the file is right, the changes found are no more than noise")
            return particles
        forms = np.concatenate([np.zeros((n_micrograph, 1)), total], axis=1)[micrograph]
        now = with_forms(particles, np.where((partition.half >= 0)[:, None], forms, 0.0))
    size = np.median(np.hypot(*total.T))
    text = "astigmatism: U - V changed by %.0f Å (median of %d micrographs; standard error %.0f Å)"
    log.info(text, 2 * size, n_micrograph, 2 * np.median(error))
    return now


def _derivatives(particles: Particles, rows: NDArray[np.int64], here: Aligned) -> Array:
    """(n, 9) first (3) and expected second (6) derivatives of the log likelihood by (mean, along x, diagonal), Å."""
    re = (here.images * here.slices).sum(axis=1)
    power = here.weights * np.square(here.slices).sum(axis=1)
    slope = here.cosine * re - here.sine * here.cosine * power
    information = np.square(here.cosine) * power
    optics, group = particles.optics, particles.optics_group[rows]
    result = np.empty((len(rows), 9))
    for g in np.unique(group):
        mine = np.flatnonzero(group == g)
        x, y = frequencies(optics, g, here.pixels)
        per = np.pi * float(electron_wavelength(optics.voltage[g]))
        shapes = per * np.stack([x * x + y * y, x * x - y * y, 2 * x * y])
        first = [(slope[mine] * each).sum(axis=1) for each in shapes]
        second = [(information[mine] * (shapes[i] * shapes[j])).sum(axis=1) for i in range(3) for j in range(i, 3)]
        result[mine] = np.stack([*first, *second], axis=1)
    return result


def _solved(sums: Array, total: Array, prior: float) -> tuple[Array, Array, float]:
    """Astigmatism of each micrograph, its standard error per component, and the width of the prior, Å.

    The mean defocus is free: it is eliminated.
    """
    first, hessian = sums[:, :3], np.zeros((len(sums), 3, 3))
    upper, right = np.triu_indices(3)
    hessian[:, upper, right] = hessian[:, right, upper] = sums[:, 3:]
    mean = np.maximum(hessian[:, 0, 0], 1e-300)
    mixed = hessian[:, 1:, 0]
    reduced = hessian[:, 1:, 1:] - mixed[:, :, None] * mixed[:, None] / mean[:, None, None]
    slope = first[:, 1:] - mixed * (first[:, 0] / mean)[:, None]
    precision = reduced + np.eye(2) / prior**2
    step = np.linalg.solve(precision, (slope - total / prior**2)[:, :, None])[:, :, 0]
    # Phases wrap: not further than the prior at once.
    step *= np.minimum(1.0, prior / np.maximum(np.hypot(*step.T), 1e-300))[:, None]
    total = total + step
    covariance = np.linalg.inv(precision)
    error = np.sqrt(np.maximum(np.diagonal(covariance, axis1=1, axis2=2), 0))
    return total, error, next_sigma(total.ravel(), error.ravel(), prior, most=_FIRST_ASTIGMATISM)
