"""The refinement: iterations of expectation and maximization until nothing improves (method.md §2)."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from pycryo.errors import InputError
from pycryo.fsc import Fsc
from pycryo.io.particles import Particles
from pycryo.maps import Map
from pycryo.model.slab_map import SlabMap, gather, resample_grid
from pycryo.model.volume import shared_volume
from pycryo.parallel.rows import even_bounds, move_rows
from pycryo.parallel.world import as_comm
from pycryo.projector import FourierVolume
from pycryo.refine.balance import balance, describe, measure_load
from pycryo.refine.checkpoint import check, checkpoint_file, load, save
from pycryo.refine.defocus_control import measure_defocus
from pycryo.refine.frame import motions_to_start, moved_state
from pycryo.refine.half_pass import HalfResult
from pycryo.refine.hand import inverted_result
from pycryo.refine.iteration import run_images
from pycryo.refine.maximization import maximize
from pycryo.refine.measure import gather_poses, measure_noise, measure_poses
from pycryo.refine.options import RefineOptions
from pycryo.refine.plan import Plan, make_plan
from pycryo.refine.quality import describe as describe_quality
from pycryo.refine.schedule import Measured, next_schedule
from pycryo.refine.setup import first_state, set_up
from pycryo.refine.state import ClassMaps, Observer, Outcome, Poses, Record, RowsPosterior, Setup, State
from pycryo.refine.timer import Timer
from pycryo.refine.work_plan import tell
from pycryo.registration import Motion
from pycryo.threads import set_threads

log = logging.getLogger(__name__)

# Å to which images are compared while classes come apart.
_JOINED_RESOLUTION = 20.0


@dataclass(frozen=True, slots=True)
class ClassResult:
    """Final maps of one class, on rank 0 only (None elsewhere) and only if they were asked for.

    Attributes
    ----------
    map : Map or None
        Of all data, Wiener-filtered.
    half_maps : two Map, or None
        Unfiltered, unmasked.
    fsc : Fsc
    share : float
        Part of the particles.
    """

    map: Map | None
    half_maps: tuple[Map, Map] | None
    fsc: Fsc
    share: float


@dataclass(frozen=True, slots=True)
class Result:
    """A finished refinement.

    Attributes
    ----------
    classes : tuple of ClassResult
    poses : Poses or None
        On rank 0 only.
    resolution : float
        Corrected FSC 0.143 of the best class, Å.
    history : list of Record
    """

    classes: tuple[ClassResult, ...]
    poses: Poses | None
    resolution: float
    history: list[Record]

    @property
    def map(self) -> Map | None:
        """That of the first class."""
        return self.classes[0].map

    @property
    def half_maps(self) -> tuple[Map, Map] | None:
        """Those of the first class."""
        return self.classes[0].half_maps

    @property
    def fsc(self) -> Fsc:
        """That of the first class."""
        return self.classes[0].fsc


def refine(
    particles: Particles,
    reference: Map | Sequence[Map] | None,
    options: RefineOptions | None = None,
    *,
    comm: Any = None,
    mask: Map | None = None,
    observer: Observer | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    gather_maps: bool = True,
) -> Result:
    """Determine a structure: orientations of all particles and the map. Collective.

    Parameters
    ----------
    particles : Particles
        From `pycryo.read_particles`; the same on every rank.
    reference : Map, or sequence of Map
        Start, or that of each class; any box and pixel size. Needed on rank 0 only; not with ``options.local``, where
        it can be made of the particles' poses.
    options : RefineOptions, optional
    comm : mpi4py communicator, optional
        Default: this process alone.
    mask : Map, optional
        Soft mask of the molecule (instead of ``options.mask``, which only the command line reads). Rank 0's counts.
    observer : callable, optional
        Called on every rank after each iteration with the `Setup`, the `Outcome` and the records so far.
    checkpoint : path, optional
        Folder for the state of the run, written before the first iteration and after each but the final one.
    resume : bool
        Go on from the state in `checkpoint`. The result is that of an uninterrupted run, whatever the number of ranks
        and threads.
    gather_maps : bool
        Bring the maps of the result to rank 0, which must have the memory for them.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        If particles, reference or mask cannot be used, or the checkpoint is missing or of another run.
    RunError
        If the checkpoint cannot be written.
    """
    options = options or RefineOptions()
    if options.threads is not None:
        set_threads(options.threads)
    if resume and checkpoint is None:
        raise InputError("resume needs the folder of the checkpoint")
    comm = as_comm(comm)
    if resume and checkpoint is not None:
        check(comm, particles, options, checkpoint)
    setup, starts = set_up(comm, particles, reference, mask, options)
    history: list[Record] = []
    if resume and checkpoint is not None:
        state, history = load(setup, checkpoint)
        log.info("continued after iteration %d, from %s", state.number, checkpoint_file(checkpoint))
    else:
        state = first_state(setup, starts)
        if checkpoint is not None:
            save(setup, state, history, checkpoint)
    for line in tell(setup, state).splitlines():
        log.info("%s", line)

    def after_iteration(setup: Setup, outcome: Outcome, history: list[Record]) -> None:
        if observer is not None:
            observer(setup, outcome, history)
        if checkpoint is not None and outcome.record.stage != "final":
            save(setup, outcome.state, history, checkpoint)

    outcome, history = run(setup, state, after_iteration, history)
    shares = outcome.record.class_share
    classes = tuple(_class_result(setup, *each, gather_maps) for each in zip(outcome.classes, shares, strict=True))
    return Result(classes, outcome.poses, outcome.record.resolution, history)


def _class_result(setup: Setup, maps: ClassMaps, share: float, gather_maps: bool) -> ClassResult:
    """Maps of a class on rank 0, if they are wanted there. Collective."""
    assert maps.map is not None
    if not gather_maps:
        return ClassResult(None, None, maps.fsc, share)
    final, first, second = (gather(resample_grid(each, setup.box)) for each in (maps.map, *maps.half_maps))
    half_maps = None if first is None or second is None else (first, second)
    return ClassResult(final, half_maps, maps.fsc, share)


def run(
    setup: Setup, state: State, observer: Observer | None = None, history: Sequence[Record] = ()
) -> tuple[Outcome, list[Record]]:
    """Iterate from `state`, which the iterations in `history` led to, until the final one is done. Collective.

    The communicators of `setup` are given back.
    """
    history = list(history)
    while True:
        final = state.schedule.stage == "final"
        outcome = iterate(setup, state)
        record = outcome.record
        history.append(record)
        log.info(
            "iteration %d (%s): r_high %.1f Å, resolution %.2f Å, spread %.2f° %.2f Å, poses moved %.2f°, %.1f s",
            record.number,
            record.stage,
            setup.field_of_view / record.r_high,
            record.resolution,
            record.spread_rotation,
            record.spread_shift,
            record.pose_change,
            record.seconds["total"],
        )
        log.info("Auto-refine: Resolution= %.5g", record.resolution)
        log.info(
            "%s", describe_quality(record.n_junk, setup.share.count(0) + setup.share.count(1), record.score_threshold)
        )
        if len(record.class_share) > 1:
            log.info("%s", describe_classes(record))
        log.info("decision: %s", record.decision)
        if setup.share.comm.size > 1:
            log.info("%s", describe(record.load))
        if observer is not None:
            observer(setup, outcome, history)
        if final:
            setup.free()
            return outcome, history
        setup, state = balance(setup, outcome.state, record.load)


def iterate(setup: Setup, state: State) -> Outcome:
    """One iteration: expectation, maximization, measurement, decision. Collective."""
    timer = Timer()
    began = time.perf_counter()
    plan = make_plan(setup, state)
    with ExitStack() as stack:
        with timer.phase("reference"):
            volumes = [_volumes(setup, state, plan, half, stack) for half in (0, 1)]
        images_began = time.perf_counter()
        results, effort = run_images(setup, state, plan, volumes, timer)
        load, scores = measure_load(setup, effort, time.perf_counter() - images_began)
    state = moved_state(setup, state, plan.motions)
    figures = measure_poses(setup, state, results)
    defocus = measure_defocus(setup, state, plan, results)
    noise, scale = measure_noise(setup, state, plan, results, figures.particle)
    maxima = maximize(setup, plan, state.references, results, figures.class_count, timer)
    if other_hand := [k for k, maximum in enumerate(maxima) if maximum.other_hand]:
        log.info("half-set 2 had found the other hand: its map and poses are inverted")
        results = [results[0], inverted_result(results[1], other_hand)]
        figures = measure_poses(setup, state, results)
    poses = gather_poses(setup, results, figures.score)
    resolutions = [maximum.maps.fsc.resolution_0143 for maximum in maxima]
    schedule, decision = next_schedule(
        state.schedule,
        Measured(
            shells=tuple(setup.field_of_view / each for each in resolutions),
            pose_change=figures.pose_change,
            spread=figures.spread_rotation,
            class_change=figures.class_change,
            defocus_moved=defocus.moved,
            defocus_turn=defocus.turn,
        ),
        setup.options.stage_list(),
        defocus_from=setup.field_of_view / setup.options.defocus_resolution(),
        r_joined=setup.field_of_view / _JOINED_RESOLUTION,
        # The outermost shell has no neighbours to be interpolated from.
        r_limit=setup.box / 2 - 1,
        is_last=plan.number + 1 >= setup.options.max_iter,
    )
    motions: tuple[Motion | None, ...] = ()
    if schedule.stage == "final" and not plan.final:
        motions = motions_to_start(setup, [maximum.maps for maximum in maxima])
    seconds = {name: round(value, 4) for name, value in timer.seconds.items()}
    record = Record(
        number=plan.number,
        stage=state.schedule.stage,
        r_high=plan.r_high,
        resolution=min(resolutions),
        class_resolution=resolutions,
        class_share=figures.class_share.tolist(),
        class_change=figures.class_change,
        pose_change=figures.pose_change,
        spread_rotation=figures.spread_rotation,
        spread_shift=figures.spread_shift,
        sigma_shift=state.sigma_shift,
        defocus_change=defocus.size,
        defocus_moved=defocus.moved,
        spread_defocus=defocus.spread,
        sigma_defocus=plan.sigma_defocus or 0.0,
        spread_in_plane=figures.spread_in_plane,
        spread_tilt=figures.spread_tilt,
        effective_mean=figures.effective_mean,
        effective_median=figures.effective_median,
        changed_mode=figures.changed_mode,
        phases_per_image=figures.phases_per_image,
        slices_per_image=figures.slices_per_image,
        n_slices_scan=0 if plan.scan is None else len(plan.scan.rotations),
        scores_scan=scores.computed,
        scores_scan_all=scores.all,
        p_max=figures.p_max,
        score_threshold=figures.score_threshold,
        n_junk=figures.n_junk,
        gridding_iterations=max(maximum.gridding_iterations for maximum in maxima),
        gridding_deviation=max(maximum.gridding_deviation for maximum in maxima),
        seconds={**seconds, "total": round(time.perf_counter() - began, 4)},
        load=load,
        decision=decision,
    )
    first, second = (_rows_posterior(result) for result in results)
    following = State(
        number=plan.number,
        schedule=schedule,
        references=tuple(maximum.references for maximum in maxima),
        class_share=figures.class_share,
        noise=noise,
        scale=scale,
        sigma_shift=max(figures.sigma_shift, setup.pixel_size),
        sigma_defocus=defocus.sigma,
        posteriors=(first, second),
        insertion_weight=figures.insertion_weight,
        motions=motions,
    )
    return Outcome(following, record, tuple(maximum.maps for maximum in maxima), poses)


def describe_classes(record: Record) -> str:
    """The classes of an iteration in a line."""
    each = zip(record.class_share, record.class_resolution, strict=True)
    parts = (f"{k} {100 * share:.1f} % {resolution:.2f} Å" for k, (share, resolution) in enumerate(each, 1))
    return f"classes: {', '.join(parts)}; {100 * record.class_change:.1f} % of the images changed theirs"


def _volumes(setup: Setup, state: State, plan: Plan, half: int, stack: ExitStack) -> list[FourierVolume] | None:
    """The references of a half, ready for slices, on the ranks that hold the half. Collective."""
    found = [_volume(setup, pair[half], plan, half, stack) for pair in state.references]
    volumes = [volume for volume in found if volume is not None]
    return volumes or None


def _volume(setup: Setup, reference: SlabMap, plan: Plan, half: int, stack: ExitStack) -> FourierVolume | None:
    share = setup.share
    comm, ranks = share.half_comm[half], share.half_ranks[half]
    want = np.clip(np.arange(share.comm.size + 1) - ranks.start, 0, len(ranks))
    planes = move_rows(share.comm, reference.data, reference.bounds, even_bounds(reference.box, len(ranks))[want])
    if comm is None:
        return None
    mine = SlabMap(comm, planes, reference.pixel_size)
    return stack.enter_context(shared_volume(comm, mine, setup.box, plan.padding, plan.r_high))


def _rows_posterior(result: HalfResult | None) -> RowsPosterior | None:
    if result is None or result.posterior is None:
        return None
    return result.rows, result.posterior
