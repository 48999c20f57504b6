"""Before the first iteration: all images are measured and dealt out, the references brought to their grid."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.geometry.symmetry import symmetry
from pycryo.io.particles import Particles
from pycryo.maps.density import Map, check_maps, resample
from pycryo.maps.masks import fitted_mask
from pycryo.maps.slab_map import from_root
from pycryo.model.ewald import check_images
from pycryo.model.owners import halves_own
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.refinement.data.halves import halves_of_pixels, split_halves
from pycryo.refinement.data.image_statistics import ImageStatistics, measure_images, without_defocus
from pycryo.refinement.data.left_out import refuse_too_many_bad
from pycryo.refinement.data.partition import Geometry, Partition, commonest_geometry, deal, refuse_empty_halves
from pycryo.refinement.data.signal_power import signal_power
from pycryo.refinement.files.saved.fingerprint import maps_mark
from pycryo.refinement.files.saved.measured import Measured
from pycryo.refinement.maximization.drift import coarse
from pycryo.refinement.options import RefineOptions
from pycryo.refinement.resources.memory_plan import image_budget
from pycryo.refinement.resources.work_plan import refine_sizes
from pycryo.refinement.setup import Setup
from pycryo.refinement.start.known_poses import pose_prior, reference_from_poses
from pycryo.refinement.start.reference import diameter_of, filtered_reference
from pycryo.report.verdict import NO_DEFOCUS

log = logging.getLogger(__name__)


def set_up(
    comm: Comm,
    particles: Particles,
    reference: Map | Sequence[Map] | None,
    mask: Map | None,
    options: RefineOptions,
    measured: Measured | None = None,
) -> tuple[Setup, list[Map]]:
    """Measure all images, deal them out, filter the reference, or that of each class. Collective.

    References and mask are rank 0's, the filtered references are on rank 0 only (none elsewhere). With `measured`, what
    images told is taken from there, or put there.

    Raises
    ------
    InputError
        On every rank, if images, references or mask cannot be used.
    """
    group = symmetry(options.symmetry)
    if options.ewald:
        check_images(particles)
    prior = pose_prior(particles, group, options)
    references, reference_mark = _given(comm, particles, reference, options)
    blind = without_defocus(particles) if options.ctf else np.empty(0, np.int64)
    model = commonest_geometry(particles)
    filtered: list[Map] = []
    whole: list[Map] = []

    def prepare_maps() -> tuple[float, bool]:
        whole.extend(_on_model(each, model) for each in references)
        filtered.extend(filtered_reference(each, options.ini_high) for each in whole)
        return max(_diameter(each, options) for each in filtered), mask is not None

    diameter, has_mask = on_root(comm, prepare_maps)
    starts = coarse(comm, whole)
    whole.clear()
    user_mask = from_root(comm, _checked(comm, mask, model, options)) if has_mask else None
    partition, statistics = _usable(comm, particles, options, (blind, 0.5 * diameter), measured)
    log.info(
        "%d particles (%d + %d in the half-sets), box %d px, %.4f Å/px, diameter %.0f Å, symmetry %s",
        partition.n,
        partition.count(0),
        partition.count(1),
        model.box,
        model.pixel_size,
        diameter,
        group.name,
    )
    owners = halves_own(comm, options.model)
    sizes, figures = refine_sizes(partition, model.box, options)
    setup = Setup(
        partition,
        options,
        group,
        model.box,
        model.pixel_size,
        diameter,
        owners,
        user_mask,
        statistics,
        image_budget(sizes, options.memory, figures),
        starts,
        reference_mark,
        signal_power(statistics, particles, model, use_ctf=options.ctf),
        prior,
    )
    return setup, filtered


def _given(
    comm: Comm, particles: Particles, reference: Map | Sequence[Map] | None, options: RefineOptions
) -> tuple[list[Map], str]:
    """The references of rank 0, or one made of the poses in the file, and the mark of those given. Collective."""
    on_root(comm, lambda: check_maps("reference", reference))
    references = [reference] if isinstance(reference, Map) else list(reference or ())
    mark = on_root(comm, lambda: maps_mark(references))
    if options.local and not mark:
        made = reference_from_poses(comm, particles, options)
        references = [] if made is None else [made]
    on_root(comm, lambda: _check_count(references, options))
    return references, mark


def _usable(
    comm: Comm,
    particles: Particles,
    options: RefineOptions,
    how: tuple[NDArray[np.int64], float],
    measured: Measured | None,
) -> tuple[Partition, ImageStatistics]:
    """The particles that can be used, dealt to the ranks, and what their images tell. Collective.

    `how` are rows that cannot be used, whatever their images, and the radius in Å beyond which these are background.
    """
    blind, background_radius = how
    diameter = 2 * background_radius
    drawn = on_root(comm, lambda: split_halves(particles, options.seed, diameter))
    half = drawn.copy()
    half[blind] = -1
    marks = {"background_radius": background_radius, "n_blind": len(blind)}
    known = None if measured is None else measured.find(comm, particles, **marks)
    first = None
    if known is None:
        first = deal(comm, particles, half, None)
        statistics, cache = measure_images(first, background_radius, options.preread, finds_particle=True)
        first.free()
    else:
        statistics, cache = known, {} if options.preread else None
    told = statistics  # by the images alone
    refuse_too_many_bad(particles, statistics.left_out, options.max_bad_fraction)
    half = on_root(comm, lambda: halves_of_pixels(particles, drawn, statistics.twin, options.seed, diameter)).copy()
    half[blind] = -1
    half[statistics.bad] = -1
    statistics = replace(statistics, left_out=statistics.left_out.also(NO_DEFOCUS, blind))
    partition = deal(comm, particles, half, cache, before=first)
    refuse_empty_halves(partition)
    if measured is not None and known is None:
        measured.keep(comm, particles, told, **marks)
    return partition, statistics


def _check_count(references: list[Map], options: RefineOptions) -> None:
    if not references:
        raise InputError("there is no reference map: give --ref, or --local for particles with poses")
    if len(references) not in (1, options.classes):
        raise InputError(
            f"there are {len(references)} references for {options.classes} class(es): give one, or one for each"
        )


def _on_model(reference: Map, model: Geometry) -> Map:
    """The reference with the box and pixel size of the model."""
    if not np.isfinite(reference.data).all() or not np.any(reference.data):
        raise InputError("the reference map is zero everywhere or has voxels that are not finite")
    if reference.data.min() == reference.data.max():
        raise InputError("the reference map has the same value in all voxels; give one that shows the molecule")
    return resample(reference, model.box, model.pixel_size)


def _diameter(start: Map, options: RefineOptions) -> float:
    diameter = options.diameter or diameter_of(start)
    if diameter > start.box * start.pixel_size:
        raise InputError(
            f"the particle diameter {diameter:.0f} Å is larger than the images ({start.box * start.pixel_size:.0f} Å): "
            "give a smaller --diameter"
        )
    return diameter


def _checked(comm: Comm, mask: Map | None, model: Geometry, options: RefineOptions) -> Map | None:
    """The user's mask on the model's grid, on rank 0; None elsewhere. Collective."""
    made: list[Map] = []

    def check() -> None:
        assert mask is not None
        found = fitted_mask(mask, model.box, model.pixel_size, options.mask or "mask")
        made.append(Map(found, model.pixel_size))

    on_root(comm, check)
    return made[0] if made else None
