"""A map from particles whose poses are known (method.md §6), by the refinement's own road."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.backprojector import Accumulators, insert, new_accumulators, quantum_for
from pycryo.errors import InputError
from pycryo.fsc import Fsc, corrected_fsc
from pycryo.geometry.rotations import euler_to_quaternion, quaternion_to_matrix
from pycryo.geometry.symmetry import Symmetry
from pycryo.geometry.symmetry import symmetry as point_group
from pycryo.io.batches import Batch
from pycryo.io.particles import Particles
from pycryo.maps import Map, resample
from pycryo.parallel.comm import Comm
from pycryo.parallel.world import as_comm
from pycryo.pixels import half_plane
from pycryo.refine.dataset import (
    FirstLook,
    Share,
    deal,
    first_look,
    geometry_of,
    refuse_too_many_bad,
    split_halves,
    without_defocus,
)
from pycryo.refine.gridding import solve
from pycryo.refine.halves import both_halves, pair_of_maps, sum_accumulators
from pycryo.refine.prepare import particle_ctf, transform, weigh

log = logging.getLogger(__name__)

# Gridding iterations. The start, 1/T, is as near to the truth as what they lead to, in every shell (sim64, sim128).
_GRIDDING = 0

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """What `reconstruct` found; the same on every rank.

    Attributes
    ----------
    map : Map
        Of all particles, with the box and pixel size of the images.
    half_maps : tuple of two Map, or None
        Of each half-set.
    fsc : Fsc or None
        Of the half-maps, without a mask.
    n : int
        Particles used.
    """

    map: Map
    half_maps: tuple[Map, Map] | None
    fsc: Fsc | None
    n: int


@dataclass(frozen=True, slots=True)
class _Job:
    """What stays the same for all batches: the map's sampling, limits, weights, quanta of the sums."""

    box: int
    pixel_size: float
    padding: int
    r_high: float
    background_radius: float
    use_ctf: bool
    group: Symmetry
    noise: NDArray[np.float64]
    scale: NDArray[np.float64]
    quantum: tuple[float, float]


def reconstruct(
    particles: Particles,
    *,
    symmetry: str = "C1",
    padding: int = 2,
    ctf: bool = True,
    half_maps: bool = False,
    comm: Any = None,
    max_resolution: float | None = None,
    background_radius: float | None = None,
    max_bad_fraction: float = 0.05,
    seed: int = 1,
    progress: Progress | None = None,
) -> Reconstruction:
    """Reconstruct a map from the poses that the particles have. Collective.

    Every image, multiplied by its CTF, and its squared CTF are inserted at the pose and its symmetry mates; their
    quotient is the map's transform (`pycryo.refine.gridding.solve`), held down only where hardly any image
    contributes. The noise is taken as white, with one level per optics group. The result does not depend, to the last
    bit, on the number of ranks and threads.

    Parameters
    ----------
    particles : Particles
        With rlnAngleRot, rlnAngleTilt, rlnAnglePsi; origins are 0 where absent. The map has the commonest box and
        pixel size of their images.
    symmetry : str
        Point group: C1, Cn, Dn.
    padding : int
        Padding factor of the Fourier volume.
    ctf : bool
        Correct for the contrast transfer function.
    half_maps : bool
        Also reconstruct each half of rlnRandomSubset (drawn if absent) and measure their FSC.
    comm : Comm or mpi4py communicator, optional
        Ranks that share the work.
    max_resolution : float, optional
        Å; the map ends there. Default: Nyquist.
    background_radius : float, optional
        Å; the mean of each image outside of it is subtracted. Default: half the box.
    max_bad_fraction : float
        More unusable images (NaN, constant, without defocus) than this share are an error; fewer are left out.
    seed : int
        Of the halves, if they have to be drawn.
    progress : callable, optional
        Called with the number of this rank's images done and their total.

    Returns
    -------
    Reconstruction

    Raises
    ------
    InputError
        If the particles have no poses or no CTF parameters, or an option is out of range.
    """
    if not particles.has_poses:
        raise InputError(
            f"{particles.path} has no rlnAngleRot, rlnAngleTilt, rlnAnglePsi; reconstruct needs particles with poses"
        )
    if padding < 1:
        raise InputError(f"padding is {padding}, it must be at least 1")
    box, pixel_size = _commonest_geometry(particles)
    r_high = _limit(box, pixel_size, max_resolution)
    group = point_group(symmetry)
    if background_radius is None:
        background_radius = 0.5 * box * pixel_size
    elif not background_radius > 0:
        raise InputError(f"the background radius is {background_radius} Å, it must be positive")
    comm = as_comm(comm)
    half = split_halves(particles, seed) if half_maps else np.zeros(particles.n, np.int8)
    if ctf:
        half[without_defocus(particles)] = -1
    look, _ = first_look(deal(comm, particles, half, None), background_radius, False)
    refuse_too_many_bad(particles, look.bad, max_bad_fraction)
    half[look.bad] = -1
    share = deal(comm, particles, half, None)
    halves = (0, 1) if half_maps else (0,)
    if not all(share.count(h) for h in halves):
        raise InputError(
            f"{particles.path}: the half-sets hold {share.count(0)} and {share.count(1)} usable particles, "
            "each needs at least one; correct rlnRandomSubset"
        )
    noise = _white_noise(look, particles)
    scale = np.asarray(pixel_size / particles.optics.pixel_size, np.float64)
    quantum = _quanta(particles, half, look, noise, scale, ctf, len(group), box * pixel_size, padding)
    job = _Job(box, pixel_size, padding, r_high, background_radius, ctf, group, noise, scale, quantum)
    summed = _inserted(share, halves, job, progress)
    return _solved(share, summed, job)


def _commonest_geometry(particles: Particles) -> tuple[int, float]:
    """Box and pixel size (Å) of most images."""
    geometry = geometry_of(particles)
    first = particles.optics_group[np.flatnonzero(geometry == np.bincount(geometry).argmax())[0]]
    return int(particles.optics.box[first]), float(particles.optics.pixel_size[first])


def _limit(box: int, pixel_size: float, max_resolution: float | None) -> float:
    """Fourier px of the map below which samples are inserted."""
    if max_resolution is None:
        return box / 2
    if not 0 < max_resolution < box * pixel_size / 2:
        raise InputError(
            f"the highest resolution is {max_resolution} Å, it must be positive and below "
            f"{box * pixel_size / 2:.0f} Å, half the images' field of view"
        )
    return min(box / 2, box * pixel_size / max_resolution)


def _white_noise(look: FirstLook, particles: Particles) -> NDArray[np.float64]:
    """(n_group, n_shell) σ² per real component: the mean over all shells but the first, of all power."""
    noise = np.ones_like(look.power)
    for group, (box, count) in enumerate(zip(particles.optics.box.tolist(), look.count.tolist(), strict=True)):
        n_sample = np.count_nonzero(half_plane(box, box / 2).shell)
        if count and n_sample:
            noise[group] = look.power[group, 1:].sum() / (2 * count * n_sample)
    return noise


def _quanta(
    particles: Particles,
    half: NDArray[np.int8],
    look: FirstLook,
    noise: NDArray[np.float64],
    scale: NDArray[np.float64],
    use_ctf: bool,
    n_mate: int,
    field_of_view: float,
    padding: int,
) -> tuple[float, float]:
    """Quanta of F and T with which the insertion of all images is exact (`pycryo.backprojector.insert`).

    A voxel collects trilinear weights of at most the 8 samples of a slice around it, or of more where the samples are
    closer than the voxels.
    """
    optics = particles.optics
    density = field_of_view * padding / (optics.box * optics.pixel_size)  # padded Fourier px per Fourier px of an image
    per_slice = 8 * np.ceil(np.maximum(1, 1 / density)).max() ** 2
    gain = 1.0
    if use_ctf:
        reach = 0.5 / particles.pixel_size  # 1/Å
        envelope = np.exp(np.maximum(0, -particles.ctf_b_factor) / 4 * reach**2)
        gain = max(1.0, float((np.abs(particles.ctf_scale) * envelope).max()))
    entries = per_slice * n_mate * np.count_nonzero(half >= 0)
    value = float((scale[:, None] * look.amplitude / noise).max())
    weight = float((scale[:, None] ** 2 / noise).max())
    return quantum_for(entries * gain * max(value, 1e-300)), quantum_for(entries * gain**2 * weight)


def _inserted(share: Share, halves: tuple[int, ...], job: _Job, progress: Progress | None) -> list[Accumulators | None]:
    """F and T of each half, summed over its ranks and folded; None on ranks that have no part in it. Collective."""
    parts: list[Accumulators | None] = []
    done, total = 0, len(share.rows)
    for half in halves:
        accumulators = None
        if share.holds(half):
            accumulators = new_accumulators(job.box, padding=job.padding, r_high=job.r_high)
            for batch in share.batches(share.rows_of(half)):
                _insert(accumulators, share.particles, batch, job)
                done += len(batch.rows)
                if progress is not None:
                    progress(done, total)
        parts.append(accumulators)
    for half, accumulators in zip(halves, parts, strict=True):
        half_comm = share.half_comm[half]
        if accumulators is not None and half_comm is not None:
            sum_accumulators(accumulators, half_comm)
    return parts


def _insert(accumulators: Accumulators, particles: Particles, batch: Batch, job: _Job) -> None:
    """Insert images of one geometry at their poses and the symmetry mates."""
    rows, optics = batch.rows, particles.optics
    group = particles.optics_group[rows]
    box, pixel_size = int(optics.box[group[0]]), float(optics.pixel_size[group[0]])
    ratio = job.box * job.pixel_size / (box * pixel_size)  # Fourier px of the map per Fourier px of the image
    pixels = half_plane(box, min(job.r_high / ratio, box / 2))
    samples = pixels.take(transform(batch.images, job.background_radius / pixel_size))
    transfer = particle_ctf(particles, rows, pixels) if job.use_ctf else None
    target = weigh(samples, pixels, transfer, job.noise[group], job.scale[group])
    n_mate = len(job.group)
    rotations = quaternion_to_matrix(
        job.group.equivalents(euler_to_quaternion(particles.rot[rows], particles.tilt[rows], particles.psi[rows]))
    )
    # The kernel's phase ramp is in units of the map's box.
    origin = np.stack([particles.origin_x[rows], particles.origin_y[rows]], axis=1) / pixel_size
    insert(
        accumulators,
        target.images,
        target.weights,
        np.repeat(np.arange(len(rows)), n_mate),
        rotations.reshape(-1, 3, 3),
        np.repeat(-origin * (job.box / box), n_mate, axis=0),
        np.ones(len(rows) * n_mate),
        pixels.kx,
        pixels.ky,
        scale=ratio,
        quantum_value=job.quantum[0],
        quantum_weight=job.quantum[1],
    )


def _solved(share: Share, parts: list[Accumulators | None], job: _Job) -> Reconstruction:
    """The maps on every rank; the roots of the halves solve them at the same time. Collective."""
    comm = share.comm
    n = share.count(0) + share.count(1)
    if len(parts) == 1:
        return Reconstruction(_shared_map(comm, parts[0], job), None, None, n)
    own: list[NDArray[np.float32] | None] = [None, None]
    for half, accumulators in enumerate(parts):
        if comm.rank == share.roots[half] and accumulators is not None:
            own[half] = _solve(accumulators)
    pair = pair_of_maps(share, (own[0], own[1]))
    everything = both_halves(share, parts[0], parts[1])
    parts.clear()  # the halves' memory is free for the last solution
    whole = _shared_map(comm, everything, job)
    first, second = (_broadcast_map(comm, None if pair is None else pair[half], job) for half in (0, 1))
    return Reconstruction(whole, (first, second), corrected_fsc(first.data, second.data, job.pixel_size), n)


def _solve(accumulators: Accumulators) -> NDArray[np.float32]:
    return solve(accumulators, max_iterations=_GRIDDING).map


def _shared_map(comm: Comm, accumulators: Accumulators | None, job: _Job) -> Map:
    """Solve on rank 0, which must have the accumulators, for all ranks. Collective."""
    density = None
    if comm.rank == 0:
        assert accumulators is not None
        density = _solve(accumulators)
    return _broadcast_map(comm, density, job)


def _broadcast_map(comm: Comm, density: NDArray[np.float32] | None, job: _Job) -> Map:
    """Rank 0's density, brought to the sampling of the images, on every rank. Collective."""
    data = np.empty((job.box,) * 3, np.float32)
    if density is not None:
        data[:] = resample(Map(density, job.box * job.pixel_size / len(density)), job.box, job.pixel_size).data
    comm.broadcast_array(data)
    return Map(data, job.pixel_size)
