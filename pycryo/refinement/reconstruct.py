"""A map from particles whose poses are known, by the refinement's own road.

See docs/method.md, Insertion and reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.arguments import instance
from pycryo.errors import InputError
from pycryo.geometry.symmetry import symmetry as point_group
from pycryo.io.particles import Particles
from pycryo.kernels.backprojector import Accumulators
from pycryo.maps.density import Map
from pycryo.maps.fsc import Fsc, corrected_fsc
from pycryo.maps.slab_map import SlabMap, everywhere, resample_grid
from pycryo.model.ewald import Ewald, check_images
from pycryo.model.insertion import Frame, combined
from pycryo.model.owners import Owners, all_own, deal_map, halves_own
from pycryo.model.solve import Solver, grid_box
from pycryo.model.symmetrise import choose_mates
from pycryo.option_fields import choose
from pycryo.parallel.collective_errors import on_all, on_root
from pycryo.parallel.comm import Comm
from pycryo.parallel.world import as_comm
from pycryo.progress import Progress, check_listener, raise_held, told_to
from pycryo.refinement.data.halves import halves_of_pixels, images_told, split_halves
from pycryo.refinement.data.image_statistics import ImageStatistics, measure_images, without_defocus
from pycryo.refinement.data.left_out import LeftOut, refuse_too_many_bad
from pycryo.refinement.data.partition import Geometry, Partition, commonest_geometry, deal, refuse_empty_halves
from pycryo.refinement.expectation.fixed_poses import (
    FixedWeighting,
    Job,
    exact_quanta,
    insert_particles,
    samples_per_image,
    white_noise,
)
from pycryo.refinement.reconstruct_options import ReconstructOptions as ReconstructOptions
from pycryo.refinement.resources.memory_plan import image_budget
from pycryo.refinement.resources.work_plan import measure_sizes
from pycryo.report.verdict import NO_DEFOCUS

# Gridding iterations. The start, 1/T, is as near to the truth as what they lead to, in every shell (sim64, sim128).
_GRIDDING = 0


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
    left_out : LeftOut
        Those that cannot be used.
    """

    map: Map
    half_maps: tuple[Map, Map] | None
    fsc: Fsc | None
    n: int
    left_out: LeftOut

    def __repr__(self) -> str:
        halves = "" if self.fsc is None else f", half-maps agree to {self.fsc.resolution_0143:.4g} Å"
        return f"Reconstruction({self.n} particles, {len(self.left_out.rows)} left out, {self.map}{halves})"


@dataclass(frozen=True, slots=True)
class SlabReconstruction:
    """A `Reconstruction` whose maps are dealt to the ranks."""

    map: SlabMap
    half_maps: tuple[SlabMap, SlabMap] | None
    fsc: Fsc | None
    n: int
    left_out: LeftOut


def reconstruct(
    particles: Particles, *, comm: Any = None, progress: Progress | None = None, **options: Any
) -> Reconstruction:
    """Reconstruct a map from the poses that the particles have, whole on every rank. Collective.

    How it is made is told at `reconstruct_slabs`, which leaves the maps dealt to the ranks.

    Parameters
    ----------
    particles : Particles
        With rlnAngleRot, rlnAngleTilt, rlnAnglePsi; origins are 0 where absent.
    comm : mpi4py communicator, optional
        Ranks that share the work. Default: this process alone.
    progress : callable, optional
        Called on rank 0 with the fraction done, 0 to 1, and the name of the phase.
    **options
        Fields of `ReconstructOptions`, such as ``symmetry`` or ``half_maps``.

    Returns
    -------
    Reconstruction

    Raises
    ------
    InputError
        As `reconstruct_slabs`, or if there is no such option.

    Examples
    --------
    >>> truth = pycryo.read_map(pycryo.betagal() / "reference_40A.mrc")
    >>> particles = pycryo.simulate(truth, n=100, snr=0.5)
    >>> found = pycryo.reconstruct(particles, half_maps=True)
    >>> bool(pycryo.fsc(found.map, truth)[4] > 0.99)
    True
    """
    instance("particles", particles, Particles, "from read_particles")
    chosen: ReconstructOptions = choose(ReconstructOptions, "reconstruct", options)
    check_listener(progress)
    comm = as_comm(comm)
    with told_to(progress if comm.rank == 0 else None, holds_errors=comm.size > 1):
        found = reconstruct_slabs(particles, chosen, comm=comm)
        on_all(comm, raise_held)
    halves = None
    if found.half_maps is not None:
        first, second = (everywhere(half) for half in found.half_maps)
        halves = (first, second)
    return Reconstruction(everywhere(found.map), halves, found.fsc, found.n, found.left_out)


def reconstruct_slabs(
    particles: Particles,
    options: ReconstructOptions | None = None,
    *,
    comm: Any = None,
) -> SlabReconstruction:
    """Reconstruct a map from the poses that the particles have. Collective.

    Every image, multiplied by its CTF, and its squared CTF are summed at the pose and its symmetry mates; their
    quotient is the map's transform (`pycryo.model.solve.Solver`), held down where few images contribute to a
    shell that holds much noise (`pycryo.model.measured_ssnr`), with the grey values of each shell kept. The noise is
    taken as white, with one level per optics group. The result does not depend, to the last bit, on the number of ranks
    and threads.

    Parameters
    ----------
    particles : Particles
        With rlnAngleRot, rlnAngleTilt, rlnAnglePsi; origins are 0 where absent. The map has the commonest box and
        pixel size of their images.
    options : ReconstructOptions, optional
    comm : Comm or mpi4py communicator, optional
        Ranks that share the work.

    Returns
    -------
    SlabReconstruction

    Raises
    ------
    InputError
        If the particles have no poses or no CTF parameters, or an option is out of range.
    """
    options = options or ReconstructOptions()
    particles.require_poses("reconstruct needs particles with poses")
    model = commonest_geometry(particles)
    r_high = _limit(model, options.max_resolution)
    ewald = _ewald(particles, options, model)
    radius = options.background_radius
    if radius is None:
        radius = 0.5 * model.field_of_view
    comm = as_comm(comm)
    partition, statistics, left_out = _usable(comm, particles, options, radius)
    owners = halves_own(comm, options.model) if options.half_maps else (all_own(comm, options.model),)
    job = _job(partition, statistics, options, model, r_high, radius, ewald)
    sums = insert_particles(partition, owners, job)
    result = _solved(partition, owners, sums, job, options, left_out)
    for each in owners:
        each.free()
    partition.free()
    return result


def _usable(
    comm: Comm, particles: Particles, options: ReconstructOptions, background_radius: float
) -> tuple[Partition, ImageStatistics, LeftOut]:
    """The usable particles, dealt to the ranks, what is known of their images, and the others. Collective."""
    drawn = on_root(comm, lambda: _halves(particles, options))
    blind = without_defocus(particles) if options.ctf else np.empty(0, np.int64)
    half = drawn.copy()
    half[blind] = -1
    first = deal(comm, particles, half, None)
    statistics, _ = measure_images(first, background_radius, False, corrects_norm=False)
    first.free()
    refuse_too_many_bad(particles, statistics.left_out, options.max_bad_fraction)
    half = on_root(comm, lambda: _halves_by_pixels(particles, options, drawn, statistics.twin)).copy()
    half[blind] = -1
    half[statistics.bad] = -1
    partition = deal(comm, particles, half, None, before=first)
    if options.half_maps:
        refuse_empty_halves(partition)
    elif not partition.n:
        raise InputError(f"{particles.path} has no particle that can be used; see what was left out")
    return partition, statistics, statistics.left_out.also(NO_DEFOCUS, blind)


def _halves(particles: Particles, options: ReconstructOptions) -> NDArray[np.int8]:
    """Half-set of each particle; 0 if there are no halves."""
    if not options.half_maps:
        images_told(particles)
        return np.zeros(particles.n, np.int8)
    return split_halves(particles, options.seed, _diameter(options))


def _halves_by_pixels(
    particles: Particles, options: ReconstructOptions, half: NDArray[np.int8], twin: NDArray[np.int64]
) -> NDArray[np.int8]:
    """`_halves`, now that images with the same pixels are known."""
    if not options.half_maps:
        images_told(particles, twin)
        return half
    return halves_of_pixels(particles, half, twin, options.seed, _diameter(options))


def _diameter(options: ReconstructOptions) -> float | None:
    return None if options.background_radius is None else 2 * options.background_radius


def _job(
    partition: Partition,
    statistics: ImageStatistics,
    options: ReconstructOptions,
    model: Geometry,
    r_high: float,
    background_radius: float,
    ewald: Ewald | None,
) -> Job:
    """What the insertion of all images needs. Collective."""
    particles, group = partition.particles, point_group(options.symmetry)
    scale = np.asarray(model.pixel_size / particles.optics.pixel_size, np.float64)
    weighting = FixedWeighting(
        background_radius,
        options.ctf,
        white_noise(statistics, particles),
        scale,
        statistics.norm,
        -1.0 if options.invert_contrast else 1.0,
    )
    n, n_halves = int(np.count_nonzero(partition.half >= 0)), 2 if options.half_maps else 1
    quantum = exact_quanta(particles, statistics, weighting, model, options.padding, n * len(group))
    frame = Frame(model.box, options.padding, r_high, quantum)
    sizes, figures = measure_sizes(
        partition, model.box, options.padding, options.model, options.single, halves=n_halves
    )
    n_sample = samples_per_image(particles, frame, model.pixel_size) * n * (1 if ewald is None else 2)
    mates = choose_mates(partition.comm, group, frame.sphere, n_sample, n_halves)
    return Job(frame, model.pixel_size, weighting, mates, image_budget(sizes, options.memory, figures), ewald)


def _ewald(particles: Particles, options: ReconstructOptions, model: Geometry) -> Ewald | None:
    """The surfaces that images are inserted on; None: central slices."""
    if not options.ewald:
        return None
    check_images(particles)
    diameter = 2 / 3 * model.field_of_view if options.diameter is None else options.diameter
    return Ewald(options.ewald_hand, diameter)


def _limit(model: Geometry, max_resolution: float | None) -> float:
    """Fourier px of the map below which samples are inserted."""
    if max_resolution is None:
        return model.box / 2
    if not 0 < max_resolution < model.field_of_view / 2:
        raise InputError(
            f"the highest resolution is {max_resolution} Å, it must be positive and below "
            f"{model.field_of_view / 2:.0f} Å, half the images' field of view"
        )
    return min(model.box / 2, model.field_of_view / max_resolution)


def _solved(
    partition: Partition,
    owners: tuple[Owners, ...],
    sums: list[Accumulators | None],
    job: Job,
    options: ReconstructOptions,
    left_out: LeftOut,
) -> SlabReconstruction:
    """The maps of the halves, solved at the same time, and that of all data. Collective."""
    if len(owners) == 1:
        return SlabReconstruction(_solve(owners[0], sums[0], job, options), None, None, partition.n, left_out)
    first, second = (_solve(each, half, job, options) for each, half in zip(owners, sums, strict=True))
    everything = combined(sums[0], sums[1], (owners[0], owners[1]))
    sums.clear()  # the halves' memory is free for the last solution
    whole = _solve(all_own(partition.comm, options.model), everything, job, options)
    curve = corrected_fsc(first.data, second.data, job.pixel_size, comm=partition.comm)
    return SlabReconstruction(whole, (first, second), curve, partition.n, left_out)


def _solve(owners: Owners, sums: Accumulators | None, job: Job, options: ReconstructOptions) -> SlabMap:
    """The map on the grid of the images, dealt to all ranks. Collective."""
    frame = job.frame
    points = grid_box(frame.box, frame.r_high)
    solution = None
    if sums is not None and owners.comm is not None:
        solver = Solver(owners.comm, sums, model=options.model, double=not options.single)
        solution = solver.solve(ssnr=solver.measured_ssnr(), keeps_scale=True, max_iterations=_GRIDDING)
    pixel_size = frame.box * job.pixel_size / points
    return resample_grid(deal_map(owners, None if solution is None else solution.planes, points, pixel_size), frame.box)
