"""Connected parts of a grid whose planes are dealt to ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.neighbours import label_parts, linked
from pycryo.parallel.comm import Comm
from pycryo.parallel.rows import Bounds

# Grid points counted at a time.
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts whose points are neighbours along an axis, over the borders of ranks too.

    Attributes
    ----------
    label : (n_plane, ny, nx) int
        Of this rank's points, 1 ...; 0 outside the parts.
    part : (n_label,) int64
        Part of the label that is greater by 1.
    volume : (n_part,) int64
        Points of the whole parts; on every rank.
    """

    label: NDArray[Any]
    part: NDArray[np.int64]
    volume: NDArray[np.int64]

    def select(self, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """(n_plane, ny, nx) which points belong to parts to keep, (n_part,)."""
        return np.asarray(np.concatenate([[False], keep[self.part]])[self.label], np.bool_)


def find_parts(comm: Comm, inside: NDArray[np.bool_], bounds: Bounds) -> Parts:
    """The connected parts of the points that are `inside`. Collective.

    Parameters
    ----------
    comm : Comm
    inside : (n_plane, ny, nx) bool
        This rank's planes.
    bounds : (comm.size + 1,) int64
        Planes bounds[rank] ... bounds[rank + 1] - 1 are a rank's.
    """
    label, n_label = label_parts(inside)
    sizes = comm.all_gather(_sizes(label, n_label))
    first = np.cumsum([0, *map(len, sizes)])
    pairs = np.concatenate(comm.all_gather(_touching(comm, label, bounds, first)))
    leaders, part = np.unique(linked(int(first[-1]), pairs), return_inverse=True)
    volume = np.zeros(len(leaders), np.int64)
    np.add.at(volume, part, np.concatenate(sizes))
    return Parts(label, part[first[comm.rank] : first[comm.rank + 1]].astype(np.int64), volume)


def fill_holes(comm: Comm, inside: NDArray[np.bool_], bounds: Bounds) -> NDArray[np.bool_]:
    """`inside` and what it encloses: the parts of the outside that do not touch the faces of the grid. Collective.

    Parameters as for `find_parts`.
    """
    outside = find_parts(comm, ~inside, bounds)
    label = outside.label
    faces = [label[:, 0], label[:, -1], label[:, :, 0], label[:, :, -1]]
    faces += [label[:1]] if bounds[comm.rank] == 0 else []
    faces += [label[-1:]] if bounds[comm.rank + 1] == bounds[-1] else []
    at_faces = np.unique(np.concatenate([face.ravel() for face in faces]))
    is_open = np.zeros(len(outside.volume), np.int8)
    is_open[outside.part[at_faces[at_faces > 0] - 1]] = 1
    comm.max_array(is_open)
    return inside | outside.select(is_open == 0)


def _sizes(label: NDArray[Any], n_label: int) -> NDArray[np.int64]:
    """(n_label,) points of each label."""
    sizes = np.zeros(n_label + 1, np.int64)
    flat = label.reshape(-1)
    for start in range(0, flat.size, _BLOCK):
        sizes += np.bincount(flat[start : start + _BLOCK], minlength=n_label + 1)
    return sizes[1:]


def _touching(comm: Comm, label: NDArray[Any], bounds: Bounds, first: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n, 2) labels on either side of the border to the next rank that has planes, counted over all ranks. Collective.

    Label l of rank r is number first[r] + l - 1.
    """
    holders = np.flatnonzero(np.diff(bounds)).tolist()
    nothing = np.zeros((0, 2), np.int64)
    if comm.rank not in holders:
        return nothing
    at = holders.index(comm.rank)
    above = np.empty(label.shape[1:], np.int64)
    before = holders[at - 1 : at] if at else []
    after = holders[at + 1 : at + 2]
    comm.swap({rank: label[0].astype(np.int64) for rank in before}, dict.fromkeys(after, above))
    if not after:
        return nothing
    below = label[-1].astype(np.int64)
    both = (below > 0) & (above > 0)
    pairs = np.stack([below[both] + first[comm.rank] - 1, above[both] + first[after[0]] - 1], axis=1)
    return np.unique(pairs, axis=0)
