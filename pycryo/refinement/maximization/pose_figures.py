"""Figures of the poses over all ranks: spreads, changes, classes, the weights of the next insertion."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.support import Posterior, RowsPosterior, axis_spreads, is_broad
from pycryo.geometry.rotations import angle_between
from pycryo.geometry.symmetry import Symmetry
from pycryo.refinement.data.figure_of_merit import rate_classes
from pycryo.refinement.data.partition import Partition
from pycryo.refinement.expectation.half_pass import Results

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
        Median angle between the modes of this iteration and the last, of the images that were in both; infinite if
        there are none.
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
        Share of these images whose mode moved by more than `_OTHER_MODE` and 3 spreads; 0 if there are none.
    broad_share : float
        Share of the images whose posterior is broad (`pycryo.filter.support.is_broad`).
    phases_per_image : float
        Mean number of phases.
    slices_per_image : float
        Mean number of slices that an image was compared with in the phases.
    insertion_weight : (n_all,) float64
        u_p of the next iteration; 1 of images that were not compared.
    particle : (n_all,) float64
        Probability that an image shows a particle.
    score : (n_all,) float64
        Of each image, see `pycryo.refinement.data.figure_of_merit.Quality`; 0 of those not compared.
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


def measure_poses(
    partition: Partition,
    group: Symmetry,
    last: tuple[RowsPosterior | None, RowsPosterior | None],
    results: Results,
    *,
    tells_junk: bool,
    in_turn: bool = False,
) -> PoseFigures:
    """Figures of the poses of all ranks. Collective.

    Parameters
    ----------
    partition : Partition
    group : Symmetry
    last : two of (rows, Posterior) or None
        Of this rank's particles in the last iteration, by half.
    results : two of HalfResult or None
    tells_junk : bool
        While classes come apart, images of the one that has no map yet look like junk: then nothing is taken for it.
    in_turn : bool
        Part of the images was scanned: those tell how many change their mode.
    """
    mine = []
    for half, result in enumerate(results):
        if result is None or result.posterior is None:
            continue
        posterior, rows = result.posterior, result.rows
        pixel = partition.particles.pixel_size[rows]
        before = _before(last[half], rows)
        columns = (
            rows.astype(np.float64),
            _pose_change(group, before, posterior),
            posterior.mode_class,
            np.zeros(len(rows)) if before is None else before.is_there & (before.mode_class != posterior.mode_class),
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
            result.scanned | (not in_turn),
            *posterior.class_probability.T,
        )
        mine.append(np.stack(columns))
    gathered = partition.comm.gather(mine)
    # Measured by one: processors of another kind might round otherwise.
    figures = None
    if gathered is not None:
        parts = [part for rank in gathered for part in rank]
        figures = _figures(partition.half, parts, tells_junk=tells_junk)
    found = partition.comm.broadcast(figures)
    assert found is not None
    return found


def _figures(half: NDArray[np.int8], parts: list[NDArray[np.float64]], tells_junk: bool) -> PoseFigures:
    """From the columns of all particles, in any order."""
    table = np.concatenate(parts, axis=1)
    table = table[:, np.argsort(table[0])]
    row, change, mode_class, class_change, spread, spread_shift, distance, p_max = table[:8]
    in_plane, tilt, effective, n_phases, n_slices, log_evidence, model, excess, may_change, *of_class = table[8:]
    index = row.astype(np.int64)
    quality = rate_classes(log_evidence, model, excess, mode_class.astype(np.int32))
    if not tells_junk:
        quality = replace(quality, particle=np.ones(len(row)), is_mixed=False)
    shares = np.stack(of_class) * quality.particle
    count = np.stack([shares[:, half[index] == h].sum(axis=1) for h in (0, 1)])
    seen = quality.particle >= 0.5
    was_there = seen & np.isfinite(change)
    changed, asked = change > np.maximum(_OTHER_MODE, 3 * spread), was_there & (may_change > 0)
    particle, score = np.zeros((2, len(half)))
    weight = np.ones(len(half))
    weight[index] = insertion_weights(spread, quality.particle, half[index])
    particle[index] = quality.particle
    score[index] = quality.score
    return PoseFigures(
        pose_change=float(np.median(change[was_there])) if was_there.any() else math.inf,
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
        changed_mode=float((changed & asked).sum() / max(1, asked.sum())),
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
    """Modes of the last iteration; something else of images that were not in it."""

    is_there: NDArray[np.bool_]
    mode_quaternion: NDArray[np.float64]
    mode_class: NDArray[np.int32]


def _before(found: RowsPosterior | None, rows: NDArray[np.int64]) -> _Before | None:
    """Of the images `rows`; None if none of them was in the last iteration."""
    if found is None or not len(found[0]):
        return None
    order = np.argsort(found[0])
    place = order[np.minimum(np.searchsorted(found[0], rows, sorter=order), len(order) - 1)]
    return _Before(found[0][place] == rows, found[1].mode_quaternion[place], found[1].mode_class[place])


def _pose_change(group: Symmetry, before: _Before | None, posterior: Posterior) -> NDArray[np.float64]:
    """Degrees between the modes of two iterations, modulo symmetry; infinite of images that were not in the last."""
    if before is None:
        return np.full(len(posterior), np.inf)
    old = group.nearest(before.mode_quaternion, posterior.mode_quaternion)
    angle = np.rad2deg(angle_between(old, posterior.mode_quaternion))
    return np.where(before.is_there, angle, np.inf)


def insertion_weights(
    spread: NDArray[np.float64], particle: NDArray[np.float64], half: NDArray[np.int8]
) -> NDArray[np.float64]:
    """u_p of each image, at most 1 and 1 for the best of each half-set (docs/method.md, Insertion and reconstruction).

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
