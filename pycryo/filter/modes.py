"""The modes that a scan shows, searched each for itself before they compete (docs/method.md, The particle filter).

A scan is so coarse that how well a mode fits shows only once its peak is found. Points that competed from the start
would gather about the mode whose peak a draw happened to meet first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycryo.filter import _points
from pycryo.filter.draws import Draws
from pycryo.filter.pairs import Pairs
from pycryo.filter.phases import PhaseSettings, Score, run_phases
from pycryo.filter.proposals import Widths
from pycryo.filter.support import Array, Posterior, Support

# With the true map of sim64 as reference and a scan of 9° to 17 Å, so many poses are lost: 2.4 % with 8 shifts for each
# of 16 rotations, 1.7 % with 16 shifts, 1.3 % with 16 modes of 200 candidates, which take half as many slices again.
# Twelve of 128 do as well as these in whole refinements of sim64.
_N_MODE = 12
_EACH = PhaseSettings(n_rotation=16, n_shift=16, n_support=16, min_phases=1, max_phases=1)
# A mode is given up when its evidence, at the resolution of a guide, is so many nats below the best one's. Measured as
# above: 1.5 % are lost if none is given up, for a third more slices.
_MARGIN = 8.0
# Radius of a mode in units of the first kernels, which are half a step of the scan.
_RADIUS = 3.0
# Kernels of the phases that follow, in units of the best mode's spread.
_WIDEN = 2.0
# Keys of the draws: the modes' streams are beyond those of the phases that follow. Guides and the full resolution are
# fewer levels than this.
_STREAM, _MOST_LEVEL = 1 << 30, 16


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
    every = _Modes.of(mode)
    for level, weigh in enumerate((*guides, score)):
        rivals = every.give_up()
        for number in range(_N_MODE):
            rows = np.flatnonzero(rivals[:, number])
            if not len(rows):
                continue
            if level:
                start, kernels = every.support(rows, number), every.kernels(rows, number, widths)
            else:
                start = _members(candidates, mode, rows, number)
                kernels = (widths if number else first).of(rows)
            found = run_phases(
                _of_rows(weigh, rows),
                start,
                kernels,
                draws.of(rows).at(_STREAM + _N_MODE * (_MOST_LEVEL * draws.stream + level) + number),
                _EACH,
                n_class=n_class,
            )
            every.note(rows, number, found, kernels)
    return every.weighed(widths)


@dataclass(frozen=True, slots=True)
class _Modes:
    """Support points, log evidence (-inf: no such mode), spread and next kernels of each mode of n images."""

    quaternion: Array
    shift: Array
    weight: Array
    classes: NDArray[np.int32]
    log_evidence: Array
    spread_rotation: Array
    spread_shift: Array
    kernel_rotation: Array
    kernel_shift: Array
    n_slices: NDArray[np.int64]

    @classmethod
    def of(cls, mode: NDArray[np.int64]) -> _Modes:
        """Modes of which nothing is known but the numbers that the candidates have, (n, m)."""
        n = len(mode)
        shape = n, _N_MODE, _EACH.n_support
        quaternion = np.zeros((*shape, 4))
        quaternion[..., 0] = 1
        exists = (mode[:, :, None] == np.arange(_N_MODE)).any(axis=1)
        figures = np.zeros((4, n, _N_MODE))
        return cls(
            quaternion,
            np.zeros((*shape, 2)),
            np.zeros(shape),
            np.zeros(shape, np.int32),
            np.where(exists, 0.0, -np.inf),
            figures[0],
            figures[1],
            figures[2],
            figures[3],
            np.zeros(n, np.int64),
        )

    def rivals(self) -> NDArray[np.bool_]:
        """(n, n_mode) those whose evidence is not far below the best one's."""
        return np.asarray(self.log_evidence > self.log_evidence.max(axis=1, keepdims=True) - _MARGIN)

    def give_up(self) -> NDArray[np.bool_]:
        """The rivals; the others are out for good: evidence at one resolution says nothing beside that at another."""
        rivals = self.rivals()
        self.log_evidence[~rivals] = -np.inf
        return rivals

    def support(self, rows: NDArray[np.int64], number: int) -> Support:
        """The points of one mode of the images `rows`."""
        at = rows, number
        return Support(self.quaternion[at], self.shift[at], self.weight[at], self.classes[at])

    def kernels(self, rows: NDArray[np.int64], number: int, widths: Widths) -> Widths:
        """Those of the next phase."""
        at = rows, number
        return replace(widths, rotation=self.kernel_rotation[at], shift=self.kernel_shift[at])

    def note(self, rows: NDArray[np.int64], number: int, found: Posterior, kernels: Widths) -> None:
        """What a phase with these kernels found for one mode of the images `rows`."""
        at = rows, number
        self.quaternion[at], self.shift[at] = found.support.quaternion, found.support.shift
        self.weight[at], self.classes[at] = found.support.weight, found.support.class_index
        self.log_evidence[at] = found.log_evidence
        self.spread_rotation[at], self.spread_shift[at] = found.spread_rotation, found.spread_shift
        wanted = _EACH.bandwidth * found.spread_rotation, _EACH.bandwidth * found.spread_shift
        narrower = kernels.towards(*wanted, _EACH.shrink)
        self.kernel_rotation[at], self.kernel_shift[at] = narrower.rotation, narrower.shift
        self.n_slices[rows] += found.n_slices

    def weighed(self, widths: Widths) -> Found:
        """The points of all rivals by their evidence; kernels from the spread of the best one, at most `widths`."""
        n, n_point = len(self.n_slices), _N_MODE * _EACH.n_support
        best = np.arange(n), self.log_evidence.argmax(axis=1)
        share = np.exp(self.log_evidence - self.log_evidence[best][:, None]) * self.rivals()
        support = Support(
            self.quaternion.reshape(n, n_point, 4),
            self.shift.reshape(n, n_point, 2),
            _normalised((self.weight * share[..., None]).reshape(n, n_point)),
            self.classes.reshape(n, n_point),
        )
        rotation = np.clip(_WIDEN * self.spread_rotation[best], widths.least_rotation, widths.rotation)
        shift = np.clip(_WIDEN * self.spread_shift[best], widths.least_shift, widths.shift)
        return Found(support, replace(widths, rotation=rotation, shift=shift), self.n_slices)


def _members(candidates: Support, mode: NDArray[np.int64], rows: NDArray[np.int64], number: int) -> Support:
    """The candidates of one mode of the images `rows`."""
    return Support(
        *_points.gather_mode(
            np.ascontiguousarray(candidates.quaternion),
            np.ascontiguousarray(candidates.shift),
            np.ascontiguousarray(candidates.weight),
            np.ascontiguousarray(candidates.class_index),
            mode,
            rows,
            number,
        )
    )


def assign_modes(candidates: Support, n_mode: int, radius: Array) -> NDArray[np.int64]:
    """(n, m) number of the mode of each candidate, -1 for none.

    The best candidate and what is of its class and within `radius` (n,) of it, radians, are mode 0; the best of the
    rest with its neighbours is mode 1, and so on.
    """
    return _points.find_modes(
        np.ascontiguousarray(candidates.quaternion),
        np.ascontiguousarray(candidates.weight),
        np.ascontiguousarray(candidates.class_index, np.int32),
        np.ascontiguousarray(radius, np.float64),
        n_mode,
    )


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
