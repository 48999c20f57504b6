"""The modes that a scan shows, searched each for itself before they compete (docs/method.md, The particle filter).

A scan is so coarse that how well a mode fits shows only once its peak is found. Points that competed from the start
would gather about the mode whose peak a draw happened to meet first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter.draws import Draws
from pycryo.filter.pairs import Pairs
from pycryo.filter.phases import PhaseSettings, Score, run_phases
from pycryo.filter.proposals import Widths
from pycryo.filter.support import Array, Posterior, Support

# Measured on sim64 with the true map as reference and a scan of 9° to 17 Å: 4.2 % of the poses are lost if
# the modes compete at once, 2.2 % with 6 of them searched alone, 1.8 % with 8 or 12; 2.4 % with 8 of 12 rotations each.
_N_MODE = 8
_EACH = PhaseSettings(n_rotation=16, n_shift=8, n_support=16, min_phases=1, max_phases=1)
# Radius of a mode in units of the first kernels, which are half a step of the scan.
_RADIUS = 3.0
# Kernels of the phases that follow, in units of the best mode's spread.
_WIDEN = 2.0
# Keys of the draws: the modes' streams are beyond those of the phases that follow.
_STREAM = 1 << 30


@dataclass(frozen=True, slots=True)
class Known:
    """What the last iteration found of n images.

    A scan may miss the best mode of an image. Each is turned at random, so another one finds it; a mode that is kept
    has to be better than those that later scans find.

    Attributes
    ----------
    support : Support
    widths : Widths
        To search it with.
    is_narrow : (n,) bool
        It is a mode: support points hold no other posterior.
    """

    support: Support
    widths: Widths
    is_narrow: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """What the modes of n images leave to the phases that follow.

    Attributes
    ----------
    support : Support
        Of all modes, by their evidence.
    widths : Widths
    n_slices : (n,) int64
        Slices that each image was compared with.
    """

    support: Support
    widths: Widths
    n_slices: NDArray[np.int64]


def search_modes(
    score: Score,
    candidates: Support,
    widths: Widths,
    draws: Draws,
    *,
    guides: Sequence[Score],
    n_class: int = 1,
    known: Known | None = None,
) -> Found:
    """Sample the best modes among the candidates one by one, then weigh them against each other.

    The arguments are those of `pycryo.filter.phases.run_phases`, and the modes that are known already.
    """
    first = widths
    if known is not None:
        candidates = with_known(candidates, known)
        first = replace(
            widths,
            rotation=np.where(known.is_narrow, known.widths.rotation, widths.rotation),
            shift=np.where(known.is_narrow, known.widths.shift, widths.shift),
        )
    mode = assign_modes(candidates, _N_MODE, _RADIUS * widths.rotation)
    every = _Modes.empty(len(draws.ids))
    for number in range(_N_MODE):
        here = np.where(mode == number, candidates.weight, 0)
        rows = np.flatnonzero(here.any(axis=1))
        if not len(rows):
            break
        start = Support(
            candidates.quaternion[rows], candidates.shift[rows], _normalised(here[rows]), candidates.class_index[rows]
        )
        found = run_phases(
            _of_rows(score, rows),
            start,
            (widths if number else first).of(rows),
            draws.of(rows).at(_STREAM + _N_MODE * draws.stream + number),
            _EACH,
            guides=[_of_rows(guide, rows) for guide in guides],
            n_class=n_class,
        )
        every.note(rows, number, found)
    return every.weighed(widths)


@dataclass(frozen=True, slots=True)
class _Modes:
    """Support points, log evidence and spread of each mode of n images."""

    quaternion: Array
    shift: Array
    weight: Array
    classes: NDArray[np.int32]
    log_evidence: Array
    spread_rotation: Array
    spread_shift: Array
    n_slices: NDArray[np.int64]

    @classmethod
    def empty(cls, n: int) -> _Modes:
        shape = n, _N_MODE, _EACH.n_support
        quaternion = np.zeros((*shape, 4))
        quaternion[..., 0] = 1
        spread = np.zeros((2, n, _N_MODE))
        return cls(
            quaternion,
            np.zeros((*shape, 2)),
            np.zeros(shape),
            np.zeros(shape, np.int32),
            np.full((n, _N_MODE), -np.inf),
            spread[0],
            spread[1],
            np.zeros(n, np.int64),
        )

    def note(self, rows: NDArray[np.int64], number: int, found: Posterior) -> None:
        """What the phases of one mode found for the images `rows`."""
        self.quaternion[rows, number], self.shift[rows, number] = found.support.quaternion, found.support.shift
        self.weight[rows, number], self.classes[rows, number] = found.support.weight, found.support.class_index
        self.log_evidence[rows, number] = found.log_evidence
        self.spread_rotation[rows, number], self.spread_shift[rows, number] = found.spread_rotation, found.spread_shift
        self.n_slices[rows] += found.n_slices

    def weighed(self, widths: Widths) -> Found:
        """All points by the evidence of their modes; kernels from the spread of the best mode, at most `widths`."""
        n, n_point = len(self.n_slices), _N_MODE * _EACH.n_support
        best = np.arange(n), self.log_evidence.argmax(axis=1)
        weight = self.weight * np.exp(self.log_evidence - self.log_evidence[best][:, None])[..., None]
        support = Support(
            self.quaternion.reshape(n, n_point, 4),
            self.shift.reshape(n, n_point, 2),
            _normalised(weight.reshape(n, n_point)),
            self.classes.reshape(n, n_point),
        )
        rotation = np.clip(_WIDEN * self.spread_rotation[best], widths.least_rotation, widths.rotation)
        shift = np.clip(_WIDEN * self.spread_shift[best], widths.least_shift, widths.shift)
        return Found(support, replace(widths, rotation=rotation, shift=shift), self.n_slices)


def assign_modes(candidates: Support, n_mode: int, radius: Array) -> NDArray[np.int64]:
    """(n, m) number of the mode of each candidate, -1 for none.

    The best candidate and what is of its class and within `radius` (n,) of it, radians, are mode 0; the best of the
    rest with its neighbours is mode 1, and so on.
    """
    mode = np.full(candidates.weight.shape, -1, np.int64)
    left = np.where(candidates.weight > 0, candidates.weight, -1.0)
    for number in range(n_mode):
        top = left.argmax(axis=1)
        centre = candidates.quaternion[np.arange(len(top)), top]
        cosine = np.abs(np.einsum("nmi,ni->nm", candidates.quaternion, centre))
        same = candidates.class_index == candidates.class_index[np.arange(len(top)), top, None]
        mine = (cosine >= np.cos(0.5 * radius)[:, None]) & (left > 0) & same
        mode[mine] = number
        left[mine] = -1.0
    return mode


def with_known(candidates: Support, known: Known) -> Support:
    """The candidates, led by the known modes: heavier than any other, their points are the first mode."""
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

    def of_rows(some: NDArray[np.int64], rotations: Array, classes: NDArray[np.int32], shifts: Array) -> Pairs:
        return score(rows[some], rotations, classes, shifts)

    return of_rows
