"""The exchange of F and T as key-values: those of many ranks, sent to the owners of their voxels."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pycryo.kernels.backprojector import Accumulators
from pycryo.kernels.keyvalue import KeyValues, add_key_values
from pycryo.parallel.comm import Comm
from pycryo.parallel.rows import Bounds

KEY_VALUE_BYTES = 32
# Key-values of one message, at most.
_MESSAGE = 1 << 26


def send_key_values(comm: Comm, mine: KeyValues, slabs: Bounds, own: Accumulators | None) -> int:
    """Bring the key-values of all ranks to the owners of their voxels, who add them. Collective.

    Parameters
    ----------
    comm : Comm
    mine : KeyValues
        Of this rank's images.
    slabs : (comm.size + 1,) int64
        Voxels slabs[rank] ... slabs[rank + 1] - 1 are a rank's.
    own : Accumulators or None
        Of this rank's slab, changed; None where it owns nothing.

    Returns
    -------
    int
        Bytes that this rank sent to others.
    """
    ends = np.searchsorted(mine.key, slabs).astype(np.int64)
    sizes = np.array(comm.all_gather(np.diff(ends)), np.int64)
    n_round, n_byte = max(1, -(-int(sizes.max()) // _MESSAGE)), 0
    for number in range(n_round):
        low, high = (ends[:-1] + each * np.diff(ends) // n_round for each in (number, number + 1))
        coming = sizes[:, comm.rank]
        arrived = _exchanged(comm, mine, low, high, (number + 1) * coming // n_round - number * coming // n_round)
        n_byte += KEY_VALUE_BYTES * int((high - low).sum() - (high - low)[comm.rank])
        if own is not None:
            for part in arrived:
                add_key_values(own, part)
    return n_byte


def _exchanged(comm: Comm, mine: KeyValues, low: Bounds, high: Bounds, arriving: NDArray[np.int64]) -> list[KeyValues]:
    """What every rank sends here.

    Parameters
    ----------
    comm : Comm
    mine : KeyValues
    low, high : (size,) int64
        Those of `mine` from low[rank] to high[rank] - 1 go to a rank.
    arriving : (size,) int64
        Number of key-values from each rank.
    """
    send_bounds = np.concatenate([[0], np.cumsum(high - low)]).astype(np.int64)
    receive_bounds = np.concatenate([[0], np.cumsum(arriving)]).astype(np.int64)
    received = []
    for values in (mine.key, mine.re, mine.im, mine.weight):
        leaving = np.concatenate([values[a:b] for a, b in zip(low, high, strict=True)])
        here = np.empty(receive_bounds[-1], values.dtype)
        comm.begin_exchange(leaving, send_bounds, here, receive_bounds).wait()
        received.append(here)
    return [KeyValues(*(values[a:b] for values in received)) for a, b in pairwise(receive_bounds.tolist())]
