"""What an iteration found, over all ranks: poses, spreads, noise, the weights of the next insertion (method.md §7)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.support import Posterior, axis_spreads, is_broad
from pycryo.geometry.rotations import angle_between
from pycryo.refinement.data.dataset import group_sums
from pycryo.refinement.data.figure_of_merit import rate_classes
from pycryo.refinement.expectation.half_pass import HalfResult
from pycryo.refinement.maximization.noise import updated_noise, updated_scale, without_junk
from pycryo.refinement.plan import Plan
from pycryo.refinement.state import Poses, RowsPosterior, Setup, State

Results = list[HalfResult | None]

# Posteriors this much more diffuse than the median count less. The support points blur a doubtful image already: a
# factor of 1 cost 0.2 Å on sim64.
_DOUBTFUL = 3.0
# Images that show no particle keep this much, so that a half-set of them alone still makes a map.
_LEAST_WEIGHT = 1e-3
# Smallest prior of a class, about.
_LEAST_SHARE = 1e-4
# Degrees; a mode that moved further, and by more than 3 spreads, is another one.
_OTHER_MODE = 10.0


@dataclass(frozen=True, slots=True)
class PoseFigures:
    """Figures over all particles; degrees and Å. Medians are over the images that look like particles.

    Attributes
    ----------
    pose_change : float
        Median angle between the modes of this iteration and the last; infinite in the first.
    spread_rotation, spread_shift : float
        Median spreads of the posteriors per axis.
    sigma_shift : float
        Spread of the shifts over the particles, per axis.
    p_max : float
        Median weight of the heaviest point.
    log_evidence : float
        Mean over all images, see `pycryo.filter.support.Posterior`.
    spread_in_plane, spread_tilt : float
        Median spreads of the rotations about the viewing axis, and per axis across it.
    effective_mean, effective_median : float
        Effective sample size of the last phase.
    changed_mode : float
        Share of the images whose mode moved by more than `_OTHER_MODE` and 3 spreads; 0 in the first iteration.
    broad_share : float
        Share of the images whose posterior is broad (`pycryo.filter.support.is_broad`).
    phases_per_image : float
        Mean number of phases.
    slices_per_image : float
        Mean number of slices that an image was compared with in the phases.
    insertion_weight : (n_all,) float64
        u_p of the next iteration.
    particle : (n_all,) float64
        Probability that an image shows a particle.
    score : (n_all,) float64
        Of each image, see `pycryo.refinement.data.figure_of_merit.Quality`; 0 of those left out.
    score_threshold : float
        Images that score less are better left out.
    n_junk : int
        Images that look like something other than a particle.
    class_share : (n_class,) float64
        Part of the particles that is of each class.
    class_count : (2, n_class) float64
        Particles of each half and class.
    class_change : float
        Share of the images whose class is another one than in the last iteration; 0 in the first.
    """

    pose_change: float
    spread_rotation: float
    spread_shift: float
    sigma_shift: float
    p_max: float
    log_evidence: float
    spread_in_plane: float
    spread_tilt: float
    effective_mean: float
    effective_median: float
    changed_mode: float
    broad_share: float
    phases_per_image: float
    slices_per_image: float
    insertion_weight: NDArray[np.float64]
    particle: NDArray[np.float64]
    score: NDArray[np.float64]
    score_threshold: float
    n_junk: int
    class_share: NDArray[np.float64]
    class_count: NDArray[np.float64]
    class_change: float


def measure_poses(setup: Setup, state: State, results: Results) -> PoseFigures:
    """Figures of the poses of all ranks. Collective."""
    share = setup.share
    optics, group = share.particles.optics, share.particles.optics_group
    mine = []
    for half, result in enumerate(results):
        if result is None or result.posterior is None:
            continue
        posterior, rows = result.posterior, result.rows
        pixel = optics.pixel_size[group[rows]]
        before = _before(state.posteriors[half], rows)
        columns = (
            rows.astype(np.float64),
            _pose_change(setup, before, posterior),
            posterior.mode_class,
            np.zeros(len(rows)) if before is None else before.mode_class != posterior.mode_class,
            np.rad2deg(posterior.spread_rotation),
            posterior.spread_shift * pixel,
            np.hypot(*posterior.mode_shift.T) * pixel,
            posterior.p_max,
            *np.rad2deg(axis_spreads(posterior)),
            posterior.n_significant,
            posterior.n_phases.astype(np.float64),
            posterior.n_slices.astype(np.float64),
            posterior.log_evidence,
            result.model.sum(axis=1),
            result.excess,
            *posterior.class_probability.T,
        )
        mine.append(np.stack(columns))
    gathered = share.comm.gather(mine)
    # Measured by one: processors of another kind might round otherwise.
    figures = None
    if gathered is not None:
        parts = [part for rank in gathered for part in rank]
        figures = _figures(share.half, parts, tells_junk=not state.schedule.is_joined)
    found = share.comm.broadcast(figures)
    assert found is not None
    return found


def _figures(half: NDArray[np.int8], parts: list[NDArray[np.float64]], tells_junk: bool) -> PoseFigures:
    """From the columns of all particles, in any order.

    While classes come apart, images of the one that has no map yet look like junk: then nothing is taken for it.
    """
    table = np.concatenate(parts, axis=1)
    table = table[:, np.argsort(table[0])]
    row, change, mode_class, class_change, spread, spread_shift, distance, p_max = table[:8]
    in_plane, tilt, effective, n_phases, n_slices, log_evidence, model, excess, *of_class = table[8:]
    index = row.astype(np.int64)
    quality = rate_classes(log_evidence, model, excess, mode_class.astype(np.int32))
    if not tells_junk:
        quality = replace(quality, particle=np.ones(len(row)), is_mixed=False)
    shares = np.stack(of_class) * quality.particle
    count = np.stack([shares[:, half[index] == h].sum(axis=1) for h in (0, 1)])
    seen = quality.particle >= 0.5
    weight, particle, score = np.zeros((3, len(half)))
    weight[index] = insertion_weights(spread, quality.particle, half[index])
    particle[index] = quality.particle
    score[index] = quality.score
    return PoseFigures(
        pose_change=float(np.median(change[seen])),
        spread_rotation=float(np.median(spread[seen])),
        spread_shift=float(np.median(spread_shift[seen])),
        # The median of a Rayleigh distribution is 1.1774 σ.
        sigma_shift=float(np.median(distance[seen])) / 1.1774,
        p_max=float(np.median(p_max[seen])),
        log_evidence=float(log_evidence.mean()),
        spread_in_plane=float(np.median(in_plane[seen])),
        spread_tilt=float(np.median(tilt[seen])),
        effective_mean=float(effective[seen].mean()),
        effective_median=float(np.median(effective[seen])),
        changed_mode=float((np.isfinite(change) & (change > np.maximum(_OTHER_MODE, 3 * spread)))[seen].mean()),
        broad_share=float(is_broad(np.deg2rad(spread)).mean()),
        phases_per_image=float(n_phases.mean()),
        slices_per_image=float(n_slices.sum() / len(n_slices)),
        insertion_weight=weight,
        particle=particle,
        score=score,
        score_threshold=quality.threshold,
        n_junk=quality.n_junk,
        class_share=class_shares(count),
        class_count=count,
        class_change=float(np.mean(class_change)),
    )


def class_shares(count: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_class,) priors, sum 1, none of them 0, from the particles of each half and class (2, n_class)."""
    total = count.sum(axis=0)
    share = np.maximum(total / max(total.sum(), 1e-300), _LEAST_SHARE)
    return np.asarray(share / share.sum())


@dataclass(frozen=True, slots=True)
class _Before:
    """Modes of the last iteration."""

    mode_quaternion: NDArray[np.float64]
    mode_class: NDArray[np.int32]


def _before(found: RowsPosterior | None, rows: NDArray[np.int64]) -> _Before | None:
    """Of the images `rows`; None in the first iteration."""
    if found is None:
        return None
    order = np.argsort(found[0])
    place = order[np.searchsorted(found[0], rows, sorter=order)]
    return _Before(found[1].mode_quaternion[place], found[1].mode_class[place])


def _pose_change(setup: Setup, before: _Before | None, posterior: Posterior) -> NDArray[np.float64]:
    """Degrees between the modes of two iterations, modulo symmetry; infinite in the first."""
    if before is None:
        return np.full(len(posterior), np.inf)
    old = setup.group.nearest(before.mode_quaternion, posterior.mode_quaternion)
    return np.rad2deg(angle_between(old, posterior.mode_quaternion))


def insertion_weights(
    spread: NDArray[np.float64], particle: NDArray[np.float64], half: NDArray[np.int8]
) -> NDArray[np.float64]:
    """u_p of each image, at most 1 and 1 for the best of each half-set (docs/method.md).

    Parameters
    ----------
    spread : (n,) float64
        Of the posterior.
    particle : (n,) float64
        Probability that the image shows a particle.
    half : (n,) int8
        Half-set 0 or 1.
    """
    weight = np.maximum(particle, _LEAST_WEIGHT)
    for h in (0, 1):
        mine = half == h
        if not mine.any():
            continue
        seen = mine & (particle >= 0.5)
        usual = np.median(spread[seen if seen.any() else mine])
        weight[mine] *= np.clip(_DOUBTFUL * usual / np.maximum(spread[mine], 1e-9), 0.05, 1.0)
        weight[mine] /= weight[mine].max()
    return weight


def measure_noise(
    setup: Setup, state: State, plan: Plan, results: Results, particle: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Noise spectra and grey scales of the next iteration, of the images that show particles. Collective.

    `particle` (n_all,) are their probabilities.
    """
    share = setup.share
    n_group, n_shell = plan.noise.shape
    there = [result for result in results if result is not None]
    rows = np.concatenate([np.empty(0, np.int64), *(result.rows for result in there)])
    group = share.particles.optics_group[rows]

    def total(name: str, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        values = np.concatenate([np.empty((0, n_shell)), *(getattr(result, name) for result in there)])
        if weight is not None:
            values *= weight[:, None]
        return group_sums(share.comm, values, group, n_group, share.particles.n)

    noise = updated_noise(setup.look, share.particles, total("cross"), total("model"), plan.noise)
    sums = (total(name, weight) for weight in (None, particle[rows]) for name in ("residual", "expected"))
    noise *= without_junk(*sums)
    if n_group == 1:
        return noise, state.scale
    last = max(4, int(0.7 * plan.r_high))
    cross, model = (total(name, particle[rows]) for name in ("cross", "model"))
    return noise, updated_scale(state.scale, cross, model, setup.look.count, 2, last)


def gather_poses(setup: Setup, results: Results, score: NDArray[np.float64]) -> Poses | None:
    """All poses on rank 0 (None elsewhere); `score` (n_all,) becomes the figure of merit. Collective."""
    share = setup.share
    optics, group = share.particles.optics, share.particles.optics_group
    mine = []
    for result in results:
        if result is not None and result.posterior is not None:
            p, rows = result.posterior, result.rows
            pixel = optics.pixel_size[group[rows]][:, None]
            pose = (rows, p.mode_quaternion, p.mode_shift * pixel, p.defocus_change, p.mode_class)
            mine.append((*pose, p.p_max, p.n_significant, p.log_evidence))
    gathered = share.comm.gather(mine)
    if gathered is None:
        return None
    columns = [np.concatenate(part) for part in zip(*(piece for rank in gathered for piece in rank), strict=True)]
    order = np.argsort(columns[0], kind="stable")
    columns = [column[order] for column in columns]
    rows, quaternion, shift, change, class_index, p_max, n_significant, log_evidence = columns
    return Poses(rows, quaternion, shift, change, class_index, p_max, n_significant, log_evidence, score[rows])
