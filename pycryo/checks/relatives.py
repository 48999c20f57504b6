"""Rows that are not independent of each other: of one image, or of one particle that was picked twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.neighbours import linked, point_tree

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Relatives:
    """Rows that show the same; each set of them is called by the first of its rows.

    Attributes
    ----------
    image : (n,) int64
        The first row of the same image.
    family : (n,) int64
        The first row of the same image or of the same particle.
    """

    image: Rows
    family: Rows

    @property
    def n_near(self) -> int:
        """Images of a particle that another image shows, too."""
        family = self.family[first_rows(self.image)]
        return int(np.count_nonzero(np.bincount(family)[family] > 1))


@dataclass(frozen=True, slots=True)
class Picks:
    """Where the particles were picked.

    Attributes
    ----------
    micrograph : (n,) int64
        Number of the micrograph of each row.
    positions : sequence of (n, 2) float64
        Å within the micrograph: where the image was cut out, and where the particle is. Not finite: not known.
    """

    micrograph: Rows
    positions: Sequence[NDArray[np.float64]]


def same_image(stack: NDArray[np.integer[Any]], index: NDArray[np.integer[Any]]) -> Rows:
    """(n,) the first row of the same image: of the same number in the same stack, both (n,)."""
    if not len(stack):
        return np.empty(0, np.int64)
    numbers, number = np.unique(index, return_inverse=True)  # those of a damaged file may need all 64 bits
    key = np.asarray(stack, np.int64) * len(numbers) + number
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    return np.asarray(first[which], np.int64)


def joined(one: Rows, other: Rows) -> Rows:
    """(n,) the first row of the sets that two ways (n,) to call the first row of a set make together."""
    rows = np.arange(len(one))
    return linked(len(one), np.concatenate([np.stack([rows, one], axis=1), np.stack([rows, other], axis=1)]))


def first_rows(rows: Rows) -> Rows:
    """The first row of each set, ascending; each of `rows` (n,) is called by the first of its set."""
    return np.flatnonzero(rows == np.arange(len(rows)))


def find_relatives(image: Rows, picks: Picks | None = None, reach: float = 0.0) -> Relatives:
    """Rows of one image, and those of one particle: of images of one micrograph at most `reach` Å apart.

    A chain of such images is one family.

    Parameters
    ----------
    image : (n,) int64
        From `same_image`.
    picks : Picks, optional
        None: not known. Positions that are the same in all rows tell nothing.
    reach : float
        Å.
    """
    pairs = [np.stack([np.arange(len(image)), image], axis=1)]
    if picks is not None and reach > 0:
        first = first_rows(image)
        for position in picks.positions:
            known = first[np.isfinite(position[first]).all(axis=1)]
            places, at = position[known], picks.micrograph[known]
            if len(known) > 1 and np.ptp(places, axis=0).any():
                pairs.append(known[near_pairs(at, places, reach)])
    return Relatives(image, linked(len(image), np.concatenate(pairs)))


def near_pairs(micrograph: Rows, position: NDArray[np.float64], reach: float) -> NDArray[np.intp]:
    """(m, 2) pairs of points (n, 2) of one micrograph that are at most `reach` apart.

    Of points at the same place each is paired with the first only.
    """
    order = np.lexsort((position[:, 1], position[:, 0], micrograph))
    at, places = micrograph[order], position[order]
    is_new = np.ones(len(order), bool)
    is_new[1:] = (np.diff(at) != 0) | (np.diff(places, axis=0) != 0).any(axis=1)
    first = order[is_new]
    together = np.stack([first[np.cumsum(is_new) - 1], order], axis=1)[~is_new]
    # Micrographs lie above each other, further apart than any pair.
    height = 4 * reach * at[is_new]
    tree = point_tree(np.column_stack([places[is_new], height]))
    apart = first[tree.query_pairs(reach, output_type="ndarray")]
    return np.concatenate([together, apart.reshape(-1, 2)])
