"""The modes that a scan shows, searched each for itself before they compete (docs/method.md, The particle filter).

A scan is so coarse that how well a mode fits shows only once its peak is found. Points that competed from the start
would gather about the mode whose peak a draw happened to meet first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.phases import PhaseSettings, Score, run_phases
from pycryo.filter.support import Array, Support

# Measured on sim64 with the true map as reference and a scan of 9° to 17 Å: 4.2 % of the poses are lost without
# islands, 2.2 % with 6 of them, 1.8 % with 8 or 12; 2.4 % with 8 of 12 rotations each.
_N_ISLAND = 8
_EACH = PhaseSettings(n_rotation=16, n_shift=8, n_support=16, min_phases=1, max_phases=1)
# Radius of an island in units of the first kernels, which are half a step of the scan.
_RADIUS = 3.0
# Kernels of the phases that follow, in units of the best island's spread.
_WIDEN = 2.0
# Keys of the draws: the islands' streams are beyond those of the phases that follow.
_STREAM = 1 << 30


@dataclass(frozen=True, slots=True)
class Known:
    """What the last iteration found of n images.

    A scan may miss the best mode of an image. Each is turned at random, so another one finds it; a mode that is kept
    has to be better than those that later scans find.

    Attributes
    ----------
    support : Support
    scale_rotation, scale_shift : (n,) float64
        Kernels to search it with: radians, px.
    is_narrow : (n,) bool
        It is a mode: support points hold no other posterior.
    """

    support: Support
    scale_rotation: Array
    scale_shift: Array
    is_narrow: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """What the islands of n images leave to the phases that follow.

    Attributes
    ----------
    support : Support
        Of all islands, by their evidence.
    scale_rotation, scale_shift : (n,) float64
        Kernels: radians, px.
    n_slices : (n,) int64
        Slices that each image was compared with.
    """

    support: Support
    scale_rotation: Array
    scale_shift: Array
    n_slices: NDArray[np.int64]


def search_islands(
    score: Score,
    candidates: Support,
    scale_rotation: Array,
    scale_shift: Array,
    *,
    guides: Sequence[Score],
    ids: NDArray[np.int64],
    seed: int,
    stream: int,
    floor_rotation: float,
    floor_shift: float,
    n_class: int = 1,
    known: Known | None = None,
) -> Found:
    """Sample the best modes among the candidates one by one, then weigh them against each other.

    The arguments are those of `pycryo.filter.phases.run_phases`, and the modes that are known already.
    """
    n, m = len(ids), _EACH.n_support
    first_rotation, first_shift = scale_rotation, scale_shift
    if known is not None:
        candidates = with_known(candidates, known)
        first_rotation = np.where(known.is_narrow, known.scale_rotation, scale_rotation)
        first_shift = np.where(known.is_narrow, known.scale_shift, scale_shift)
    island = sort_islands(candidates, _N_ISLAND, _RADIUS * scale_rotation)
    quaternion, shift = np.zeros((n, _N_ISLAND, m, 4)), np.zeros((n, _N_ISLAND, m, 2))
    quaternion[..., 0] = 1
    weight, classes = np.zeros((n, _N_ISLAND, m)), np.zeros((n, _N_ISLAND, m), np.int32)
    log_evidence, spread_r, spread_t = np.zeros((3, n, _N_ISLAND))
    log_evidence[:] = -np.inf
    n_slices = np.zeros(n, np.int64)
    for number in range(_N_ISLAND):
        here = np.where(island == number, candidates.weight, 0)
        rows = np.flatnonzero(here.any(axis=1))
        if not len(rows):
            break
        found = run_phases(
            _of_rows(score, rows),
            Support(
                candidates.quaternion[rows],
                candidates.shift[rows],
                _normalised(here[rows]),
                candidates.class_index[rows],
            ),
            (scale_rotation if number else first_rotation)[rows],
            (scale_shift if number else first_shift)[rows],
            ids=ids[rows],
            seed=seed,
            stream=_STREAM + _N_ISLAND * stream + number,
            settings=_EACH,
            floor_rotation=floor_rotation,
            floor_shift=floor_shift,
            guides=[_of_rows(guide, rows) for guide in guides],
            n_class=n_class,
        )
        quaternion[rows, number], shift[rows, number] = found.support.quaternion, found.support.shift
        weight[rows, number], classes[rows, number] = found.support.weight, found.support.class_index
        log_evidence[rows, number] = found.log_evidence
        spread_r[rows, number], spread_t[rows, number] = found.spread_rotation, found.spread_shift
        n_slices[rows] += found.n_slices
    n_point = _N_ISLAND * m
    best = np.arange(n), log_evidence.argmax(axis=1)
    weight *= np.exp(log_evidence - log_evidence[best][:, None])[..., None]
    return Found(
        Support(
            quaternion.reshape(n, n_point, 4),
            shift.reshape(n, n_point, 2),
            _normalised(weight.reshape(n, n_point)),
            classes.reshape(n, n_point),
        ),
        np.clip(_WIDEN * spread_r[best], floor_rotation, scale_rotation),
        np.clip(_WIDEN * spread_t[best], floor_shift, scale_shift),
        n_slices,
    )


def sort_islands(candidates: Support, n_island: int, radius: Array) -> NDArray[np.int64]:
    """(n, m) number of the island of each candidate, -1 for none.

    The best candidate and what is of its class and within `radius` (n,) of it, radians, are island 0; the best of the
    rest with its neighbours is island 1, and so on.
    """
    island = np.full(candidates.weight.shape, -1, np.int64)
    left = np.where(candidates.weight > 0, candidates.weight, -1.0)
    for number in range(n_island):
        top = left.argmax(axis=1)
        centre = candidates.quaternion[np.arange(len(top)), top]
        cosine = np.abs(np.einsum("nmi,ni->nm", candidates.quaternion, centre))
        same = candidates.class_index == candidates.class_index[np.arange(len(top)), top, None]
        mine = (cosine >= np.cos(0.5 * radius)[:, None]) & (left > 0) & same
        island[mine] = number
        left[mine] = -1.0
    return island


def with_known(candidates: Support, known: Known) -> Support:
    """The candidates, led by the known modes: heavier than any other, their points are the first island."""
    last, narrow = known.support, known.is_narrow[:, None]
    share = last.weight / last.weight.max(axis=1, keepdims=True) * narrow
    weight = np.concatenate([2 * candidates.weight.max(axis=1, keepdims=True) * share, candidates.weight], axis=1)
    return Support(
        np.concatenate([last.quaternion, candidates.quaternion], axis=1),
        np.concatenate([last.shift, candidates.shift], axis=1),
        _normalised(weight),
        np.concatenate([last.class_index, candidates.class_index], axis=1),
    )


def _normalised(weight: Array) -> Array:
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _of_rows(score: Score, rows: NDArray[np.int64]) -> Score:
    """The score of these images only, counted from 0."""

    def of_rows(
        some: NDArray[np.int64], rotations: Array, classes: NDArray[np.int32], shifts: Array
    ) -> NDArray[np.floating]:
        return score(rows[some], rotations, classes, shifts)

    return of_rows
