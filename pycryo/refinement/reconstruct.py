"""A map from particles whose poses are known (method.md §6), by the refinement's own road."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.geometry.rotations import euler_to_quaternion, multiply, quaternion_to_matrix
from pycryo.geometry.symmetry import symmetry as point_group
from pycryo.io.batches import Batch
from pycryo.io.particles import Particles
from pycryo.kernels.backprojector import Accumulators, quantum_for
from pycryo.kernels.pixels import half_plane
from pycryo.maps.density import Map
from pycryo.maps.fsc import Fsc, corrected_fsc
from pycryo.maps.slab_map import SlabMap, everywhere, resample_grid
from pycryo.model.insertion import Entries, Frame, Insertion, combined, waits
from pycryo.model.owners import Model, Owners, all_own, deal_map, halves_own
from pycryo.model.solve import grid_box, solve
from pycryo.model.symmetrise import Mates, choose_mates, symmetrise
from pycryo.parallel.world import as_comm
from pycryo.refinement.data.dataset import (
    FirstLook,
    Share,
    deal,
    first_look,
    geometry_of,
    refuse_too_many_bad,
    split_halves,
    without_defocus,
)
from pycryo.refinement.data.prepare import particle_ctf, transform, weigh
from pycryo.refinement.expectation.rounds import parts, round_count
from pycryo.refinement.resources.memory_plan import image_budget
from pycryo.refinement.resources.work_plan import measure_sizes

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
class SlabReconstruction:
    """A `Reconstruction` whose maps are dealt to the ranks."""

    map: SlabMap
    half_maps: tuple[SlabMap, SlabMap] | None
    fsc: Fsc | None
    n: int


@dataclass(frozen=True, slots=True)
class _Job:
    """What stays the same for all batches: sampling and limits of the map, weights, memory for images."""

    frame: Frame
    pixel_size: float
    background_radius: float
    use_ctf: bool
    mates: Mates
    model: Model
    single: bool
    memory: float
    noise: NDArray[np.float64]
    scale: NDArray[np.float64]


def reconstruct(particles: Particles, *, comm: Any = None, **options: Any) -> Reconstruction:
    """Reconstruct a map, whole on every rank; see `reconstruct_slabs`, which has the same options. Collective."""
    found = reconstruct_slabs(particles, comm=comm, **options)
    halves = None
    if found.half_maps is not None:
        first, second = (everywhere(half) for half in found.half_maps)
        halves = (first, second)
    return Reconstruction(everywhere(found.map), halves, found.fsc, found.n)


def reconstruct_slabs(
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
    model: Model = "slab",
    single: bool = False,
    memory: float | None = None,
    progress: Progress | None = None,
) -> SlabReconstruction:
    """Reconstruct a map from the poses that the particles have. Collective.

    Every image, multiplied by its CTF, and its squared CTF are summed at the pose and its symmetry mates; their
    quotient is the map's transform (`pycryo.model.solve.solve`), held down only where hardly any image
    contributes. The noise is taken as white, with one level per optics group. The result does not depend, to the last
    bit, on the number of ranks and threads.

    Parameters
    ----------
    particles : Particles
        With rlnAngleRot, rlnAngleTilt, rlnAnglePsi; origins are 0 where absent. The map has the commonest box and
        pixel size of their images.
    symmetry : str
        Point group, see `pycryo.geometry.symmetry.symmetry`.
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
    model : str
        How ranks hold the model, see `pycryo.model.owners.MODELS`.
    single : bool
        Transform in single precision.
    memory : float, optional
        GiB for images that wait for insertion. Default: half of what is free, divided by the ranks of the node.
    progress : callable, optional
        Called with the number of this rank's images done and their total.

    Returns
    -------
    SlabReconstruction

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
    first = deal(comm, particles, half, None)
    look, _ = first_look(first, background_radius, False, corrects_norm=False)
    first.free()
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
    frame = Frame(box, padding, r_high, quantum)
    sizes, figures = measure_sizes(share, box, padding, model, single, halves=len(halves))
    allowed = image_budget(sizes, memory, figures)
    n_sample = _samples(particles, frame, pixel_size) * np.count_nonzero(half >= 0)
    mates = choose_mates(comm, group, frame.sphere, n_sample, len(halves))
    job = _Job(frame, pixel_size, background_radius, ctf, mates, model, single, allowed, noise, scale)
    owners = halves_own(comm, model) if half_maps else (all_own(comm, model),)
    sums = _inserted(share, owners, job, progress)
    result = _solved(share, owners, sums, job)
    for each in owners:
        each.free()
    share.free()
    return result


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
    """Quanta of F and T with which the insertion of all images at all mates is exact, see `insert`.

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


def _inserted(
    share: Share, owners: tuple[Owners, ...], job: _Job, progress: Progress | None
) -> list[Accumulators | None]:
    """F and T of each half, on its owners; None elsewhere. Collective."""
    whole = len(owners) == 1
    comms = [share.comm] if whole else list(share.half_comm)
    insertions = [
        None if comm is None else Insertion(comm, each, job.frame) for comm, each in zip(comms, owners, strict=True)
    ]
    waiting = any(comm is not None and waits(comm, each) for comm, each in zip(comms, owners, strict=True))
    n_round = round_count(
        share, 12 * _samples(share.particles, job.frame, job.pixel_size) if waiting else 0.0, job.memory
    )
    done, total = 0, len(share.rows)
    for number, rows in enumerate(parts(share, n_round)):
        for insertion in insertions if number else ():
            if insertion is not None:
                insertion.exchange()
        for insertion, mine in zip(insertions, rows, strict=False):
            for batch in share.batches(mine):
                assert insertion is not None
                insertion.add(_entries(share.particles, batch, job))
                done += len(batch.rows)
                if progress is not None:
                    progress(done, total)
    return [
        None if insertion is None else _symmetric(insertion.result(), each, job)
        for insertion, each in zip(insertions, owners, strict=True)
    ]


def _symmetric(sums: Accumulators | None, owners: Owners, job: _Job) -> Accumulators | None:
    """F and T with the mates at which images were not inserted. Collective over the owners."""
    if sums is not None:
        symmetrise(sums, owners, job.mates.rotations)
    return sums


def _samples(particles: Particles, frame: Frame, pixel_size: float) -> float:
    """Fourier samples of an image that are inserted, at most."""
    ratio = frame.box * pixel_size / (particles.optics.box * particles.optics.pixel_size)
    return float((np.pi / 2 * np.minimum(frame.r_high / ratio, particles.optics.box / 2) ** 2).max())


def _entries(particles: Particles, batch: Batch, job: _Job) -> Entries:
    """Images of one geometry at their poses and those of the symmetry mates that are inserted."""
    rows, optics, frame = batch.rows, particles.optics, job.frame
    group = particles.optics_group[rows]
    box, pixel_size = int(optics.box[group[0]]), float(optics.pixel_size[group[0]])
    ratio = frame.box * job.pixel_size / (box * pixel_size)  # Fourier px of the map per Fourier px of the image
    pixels = half_plane(box, min(frame.r_high / ratio, box / 2))
    samples = pixels.take(transform(batch.images, job.background_radius / pixel_size))
    transfer = particle_ctf(particles, rows, pixels) if job.use_ctf else None
    target = weigh(samples, pixels, transfer, job.noise[group], job.scale[group])
    n_mate = len(job.mates.poses)
    poses = euler_to_quaternion(particles.rot[rows], particles.tilt[rows], particles.psi[rows])
    rotations = quaternion_to_matrix(multiply(poses[:, None], job.mates.poses))
    # The kernel's phase ramp is in units of the map's box.
    origin = np.stack([particles.origin_x[rows], particles.origin_y[rows]], axis=1) / pixel_size
    return Entries(
        target.images,
        target.weights,
        np.repeat(np.arange(len(rows)), n_mate),
        rotations.reshape(-1, 3, 3),
        np.repeat(-origin * (frame.box / box), n_mate, axis=0),
        np.ones(len(rows) * n_mate),
        pixels.kx,
        pixels.ky,
        ratio,
    )


def _solved(share: Share, owners: tuple[Owners, ...], sums: list[Accumulators | None], job: _Job) -> SlabReconstruction:
    """The maps of the halves, solved at the same time, and that of all data. Collective."""
    n = share.count(0) + share.count(1)
    if len(owners) == 1:
        return SlabReconstruction(_solve(owners[0], sums[0], job), None, None, n)
    first, second = (_solve(each, half, job) for each, half in zip(owners, sums, strict=True))
    everything = combined(sums[0], sums[1], (owners[0], owners[1]))
    sums.clear()  # the halves' memory is free for the last solution
    whole = _solve(all_own(share.comm, job.model), everything, job)
    curve = corrected_fsc(first.data, second.data, job.pixel_size, comm=share.comm)
    return SlabReconstruction(whole, (first, second), curve, n)


def _solve(owners: Owners, sums: Accumulators | None, job: _Job) -> SlabMap:
    """The map on the grid of the images, dealt to all ranks. Collective."""
    frame = job.frame
    points = grid_box(frame.box, frame.r_high)
    solution = None
    if sums is not None and owners.comm is not None:
        solution = solve(owners.comm, sums, model=job.model, max_iterations=_GRIDDING, double=not job.single)
    pixel_size = frame.box * job.pixel_size / points
    return resample_grid(deal_map(owners, None if solution is None else solution.planes, points, pixel_size), frame.box)
