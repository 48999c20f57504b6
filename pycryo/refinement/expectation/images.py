"""The E-phase: all images of a rank, read, searched and inserted (docs/method.md, One iteration)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.projector import FourierVolume
from pycryo.model.microscope import are_premultiplied, particle_ctf
from pycryo.progress import phase, track
from pycryo.refinement.data.keeper import Keeper
from pycryo.refinement.data.partition import Geometry, Partition, geometries, geometry_at
from pycryo.refinement.data.prepare import Target
from pycryo.refinement.expectation.half_pass import HalfPass, Results
from pycryo.refinement.expectation.panels import HalfSearch
from pycryo.refinement.expectation.pruning import Neighbours, find_neighbours
from pycryo.refinement.expectation.rounds import Rows, rounds, search_parts
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
    keeper: Keeper | None = None,
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
    keeper : Keeper, optional
        Of posteriors; the images of those that it has are not searched.
    """
    effort = Effort()
    passes = [
        HalfPass(setup, plan, half, references, state, timer, keeper)
        for half, references in enumerate(volumes)
        if references is not None
    ]
    neighbours = None
    if plan.search is not None and plan.search.coarse is not None:
        with timer.phase("scan"):
            neighbours = find_neighbours(plan.search.coarse, plan.search.scan, setup.group)
    for number, (is_kept, rows) in enumerate(_rounds(setup, plan, keeper)):
        for one in passes if number else ():
            one.exchange()
        if is_kept:
            _insert_kept(setup.partition, plan, passes, rows, effort, timer)
            continue
        n_scanned = sum(int(np.count_nonzero(one.scanned(rows[one.half]))) for one in passes)
        for part in search_parts(setup.partition, rows, n_scanned) if keeper is not None else (rows,):
            _run_round(setup, plan, neighbours, passes, part, effort, timer)
    results: Results = [None, None]
    for one in passes:
        results[one.half] = one.result()
        effort.traffic.idle += one.idle
    return results, effort


def _rounds(setup: Setup, plan: Plan, keeper: Keeper | None) -> Iterator[tuple[bool, Rows]]:
    """Whether the posteriors of a round are there already, and its rows. Collective."""
    partition, n_kept = setup.partition, 0
    if keeper is not None and keeper.n_kept:
        n_kept = keeper.n_kept
        kept = np.isin(partition.rows, np.concatenate([np.empty(0, np.int64), *(one[0] for one in keeper.kept if one)]))
        known = replace(partition, rows=partition.rows[kept])
        for rows in rounds(known, setup.owners, replace(plan, search=None), setup.memory):
            yield True, rows
        partition = replace(partition, rows=partition.rows[~kept])
    if n_kept < partition.n:
        for rows in rounds(partition, setup.owners, plan, setup.memory):
            yield False, rows


def _insert_kept(
    partition: Partition, plan: Plan, passes: list[HalfPass], rows: Rows, effort: Effort, timer: Timer
) -> None:
    """The images of a round whose posteriors are there. Their scan counts as if it had been now."""
    for one in passes:
        for each in _load(partition, plan, one, rows[one.half], timer):
            n_image, n_score = one.take_kept(each.rows, each.target, each.bare)
            effort.n_image += n_image
            effort.n_score += n_score
            if plan.search is not None:
                scan = plan.search.scan
                effort.n_score_all += n_image * len(one.volumes) * len(scan.rotations) * len(scan.shifts)


def _run_round(
    setup: Setup,
    plan: Plan,
    neighbours: Neighbours | None,
    passes: list[HalfPass],
    rows: Rows,
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
    name = f"images of half {half + 1}"
    for batch in track(partition.batches(rows), len(rows), name, lambda batch: len(batch.rows)):
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
    for one, mine, supports, counts, measured in zip(passes, chosen, found, effort.n_scores, known, strict=True):
        setup.rates[one.half] = measured
        with phase(f"poses of half {one.half + 1}", sum(len(each.rows) for each in mine)) as advance:
            for each, support, n_score in zip(mine, supports, counts, strict=True):
                one.take(each.rows, each.target, support, each.bare, n_score)
                advance(len(each.rows))


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
