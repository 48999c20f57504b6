"""An initial map from no reference: several random starts, the likeliest of them goes on.

See docs/method.md, A map from no reference.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.arguments import flag, instance
from pycryo.errors import InputError
from pycryo.filter.draws import uniform
from pycryo.geometry.symmetry import symmetry
from pycryo.io.particles import Particles
from pycryo.maps.density import Map
from pycryo.maps.fsc import resolution_at
from pycryo.maps.slab_map import SlabMap, gather, resample_grid
from pycryo.model.owners import halves_own
from pycryo.option_fields import given_or_default
from pycryo.parallel.collective_errors import on_all, on_root
from pycryo.parallel.comm import Comm
from pycryo.parallel.world import as_comm
from pycryo.progress import Progress, check_listener, raise_held, told_to
from pycryo.refinement.data.halves import images_told
from pycryo.refinement.data.image_statistics import ImageStatistics, measure_images, without_defocus
from pycryo.refinement.data.left_out import LeftOut, refuse_too_many_bad
from pycryo.refinement.data.mend import mended_counts
from pycryo.refinement.data.partition import Partition, commonest_geometry
from pycryo.refinement.maximization.poses import gather_poses
from pycryo.refinement.outcome import Poses
from pycryo.refinement.resources.memory_plan import image_budget
from pycryo.refinement.resources.work_plan import measure_sizes
from pycryo.refinement.setup import Setup
from pycryo.refinement.start.abinitio_options import AbinitioOptions
from pycryo.refinement.start.contest import Contest, Leg
from pycryo.refinement.start.contrast import DARK, darkness
from pycryo.refinement.start.particle_size import estimate_diameter
from pycryo.refinement.start.small_images import read_small, without
from pycryo.refinement.start.stochastic import Round
from pycryo.report.verdict import ODD_LEVEL
from pycryo.threads import set_threads

log = logging.getLogger(__name__)

_SUBSET_STREAM = 7 << 50
# Pixel of the images in units of the last resolution: what is inserted reaches beyond what is compared.
_PIXEL = 1 / 3
# Mean log evidence per image below which noise explains the images as well; of noise alone it was -1.3.
_LEAST_EVIDENCE = 1.0


@dataclass(frozen=True, slots=True)
class InitialModel:
    """An initial map and how it was found; `map` and `poses` on rank 0 only (None elsewhere).

    Attributes
    ----------
    map : Map or None
        On the grid of the images and on their grey scale; coarser than `resolution` only.
    poses : Poses or None
        Of the images used.
    resolution : float
        FSC 0.143 of two halves of the images that had one reference, Å: an optimistic figure.
    diameter : float
        Of the particle, Å.
    legs : list of Leg
    used : (n,) int64
        Rows of the images used.
    left_out : LeftOut
        Unusable images among those drawn.
    n_mended : dict of str to int
        See `ImageStatistics.n_mended`.
    planes : SlabMap
        The map in planes.
    seconds : float
    """

    map: Map | None
    poses: Poses | None
    resolution: float
    diameter: float
    legs: list[Leg]
    used: NDArray[np.int64]
    left_out: LeftOut
    n_mended: dict[str, int]
    planes: SlabMap
    seconds: float

    def __repr__(self) -> str:
        return (
            f"InitialModel({self.map}, {self.resolution:.3g} Å, diameter {self.diameter:.0f} Å, "
            f"{len(self.used)} particles, {self.seconds:.0f} s)"
        )


def abinitio(
    particles: Particles,
    options: AbinitioOptions | None = None,
    *,
    comm: Any = None,
    progress: Progress | None = None,
    gather_map: bool = True,
) -> InitialModel:
    """Find an initial map of particles without a reference. Collective.

    The hand is a matter of chance, and so is the position of the map about axes that its symmetry leaves free.

    Parameters
    ----------
    particles : Particles
        From `pycryo.read_particles`; the same on every rank.
    options : AbinitioOptions, optional
    comm : mpi4py communicator, optional
        Default: this process alone.
    progress : callable, optional
        Called on rank 0 with the fraction done, 0 to 1, and the name of the phase.
    gather_map : bool
        Bring the map to rank 0, which must have the memory for it.

    Returns
    -------
    InitialModel
        The same for any number of ranks and threads.

    Raises
    ------
    InputError
        If the particles cannot be used.

    Examples
    --------
    >>> truth = pycryo.resample(pycryo.read_map(pycryo.betagal() / "reference_40A.mrc"), 24, 13.66)
    >>> particles = pycryo.simulate(truth, n=30, snr=1.0, shift_sd=0.5)
    >>> options = pycryo.AbinitioOptions(symmetry="D2", tries=1, first_batch=6, last_batch=8, last_resolution=40)
    >>> found = pycryo.abinitio(particles, options)
    >>> found.map.box, len(found.used)
    (24, 30)
    """
    began = time.perf_counter()
    instance("particles", particles, Particles, "from read_particles")
    options = given_or_default(AbinitioOptions, options)
    check_listener(progress)
    gather_map = flag("gather_map", gather_map)
    if options.threads is not None:
        set_threads(options.threads)
    comm = as_comm(comm)
    with told_to(progress if comm.rank == 0 else None, holds_errors=comm.size > 1):
        setup, left_out, n_mended = _set_up(comm, particles, options)
        contest = Contest(setup, options)
        last = contest.run()
        on_all(comm, raise_held)
    ((reference, _),) = last.state.references
    resolution = resolution_at(last.curve, reference.box, reference.pixel_size, 0.143)
    poses = gather_poses(setup.partition, last.results, last.figures.score)
    planes = _on_image_grid(reference, setup, particles)
    seconds = time.perf_counter() - began
    _tell(contest, last, resolution, seconds)
    used = np.flatnonzero(setup.partition.half >= 0)
    found = gather(planes) if gather_map else None
    setup.free()
    legs, diameter = contest.legs, setup.diameter
    return InitialModel(found, poses, resolution, diameter, legs, used, left_out, n_mended, planes, seconds)


def _tell(contest: Contest, last: Round, resolution: float, seconds: float) -> None:
    """The result in the log."""
    best = contest.legs[-1].kept[0]
    log.info(
        "initial map: try %d, half-sets with one reference agree to %.1f Å, poses known to %.1f°, %.1f s",
        best + 1,
        resolution,
        last.figures.spread_rotation,
        seconds,
    )
    evidence = contest.legs[-1].evidence[best]
    if evidence < _LEAST_EVIDENCE:
        log.warning(
            "the images hardly support a map: with it their log evidence is %.2f per image, noise alone has 0", evidence
        )
    log.debug("seconds: %s", {name: round(value, 1) for name, value in contest.timer.seconds.items()})


def _set_up(comm: Comm, particles: Particles, options: AbinitioOptions) -> tuple[Setup, LeftOut, dict[str, int]]:
    """Read the images to be used and measure what is known before any map; unusable and mended ones. Collective."""
    usable = np.ones(particles.n, bool)
    if options.ctf:
        usable[without_defocus(particles)] = False
    image = on_root(comm, lambda: images_told(particles))
    # Copies tell nothing new, and would be in both halves of a round.
    is_first = image == np.arange(particles.n)
    if not is_first.all():
        log.info("%d rows that repeat the image of another one are left out", np.count_nonzero(~is_first))
    usable &= is_first
    rows = np.flatnonzero(usable).astype(np.int64)
    if len(rows) > options.max_images:
        draw = uniform(options.seed, _SUBSET_STREAM, rows, 1)[:, 0]
        rows = np.sort(rows[np.argsort(draw, kind="stable")[: options.max_images]])
        log.info("%d of %d particles are used, drawn at random", len(rows), particles.n)
    _, last = options.resolutions(options.diameter or 0.0)
    partition, left_out, mends = read_small(comm, particles, rows, _PIXEL * last)
    # What is subtracted from an image does not say how strong it is.
    field = float((particles.optics.box * particles.optics.pixel_size).min())
    first, _ = measure_images(partition, 0.5 * field, False, corrects_norm=False)
    left_out = left_out.also(ODD_LEVEL, first.bad)
    refuse_too_many_bad(particles, left_out, options.max_bad_fraction)
    copies = np.flatnonzero(first.twin != np.arange(particles.n))
    if len(copies):
        log.info("%d rows whose pixels are those of another one are left out", len(copies))
    partition = without(partition, np.union1d(left_out.rows, copies))
    if partition.count(0) < 2:
        raise InputError(f"{partition.count(0)} usable particles are too few: give at least two")
    diameter = options.diameter or estimate_diameter(partition)
    if darkness(partition, diameter) * (-1 if options.invert_contrast else 1) > DARK:
        advice = "leave out --invert-contrast" if options.invert_contrast else "give --invert-contrast"
        log.warning("the particles seem to be darker than their surroundings: if they are dark on light, %s", advice)
    # So coarse images hold no shells that are noise alone.
    statistics, _ = measure_images(partition, 0.5 * diameter, False, corrects_norm=False, judged=first.judged)
    setup = _make_setup(partition, options, diameter, statistics)
    if diameter > setup.field_of_view:
        raise InputError(
            f"the particle diameter {diameter:.0f} Å is larger than the images ({setup.field_of_view:.0f} Å): give a "
            "smaller --diameter"
        )
    return setup, left_out, mended_counts(comm, mends, left_out.rows)


def _make_setup(partition: Partition, options: AbinitioOptions, diameter: float, statistics: ImageStatistics) -> Setup:
    """What the rounds need; the model's box is that of most images. Collective."""
    model = commonest_geometry(partition.particles, np.flatnonzero(partition.half >= 0))
    box, pixel_size = model.box, model.pixel_size
    sizes, figures = measure_sizes(partition, box, options.padding, options.model, single=False, preread=True)
    log.info(
        "%d particles on %d px of %.2f Å, diameter %.0f Å%s, symmetry %s",
        partition.count(0),
        box,
        pixel_size,
        diameter,
        "" if options.diameter else " (from the images)",
        symmetry(options.symmetry).name,
    )
    return Setup(
        partition,
        options.refine_options(),
        symmetry(options.symmetry),
        box,
        pixel_size,
        diameter,
        halves_own(partition.comm, options.model),
        None,
        statistics,
        image_budget(sizes, options.memory, figures),
        starts=(),
        reference_mark="",
        signal=np.zeros(box // 2 + 1),
    )


def _on_image_grid(reference: SlabMap, setup: Setup, particles: Particles) -> SlabMap:
    """The map on the grid of most images, with their grey values. Collective."""
    group = particles.optics_group[setup.partition.half >= 0]
    fields = (particles.optics.box * particles.optics.pixel_size)[group]
    boxes = particles.optics.box[group][np.isclose(fields, setup.field_of_view)]
    kinds, count = np.unique(boxes, return_counts=True)
    box = int(kinds[count.argmax()])
    found = resample_grid(reference, box)
    # A line through the map has so many more voxels.
    return replace(found, data=found.data * np.float32(setup.box / box))
