"""The E-phase: all images of a rank, read, searched and inserted (docs/method.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.projector import FourierVolume
from pycryo.model.microscope import are_premultiplied, particle_ctf
from pycryo.progress import track
from pycryo.refinement.data.partition import Geometry, Partition, geometries, geometry_at
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.expectation.half_pass import HalfPass, Results
from pycryo.refinement.expectation.panels import HalfSearch
from pycryo.refinement.expectation.pruning import Neighbours, find_neighbours
from pycryo.refinement.expectation.rounds import rounds
from pycryo.refinement.expectation.search import Effort, Policy, global_search
from pycryo.refinement.plan import Plan
from pycryo.refinement.setup import Setup
from pycryo.refinement.state import State
from pycryo.timer import Timer


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Images of one half and geometry, ready for comparison; `bare` as if the CTF were 1, where the plan needs them."""

    half: int
    geometry: Geometry
    rows: NDArray[np.int64]
    target: Target
    bare: Target | None


def run_images(
    setup: Setup,
    plan: Plan,
    volumes: list[list[FourierVolume] | None],
    state: State,
    timer: Timer,
) -> tuple[Results, Effort]:
    """Posterior of this rank's images, and their insertion. Collective.

    Parameters
    ----------
    setup : Setup
    plan : Plan
    volumes : list of two (list of FourierVolume, or None)
        The references of each half, one per class; None if this rank is not one of the half's.
    state : State
        What the last iteration left.
    timer : Timer
    """
    effort = Effort()
    passes = [
        HalfPass(setup, plan, half, references, state, timer)
        for half, references in enumerate(volumes)
        if references is not None
    ]
    neighbours = None
    if plan.search is not None and plan.search.coarse is not None:
        with timer.phase("scan"):
            neighbours = find_neighbours(plan.search.coarse, plan.search.scan, setup.group)
    for number, rows in enumerate(rounds(setup.partition, setup.owners, plan, setup.memory)):
        for one in passes if number else ():
            one.exchange()
        _run_round(setup, plan, neighbours, passes, rows, effort, timer)
    results: Results = [None, None]
    for one in passes:
        results[one.half] = one.result()
        effort.traffic.idle += one.idle
    return results, effort


def _run_round(
    setup: Setup,
    plan: Plan,
    neighbours: Neighbours | None,
    passes: list[HalfPass],
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    effort: Effort,
    timer: Timer,
) -> None:
    """The images of one round, `rows` of each half; none of them is kept. Collective."""
    images: list[_Loaded] = []
    for one in passes:
        mine = rows[one.half]
        is_scanned = one.scanned(mine)
        for each in _load(setup.partition, plan, one, mine[~is_scanned], timer):
            one.take(each.rows, each.target, None, each.bare)
        images.extend(_load(setup.partition, plan, one, mine[is_scanned], timer))
    if plan.search is not None:
        for geometry in geometries(setup.partition):
            _search(setup, plan, geometry, neighbours, passes, images, effort, timer)


def _load(partition: Partition, plan: Plan, one: HalfPass, rows: NDArray[np.int64], timer: Timer) -> Iterator[_Loaded]:
    """Read images and weigh them."""
    half, particles, weighting = one.half, one.particles, plan.weighting
    for batch in track(partition.batches(rows), None, f"iteration {plan.number}, half {half + 1}"):
        with timer.phase("prepare"):
            # Images that were multiplied by their CTF cannot be had with another one.
            if not plan.needs_bare or are_premultiplied(particles, batch.rows):
                bare, target = None, weighting.target(particles, batch.rows, batch.images, plan.r_insert)
            else:
                bare = weighting.target(particles, batch.rows, batch.images, plan.r_insert, is_bare=True)
                target = bare.with_ctf(particle_ctf(particles, batch.rows, bare.pixels))
        yield _Loaded(half, geometry_at(particles, batch.rows[0]), batch.rows, target, bare)


def _search(
    setup: Setup,
    plan: Plan,
    geometry: Geometry,
    neighbours: Neighbours | None,
    passes: list[HalfPass],
    images: list[_Loaded],
    effort: Effort,
    timer: Timer,
) -> None:
    """Global search of the loaded images of one geometry, then the rest of their pass. Collective."""
    if not passes:  # neither images nor a half-set to solve
        return
    chosen = [[each for each in images if each.half == one.half and each.geometry == geometry] for one in passes]
    searches = [
        _half_search(setup.partition, plan, geometry, one, 1 / len(passes), [each.target for each in mine])
        for one, mine in zip(passes, chosen, strict=True)
    ]
    policy = Policy(setup.options.slices, setup.options.ring_size, setup.memory)
    known = [setup.rates[one.half] for one in passes]
    with timer.phase("scan"):
        found = global_search(searches, neighbours, policy, known, effort)
    for one, mine, supports, measured in zip(passes, chosen, found, known, strict=True):
        setup.rates[one.half] = measured
        for each, support in zip(mine, supports, strict=True):
            one.take(each.rows, each.target, support, each.bare)


def _half_search(
    partition: Partition, plan: Plan, geometry: Geometry, one: HalfPass, share: float, targets: list[Target]
) -> HalfSearch:
    """The search of one half and geometry; its scans in px of the images."""
    comm, search = partition.half_comm[one.half], plan.search
    assert comm is not None
    assert search is not None
    ratio = plan.pixel_size / geometry.pixel_size
    scale = plan.box * ratio / geometry.box
    return HalfSearch(
        comm=comm,
        share=share,
        volumes=one.volumes,
        targets=targets,
        scan=search.scan.scaled(ratio, scale),
        coarse=None if search.coarse is None else search.coarse.scaled(ratio, scale),
        box=geometry.box,
        scale=scale,
        sigma_shift=plan.sampling.sigma_shift / geometry.pixel_size,
        magnification=geometry.matrix,
    )
