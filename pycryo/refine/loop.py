"""The refinement: iterations of expectation and maximization until nothing improves (method.md §2)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.errors import InputError
from pycryo.filter.draws import normal
from pycryo.filter.phases import PhaseSettings
from pycryo.filter.support import Posterior
from pycryo.fsc import Fsc, corrected_fsc
from pycryo.geometry.grids import rotation_count, shift_grid
from pycryo.geometry.rotations import angle_between
from pycryo.geometry.symmetry import Symmetry, symmetry
from pycryo.io.particles import Particles
from pycryo.maps import Map, resample
from pycryo.masks import auto_mask, check_mask
from pycryo.parallel.comm import Comm
from pycryo.refine.dataset import (
    FirstLook,
    Share,
    deal,
    first_look,
    group_sums,
    refuse_too_many_bad,
    split_halves,
)
from pycryo.refine.expectation import Scan, make_scan
from pycryo.refine.halves import (
    both_halves,
    damped,
    join_low_resolution,
    pair_of_maps,
    solvent_mask,
    ssnr_from_fsc,
    sum_accumulators,
    to_grid,
    to_ranks_of_halves,
    to_volume,
)
from pycryo.refine.iteration import HalfResult, Plan, Timer, run_half
from pycryo.refine.maximization import Solution, grid_box, solve
from pycryo.refine.noise import first_noise, updated_noise, updated_scale
from pycryo.refine.options import RefineOptions
from pycryo.refine.schedule import Measured, Schedule, insertion_limit, next_schedule
from pycryo.refine.start import diameter_of, filtered_reference, first_scale, grey_scale

log = logging.getLogger(__name__)

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]

NF = int(__import__("os").environ.get("NF", "1"))
# Number of slices of a scan, over the whole of SO(3), at the most.
_MAX_SLICES = int(__import__("os").environ.get("MS","20000"))
# Spacing of the scan's rotations in units of resolution / diameter.
_STEP = 1.1
# First shift prior per axis as a share of the field of view.
_FIRST_SIGMA = 0.05
# Shells (in 1/Å) below which the half-maps are joined (RELION: --low_resol_join_halves).
_JOIN = 40.0


@dataclass(frozen=True, slots=True)
class Setup:
    """What stays the same from the first iteration to the last."""

    share: Share
    options: RefineOptions
    group: Symmetry
    box: int
    pixel_size: float
    diameter: float
    user_mask: Map | None
    look: FirstLook

    @property
    def field_of_view(self) -> float:
        """Å."""
        return self.box * self.pixel_size


@dataclass(frozen=True, slots=True)
class State:
    """What an iteration takes from the one before; posteriors are of this rank's particles only."""

    number: int
    schedule: Schedule
    references: tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]
    noise: NDArray[np.float64]
    scale: NDArray[np.float64]
    sigma_shift: float
    posteriors: tuple[tuple[NDArray[np.int64], Posterior] | None, tuple[NDArray[np.int64], Posterior] | None]
    insertion_weight: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Record:
    """Figures of one iteration (run.json)."""

    number: int
    stage: str
    r_high: float
    resolution: float
    pose_change: float
    spread_rotation: float
    spread_shift: float
    sigma_shift: float
    slices_per_image: float
    n_slices_scan: int
    p_max: float
    gridding_iterations: int
    gridding_deviation: float
    seconds: dict[str, float]
    decision: str


@dataclass(frozen=True, slots=True)
class Poses:
    """Poses of particles, gathered.

    Attributes
    ----------
    rows : (n,) int64
        Rows of `Particles`, ascending.
    quaternion, shift : (n, 4), (n, 2) float64
        Shift in Å: where the particle sits (minus RELION's origin).
    p_max, n_significant, log_evidence, figure_of_merit : (n,) float64
    """

    rows: NDArray[np.int64]
    quaternion: NDArray[np.float64]
    shift: NDArray[np.float64]
    p_max: NDArray[np.float64]
    n_significant: NDArray[np.float64]
    log_evidence: NDArray[np.float64]
    figure_of_merit: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an iteration or the whole run shows on rank 0; maps and poses are None elsewhere."""

    state: State
    record: Record
    fsc: Fsc
    half_maps: Pair | None
    map: NDArray[np.float32] | None
    mask: NDArray[np.float32] | None
    poses: Poses | None


Observer = Callable[[Setup, Outcome, list[Record]], None]


def set_up(comm: Comm, particles: Particles, reference: Map, mask: Map | None, options: RefineOptions) -> tuple[Setup, Map]:
    """Look at all images, deal them out, prepare the reference. Collective."""
    geometry = np.stack([particles.optics.box, particles.optics.pixel_size], axis=1)[particles.optics_group]
    kinds, count = np.unique(geometry, axis=0, return_counts=True)
    box, pixel_size = int(kinds[count.argmax()][0]), float(kinds[count.argmax()][1])
    if not np.any(reference.data):
        raise InputError("the reference map is zero everywhere")
    start = filtered_reference(resample(reference, box, pixel_size), options.ini_high)
    diameter = options.diameter or diameter_of(start)
    if diameter > box * pixel_size:
        raise InputError(
            f"the particle diameter {diameter:.0f} Å is larger than the images ({box * pixel_size:.0f} Å): give a smaller --diameter"
        )
    if mask is not None:
        if mask.box != box or abs(mask.pixel_size / pixel_size - 1) > 1e-3:
            mask = resample(mask, box, pixel_size)
        mask = Map(check_mask(mask, box, options.mask or "mask"), pixel_size)
    half = split_halves(particles, options.seed)
    everything = deal(comm, particles, half, None)
    look, cache = first_look(everything, 0.5 * diameter, options.preread)
    refuse_too_many_bad(particles, look.bad, options.max_bad_fraction)
    half[look.bad] = -1
    share = deal(comm, particles, half, cache)
    if min(share.count(0), share.count(1)) < 1:
        raise InputError(
            f"the half-sets hold {share.count(0)} and {share.count(1)} usable particles; each needs at least one"
        )
    log.info(
        "%d particles (%d + %d in the half-sets), box %d px, %.4f Å/px, diameter %.0f Å, symmetry %s",
        share.count(0) + share.count(1), share.count(0), share.count(1), box, pixel_size, diameter, options.symmetry,
    )
    group = symmetry(options.symmetry)
    return Setup(share, options, group, box, pixel_size, diameter, mask, look), start


def first_state(setup: Setup, start: Map) -> State:
    """State before the first iteration. Collective."""
    share, options = setup.share, setup.options
    particles, comm = share.particles, share.comm
    r_high = min(setup.box / 2, max(5.0, setup.field_of_view / options.ini_high + 2))
    stages = options.stage_list()
    noise = first_noise(setup.look, particles)
    scale = np.asarray(setup.pixel_size / particles.optics.pixel_size, np.float64)
    sigma_shift = _FIRST_SIGMA * setup.field_of_view
    state = State(
        0, Schedule(stages[0], r_high), (None, None), noise, scale, sigma_shift, (None, None), np.ones(particles.n)
    )
    points = grid_box(setup.box, r_high)
    reference = to_grid(start, setup.box, r_high)
    reference *= solvent_mask(points, setup.field_of_view, setup.diameter, setup.user_mask)
    grey = 0.0
    if comm.rank == 0:
        coarse = Map(reference, setup.field_of_view / points)
        rough = first_scale(coarse, setup.look, setup.box)
        plan = make_plan(setup, state)
        grey = rough * grey_scale(share, reference * np.float32(rough), plan, setup.group, 2 * sigma_shift / setup.pixel_size)
    grey = comm.broadcast(grey)
    log.info("reference: low-passed to %.1f Å, grey values multiplied by %.4g to fit the images", options.ini_high, grey)
    reference *= np.float32(grey)
    references = tuple([reference.copy()] * NF if share.holds(half) else None for half in (0, 1))
    posteriors = (None, None)
    if stages[0] == "local":
        posteriors = tuple(_given_poses(setup, half) for half in (0, 1))
    return replace(state, references=(references[0], references[1]), posteriors=(posteriors[0], posteriors[1]))


def _given_poses(setup: Setup, half: int) -> tuple[NDArray[np.int64], Posterior]:
    """The poses of the STAR file as posteriors of spread --sigma-angle."""
    from pycryo.filter.support import Support
    from pycryo.geometry.rotations import euler_to_quaternion

    particles, rows = setup.share.particles, setup.share.rows_of(half)
    if not particles.has_poses:
        raise InputError("--local needs poses, but the particles have no rlnAngleRot, rlnAngleTilt, rlnAnglePsi")
    quaternion = euler_to_quaternion(particles.rot[rows], particles.tilt[rows], particles.psi[rows])
    pixel = particles.optics.pixel_size[particles.optics_group[rows]][:, None]
    shift = -np.stack([particles.origin_x[rows], particles.origin_y[rows]], axis=1) / pixel
    n = len(rows)
    support = Support(quaternion[:, None], shift[:, None], np.ones((n, 1)))
    spread = np.full(n, np.deg2rad(setup.options.sigma_angle))
    zero = np.zeros(n)
    return rows, Posterior(support, quaternion, shift, spread, np.full(n, 1.0), zero, zero, zero, np.zeros(n, np.int64))


def make_plan(setup: Setup, state: State) -> Plan:
    """Sizes of the next iteration, from the state alone: the same on every rank."""
    schedule, options = state.schedule, setup.options
    fov = setup.field_of_view
    r_high = schedule.r_high
    step = fov / (setup.diameter * r_high)
    settings = PhaseSettings()
    scan = None
    if schedule.stage == "global":
        r_scan = r_high
        count = rotation_count(_STEP * step, setup.group)
        most = _MAX_SLICES // len(setup.group)
        if count > most:
            r_scan = max(5.0, r_high * (most / count) ** (1 / 3))
            count = most
        count = max(count, 3000 // len(setup.group))
        turn = normal(options.seed, (1 << 41) + state.number, np.zeros(1, np.int64), 4)[0]
        turn /= np.linalg.norm(turn)
        step_shift = max(1.0, setup.box / (4 * r_scan))
        radius = 2.5 * state.sigma_shift / setup.pixel_size
        scan = make_scan(count, setup.group, turn, shift_grid(radius, step_shift), step_shift, r_scan)
        settings = replace(settings, max_phases=6)
    final = schedule.stage == "final"
    return Plan(
        number=state.number + 1,
        final=final,
        r_high=r_high,
        r_insert=setup.box / 2 if final else insertion_limit(r_high, setup.box / 2),
        scan=scan,
        settings=settings,
        sigma_shift=state.sigma_shift,
        widen=2.0,
        floor_rotation=0.02 * step,
        floor_shift=0.02 * fov / r_high,
        noise=state.noise,
        scale=state.scale,
        box=setup.box,
        pixel_size=setup.pixel_size,
        padding=options.padding,
        background_radius=0.5 * setup.diameter,
        use_ctf=options.ctf and setup.share.particles.has_ctf,
        sign=-1.0 if options.invert_contrast else 1.0,
        seed=options.seed,
    )


def iterate(setup: Setup, state: State) -> Outcome:
    """One iteration: expectation, maximization, measurement, decision. Collective."""
    share, comm = setup.share, setup.share.comm
    timer = Timer()
    began = time.perf_counter()
    plan = make_plan(setup, state)
    results: list[HalfResult | None] = [None, None]
    for half in (0, 1):
        reference = state.references[half]
        if share.holds(half):
            assert reference is not None, (half, state.schedule)
            volumes = [to_volume(each, setup.box, plan.padding, plan.r_high) for each in reference]
            results[half] = run_half(
                share, half, volumes, plan, setup.group, setup.look, state.posteriors[half], state.insertion_weight, timer
            )
    with timer.phase("wait"):
        spreads = _gathered(comm, results, lambda posterior: posterior.spread_rotation)
    measured = _measure_poses(setup, state, results)
    noise, scale = _update_noise(setup, state, plan, results)
    poses = _gather_poses(setup, results, state.insertion_weight)
    halves, fsc, mask, solutions, references, combined = _maximize(setup, plan, results, timer)
    shell = setup.field_of_view / fsc.resolution_0143
    seen = Measured(shell, measured["pose_change"], measured["spread_rotation"])
    is_last = plan.number + 1 >= setup.options.max_iter
    schedule, decision = next_schedule(
        state.schedule, seen, setup.options.stage_list(), setup.box / 2, is_last
    )
    seconds = {**timer.seconds, "total": time.perf_counter() - began}
    first = solutions[0] or solutions[1]
    info = comm.broadcast((first.iterations, first.deviation) if first is not None else (0, 0.0))
    record = Record(
        number=plan.number,
        stage=state.schedule.stage,
        r_high=plan.r_high,
        resolution=fsc.resolution_0143,
        pose_change=measured["pose_change"],
        spread_rotation=measured["spread_rotation"],
        spread_shift=measured["spread_shift"],
        sigma_shift=state.sigma_shift,
        slices_per_image=measured["n_slices"],
        n_slices_scan=0 if plan.scan is None else len(plan.scan.rotations),
        p_max=measured["p_max"],
        gridding_iterations=info[0],
        gridding_deviation=info[1],
        seconds={name: round(value, 4) for name, value in seconds.items()},
        decision=decision,
    )
    del spreads
    new = State(
        plan.number,
        schedule,
        references,
        noise,
        scale,
        max(measured["sigma_shift"], setup.pixel_size),
        tuple((r.rows, r.posterior) if r is not None and r.posterior is not None else None for r in results),  # type: ignore[arg-type]
        measured["insertion_weight"],
    )
    return Outcome(new, record, fsc, halves, combined, mask, poses)


def _gathered(
    comm: Comm, results: list[HalfResult | None], pick: Callable[[Posterior], NDArray[np.float64]]
) -> NDArray[np.float64]:
    """A figure of all particles of all ranks, in the order of ranks and halves. Collective."""
    mine = [pick(r.posterior) for r in results if r is not None and r.posterior is not None]
    return np.concatenate([np.empty(0), *(part for rank in comm.all_gather(mine) for part in rank)])


def _measure_poses(setup: Setup, state: State, results: list[HalfResult | None]) -> dict[str, Any]:
    """Medians over all particles, and the insertion weights of the next iteration. Collective."""
    share, comm = setup.share, setup.share.comm
    particles = share.particles
    table = []
    for half in (0, 1):
        result = results[half]
        if result is None or result.posterior is None:
            continue
        posterior, rows = result.posterior, result.rows
        pixel = particles.optics.pixel_size[particles.optics_group[rows]]
        before = state.posteriors[half]
        change = np.full(len(rows), np.inf)
        if before is not None and before[1].n_slices.any():
            order = np.argsort(before[0])
            place = order[np.searchsorted(before[0], rows, sorter=order)]
            old = setup.group.nearest(before[1].mode_quaternion[place], posterior.mode_quaternion)
            change = np.rad2deg(angle_between(old, posterior.mode_quaternion))
        distance = np.hypot(*posterior.mode_shift.T) * pixel
        table.append(
            np.stack(
                [
                    rows.astype(np.float64),
                    change,
                    np.rad2deg(posterior.spread_rotation),
                    posterior.spread_shift * pixel,
                    distance,
                    posterior.p_max,
                    posterior.n_slices.astype(np.float64),
                ]
            )
        )
    everyone = np.concatenate([np.empty((7, 0)), *(part for rank in comm.all_gather(table) for part in rank)], axis=1)
    rows, change, spread, spread_shift, distance, p_max, n_slices = everyone
    weight = np.zeros(particles.n)
    index = rows.astype(np.int64)
    weight[index] = insertion_weights(spread, share.half[index])
    return {
        "pose_change": float(np.median(change)),
        "spread_rotation": float(np.median(spread)),
        "spread_shift": float(np.median(spread_shift)),
        # Median of a Rayleigh distribution: 1.1774 σ
        "sigma_shift": float(np.median(distance)) / 1.1774,
        "p_max": float(np.median(p_max)),
        "n_slices": float(np.mean(np.sort(n_slices))),
        "insertion_weight": weight,
    }


def insertion_weights(spread: NDArray[np.float64], half: NDArray[np.int8]) -> NDArray[np.float64]:
    """u_p of each image: 1 for posteriors as sharp as their half-set's median, less for diffuse ones."""
    weight = np.ones(len(spread))
    for h in (0, 1):
        mine = half == h
        if mine.any():
            weight[mine] = np.clip(np.median(spread[mine]) / np.maximum(spread[mine], 1e-9), 0.05, 1.0)
    return weight


def _update_noise(
    setup: Setup, state: State, plan: Plan, results: list[HalfResult | None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Noise spectra and grey scales of the next iteration. Collective."""
    share = setup.share
    particles = share.particles
    n_group = len(particles.optics.box)
    there = [r for r in results if r is not None]
    group = np.concatenate([particles.optics_group[r.rows] for r in there] or [np.empty(0, np.int32)])
    n_shell = plan.noise.shape[1]
    sums = []
    for name in ("cross", "model"):
        values = np.concatenate([getattr(r, name) for r in there] or [np.empty((0, n_shell))])
        sums.append(group_sums(share.comm, values, group, n_group, particles.n))
    cross, model = sums
    noise = updated_noise(setup.look, particles, cross, model, plan.noise)
    scale = state.scale
    if n_group > 1:
        scale = updated_scale(scale, cross, model, setup.look.count, 2, max(4, int(0.7 * plan.r_high)))
    return noise, scale


def _gather_poses(setup: Setup, results: list[HalfResult | None], weight: NDArray[np.float64]) -> Poses | None:
    """All poses on rank 0. Collective."""
    share = setup.share
    optics, group = share.particles.optics, share.particles.optics_group
    mine = []
    for r in results:
        if r is not None and r.posterior is not None:
            p = r.posterior
            pixel = optics.pixel_size[group[r.rows]][:, None]
            mine.append((r.rows, p.mode_quaternion, p.mode_shift * pixel, p.p_max, p.n_significant, p.log_evidence))
    gathered = share.comm.gather(mine)
    if gathered is None:
        return None
    columns = [np.concatenate(part) for part in zip(*(piece for rank in gathered for piece in rank), strict=True)]
    order = np.argsort(columns[0], kind="stable")
    columns = [column[order] for column in columns]
    return Poses(*columns, weight[columns[0]])


def _maximize(
    setup: Setup, plan: Plan, results: list[HalfResult | None], timer: Timer
) -> tuple[Any, Fsc, NDArray[np.float32] | None, list[Solution | None], Any, NDArray[np.float32] | None]:
    """Half-maps, FSC, references and (at the end) the map of all data. Collective."""
    share, comm = setup.share, setup.share.comm
    final = plan.final
    with timer.phase("reduce"):
        for half in (0, 1):
            half_comm, result = share.half_comm[half], results[half]
            if half_comm is not None:
                assert result is not None
                for each in result.accumulators:
                    sum_accumulators(each, half_comm)
    with timer.phase("solve"):
        solutions: list[Solution | None] = [None, None]
        for half in (0, 1):
            if comm.rank == share.roots[half]:
                result = results[half]
                assert result is not None
                solutions[half] = solve(total(result.accumulators))
    pair = pair_of_maps(share, tuple(s.map if s is not None else None for s in solutions))  # type: ignore[arg-type]
    points = grid_box(setup.box, plan.r_insert)
    fsc: Fsc | None = None
    mask: NDArray[np.float32] | None = None
    with timer.phase("fsc"):
        if pair is not None:
            fsc, mask = measure_fsc(setup, pair, plan.r_insert)
    fsc = comm.broadcast(fsc)
    assert fsc is not None
    curve = damped(fsc)
    combined = None
    with timer.phase("solve"):
        regularised: list[list[NDArray[np.float32] | None]] = [[None] * NF, [None] * NF]
        for half in (0, 1):
            if comm.rank == share.roots[half] and not final:
                result = results[half]
                assert result is not None
                everything = total(result.accumulators)
                for f in range(NF):
                    regularised[half][f] = solve(without(everything, result.accumulators[f]) if NF > 1 else everything, ssnr=ssnr_from_fsc(curve, combined=False)).map
        if final:
            first, second = (total(r.accumulators) if r is not None else None for r in results)
            everything = both_halves(share, first, second)
            if everything is not None:
                combined = solve(everything, ssnr=ssnr_from_fsc(curve, combined=True)).map
            return pair, fsc, mask, solutions, (None, None), combined
    references = ([], [])
    for f in range(NF):
        joined = pair_of_maps(share, (regularised[0][f], regularised[1][f]))
        if joined is not None:
            joined = join_low_resolution(joined, setup.field_of_view / _JOIN)
            solvent = solvent_mask(points, setup.field_of_view, setup.diameter, setup.user_mask)
            import os
            if mask is not None and os.environ.get("TM"):
                solvent = solvent * mask
            joined = (joined[0] * solvent, joined[1] * solvent)
        got = to_ranks_of_halves(share, joined, points)
        for h in (0, 1): references[h].append(got[h])
    return pair, fsc, mask, solutions, (references[0], references[1]), combined


def total(parts):
    if len(parts) == 1: return parts[0]
    a = parts[0]
    return replace(a, re=sum(p.re for p in parts), im=sum(p.im for p in parts), weight=sum(p.weight for p in parts))

def without(a, b):
    return replace(a, re=a.re - b.re, im=a.im - b.im, weight=a.weight - b.weight)


def measure_fsc(setup: Setup, pair: Pair, r_insert: float) -> tuple[Fsc, NDArray[np.float32]]:
    """FSC of the half-maps in the user's or an automatic mask; nothing beyond the shells inserted."""
    points = len(pair[0])
    pixel = setup.field_of_view / points
    if setup.user_mask is not None:
        mask = solvent_mask(points, setup.field_of_view, setup.diameter, setup.user_mask)
    else:
        mean = Map(0.5 * (pair[0] + pair[1]), pixel)
        rough = corrected_fsc(pair[0], pair[1], pixel)
        sphere = solvent_mask(points, setup.field_of_view, setup.diameter, None)
        mask = auto_mask(Map(mean.data * sphere, pixel), resolution=max(15.0, rough.resolution_0143)) * sphere
    fsc = corrected_fsc(pair[0], pair[1], pixel, mask, seed=setup.options.seed)
    return _cut(fsc, r_insert), mask


def _cut(fsc: Fsc, r_insert: float) -> Fsc:
    curves = {}
    for name in ("unmasked", "masked", "randomised", "corrected"):
        curve = np.array(getattr(fsc, name))
        curve[int(np.ceil(r_insert)) :] = 0
        curves[name] = curve
    return replace(fsc, **curves)


def run(setup: Setup, state: State, observer: Observer | None = None) -> tuple[Outcome, list[Record]]:
    """Iterate from `state` until the final iteration is done. Collective."""
    history: list[Record] = []
    while True:
        final = state.schedule.stage == "final"
        outcome = iterate(setup, state)
        history.append(outcome.record)
        record = outcome.record
        log.info(
            "iteration %d (%s): r_high %.1f (%.1f Å), resolution %.2f Å, spread %.2f deg %.2f Å, pose change %.2f deg, %.1f s",
            record.number, record.stage, record.r_high, setup.field_of_view / record.r_high, record.resolution,
            record.spread_rotation, record.spread_shift, record.pose_change, record.seconds["total"],
        )
        log.info("Auto-refine: Resolution= %.5g", record.resolution)
        log.info("decision: %s", record.decision)
        if observer is not None:
            observer(setup, outcome, history)
        state = outcome.state
        if final:
            return outcome, history
