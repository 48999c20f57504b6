"""The optics found within a refinement, before its final iteration (docs/method.md, Optics)."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.filter.draws import uniform
from pycryo.filter.support import RowsPosterior
from pycryo.geometry.rotations import quaternion_to_euler
from pycryo.io.aberrations import parse_kinds
from pycryo.io.particles import Particles
from pycryo.maps.density import Map
from pycryo.maps.slab_map import gather, resample_grid
from pycryo.parallel.collective_errors import on_root
from pycryo.refinement.optics.change import Change, changed
from pycryo.refinement.optics.find import KINDS, FindOptions, find_optics
from pycryo.refinement.optics.found import Found
from pycryo.refinement.optics.reference import Reference, from_half_maps
from pycryo.refinement.outcome import Outcome
from pycryo.refinement.setup import Setup

log = logging.getLogger(__name__)

# Particles of each optics group that tell whether there is anything to find with all of them.
_PROBE = 1000
_PROBE_STREAM = 7 << 51
# Optics groups at the most.
_MOST_GROUPS = 64


def is_time(setup: Setup, outcome: Outcome) -> bool:
    """Whether the optics are to be looked for after an iteration: once, when the final one would follow.

    Not in very many groups, whose sums would need much memory, and which have few images each.
    """
    schedule, options = outcome.state.schedule, setup.options
    return (
        not outcome.is_final
        and schedule.stage == "final"
        and not schedule.has_optics
        and not schedule.in_doubt
        and "optics" in options.stage_list()
        and options.classes == 1
        and bool(_kinds(setup))
        and len(setup.partition.particles.optics) <= _MOST_GROUPS
        and outcome.state.number + 2 < options.max_iter
        and outcome.record.resolution < options.optics_resolution()
    )


def with_optics(setup: Setup, outcome: Outcome) -> tuple[Outcome, str]:
    """The outcome of an iteration with the optics that its poses and half-maps show, and a line of what was found.

    Where something was found the local stage begins anew. Collective.
    """
    state, comm = outcome.state, setup.partition.comm
    particles = _posed(setup, outcome)
    made: list[Reference] = []
    maps = outcome.classes[0]
    whole = [gather(resample_grid(each, setup.box)) for each in (*maps.half_maps, maps.mask)]

    def reference() -> None:
        first, second, mask = whole
        assert first is not None
        assert second is not None
        assert mask is not None
        soft = Map(np.clip(mask.data, 0, 1), mask.pixel_size)
        made.append(from_half_maps(first, second, soft, setup.group))

    options = FindOptions(
        kinds=_kinds(setup),
        diameter=setup.diameter,
        padding=setup.options.padding,
        max_bad_fraction=1.0,
        invert_contrast=setup.options.invert_contrast,
        seed=setup.options.seed,
    )
    schedule = replace(state.schedule, has_optics=True)
    try:
        on_root(comm, reference)
        given = made[0] if made else None
        found = find_optics(comm, _few(particles, setup.options.seed), given, options)
        if found.is_significant and found.n < particles.n:
            found = find_optics(comm, particles, given, options)
    except InputError as error:
        return replace(outcome, state=replace(state, schedule=schedule)), f"optics: not looked for: {error}"
    changes = {each.group: each.change for each in found.groups if each.is_significant}
    if not changes:
        state = replace(state, schedule=schedule)
        return replace(outcome, state=state), "optics: nothing was found beyond what is known"
    first, second = (_moved(setup, each, particles, found) for each in state.posteriors)
    before = dict(state.optics_changes)
    after = {g: before.get(g, Change.none()).plus(change) for g, change in changes.items()}
    schedule = replace(schedule, stage="local", stalled=0, iterations=0, rescans="")
    state = replace(
        state,
        schedule=schedule,
        posteriors=(first, second),
        optics_changes=tuple(sorted({**before, **after}.items())),
    )
    poses = outcome.poses
    if poses is not None:
        shift = -np.stack([found.particles.origin_x, found.particles.origin_y], axis=1)
        poses = replace(poses, shift=shift)
    return replace(outcome, state=state, poses=poses, optics=found), f"optics: {_told(found)}; local search begins anew"


def _kinds(setup: Setup) -> list[str]:
    """What is looked for: not what the user wants to go on without."""
    ignored = parse_kinds(setup.options.ignore_optics)
    of = {"odd": {"beam-tilt", "odd-zernike"}, "even": {"even-zernike"}, "magnification": {"magnification"}}
    return [kind for kind in KINDS if not of[kind] & set(ignored)]


def _few(particles: Particles, seed: int) -> Particles:
    """At most `_PROBE` particles of each optics group, drawn at random."""
    draw = uniform(seed, _PROBE_STREAM, np.arange(particles.n, dtype=np.int64), 1)[:, 0]
    order = np.lexsort((draw, particles.optics_group))
    group = particles.optics_group[order]
    place = np.arange(particles.n) - np.searchsorted(group, group)
    return particles.subset(np.sort(order[place < _PROBE]))


def _posed(setup: Setup, outcome: Outcome) -> Particles:
    """The particles that were compared, with their poses, defoci and half-sets. Collective."""
    poses = setup.partition.comm.broadcast(outcome.poses)
    assert poses is not None
    some = changed(setup.partition.particles, dict(outcome.state.optics_changes)).subset(poses.rows)
    rot, tilt, psi = quaternion_to_euler(poses.quaternion)
    return replace(
        some,
        rot=rot,
        tilt=tilt,
        psi=psi,
        origin_x=-poses.shift[:, 0],
        origin_y=-poses.shift[:, 1],
        defocus_u=some.defocus_u + poses.defocus_change,
        defocus_v=some.defocus_v + poses.defocus_change,
        random_subset=(setup.partition.half[poses.rows] + 1).astype(np.int32),
        has_poses=True,
    )


def _moved(setup: Setup, found: RowsPosterior | None, before: Particles, result: Found) -> RowsPosterior | None:
    """Posteriors whose shifts no longer hold what the phases of the optics say."""
    if found is None:
        return None
    rows, posterior = found
    optics = setup.partition.particles.optics_group
    moves = np.zeros((len(setup.partition.particles.optics), 2))
    x, y = result.particles.origin_x - before.origin_x, result.particles.origin_y - before.origin_y
    # The same for all images of a group.
    moves[before.optics_group] = np.stack([x, y], axis=1)
    move: NDArray[np.float64] = -moves[optics[rows]] / setup.partition.particles.pixel_size[rows, None]
    support = replace(posterior.support, shift=posterior.support.shift + move[:, None])
    return rows, replace(posterior, support=support, mode_shift=posterior.mode_shift + move)


def _told(found: Found) -> str:
    """The significant parts of each group, for the log."""
    texts = []
    for each in found.groups:
        names = [part.name for part in each.parts if part.is_significant]
        if names:
            texts.append(f"{found.particles.optics.name[each.group]} has {', '.join(names)}")
    return "; ".join(texts)
