"""Quantiles and spread of values that are dealt to ranks: exact, and the same for any number of ranks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pycryo.parallel.comm import Comm
from pycryo.parallel.rows import Bounds

_SIGN = np.uint32(1 << 31)


def quantiles(comm: Comm, pieces: Sequence[NDArray[np.float32]], fractions: Sequence[float]) -> NDArray[np.float64]:
    """What `numpy.quantile` finds in the values of all ranks. Collective.

    Parameters
    ----------
    comm : Comm
    pieces : sequence of (n,) float32
        This rank's values, finite, in any number of pieces; all ranks together have at least one value.
    fractions : sequence of float
        0 to 1.

    Returns
    -------
    (n_fraction,) float64
    """
    counts = np.zeros(1 << 16, np.int64)
    for piece in _joined(pieces):
        counts += np.bincount(_key(piece) >> 16, minlength=len(counts))
    comm.sum_array(counts)
    position = (counts.sum() - 1) * np.asarray(fractions)
    lower = np.floor(position).astype(np.int64)
    ranks = np.concatenate([lower, np.minimum(lower + 1, counts.sum() - 1)])
    low, high = _values_at(comm, pieces, counts, ranks).reshape(2, -1)
    part = position - lower
    # As NumPy interpolates, rounding included.
    step = (high - low).astype(np.float64)
    return np.asarray(np.where(part < 0.5, low + step * part, high - step * (1 - part)), np.float64)


def _joined(pieces: Sequence[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The values in pieces of at least as many as there are counters, where there are so many."""
    some: list[NDArray[np.float32]] = []
    for piece in pieces:
        some.append(piece)
        if sum(map(len, some)) >= 1 << 16:
            yield np.concatenate(some)
            some = []
    if some:
        yield np.concatenate(some)


def _values_at(
    comm: Comm, pieces: Sequence[NDArray[np.float32]], counts: NDArray[np.int64], ranks: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The values at some places of the sorted ones; `counts` of all by the upper half of their keys. Collective."""
    ends = np.cumsum(counts)
    upper = np.searchsorted(ends, ranks, side="right")
    wanted, which = np.unique(upper, return_inverse=True)
    lower_counts = np.zeros((len(wanted), 1 << 16), np.int64)
    for piece in _joined(pieces):
        key = _key(piece)
        for row, bucket in zip(lower_counts, wanted, strict=True):
            row += np.bincount(key[key >> 16 == bucket] & 0xFFFF, minlength=1 << 16)
    comm.sum_array(lower_counts)
    rest = ranks - (ends - counts)[upper]
    lower = [np.searchsorted(np.cumsum(lower_counts[i]), r, side="right") for i, r in zip(which, rest, strict=True)]
    return _value(((upper << 16) + lower).astype(np.uint32))


def _key(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Integers in the order of the values."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def _value(key: NDArray[np.uint32]) -> NDArray[np.float32]:
    return np.where(key & _SIGN, key ^ _SIGN, ~key).view(np.float32)


def deviation(comm: Comm, pieces: Sequence[NDArray[np.float32]], bounds: Bounds) -> float:
    """Standard deviation of the values of all ranks; 0 if there are none. Collective.

    Parameters
    ----------
    comm : Comm
    pieces : sequence of (n,) float32
        Of each of this rank's rows bounds[rank] ... bounds[rank + 1] - 1.
    bounds : (comm.size + 1,) int64
    """
    first = int(bounds[comm.rank])
    sums = np.zeros((int(bounds[-1]), 2))
    for row, piece in enumerate(pieces, first):
        sums[row] = len(piece), piece.sum(dtype=np.float64)
    comm.gather_parts(sums, bounds.tolist())
    count, total = sums.sum(axis=0)
    if count == 0:
        return 0.0
    squares = np.zeros(len(sums))
    for row, piece in enumerate(pieces, first):
        squares[row] = np.square(piece - total / count).sum()
    comm.gather_parts(squares, bounds.tolist())
    return float(np.sqrt(squares.sum() / count))
