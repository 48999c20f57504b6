"""The phases of the particle filter: perturb, evaluate, reweigh, estimate the spread, resample (method.md §4).

Rotations and shifts are proposed separately, from mixtures of heavy-tailed kernels about the current support points,
and every proposed rotation is scored with every proposed shift of its image. The weights of the pairs are joint: score
plus prior minus the log density of both proposals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter._sampling import (
    rotation_proposal_density,
    shift_proposal_density,
    systematic_resample,
    uniform,
)
from pycryo.filter.draws import student
from pycryo.filter.support import Array, Posterior, Support
from pycryo.geometry.rotations import multiply

Classes = NDArray[np.int32]
# (rows (n,), rotations (n, R, 4), their classes (n, R), shifts (n, T, 2)) -> log posterior up to a constant per image,
# (n, R, T)
Score = Callable[[NDArray[np.int64], Array, Classes, Array], NDArray[np.floating]]

# Share of the proposals whose class is drawn anew.
_SWITCH = 0.1
_SWITCH_STREAM = 1 << 51

# Of an image in an iteration at the most, for the keys of the draws.
_MOST_PHASES = 32


@dataclass(frozen=True, slots=True)
class PhaseSettings:
    """Sizes and stopping rules of the phases.

    Attributes
    ----------
    n_rotation, n_shift : int
        Proposals per image and phase.
    n_support : int
        Support points kept per image.
    min_phases, max_phases : int
    shrink : float
        The kernels become narrower by at most this factor per phase.
    bandwidth : float
        Kernel scale in units of the posterior's spread.
    min_effective : float
        Weights are flattened for resampling until the effective sample size reaches this.
    settled : float
        An image stops when its kernels would shrink by less than this share.
    """

    n_rotation: int = 64
    n_shift: int = 16
    n_support: int = 32
    min_phases: int = 3
    max_phases: int = 6
    shrink: float = 0.5
    bandwidth: float = 0.7
    min_effective: float = 12.0
    settled: float = 0.9


def flatten_weights(log_weight: Array, min_effective: float) -> Array:
    """(n, m) weights, sum 1, raised to the largest power ≤ 1 at which the effective sample size is `min_effective`."""
    m = log_weight.shape[1]
    goal = min(min_effective, 0.5 * m)
    relative = log_weight - log_weight.max(axis=1, keepdims=True)
    low, high = np.full(len(relative), 1e-9), np.ones(len(relative))
    power = high.copy()
    for _ in range(12):
        weight = np.exp(relative * power[:, None])
        effective = weight.sum(1) ** 2 / np.square(weight).sum(1)
        enough = effective >= goal
        if enough.all() and (power == 1).all():
            break
        low, high = np.where(enough, power, low), np.where(enough, high, power)
        power = np.where(enough & (power == 1), 1.0, np.sqrt(low * high))
    weight = np.exp(relative * np.where(power == 1, 1.0, low)[:, None])
    return np.asarray(weight / weight.sum(1, keepdims=True))


def run_phases(
    score: Score,
    start: Support,
    scale_rotation: Array,
    scale_shift: Array,
    *,
    ids: NDArray[np.int64],
    seed: int,
    stream: int,
    settings: PhaseSettings,
    floor_rotation: float,
    floor_shift: float,
    n_class: int = 1,
    guides: Sequence[Score] = (),
) -> Posterior:
    """Sample the posterior of pose and class of n images.

    Parameters
    ----------
    score : callable
        (rows, rotations (k, R, 4), classes (k, R), shifts (k, T, 2)) -> (k, R, T) log likelihood + log prior of the
        images `rows`.
    start : Support
        First support points (from the scan or the last iteration).
    scale_rotation, scale_shift : (n,)
        Kernel scales of the first phase: radians per axis, px.
    ids : (n,) int64
        Particle ids: the draws depend on (seed, stream, id) only.
    floor_rotation, floor_shift : float
        Kernels never become narrower than this (radians, px).
    n_class : int
    guides : sequence of callable
        Like `score`, of less resolution: one phase is weighed by each of them first, so that the points come near the
        peak before it is as narrow as it is.

    Returns
    -------
    Posterior
    """
    n, n_rotation, n_shift = len(ids), settings.n_rotation, settings.n_shift
    scale_r, scale_t = scale_rotation.astype(np.float64), scale_shift.astype(np.float64)
    active = np.arange(n)
    result = _empty(n, settings.n_support, n_class)
    best = np.full(n, -np.inf)
    weight_r, weight_t = start.weight, start.weight
    points_r, points_t, points_c = start.quaternion, start.shift, start.class_index
    n_guide = len(guides)
    for phase in range(n_guide + settings.max_phases):
        key = (stream * _MOST_PHASES + phase) * 4
        sr, st = scale_r[active], scale_t[active]
        rotations, classes, shifts, log_proposal = _propose(
            points_r, points_c, weight_r, points_t, weight_t, sr, st, ids[active], seed, key, settings, n_class
        )
        weigh = guides[phase] if phase < n_guide else score
        log_joint = weigh(active, rotations, classes, shifts).astype(np.float64)
        log_weight = (log_joint - log_proposal).reshape(len(active), -1)

        flat = log_joint.reshape(len(active), -1)
        top = flat.argmax(axis=1)
        value = flat[np.arange(len(active)), top]
        better = (value > best[active]) | (phase <= n_guide)
        rows = active[better]
        best[rows] = value[better]
        result.mode_quaternion[rows] = rotations[better, top[better] // n_shift]
        result.mode_shift[rows] = shifts[better, top[better] % n_shift]
        result.mode_class[rows] = classes[better, top[better] // n_shift]

        tempered = flatten_weights(log_weight, settings.min_effective).reshape(log_joint.shape)
        likely = tempered * (classes == result.mode_class[active, None])[..., None]
        new_r, new_t = _spread(
            rotations, shifts, likely, result.mode_quaternion[active], result.mode_shift[active], sr, st
        )
        next_r = np.clip(settings.bandwidth * new_r, np.maximum(settings.shrink * sr, floor_rotation), sr)
        next_t = np.clip(settings.bandwidth * new_t, np.maximum(settings.shrink * st, floor_shift), st)
        last = phase + 1 == n_guide + settings.max_phases
        settled = (next_r > settings.settled * sr) & (next_t > settings.settled * st)
        done = np.full(len(active), last) | (settled & (phase + 1 >= n_guide + settings.min_phases))
        scale_r[active], scale_t[active] = next_r, next_t
        result.n_slices[active] += n_rotation
        result.n_phases[active] += 1
        if done.any():
            _finish(
                result,
                active[done],
                rotations[done],
                classes[done],
                shifts[done],
                log_weight[done],
                ids[active[done]],
                seed,
                key,
                settings,
                sr[done],
                st[done],
            )
        keep = ~done
        active = active[keep]
        if not len(active):
            break
        points_r, points_t, points_c = rotations[keep], shifts[keep], classes[keep]
        weight_r, weight_t = (np.ascontiguousarray(tempered[keep].sum(axis)) for axis in (2, 1))
    return result


def _propose(
    points_r: Array,
    points_c: Classes,
    weight_r: Array,
    points_t: Array,
    weight_t: Array,
    scale_r: Array,
    scale_t: Array,
    ids: NDArray[np.int64],
    seed: int,
    key: int,
    settings: PhaseSettings,
    n_class: int,
) -> tuple[Array, Classes, Array, Array]:
    """Rotations (n, R, 4) with classes (n, R), shifts (n, T, 2) and the log density (n, R, T) they were drawn from."""
    offset = uniform(seed, key, ids, 2)
    pick_r = systematic_resample(weight_r, np.ascontiguousarray(offset[:, 0]), settings.n_rotation)
    pick_t = systematic_resample(weight_t, np.ascontiguousarray(offset[:, 1]), settings.n_shift)
    centre_r = np.take_along_axis(points_r, pick_r[..., None], axis=1)
    centre_t = np.take_along_axis(points_t, pick_t[..., None], axis=1)
    tangent = student(seed, key + 1, ids, settings.n_rotation, 3) * (0.5 * scale_r)[:, None, None]
    turn = np.concatenate([np.ones((*tangent.shape[:2], 1)), tangent], axis=-1)
    turn /= np.linalg.norm(turn, axis=-1, keepdims=True)
    rotations = multiply(turn, centre_r)
    shifts = centre_t + student(seed, key + 2, ids, settings.n_shift, 2) * scale_t[:, None, None]
    centre_c = np.take_along_axis(points_c, pick_r, axis=1)
    classes, other = centre_c, _SWITCH / n_class
    if n_class > 1:
        draw = uniform(seed, _SWITCH_STREAM + key, ids, settings.n_rotation)
        drawn = np.minimum(draw / other, n_class - 1).astype(np.int32)
        classes = np.where(draw < _SWITCH, drawn, centre_c)
    same = 1 - (n_class - 1) * other
    density_r = rotation_proposal_density(rotations, centre_r, 0.5 * scale_r, classes, centre_c, same, other)
    density_t = shift_proposal_density(shifts, centre_t, scale_t)
    return rotations, classes, shifts, density_r[:, :, None] + density_t[:, None, :]


def _spread(
    rotations: Array, shifts: Array, weight: Array, mode_r: Array, mode_t: Array, scale_r: Array, scale_t: Array
) -> tuple[Array, Array]:
    """Weighted standard deviation per axis about the mode, of the points of the mode's own neighbourhood."""
    cosine = np.abs(np.einsum("nri,ni->nr", rotations, mode_r))
    square_r = np.square(2 * np.arccos(np.clip(cosine, 0, 1)))
    square_t = np.square(shifts - mode_t[:, None]).sum(-1)
    weight_r, weight_t = weight.sum(2), weight.sum(1)
    near_r = weight_r * (square_r < np.square(6 * scale_r)[:, None])
    near_t = weight_t * (square_t < np.square(6 * scale_t)[:, None])
    spread_r = np.sqrt((near_r * square_r).sum(1) / np.maximum(near_r.sum(1), 1e-300) / 3)
    spread_t = np.sqrt((near_t * square_t).sum(1) / np.maximum(near_t.sum(1), 1e-300) / 2)
    return spread_r, spread_t


def _empty(n: int, n_support: int, n_class: int) -> Posterior:
    support = Support(
        np.zeros((n, n_support, 4)),
        np.zeros((n, n_support, 2)),
        np.zeros((n, n_support)),
        np.zeros((n, n_support), np.int32),
    )
    figures = np.zeros((7, n))
    return Posterior(
        support,
        mode_quaternion=np.zeros((n, 4)),
        mode_shift=np.zeros((n, 2)),
        mode_class=np.zeros(n, np.int32),
        class_probability=np.zeros((n, n_class)),
        spread_rotation=figures[0],
        spread_shift=figures[1],
        p_max=figures[2],
        n_significant=figures[3],
        log_evidence=figures[4],
        n_slices=np.zeros(n, np.int64),
        n_phases=np.zeros(n, np.int64),
        defocus_change=figures[5],
        spread_defocus=figures[6],
    )


def _finish(
    result: Posterior,
    rows: NDArray[np.int64],
    rotations: Array,
    classes: Classes,
    shifts: Array,
    log_weight: Array,
    ids: NDArray[np.int64],
    seed: int,
    key: int,
    settings: PhaseSettings,
    scale_r: Array,
    scale_t: Array,
) -> None:
    """Draw the final support points of the images `rows` and note their figures."""
    n_shift = settings.n_shift
    top = log_weight.max(axis=1, keepdims=True)
    weight = np.exp(log_weight - top)
    total = weight.sum(axis=1, keepdims=True)
    result.log_evidence[rows] = top[:, 0] + np.log(total[:, 0] / log_weight.shape[1])
    weight /= total
    joint = weight.reshape(len(rows), settings.n_rotation, n_shift)
    offset = np.ascontiguousarray(uniform(seed, key + 3, ids, 1)[:, 0])
    picked = systematic_resample(weight, offset, settings.n_support)
    index_r, index_t = picked // n_shift, picked % n_shift
    result.support.quaternion[rows] = np.take_along_axis(rotations, index_r[..., None], axis=1)
    result.support.shift[rows] = np.take_along_axis(shifts, index_t[..., None], axis=1)
    result.support.weight[rows] = _merge_repeats(picked)
    result.support.class_index[rows] = np.take_along_axis(classes, index_r, axis=1)
    marginal = joint.sum(axis=2)
    for k in range(result.class_probability.shape[1]):
        result.class_probability[rows, k] = (marginal * (classes == k)).sum(axis=1)
    mode_r, mode_t = result.mode_quaternion[rows], result.mode_shift[rows]
    likely = joint * (classes == result.mode_class[rows, None])[..., None]
    result.spread_rotation[rows], result.spread_shift[rows] = _spread(
        rotations, shifts, likely, mode_r, mode_t, scale_r * 1e3, scale_t * 1e3
    )
    result.p_max[rows] = weight.max(axis=1)
    result.n_significant[rows] = 1 / np.square(weight).sum(axis=1)


def _merge_repeats(picked: NDArray[np.int64]) -> Array:
    """Weights of systematically drawn indices (ascending rows): a repeated index counts at its first place."""
    n, m = picked.shape
    first = np.ones((n, m), bool)
    first[:, 1:] = picked[:, 1:] != picked[:, :-1]
    group = np.cumsum(first, axis=1) - 1 + np.arange(n)[:, None] * m
    counts = np.bincount(group.ravel(), minlength=n * m)
    return np.asarray(np.where(first, counts[group], 0) / m)
