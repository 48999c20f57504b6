"""Aberrations and magnification of optics groups, from particles with poses and the half-maps that they make."""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.io.particles import Particles
from pycryo.kernels.shells import shell_sums
from pycryo.maps.slab_map import from_root
from pycryo.model.microscope import frequencies, stretch
from pycryo.model.volume import shared_volume
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.refinement.data.halves import split_halves
from pycryo.refinement.data.image_statistics import ImageStatistics, measure_images, without_defocus
from pycryo.refinement.data.left_out import refuse_too_many_bad
from pycryo.refinement.data.partition import Partition, deal
from pycryo.refinement.data.prepare import Weighting
from pycryo.refinement.maximization.noise import first_noise, updated_noise
from pycryo.refinement.optics.change import Change, changed
from pycryo.refinement.optics.defoci import micrograph_astigmatism, particle_defoci
from pycryo.refinement.optics.evidence import Compared, Evidence, gather_evidence
from pycryo.refinement.optics.fit import (
    Fitted,
    even_basis,
    fit_even,
    fit_magnification,
    fit_odd,
    odd_basis,
    without_poses,
)
from pycryo.refinement.optics.found import LEAST_IMAGES, Fits, Found, judged, stated, with_common_scale
from pycryo.refinement.optics.reference import Frames, Reference

log = logging.getLogger(__name__)

Array = NDArray[np.float64]

# What can be looked for.
KINDS = ("odd", "even", "magnification")
ON_REQUEST = ("phase", "astigmatism", "defocus")
# Passes over the images at the most, and the share of the frequencies up to which the first ones are fitted: further
# out a large symmetric phase turns the sign of the CTF, which antisymmetric ones would have to explain.
_MOST_PASSES, _REACH = 8, (0.7, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FindOptions:
    """Options of `find_optics`.

    Attributes
    ----------
    kinds : collection of str
        Of `KINDS`, and `ON_REQUEST` a phase of all frequencies of a group, astigmatism of micrographs, and the defocus
        of particles.
    diameter : float or None
        Of the particle, Å: the mean of an image is taken outside of it. Default: half the box is its radius.
    padding : int
    max_bad_fraction : float
        More unusable images than this share are an error.
    invert_contrast : bool
    seed : int
        Of the halves, if the file has none.
    betters : bool
        What the optics table states is changed by what is found even if that is not significant.
    """

    kinds: Collection[str] = KINDS
    diameter: float | None = None
    padding: int = 2
    max_bad_fraction: float = 0.05
    invert_contrast: bool = False
    seed: int = 1
    betters: bool = False


def find_optics(comm: Comm, particles: Particles, reference: Reference | None, options: FindOptions) -> Found:
    """Find what the particles' optics groups lack. Collective; the same on every rank.

    Parameters
    ----------
    comm : Comm
    particles : Particles
        With poses, that is with `rlnAngle...` and origins of a refinement.
    reference : Reference or None
        Needed on rank 0 only.
    options : FindOptions

    Raises
    ------
    InputError
        If the particles have no poses, or images or maps cannot be used.
    """
    particles.require_ctf()
    if not particles.has_poses:
        raise InputError(f"{particles.path} has no poses: give the particles of a refinement, such as run_data.star")
    partition, statistics, radius = _usable(comm, particles, options)
    frames = comm.broadcast(None if reference is None else reference.frames)
    assert frames is not None
    if not frames.has_own_scale and set(np.unique(particles.random_subset).tolist()) != {1, 2}:
        raise InputError(
            f"{particles.path} does not say by rlnRandomSubset which of the half-maps each image is part of; give the "
            "file of the refinement that made them"
        )
    weighting = Weighting(
        noise=first_noise(statistics, particles),
        scale=np.full(len(statistics.count), frames.pixel_size) / particles.optics.pixel_size,
        norm=statistics.norm,
        sign=-1.0 if options.invert_contrast else 1.0,
        use_ctf=True,
        background_radius=radius,
        field_of_view=frames.box * frames.pixel_size,
    )
    limit = min(frames.box / 2, frames.r_high * max(1.05, stretch(particles.optics)))
    with ExitStack() as stack:
        volumes = []
        for half in (0, 1):
            slab = from_root(comm, None if reference is None else reference.maps[half])
            volumes.append(stack.enter_context(shared_volume(comm, slab, frames.box, options.padding, limit)))
        compared = Compared(frames, volumes)
        bettered = {g: stated(particles.optics, g) for g in range(len(particles.optics)) if options.betters}
        whole: dict[int, Change] = {}
        now = particles
        for number in range(_MOST_PASSES):
            evidence = gather_evidence(partition, now, statistics, weighting, compared)
            # Fitted by one: processors of another kind might round otherwise.
            reach = _REACH[min(number, len(_REACH) - 1)]
            fits = on_root(comm, partial(_fit_all, now, evidence, options.kinds, frames, reach))
            weighting = _weighted(weighting, statistics, now, evidence)
            found = [
                judged(g, whole.get(g, Change.none()), fits[g], evidence[g], bettered.get(g, frozenset()))
                for g in sorted(fits)
            ]
            # What the low frequencies of the first pass show and is not significant is noise: it is not begun with.
            moves = bool(whole) or any(each.is_significant for each in found)
            still = not moves or all(each.is_still for each in fits.values())
            if (reach == 1 and still) or number + 1 == _MOST_PASSES:
                break
            if moves:
                whole = {g: whole.get(g, Change.none()).plus(each.change) for g, each in fits.items()}
                now = changed(particles, whole)
                log.info("pass %d: %s", number + 1, _largest(fits))
        if not frames.has_own_scale:
            found = with_common_scale(found, particles.optics)
        restless = [each.group for each in found if whole and fits[each.group].is_restless]
        if restless:
            names = ", ".join(particles.optics.name[g] for g in restless)
            log.warning(
                "%s: the search does not settle, nothing is changed; compare to a lower resolution first", names
            )
            found = [each.unchanged() if each.group in restless else each for each in found]
        result = changed(particles, {each.group: each.change for each in found})
        if "astigmatism" in options.kinds:
            result = micrograph_astigmatism(partition, result, weighting, compared)
        if "defocus" in options.kinds:
            result = particle_defoci(partition, result, weighting, compared, options.seed)
    partition.free()
    return Found(result, found, frames.box * frames.pixel_size / frames.r_high)


def _usable(comm: Comm, particles: Particles, options: FindOptions) -> tuple[Partition, ImageStatistics, float]:
    """The particles that tell something, dealt out, what their images tell, and the radius of the background, Å."""
    optics = particles.optics
    radius = 0.5 * (options.diameter or float((optics.box * optics.pixel_size).min()))
    if particles.n and set(np.unique(particles.random_subset).tolist()) == {1, 2}:
        half = (particles.random_subset - 1).astype(np.int8)
    else:
        half = on_root(comm, lambda: split_halves(particles, options.seed, options.diameter)).copy()
    half[without_defocus(particles)] = -1
    multiplied = optics.is_premultiplied[particles.optics_group]
    if multiplied.any():
        log.warning(
            "left out %d images that were multiplied by their CTF: they do not show its phases", multiplied.sum()
        )
        half[multiplied] = -1
    first = deal(comm, particles, half, None)
    statistics, _ = measure_images(first, radius, keep=False)
    first.free()
    refuse_too_many_bad(particles, statistics.left_out, options.max_bad_fraction)
    half[statistics.bad] = -1
    if not (half >= 0).any():
        raise InputError(f"{particles.path}: there is no image that shows the optics")
    return deal(comm, particles, half, None, before=first), statistics, radius


def _fit_all(
    particles: Particles, evidence: dict[int, Evidence], kinds: Collection[str], frames: Frames, reach: float
) -> dict[int, Fits]:
    for g, each in evidence.items():
        if each.n >= LEAST_IMAGES and not each.agrees:
            raise InputError(
                f"the images of optics group {particles.optics.name[g]} do not agree with the map at the poses of "
                f"{particles.path}: are these poses and maps of one refinement? If the particles are dark on light, "
                "give --invert-contrast"
            )
    fits = {g: _fit(particles, g, each, kinds, reach) for g, each in evidence.items()}
    found = {g: each.magnification for g, each in fits.items() if each.magnification is not None}
    if frames.has_own_scale or not found:
        return fits
    # A scale that all groups have in common is the map's, too.
    weight = {g: 1 / max(float(each.covariance[0, 0] + each.covariance[2, 2]), 1e-300) for g, each in found.items()}
    common = sum(weight[g] * (each.value[0] + each.value[2]) / 2 for g, each in found.items()) / sum(weight.values())
    shift = common * np.array([1.0, 0.0, 1.0])
    return {
        g: replace(each, magnification=Fitted(found[g].value - shift, found[g].covariance)) if g in found else each
        for g, each in fits.items()
    }


def _fit(particles: Particles, g: int, evidence: Evidence, kinds: Collection[str], reach: float) -> Fits:
    x, y = frequencies(particles.optics, g, evidence.pixels)
    odd = even = magnification = None
    if "odd" in kinds:
        odd = fit_odd(x, y, evidence.product, evidence.information, reach=reach)
        if reach == 1:
            slope, expected = evidence.turning
            seconds = (expected, evidence.product.real)
            odd = without_poses(odd, odd_basis(x, y), slope, seconds, evidence.taken.of_odd, n_common=2)
    if "even" in kinds or "phase" in kinds:
        sums = (evidence.product.real, evidence.cosine, evidence.power, evidence.power_cosine, evidence.power_sine)
        has_constant = "phase" in kinds
        even = fit_even(x, y, *sums, has_constant=has_constant, reach=reach)
        if reach == 1:
            count = 9 if has_constant else 8
            taken = evidence.taken.of_even(count)
            slope, expected = evidence.sizing
            seconds = (expected, evidence.product.real + evidence.power_cosine)
            even = without_poses(even, even_basis(x, y)[:, :count], slope, seconds, taken, n_common=0)
    if "magnification" in kinds:
        magnification = fit_magnification(evidence.slope, evidence.hessian)
    return Fits(odd, even, magnification)


def _weighted(
    before: Weighting, statistics: ImageStatistics, particles: Particles, evidence: dict[int, Evidence]
) -> Weighting:
    """Noise and grey scales of the next pass."""
    cross, model = np.zeros_like(statistics.power), np.zeros_like(statistics.power)
    scale, n_shell = before.scale.copy(), statistics.power.shape[1]
    for g, each in evidence.items():
        sums = shell_sums(np.stack([each.product.real, each.information]), each.pixels.shell, n_shell)
        cross[g], model[g] = sums
        scale[g] *= float(np.clip(each.gain, 0.2, 5.0)) if each.gain > 0 else 1.0
    return replace(before, noise=updated_noise(statistics, particles, cross, model, before.noise), scale=scale)


def _largest(fits: dict[int, Fits]) -> str:
    """The largest changes of a pass, for the log."""
    change = [each.change for each in fits.values()]
    return (
        f"magnification changed by up to {100 * max(np.abs(each.magnification).max() for each in change):.2f} %, "
        f"beam tilt and trefoil by {max(np.abs(each.odd[2:]).max() for each in change):.3g} rad Å³, "
        f"fourth order by {max(np.abs(each.even[3:8]).max() for each in change):.3g} rad Å⁴"
    )
