"""Arrays cut along their first axis into one piece per rank: other cuts, neighbours' rows, all together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycryo.parallel.comm import Comm

Bounds = NDArray[np.int64]


def even_bounds(n: int, size: int) -> Bounds:
    """(size + 1,) first rows of `size` pieces of equal length, as far as whole rows allow, and their end `n`."""
    return np.asarray(n * np.arange(size + 1, dtype=np.int64) // size)


def move_rows(comm: Comm, array: NDArray[Any], have: Bounds, want: Bounds) -> NDArray[Any]:
    """Rows want[rank] ... want[rank + 1] - 1 of an array of which this rank has have[rank] ... Collective.

    Parameters
    ----------
    comm : Comm
    array : (n, ...) array
        This rank's rows; type and further axes the same on all ranks, also on those without rows.
    have, want : (comm.size + 1,) int64
        Ascending, the same on all ranks; pieces may be empty. Rows wanted but had by nobody are not touched (zero).

    Returns
    -------
    array
        New, C-contiguous.
    """
    me = comm.rank
    first, last = int(want[me]), int(want[me + 1])
    own = int(have[me])
    result = np.zeros((last - first, *array.shape[1:]), array.dtype)
    outgoing, incoming = {}, {}
    for rank in range(comm.size):
        low, high = max(own, int(want[rank])), min(int(have[me + 1]), int(want[rank + 1]))
        if low < high and rank == me:
            result[low - first : high - first] = array[low - own : high - own]
        elif low < high:
            outgoing[rank] = np.ascontiguousarray(array[low - own : high - own])
        low, high = max(first, int(have[rank])), min(last, int(have[rank + 1]))
        if low < high and rank != me:
            incoming[rank] = result[low - first : high - first]
    comm.swap(outgoing, incoming)
    return result


def with_halo(comm: Comm, array: NDArray[Any], bounds: Bounds, width: int) -> tuple[NDArray[Any], int]:
    """This rank's rows with up to `width` rows more on either side, and how many were put before them. Collective."""
    n = int(bounds[-1])
    low, high = np.maximum(bounds[:-1] - width, 0), np.minimum(bounds[1:] + width, n)
    me = comm.rank
    first, last, own = int(low[me]), int(high[me]), int(bounds[me])
    result = np.empty((last - first, *array.shape[1:]), array.dtype)
    result[own - first : own - first + len(array)] = array
    outgoing, incoming = {}, {}
    for rank in range(comm.size):
        if rank == me:
            continue
        begin, end = max(own, int(low[rank])), min(int(bounds[me + 1]), int(high[rank]))
        if begin < end:
            outgoing[rank] = np.ascontiguousarray(array[begin - own : end - own])
        begin, end = max(first, int(bounds[rank])), min(last, int(bounds[rank + 1]))
        if begin < end:
            incoming[rank] = result[begin - first : end - first]
    comm.swap(outgoing, incoming)
    return result, own - first


def gather_rows(comm: Comm, array: NDArray[Any], bounds: Bounds, root: int = 0) -> NDArray[Any] | None:
    """All rows on rank `root`, None elsewhere. Collective."""
    ends = np.zeros(comm.size + 1, np.int64)
    ends[root + 1 :] = bounds[-1]
    everything = move_rows(comm, array, bounds, ends)
    return everything if comm.rank == root else None
