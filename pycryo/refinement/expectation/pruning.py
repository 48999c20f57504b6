"""Coarse to fine: which slices and shifts of a fine scan an image still needs after a coarse one.

See docs/method.md, Global search.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pycryo.geometry.grids import nearest_rotations
from pycryo.geometry.symmetry import Symmetry
from pycryo.geometry.symmetry import symmetry as symmetry_of
from pycryo.kernels.compare import CELL_SLICES, BestPoses
from pycryo.refinement.expectation._families import mark_families
from pycryo.refinement.expectation.scan import Scan, ordered_grid
from pycryo.threads import get_threads

# A pose survives if its coarse score is at most this below the image's best. Noise: with P = ⟨W, |S|²⟩ the score of the
# true pose is P/2 ± √P, that of a wrong one -P/2 ± √P. If the truth falls 3 standard deviations short while the
# luckiest wrong pose is 4 above, they differ by 7·√P - P, which no P makes greater than 7²/4.
_NOISE_MARGIN = 12.25
# Grids: a pose between the points of the coarse grid loses a share of its score P/2 there. Measured on sim64 from
# 40 Å: of the posterior's mass 96-99 % survives with 0, 98.7-99.8 % with 0.1, all of it with 0.2, for 7-20 %, 16-34 %
# and 27-53 % of the scores. docs/benchmarks.md has the pose errors with and without.
_GRID_MARGIN = 0.1
# A fine shift belongs to the coarse ones within this many coarse steps; a hexagonal grid leaves none farther than 0.58.
_SHIFT_REACH = 0.7


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Which rotations of a coarse and a fine grid are next to each other, modulo the symmetry.

    Attributes
    ----------
    nearest : (n_fine,) int64
        The coarse rotation next to each fine one.
    child : (n_coarse,) int64
        The fine rotation next to each coarse one: of small grids some are the next one to none.
    first, family : (n_coarse + 1,), (n_fine + n_coarse,) int64
        ``family[first[r]:first[r + 1]]`` are the fine rotations to which the coarse one r is next, and its child.
    """

    nearest: NDArray[np.int64]
    child: NDArray[np.int64]
    first: NDArray[np.int64]
    family: NDArray[np.int64]


def find_neighbours(coarse: Scan, fine: Scan, symmetry: Symmetry) -> Neighbours:
    """The neighbours of all rotations of two scans with the same turn: the same for images of any geometry."""
    return _find_neighbours(coarse.count, fine.count, symmetry.name)


@lru_cache(maxsize=8)
def _find_neighbours(n_coarse: int, n_fine: int, group: str) -> Neighbours:
    """Of the grids before they are turned: the search takes longer than some scans."""
    coarse, fine = (ordered_grid(count, group) for count in (n_coarse, n_fine))
    nearest, child = (nearest_rotations(*pair, symmetry_of(group)) for pair in ((coarse, fine), (fine, coarse)))
    parent = np.concatenate([nearest, np.arange(len(child))])
    family = np.concatenate([np.arange(len(nearest)), child])[np.argsort(parent, kind="stable")]
    first = np.concatenate([[0], np.cumsum(np.bincount(parent, minlength=len(child)))])
    return Neighbours(nearest, child, first, family)


@dataclass(frozen=True, slots=True)
class Nesting:
    """How a fine scan refines a coarse one.

    Attributes
    ----------
    neighbours : Neighbours
    shifts : (n_coarse_shift, n_fine_shift) bool
        Fine shifts that belong to each coarse one.
    """

    neighbours: Neighbours
    shifts: NDArray[np.bool_]

    @property
    def n_coarse(self) -> int:
        """Coarse rotations."""
        return len(self.neighbours.child)


def nest(neighbours: Neighbours, coarse: Scan, fine: Scan) -> Nesting:
    """Find the fine shifts of all coarse ones, beside the rotations' `neighbours`."""
    away = np.linalg.norm(coarse.shifts[:, None] - fine.shifts, axis=2)
    near = (away <= _SHIFT_REACH * coarse.step_shift) | (away == away.min(axis=0))
    return Nesting(neighbours, near)


@dataclass(frozen=True, slots=True)
class Survivors:
    """What images need of the fine scan.

    Attributes
    ----------
    cells : (n, n_cell) bool
        Cells of `CELL_SLICES` items.
    shifts : (n, n_fine_shift) bool
    """

    cells: NDArray[np.bool_]
    shifts: NDArray[np.bool_]


# What a coarse scan must keep: a little more than the margin of `survivors`, which rounds for itself.
KEPT_MARGIN = (_NOISE_MARGIN + 0.01, _GRID_MARGIN)


def survivors(best: BestPoses, nesting: Nesting, n_class: int) -> Survivors:
    """The fine poses whose coarse pose is within a margin of the best.

    An image with more such poses than `best` has places needs everything.

    Parameters
    ----------
    best : BestPoses
        Of the coarse scan, over the items (class·n_coarse + rotation).
    nesting : Nesting
    n_class : int
    """
    top = best.score[:, :1]
    # Scores descend: what is kept comes first.
    keep = (best.index >= 0) & (best.score >= top - _NOISE_MARGIN - _GRID_MARGIN * np.maximum(top, 0))
    known = nesting.neighbours
    cells, shifts = mark_families(
        best.index,
        keep.sum(axis=1),
        known.first,
        known.family,
        nesting.shifts.view(np.uint8),
        n_class,
        len(known.nearest),
        CELL_SLICES,
        get_threads(),
    )
    return Survivors(cells.view(bool), shifts.view(bool))
