"""Before the first iteration: a look at all images, the reference on their grid and grey scale."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pycryo.errors import InputError
from pycryo.geometry.symmetry import symmetry
from pycryo.io.particles import Particles
from pycryo.maps.density import Map, resample
from pycryo.maps.masks import check_mask
from pycryo.maps.slab_map import SlabMap, from_root, gather
from pycryo.model.owners import halves_own
from pycryo.model.solve import grid_box
from pycryo.parallel.collective_errors import on_root
from pycryo.parallel.comm import Comm
from pycryo.refinement.data.dataset import deal, first_look, refuse_too_many_bad, split_halves, without_defocus
from pycryo.refinement.data.signal_power import signal_power
from pycryo.refinement.files.fingerprint import maps_mark
from pycryo.refinement.maximization.drift import coarse
from pycryo.refinement.maximization.noise import first_noise
from pycryo.refinement.maximization.resolution import solvent_mask
from pycryo.refinement.options import RefineOptions
from pycryo.refinement.plan import make_plan
from pycryo.refinement.resources.memory_plan import image_budget
from pycryo.refinement.resources.work_plan import refine_sizes
from pycryo.refinement.schedule import Schedule
from pycryo.refinement.start.known_poses import first_posteriors, first_sigma_shift, pose_prior, reference_from_poses
from pycryo.refinement.start.reference import diameter_of, filtered_reference, first_scale, grey_scale, to_grid
from pycryo.refinement.state import Setup, State

log = logging.getLogger(__name__)

# First shift prior per axis as a share of the field of view.
_FIRST_SIGMA = 0.05


def set_up(
    comm: Comm,
    particles: Particles,
    reference: Map | Sequence[Map] | None,
    mask: Map | None,
    options: RefineOptions,
) -> tuple[Setup, list[Map]]:
    """Look at all images, deal them out, filter the reference, or that of each class. Collective.

    References and mask are rank 0's, the filtered references are on rank 0 only (none elsewhere).

    Raises
    ------
    InputError
        On every rank, if images, references or mask cannot be used.
    """
    group = symmetry(options.symmetry)
    prior = pose_prior(particles, group, options)
    references = [reference] if isinstance(reference, Map) else list(reference or ())
    reference_mark = on_root(comm, lambda: maps_mark(references))
    if options.local and not reference_mark:
        made = reference_from_poses(comm, particles, options)
        references = [] if made is None else [made]
    on_root(comm, lambda: _check_count(references, options))
    blind = without_defocus(particles) if options.ctf else np.empty(0, np.int64)
    geometry = np.stack([particles.optics.box, particles.optics.pixel_size], axis=1)[particles.optics_group]
    kinds, count = np.unique(geometry, axis=0, return_counts=True)
    box, pixel_size = int(kinds[count.argmax()][0]), float(kinds[count.argmax()][1])
    filtered: list[Map] = []
    whole: list[Map] = []

    def look_at_maps() -> tuple[float, bool]:
        whole.extend(_on_model(each, box, pixel_size) for each in references)
        filtered.extend(filtered_reference(each, options.ini_high) for each in whole)
        return max(_diameter(each, options) for each in filtered), mask is not None

    diameter, has_mask = on_root(comm, look_at_maps)
    starts = coarse(comm, whole)
    whole.clear()
    user_mask = None
    if has_mask:
        user_mask = from_root(comm, _checked(comm, mask, box, pixel_size, options))
    half = split_halves(particles, options.seed)
    half[blind] = -1
    first = deal(comm, particles, half, None)
    look, cache = first_look(first, 0.5 * diameter, options.preread, finds_particle=True)
    first.free()
    refuse_too_many_bad(particles, look.bad, options.max_bad_fraction)
    half[look.bad] = -1
    look = replace(look, bad=np.union1d(look.bad, blind))
    share = deal(comm, particles, half, cache)
    if min(share.count(0), share.count(1)) < 1:
        raise InputError(
            f"the half-sets hold {share.count(0)} and {share.count(1)} usable particles, each needs at least one: "
            "give more particles or remove the column rlnRandomSubset"
        )
    log.info(
        "%d particles (%d + %d in the half-sets), box %d px, %.4f Å/px, diameter %.0f Å, symmetry %s",
        share.count(0) + share.count(1),
        share.count(0),
        share.count(1),
        box,
        pixel_size,
        diameter,
        group.name,
    )
    owners = halves_own(comm, options.model)
    sizes, figures = refine_sizes(share, box, options)
    sizes = replace(sizes, images=image_budget(sizes, options.memory, figures))
    return (
        Setup(
            share,
            options,
            group,
            box,
            pixel_size,
            diameter,
            owners,
            user_mask,
            look,
            sizes.images,
            starts,
            reference_mark,
            signal_power(look, particles, box, pixel_size, use_ctf=options.ctf),
            prior,
        ),
        filtered,
    )


def _check_count(references: list[Map], options: RefineOptions) -> None:
    if not references:
        raise InputError("there is no reference map: give --ref, or --local for particles with poses")
    if len(references) not in (1, options.classes):
        raise InputError(
            f"there are {len(references)} references for {options.classes} class(es): give one, or one for each"
        )


def _on_model(reference: Map, box: int, pixel_size: float) -> Map:
    """The reference with the box and pixel size of the model."""
    if not np.isfinite(reference.data).all() or not np.any(reference.data):
        raise InputError("the reference map is zero everywhere or has voxels that are not finite")
    return resample(reference, box, pixel_size)


def _diameter(start: Map, options: RefineOptions) -> float:
    diameter = options.diameter or diameter_of(start)
    if diameter > start.box * start.pixel_size:
        raise InputError(
            f"the particle diameter {diameter:.0f} Å is larger than the images ({start.box * start.pixel_size:.0f} Å): "
            "give a smaller --diameter"
        )
    return diameter


def _checked(comm: Comm, mask: Map | None, box: int, pixel_size: float, options: RefineOptions) -> Map | None:
    """The user's mask on the model's grid, on rank 0; None elsewhere. Collective."""
    made: list[Map] = []

    def check() -> None:
        assert mask is not None
        made.append(Map(check_mask(resample(mask, box, pixel_size), box, options.mask or "mask"), pixel_size))

    on_root(comm, check)
    return made[0] if made else None


def first_state(setup: Setup, starts: list[Map]) -> State:
    """State before the first iteration, from the filtered references of rank 0. Collective."""
    share, options = setup.share, setup.options
    particles = share.particles
    r_high = min(setup.box / 2, max(5.0, setup.field_of_view / options.ini_high + 2))
    points = grid_box(setup.box, r_high)
    references = []
    for number in range(len(setup.starts)):
        reference = from_root(share.comm, to_grid(starts[number], points) if starts else None)
        references.append(replace(reference, data=reference.data * solvent_mask(setup, points).data))
    sigma_shift = _FIRST_SIGMA * setup.field_of_view
    if options.local:
        sigma_shift = max(sigma_shift, first_sigma_shift(setup))
    state = State(
        number=0,
        schedule=Schedule("local" if options.local else "global", r_high, is_joined=options.classes > 1),
        references=tuple((each, each) for each in references),
        class_share=np.full(options.classes, 1 / options.classes),
        noise=first_noise(setup.look, particles),
        scale=np.asarray(setup.pixel_size / particles.optics.pixel_size, np.float64),
        sigma_shift=sigma_shift,
        sigma_defocus=None,
        posteriors=first_posteriors(setup) if options.local else (None, None),
        insertion_weight=np.ones(particles.n),
    )
    scaled = tuple(_on_grey_scale(setup, state, each) for each in references)
    return replace(state, references=tuple((each, each) for each in scaled))


def _on_grey_scale(setup: Setup, state: State, reference: SlabMap) -> SlabMap:
    """A reference with grey values that fit the images. Collective."""
    share = setup.share
    whole = gather(reference)
    grey = 0.0
    if whole is not None:
        rough = first_scale(whole, setup.look, setup.box)
        grey = rough * grey_scale(
            share,
            whole.data * np.float32(rough),
            make_plan(setup, state),
            setup.group,
            2 * state.sigma_shift / setup.pixel_size,
        )
    grey = share.comm.broadcast(grey)
    log.info("reference: low-passed to %.1f Å, grey values × %.4g to fit the images", setup.options.ini_high, grey)
    return replace(reference, data=reference.data * np.float32(grey))
