"""Images whose grey values are those of no other: they are found by how strong they are (docs/method.md, Outliers)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pycryo.io.particles import Particles
from pycryo.parallel.comm import Comm

Array = NDArray[np.float64]

# An image is odd if its amplitude is further than this factor from the median of its optics group ...
_ODD = 5.0
# ... while of the group's images not so many, itself among them, are within that factor of it ...
_ALIKE = 3.0
_ALIKE_SHARE, _ALIKE_COUNT = 0.05, 3
# ... and it is as far from the median of its micrograph, if that has so many images.
_MICROGRAPH = 3
# Groups of fewer images tell nothing.
_GROUP = 5
# Frequencies that part the bands, as shares of the box; below 2 px ramps and ice are most of it.
_EDGES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
_FIRST_SHELL = 2
N_BAND = len(_EDGES)
# Levels are cut to this range: sums of squares may be infinite.
_TINY, _HUGE = 1e-150, 1e150


@dataclass(frozen=True, slots=True)
class Judged:
    """What the levels of all images say; the same on every rank.

    Attributes
    ----------
    odd : (n_odd,) int64
        Rows of the images to be left out, ascending.
    is_common : (n_all,) bool
        Usable images with about the level that most of their optics group have: means and spreads are theirs.
    level : (n_all,) float64
        Of other images that are used, relative to the common ones of their group; 1 elsewhere.
    group_level : (n_group,) float64
        Of groups on another grey scale than most images, per pixel and relative to those; 1 elsewhere.
    twin : (n_all,) int64
        The first row whose image is the same, pixel by pixel; its own row where there is none.
    """

    odd: NDArray[np.int64]
    is_common: NDArray[np.bool_]
    level: Array
    group_level: Array
    twin: NDArray[np.int64]


def levels(power: Array, box: int) -> Array:
    """(n, N_BAND) amplitudes of images, more than 0: in each band but the last, and last in all of them.

    Parameters
    ----------
    power : (n, n_shell) float64
        Σ|X|² of each shell.
    box : int
        px.
    """
    edges = [max(_FIRST_SHELL, round(share * box)) for share in _EDGES]
    parts = [power[:, low:high].sum(axis=1) for low, high in pairwise(edges)]
    found = np.sqrt(np.stack([*parts, power[:, 1:].sum(axis=1)], axis=1))
    return np.asarray(np.clip(np.nan_to_num(found, nan=_HUGE, posinf=_HUGE), _TINY, _HUGE))


def judge(comm: Comm, particles: Particles, rows: NDArray[np.int64], found: Array) -> Judged:
    """Find the odd ones among all ranks' images. Collective.

    Parameters
    ----------
    comm : Comm
    particles : Particles
    rows : (n,) int64
        Usable images of this rank.
    found : (n, N_BAND) float64
        Their `levels`.
    """
    gathered = comm.gather((rows, found))
    judged = None
    if gathered is not None:
        rows = np.concatenate([each for each, _ in gathered])
        order = np.argsort(rows)
        judged = _judged(particles, rows[order], np.concatenate([each for _, each in gathered])[order])
    judged = comm.broadcast(judged)
    assert judged is not None
    return judged


def _judged(particles: Particles, rows: NDArray[np.int64], found: Array) -> Judged:
    group, micrograph = particles.optics_group[rows], particles.micrographs()
    is_odd, is_common, level = np.zeros(len(rows), bool), np.ones(len(rows), bool), np.ones(len(rows))
    logs = np.log(found)
    of_group, count = np.zeros((2, len(particles.optics.box)))
    for g in np.unique(group).tolist():
        mine = np.flatnonzero(group == g)
        of_group[g], count[g] = _mean(found[mine, -1]), len(mine)
        if len(mine) < _GROUP:
            continue
        is_odd[mine] = _odd(logs[mine], None if micrograph is None else micrograph[rows[mine]])
        used = mine[~is_odd[mine]]
        is_common[mine] = False
        is_common[used] = _is_common(logs[used, -1])
        of_group[g] = _mean(found[mine[is_common[mine]], -1])
        others = used[~is_common[used]]
        level[others] = found[others, -1] / of_group[g]
    every, values = np.zeros(particles.n, bool), np.ones(particles.n)
    every[rows], values[rows] = is_common, level
    twin = np.arange(particles.n)
    twin[rows] = rows[_twins(found)]
    return Judged(rows[is_odd], every, values, _group_levels(of_group / np.square(particles.optics.box), count), twin)


def _twins(found: Array) -> NDArray[np.int64]:
    """(n,) the first image with the same levels (n, N_BAND) to the last bit: only the same image has them."""
    first = np.arange(len(found))
    _, which, count = np.unique(found[:, -1], return_inverse=True, return_counts=True)
    doubtful = np.flatnonzero((count[which] > 1) & (found[:, -1] > _TINY) & (found[:, -1] < _HUGE))
    if len(doubtful):
        _, place, which = np.unique(found[doubtful], axis=0, return_index=True, return_inverse=True)
        first[doubtful] = doubtful[place[which.reshape(-1)]]
    return first


def _group_levels(level: Array, count: Array) -> Array:
    """(n_group,) see `Judged`; `level` of each group per pixel, and its images."""
    if not count.any():
        return np.ones(len(count))
    logs = np.log(np.maximum(level, _TINY))
    common = np.abs(logs - logs[_alike(logs, count).argmax()]) <= np.log(_ALIKE)
    usual = np.sqrt(np.average(np.square(level[common]), weights=count[common]))
    return np.where(common | (count == 0), 1.0, np.maximum(level, _TINY) / usual)


def _mean(level: Array) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(level))))


def _odd(logs: Array, micrograph: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """(n,) images of a group whose logarithms of levels (n, N_BAND) are those of no other."""
    found = np.zeros(len(logs), bool)
    least = max(_ALIKE_COUNT, _ALIKE_SHARE * len(logs))
    for band, value in enumerate(logs.T):
        away = value - _median(value)
        # Weak in one band only: there are many ways to that, and they do no harm.
        far = away > np.log(_ODD) if band < N_BAND - 1 else np.abs(away) > np.log(_ODD)
        if not far.any():
            continue
        far &= _alike(value) < least
        if micrograph is not None:
            far &= np.abs(value - _medians(value, micrograph)) > np.log(_ODD)
        found |= far
    return found


def _is_common(value: Array) -> NDArray[np.bool_]:
    """(n,) which of the logarithms are about that which has the most others about it."""
    centre = value[_alike(value).argmax()]
    return np.asarray(np.abs(value - centre) <= np.log(_ALIKE))


def _alike(value: Array, count: Array | None = None) -> Array:
    """(n,) how many logarithms are about the same as each, itself counted; each stands for `count` (n,) of them."""
    order, width = np.argsort(value), np.log(_ALIKE)
    ordered = value[order]
    up_to = np.concatenate([[0.0], np.cumsum(np.ones(len(value)) if count is None else count[order])])
    last, first = np.searchsorted(ordered, value + width, "right"), np.searchsorted(ordered, value - width, "left")
    return np.asarray(up_to[last] - up_to[first])


def _median(value: Array) -> float:
    """The lower one of two in the middle: with two kinds of images it is one of them."""
    middle = (len(value) - 1) // 2
    return float(np.partition(value, middle)[middle])


def _medians(value: Array, micrograph: NDArray[np.int64]) -> Array:
    """(n,) median of each image's micrograph; infinite where that has too few."""
    order = np.lexsort((value, micrograph))
    _, first, place, count = np.unique(micrograph[order], return_index=True, return_inverse=True, return_counts=True)
    middle = value[order][first + (count - 1) // 2]
    found = np.empty(len(value))
    found[order] = np.where(count < _MICROGRAPH, np.inf, middle)[place]
    return found
