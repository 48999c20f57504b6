"""The phases of the particle filter: perturb, evaluate, reweigh, estimate the spread, resample.

Rotations and shifts are proposed separately, from mixtures of heavy-tailed kernels about the current support points,
and every proposed rotation is scored with every proposed shift of its image. The weights of the pairs are joint: score
plus prior minus the log density of both proposals.

See docs/method.md, The particle filter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter._points import mean_rotation, mean_shift, place_pairs, rotation_spread, shift_spread
from pycryo.filter._weights import merge_repeats
from pycryo.filter.draws import Draws
from pycryo.filter.pairs import Marginals, Pairs
from pycryo.filter.proposals import Classes, Cloud, Proposals, Widths, propose
from pycryo.filter.support import Array, Posterior, Support

# (rows (n,), rotations (n, R, 4), their classes (n, R), shifts (n, T, 2)) -> log posterior up to a constant per image
Score = Callable[[NDArray[np.int64], Array, Classes, Array], Pairs]

# Of an image in an iteration at the most, for the keys of the draws.
_MOST_PHASES = 32
# Points within so many kernel widths of the best one belong to its mode.
_REACH = 4.0


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

    n_rotation: int = 32
    n_shift: int = 16
    n_support: int = 32
    min_phases: int = 2
    max_phases: int = 6
    shrink: float = 0.5
    bandwidth: float = 0.7
    min_effective: float = 12.0
    settled: float = 0.8


def run_phases(
    score: Score,
    start: Support,
    widths: Widths,
    draws: Draws,
    settings: PhaseSettings,
    *,
    n_class: int = 1,
) -> Posterior:
    """Sample the posterior of pose and class of n images.

    Parameters
    ----------
    score : callable
        (rows, rotations (k, R, 4), classes (k, R), shifts (k, T, 2)) -> log likelihood + log prior of the
        images `rows`.
    start : Support
        First support points (from the scan or the last iteration).
    widths : Widths
        Of the kernels of the first phase.
    draws : Draws
        Key of all draws.
    settings : PhaseSettings
    n_class : int

    Returns
    -------
    Posterior
    """
    n = len(draws.ids)
    active = np.arange(n)
    result, best = _empty(n, settings.n_support, n_class), np.full(n, -np.inf)
    cloud = Cloud.about(start)
    for phase in range(settings.max_phases):
        here = draws.of(active).at((draws.stream * _MOST_PHASES + phase) * 4)
        drawn = propose(cloud, widths, here, settings.n_rotation, settings.n_shift, n_class)
        log_joint = score(active, drawn.rotations, drawn.classes, drawn.shifts)
        log_weight = log_joint.over(drawn.density_rotation, drawn.density_shift)
        _note_modes(result, best, active, drawn, log_joint)
        tempered = log_weight.marginals(drawn.classes, result.mode_class[active], settings.min_effective)
        spread_r, spread_t = _spread(result, active, drawn, tempered, 6 * widths.rotation, 6 * widths.shift)
        wanted = settings.bandwidth * spread_r, settings.bandwidth * spread_t
        narrower = widths.towards(*wanted, settings.shrink)
        settled = narrower.rotation > settings.settled * widths.rotation
        settled &= narrower.shift > settings.settled * widths.shift
        done = np.full(len(active), phase + 1 == settings.max_phases) | (settled & (phase + 1 >= settings.min_phases))
        result.n_slices[active] += settings.n_rotation
        result.n_phases[active] += 1
        if done.any():
            some = slice(None) if done.all() else np.flatnonzero(done)
            _finish(result, active[some], drawn.of(some), log_weight.of(some), widths.of(some), here.of(some))
        keep = ~done
        active = active[keep]
        if not len(active):
            break
        weight_r, weight_t = tempered.rotation[keep], tempered.shift[keep]
        cloud = Cloud(drawn.rotations[keep], drawn.classes[keep], weight_r, drawn.shifts[keep], weight_t)
        widths = narrower.of(keep)
    return result


def _note_modes(result: Posterior, best: Array, rows: NDArray[np.int64], drawn: Proposals, log_joint: Pairs) -> None:
    """Note the best pairs of the images `rows`, if they are better than the `best` so far."""
    rotation, shift, value = log_joint.best()
    better = np.flatnonzero(value > best[rows])
    rows, rotation, shift = rows[better], rotation[better], shift[better]
    best[rows] = value[better]
    result.mode_quaternion[rows] = drawn.rotations[better, rotation]
    result.mode_shift[rows] = drawn.shifts[better, shift]
    result.mode_class[rows] = drawn.classes[better, rotation]


def _spread(
    result: Posterior, rows: NDArray[np.int64], drawn: Proposals, weight: Marginals, reach_r: Array, reach_t: Array
) -> tuple[Array, Array]:
    """Standard deviations per axis about the modes of the images `rows`, of what is of their class and in reach."""
    its_class = result.mode_class[rows]
    return (
        rotation_spread(
            weight.rotation, drawn.rotations, drawn.classes, its_class, result.mode_quaternion[rows], reach_r
        ),
        shift_spread(weight.shift_alike, drawn.shifts, result.mode_shift[rows], reach_t),
    )


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
    result: Posterior, rows: NDArray[np.int64], drawn: Proposals, log_weight: Pairs, widths: Widths, draws: Draws
) -> None:
    """Draw the final support points of the images `rows` and note their figures."""
    picked = log_weight.draw(draws.at(draws.stream + 3).offset(), result.support.weight.shape[1])
    points = result.support
    place_pairs(
        picked.index,
        drawn.rotations,
        drawn.shifts,
        drawn.classes,
        rows,
        points.quaternion,
        points.shift,
        points.class_index,
    )
    points.weight[rows] = merge_repeats(picked.index)
    weight = log_weight.marginals(drawn.classes, result.mode_class[rows], 0.0)
    for k in range(result.class_probability.shape[1]):
        result.class_probability[rows, k] = np.where(drawn.classes == k, weight.rotation, 0).sum(axis=1)
    _centre_modes(result, rows, drawn, weight, widths)
    everywhere = np.full(len(rows), np.inf)
    spread = _spread(result, rows, drawn, weight, everywhere, everywhere)
    result.spread_rotation[rows], result.spread_shift[rows] = spread
    result.log_evidence[rows] = picked.log_mean
    result.p_max[rows], result.n_significant[rows] = picked.p_max, picked.effective


def _centre_modes(
    result: Posterior, rows: NDArray[np.int64], drawn: Proposals, weight: Marginals, widths: Widths
) -> None:
    """Move the modes of the images `rows` from their best point to the mean of the points next to it.

    The best of some hundred points is further from the truth than their mean.
    """
    its_class, around = result.mode_class[rows], result.mode_quaternion[rows]
    result.mode_quaternion[rows] = mean_rotation(
        weight.rotation, drawn.rotations, drawn.classes, its_class, around, _REACH * widths.rotation
    )
    result.mode_shift[rows] = mean_shift(
        weight.shift_alike, drawn.shifts, result.mode_shift[rows], _REACH * widths.shift
    )
