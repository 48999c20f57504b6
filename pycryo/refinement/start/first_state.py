"""The state before the first iteration: references on the images' grey scale, noise, first poses."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from pycryo.maps.density import Map, to_points
from pycryo.maps.slab_map import SlabMap, from_root, gather
from pycryo.model.solve import grid_box
from pycryo.refinement.maximization.noise import first_noise
from pycryo.refinement.parts import first_part
from pycryo.refinement.plan import make_plan
from pycryo.refinement.schedule import Schedule
from pycryo.refinement.setup import Setup
from pycryo.refinement.start.known_poses import first_posteriors, first_sigma_shift
from pycryo.refinement.start.reference import first_scale, grey_scale
from pycryo.refinement.state import State

log = logging.getLogger(__name__)

# Standard errors above which images are said to be dark on light.
_DARK = 4.0
# First shift prior per axis as a share of the field of view.
_FIRST_SIGMA = 0.05


def first_state(setup: Setup, starts: list[Map]) -> State:
    """State before the first iteration, from the filtered references of rank 0. Collective."""
    partition, options = setup.partition, setup.options
    particles = partition.particles
    r_high = min(setup.box / 2, max(5.0, setup.field_of_view / options.ini_high + 2))
    points = grid_box(setup.box, r_high)
    references = []
    for number in range(len(setup.starts)):
        reference = from_root(partition.comm, to_points(starts[number], points) if starts else None)
        references.append(replace(reference, data=reference.data * setup.solvent.mask(points).data))
    sigma_shift = _FIRST_SIGMA * setup.field_of_view
    if options.local:
        sigma_shift = max(sigma_shift, first_sigma_shift(setup))
    if options.local:
        schedule = Schedule("local", r_high, is_joined=options.classes > 1)
    else:
        part = first_part(setup)
        schedule = Schedule("global", r_high, is_joined=options.classes > 1, part=part, compared=part)
    state = State(
        number=0,
        schedule=schedule,
        references=tuple((each, each) for each in references),
        class_share=np.full(options.classes, 1 / options.classes),
        noise=first_noise(setup.statistics, particles),
        scale=np.asarray(setup.pixel_size / particles.optics.pixel_size, np.float64),
        sigma_shift=sigma_shift,
        sigma_defocus=None,
        posteriors=first_posteriors(setup) if options.local else (None, None),
        insertion_weight=np.ones(particles.n),
    )
    found = [_on_grey_scale(setup, state, each) for each in references]
    if min(dark for _, dark in found) > _DARK:
        advice = "leave out --invert-contrast" if options.invert_contrast else "give --invert-contrast"
        log.warning("the images fit the reference better with their contrast inverted: %s if that is so", advice)
    scaled = tuple(each for each, _ in found)
    return replace(state, references=tuple((each, each) for each in scaled))


def _on_grey_scale(setup: Setup, state: State, reference: SlabMap) -> tuple[SlabMap, float]:
    """A reference with grey values that fit the images, and how dark they are: see `grey_scale`. Collective."""
    partition = setup.partition
    whole = gather(reference)
    grey, dark = 0.0, 0.0
    if whole is not None:
        rough = first_scale(whole, setup.statistics, setup.box)
        factor, dark = grey_scale(
            partition,
            whole.data * np.float32(rough),
            make_plan(setup, state),
            setup.group,
            2 * state.sigma_shift / setup.pixel_size,
        )
        grey = rough * factor
    grey, dark = partition.comm.broadcast((grey, dark))
    log.info("reference: low-passed to %.1f Å, grey values × %.4g to fit the images", setup.options.ini_high, grey)
    return replace(reference, data=reference.data * np.float32(grey)), dark
