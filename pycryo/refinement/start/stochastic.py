"""Iterations on a few images at a time, all with one reference: how an initial map grows out of noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import Draws, normal, uniform
from pycryo.filter.phases import PhaseSettings
from pycryo.filter.support import Support
from pycryo.kernels.backprojector import Accumulators
from pycryo.maps.fsc import fsc
from pycryo.maps.slab_map import SlabMap
from pycryo.maps.slab_transform import SlabTransform
from pycryo.model.insertion import Frame, Insertion, combined
from pycryo.model.owners import deal_map
from pycryo.model.solve import Solver, grid_box
from pycryo.model.volume import shared_volume
from pycryo.refinement.data.image_statistics import group_sums
from pycryo.refinement.expectation.entries import posterior_entries, quanta
from pycryo.refinement.expectation.half_pass import Results
from pycryo.refinement.expectation.images import run_images
from pycryo.refinement.maximization.noise import update_noise
from pycryo.refinement.maximization.pose_figures import PoseFigures, measure_poses
from pycryo.refinement.maximization.references import shell_gains
from pycryo.refinement.parts import restricted
from pycryo.refinement.plan import Plan, make_plan
from pycryo.refinement.schedule import Schedule
from pycryo.refinement.setup import Setup
from pycryo.refinement.state import State
from pycryo.timer import Timer

# Keys of the draws, beyond those of all others: which images, and their first poses.
_BATCH_STREAM = 3 << 50
_POSE_STREAM = 5 << 50
# The scan does most of it: no search of single modes, and half the slices and two phases less than a refinement's
# cost 0.3° in the last round.
_SETTINGS = PhaseSettings(n_rotation=32, min_phases=2, max_phases=3)
# Signal-to-noise ratio taken for the shells of a map of random poses: it is all noise but for its mean shape.
_FIRST_SSNR = 1.0
_MOST_FSC = 0.999
# Shift prior per axis as a share of the field of view: at first, and at most.
FIRST_SHIFT = 0.05


@dataclass(frozen=True, slots=True)
class Round:
    """What a round found.

    Attributes
    ----------
    state : State
        With the reference and the noise for the next round.
    results : two HalfResult or None
        Of the halves of its images.
    figures : PoseFigures
    curve : (n_shell,) float64
        FSC of the maps of both halves, which had the same reference.
    """

    state: State
    results: Results
    figures: PoseFigures
    curve: NDArray[np.float64]


def draw_batch(setup: Setup, count: int, number: int) -> Setup:
    """`setup` with `count` images only (or all), drawn at random and split into two halves."""
    partition = setup.partition
    usable = np.flatnonzero(partition.half >= 0)
    draw = uniform(setup.options.seed, _BATCH_STREAM + number, usable, 1)[:, 0]
    chosen = usable[np.argsort(draw, kind="stable")[:count]]
    half = np.full(len(partition.half), -1, np.int8)
    half[chosen] = np.arange(len(chosen)) % 2
    return restricted(setup, half)


def first_reference(setup: Setup, state: State) -> SlabMap:
    """A map of the images of `setup` at random orientations. Collective."""
    plan, partition = make_plan(setup, state), setup.partition
    sums = []
    for half in (0, 1):
        insertion = _insertion(setup, plan, half)
        for batch in partition.batches(partition.rows_of(half)):
            target = plan.weighting.target(partition.particles, batch.rows, batch.images, plan.r_insert)
            turn = normal(plan.seed, _POSE_STREAM + 2 * plan.number, batch.rows, 4)
            turn /= np.linalg.norm(turn, axis=1, keepdims=True)
            one = (len(turn), 1)
            poses = Support(turn[:, None], np.zeros((*one, 2)), np.ones(one), np.zeros(one, np.int32))
            scale = plan.weighting.model_scale(partition.particles, batch.rows)
            draws = Draws(plan.seed, _POSE_STREAM + 2 * plan.number + 1, batch.rows)
            n = len(turn)
            once, weight = np.ones(n, np.int64), np.ones(n)
            (entries,) = posterior_entries(plan.box, target, poses, once, setup.group, weight, scale, draws)
            insertion.add(entries)
        sums.append(insertion.result())
    points = grid_box(plan.box, plan.r_insert)
    return _reference(setup, sums, np.full(points // 2 + 1, _FIRST_SSNR))


def _insertion(setup: Setup, plan: Plan, half: int) -> Insertion:
    partition = setup.partition
    comm = partition.half_comm[half]
    assert comm is not None
    quantum = quanta(setup.statistics, plan.weighting, partition.count(half) * len(setup.group))
    return Insertion(comm, setup.owners[half], Frame(plan.box, plan.padding, plan.r_insert, quantum))


def run_round(setup: Setup, state: State, number: int, r_high: float, timer: Timer) -> Round:
    """Find the poses of the images of `setup`, make the reference anew of them alone. Collective.

    Parameters
    ----------
    setup : Setup
        Of `draw_batch`.
    state : State
    number : int
        Key of all draws.
    r_high : float
        Shells below it are compared, Fourier px of the model.
    timer : Timer
    """
    state, plan, results = _expect(setup, state, number, r_high, timer)
    figures = measure_poses(setup.partition, setup.group, state.posteriors, results, tells_junk=True)
    everything = np.ones(setup.partition.particles.n)
    noise, _ = update_noise(setup.partition, setup.statistics, plan.weighting, plan.r_high, results, everything)
    with timer.phase("solve"):
        sums = [None if result is None else result.insertions[0].result() for result in results]
        curve = _agreement(setup, plan, sums)
        reference = _reference(setup, sums, 2 * curve / (1 - curve))
    following = replace(
        state,
        references=((reference, reference),),
        noise=noise,
        sigma_shift=float(np.clip(figures.sigma_shift, setup.pixel_size, FIRST_SHIFT * setup.field_of_view)),
    )
    return Round(following, results, figures, curve)


def log_evidence(setup: Setup, state: State, number: int, r_high: float, timer: Timer) -> float:
    """Mean log evidence of the images of `setup`, given the reference and the noise of `state`. Collective."""
    _, _, results = _expect(setup, state, number, r_high, timer)
    partition = setup.partition
    mine = [result.posterior.log_evidence for result in results if result is not None and result.posterior is not None]
    values = np.concatenate([np.empty(0), *mine])
    total = group_sums(partition.comm, values, np.zeros(len(values), np.int32), 1, partition.particles.n)
    return float(total[0]) / max(1, partition.n)


def _expect(setup: Setup, state: State, number: int, r_high: float, timer: Timer) -> tuple[State, Plan, Results]:
    """The state that a round begins with, its plan, and what was found for the images. Collective."""
    state = replace(state, number=number, schedule=Schedule("global", r_high), posteriors=(None, None))
    plan = make_plan(setup, state)
    assert plan.search is not None
    plan = replace(plan, sampling=replace(plan.sampling, settings=_SETTINGS), search=replace(plan.search, guides=()))
    ((reference, _),) = state.references
    with shared_volume(setup.partition.comm, reference, setup.box, plan.padding, plan.r_read) as volume:
        results, _ = run_images(setup, plan, [[volume], [volume]], state, timer)
    return state, plan, results


def _agreement(setup: Setup, plan: Plan, sums: list[Accumulators | None]) -> NDArray[np.float64]:
    """(n_shell,) FSC of the maps of both halves inside the sphere, 0 beyond the shells inserted. Collective."""
    points, double = grid_box(plan.box, plan.r_insert), not setup.options.single
    mask = setup.solvent.mask(points).data
    maps = []
    for owners, each in zip(setup.owners, sums, strict=True):
        planes = None
        if each is not None and owners.comm is not None:
            solver = Solver(owners.comm, each, model=owners.model, double=double)
            planes = solver.solve(max_iterations=0).planes
        maps.append(deal_map(owners, planes, points, setup.field_of_view / points).data * mask)
    curve = np.clip(fsc(maps[0], maps[1], comm=setup.partition.comm), 0, _MOST_FSC)
    curve[int(np.ceil(plan.r_insert)) :] = 0
    return curve


def _reference(setup: Setup, sums: list[Accumulators | None], ssnr: NDArray[np.float64]) -> SlabMap:
    """Reference of all images from the sums of both halves: inside the sphere, and nowhere negative. Collective.

    What is negative becomes zero, and each shell gets the contrast back that this took from it.
    """
    comm = setup.partition.comm
    everything = combined(sums[0], sums[1], setup.owners)
    solver = Solver(comm, everything, model=setup.options.model, double=not setup.options.single)
    planes = solver.solve(ssnr=ssnr, max_iterations=0).planes
    planes = planes * setup.solvent.mask(solver.points).data
    transform = SlabTransform(comm, solver.points)
    rows = transform.rows(np.maximum(planes, 0))
    gains = shell_gains(transform.sums(rows, transform.rows(planes)), solver.points // 2)
    return SlabMap(comm, transform.filtered(rows, gains), setup.field_of_view / solver.points)
