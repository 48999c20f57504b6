"""One iteration of a refinement: expectation, maximization, measurement, decision (docs/method.md, One iteration)."""

from __future__ import annotations

import logging
import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace

import numpy as np

from pycryo.filter.support import RowsPosterior
from pycryo.geometry.grids import even_spread
from pycryo.kernels.projector import FourierVolume
from pycryo.maps.fsc import Fsc
from pycryo.maps.slab_map import SlabMap
from pycryo.model.volume import shared_volume
from pycryo.parallel.rows import even_bounds, move_rows
from pycryo.progress import phase, within
from pycryo.refinement.data.keeper import Keeper
from pycryo.refinement.data.posteriors import moved_posteriors, with_file_defocus
from pycryo.refinement.expectation.defocus_control import DefocusFigures, measure_defocus
from pycryo.refinement.expectation.half_pass import HalfResult, Results
from pycryo.refinement.expectation.images import run_images
from pycryo.refinement.maximization.drift import motions_to_first, motions_to_start
from pycryo.refinement.maximization.handedness import inverted_result
from pycryo.refinement.maximization.maximize import Maximum, maximize
from pycryo.refinement.maximization.noise import update_noise
from pycryo.refinement.maximization.pose_figures import PoseFigures, measure_poses
from pycryo.refinement.maximization.poses import gather_poses
from pycryo.refinement.maximization.resolution import limited, supported_shell
from pycryo.refinement.optics.change import changed
from pycryo.refinement.outcome import ClassMaps, Load, Outcome, Record
from pycryo.refinement.parts import begins_anew, images_of, most_part
from pycryo.refinement.plan import Plan, make_plan
from pycryo.refinement.resources.balance import Scores, measure_load
from pycryo.refinement.schedule import Limits, Measured, Schedule
from pycryo.refinement.setup import Setup
from pycryo.refinement.stage_schedule import next_schedule, shows_defocus
from pycryo.refinement.state import Motions, State
from pycryo.report.verdict import UNKNOWN_SPREAD, supported_resolution
from pycryo.timer import Timer

log = logging.getLogger(__name__)

# Å to which images are compared while classes come apart, in the end, and in the beginning if all have one reference.
_JOINED_RESOLUTION, _COARSEST_JOINED = 20.0, 40.0
# Poses that are hardly known of a larger share of the images than this blur the map.
_BLURRED = 0.5
# Figures of the poses that a record holds under the same name.
_FIGURES = (
    *("class_change", "pose_change", "spread_rotation", "spread_shift", "spread_in_plane", "spread_tilt"),
    *("effective_mean", "effective_median", "changed_mode", "broad_share", "phases_per_image", "slices_per_image"),
    *("p_max", "log_evidence", "score_threshold", "n_junk"),
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the E-phase of an iteration found over all ranks, and what it cost."""

    figures: PoseFigures
    defocus: DefocusFigures
    load: Load
    scores: Scores


def iterate(setup: Setup, state: State, keeper: Keeper | None = None) -> Outcome:
    """One iteration: expectation, maximization, measurement, decision. Collective.

    `keeper` is that of `run_images`.
    """
    timer = Timer()
    began = time.perf_counter()
    setup = _with_optics(setup, state)
    whole, setup = setup, images_of(setup, state.schedule.part)
    plan = make_plan(setup, state)
    with within(f"iteration {plan.number}"):
        results, load, scores = _expect(setup, state, plan, timer, keeper)
    last = moved_posteriors(state.posteriors, plan.motions, setup.partition.particles.pixel_size)
    state = replace(state, posteriors=last)
    figures = _figures(setup, state, plan, results)
    partition, particle = setup.partition, figures.particle
    frequency = plan.r_high / setup.field_of_view
    searched = (state.sigma_defocus, plan.sigma_defocus)
    defocus = measure_defocus(partition, state.posteriors, results, particle, searched, frequency)
    noise, scale = update_noise(partition, setup.statistics, plan.weighting, plan.r_high, results, particle)
    # The images show the mean power of all classes, not that of each.
    is_blurred = figures.broad_share > _BLURRED and setup.options.classes == 1
    knows_poses = not state.schedule.in_doubt and figures.spread_rotation < UNKNOWN_SPREAD * even_spread(setup.group)
    with within(f"iteration {plan.number}"), phase("maps", 1):
        maxima = maximize(
            setup, plan, state.references, results, figures.class_count, timer,
            is_blurred=is_blurred, knows_poses=knows_poses,
        )  # fmt: skip
    if other_hand := [k for k, maximum in enumerate(maxima) if maximum.other_hand]:
        log.info("half-set 2 had found the other hand: its map and poses are inverted")
        results = [results[0], inverted_result(results[1], other_hand)]
        figures = _figures(setup, state, plan, results)
    poses = gather_poses(partition, results, figures.score)
    schedule, decision = _decide(whole, state, [maximum.maps.fsc for maximum in maxima], figures, defocus)
    motions = _motions(setup, plan, schedule, [maximum.maps for maximum in maxima])
    seconds = {name: round(value, 4) for name, value in timer.seconds.items()}
    seconds["total"] = round(time.perf_counter() - began, 4)
    if schedule.in_doubt:
        maxima = [replace(each, maps=limited(each.maps, setup.options.ini_high)) for each in maxima]
    record = _record(state, plan, maxima, _Seen(figures, defocus, load, scores), seconds, decision)
    first, second = (_rows_posterior(result) for result in results)
    if plan.final:
        supported = supported_resolution(record.spread_rotation, record.resolution, setup.options.ini_high, setup.group)
        record = replace(record, resolution=supported)
    sigma_defocus = defocus.sigma
    if state.schedule.stage == "defocus" and schedule.stage == "final" and not shows_defocus(defocus.sigma_turn):
        log.info("defoci: those of the file are right, the changes found are no more than noise")
        sigma_defocus, first, second = None, with_file_defocus(first), with_file_defocus(second)
    if begins_anew(state.schedule, schedule):
        following = replace(state, number=plan.number, schedule=schedule)
        return Outcome(following, record, tuple(maximum.maps for maximum in maxima), poses)
    following = State(
        number=plan.number,
        schedule=schedule,
        references=tuple(maximum.references for maximum in maxima),
        class_share=figures.class_share,
        noise=noise,
        scale=scale,
        sigma_shift=max(figures.sigma_shift, setup.pixel_size),
        sigma_defocus=sigma_defocus,
        posteriors=(first, second),
        insertion_weight=figures.insertion_weight,
        motions=motions,
        optics_changes=state.optics_changes,
    )
    return Outcome(following, record, tuple(maximum.maps for maximum in maxima), poses)


def _with_optics(setup: Setup, state: State) -> Setup:
    """With the optics of the particles that the refinement has found."""
    if not state.optics_changes:
        return setup
    partition = setup.partition
    return replace(
        setup, partition=replace(partition, particles=changed(partition.particles, dict(state.optics_changes)))
    )


def _expect(
    setup: Setup, state: State, plan: Plan, timer: Timer, keeper: Keeper | None
) -> tuple[Results, Load, Scores]:
    """The E-phase, with the references in memory as long as it lasts. Collective."""
    with ExitStack() as stack:
        with timer.phase("reference"):
            volumes = [_volumes(setup, state, plan, half, stack) for half in (0, 1)]
        began = time.perf_counter()
        results, effort = run_images(setup, plan, volumes, state, timer, keeper)
        return results, *measure_load(setup.partition, effort, time.perf_counter() - began)


def _figures(setup: Setup, state: State, plan: Plan, results: Results) -> PoseFigures:
    """Figures of the poses, compared with those of `state`. Collective."""
    in_turn = plan.search is not None and plan.search.rescans == "in turn"
    return measure_poses(
        setup.partition, setup.group, state.posteriors, results, tells_junk=not plan.is_joined, in_turn=in_turn
    )


def _decide(
    setup: Setup, state: State, curves: list[Fsc], figures: PoseFigures, defocus: DefocusFigures
) -> tuple[Schedule, str]:
    """The schedule of the next iteration, and the reason."""
    field = setup.field_of_view
    seen = Measured(
        shells=tuple(field / each.resolution_0143 for each in curves),
        pose_change=figures.pose_change,
        spread=figures.spread_rotation,
        class_change=figures.class_change,
        broad_share=figures.broad_share,
        log_evidence=figures.log_evidence,
        sure_shell=max(field / each.resolution_at(0.5) for each in curves),
        supported_shell=max(supported_shell(each) for each in curves),
        changed_mode=figures.changed_mode if math.isfinite(figures.pose_change) else 1.0,
        sigma_turn=defocus.sigma_turn,
        defocus_moved=defocus.moved,
        defocus_turn=defocus.turn,
    )
    finest = field / _JOINED_RESOLUTION
    coarsest = field / _COARSEST_JOINED if len(setup.starts) == 1 else finest
    limits = Limits(
        setup.options.stage_list(),
        # The outermost shell has no neighbours to be interpolated from.
        r_limit=setup.box / 2 - 1,
        defocus_from=field / setup.options.defocus_resolution(),
        r_joined=(coarsest, finest),
        unknown_spread=UNKNOWN_SPREAD * even_spread(setup.group),
        r_start=field / setup.options.ini_high,
        most_part=most_part(setup.partition.half),
    )
    return next_schedule(state.schedule, seen, limits, is_last=state.number + 2 >= setup.options.max_iter)


def _motions(setup: Setup, plan: Plan, schedule: Schedule, maps: list[ClassMaps]) -> Motions:
    """How the maps moved, to be undone in the next iteration. Collective."""
    if plan.final or plan.is_joined:
        return (), ()
    if schedule.stage == "final":
        to_start = motions_to_start(setup, maps)
        return to_start, to_start
    return (), motions_to_first(setup, maps)


def _record(
    state: State, plan: Plan, maxima: list[Maximum], seen: _Seen, seconds: dict[str, float], decision: str
) -> Record:
    """The figures of an iteration that began with `state`."""
    figures, defocus = seen.figures, seen.defocus
    resolutions = [maximum.maps.fsc.resolution_0143 for maximum in maxima]
    return Record(
        number=plan.number,
        stage=state.schedule.stage,
        r_high=plan.r_high,
        resolution=min(resolutions),
        class_resolution=resolutions,
        class_share=figures.class_share.tolist(),
        sigma_shift=state.sigma_shift,
        defocus_change=defocus.size,
        defocus_moved=defocus.moved,
        spread_defocus=defocus.spread,
        sigma_defocus=plan.sigma_defocus or 0.0,
        n_slices_scan=0 if plan.search is None else len(plan.search.scan.rotations),
        scores_scan=seen.scores.computed,
        scores_scan_all=seen.scores.all,
        gridding_iterations=max(maximum.gridding_iterations for maximum in maxima),
        gridding_deviation=max(maximum.gridding_deviation for maximum in maxima),
        seconds=seconds,
        load=seen.load,
        decision=decision,
        **{name: getattr(figures, name) for name in _FIGURES},
    )


def _volumes(setup: Setup, state: State, plan: Plan, half: int, stack: ExitStack) -> list[FourierVolume] | None:
    """The references of a half, ready for slices, on the ranks that hold the half. Collective."""
    found = [_volume(setup, pair[half], plan, half, stack) for pair in state.references]
    volumes = [volume for volume in found if volume is not None]
    return volumes or None


def _volume(setup: Setup, reference: SlabMap, plan: Plan, half: int, stack: ExitStack) -> FourierVolume | None:
    partition = setup.partition
    comm, ranks = partition.half_comm[half], partition.half_ranks[half]
    want = np.clip(np.arange(partition.comm.size + 1) - ranks.start, 0, len(ranks))
    planes = move_rows(partition.comm, reference.data, reference.bounds, even_bounds(reference.box, len(ranks))[want])
    if comm is None:
        return None
    mine = SlabMap(comm, planes, reference.pixel_size)
    return stack.enter_context(shared_volume(comm, mine, setup.box, plan.padding, plan.r_read))


def _rows_posterior(result: HalfResult | None) -> RowsPosterior | None:
    if result is None or result.posterior is None:
        return None
    return result.rows, result.posterior
